"""What is kept of jobs, where and for whom: also when the database is heard no more just after it kept one."""

import stat
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from retrieval.errors import StoreUnavailable
from service.jobs.job import ENDED
from service.jobs.store import JobStore
from service.wiring import open_front
from tests.http_serving import collection, problem, served, unseen


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_jobs_of_two_files_in_one_folder_keep_their_images_apart_and_for_this_user_alone(tmp_path: Path) -> None:
    with ExitStack() as opened:
        stores = []
        for name in ("a.sqlite", "b.sqlite"):
            front = opened.enter_context(open_front(str(collection() / "index"), jobs=str(tmp_path / name)))
            assert front.jobs is not None
            stores.append(front.jobs)
        assert [jobs.spool.name for jobs in stores] == ["a.sqlite.images", "b.sqlite.images"]
        assert [mode(jobs.spool) for jobs in stores] == [0o700, 0o700]
        files = sorted(path for path in tmp_path.iterdir() if path.is_file())
        assert [path.name for path in files if path.name.startswith("a")] == [
            "a.sqlite",
            "a.sqlite-shm",
            "a.sqlite-wal",
        ]
        assert {mode(path) for path in files} == {0o600}


@pytest.mark.parametrize("lost", ["the commit's reply", "what is asked afterwards"])
def test_a_job_whose_keeping_was_not_confirmed_is_made_from_its_images(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, away = JobStore.submit, StoreUnavailable("the database of jobs did not answer")

    def kept_and_lost(*given: Any, **more: Any) -> Any:
        submit(*given, **more)
        raise away

    def gone(*_: Any, **__: Any) -> Any:
        raise away

    def asked(client: httpx.Client) -> httpx.Response:
        return client.post("/v1/jobs", files=unseen(), headers={"Idempotency-Key": "once"})

    with served(jobs=str(tmp_path / "jobs.sqlite")) as (client, front):
        with monkeypatch.context() as broken:
            if lost == "the commit's reply":
                broken.setattr(JobStore, "submit", kept_and_lost)
                problem(asked(client), 503, "STORE_UNAVAILABLE")
            else:
                broken.setattr(JobStore, "get", gone)
                assert asked(client).status_code == 202
        location = asked(client).headers["location"]
        until = time.monotonic() + 30
        while (job := client.get(location).json())["state"] not in ENDED:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert (job["state"], job["fault"]) == ("succeeded", None)
        assert front.jobs is not None
        assert sum(front.jobs.store.counts().values()) == 1


def test_the_images_of_a_refused_job_go_at_once(tmp_path: Path) -> None:
    with served(jobs=str(tmp_path / "jobs.sqlite")) as (client, front):
        assert front.jobs is not None
        front.jobs.store._most_queued = 0
        problem(client.post("/v1/jobs", files=unseen()), 429, "OVERLOADED")
        assert not [*front.jobs.spool.iterdir()]
