"""Whether an engine has room for all members of a group: places among its running requests, and KV cache.

In: vLLM's scheduler and requests, which are only read. Out: yes or no, or why it will never be yes. Prefixes that the
cache holds already are not counted, so an answer errs on the side of waiting.
"""

from collections.abc import Sequence

from generation.vllm.internals import Request, Scheduler


def never_fits(scheduler: Scheduler, members: Sequence[Request]) -> str | None:
    """Why the members, alike in max_tokens, could not be decoded even if they had the engine to themselves."""
    places = min(scheduler.max_num_active_reqs, scheduler.max_num_running_reqs, scheduler.max_num_scheduled_tokens)
    if len(members) > places:
        return f"{len(members)} members need as many places, and the engine has {places} (max_num_seqs)"
    if len({m.lora_request.lora_int_id if m.lora_request else 0 for m in members}) > 1:
        return "members of a group must use the same adapter"
    if any(m.resumable for m in members):
        return "a streamed prompt cannot be a member of a group"
    if any(m.num_prompt_tokens < 2 for m in members):
        return "a prompt of one token leaves nothing to hold back"
    if any(f.mm_position.offset + f.mm_position.length >= m.num_prompt_tokens for m in members for f in m.mm_features):
        # Its image would stay in the encoder's cache while the others of the group need the place for theirs.
        return "a prompt that ends in an image leaves nothing to hold back"
    needed = sum(_blocks(scheduler, m, m.num_prompt_tokens + m.max_tokens) for m in members)
    there = scheduler.kv_cache_manager.block_pool.num_gpu_blocks - 1 - scheduler.kv_cache_manager.watermark_blocks
    if needed > there:
        return (
            f"prompts and {members[0].max_tokens} tokens need {needed} blocks of KV cache, and the engine has {there}"
        )
    return None


def fits_now(scheduler: Scheduler, members: Sequence[Request]) -> bool:
    """Whether members of whom none is running could all be let in beside those who are."""
    cache = scheduler.kv_cache_manager
    places = scheduler.max_num_active_reqs - len(scheduler.running) - scheduler.num_waiting_for_streaming_input
    blocks = (
        cache.block_pool.get_num_free_blocks() - cache.watermark_blocks - scheduler._inflight_prefill_reserved_blocks()
    )
    # A block beyond what they have now, or a group that comes back would lose its places again at once.
    soon = ((m, min(m.num_tokens + scheduler.block_size, m.num_prompt_tokens + m.max_tokens)) for m in members)
    needed = sum(_blocks(scheduler, m, tokens) for m, tokens in soon)
    return bool(places >= len(members) and blocks >= needed)


def _blocks(scheduler: Scheduler, request: Request, tokens: int) -> int:
    """Blocks for so many tokens of a request that holds none."""
    tokens = min(tokens, scheduler.max_model_len)
    needed: int = scheduler.kv_cache_manager.coordinator.get_num_blocks_to_allocate(
        request_id=request.request_id,
        num_tokens=tokens,
        new_computed_blocks=scheduler.kv_cache_manager.empty_kv_cache_blocks.blocks,
        num_encoder_tokens=0,
        total_computed_tokens=0,
        num_local_computed_tokens=0,
        num_tokens_main_model=tokens,
        apply_admission_cap=True,
    )
    return needed
