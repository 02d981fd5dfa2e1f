"""The command `prelim bulk`: drafts for thousands of studies, one line of JSON each.

    prelim bulk studies/ --out drafts.jsonl --index index/
    prelim bulk manifest.jsonl --out drafts.jsonl --language-model FOLDER --generator vllm

A line is on disk before its study counts as done; a run that was killed goes on where it was and makes no draft twice.
What a study's own files or request are at fault for is a line, too; what may succeed later is no line and is tried
again by the next run. A draft is the one that `prelim draft` makes of the same study.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from generation.draft import Draft
from generation.halt import Halt
from retrieval.errors import PrelimError, RequestError, RetryableError, StoreBusy, StoreFull, UnfinishedBuild
from retrieval.record import Record
from service.bulk_input import BadLine, BulkStudy, studies_in
from service.front import Front
from service.jobs.job import Fault

AHEAD: Final = 4
"""Studies handed out per one that is worked on, so that nobody waits for the next line of a manifest."""


class BulkLine(Record):
    """One line of the output."""

    study: str
    """Its name in the input."""
    draft: Draft | None = None
    """The draft, which may be an abstention; None where there is a fault."""
    fault: Fault | None = None
    """Why the study's files or request could not be drafted from."""


class BulkRun(Record):
    """What all drafts of one output were made with; kept beside it."""

    index_snapshot: str
    """A later snapshot may give other drafts."""
    drafter: str
    """Who wrote, with which settings."""


@dataclass
class Tally:
    """How a run goes."""

    drafted: int = 0
    abstained: int = 0
    faulty: int = 0
    """Studies whose files or request are at fault."""
    again: int = 0
    """Studies to be tried again by the next run."""
    known: int = 0
    """Studies that an earlier run had done."""

    @property
    def done(self) -> int:
        """Studies with a line."""
        return self.drafted + self.abstained + self.faulty + self.known


def bulk(front: Front, source: Path, out: Path, *, run: BulkRun, at_once: int, halt: Halt) -> Iterator[Tally]:
    """Draft every study that has no line yet; the tally after each one.

    Raises InvalidManifest, StoreBusy where another run writes to `out`, UnfinishedBuild where `out` was begun with
    other settings, StoreFull where a line cannot be written, Cancelled after `halt` says so; what is written stays.
    """
    with _output(out, run) as (known, lines), ThreadPoolExecutor(at_once, thread_name_prefix="prelim-bulk") as threads:
        tally = Tally()
        under_way: dict[Future[Draft], str] = {}
        for study in studies_in(source):
            halt.check()
            if study.study in known:
                tally.known += 1
                yield tally
            elif isinstance(study, BadLine):
                _write(lines, BulkLine(study=study.study, fault=Fault(code="INVALID_MANIFEST", what=study.what)))
                tally.faulty += 1
                yield tally
            else:
                under_way[threads.submit(_drafted, front, study, halt)] = study.study
                while len(under_way) >= AHEAD * at_once:
                    yield from _ended(under_way, lines, tally)
        while under_way:
            halt.check()
            yield from _ended(under_way, lines, tally)


def _drafted(front: Front, study: BulkStudy, halt: Halt) -> Draft:
    halt.check()
    asked = study.request
    return front.draft_now([Path(image) for image in study.images], asked, front.writer(asked), None, front.halt(asked))


def _ended(under_way: dict[Future[Draft], str], lines: BinaryIO, tally: Tally) -> Iterator[Tally]:
    """Write down whatever has ended by now, or the next that does."""
    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in done:
        name = under_way.pop(future)
        try:
            draft = future.result()
        except RetryableError:
            tally.again += 1
        except RequestError as error:
            fault = Fault(code=error.code, what=error.what, fix=error.fix)
            _write(lines, BulkLine(study=name, fault=fault))
            tally.faulty += 1
        else:
            _write(lines, BulkLine(study=name, draft=draft))
            if draft.status == "drafted":
                tally.drafted += 1
            else:
                tally.abstained += 1
        yield tally


def _write(lines: BinaryIO, line: BulkLine) -> None:
    try:
        lines.write(line.model_dump_json().encode() + b"\n")
        lines.flush()
        os.fsync(lines.fileno())
    except OSError as error:
        raise StoreFull("a draft could not be written", fix="make room and start the same command again") from error


@contextmanager
def _output(out: Path, run: BulkRun) -> Iterator[tuple[frozenset[str], BinaryIO]]:
    """The output, locked, without half a last line, and the names of the studies that have a line."""
    beside = out.with_name(out.name + ".run")
    try:
        lines = out.open("r+b") if out.exists() else out.open("w+b")
    except OSError as error:
        raise RequestError(f"{out} cannot be written", fix="name a file in a folder that is there") from error
    with lines:
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreBusy(f"another run writes to {out}", fix="wait for it, or name another file") from error
        known, end = _known(lines, out)
        if known and beside.exists() and BulkRun.model_validate_json(beside.read_bytes()) != run:
            raise UnfinishedBuild(
                f"{out} was begun with another index or other settings",
                fix="use the same ones, or write to another file",
            )
        beside.write_text(run.model_dump_json() + "\n")
        lines.truncate(end)
        lines.seek(end)
        yield known, lines


def _known(lines: BinaryIO, out: Path) -> tuple[frozenset[str], int]:
    """The studies that have a whole line, and where the last whole line ends."""
    known, end = set(), 0
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break  # killed while it was written
        try:
            known.add(str(json.loads(line)["study"]))
        except (ValueError, KeyError, TypeError) as error:
            raise RequestError(
                f"line {number} of {out} is no line of a bulk run", fix="write to another file"
            ) from error
        end += len(line)
    return frozenset(known), end


class BulkFailed(PrelimError):
    """Some studies are to be tried again."""

    code = "TRY_AGAIN"
    exit_status = 75
