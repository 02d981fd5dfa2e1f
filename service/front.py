"""What every face stands before: the desk with its waiting rooms, its keys and its jobs.

Faces translate their transport into these calls; what a draft is, and in which order things happen, is the drafter's.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, TypeVar

from generation.decoding.presets import PRESETS
from generation.draft import Draft, Tell
from generation.halt import Halt
from generation.steps import facts_of, step, under_way, waited
from generation.writer import Writer
from retrieval.errors import RequestError
from service.desk import Desk
from service.images import Viewer
from service.keys import Key
from service.request import DraftRequest
from service.waiting import Urgency, WaitingRoom

if TYPE_CHECKING:
    from service.jobs.store import JobStore

T = TypeVar("T")
DEADLINE_S = 120.0
"""Seconds a draft may take that somebody waits for, when nobody says."""


@dataclass(frozen=True)
class Jobs:
    """Where jobs are kept."""

    store: "JobStore"
    spool: Path
    """The folder with the images of jobs that have not ended."""


@dataclass(frozen=True)
class Front:
    """An open desk and what many callers at once need."""

    desk: Desk
    """The index, the decoders, the drafter."""
    room: WaitingRoom
    """Where drafts wait their turn."""
    brief: WaitingRoom
    """Where short work waits, such as a search or an image for the eye: never behind a draft."""
    viewer: Viewer
    """Images for the eye."""
    keys: tuple[Key, ...] | None = None
    """Who may ask; None for everybody on this machine."""
    jobs: Jobs | None = None
    """Drafts that nobody waits for; None where none are kept."""
    deadline_s: float | None = DEADLINE_S
    """Seconds a draft may take when the caller names none."""

    def halt(self, asked: DraftRequest) -> Halt:
        """When to give up on what is asked."""
        return Halt(asked.deadline_s or self.deadline_s)

    def draft(
        self,
        paths: Sequence[Path],
        asked: DraftRequest,
        *,
        tell: Tell | None = None,
        halt: Halt | None = None,
        urgency: Urgency = "interactive",
    ) -> Future[Draft]:
        """Draft a study from its files when it is its turn; raises Overloaded, and RequestError at once.

        The files must stay until the future is done.
        """
        writer = self.writer(asked)
        halt, since_ns = halt or self.halt(asked), time_ns()
        if urgency == "bulk":
            halt = _GivesWay(halt, self.room)
        return self.room.submit(
            lambda: self.draft_now(paths, asked, writer, tell, halt, since_ns=since_ns, urgency=urgency), urgency
        )

    def draft_now(
        self,
        paths: Sequence[Path],
        asked: DraftRequest,
        writer: Writer | None,
        tell: Tell | None,
        halt: Halt,
        *,
        since_ns: int | None = None,
        urgency: Urgency = "bulk",
    ) -> Draft:
        """Draft a study in this thread; `since_ns` is when it was asked for, where it had to wait its turn."""
        request = under_way()
        with step("draft", since_ns=since_ns, urgency=urgency, files=len(paths)) as span:
            if since_ns is not None:
                waited(since_ns)
            halt.pause()
            read = self.desk.read(
                paths, view=asked.view, patient_key=asked.patient_key, told=asked.told, urgency=urgency
            )
            halt.pause()
            draft = self.desk.drafter.written_by(writer).draft(read, tell, halt)
            facts = facts_of(draft)
            span.set_attributes(facts)
            # One request of a person is one draft; whoever asked may have gone.
            if urgency == "interactive" and request.is_recording():
                request.set_attributes(facts)
        return draft

    def writer(self, asked: DraftRequest) -> Writer | None:
        """Who writes what is asked; raises RequestError for a language model that is not here."""
        here = self.desk.drafter.writer
        if asked.written_by == "similar_cases":
            return None
        if here is None:
            if asked.written_by == "language_model" or asked.preset is not None:
                raise RequestError(
                    "this service has no language model",
                    fix="leave `written_by` and `preset` out, or start it with one",
                )
            return None
        return replace(
            here,
            preset=PRESETS[asked.preset] if asked.preset else here.preset,
            seed=asked.seed,
            temperature=asked.temperature,
            max_new_tokens=asked.max_new_tokens or here.max_new_tokens,
        )

    async def done(self, work: Callable[[], T]) -> T:
        """What somebody waits for and no deadline ends, such as a search, when it is its turn."""
        return await asyncio.wrap_future(self.brief.submit(work))

    @property
    def kept_jobs(self) -> Jobs:
        """The jobs; raises RequestError where none are kept."""
        if self.jobs is None:
            raise RequestError("this service keeps no jobs", fix="start it with a database for jobs")
        return self.jobs


class _GivesWay(Halt):
    """That of a draft nobody waits for: between its steps it leaves its place to drafts that somebody waits for."""

    awaited = False

    def __init__(self, halt: Halt, room: WaitingRoom) -> None:
        super().__init__()
        self._halt, self._room = halt, room

    @property
    def left(self) -> float | None:
        return self._halt.left

    def cancel(self) -> None:
        self._halt.cancel()

    def check(self) -> None:
        self._halt.check()

    def pause(self) -> None:
        self._room.give_way(self)
