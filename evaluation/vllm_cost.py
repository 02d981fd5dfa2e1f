"""What decoding in groups costs inside vLLM: drafts of several branches against as many ordinary requests, in one run.

Random weights, prompts of the same length with one image, every draft written to the same length. At concurrency c a
preset of N branches is compared with ordinary requests at N x c, which is the same number of rows for the engine; the
share of their rate, divided by N, that remains is what the plugin leaves. And with ordinary requests at c, which is
what a user gives up for several branches. Runs alternate, prompts are new in every run, medians are kept.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from rich.table import Table

from evaluation.decoding_speed import FINDINGS
from evaluation.figures_table import figures_table
from evaluation.random_models import Size, write_random_model
from generation.decoding.bias import ontology_forms
from generation.decoding.bias_table import LABELS
from generation.decoding.generator import BranchPrompt, GenerationRequest, Images, Phrase
from generation.decoding.presets import PRESETS, Preset, PresetName
from generation.vllm.engine import VllmGenerator, VllmSettings
from retrieval.ontology.ontology import load
from retrieval.record import Record

SIZES: Final[Mapping[str, Size]] = {
    "tiny": Size(),
    "20M": Size(hidden=512, layers=8, vocabulary=4096, positions=2048, heads=8),
}
"""Models by name."""
MIXED: Final[tuple[PresetName, ...]] = ("vcd", "ccd", "grounded")
"""Two branches with a cut, two with a bias and a ban on repeats, three with a cut and phrases."""
PROMPT: Final = 300
NEW: Final = 128
IMAGE: Final = "image"


class CostRow(Record):
    """One preset on one model at one concurrency."""

    language_model: str
    """Which of the sizes."""
    parameters: int
    """Of the model, whose weights are random."""
    preset: str
    """How branches were mixed."""
    branches: int
    """Rows of the engine for each draft."""
    concurrency: int
    """Drafts written at the same time."""
    rate: float
    """New tokens of drafts per second, prompts included; the median."""
    plain_rows: float
    """New tokens per second of as many ordinary requests as there were rows."""
    plain_drafts: float
    """New tokens per second of as many ordinary requests as there were drafts."""
    kept: float
    """`rate` over `plain_rows` divided by `branches`: 1 if the plugin cost nothing; the median of the pairs."""
    of_plain: float
    """`rate` over `plain_drafts`: what remains for the user; the median of the pairs."""


class Latency(Record):
    """Between two tokens of a draft that has the engine to itself."""

    language_model: str
    """Which of the sizes."""
    preset: str
    """How branches were mixed; `ordinary` for a request that is no member of a group."""
    milliseconds: float
    """The median."""


class VllmCost(Record):
    """What `prelim-evaluate vllm-cost` measured."""

    device: str
    """Where it ran."""
    prompt_tokens: int
    """Of each row, the image's places included."""
    new_tokens: int
    """Of each row."""
    repeats: int
    """Runs behind each median."""
    rows: tuple[CostRow, ...]
    """Presets, models and concurrencies."""
    latencies: tuple[Latency, ...]
    """At concurrency 1."""


def measure_vllm_cost(repeats: int = 5, concurrencies: tuple[int, ...] = (1, 8, 16)) -> VllmCost:
    """Make the models, warm their engines up and time alternating runs; minutes on two cores."""
    rows: list[CostRow] = []
    latencies: list[Latency] = []
    for name, size in SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            bench = _Bench(name, Path(folder), size)
            for concurrency in concurrencies:
                rows += bench.rows(concurrency, repeats)
            latencies += bench.latencies()
            bench.close()
    return VllmCost(
        device="cpu", prompt_tokens=PROMPT, new_tokens=NEW, repeats=repeats, rows=tuple(rows),
        latencies=tuple(latencies),
    )  # fmt: skip


def vllm_cost_table(cost: VllmCost) -> Table:
    """What remains of the engine's rate, by preset and concurrency."""
    table = figures_table(
        "Groups inside vLLM",
        "model",
        "preset",
        "branches",
        "at once",
        "tokens/s",
        "of as many rows",
        "of as many drafts",
    )
    for row in cost.rows:
        table.add_row(
            row.language_model, row.preset, str(row.branches), str(row.concurrency), f"{row.rate:.0f}",
            f"{row.kept:.2f}", f"{row.of_plain:.2f}",
        )  # fmt: skip
    return table


class _Bench:
    """One engine, with requests that no cache has seen."""

    def __init__(self, name: str, folder: Path, size: Size) -> None:
        self._name = name
        self._generator = VllmGenerator(
            str(write_random_model(folder / "model", "qwen2_vl", size)),
            VllmSettings(rows=64, longest=1024, cache_gb=2.0, images=1),
        )
        self._generator.end_ids = frozenset()  # every draft is written to its full length
        self._engine = self._generator.engine
        network = self._engine.model_executor.driver_worker.worker.model_runner.model
        self._parameters = sum(weight.numel() for weight in network.parameters())
        self._seeds = itertools.count()
        forms = ontology_forms(load())
        self._phrases = tuple(  # as many as experts usually name, with all their wordings
            Phrase(label=label, probability=0.9 if n % 3 else 0.2, forms=tuple(forms[label][1:]))
            for n, label in enumerate(LABELS.values())
            if label in forms
        )
        for preset in MIXED:
            self._drafts(PRESETS[preset], 2)
        self._ordinary(4)

    def rows(self, concurrency: int, repeats: int) -> list[CostRow]:
        """Every preset at this concurrency, each run of it between the two runs it is compared with."""
        found = []
        for preset in (PRESETS[name] for name in MIXED):
            branches = len(preset.branches)
            ways: tuple[Callable[[], float], ...] = (
                partial(self._ordinary, branches * concurrency),
                partial(self._drafts, preset, concurrency),
                partial(self._ordinary, concurrency),
            )
            rates: dict[int, list[float]] = {0: [], 1: [], 2: []}
            for repeat in range(repeats):
                for way in (0, 1, 2) if repeat % 2 else (2, 1, 0):
                    rates[way].append(ways[way]())
            as_rows, mixed, as_drafts = (np.array(rates[way]) for way in (0, 1, 2))
            found.append(
                CostRow(
                    language_model=self._name,
                    parameters=self._parameters,
                    preset=preset.name,
                    branches=branches,
                    concurrency=concurrency,
                    rate=float(np.median(mixed)),
                    plain_rows=float(np.median(as_rows)),
                    plain_drafts=float(np.median(as_drafts)),
                    kept=float(np.median(mixed * branches / as_rows)),
                    of_plain=float(np.median(mixed / as_drafts)),
                )
            )
        return found

    def latencies(self) -> list[Latency]:
        """One draft at a time, from step to step, once its prompt has been read."""
        found = []
        for preset in (None, *(PRESETS[name] for name in MIXED)):
            gaps: list[float] = []
            for _ in range(3):
                times: list[float] = []
                if preset is None:
                    self._ordinary(1, times)
                else:
                    self._drafts(preset, 1, times)
                gaps += np.diff(times[len(times) // 4 :]).tolist()
            name = "ordinary" if preset is None else preset.name
            found.append(Latency(language_model=self._name, preset=name, milliseconds=1e3 * float(np.median(gaps))))
        return found

    def close(self) -> None:
        self._generator.close()

    def _drafts(self, preset: Preset, number: int, times: list[float] | None = None) -> float:
        """New tokens of drafts per second."""
        requests, images = zip(*(self._request(preset) for _ in range(number)), strict=True)
        inputs = [self._generator.prepared(one, seen) for one, seen in zip(requests, images, strict=True)]
        began = time.perf_counter()
        for one, prepared in zip(requests, inputs, strict=True):
            self._generator.submit(f"bench{next(self._seeds)}", one, prepared)
        return number * NEW / self._run(began, times)

    def _ordinary(self, number: int, times: list[float] | None = None) -> float:
        """New tokens per second of requests that are no members."""
        inputs = [self._generator.prepared(*self._request(PRESETS["plain"]))[0] for _ in range(number)]
        began = time.perf_counter()
        for one in inputs:
            self._generator.submit_ordinary(f"bench{next(self._seeds)}", one, NEW)
        return number * NEW / self._run(began, times)

    def _run(self, began: float, times: list[float] | None) -> float:
        while self._engine.has_unfinished_requests():
            outputs = self._engine.step()
            if outputs and times is not None:
                times.append(time.perf_counter())
        return time.perf_counter() - began

    def _request(self, preset: Preset) -> tuple[GenerationRequest, Images]:
        random = np.random.default_rng(next(self._seeds))
        processor = self._generator.processor
        head, tail = f"<|user|><|vision_start|>{processor.image_token}<|vision_end|>", "<|assistant|>"
        place, marks = 16, 4  # a 112 x 112 image is 16 tokens; <|user|>, the two ends of the image, <|assistant|>
        prompts = []
        for branch in preset.branches:
            letters = "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 4 * PROMPT))
            ids = processor.tokenizer(letters, add_special_tokens=False)["input_ids"][: PROMPT - place - marks]
            body = processor.tokenizer.decode(ids)
            prompts.append(BranchPrompt(branch=branch, text=f"{head}{body}{tail}", text_images=(IMAGE,)))
        phrases = self._phrases if preset.bias == "phrases" else FINDINGS
        request = GenerationRequest(branches=tuple(prompts), preset=preset, phrases=phrases, max_new_tokens=NEW)
        return request, {IMAGE: random.random((112, 112), dtype=np.float32)}
