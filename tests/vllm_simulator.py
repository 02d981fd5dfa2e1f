"""Runs the real schedulers of vLLM in its real engine loop, with a runner that needs no language model.

`play` puts the load of a seed on an engine, in any order and late, with some members that never come and, when asked
for, clients that give up; it judges every answer, and what is left in the scheduler afterwards.
"""

import collections
import copy
import dataclasses
import functools
import queue
import random
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Final

import torch

from evaluation.random_models import write_random_model
from generation.vllm.groups import ENDED, REFUSED, TIMED_OUT
from generation.vllm.ready import ready_vllm
from tests.vllm_load import MOST_TOKENS, Asked, Draft, Draw, Engine
from tests.vllm_runner import BLOCK, LONE, Runner, fingerprint

# Behind our own, which see to it that vLLM can be imported.
from vllm.engine.arg_utils import EngineArgs  # isort: skip
from vllm.v1.core.encoder_cache_manager import EncoderCacheManager  # isort: skip
from vllm.v1.engine import FinishReason  # isort: skip
from vllm.v1.engine.core import EngineCore  # isort: skip
from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec  # isort: skip
from vllm.v1.request import Request  # isort: skip
from vllm.v1.structured_output import StructuredOutputManager  # isort: skip

PATIENCE: Final = 300
"""Steps after which a group that is not whole is given up."""
MOST_STEPS: Final = 20_000
"""No load takes nearly so many; a scheduler that does is stuck."""


@dataclass(frozen=True)
class Result:
    """What came of a load."""

    wrong: tuple[str, ...]
    """One sentence for each answer or leftover that should not be."""
    lone: int
    """Members that were given a token sampled without the others."""
    steps: int
    tokens: int
    """Given to members and ordinary requests."""
    computed: int
    """Tokens computed for them."""
    dropped: int
    """Rows sampled without the others and thrown away."""
    counts: dict[str, int]
    """The scheduler's own."""


class Grammar:
    """Takes whatever comes and says which tokens it took, as the mask."""

    def __init__(self) -> None:
        self.taken: list[int] = []

    def accept_tokens(self, request_id: str, tokens: list[int]) -> bool:
        self.taken += tokens
        return True

    def fill_bitmask(self, mask: torch.Tensor, row: int) -> None:
        mask[row] = fingerprint(self.taken)

    def is_terminated(self) -> bool:
        return False


class Grammars:
    def allocate_token_bitmask(self, rows: int) -> torch.Tensor:
        return torch.zeros((256, 1), dtype=torch.int32)


@functools.cache
def _config() -> Any:
    folder = Path(mkdtemp(prefix="prelim-simulator-"))
    write_random_model(folder, "qwen2")
    ready_vllm(("Qwen2ForCausalLM",))
    return EngineArgs(
        model=str(folder), dtype="float32", max_model_len=MOST_TOKENS, block_size=BLOCK, enforce_eager=True,
        enable_prefix_caching=True, max_num_seqs=64, max_num_batched_tokens=512, skip_tokenizer_init=True,
    ).create_engine_config()  # fmt: skip


def configuration(engine: Engine) -> Any:
    """vLLM's configuration of an engine, made once and copied."""
    config = copy.copy(_config())
    limits = config.scheduler_config = copy.copy(config.scheduler_config)
    limits.max_num_seqs, limits.max_num_batched_tokens = engine.places, engine.step_tokens
    limits.policy, limits.long_prefill_token_threshold = engine.policy, engine.longest_chunk
    limits.async_scheduling = engine.depth > 1
    config.cache_config = copy.copy(config.cache_config)
    config.cache_config.num_gpu_blocks = engine.blocks
    config.parallel_config = copy.copy(config.parallel_config)
    return config


@functools.cache
def _grammars() -> StructuredOutputManager:
    manager = StructuredOutputManager(_config())
    manager.backend = Grammars()
    return manager


class World:
    """One engine with a scheduler, its clients, and a clock that counts steps."""

    def __init__(self, scheduler_class: type[Any], engine: Engine) -> None:
        config = configuration(engine)
        spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=8, dtype=torch.float32)
        kv = KVCacheConfig(engine.blocks, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["l"], spec)])
        self.engine = engine
        self.scheduler = scheduler_class(config, kv, _grammars(), block_size=BLOCK, log_stats=False)
        self.scheduler.use_v2_model_runner = engine.runner == "v2"
        self.scheduler.encoder_cache_manager = EncoderCacheManager(cache_size=engine.image_budget)
        self.scheduler.max_num_encoder_input_tokens = engine.image_budget
        self.scheduler.clock = lambda: float(self.steps)
        self.scheduler.patience_s = PATIENCE
        self.scheduler.stands_back_s = engine.stands_back
        self.runner = Runner(engine.runner, runs_ahead=engine.depth > 1)
        self.steps = 0
        self.core = _core(config, self.scheduler, self.runner, engine.depth)
        self.open: dict[str, Asked] = {}
        self.compiling: list[tuple[int, Request]] = []

    def send(self, asked: Asked, *, compiled_in: int = 0) -> None:
        self.open[asked.request.request_id] = asked
        if asked.request.structured_output_request is not None:
            self.compiling.append((self.steps + compiled_in, asked.request))
        self.core.add_request(asked.request)

    def abort(self, asked: Asked, *, during_a_step: bool = False) -> None:
        """The client no longer wants it: nothing more is heard of it."""
        asked.aborted = True
        if asked.group is not None:
            asked.group.disturbed = True
        self.open.pop(asked.request.request_id, None)
        if during_a_step:
            self.core.aborts_queue.put([asked.request.request_id])
        else:
            self.core.abort_requests([asked.request.request_id])

    def step(self) -> None:
        self.steps += 1
        for due, request in self.compiling:
            if due <= self.steps:
                request.structured_output_request.grammar = Grammar()
        self.compiling = [(due, request) for due, request in self.compiling if due > self.steps]
        answers, _ = self.core.step_fn()
        for answer in (answers or {}).values():
            for output in answer.outputs:
                asked = self.open.get(output.request_id)
                if asked is None:
                    continue
                asked.tokens += output.new_token_ids
                if output.finish_reason is not None:
                    asked.reason, asked.said = output.finish_reason, output.stop_reason
                    del self.open[output.request_id]

    @property
    def busy(self) -> bool:
        return bool(self.scheduler.has_requests() or self.core.batch_queue)

    def leftovers(self) -> list[str]:
        """What an engine without work must not hold."""
        s = self.scheduler
        held = {
            "requests": s.requests, "running": s.running, "waiting": s.waiting, "deferred": s.deferred_waiting,
            "holding KV cache": s.kv_holding_waiting, "prefilling": s._inflight_prefills,
            "groups": getattr(s, "_groups", ()), "broken groups": getattr(s, "_broken", ()),
            "unsaid ends": getattr(s, "_unsaid", ()), "open at clients": self.open,
            "encoder references": [r for names in s.encoder_cache_manager.cached.values() for r in names],
        }  # fmt: skip
        left = [f"{len(what)} {name}" for name, what in held.items() if len(what)]
        pool = s.kv_cache_manager.block_pool
        if (missing := pool.num_gpu_blocks - 1 - pool.get_num_free_blocks()) != 0:
            left.append(f"{missing} blocks of KV cache")
        return left


def _core(config: Any, scheduler: Any, runner: Runner, depth: int) -> Any:
    """vLLM's own engine core around these, without its constructor, which would load a model."""
    core = EngineCore.__new__(EngineCore)
    core.vllm_config, core.scheduler, core.model_executor = config, scheduler, runner
    core.log_stats, core._weight_version = False, "default"
    core.is_mm_encoder_only = core.is_pooling_model = core.use_spec_decode = core.check_for_draft_tokens = False
    core.async_scheduling = depth > 1
    core.aborts_queue = queue.Queue()
    core.batch_queue_size = depth
    core.batch_queue = collections.deque(maxlen=depth) if depth > 1 else None
    core.step_fn = core.step if depth == 1 else core.step_with_batch_queue
    return core


def play(
    scheduler_class: type[Any], seed: int, engine: Engine, *, aborts: bool, drafts: int = 12, singles: int = 6
) -> Result:
    """Run the load of a seed and say what was wrong with it."""
    draw = Draw(seed, engine)
    rng = random.Random(seed * 104_729 + 2)
    world = World(scheduler_class, engine)
    groups = [draw.group(f"g{n}") for n in range(drafts)]
    ordinary = [draw.ordinary(f"r{n}") for n in range(singles)]
    arrivals: list[Asked] = list(ordinary)
    for group in groups:
        # A member that never comes, in one load of three.
        lost = seed % 3 == 0 and len(group.members) > 1 and rng.random() < 0.1
        if lost:
            group.missing = True
            group.members.remove(rng.choice(group.members))
        arrivals += group.members
    if rng.random() < 0.7:
        rng.shuffle(arrivals)
    arrivals.reverse()
    pace = rng.choice(((0, 0, 1, 3), (0, 3, 8), (40,)))
    try:
        while arrivals or world.busy:
            if world.steps > MOST_STEPS:
                return _result(world, groups, ordinary, ["the scheduler is stuck"])
            for _ in range(rng.choice(pace)):
                if arrivals:
                    world.send(arrivals.pop(), compiled_in=rng.choice((0, 0, 4)))
            if aborts and world.open and rng.random() < 0.03:
                world.abort(rng.choice(list(world.open.values())), during_a_step=rng.random() < 0.5)
            if aborts and rng.random() < 0.003:
                world.scheduler.reset_prefix_cache(reset_running_requests=True)
            world.step()
            for asked in list(world.open.values()) if aborts else ():
                # A stop string is found by the client, which then ends that one request.
                if asked.group is not None and asked.tokens and asked.tokens[-1] % 97 == 0:
                    world.abort(asked)
    except (AssertionError, LookupError, RuntimeError, ValueError) as error:
        return _result(world, groups, ordinary, [f"the engine died of {type(error).__name__}: {error}"])
    return _result(world, groups, ordinary, [f"left in the scheduler: {what}" for what in world.leftovers()])


def _result(world: World, groups: list[Draft], ordinary: list[Asked], wrong: list[str]) -> Result:
    everybody = [*ordinary, *(asked for group in groups for asked in group.members)]
    for asked in everybody:
        wrong += [f"{asked.request.request_id} {what}" for what in _judge(asked)]
    for group in groups:
        ends = {(asked.reason, asked.said) for asked in group.members}
        if not group.disturbed and len(ends) > 1:
            wrong.append(f"{group.name} ended in several ways: {sorted(map(str, ends))}")
    counts = getattr(world.scheduler, "counts", None)
    return Result(
        wrong=tuple(wrong),
        lone=sum(LONE in asked.tokens for asked in everybody),
        steps=world.steps,
        tokens=sum(len(asked.tokens) for asked in everybody),
        computed=world.runner.computed,
        dropped=world.runner.lone,
        counts=dataclasses.asdict(counts) if counts is not None else {},
    )


def _judge(asked: Asked) -> list[str]:
    """What is wrong with the answer of one request."""
    group, tokens, wanted = asked.group, asked.tokens, asked.expected
    if not asked.over:
        return ["was never answered"]
    if LONE in tokens:
        return ["was given a token sampled without the others"]
    if tokens != wanted[: len(tokens)]:
        return ["was given other tokens than its prompts ask for"]
    if asked.aborted:
        return []
    if group is None:
        return [] if tokens == wanted else ["is an ordinary request cut short"]
    why = str(asked.said)
    if group.missing or group.impossible:
        named = why == TIMED_OUT or why.startswith(REFUSED) or (group.disturbed and why == ENDED)
        return [] if named and not tokens else [f"should have been turned away by name, not {asked.reason}, {why}"]
    if group.disturbed and asked.reason == FinishReason.ABORT:
        # A member that comes after its group was given up begins another, which is never whole.
        return [] if why in (ENDED, TIMED_OUT) else [f"was ended with {why}"]
    if tokens != wanted or asked.reason not in (FinishReason.STOP, FinishReason.LENGTH):
        return [f"was cut short after {len(tokens)} of {len(wanted)} tokens: {asked.reason}, {why}"]
    return []
