"""Drafts for thousands of studies, one line of JSON each: what `prelim bulk` runs.

A line is on disk before its study counts as done; a run that was killed goes on where it was and makes no draft twice.
What a study's own files or request are at fault for is a line, too; what may succeed later is no line and is tried
again by the next run. A draft is the one that `prelim draft` makes of the same study.

A file that is missing or cannot be opened may be there later: its storage may be away. So its study is tried again by
every run, which tells the code and ends with status 75; that goes for a file that never existed, too, since nobody can
tell the two apart and a line would stand for ever. A file that was opened and found damaged is a line.
"""

import fcntl
import json
import os
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from generation.decoding.presets import Preset
from generation.draft import Draft
from generation.halt import Halt
from generation.writer import Fallback
from prompts.render import TEMPLATES
from retrieval.errors import (
    BrokenLogits,
    InvalidStudy,
    OperatorError,
    PrelimError,
    RequestError,
    StoreBusy,
    StoreFull,
    StoreUnavailable,
    UnfinishedBuild,
    UnreadableImage,
)
from retrieval.record import Record
from service.bulk_input import BadLine, BulkStudy, studies_in
from service.front import Front
from service.jobs.job import Fault
from service.observe.logs import place_of
from service.request import DraftRequest

AHEAD: Final = 2
"""Studies handed out per one that is worked on, so that nobody waits for the next line of a manifest."""
GIVE_UP: Final = 100
"""Studies in a row without a line after which a run ends: whatever ails it ails the next study, too."""


class BulkLine(Record):
    """One line of the output."""

    study: str
    """Its name in the input."""
    draft: Draft | None = None
    """The draft, which may be an abstention; None where there is a fault."""
    fault: Fault | None = None
    """Why the study's files or request could not be drafted from."""


class LanguageModel(Record):
    """Who writes, and how, where a language model does."""

    generator: str
    """The engine."""
    language_model: str
    """Folder or hub id, or what its servers call it."""
    weights: str
    """By digest; empty where a server keeps them."""
    experts: tuple[str, ...]
    """Who is asked about every study, by identity."""
    preset: Preset
    """How branches are mixed, with every number."""
    templates: str
    """Version of the prompts' templates."""
    max_new_tokens: int
    """Where a draft ends at the latest."""
    fallback: Fallback
    """What happens where the language model does not answer."""


class BulkRun(Record):
    """What all drafts of one output are made with; kept beside it, so that no run goes on with anything else."""

    software: str
    """Version of Prelim."""
    index_snapshot: str | None
    """Of the index, whose other snapshots may hold other cases."""
    encoder: str
    """Of the images, by identity."""
    drafters: tuple[str, ...]
    """What drafts may name as their `drafter`, with its settings."""
    writer: LanguageModel | None
    """None where sentences are those of similar cases."""
    usual: DraftRequest
    """What is asked where a study does not say it."""

    @staticmethod
    def of(front: Front, usual: DraftRequest) -> "BulkRun":
        """What drafts are made with now."""
        drafter, here = front.desk.drafter, front.desk.retriever.nothing()
        writer = drafter.writer and LanguageModel(
            generator=drafter.writer.generator.name,
            language_model=drafter.writer.generator.language_model,
            weights=drafter.writer.generator.weights,
            experts=tuple(expert.identity for expert in drafter.writer.experts),
            preset=drafter.writer.preset,
            templates=TEMPLATES,
            max_new_tokens=drafter.writer.max_new_tokens,
            fallback=drafter.writer.fallback,
        )
        return BulkRun(
            software=version("prelim"),
            index_snapshot=here.index_snapshot,
            encoder=here.encoder,
            drafters=drafter.identities,
            writer=writer,
            usual=usual,
        )


@dataclass
class Tally:
    """How a run goes; the counters count by stable code."""

    known: int = 0
    """Studies with a line of an earlier run."""
    drafted: int = 0
    """Studies with a draft, of this run."""
    abstained: Counter[str] = field(default_factory=Counter)
    """No draft, by reason."""
    faulty: Counter[str] = field(default_factory=Counter)
    """Studies whose files or request are at fault."""
    again: Counter[str] = field(default_factory=Counter)
    """Studies without a line, to be tried again."""
    instead: Counter[str] = field(default_factory=Counter)
    """Drafts among the others that similar cases stand in for, because the language model did not answer."""

    @property
    def lines(self) -> int:
        """Studies that this run has written a line for."""
        return self.drafted + self.abstained.total() + self.faulty.total()

    @property
    def done(self) -> int:
        """Studies that have been dealt with, well or not."""
        return self.known + self.lines + self.again.total()


def bulk(front: Front, source: Path, out: Path, *, usual: DraftRequest, at_once: int) -> Generator[Tally, None, None]:
    """Draft every study that has no line yet, `at_once` at a time; the tally whenever it has changed.

    Raises InvalidManifest, StoreBusy where another run writes to `out`, UnfinishedBuild where `out` was begun with
    other settings, StoreFull where a line cannot be written, StoreUnavailable where their files have gone, and
    what ends every draft alike; what is written stays, and whoever closes the iterator stops the drafts under way.
    """
    tally, end = Tally(), Halt()
    under_way: dict[Future[Draft], str] = {}
    in_a_row = 0
    with _output(out, BulkRun.of(front, usual)) as (known, handle), ThreadPoolExecutor(at_once, "bulk") as threads:

        def written() -> Tally:
            """Write down what has ended by now, or the next that does."""
            nonlocal in_a_row
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            lines = [line for each in done if (line := _line(under_way.pop(each), each, tally)) is not None]
            _write(handle, lines)
            in_a_row = 0 if lines else in_a_row + len(done)
            if in_a_row >= GIVE_UP:
                raise _named(next(iter(done)).exception())
            return tally

        try:
            for study in studies_in(source, usual):
                if study.study in known:
                    tally.known += 1
                    yield tally
                elif isinstance(study, BadLine):
                    tally.faulty["INVALID_MANIFEST"] += 1
                    _write(handle, [BulkLine(study=study.study, fault=Fault(code="INVALID_MANIFEST", what=study.what))])
                    yield tally
                else:
                    under_way[threads.submit(_drafted, front, study, end)] = study.study
                    while len(under_way) >= AHEAD * at_once:
                        yield written()
            while under_way:
                yield written()
        finally:
            end.cancel()
            for future in under_way:
                future.cancel()


class _Until(Halt):
    """The deadline of one draft, or the end of the run."""

    awaited = False

    def __init__(self, end: Halt, seconds: float | None) -> None:
        super().__init__(seconds)
        self._end = end

    def check(self) -> None:
        self._end.check()
        super().check()


def _drafted(front: Front, study: BulkStudy, end: Halt) -> Draft:
    asked = study.request
    halt = _Until(end, asked.deadline_s)
    return front.draft_now([Path(image) for image in study.images], asked, front.writer(asked), None, halt)


def _line(study: str, ended: Future[Draft], tally: Tally) -> BulkLine | None:
    """The line of a study, counted; None where it is to be tried again. Raises what ends every draft alike."""
    try:
        draft = ended.result()
    except RequestError as error:
        if _unopened(error):
            tally.again[error.code] += 1
            return None
        tally.faulty[error.code] += 1
        return BulkLine(study=study, fault=Fault(code=error.code, what=error.unquoted, fix=error.fix))
    except PrelimError as error:
        if isinstance(error, OperatorError) and not isinstance(error, BrokenLogits):
            raise
        tally.again[error.code] += 1
        return None
    except Exception:  # noqa: BLE001  one study must not end a night's run
        tally.again["UNFORESEEN"] += 1
        return None
    if draft.reason is None:
        tally.drafted += 1
    else:
        tally.abstained[draft.reason] += 1
    if draft.fallback:
        tally.instead[draft.fallback] += 1
    return BulkLine(study=study, draft=draft)


def _unopened(error: BaseException | None) -> bool:
    """Whether a file is missing or cannot be opened, as opposed to one that was opened."""
    if isinstance(error, InvalidStudy):
        return isinstance(error.__context__, OSError)
    # Of what went wrong in a decoder's process, the code and these words are all that is known here.
    return isinstance(error, UnreadableImage) and error.what.startswith("the file cannot be opened")


def _named(error: BaseException | None) -> PrelimError:
    """What ends a run, as one of our errors: the words of another, and paths, may hold anything of the studies."""
    if _unopened(error):
        return StoreUnavailable(
            "files of one study after another are missing or cannot be opened",
            fix="see whether their storage is there, and start the same command again",
        )
    if isinstance(error, PrelimError):
        return error
    where = "unknown" if error is None else f"{type(error).__name__} at {place_of(error)}"
    return PrelimError(f"an error that nobody foresaw, {where}", fix="tell whoever maintains this the place")


def _write(handle: int, lines: Sequence[BulkLine]) -> None:
    """Put whole lines on disk."""
    rest = memoryview(b"".join(line.model_dump_json().encode() + b"\n" for line in lines))
    try:
        while rest:
            rest = rest[os.write(handle, rest) :]
        os.fsync(handle)
    except OSError as error:
        raise StoreFull(
            f"a draft could not be written: {error.strerror}", fix="make room and start the same command again"
        ) from error


@contextmanager
def _output(out: Path, run: BulkRun) -> Iterator[tuple[frozenset[str], int]]:
    """The names of the studies that have a line, and the output, locked, without half a last line."""
    beside = out.with_name(f"{out.name}.run")
    try:
        lines = out.open("a+b", buffering=0)  # makes it, and leaves what is there
    except OSError as error:
        raise RequestError(f"{out} cannot be written: {error.strerror}", fix="name a file in a folder") from error
    with lines:
        # 1. One run at a time; the lock goes with the process, however that ends.
        try:
            fcntl.flock(lines, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreBusy(f"another run writes to {out}", fix="wait for it, or name another file") from error
        # 2. Never on with something else.
        known, end = _known(out)
        if known:
            _check_same(beside, run)
        else:
            try:
                beside.write_text(run.model_dump_json(indent=1) + "\n", encoding="utf-8")
            except OSError as error:
                raise StoreFull(f"{beside} cannot be written: {error.strerror}", fix="make room there") from error
        # 3. Half a line is that of a study without a draft.
        lines.truncate(end)
        yield known, lines.fileno()


def _known(out: Path) -> tuple[frozenset[str], int]:
    """The studies that have a whole line, and where the last whole line ends."""
    known, end = set(), 0
    with out.open("rb") as lines:
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


def _check_same(beside: Path, run: BulkRun) -> None:
    try:
        begun = BulkRun.model_validate_json(beside.read_bytes())
    except (OSError, ValidationError) as error:
        raise UnfinishedBuild(
            f"{beside}, which says how the output was begun, is not there or of another version",
            fix="write to another file",
        ) from error
    other = [name for name in BulkRun.model_fields if getattr(begun, name) != getattr(run, name)]
    if other:
        raise UnfinishedBuild(
            f"the output was begun with another {', another '.join(other)}",
            fix="use what it was begun with, or write to another file",
        )
