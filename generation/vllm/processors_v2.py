"""The logits processor for vLLM's second model runner (where Triton works): slots stay, and the tokens are elsewhere.

Never run on a real GPU; `tests/test_vllm_processors.py` drives it with the layout that vLLM 0.32 hands in.
"""

import torch

from generation.vllm.admission import check_member
from generation.vllm.choice import Choice, Seat
from generation.vllm.group import Member, member_in
from generation.vllm.internals import Vllm
from retrieval.errors import UnsupportedEngine

# Behind our own: `internals` has refused other versions of vLLM by now.
from vllm.v1.worker.gpu.sample.logits_processor import LogitsProcessor  # isort: skip


class GroupProcessorV2(LogitsProcessor):  # type: ignore[misc]  # vLLM is read without its types
    """Chooses the token of every group that is whole in the batch."""

    @classmethod
    def validate_params(cls, sampling_params: Vllm) -> None:
        """Raises ValueError for a member that asks for what cannot be done for its group."""
        check_member(sampling_params)

    def __init__(self, vllm_config: Vllm, req_states: Vllm) -> None:
        if vllm_config.parallel_config.enable_batch_sharded_sampling:
            raise UnsupportedEngine(
                "the members of a group would be sampled on different devices",
                fix="start vLLM without batch-sharded sampling",
            )
        self._choice = Choice(vllm_config, req_states.device)
        self._states = req_states
        self._slots: dict[int, Member] = {}
        self._written: dict[str, list[int]] = {}

    def add_request(self, req_idx: int, sampling_params: Vllm) -> bool:
        self._slots.pop(req_idx, None)
        member = member_in(sampling_params.extra_args)
        if member is not None:
            self._slots[req_idx] = member
        # Nobody says when a request leaves: what no slot names any longer is forgotten when the next one comes.
        alive = {each.group for each in self._slots.values()}
        self._written = {group: tokens for group, tokens in self._written.items() if group in alive}
        return member is not None

    def apply(self, logits: torch.Tensor, ctx: Vllm) -> torch.Tensor:
        # 1. The rows whose token counts; one that still reads its prompt, or reads it again, is sampled for nothing.
        states = self._states
        seats = []
        for row, slot in enumerate(ctx.idx_mapping_np.tolist()):
            length = int(ctx.seq_lens_upper_bound_np[row])  # exact: nothing is decoded speculatively
            member = self._slots.get(slot)
            if member is not None and length >= states.prefill_len.np[slot]:
                prompt = int(states.prompt_len.np[slot])
                seats.append(Seat(row, member, self._tokens(member.group, slot, prompt, length - prompt)))
        # 2. A token for each group; a step that the engine drops is chosen again, so what follows it is forgotten.
        for alike in self._choice.plan(seats):
            for written, token in zip(alike.written, self._choice.choose(logits, alike), strict=True):
                assert isinstance(written, list)
                written.append(token)
        return logits

    def _tokens(self, group: str, slot: int, prompt: int, step: int) -> list[int]:
        """The first `step` tokens of a draft: remembered, since asking the device makes it wait."""
        written = self._written.setdefault(group, [])
        del written[step:]
        if len(written) < step:  # its slots were taken by others while it was preempted
            written[:] = self._states.all_token_ids.gpu[slot, prompt : prompt + step].tolist()
        return written
