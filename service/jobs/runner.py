"""Work on jobs beside the requests of people who wait: claim, draft, end, again and again, in one thread.

A job's images lie in a folder of their own from submission until the job has ended. The thread holds as many jobs as
may be worked on at once, prolongs their leases, and tells a draft to stop when its job is cancelled. What the process
held when it is killed is claimed again when the lease has run out; what it is told to leave is given back at once.

Patient data does not stay: jobs are deleted some time after they ended, and uploads of no living job, which a killed
process or a lost answer of the database leaves behind, are removed at the start and from time to time. Whatever else
lies in the spool stays.
"""

import logging
import shutil
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from pydantic import ValidationError

from generation.draft import Draft
from generation.halt import Halt
from retrieval.errors import Cancelled, Overloaded, PrelimError, RetryableError
from retrieval.record import Record
from service.jobs.job import Fault
from service.jobs.store import LEASE_S, Claimed, JobStore
from service.request import DraftRequest
from service.temporary import UPLOAD
from service.waiting import Urgency

_LOG: Final = logging.getLogger(__name__)
LOOK_S: Final = 0.2
"""How often it is looked for jobs, and for those cancelled; a draft that has ended is written down at once."""
KEEP_S: Final = 24 * 3600.0
"""How long a job that has ended can be asked for."""
ABANDONED_S: Final = 600.0
"""A folder of no job this old belongs to no submission under way."""
_TIDY_S: Final = 60.0
_CANCEL_S: Final = 0.5
"""How long until it is noticed that a job was cancelled."""
_AWAY_S: Final = 2.0
"""How long to wait for a database that does not answer."""


class JobRequest(Record):
    """What a job keeps of what was asked."""

    folder: str
    """Name of the folder with its images, below the spool."""
    files: int
    """How many images lie there, named by their number."""
    asked: DraftRequest
    """Everything else."""
    urgency: Urgency = "bulk"
    """Where it waits its turn."""


class Drafts(Protocol):
    """What makes a draft of files when it is its turn."""

    def draft(self, paths: Sequence[Path], asked: DraftRequest, *, halt: Halt, urgency: Urgency) -> Future[Draft]:
        """Raises Overloaded where no more may wait."""
        ...


@dataclass
class _Held:
    claimed: Claimed
    folder: Path
    halt: Halt
    future: Future[Draft]
    kept: float
    """When the lease was last prolonged, on the monotonic clock."""


class JobRunner:
    """Works on the jobs of one store, whose images lie in `spool`."""

    def __init__(
        self,
        store: JobStore,
        spool: Path,
        drafts: Drafts,
        *,
        at_once: int = 2,
        lease_s: float = LEASE_S,
        keep_s: float = KEEP_S,
        abandoned_s: float = ABANDONED_S,
    ) -> None:
        self._store, self._spool, self._drafts = store, spool, drafts
        self._at_once, self._lease_s = at_once, lease_s
        self._keep_s, self._abandoned_s = keep_s, abandoned_s
        self._held: list[_Held] = []
        self._tidied = -_TIDY_S
        self._stopping = threading.Event()
        self._look = threading.Event()
        """Set when there is something to look at before LOOK_S has passed."""
        self._thread = threading.Thread(target=self._run, name="prelim-jobs", daemon=True)

    def start(self) -> None:
        """Begin to work, after removing what killed submissions have left behind."""
        self._thread.start()

    def stop(self, seconds: float = 10.0) -> None:
        """Give back what is held and end; drafts under way are told to stop."""
        self._stopping.set()
        self._look.set()
        self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._round()
            except RetryableError as error:  # the database is away: the leases tell the rest
                _LOG.warning("jobs wait: %s", error.code)
                self._stopping.wait(_AWAY_S)
            except Exception as error:  # noqa: BLE001  jobs go on whatever becomes of one round
                _LOG.error("a round of jobs failed with %s", type(error).__name__)
                self._stopping.wait(_AWAY_S)
            self._look.wait(LOOK_S)
            self._look.clear()
        for held in self._held:
            held.halt.cancel()
        for held in self._held:
            # A draft under way reads its images until it has stopped, and others may begin the job meanwhile.
            with suppress(RetryableError):
                self._store.release(held.claimed)

    def _round(self) -> None:
        # 1. What has ended, or is no longer wanted.
        for held in list(self._held):
            if held.future.done():
                self._end(held)
                self._held.remove(held)
            elif time.monotonic() - held.kept > min(_CANCEL_S, self._lease_s / 4):
                if not self._store.keep(held.claimed, lease_s=self._lease_s):
                    held.halt.cancel()
                    held.future.cancel()  # where its turn has not come
                held.kept = time.monotonic()
        # 2. What nobody will ask for again.
        if time.monotonic() - self._tidied > _TIDY_S:
            self._tidy()
            self._tidied = time.monotonic()
        # 3. New work, as far as there is room.
        while len(self._held) < self._at_once and (claimed := self._store.claim(lease_s=self._lease_s)) is not None:
            if not self._begin(claimed):
                return

    def _begin(self, claimed: Claimed) -> bool:
        """Begin a job, or end it where it cannot be begun; False when no more may wait."""
        try:
            request = JobRequest.model_validate_json(claimed.request)
        except ValidationError:
            why = "the job was submitted to another version, which this one cannot read"
            self._store.fail(claimed, Fault(code="UNREADABLE_JOB", what=why, fix="submit it again"))
            return True
        folder = self._spool / request.folder
        paths = [folder / str(number) for number in range(request.files)]
        halt = Halt(request.asked.deadline_s)
        try:
            future = self._drafts.draft(paths, request.asked, halt=halt, urgency=request.urgency)
        except Overloaded:
            self._store.release(claimed)  # it keeps its place in the queue
            return False
        except PrelimError as error:
            self._store.fail(claimed, _fault(error))
            shutil.rmtree(folder, ignore_errors=True)
            return True
        self._held.append(_Held(claimed, folder, halt, future, time.monotonic()))
        future.add_done_callback(lambda _: self._look.set())  # another job can begin in its place
        return True

    def _end(self, held: _Held) -> None:
        """Write down what came of a job; where the database is away, it is tried again in the next round."""
        outcome: Draft | Fault | None
        try:
            outcome = held.future.result()
        except (Cancelled, CancelledError):
            outcome = None
        except PrelimError as error:
            outcome = _fault(error)
        except Exception as error:  # noqa: BLE001  one job's fault must not end the others
            _LOG.error("job %s failed with %s", held.claimed.job.job_id, type(error).__name__)
            outcome = Fault(code="UNFORESEEN", what="an error that nobody foresaw", fix="see the service's log")
        if isinstance(outcome, Draft):
            ended = self._store.succeed(held.claimed, outcome)
        elif isinstance(outcome, Fault):
            ended = self._store.fail(held.claimed, outcome)
        else:
            ended = self._store.drop(held.claimed)
        if ended:  # else another worker has it now, and needs the images
            shutil.rmtree(held.folder, ignore_errors=True)

    def _tidy(self) -> None:
        """Delete ended jobs, and uploads of no living job; never those of a submission under way."""
        self._store.purge(self._keep_s)
        living = set()
        for request in self._store.living():
            with suppress(ValidationError):
                living.add(JobRequest.model_validate_json(request).folder)
        for folder in self._spool.glob(f"{UPLOAD}*"):
            with suppress(FileNotFoundError):
                if folder.name not in living and time.time() - folder.stat().st_mtime >= self._abandoned_s:
                    shutil.rmtree(folder, ignore_errors=True)


def _fault(error: PrelimError) -> Fault:
    return Fault(code=error.code, what=error.unquoted, fix=error.fix)
