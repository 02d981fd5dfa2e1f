"""Jobs in a database: SQLite in a file by default, PostgreSQL by URL; the same statements for both.

What goes in is a request as JSON, what comes out are `Job` records. A job that was acknowledged is never lost: it is on
disk before `submit` returns, and a worker holds it by a lease, which runs out when the worker dies. It is never made
twice either: only the holder of the lease may end it, and the same idempotency key gives the same job. What a request
means, who works on it and where its images are is not known here.

Requests and drafts are patient data: what was asked is forgotten when the job ends, and the draft deleted some time
after (`purge`). Of an idempotency key a digest is kept, since callers put names and numbers into them.
"""

import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    delete,
    event,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from generation.draft import Draft
from retrieval.errors import InvalidLocation, KeyReused, Overloaded, StoreUnavailable, UnknownJob
from service.jobs.job import ENDED, Fault, Job, JobId, JobState
from service.waiting import Urgency

LEASE_S: Final = 60.0
"""A worker that says nothing for so long is taken for dead."""
MOST_ATTEMPTS: Final = 3
"""A job that killed its worker so often is not tried again."""
_RANK: Final[dict[Urgency, int]] = {"interactive": 0, "bulk": 1}

_META: Final = MetaData()
_JOBS: Final = Table(
    "prelim_jobs",
    _META,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("job_id", String(64), nullable=False, unique=True),
    Column("owner", String(64), nullable=False),
    Column("idempotency_key", String(255)),
    Column("content", String(64), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("rank", Integer, nullable=False),
    Column("submitted", Float, nullable=False),
    Column("ended", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("lease", String(64)),
    Column("leased_until", Float),
    Column("cancelling", Integer, nullable=False, default=0),
    Column("request", Text, nullable=False),
    Column("draft", Text),
    Column("fault", Text),
    # Two requests with one key at the same moment: the database decides which was first.
    UniqueConstraint("owner", "idempotency_key"),
)


class Claimed:
    """A job that this worker holds, with what was asked."""

    def __init__(self, job: Job, request: str, owner: str, lease: str) -> None:
        self.job = job
        self.request = request
        """As it was submitted."""
        self.owner = owner
        self.lease = lease
        """The proof that it is held; ends and prolongations need it."""


class JobStore:
    """All jobs of one installation; may be used by many threads, and by many processes."""

    def __init__(self, url: str, *, most_queued: int = 1000, clock: Callable[[], float] = time.time) -> None:
        """`url` as SQLAlchemy writes it; raises InvalidLocation, and StoreUnavailable where nobody answers."""
        self._engine = _engine(url)
        self._most_queued = most_queued
        self._clock = clock
        with _answering():
            _META.create_all(self._engine)

    def submit(
        self,
        request: str,
        *,
        owner: str,
        content: str,
        urgency: Urgency = "bulk",
        idempotency_key: str | None = None,
    ) -> tuple[Job, bool]:
        """Keep a job; returns it as it was kept, and whether it is new.

        `content` is a digest of everything asked. The same key with the same content gives the job there is; with
        other content it raises KeyReused. Raises Overloaded when too many are queued. After StoreUnavailable nobody
        knows whether it is kept.
        """
        idempotency_key = None if idempotency_key is None else hashlib.sha256(idempotency_key.encode()).hexdigest()
        with _answering(), self._engine.begin() as db:
            if idempotency_key is not None and (known := self._by_key(db, owner, idempotency_key, content)):
                return known, False
            queued = db.execute(select(func.count()).where(_JOBS.c.state == "queued")).scalar_one()
            if queued >= self._most_queued:
                raise Overloaded(f"{queued} jobs are queued already", retry_after_s=30)
        job = Job(job_id=JobId(secrets.token_urlsafe(18)), state="queued", urgency=urgency, submitted=self._clock())
        values = {
            "job_id": job.job_id, "owner": owner, "idempotency_key": idempotency_key, "content": content,
            "state": job.state, "rank": _RANK[urgency], "submitted": job.submitted, "attempts": 0, "cancelling": 0,
            "request": request,
        }  # fmt: skip
        with _answering():
            try:
                with self._engine.begin() as db:
                    db.execute(insert(_JOBS).values(values))
            except IntegrityError:
                if idempotency_key is None:
                    raise
                with self._engine.begin() as db:
                    known = self._by_key(db, owner, idempotency_key, content)
                if known is None:
                    raise
                return known, False
        return job, True

    def get(self, job_id: JobId, *, owner: str) -> Job:
        """One job of this owner; raises UnknownJob, also for the jobs of others."""
        with _answering(), self._engine.begin() as db:
            row = db.execute(select(_JOBS).where(_JOBS.c.job_id == job_id, _JOBS.c.owner == owner)).one_or_none()
        if row is None:
            raise UnknownJob("there is no such job", fix="it may have been deleted some time after it ended")
        return _job(row)

    def cancel(self, job_id: JobId, *, owner: str) -> Job:
        """A queued job ends at once, a running one as soon as its worker asks; one that ended stays as it is."""
        mine = (_JOBS.c.job_id == job_id, _JOBS.c.owner == owner)
        with _answering(), self._engine.begin() as db:
            queued = db.execute(
                update(_JOBS)
                .where(*mine, _JOBS.c.state == "queued")
                .values(state="cancelled", ended=self._clock(), cancelling=1)
            )
            if queued.rowcount == 0:
                db.execute(update(_JOBS).where(*mine, _JOBS.c.state == "running").values(cancelling=1))
        return self.get(job_id, owner=owner)

    def claim(self, *, lease_s: float = LEASE_S) -> Claimed | None:
        """Hold the job that is due: interactive before bulk, oldest first, those of dead workers too; None for none."""
        now, lease = self._clock(), secrets.token_hex(16)
        with _answering():
            self._give_up(now)
            while True:
                with self._engine.begin() as db:
                    due = (_JOBS.c.state == "queued") | ((_JOBS.c.state == "running") & (_JOBS.c.leased_until < now))
                    number = db.execute(
                        select(_JOBS.c.number).where(due).order_by(_JOBS.c.rank, _JOBS.c.number).limit(1)
                    ).scalar_one_or_none()
                    if number is None:
                        return None
                    # Another worker may have taken it in between: then this changes nothing, and the next is tried.
                    taken = db.execute(
                        update(_JOBS)
                        .where(_JOBS.c.number == number, due)
                        .values(state="running", lease=lease, leased_until=now + lease_s, attempts=_JOBS.c.attempts + 1)
                    )
                    if taken.rowcount:
                        row = db.execute(select(_JOBS).where(_JOBS.c.number == number)).one()
                        return Claimed(_job(row), row.request, row.owner, lease)

    def keep(self, held: Claimed, *, lease_s: float = LEASE_S) -> bool:
        """Prolong the lease; False says that the job is no longer wanted, or no longer this worker's."""
        with _answering(), self._engine.begin() as db:
            kept = db.execute(
                update(_JOBS).where(*_held(held), _JOBS.c.cancelling == 0).values(leased_until=self._clock() + lease_s)
            )
        return bool(kept.rowcount)

    def succeed(self, held: Claimed, draft: Draft) -> bool:
        """End a job with its draft; False when it was no longer this worker's, and nothing was changed."""
        return self._end(held, "succeeded", draft=draft.model_dump_json())

    def fail(self, held: Claimed, fault: Fault) -> bool:
        """End a job without a draft."""
        return self._end(held, "failed", fault=fault.model_dump_json())

    def drop(self, held: Claimed) -> bool:
        """End a job that is no longer wanted; what was asked goes with it, as with every job that ends."""
        return self._end(held, "cancelled")

    def release(self, held: Claimed) -> bool:
        """Give a job back unfinished, as a worker does that is told to stop; the attempt does not count."""
        with _answering(), self._engine.begin() as db:
            given = db.execute(
                update(_JOBS)
                .where(*_held(held))
                .values(state="queued", lease=None, leased_until=None, attempts=_JOBS.c.attempts - 1)
            )
        return bool(given.rowcount)

    def counts(self) -> dict[JobState, int]:
        """How many jobs there are in each state."""
        with _answering(), self._engine.begin() as db:
            found = db.execute(select(_JOBS.c.state, func.count()).group_by(_JOBS.c.state)).all()
        return {state: number for state, number in found}

    def forget(self, job_id: JobId, *, owner: str) -> str:
        """Forget what was asked of a job that has ended; returns it, empty where it is forgotten already."""
        with _answering(), self._engine.begin() as db:
            ended = (_JOBS.c.job_id == job_id, _JOBS.c.owner == owner, _JOBS.c.state.in_(ENDED))
            request = db.execute(select(_JOBS.c.request).where(*ended)).scalar_one_or_none()
            db.execute(update(_JOBS).where(*ended).values(request=""))
        return request or ""

    def living(self) -> list[str]:
        """What was asked of every job that has not ended."""
        with _answering(), self._engine.begin() as db:
            return list(db.execute(select(_JOBS.c.request).where(_JOBS.c.state.not_in(ENDED))).scalars())

    def purge(self, keep_s: float) -> int:
        """Delete jobs that ended longer than `keep_s` ago, with what was asked and written; returns how many."""
        with _answering(), self._engine.begin() as db:
            gone = db.execute(delete(_JOBS).where(_JOBS.c.state.in_(ENDED), _JOBS.c.ended < self._clock() - keep_s))
        return int(gone.rowcount)

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    def _by_key(self, db: Connection, owner: str, key: str, content: str) -> Job | None:
        row = db.execute(select(_JOBS).where(_JOBS.c.owner == owner, _JOBS.c.idempotency_key == key)).one_or_none()
        if row is None:
            return None
        if row.content != content:
            raise KeyReused(
                "this idempotency key was used for another request", fix="use a new key for every new request"
            )
        return _job(row)

    def _end(self, held: Claimed, state: JobState, **values: str) -> bool:
        with _answering(), self._engine.begin() as db:
            ended = db.execute(
                update(_JOBS)
                .where(*_held(held))
                .values(state=state, ended=self._clock(), lease=None, leased_until=None, request="", **values)
            )
        return bool(ended.rowcount)

    def _give_up(self, now: float) -> None:
        """End what was cancelled while its worker died, and what has killed its worker too often."""
        dead = (_JOBS.c.state == "running") & (_JOBS.c.leased_until < now)
        fault = Fault(
            code="WORKER_DIED", what=f"work on it was begun {MOST_ATTEMPTS} times and never ended", fix="see the logs"
        )
        with self._engine.begin() as db:
            db.execute(
                update(_JOBS).where(dead, _JOBS.c.cancelling == 1).values(state="cancelled", ended=now, request="")
            )
            db.execute(
                update(_JOBS)
                .where(dead, _JOBS.c.attempts >= MOST_ATTEMPTS)
                .values(state="failed", ended=now, fault=fault.model_dump_json(), request="")
            )


def _held(held: Claimed) -> tuple[Any, ...]:
    return (_JOBS.c.job_id == held.job.job_id, _JOBS.c.lease == held.lease, _JOBS.c.state == "running")


def _job(row: Row[Any]) -> Job:
    return Job(
        job_id=JobId(row.job_id),
        state=row.state,
        urgency=next(urgency for urgency, rank in _RANK.items() if rank == row.rank),
        submitted=row.submitted,
        ended=row.ended,
        attempts=row.attempts,
        draft=None if row.draft is None else Draft.model_validate_json(row.draft),
        fault=None if row.fault is None else Fault.model_validate_json(row.fault),
    )


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database not in (None, "", ":memory:"):
            _make(Path(str(parsed.database)))
        engine = create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, ModuleNotFoundError, OSError) as error:
        raise InvalidLocation(
            "the location of jobs is no database URL that can be used here",
            fix="write sqlite:////absolute/path/jobs.sqlite, or postgresql+psycopg://user@host/name with the extra",
        ) from error
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _durable(connection: sqlite3.Connection, _: object) -> None:
            connection.isolation_level = None  # transactions are begun below, not by the driver
            # Readers beside a writer, every commit on disk, and patience with other processes.
            # What is forgotten and deleted is overwritten, not merely let go.
            for setting in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "secure_delete=ON"):
                connection.execute(f"PRAGMA {setting}")

        @event.listens_for(engine, "begin")
        def _writing(connection: Connection) -> None:
            # Taken at once: a transaction that begins by reading could not write once another has written.
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _make(database: Path) -> None:
    """Make the file for this user alone: SQLite would ask the umask, and gives the files beside it the same mode."""
    database.parent.mkdir(parents=True, exist_ok=True)
    # One that is there is not even opened: closing it would end the locks that this process holds on it.
    with suppress(FileExistsError):
        os.close(os.open(database, os.O_CREAT | os.O_EXCL, 0o600))


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        # The text of the error may hold the statement with its values.
        raise StoreUnavailable(
            "the database of jobs did not answer", fix="see whether it is up and reachable"
        ) from error
