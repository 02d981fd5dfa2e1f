"""How often the batched generator writes what the oracle writes, where numbers are rounded: agreement, not identity.

In float32 two drafts must be the same but for a coin's toss (the oracle's two best scores within ROUNDING), and where
they are not, that is counted as a fault. In bfloat16 a cache, a batch and padding round otherwise than a whole prompt
does, so drafts part where the oracle was undecided; what is measured is how often, and how undecided it was. Every
preset, greedy and sampled, on a random or a given language model. What was measured on one device says nothing about
another: the figures kept in this project are of a CPU, since no GPU was at hand; there the same command takes
`--device cuda`.
"""

import importlib.metadata
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from rich.table import Table

from evaluation.figures_table import figures_table
from evaluation.random_models import Size, write_random_model
from generation.decoding.batched import BatchedGenerator
from generation.decoding.blinding import noised
from generation.decoding.generator import BranchPrompt, Generated, GenerationRequest, Images, Phrase
from generation.decoding.hf_models import HfModel, Precision, load_model
from generation.decoding.presets import PRESETS, Preset, PresetName
from generation.decoding.reference import ReferenceGenerator
from prompts.message import Branch, ImageRef, Message
from retrieval.errors import MissingDependency
from retrieval.record import Record

ROUNDING: Final = 1e-4
"""A lead of the oracle's best score that float32 may turn around."""
SIZE: Final = Size(hidden=256, layers=4, vocabulary=2048, positions=2048, heads=4)
NEW: Final = 32
DRAFTS_PER_PRESET: Final = 8
"""Half of them greedy, half sampled."""
TEMPERATURE: Final = 0.7
QUANTILES: Final = (0.0, 0.25, 0.5, 0.75, 1.0)
_IMAGE: Final = "image"
_FINDINGS: Final = (
    Phrase(label="pleural effusion", probability=0.9, forms=("effusion",)),
    Phrase(label="cardiomegaly", probability=0.7),
    Phrase(label="pneumothorax", probability=0.05),
)
# Invented, to fill prompts with.
_SENTENCES: Final = (
    "The heart is mildly enlarged.", "There is a small left pleural effusion.", "No pneumothorax is seen.",
    "The right lung is clear.", "An endotracheal tube ends above the carina.", "The mediastinum is of normal width.",
    "Linear atelectasis lies at the left base.", "The bones are unremarkable.", "There is mild pulmonary oedema.",
)  # fmt: skip


class FirstDifference(Record):
    """Where one draft of the batched generator left the oracle's."""

    draft: int
    """Its number."""
    preset: PresetName
    """How it was decoded."""
    temperature: float
    """0 for greedy."""
    token: int
    """How many tokens were the same before."""
    margin: float | None
    """How far the oracle's best score led its second there; None where its cut had left one token only."""


class PresetParity(Record):
    """The drafts of one preset."""

    drafts: int
    """How many were written by each generator."""
    agreed: int
    """How many of them were the same to the last token."""


class DecodingParity(Record):
    """What `prelim-evaluate decoding-parity` measured."""

    device: str
    """Where it ran; the figures hold for no other."""
    precision: Precision
    """Of weights and forward passes; scores are summed in float32."""
    language_model: str
    """`random weights`, or the last part of the folder's name or hub id."""
    weights: str
    """Digest of the folder."""
    parameters: int
    """Of the language model and its eyes."""
    torch: str
    """Version."""
    transformers: str
    """Version."""
    threads: int
    """Of torch, which matter on a CPU."""
    prompt_tokens: tuple[int, int]
    """The shortest and the longest prompt of a branch, the image's places included."""
    new_tokens: int
    """At most, in each draft."""
    drafts: int
    """Written by each generator, eight at once by the batched one."""
    agreed: int
    """Drafts that were the same to the last token."""
    tokens_agreed: int
    """Tokens before the first difference, over all drafts; behind it two drafts cannot be compared."""
    by_preset: dict[PresetName, PresetParity]
    """The same, preset by preset."""
    differences: tuple[FirstDifference, ...]
    """Every first difference."""
    greedy_margins: tuple[float, ...]
    """Quantiles 0, .25, .5, .75 and 1 of the oracle's lead at first differences of greedy drafts; empty without any."""
    sampled_margins: tuple[float, ...]
    """The same of sampled drafts, where noise is added before the best is taken, so that any lead may be turned."""
    all_margins: tuple[float, ...]
    """The same of the oracle's lead at every token before a first difference: how undecided it usually is."""
    unexcused: int
    """Differences in float32 where the oracle led by ROUNDING or more: each is a fault. Always 0 in bfloat16, where
    nothing is demanded."""
    rates: dict[str, float]
    """New tokens per second over all drafts, prompts included, by generator."""


def measure_decoding_parity(
    device: Literal["cpu", "cuda"] = "cpu", precision: Precision = "bfloat16", language_model: str | None = None
) -> DecodingParity:
    """Let both generators write the same requests; some minutes on a CPU, where the oracle is slow."""
    if device == "cuda" and not torch.cuda.is_available():
        raise MissingDependency("torch finds no CUDA device", fix="run it where there is one, or with --device cpu")
    with tempfile.TemporaryDirectory() as made:
        where = language_model or str(write_random_model(Path(made, "random"), "qwen2_vl", SIZE))
        model = load_model(where, device=device, precision=precision)
    images: Images = {_IMAGE: _gradient()}
    images = {**images, f"{_IMAGE} noised": noised(images[_IMAGE], seed=0)}
    requests = [
        _request(model, number, preset)
        for number, preset in enumerate(preset for preset in PRESETS.values() for _ in range(DRAFTS_PER_PRESET))
    ]
    written: dict[str, list[Generated]] = {}
    rates: dict[str, float] = {}
    for generator in (BatchedGenerator(model), ReferenceGenerator(model)):
        generator.generate([requests[0].model_copy(update={"max_new_tokens": 2})], images)  # to warm up
        began = time.perf_counter()
        written[generator.name] = generator.generate(requests, images)
        rates[generator.name] = sum(len(one.margins) for one in written[generator.name]) / (time.perf_counter() - began)
    oracle, fast = written[ReferenceGenerator.name], written[BatchedGenerator.name]
    differences = _differences(requests, oracle, fast)
    parted = {each.draft: each.token for each in differences}
    alike = [draft.margins[: parted.get(number)] for number, draft in enumerate(oracle)]
    lengths = [length for draft in oracle for length in draft.prompt_tokens]
    return DecodingParity(
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        precision=precision,
        language_model="random weights" if language_model is None else Path(language_model).name,
        weights=model.weights,
        parameters=sum(weight.numel() for weight in model.network.parameters()),
        torch=torch.__version__,
        transformers=importlib.metadata.version("transformers"),
        threads=torch.get_num_threads(),
        prompt_tokens=(min(lengths), max(lengths)),
        new_tokens=NEW,
        drafts=len(requests),
        agreed=len(requests) - len(differences),
        tokens_agreed=sum(map(len, alike)),
        by_preset={
            name: PresetParity(
                drafts=DRAFTS_PER_PRESET,
                agreed=DRAFTS_PER_PRESET - sum(each.preset == name for each in differences),
            )
            for name in PRESETS
        },
        differences=tuple(differences),
        greedy_margins=_quantiles([each.margin for each in differences if not each.temperature]),
        sampled_margins=_quantiles([each.margin for each in differences if each.temperature]),
        all_margins=_quantiles([margin for margins in alike for margin in margins]),
        unexcused=sum(
            precision == "float32" and (each.margin is None or each.margin >= ROUNDING) for each in differences
        ),
        rates=rates,
    )


def first_difference(oracle: Generated, fast: Generated) -> int | None:
    """The number of the first token that differs, or that only one has; None for the same draft."""
    if oracle.token_ids == fast.token_ids:
        return None
    pairs = zip(oracle.token_ids, fast.token_ids, strict=False)
    shorter = min(len(oracle.token_ids), len(fast.token_ids))
    return next((at for at, (one, other) in enumerate(pairs) if one != other), shorter)


def parity_table(report: DecodingParity) -> Table:
    """Agreement by preset, with the leads where drafts part below it."""
    table = figures_table(
        f"{report.language_model}, {report.parameters / 1e6:.1f}M parameters, {report.precision}, {report.device}",
        "", "drafts", "the same",
    )  # fmt: skip
    for name, row in report.by_preset.items():
        table.add_row(name, str(row.drafts), str(row.agreed))
    table.add_row("all", str(report.drafts), str(report.agreed), end_section=True)
    table.add_row("tokens before a difference", "", str(report.tokens_agreed))
    for where, margins in (
        ("where greedy drafts part", report.greedy_margins),
        ("where sampled drafts part", report.sampled_margins),
        ("anywhere", report.all_margins),
    ):
        table.add_row(f"lead {where}, quartiles", "", " ".join(f"{margin:.2g}" for margin in margins) or "none")
    for generator, rate in report.rates.items():
        table.add_row(f"{generator}, tokens/s", "", f"{rate:.1f}")
    return table


def _differences(
    requests: Sequence[GenerationRequest], oracle: Sequence[Generated], fast: Sequence[Generated]
) -> list[FirstDifference]:
    found = []
    for number, (request, slow, quick) in enumerate(zip(requests, oracle, fast, strict=True)):
        if (token := first_difference(slow, quick)) is not None:
            margin = slow.margins[token]
            found.append(
                FirstDifference(
                    draft=number,
                    preset=request.preset.name,
                    temperature=request.temperature,
                    token=token,
                    margin=margin if np.isfinite(margin) else None,
                )
            )
    return found


def _quantiles(margins: Sequence[float | None]) -> tuple[float, ...]:
    finite = [margin for margin in margins if margin is not None and np.isfinite(margin)]
    return tuple(float(each) for each in np.quantile(finite, QUANTILES)) if finite else ()


def _gradient() -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Something to look at, without a patient: a slope with a little noise."""
    slope = np.linspace(0.1, 0.9, 112, dtype=np.float32)
    return (slope + np.random.default_rng(0).normal(0, 0.05, (112, 112))).clip(0, 1).astype(np.float32)


def _request(model: HfModel, number: int, preset: Preset) -> GenerationRequest:
    """One draft with its own words; every second one is sampled."""
    random = np.random.default_rng(number)

    def turn(branch: Branch, *texts: str, image: str | None = _IMAGE) -> BranchPrompt:
        content = (*([ImageRef(name=image)] if image and model.sees else []), " ".join(texts))
        return BranchPrompt(branch=branch, messages=(Message(role="user", content=content),))

    task = "Write the findings of this chest radiograph."
    said = [str(each) for each in random.choice(_SENTENCES, int(random.integers(1, 20)))]
    found = "Experts found pleural effusion and cardiomegaly, and no pneumothorax."
    return GenerationRequest(
        branches=(
            turn("study", task, said[0]),
            turn("anchored", task, said[0], found),
            turn("evidence", task, "Similar cases:", *said),
            turn("blind", task, said[0], image=f"{_IMAGE} noised" if preset.blinding == "noised_image" else None),
        ),
        preset=preset,
        phrases=_FINDINGS,
        max_new_tokens=NEW,
        temperature=TEMPERATURE * (number % 2),
        seed=number,
    )
