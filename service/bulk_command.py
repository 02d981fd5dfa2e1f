"""The command `prelim bulk`: options in; progress while it runs, lines in a file, and a summary at the end.

    prelim bulk studies/ --out drafts.jsonl --index index/
    prelim bulk manifest.jsonl --out drafts.jsonl --language-model FOLDER --generator vllm

The same command again goes on where it was, after whatever ended it. Exit status: 0 every study has its line, 75 some
are to be tried again.
"""

import argparse
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, get_args

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from generation.generators import NAMES, REMOTE
from generation.writer import Writer
from retrieval.errors import RequestError, RetryableError
from retrieval.record import Record
from retrieval.records import ViewPosition
from retrieval.terminal import add_index_argument, count, plain
from service.bulk import Tally, bulk
from service.bulk_input import count_studies
from service.model_options import add_model_arguments, in_batches, writer_options
from service.request import DraftRequest
from service.wiring import open_front

AT_ONCE: Final = 8
"""Drafts written at once when nobody says."""
LINGER_S: Final = 1.0
"""How long a batch that is not full waits for another study; nobody waits for its drafts."""
GOES_ON: Final = "every line that was written stays, and the same command goes on from there"


class BulkReport(Record):
    """What came of a run; the counters count by stable code."""

    out: str
    """Where the lines are."""
    studies: int
    """Of the input."""
    known: int
    """Studies with a line of an earlier run."""
    drafted: int
    """Studies with a draft, of this run."""
    abstained: dict[str, int]
    """No draft, by reason."""
    faulty: dict[str, int]
    """Studies whose files or request are at fault; their lines say so."""
    again: dict[str, int]
    """Studies to be tried again by the same command."""
    instead: dict[str, int]
    """Drafts that similar cases stand in for, because the language model did not answer."""
    seconds: float
    """From the first study to the last line."""

    @property
    def rate(self) -> float:
        """Lines a second."""
        return (self.drafted + sum(self.abstained.values()) + sum(self.faulty.values())) / max(self.seconds, 1e-9)


def add_bulk_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim bulk` takes."""
    source = "a folder with a file or a folder for each study, or a manifest with a line of JSON for each"
    parser.add_argument("source", type=Path, metavar="INPUT", help=source)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where each study gets a line of JSON")
    add_index_argument(parser)
    parser.add_argument("--view", choices=get_args(ViewPosition), help="view of images of which nothing says any")
    once = f"drafts written at once, of an engine in this process in one batch (default: {AT_ONCE})"
    parser.add_argument("--at-once", type=count, default=AT_ONCE, metavar="N", help=once)
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    add_model_arguments(parser)


def bulk_drafts(options: argparse.Namespace, console: Console, notes: Console) -> int:
    """Draft every study of the input that has no line yet; returns the exit status."""
    # 1. What can be refused before anything large is opened.
    source, out = options.source, options.out
    if source.is_dir() and out.resolve().parent == source.resolve():
        raise RequestError("the output would lie among the studies", fix="name a file in another folder")
    studies = count_studies(source)
    usual = DraftRequest(view=options.view)
    writer, threads = _writer(options)
    # 2. Nobody waits for a single draft, so none has a deadline but its own.
    with (
        open_front(options.index, writer=writer, decoders=min(threads, os.cpu_count() or 1), at_once=1) as front,
        closing(bulk(front, source, out, usual=usual, at_once=threads)) as run,
    ):
        tally, seconds = _watched(run, studies, notes)
    # 3. What came of it.
    report = BulkReport(
        out=str(out),
        studies=studies,
        known=tally.known,
        drafted=tally.drafted,
        abstained=dict(tally.abstained),
        faulty=dict(tally.faulty),
        again=dict(tally.again),
        instead=dict(tally.instead),
        seconds=round(seconds, 3),
    )
    if options.json:
        console.file.write(report.model_dump_json(indent=2) + "\n")
    else:
        console.print(_table(report))
        if report.again:
            console.print(plain("The same command tries those again."))
    return RetryableError.exit_status if report.again else 0


def _writer(options: argparse.Namespace) -> tuple[Callable[[], Writer] | None, int]:
    """What loads the writer, and how many threads keep it busy."""
    if options.language_model and options.fallback is None:
        options.fallback = "error"  # nobody waits, so it is better to try again than to make do with similar cases
    load = writer_options(options)
    at_once: int = options.at_once
    if load is None or (options.generator or NAMES[0]) in REMOTE:
        return load, at_once
    # While a batch is being written, as many threads again prepare the next one.
    return in_batches(load, at_once, LINGER_S), 2 * at_once


def _watched(run: Iterator[Tally], studies: int, notes: Console) -> tuple[Tally, float]:
    """Let it run to its end under a progress bar; the last tally, and the seconds."""
    tally, began = Tally(), time.monotonic()
    columns = (BarColumn(), TextColumn("{task.completed}/{task.total}"), TextColumn("{task.description}"))
    with Progress(*columns, console=notes) as progress:
        bar = progress.add_task("begins", total=studies)
        for tally in run:
            seconds = time.monotonic() - began
            progress.update(bar, completed=tally.done, description=_progress(tally, studies, seconds))
    return tally, time.monotonic() - began


def _progress(tally: Tally, studies: int, seconds: float) -> str:
    """Rate, time left and failures; what earlier runs did says nothing of the rate."""
    rate = (tally.done - tally.known) / max(seconds, 1e-9)
    left = f"{_clock((studies - tally.done) / rate)} left" if rate else "begins"
    return f"{rate:.2f}/s, {left}, {tally.faulty.total()} faulty, {tally.again.total()} to be tried again"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _table(report: BulkReport) -> Table:
    table = Table(title=f"{report.studies} studies, {report.rate:.2f} lines a second")
    table.add_column("studies", justify="right")
    table.add_column("")
    table.add_row(str(report.drafted), "drafted")

    def rows(counted: dict[str, int], what: str) -> None:
        for code, number in sorted(Counter(counted).items()):
            table.add_row(str(number), plain(f"{what}: {code}"))

    rows(report.instead, "of these by similar cases instead of the language model")
    rows(report.abstained, "no draft")
    rows(report.faulty, "faulty")
    rows(report.again, "to be tried again")
    if report.known:
        table.add_row(str(report.known), "done by an earlier run")
    return table
