"""Loads for the simulator: an engine and the requests that are put on it, drawn from a seed, with what each must give.

Groups and ordinary requests of all lengths, some that begin alike, some that fill blocks exactly, some with grammars,
images or stop tokens, some too large. What must be written is a hash of the histories of all rows, known beforehand.
"""

import functools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from generation.decoding.presets import Preset
from generation.vllm.group import Member
from prompts.message import Branch
from tests.vllm_runner import BLOCK, RunnerKind, fingerprint, sample

# Behind our own, which see to it that vLLM can be imported.
from vllm.multimodal.inputs import MultiModalFeatureSpec, PlaceholderRange  # isort: skip
from vllm.sampling_params import SamplingParams, StructuredOutputsParams  # isort: skip
from vllm.utils.hashing import sha256  # isort: skip
from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash  # isort: skip
from vllm.v1.engine import FinishReason  # isort: skip
from vllm.v1.request import Request  # isort: skip

BRANCHES: Final[tuple[Branch, ...]] = ("study", "anchored", "evidence", "blind")
MOST_TOKENS: Final = 512
"""Of a prompt and what follows."""
IMAGE: Final = 16
"""Tokens of an image."""


@dataclass(frozen=True)
class Engine:
    """The engine that a load is put on."""

    members: int
    """Of most groups."""
    blocks: int = 80
    """Of KV cache."""
    step_tokens: int = 128
    places: int = 12
    depth: int = 1
    """Steps planned before the first answers; more than 1 needs an asynchronous scheduler to be of use."""
    runner: RunnerKind = "v1"
    policy: str = "fcfs"
    longest_chunk: int = 0
    image_budget: int = 64
    stands_back: int = 2
    """Steps that less urgent groups are held each time."""


@dataclass
class Asked:
    """A request on its way, and what it must give."""

    request: Request
    expected: list[int]
    group: "Draft | None" = None
    tokens: list[int] = field(default_factory=list)
    reason: FinishReason | None = None
    said: int | str | None = None
    aborted: bool = False
    """By its own client."""

    @property
    def over(self) -> bool:
        return self.reason is not None or self.aborted


@dataclass
class Draft:
    """A group of them."""

    name: str
    members: list[Asked] = field(default_factory=list)
    missing: bool = False
    impossible: bool = False
    disturbed: bool = False
    """A client gave up on a member, so that only a beginning is owed."""


def engine_of(seed: int, members: int, depth: int) -> Engine:
    """The engine that goes with a seed."""
    rng = random.Random(seed)
    places = rng.choice((members, 2 * members + 1, 4 * members, 6 * members))
    return Engine(
        members=members,
        blocks=rng.choice((15, 18, 22, 30, 100)) * members,
        step_tokens=max(places, rng.choice((16, 33, 128, 512))),
        places=places,
        depth=depth,
        runner=rng.choice(("v1", "v2")),
        policy=rng.choice(("priority", "fcfs", "priority")),
        longest_chunk=rng.choice((0, 0, 24)),
        image_budget=rng.choice((16, 24, 64, 512)),
        stands_back=rng.choice((0, 2, 40, 400)),
    )


class Draw:
    """Draws the requests of one load."""

    def __init__(self, seed: int, engine: Engine) -> None:
        self.rng = random.Random(seed * 7919 + 1)
        self.engine = engine
        self.heads = [self.words(3 * BLOCK) for _ in range(3)]
        self.lengths = self.rng.choice(((1, 2, 30, 60, 100), (1, 2, 30, 60, 100), (60, 100)))
        self.short = len(self.lengths) == 2
        """Short prompts and long drafts: more enter than can stay."""
        self.sees = self.rng.choice((0.0, 0.2, 0.8))

    def words(self, number: int) -> list[int]:
        return [self.rng.randrange(10, 500) for _ in range(number)]

    def prompt(self) -> list[int]:
        """Some begin alike; some fill blocks exactly, and one block and a token more is a full hit of the cache."""
        rng = self.rng
        if self.short:
            return self.words(rng.choice((2, 5, 17)))
        if rng.random() < 0.7:
            head = self.heads[rng.randrange(3)][: rng.choice((BLOCK, 2 * BLOCK, 3 * BLOCK))]
            return head + self.words(rng.choice((1, 1, 2, BLOCK, BLOCK + 1, 70)))
        return self.words(rng.choice((2, 3, 17, 60, 200)))

    def group(self, name: str) -> Draft:
        rng, size = self.rng, self.engine.members if self.rng.random() < 0.9 else 1
        prompts = [self.prompt() for _ in range(size)]
        if size > 1 and rng.random() < 0.2:
            prompts[1] = list(prompts[0])
        if rng.random() < 0.05:
            prompts = [self.words(MOST_TOKENS - 110) for _ in prompts]
        most = rng.choice(self.lengths)
        grammars = [rng.random() < 0.5 for _ in range(size)] if rng.random() < 0.3 else [False] * size
        stops: list[int | None] = [None] * size
        if most > 1 and rng.random() < 0.3:
            stop = rng.choice(follow(prompts, most, grammars)[:-1])
            stops = [stop if row == 0 or rng.random() < 0.6 else None for row in range(size)]
        draft = drafted(
            name, prompts, [most + rng.choice((0, 0, 3)) * (row > 0) for row in range(size)], stops=stops,
            grammars=grammars, images=[self.images(prompt) for prompt in prompts], priority=rng.randrange(3),
            client=rng.randrange(2),
        )  # fmt: skip
        blocks = sum(-(-min(len(prompt) + most, MOST_TOKENS) // BLOCK) for prompt in prompts)
        draft.impossible = blocks > self.engine.blocks - 1 or size > self.engine.places
        return draft

    def ordinary(self, name: str) -> Asked:
        rng, prompt = self.rng, self.prompt()
        most, grammar, images = rng.choice((1, 3, 30)), rng.random() < 0.2, self.images(prompt)
        return ordinary(name, prompt, most, grammar=grammar, images=images, priority=rng.randrange(3))

    def images(self, prompt: list[int]) -> list[tuple[str, int]]:
        if len(prompt) <= 20 or self.rng.random() > self.sees:
            return []
        return [(f"image-{self.rng.randrange(4)}", self.rng.randrange(len(prompt) - IMAGE))]


def drafted(
    name: str,
    prompts: list[list[int]],
    most: list[int],
    *,
    stops: Sequence[int | None] = (),
    grammars: Sequence[bool] = (),
    images: Sequence[list[tuple[str, int]]] = (),
    priority: int = 0,
    client: int = 0,
) -> Draft:
    """A group with these prompts, and what it must write."""
    size = len(prompts)
    preset = Preset(
        name="grounded", branches=BRANCHES[:size], constant=(1 / size,) * size, source="for the simulator",
        blinding="no_image" if size == 4 else None,
    )  # fmt: skip
    grammars, stops, images = grammars or [False] * size, stops or [None] * size, images or [[]] * size
    expected = follow(prompts, min(most), grammars)
    ends = [expected.index(stop) + 1 for stop in stops if stop in expected]
    draft = Draft(name)
    for row, prompt in enumerate(prompts):
        member = Member(group=name, branch=preset.branches[row], preset=preset)
        request = asking(
            f"{name}-{row}", prompt, most[row], stop=stops[row], grammar=grammars[row], images=images[row],
            arguments=member.arguments(), priority=priority, client=(client + row) % 2,
        )  # fmt: skip
        draft.members.append(Asked(request, expected[: min(ends, default=None)], draft))
    return draft


def ordinary(
    name: str,
    prompt: list[int],
    most: int,
    *,
    grammar: bool = False,
    images: Sequence[tuple[str, int]] = (),
    priority: int = 0,
) -> Asked:
    """A request that is no member, and what it must write."""
    request = asking(name, prompt, most, grammar=grammar, images=images, priority=priority)
    return Asked(request, follow([prompt], most, [grammar]))


def asking(
    name: str,
    prompt: list[int],
    most: int,
    *,
    stop: int | None = None,
    grammar: bool = False,
    images: Sequence[tuple[str, int]] = (),
    arguments: Mapping[str, str] | None = None,
    priority: int = 0,
    client: int = 0,
) -> Request:
    """As vLLM's engine core gets it from its servers; an image is its name and where it begins in the prompt."""
    params = SamplingParams(
        temperature=0, max_tokens=most, stop_token_ids=[stop] if stop is not None else None,
        extra_args=dict(arguments) if arguments else None,
        structured_outputs=StructuredOutputsParams(regex=".*") if grammar else None,
    )  # fmt: skip
    seen = [MultiModalFeatureSpec(None, "image", image, PlaceholderRange(at, IMAGE)) for image, at in images]
    return Request(
        name, list(prompt), params, None, client_index=client, priority=priority, mm_features=seen,
        block_hasher=_hasher(),
    )  # fmt: skip


@functools.cache
def _hasher() -> Any:
    init_none_hash(sha256)
    return get_request_block_hasher(BLOCK, sha256)


def follow(prompts: Sequence[list[int]], most: int, grammars: Sequence[bool]) -> list[int]:
    """What must be written after these prompts."""
    written: list[int] = []
    for _ in range(most):
        masks = [fingerprint(written) if grammar else 0 for grammar in grammars]
        written.append(sample([tuple(prompt + written) for prompt in prompts], masks))
    return written
