"""What a killed writer, a damaged disk and a full one may do to a store: no wrong answer, nothing acknowledged lost.

The writer dies at each single change of the shelf in turn, and by SIGKILL at random moments; damaged and missing files
are in test_stores_damage.py.
"""

import errno
import multiprocessing
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retrieval.errors import OperatorError, StoreBusy, StoreCorrupt, StoreUnavailable
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.memory import MemoryStore
from retrieval.stores.qdrant_segments import QdrantSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import Entry
from retrieval.where import Where
from tests.stores_backends import QDRANT, qdrant_client
from tests.stores_drawing import DIMENSION, ENCODER, case, entries, exact_rows, ids, own_word, random_rows
from tests.stores_interruptions import Interrupted, Killed, stage_and_publish_forever


@pytest.fixture(params=["faiss", QDRANT])
def fresh_shelf(request, tmp_path):
    """Makes empty shelves."""
    made = []
    if request.param == "faiss":

        def make():
            made.append(None)
            return FaissSegments(tmp_path / f"store-{len(made)}")

        yield make
        return
    with qdrant_client() as client:

        def make():
            made.append(f"prelim-test-{os.getpid()}-{len(made)}-")
            return QdrantSegments(client, made[-1])

        yield make
        for collection in client.get_collections().collections:
            if collection.name.startswith(f"prelim-test-{os.getpid()}-"):
                client.delete_collection(collection.name)


def prepare(store):
    """Two snapshots in two segments with a tombstone, and two staged segments of which one replaces a case."""
    store.stage(entries(range(12)))
    store.publish()
    store.stage(entries([20, 21]))
    store.publish(remove=ids([2]))
    store.stage(entries([30, 31]))
    store.stage(entries([3, 31], version=1))


CHANGES = {
    "stage": lambda store: store.stage(entries([40, 41])),
    "unstage": lambda store: store.unstage(ids([3, 31])),
    "publish": lambda store: store.publish(remove=ids([21])),
    "erase": lambda store: store.erase(ids([2, 3, 20, 31])),
    "rollback": lambda store: store.rollback(store.snapshots()[0].snapshot_id),
}


def state(store):
    return store.contents(), store.staged(), [(s.snapshot_id, s.cases, s.images) for s in store.snapshots()]


@pytest.mark.slow
@pytest.mark.parametrize("halfway", [False, True], ids=["before", "halfway"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_writer_killed_at_any_change_leaves_the_old_state_or_the_new(fresh_shelf, change, halfway):
    before, after = MemoryStore(ENCODER, DIMENSION), MemoryStore(ENCODER, DIMENSION)
    prepare(before)
    prepare(after)
    CHANGES[change](after)
    at, finished = 0, False
    while not finished:
        shelf = fresh_shelf()
        store = SegmentedStore(shelf, ENCODER, DIMENSION)
        prepare(store)
        shelf.unlock()
        dying = SegmentedStore(Interrupted(shelf, at, halfway=halfway), ENCODER, DIMENSION)
        try:
            CHANGES[change](dying)
            finished = True
        except Killed:
            pass
        shelf.unlock()

        # A reader that comes before the next writer.
        reader = SegmentedStore(shelf, ENCODER, DIMENSION)
        assert (reader.contents(), reader.staged()) in [state(before)[:2], state(after)[:2]]
        expected = after if reader.contents() == after.contents() and reader.staged() == after.staged() else before
        for group in (None, "frontal"):
            where, query = Where(group=group), exact_rows(5, 2)
            assert reader.nearest(query, 9, where) == expected.nearest(query, 9, where)
        # The next writer clears up, and the same work done again ends as if nothing had happened.
        writer = SegmentedStore(shelf, ENCODER, DIMENSION)
        if expected is before:
            CHANGES[change](writer)
        else:
            writer.erase([])
        assert state(writer) == state(after)
        assert writer.verify() == []
        needed = {d.segment for m in writer._books.manifests(writer._pointer()) for d in m.segments}
        needed |= {d.segment for d in writer._books.staged(writer._pointer())}
        assert set(shelf.segments()) == needed
        shelf.unlock()
        at += 1
    assert at >= {"stage": 3, "unstage": 4, "publish": 5, "erase": 8, "rollback": 2}[change]


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_or_doubled_by_twenty_kills(tmp_path):
    directory, acknowledged = tmp_path / "store", tmp_path / "acknowledged"
    acknowledged.touch()
    # A server that has imported everything forks the workers: a kill costs milliseconds, not an interpreter start.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stores_interruptions"])
    moments, last = random.Random(7), -1
    for _ in range(20):
        worker = context.Process(target=stage_and_publish_forever, args=(str(directory), str(acknowledged)))
        worker.start()
        begun, size = time.monotonic(), acknowledged.stat().st_size
        while acknowledged.stat().st_size == size and time.monotonic() - begun < 20:
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        promised = [int(line) for line in acknowledged.read_text().split()]
        assert promised == sorted(set(promised))
        assert promised[-1] > last
        last = promised[-1]
        reader = SegmentedStore(FaissSegments(directory), ENCODER, DIMENSION)
        published, staged = set(reader.contents()), set(reader.staged())
        # The last staging may have been finished and not yet acknowledged.
        assert set(ids(promised)) <= published | staged <= set(ids(range(last + 2)))
        assert not published & staged
        if reader.current() is not None:
            hits = reader.nearest(exact_rows(1, 1), 10_000)[0]
            assert len(hits) == len({(h.case_id, h.image) for h in hits}) == reader.current().images
        assert reader.verify() == []
    writer = SegmentedStore(FaissSegments(directory), ENCODER, DIMENSION)
    writer.publish()
    assert set(writer.contents()) >= set(ids(range(last + 1)))
    assert writer.verify() == []
    writer.close()


@pytest.mark.slow
def test_a_reader_never_sees_half_a_snapshot_while_a_writer_publishes(tmp_path):
    directory, acknowledged = tmp_path / "store", tmp_path / "acknowledged"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.stores_interruptions"])
    worker = context.Process(target=stage_and_publish_forever, args=(str(directory), str(acknowledged)))
    worker.start()
    try:
        reader = SegmentedStore(FaissSegments(directory), ENCODER, DIMENSION)
        seen, begun = set(), time.monotonic()
        while len(seen) < 25 and time.monotonic() - begun < 30:
            reader.refresh()
            held = reader.contents()
            assert sorted(held) == ids(range(len(held))), "a prefix of what was staged"
            assert len(held) % 3 == 0, "whole publications"
            assert reader.current() is None or reader.current().cases == len(held)
            assert not set(reader.staged()) & set(ids(range(len(held))))
            assert reader.verify() == []
            seen.add(len(held))
        assert len(seen) >= 25
    finally:
        worker.kill()
        worker.join()


def bytes_of(directory: Path) -> bytes:
    return b"\0".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def traces(entry: Entry) -> list[bytes]:
    """Everything by which a case could be found in a file."""
    drawn, row = entry.case, entry.vectors[0]
    texts = [drawn.case_id, drawn.patient_key, drawn.study_instance_uid, drawn.content, drawn.report.text]
    texts += (image.digest for image in drawn.images)
    texts += [*drawn.concepts.standalone, own_word(int(drawn.case_id[-5:]))] if drawn.concepts else []
    vectors = [row.tobytes(), row[:3].tobytes(), b"".join(struct.pack(">d", value) for value in row[:1].tolist())]
    return [text.encode() for text in texts] + vectors


@pytest.mark.parametrize("backend", ["faiss", QDRANT])
def test_an_erased_case_is_in_no_byte_of_the_store(tmp_path, backend):
    shelf = FaissSegments(tmp_path / "s") if backend == "faiss" else QdrantSegments(str(tmp_path / "s"), "prelim")
    store = SegmentedStore(shelf, ENCODER, DIMENSION)
    drawn = [Entry(case(number, views=("PA", "LL")), random_rows(number, 2)) for number in range(40)]
    store.stage(drawn[:20])
    store.publish()
    store.stage(drawn[20:30])
    # Case 3 is only in the older snapshot and case 22 only in the newer one; case 33 is staged.
    store.publish(remove=[drawn[3].case.case_id])
    store.stage(drawn[30:])
    doomed, spared = [drawn[n] for n in (3, 7, 22, 33)], drawn[8]
    stored = bytes_of(tmp_path / "s")
    for each in doomed:
        found = [trace in stored for trace in traces(each)]
        assert all(found[:-3]), "the search must be able to find what it looks for"
        assert any(found[-3:])
    assert store.erase([each.case.case_id for each in doomed]) == 4
    stored = bytes_of(tmp_path / "s")
    for each in doomed:
        assert not [trace for trace in traces(each) if trace in stored]
    assert any(trace in stored for trace in traces(spared))
    store.rollback(store.snapshots()[0].snapshot_id)
    assert not set(store.contents()) & {each.case.case_id for each in doomed}
    store.close()


FULL_DISK = """
import sys
from pathlib import Path
from retrieval.errors import StoreFull
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from tests.stores_drawing import DIMENSION, ENCODER, entries, exact_rows, ids

disk = Path(sys.argv[1])
store = SegmentedStore(FaissSegments(disk / "store"), ENCODER, DIMENSION)
store.stage(entries(range(40)))
store.publish()
store.stage(entries(range(40, 50)))
ballast = disk / "ballast"


def fill(leaving):
    ballast.unlink(missing_ok=True)
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() // 4096 * 4096 - leaving))


def refused(call):
    refusals = 0
    for pages in range(200):
        fill(pages * 4096)
        before = dict(store.contents()), dict(store.staged()), store.nearest(exact_rows(1, 2), 5)
        try:
            call()
        except StoreFull:
            refusals += 1
            assert all((each / "segment.json").exists() for each in (disk / "store" / "segments").iterdir())
            assert not list(disk.rglob("*.partial"))
            other = SegmentedStore(FaissSegments(disk / "store"), ENCODER, DIMENSION)
            begun = call is erase and other.erased(ids([5])[0])
            assert bool(other.verify()) == begun, other.verify()
            assert not begun or ids([5])[0] not in {*store.contents(), *other.contents()}
            if call is not erase:
                assert (dict(store.contents()), dict(store.staged()), store.nearest(exact_rows(1, 2), 5)) == before
                assert (dict(other.contents()), dict(other.staged())) == before[:2]
        else:
            break
    else:
        raise AssertionError("never fitted")
    ballast.unlink()
    assert refusals > 3, refusals


def stage():
    store.stage(entries(range(50, 60)))


def publish():
    store.publish(remove=ids([1]))


def erase():
    store.erase(ids([5]))


refused(stage)
assert sorted(store.staged()) == ids(range(40, 60))
refused(publish)
assert sorted(store.contents()) == ids([0, *range(2, 60)])
refused(erase)
assert sorted(store.contents()) == ids([0, 2, 3, 4, *range(6, 60)])
assert store.verify() == []
store.close()
"""


@pytest.mark.slow
def test_a_full_disk_refuses_keeps_what_was_there_and_goes_on_when_there_is_room(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "full_disk.py"
    script.write_text(FULL_DISK)
    mount = f"mount -t tmpfs -o size=2m tmpfs {disk} || exit 77; exec {sys.executable} -W error {script} {disk}"
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare command to mount a small disk with")
    done = subprocess.run([unshare, "-rm", "sh", "-c", mount], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode == 77 or "unshare failed" in done.stderr:
        pytest.skip(f"the kernel refuses to mount a small disk: {done.stderr.strip()[:80]}")
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_path_that_is_no_directory_is_unavailable(tmp_path):
    (tmp_path / "file").write_text("not a store")
    with pytest.raises(StoreUnavailable):
        SegmentedStore(FaissSegments(tmp_path / "file"), ENCODER, DIMENSION)
    store = SegmentedStore(FaissSegments(tmp_path / "new"), ENCODER, DIMENSION)
    (tmp_path / "new").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        store.stage(entries([1]))


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_directory_without_permission_is_for_a_person_and_not_for_trying_again(tmp_path, monkeypatch, number):
    def refuse(path: Path, *_: object) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)  # the tests may run as root, whom no mode stops
    with pytest.raises(OperatorError, match="permission"):
        SegmentedStore(FaissSegments(tmp_path / "store"), ENCODER, DIMENSION)


@pytest.mark.qdrant
# The client that is refused the directory leaves its handle of the lock file to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_qdrant_directory_serves_one_process_and_survives_a_killed_writer(tmp_path):
    store = SegmentedStore(QdrantSegments(str(tmp_path / "q"), "prelim"), ENCODER, DIMENSION)
    store.stage(entries(range(3)))
    store.publish()
    store.stage(entries([5]))
    contents = store.contents()
    with pytest.raises(StoreBusy):
        QdrantSegments(str(tmp_path / "q"), "prelim")
    # As a kill would: the client goes, the lease stays.
    store._shelf._client.close()
    again = SegmentedStore(QdrantSegments(str(tmp_path / "q"), "prelim"), ENCODER, DIMENSION)
    assert (again.contents(), list(again.staged())) == (contents, ids([5]))
    again.publish()
    assert sorted(again.contents()) == ids([0, 1, 2, 5])
    assert again.verify() == []
    again.close()


@pytest.mark.qdrant
def test_a_killed_qdrant_writer_lets_go_when_its_lease_runs_out(monkeypatch):
    from retrieval.stores import qdrant_segments  # noqa: PLC0415

    with qdrant_client() as client:
        name = f"prelim-test-{os.getpid()}-lease"
        monkeypatch.setattr(qdrant_segments, "LEASE_SECONDS", 0.2)
        QdrantSegments(client, name).lock()
        other = QdrantSegments(client, name)
        with pytest.raises(StoreBusy):
            other.lock()
        time.sleep(0.25)
        other.lock()
        other.close()
        client.delete_collection(f"{name}-documents")


@pytest.mark.qdrant
def test_a_point_lost_or_changed_in_qdrant_is_noticed():
    with qdrant_client() as client:
        name = f"prelim-test-{os.getpid()}-damage"
        shelf = QdrantSegments(client, name)
        store = SegmentedStore(shelf, ENCODER, DIMENSION)
        store.stage(entries(range(6)))
        store.publish()
        collection = shelf._collection(shelf.segments()[0])
        client.set_payload(collection, {"ordinal": 3}, points=[0], wait=True)
        assert any("checksum" in fault for fault in store.verify())
        client.delete(collection, [0], wait=True)
        with pytest.raises(StoreCorrupt):
            SegmentedStore(shelf, ENCODER, DIMENSION)
        store.close()
        for each in (collection, f"{name}-documents"):
            client.delete_collection(each)


@pytest.mark.qdrant
def test_a_qdrant_server_that_does_not_answer_is_unavailable():
    with pytest.raises(StoreUnavailable):
        SegmentedStore(QdrantSegments("http://127.0.0.1:9", "prelim"), ENCODER, DIMENSION)
