import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid

import pytest

from generation.draft import Draft
from retrieval.errors import InvalidLocation, KeyReused, Overloaded, StoreUnavailable, UnknownJob
from retrieval.records import Evidence, ImageDigest
from service.jobs.job import Fault, JobId
from service.jobs.store import MOST_ATTEMPTS, JobStore
from tests.jobs_databases import postgres_url

DRAFT = Draft(
    status="abstained", reason="POOR_QUALITY", images=(ImageDigest("0" * 64),), evidence=Evidence(), drafter="x",
    software="0",
)  # fmt: skip


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite"
    pytest.importorskip("psycopg")
    import sqlalchemy  # noqa: PLC0415

    # A database of its own for each test.
    name = f"t{uuid.uuid4().hex}"
    server = sqlalchemy.create_engine(postgres_url(), isolation_level="AUTOCOMMIT")
    with server.connect() as db:
        db.exec_driver_sql(f"CREATE DATABASE {name}")
    server.dispose()
    return postgres_url().replace("/postgres?", f"/{name}?")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(url, clock):
    opened = JobStore(url, most_queued=50, clock=clock)
    yield opened
    opened.close()


def put(store, n=0, **options):
    return store.submit(f'{{"n": {n}}}', owner="a", content=f"content-{n}", **options)[0]


def test_a_job_goes_from_queued_to_succeeded_with_its_draft(store):
    job = put(store)
    assert (job.state, job.draft, job.ended) == ("queued", None, None)
    held = store.claim()
    assert held.request == '{"n": 0}'
    assert store.get(job.job_id, owner="a").state == "running"
    assert store.succeed(held, DRAFT)
    ended = store.get(job.job_id, owner="a")
    assert (ended.state, ended.draft, ended.attempts) == ("succeeded", DRAFT, 1)
    assert store.claim() is None


def test_interactive_jobs_go_first_and_the_oldest_of_each(store):
    jobs = [put(store, n, urgency=urgency) for n, urgency in enumerate(["bulk", "bulk", "interactive", "interactive"])]
    order = [store.claim().job.job_id for _ in jobs]
    assert order == [jobs[n].job_id for n in (2, 3, 0, 1)]


def test_nobody_sees_the_job_of_another(store):
    job = put(store)
    for ask in (store.get, store.cancel):
        with pytest.raises(UnknownJob):
            ask(job.job_id, owner="b")
    assert store.get(job.job_id, owner="a").state == "queued"


def test_one_key_makes_one_job(store):
    first, new = store.submit("{}", owner="a", content="x", idempotency_key="k")
    assert new
    again, new = store.submit("{}", owner="a", content="x", idempotency_key="k")
    assert not new
    assert again == first
    with pytest.raises(KeyReused):
        store.submit("{}", owner="a", content="y", idempotency_key="k")
    other, new = store.submit("{}", owner="b", content="y", idempotency_key="k")
    assert new
    assert other.job_id != first.job_id


def test_one_key_from_many_at_once_makes_one_job(store):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(store.submit("{}", owner="a", content="x", idempotency_key="k")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({job.job_id for job, _ in made}) == 1
    assert sum(new for _, new in made) == 1


def test_no_job_is_given_to_two_workers(store):
    jobs = {put(store, n).job_id for n in range(40)}
    taken, lock = [], threading.Lock()

    def work():
        while (held := store.claim()) is not None:
            with lock:
                taken.append(held.job.job_id)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == sorted(jobs)


def test_a_cancelled_job_is_never_begun_and_a_running_one_is_told(store):
    waiting, running = put(store, 0), put(store, 1)
    assert store.cancel(waiting.job_id, owner="a").state == "cancelled"
    held = store.claim()
    assert held.job.job_id == running.job_id
    assert store.keep(held)
    assert store.cancel(running.job_id, owner="a").state == "running"
    assert not store.keep(held)
    assert store.drop(held)
    assert store.get(running.job_id, owner="a").state == "cancelled"


def test_a_job_that_ended_is_not_cancelled(store):
    job = put(store)
    store.fail(store.claim(), Fault(code="X", what="y"))
    assert store.cancel(job.job_id, owner="a").state == "failed"


def test_the_job_of_a_dead_worker_is_made_by_another_and_ended_once(store, clock):
    job = put(store)
    dead = store.claim(lease_s=60)
    assert store.claim() is None
    clock.now += 61
    alive = store.claim(lease_s=60)
    assert alive.job.job_id == job.job_id
    assert not store.keep(dead)
    assert not store.succeed(dead, DRAFT)
    assert store.succeed(alive, DRAFT)
    assert store.get(job.job_id, owner="a").attempts == 2


def test_a_job_that_kills_its_workers_is_given_up(store, clock):
    job = put(store)
    for _ in range(MOST_ATTEMPTS):
        assert store.claim(lease_s=60) is not None
        clock.now += 61
    assert store.claim() is None
    ended = store.get(job.job_id, owner="a")
    assert (ended.state, ended.fault.code) == ("failed", "WORKER_DIED")


def test_a_job_cancelled_while_its_worker_died_is_not_begun_again(store, clock):
    job = put(store)
    store.claim(lease_s=60)
    store.cancel(job.job_id, owner="a")
    clock.now += 61
    assert store.claim() is None
    assert store.get(job.job_id, owner="a").state == "cancelled"


def test_a_released_job_is_queued_again_and_the_attempt_does_not_count(store):
    job = put(store)
    assert store.release(store.claim())
    again = store.get(job.job_id, owner="a")
    assert (again.state, again.attempts) == ("queued", 0)


def test_too_many_queued_jobs_are_refused(store):
    for n in range(50):
        put(store, n)
    with pytest.raises(Overloaded):
        put(store, 51)


def test_ended_jobs_are_deleted_with_all_they_held_and_others_stay(store, clock):
    old, waiting = put(store, 0), put(store, 1)
    store.succeed(store.claim(), DRAFT)
    clock.now += 100
    assert store.purge(200) == 0
    assert store.purge(50) == 1
    with pytest.raises(UnknownJob):
        store.get(old.job_id, owner="a")
    assert store.get(waiting.job_id, owner="a").state == "queued"


def test_what_was_acknowledged_survives_a_kill(url):
    script = (
        "import sys\n"
        "from service.jobs.store import JobStore\n"
        "store = JobStore(sys.argv[1], most_queued=100000)\n"
        "n = 0\n"
        "while True:\n"
        "    job, _ = store.submit('{}', owner='a', content=str(n))\n"
        "    print(job.job_id, flush=True)\n"
        "    n += 1\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True) as process:
        said = [process.stdout.readline().strip() for _ in range(20)]
        time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
        said += [line.strip() for line in process.stdout.read().splitlines()]
    store = JobStore(url)
    assert all(store.get(JobId(job_id), owner="a").state == "queued" for job_id in said if len(job_id) == 24)
    store.close()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite:////proc/none/jobs.sqlite"])
def test_a_location_that_is_no_database_is_named(url):
    with pytest.raises((InvalidLocation, StoreUnavailable)) as refused:
        JobStore(url)
    assert refused.value.fix


def test_a_server_that_does_not_answer_is_named_and_no_value_is_shown():
    pytest.importorskip("psycopg")
    with pytest.raises(StoreUnavailable) as refused:
        JobStore("postgresql+psycopg://somebody:secret@127.0.0.1:1/x")
    assert "secret" not in str(refused.value)


def test_every_commit_of_sqlite_is_on_disk_before_it_is_acknowledged(tmp_path):
    store = JobStore(f"sqlite:///{tmp_path}/jobs.sqlite")
    put(store)
    with sqlite3.connect(tmp_path / "jobs.sqlite") as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert other.execute("SELECT count(*) FROM prelim_jobs").fetchone() == (1,)
    other.close()
    store.close()
