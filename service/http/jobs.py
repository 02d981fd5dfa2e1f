"""Drafts that nobody waits for, over HTTP: submit, ask, cancel.

`202` with `Location` says that the job is kept on disk and will be made, also after a restart. The same
`Idempotency-Key` with the same request gives the same job, so a submission may be repeated until it is answered.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends, Header, Request, Response

from retrieval.errors import StoreUnavailable
from service.front import Front, Jobs
from service.http.drafts import Asked, Images
from service.http.guard import Guarded
from service.http.keys import AsksFor
from service.jobs.job import ENDED, Job, JobId
from service.jobs.runner import JobRequest
from service.keys import Key
from service.request import DraftRequest
from service.uploads import Uploaded, received
from service.waiting import Urgency

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=Guarded)
POLL_S = 2
"""When to ask again for a job that has not ended."""
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=255, description="equal for a repetition")]


@router.post("", status_code=202, summary="Submit a draft to be made later")
async def submit(
    http: Request,
    response: Response,
    images: Images,
    asked: Asked,
    key: Annotated[Key, Depends(AsksFor("jobs"))],
    idempotency_key: IdempotencyKey = None,
    urgency: Urgency = "bulk",
) -> Job:
    """Keep one study to be drafted; the answer names the job."""
    front: Front = http.app.state.front
    jobs = front.kept_jobs
    front.writer(asked)  # what is not offered here is told now
    uploaded = await received(images, jobs.spool)
    job = await to_thread.run_sync(_kept, jobs, uploaded, asked, key.name, urgency, idempotency_key)
    response.headers["Location"] = f"/v1/jobs/{job.job_id}"
    response.headers["Retry-After"] = str(POLL_S)
    return job


@router.get("/{job_id}", summary="How far a job is, and its draft")
async def ask(http: Request, response: Response, job_id: JobId, key: Annotated[Key, Depends(AsksFor("jobs"))]) -> Job:
    """The job with its draft, or why there is none; ended jobs are deleted some time after."""
    front: Front = http.app.state.front
    job = await to_thread.run_sync(lambda: front.kept_jobs.store.get(job_id, owner=key.name))
    if job.state not in ENDED:
        response.headers["Retry-After"] = str(POLL_S)
    return job


@router.delete("/{job_id}", summary="Cancel a job")
async def cancel(http: Request, job_id: JobId, key: Annotated[Key, Depends(AsksFor("jobs"))]) -> Job:
    """A job that waits ends at once, one under way within a second; one that has ended stays as it is."""
    front: Front = http.app.state.front

    def cancelled() -> Job:
        jobs = front.kept_jobs
        job = jobs.store.cancel(job_id, owner=key.name)
        # Nobody works on it, so its images go with it.
        if job.state == "cancelled" and (asked := jobs.store.forget(job_id, owner=key.name)):
            shutil.rmtree(jobs.spool / JobRequest.model_validate_json(asked).folder, ignore_errors=True)
        return job

    return await to_thread.run_sync(cancelled)


def _kept(
    jobs: Jobs, uploaded: Uploaded, asked: DraftRequest, owner: str, urgency: Urgency, idempotency_key: str | None
) -> Job:
    """Keep a job of what was sent, whose images go at once only where it is certain that no new job needs them.

    It is decided here since whoever asked may go meanwhile. What is not certain, the jobs' thread finds out in time.
    """
    request = JobRequest(folder=uploaded.folder.name, files=len(uploaded.paths), asked=asked, urgency=urgency)
    needed = False
    try:
        job, needed = jobs.store.submit(
            request.model_dump_json(),
            owner=owner,
            content=_content(uploaded.paths, asked.model_dump_json()),
            urgency=urgency,
            idempotency_key=idempotency_key,
        )
    except StoreUnavailable:
        needed = True  # perhaps: it may be that only the answer was lost
        raise
    finally:
        if not needed:
            uploaded.remove()
    return job


def _content(paths: list[Path], asked: str) -> str:
    """SHA-256 over everything asked: the same digest is the same request."""
    digest = hashlib.sha256(asked.encode())
    for path in paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
