"""What `prelim bulk` loses between its stages: its rate against the one that the stages' own times imply.

Each stage is timed by itself over all studies, with the same decoders and threads: reading the files; everything from
the gate to the checks, with a language model whose answers are there already; the language model's requests in full
batches; putting the lines on disk. One after another they imply a rate. A run overlaps them, so it may be faster; below
this rate it would waste what it has. Drawn studies, a language model with random weights; runs alternate.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from itertools import count
from pathlib import Path
from statistics import median
from typing import Final

from rich.table import Table

from evaluation.drawings import write_studies
from evaluation.random_models import Size, write_random_model
from generation.decoding.batched import BatchedGenerator
from generation.decoding.generator import Generated, GenerationRequest, Generator, Images, OnText
from generation.decoding.hf_models import load_model
from generation.decoding.presets import PRESETS
from generation.draft import Draft
from generation.halt import Halt
from generation.together import Together
from generation.writer import Writer
from indexing.__main__ import main as prelim_index
from retrieval.record import Record
from retrieval.study import ReadStudy
from service.bulk import BulkLine, bulk
from service.bulk_command import LINGER_S
from service.front import Front
from service.request import DraftRequest
from service.wiring import open_front

INDEXED: Final = 200
BY_CASES: Final = 96
BY_MODEL: Final = 24
AT_ONCE: Final = 8
NEW_TOKENS: Final = 24
_USUAL: Final = DraftRequest(view="PA")


class BulkRow(Record):
    """One way to write."""

    studies: int
    """Drafted in each run."""
    stages: dict[str, float]
    """Seconds of each stage alone, over all studies; medians."""
    bulk_s: float
    """Seconds of a run, from the first study to the last line; the median."""
    rate: float
    """Drafts a second of a run."""
    share: float
    """Rate of a run over the one that its stages imply, the median of the pairs."""


class BulkRate(Record):
    """What `prelim-evaluate bulk` measured."""

    cores: int
    """Of the machine."""
    at_once: int
    """Drafts written at once."""
    runs: int
    """Pairs of runs behind each median."""
    rows: dict[str, BulkRow]
    """By who writes."""


class _Recorded:
    """A generator whose answers are there already, in the order of the studies; keeps what it was asked."""

    def __init__(self, behind: Generator, answers: Iterator[Generated]) -> None:
        self.name, self.language_model, self.weights = behind.name, behind.language_model, behind.weights
        self.asked: list[tuple[GenerationRequest, Images]] = []
        self._answers = answers

    def close(self) -> None:
        """Nothing is held open."""

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        self.asked += [(request, images) for request in requests]
        return [next(self._answers) for _ in requests]


def measure_bulk_rate(runs: int = 3) -> BulkRate:
    """Draw studies, make an index and a language model, and time alternating runs; minutes on two cores."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        index = folder / "index"
        manifest = write_studies(folder / "studies", INDEXED)
        with redirect_stdout(StringIO()):
            prelim_index(["build", str(manifest), "--index", str(index)])
        model = write_random_model(folder / "model", "qwen2_vl", Size(hidden=128, layers=4, positions=16384))

        def writer() -> Writer:
            generator = Together(BatchedGenerator(load_model(str(model))), most=AT_ONCE, linger_s=LINGER_S)
            return Writer(generator, preset=PRESETS["plain"], max_new_tokens=NEW_TOKENS, fallback="error")

        rows = {
            "similar cases": _row(index, folder / "by-cases", BY_CASES, runs, None),
            "language model": _row(index, folder / "by-model", BY_MODEL, runs, writer),
        }
    return BulkRate(cores=os.cpu_count() or 1, at_once=AT_ONCE, runs=runs, rows=rows)


def bulk_table(measured: BulkRate) -> Table:
    """The figures for a terminal."""
    table = Table(title=f"bulk drafts, {measured.at_once} at once on {measured.cores} cores")
    for name in ("by", "studies", "stages", "run", "drafts/s", "of the implied rate"):
        table.add_column(name, justify="left" if name in ("by", "stages") else "right")
    for name, row in measured.rows.items():
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in row.stages.items())
        table.add_row(name, str(row.studies), stages, f"{row.bulk_s:.1f} s", f"{row.rate:.2f}", f"{row.share:.2f}")
    return table


def _row(index: Path, folder: Path, studies: int, runs: int, writer: Callable[[], Writer] | None) -> BulkRow:
    write_studies(folder, studies, seed=9100)
    source, numbers = folder / "images", count()
    threads = AT_ONCE if writer is None else 2 * AT_ONCE
    stages: list[dict[str, float]] = []
    walls: list[float] = []
    with open_front(str(index), writer=writer, decoders=os.cpu_count() or 1, at_once=1) as front:

        def whole() -> float:
            out = folder / f"{next(numbers)}.jsonl"
            began = time.perf_counter()
            for _tally in bulk(front, source, out, usual=_USUAL, at_once=threads):
                pass
            seconds = time.perf_counter() - began
            lines = [json.loads(line) for line in out.open(encoding="utf-8")]
            if len(lines) != studies or any(line["draft"] is None for line in lines):
                raise RuntimeError("a study has no draft: this would time something else")
            return seconds

        whole()  # everything is warm
        for _ in range(runs):
            stages.append(_stages(front, sorted(source.iterdir()), folder / "lines.jsonl", threads))
            walls.append(whole())
    return BulkRow(
        studies=studies,
        stages={name: median(each[name] for each in stages) for name in stages[0]},
        bulk_s=median(walls),
        rate=studies / median(walls),
        share=median(sum(each.values()) / wall for each, wall in zip(stages, walls, strict=True)),
    )


def _stages(front: Front, images: Sequence[Path], out: Path, threads: int) -> dict[str, float]:
    """Seconds of each stage alone."""
    seconds: dict[str, float] = {}
    drafter, writer = front.desk.drafter, front.writer(_USUAL)

    def read_one(image: Path) -> ReadStudy:
        return front.desk.read([image], view=_USUAL.view, patient_key=None)

    with ThreadPoolExecutor(threads) as pool:
        # 1. Reading.
        began = time.perf_counter()
        read = list(pool.map(read_one, images))
        seconds["reading"] = time.perf_counter() - began
        if writer is not None:
            # 2. The language model, asked what drafts ask it.
            nothing = Generated(token_ids=(), text="", finish="end", margins=(), prompt_tokens=(0,))
            noted = _Recorded(writer.generator, iter([nothing] * len(read)))
            for study in read:
                drafter.written_by(replace(writer, generator=noted)).draft(study)
            began = time.perf_counter()
            generate = writer.generator.generate
            answers = list(pool.map(lambda asked: generate([asked[0]], asked[1])[0], noted.asked))
            seconds["language model"] = time.perf_counter() - began
            writer = replace(writer, generator=_Recorded(writer.generator, iter(answers)))
    # 3. Everything else of a draft.
    began = time.perf_counter()
    drafts: list[Draft] = [drafter.written_by(writer).draft(study) for study in read]
    seconds["gate to checks"] = time.perf_counter() - began
    # 4. Lines on disk.
    began = time.perf_counter()
    with out.open("wb", buffering=0) as lines:
        for image, draft in zip(images, drafts, strict=True):
            lines.write(BulkLine(study=image.name, draft=draft).model_dump_json().encode() + b"\n")
            os.fsync(lines.fileno())
    seconds["writing"] = time.perf_counter() - began
    return seconds
