"""Drafts that nobody waits for, over HTTP: kept, made once, cancelled, and gone from the disk afterwards."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.front import Front
from service.jobs.job import ENDED, Job
from service.keys import new_key
from tests.http_serving import awaited_drafts, problem, served, unseen

Served = tuple[httpx.Client, Front]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(jobs=str(tmp_path_factory.mktemp("jobs") / "jobs.sqlite")) as both:
        yield both


def submit(client: httpx.Client, key: str | None = None, **asked: Any) -> httpx.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return client.post("/v1/jobs", files=unseen(), data={"request": json.dumps(asked)}, headers=headers)


def ended(client: httpx.Client, location: str, seconds: float = 60) -> Job:
    until = time.monotonic() + seconds
    while True:
        answer = client.get(location)
        job = Job.model_validate_json(answer.text)
        if job.state in ENDED:
            assert "retry-after" not in answer.headers
            return job
        assert int(answer.headers["retry-after"]) >= 1
        assert time.monotonic() < until, "the job never ended"
        time.sleep(0.05)


def spooled(front: Front) -> list[Path]:
    assert front.jobs is not None
    return [*front.jobs.spool.iterdir()]


def test_a_job_ends_with_the_draft_that_a_single_request_gets_and_leaves_no_image(service: Served) -> None:
    client, front = service
    answer = submit(client)
    assert answer.status_code == 202
    assert int(answer.headers["retry-after"]) >= 1
    job = ended(client, answer.headers["location"])
    assert job.state == "succeeded"
    assert job.draft is not None
    assert job.draft.model_dump(mode="json") == client.post("/v1/drafts", files=unseen()).json()
    assert not spooled(front)


def test_one_idempotency_key_is_one_job_and_another_request_may_not_use_it(service: Served) -> None:
    client, front = service
    first = submit(client, "visit-12", seed=1)
    again = submit(client, "visit-12", seed=1)
    assert (again.status_code, again.headers["location"]) == (202, first.headers["location"])
    problem(submit(client, "visit-12", seed=2), 409, "KEY_REUSED")
    assert ended(client, first.headers["location"]).attempts == 1
    assert not spooled(front)


def test_a_waiting_job_is_cancelled_at_once_and_never_made(service: Served) -> None:
    client, front = service
    free = threading.Event()
    held = [front.room.submit(lambda: free.wait(20)) for _ in range(4)]
    try:
        location = submit(client).headers["location"]
        cancelled = client.delete(location)
        assert cancelled.status_code == 200
        job = ended(client, location, seconds=2)
        assert (job.state, job.draft) == ("cancelled", None)
    finally:
        free.set()
    assert all(each.result(5) for each in held)
    assert client.delete(location).json()["state"] == "cancelled"
    assert not spooled(front)


def test_a_job_that_cannot_be_made_says_why_and_what_is_not_offered_is_told_at_once(service: Served) -> None:
    client, front = service
    answer = client.post("/v1/jobs", files={"images": ("a", b"no image")})
    job = ended(client, answer.headers["location"])
    assert job.fault is not None
    assert (job.state, job.fault.code) == ("failed", "UNREADABLE_IMAGE")
    problem(submit(client, written_by="language_model"), 422, "REQUEST")
    problem(client.post("/v1/jobs", files={"images": ("a", b"PK\x03\x04")}), 415, "UNSUPPORTED_IMAGE")
    assert not spooled(front)


def test_a_job_that_nobody_submitted_is_not_here(service: Served) -> None:
    problem(service[0].get("/v1/jobs/nobody"), 404, "UNKNOWN_JOB")
    problem(service[0].delete("/v1/jobs/nobody"), 404, "UNKNOWN_JOB")


def test_the_jobs_of_one_key_are_nobody_else_s(tmp_path: Path) -> None:
    secrets, entries = zip(*(new_key(name, frozenset(["jobs"])) for name in ("one", "two")), strict=True)
    (tmp_path / "keys.json").write_text(json.dumps([entry.model_dump(mode="json") for entry in entries]))
    with served(keys=tmp_path / "keys.json", jobs=str(tmp_path / "jobs.sqlite")) as (client, _):
        client.headers["Authorization"] = f"Bearer {secrets[0]}"
        location = submit(client, "same").headers["location"]
        assert ended(client, location).state == "succeeded"
        client.headers["Authorization"] = f"Bearer {secrets[1]}"
        problem(client.get(location), 404, "UNKNOWN_JOB")
        problem(client.delete(location), 404, "UNKNOWN_JOB")
        assert submit(client, "same", seed=5).headers["location"] != location


def test_jobs_are_refused_where_none_are_kept() -> None:
    with served() as (client, _):
        problem(submit(client), 422, "REQUEST")
        problem(client.get("/v1/jobs/x"), 422, "REQUEST")


@pytest.mark.parametrize(("urgency", "awaited"), [("bulk", False), ("interactive", True)])
def test_a_generator_is_told_whether_somebody_waits_for_a_job(
    service: Served, monkeypatch: pytest.MonkeyPatch, urgency: str, awaited: bool
) -> None:
    client, _ = service
    told = awaited_drafts(monkeypatch)
    answer = client.post("/v1/jobs", files=unseen(), params={"urgency": urgency})
    assert ended(client, answer.headers["location"]).state == "succeeded"
    assert told == [awaited]
