"""The thread that works on jobs: over a real store, with drafts that end when the test says so."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from generation.draft import Draft
from generation.halt import Halt
from retrieval.errors import Cancelled, Overloaded, UnreadableImage
from retrieval.records import Evidence, ImageDigest
from service.jobs.job import ENDED, Job, JobId
from service.jobs.runner import JobRequest, JobRunner
from service.jobs.store import JobStore
from service.request import DraftRequest
from service.waiting import Urgency

DRAFT = Draft(
    status="abstained", reason="NO_CONSENSUS", images=(ImageDigest("0" * 64),), evidence=Evidence(), drafter="test",
    software="0",
)  # fmt: skip


class Desk:
    """Drafts as a test wants them."""

    def __init__(self, work: Callable[[Sequence[Path], Halt], Draft]) -> None:
        self.work = work
        self.begun: list[Sequence[Path]] = []
        self.full = 0

    def draft(self, paths: Sequence[Path], asked: DraftRequest, *, halt: Halt, urgency: Urgency) -> Future[Draft]:
        if self.full:
            self.full -= 1
            raise Overloaded("full", retry_after_s=1)
        future: Future[Draft] = Future()
        self.begun.append(paths)

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self.work(paths, halt))
                except Exception as error:  # noqa: BLE001  as the waiting room does
                    future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    with closing(JobStore(f"sqlite:///{tmp_path / 'jobs.sqlite'}")) as store:
        yield store


@contextmanager
def running(store: JobStore, spool: Path, desk: Desk, **more: float) -> Iterator[JobRunner]:
    spool.mkdir(exist_ok=True)
    runner = JobRunner(store, spool, desk, at_once=1, **more)  # type: ignore[arg-type]
    runner.start()
    try:
        yield runner
    finally:
        runner.stop()


def submit(store: JobStore, spool: Path, name: str) -> JobId:
    (spool / name).mkdir(parents=True)
    (spool / name / "0").write_bytes(b"image")
    request = JobRequest(folder=name, files=1, asked=DraftRequest())
    return store.submit(request.model_dump_json(), owner="o", content="c")[0].job_id


def wait(store: JobStore, job_id: JobId) -> Job:
    until = time.monotonic() + 10
    while (job := store.get(job_id, owner="o")).state not in ENDED:
        assert time.monotonic() < until, "the job never ended"
        time.sleep(0.02)
    return job


def until_halted(_: Sequence[Path], halt: Halt) -> Draft:
    while True:
        halt.check()
        time.sleep(0.01)


def test_a_job_is_drafted_from_its_images_and_its_folder_goes(store: JobStore, tmp_path: Path) -> None:
    seen = []
    desk = Desk(lambda paths, _: seen.append(paths[0].read_bytes()) or DRAFT)  # type: ignore[func-returns-value]
    job_id = submit(store, tmp_path / "spool", "a")
    with running(store, tmp_path / "spool", desk):
        job = wait(store, job_id)
        until = time.monotonic() + 5
        while (tmp_path / "spool/a").exists():
            assert time.monotonic() < until
    assert (job.state, job.draft, seen) == ("succeeded", DRAFT, [b"image"])


def test_a_cancelled_job_under_way_ends_within_a_second(store: JobStore, tmp_path: Path) -> None:
    job_id = submit(store, tmp_path / "spool", "a")
    desk = Desk(until_halted)
    with running(store, tmp_path / "spool", desk):
        while not desk.begun:
            time.sleep(0.01)
        store.cancel(job_id, owner="o")
        began = time.monotonic()
        assert wait(store, job_id).state == "cancelled"
        assert time.monotonic() - began < 1.5


def test_what_is_held_when_told_to_stop_is_given_back_and_is_made_by_the_next(store: JobStore, tmp_path: Path) -> None:
    job_id = submit(store, tmp_path / "spool", "a")
    stuck = Desk(until_halted)
    with running(store, tmp_path / "spool", stuck):
        while not stuck.begun:
            time.sleep(0.01)
    assert store.get(job_id, owner="o").state == "queued"
    assert (tmp_path / "spool/a/0").exists()
    with running(store, tmp_path / "spool", Desk(lambda *_: DRAFT)):
        assert wait(store, job_id).attempts == 1


def test_a_full_waiting_room_costs_a_job_nothing_but_time(store: JobStore, tmp_path: Path) -> None:
    job_id = submit(store, tmp_path / "spool", "a")
    desk = Desk(lambda *_: DRAFT)
    desk.full = 3
    with running(store, tmp_path / "spool", desk):
        job = wait(store, job_id)
    assert (job.state, job.attempts, desk.full) == ("succeeded", 1, 0)


def test_one_job_s_fault_is_its_own(store: JobStore, tmp_path: Path) -> None:
    def work(paths: Sequence[Path], _: Halt) -> Draft:
        match paths[0].parent.name:
            case "bad":
                raise UnreadableImage("it is no 'image'", unquoted="it is none", fix="send another")
            case "worse":
                raise KeyError("canary")
            case "gone":
                raise Cancelled("somebody has gone")
        return DRAFT

    spool = tmp_path / "spool"
    ids = [submit(store, spool, name) for name in ("bad", "worse", "gone", "good")]
    store.submit('{"of": "another version"}', owner="o", content="c")
    with running(store, spool, Desk(work)):
        ended = [wait(store, job_id) for job_id in ids]
    assert [job.state for job in ended] == ["failed", "failed", "cancelled", "succeeded"]
    assert [job.fault and (job.fault.code, job.fault.what) for job in ended[:2]] == [
        ("UNREADABLE_IMAGE", "it is none"),
        ("UNFORESEEN", "an error that nobody foresaw"),
    ]
    assert not [*spool.iterdir()]


def test_a_job_of_another_version_fails_and_holds_nobody_up(store: JobStore, tmp_path: Path) -> None:
    odd = store.submit('{"of": "another version"}', owner="o", content="c")[0].job_id
    good = submit(store, tmp_path / "spool", "a")
    with running(store, tmp_path / "spool", Desk(lambda *_: DRAFT)):
        assert wait(store, good).state == "succeeded"
        fault = wait(store, odd).fault
    assert fault is not None
    assert fault.code == "UNREADABLE_JOB"


def test_uploads_of_no_living_job_are_removed_and_others_stay(store: JobStore, tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    waiting = submit(store, spool, "prelim-upload-living")
    (spool / "prelim-upload-orphan").mkdir()
    stuck = Desk(until_halted)
    with running(store, spool, stuck, abandoned_s=0):
        while not stuck.begun:
            time.sleep(0.01)
        assert [folder.name for folder in spool.iterdir()] == ["prelim-upload-living"]
    # A submission under way has a folder and no job yet.
    (spool / "prelim-upload-under-way").mkdir()
    with running(store, spool, stuck):
        time.sleep(0.3)
        assert (spool / "prelim-upload-under-way").exists()
    assert store.get(waiting, owner="o").state == "queued"


def test_what_is_no_upload_stays_in_a_folder_that_was_named_as_the_spool(store: JobStore, tmp_path: Path) -> None:
    spool = tmp_path / "data"
    for name in ("index", "prelim-uploads-of-a-process", "prelim-upload-orphan"):
        (spool / name).mkdir(parents=True)
        (spool / name / "cases").write_bytes(b"of years")
    with running(store, spool, Desk(until_halted), abandoned_s=0):
        until = time.monotonic() + 5
        while (spool / "prelim-upload-orphan").exists():
            assert time.monotonic() < until
            time.sleep(0.01)
    assert (spool / "index/cases").exists()
    assert (spool / "prelim-uploads-of-a-process/cases").exists()


def test_jobs_that_ended_are_forgotten_in_time(store: JobStore, tmp_path: Path) -> None:
    job_id = submit(store, tmp_path / "spool", "a")
    with running(store, tmp_path / "spool", Desk(lambda *_: DRAFT)):
        wait(store, job_id)
    with running(store, tmp_path / "spool", Desk(lambda *_: DRAFT), keep_s=0):
        until = time.monotonic() + 5
        while sum(store.counts().values()):
            assert time.monotonic() < until
            time.sleep(0.02)
