"""Whether groups inside a real vLLM engine write what the oracle writes, token by token in float32; on a CPU.

A first difference is excused only where the oracle's two best scores were closer than ROUNDING, in at most one of 200
drafts. The same load without the group scheduler shows what the scheduler is for. What was measured says nothing about
a GPU: none was at hand.
"""

import importlib.metadata
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import torch
from rich.table import Table

from evaluation.decoding_parity import ROUNDING, FirstDifference
from evaluation.figures_table import figures_table
from evaluation.random_models import Architecture, write_random_model
from evaluation.vllm_load import (
    ENDS,
    Load,
    Outcome,
    begin,
    drawn,
    drawn_images,
    ended,
    has_twin,
    plain_twin,
    twice,
)
from generation.decoding.batched import BatchedGenerator
from generation.decoding.generator import Generated, GenerationRequest, Images
from generation.decoding.hf_models import HfModel, Inputs, load_model
from generation.decoding.reference import ReferenceGenerator
from retrieval.record import Record

ARCHITECTURES: Final[tuple[Architecture, ...]] = ("qwen2_vl", "qwen2_5_vl", "gemma3", "llava")
SCHEDULINGS: Final[tuple[Literal["synchronous", "asynchronous"], ...]] = ("synchronous", "asynchronous")
WAYS: Final[tuple[tuple[Literal["groups", "vLLM's own"], Literal["one by one", "together"]], ...]] = (
    ("groups", "one by one"),
    ("vLLM's own", "one by one"),
    ("vLLM's own", "together"),
)
"""With the group scheduler where it is hard; without it there, and where members have the best chance to meet."""
LOADS: Final[Mapping[str, Load]] = {
    f"{architecture}, {scheduling}, {scheduler}, {arrival}": Load(
        architecture=architecture,
        groups=96 if architecture == "qwen2_vl" else 48,
        scheduling=scheduling,
        scheduler=scheduler,
        arrival=arrival,
    )
    for architecture in ARCHITECTURES
    for scheduling in SCHEDULINGS
    for scheduler, arrival in WAYS
}
"""Every load of the command, by name."""
CAUSAL_IMAGES: Final[frozenset[Architecture]] = frozenset({"gemma3"})
"""Models whose image tokens see one another, which vLLM 0.32's attention on a CPU leaves out without a word; there the
oracle reads them as vLLM does. On a GPU vLLM does otherwise, and this oracle would be the wrong one."""
BY_REFERENCE: Final = 6
"""So many drafts are written by the slow oracle, too, which the fast one must agree with."""


class EngineParity(Record):
    """One engine under one load."""

    drafts: int
    """Groups, of 2, 3 and 4 members in turn."""
    tokens: int
    """That the oracle wrote for them, ends included."""
    agreed: int
    """Drafts of which every member wrote what the oracle wrote, to the last token."""
    excused: int
    """Drafts that first differ where the oracle's lead was below ROUNDING."""
    ended: int
    """Drafts that an end token ended before their length."""
    parted: int
    """Drafts whose members did not write the same."""
    again: int
    """Drafts that came again when their prompts were in the prefix cache."""
    again_agreed: int
    """Of them, those that wrote the oracle's tokens again."""
    again_cached: int
    """Of them, those of which every whole block of every prompt was taken from there."""
    ordinary: int
    """Requests that were no members, beside them."""
    ordinary_agreed: int
    """Of them, those that wrote the plain oracle's tokens."""
    prompt_tokens: tuple[int, int]
    """The shortest and the longest prompt."""
    counts: dict[str, int]
    """The group scheduler's: joint steps, preemptions, repairs and more; empty without it."""
    left: int
    """What the engine still held at the end."""
    differences: tuple[FirstDifference, ...]
    """Where drafts differ from the oracle."""


class VllmParity(Record):
    """What `prelim-evaluate vllm-parity` measured."""

    vllm: str
    """Version."""
    torch: str
    """Version."""
    engines: dict[str, EngineParity]
    """By load; those named "vLLM's own" ran without the group scheduler."""


def measure_vllm_parity(loads: Mapping[str, Load] = LOADS) -> VllmParity:
    """Put every load to an engine of its own, one after another; some minutes on two cores."""
    engines = {}
    models: dict[Architecture, tuple[Path, HfModel]] = {}
    with tempfile.TemporaryDirectory() as kept:
        for name, load in loads.items():
            if load.architecture not in models:
                folder = write_random_model(Path(kept, load.architecture), load.architecture)
                models[load.architecture] = (folder, load_model(str(folder)))
            folder, model = models[load.architecture]
            to = Path(kept, "outcome.json")
            process = begin(load, folder, to)
            oracle = Oracle(load, model)
            engines[name] = compared(load, Outcome.model_validate(ended(process, to)), oracle)
    return VllmParity(
        vllm=importlib.metadata.version(importlib.metadata.packages_distributions()["vllm"][0]),
        torch=torch.__version__,
        engines=engines,
    )


class Oracle:
    """What transformers writes for a load."""

    def __init__(self, load: Load, model: HfModel) -> None:
        """Writes everything; seconds."""
        requests, images = drawn(load), drawn_images(load)
        end_ids = model.end_ids | ENDS
        model = replace(_Causal(**vars(model)) if load.architecture in CAUSAL_IMAGES else model, end_ids=end_ids)
        twins = {n: plain_twin(each) for n, each in enumerate(requests) if has_twin(n)}
        self.requests = requests
        self.drafts: Sequence[Generated] = BatchedGenerator(model).generate(requests, images)
        # An ordinary request may write what it likes, places for images among it.
        plain = BatchedGenerator(replace(model, image_ids=frozenset())).generate(list(twins.values()), images)
        self.ordinary = dict(zip(twins, plain, strict=True))
        self._end_ids = end_ids
        self._check(model, images)

    def same(self, oracle: Generated, written: Sequence[int]) -> bool:
        """Whether an engine's tokens are the oracle's; the engine's hold the end token, which the oracle leaves out."""
        if oracle.finish != "end":
            return tuple(written) == oracle.token_ids
        return tuple(written[:-1]) == oracle.token_ids and bool(written) and written[-1] in self._end_ids

    def _check(self, model: HfModel, images: Images) -> None:
        some = sorted(range(len(self.requests)), key=lambda n: sum(self.drafts[n].prompt_tokens))[:BY_REFERENCE]
        slow = ReferenceGenerator(model).generate([self.requests[n] for n in some], images)
        if [each.token_ids for each in slow] != [self.drafts[n].token_ids for n in some]:
            raise RuntimeError("the oracles disagree with each other; nothing can be measured against them")


class _Causal(HfModel):
    """A model whose image tokens see only what stands before them."""

    def encode(self, request: GenerationRequest, images: Images) -> list[Inputs]:
        found = super().encode(request, images)
        for one in found:
            for name in one.tokens.keys() & {"token_type_ids", "mm_token_type_ids"}:
                one.tokens[name] = torch.zeros_like(one.tokens[name])
        return found


def compared(load: Load, outcome: Outcome, oracle: Oracle) -> EngineParity:
    """An engine's outcome beside the oracle's drafts."""
    agreed = parted = 0
    differences = []
    for number, (request, slow, members) in enumerate(zip(oracle.requests, oracle.drafts, outcome.drafts, strict=True)):
        parted += len(set(members)) > 1
        if all(oracle.same(slow, member) for member in members):
            agreed += 1
            continue
        token = min(_first(slow.token_ids, member) for member in members)
        margin = slow.margins[min(token, len(slow.margins) - 1)]
        differences.append(
            FirstDifference(
                draft=number, preset=request.preset.name, temperature=request.temperature, token=token,
                margin=margin if margin < float("inf") else None,
            )
        )  # fmt: skip
    lengths = [length for draft in oracle.drafts for length in draft.prompt_tokens]
    again = twice(oracle.requests)
    return EngineParity(
        drafts=load.groups,
        tokens=sum(len(draft.margins) for draft in oracle.drafts),
        agreed=agreed,
        excused=sum(each.margin is not None and each.margin < ROUNDING for each in differences),
        ended=sum(draft.finish == "end" for draft in oracle.drafts),
        parted=parted,
        again=len(again),
        again_agreed=sum(all(oracle.same(oracle.drafts[n], one) for one in outcome.again[n]) for n in again),
        again_cached=sum(_all_cached(oracle.drafts[n].prompt_tokens, outcome.cached[n]) for n in again),
        ordinary=len(oracle.ordinary),
        ordinary_agreed=sum(oracle.same(draft, outcome.ordinary[n]) for n, draft in oracle.ordinary.items()),
        prompt_tokens=(min(lengths), max(lengths)),
        counts=outcome.counts,
        left=outcome.left,
        differences=tuple(differences),
    )


def _all_cached(lengths: Sequence[int], held: Sequence[int]) -> bool:
    """Whether every whole block came from the cache; of a member's prompt at least two tokens are always read."""
    return all(cached == (length - 2) // 32 * 32 for length, cached in zip(lengths, held, strict=True))


def _first(oracle: Sequence[int], written: Sequence[int]) -> int:
    pairs = zip(oracle, written, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(oracle), len(written)))


def vllm_parity_table(report: VllmParity) -> Table:
    """One line for each engine."""
    table = figures_table(
        f"vLLM {report.vllm} on a CPU against the oracle, float32",
        "engine", "drafts", "the same", "excused", "again", "ordinary", "preempted", "repaired",
    )  # fmt: skip
    for name, row in report.engines.items():
        again, ordinary = f"{row.again_agreed}/{row.again}", f"{row.ordinary_agreed}/{row.ordinary}"
        counted = [str(row.counts.get(each, "")) for each in ("preempted", "repaired")]
        table.add_row(name, str(row.drafts), str(row.agreed), str(row.excused), again, ordinary, *counted)
    return table
