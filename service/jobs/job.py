"""A job as a record: what was asked, how far it is, and what came of it."""

from typing import Final, Literal, NewType

from pydantic import Field

from generation.draft import Draft
from retrieval.record import Record
from service.waiting import Urgency

JobId = NewType("JobId", str)
"""Unguessable; whoever holds a key may read the jobs asked for with it."""
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
"""A job that ended never changes again."""
ENDED: Final[frozenset[JobState]] = frozenset({"succeeded", "failed", "cancelled"})


class Fault(Record):
    """Why a job failed, as every face says it; never with text of the request."""

    code: str
    """Stable code of the error."""
    what: str
    """What happened."""
    fix: str = ""
    """What to do about it."""


class Job(Record):
    """One draft to make."""

    job_id: JobId
    """Whose job it is stands in the database and in no answer."""
    state: JobState
    """How far it is."""
    urgency: Urgency
    """Interactive jobs go before bulk ones."""
    submitted: float
    """Seconds since 1970."""
    ended: float | None = None
    """Seconds since 1970; None while it has not ended."""
    attempts: int = Field(default=0, ge=0)
    """How often work on it was begun; more than once after a worker died."""
    draft: Draft | None = None
    """What came of it; None until it succeeded."""
    fault: Fault | None = None
    """Why there is no draft; None unless it failed."""
