"""One contract, every store: the same sentences must hold for the oracle, FAISS and Qdrant."""

import numpy as np
import pytest

from retrieval.errors import (
    EncoderMismatch,
    RequestError,
    StoreBusy,
    StoreUnavailable,
    UnknownSnapshot,
)
from retrieval.records import EncoderIdentity, SnapshotId
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import RETAINED_SNAPSHOTS, Entry
from tests.stores_backends import QDRANT, opened
from tests.stores_drawing import (
    DIMENSION,
    ENCODER,
    case,
    entries,
    entry,
    exact_rows,
    ids,
    oracle,
    published,
)


@pytest.fixture(params=["memory", "faiss", QDRANT])
def reopen(request, tmp_path):
    """Opens the store under test; called again, opens the same data again."""
    with opened(request.param, tmp_path) as open_store:
        yield open_store


@pytest.fixture
def store(reopen):
    return reopen()


@pytest.fixture(params=["faiss", QDRANT])
def shared(request, tmp_path):
    """As `reopen`, for stores that two objects can have open."""
    with opened(request.param, tmp_path) as open_store:
        yield open_store


# Publication


def test_a_new_store_is_empty(store):
    assert store.current() is None
    assert store.snapshots() == []
    assert store.contents() == {}
    assert store.staged() == {}
    assert store.cases([]) == []
    assert store.verify() == []
    store.refresh()
    assert store.current() is None


def test_searching_before_the_first_publication_is_unavailable(store):
    store.stage(entries([1]))
    with pytest.raises(StoreUnavailable):
        store.nearest(exact_rows(1, 1), 1)


def test_staged_work_is_listed_and_not_visible(store):
    store.stage(entries(range(3)))
    store.stage(entries(range(2, 5)))
    assert store.staged() == {e.case.case_id: e.case.content for e in entries(range(5))}
    assert store.contents() == {}


def test_publishing_makes_everything_staged_visible_at_once(store):
    store.stage(entries(range(3)))
    store.stage(entries(range(3, 6)))
    snapshot = store.publish(note="first")
    assert store.current() == snapshot
    assert (snapshot.encoder, snapshot.dimension, snapshot.note) == (ENCODER, DIMENSION, "first")
    assert (snapshot.cases, snapshot.images) == (6, sum(len(e.vectors) for e in entries(range(6))))
    assert store.contents() == {e.case.case_id: e.case.content for e in entries(range(6))}
    assert store.staged() == {}
    assert store.verify() == []


def test_an_empty_publication_is_a_snapshot_that_finds_nothing(store):
    snapshot = store.publish()
    assert (snapshot.cases, snapshot.images) == (0, 0)
    assert store.nearest(exact_rows(1, 2), 5) == [[], []]


def test_staging_nothing_changes_nothing(store):
    store.stage([])
    assert store.staged() == {}


def test_a_case_staged_twice_is_published_once_and_as_staged_last(store):
    store.stage([entry(1), entry(1, version=1), entry(2)])
    store.stage([entry(2, version=2)])
    assert store.publish().cases == 2
    assert store.cases(ids([1, 2])) == [case(1, version=1), case(2, version=2)]
    assert store.nearest(entry(2, version=2).vectors, 1)[0][0].case_id == case(2).case_id


def test_a_visible_case_staged_again_is_replaced(store):
    published(store, range(8))
    store.stage([entry(3, views=("AP", "LL"), version=5)])
    snapshot = store.publish()
    assert snapshot.cases == 8
    assert store.cases(ids([3])) == [case(3, views=("AP", "LL"), version=5)]
    assert store.contents()[case(3).case_id] == case(3, version=5).content


def test_a_removed_case_is_not_visible_whether_it_was_staged_or_published(store):
    published(store, range(4))
    store.stage(entries(range(4, 6)))
    snapshot = store.publish(remove=ids([1, 5, 99]))
    assert sorted(store.contents()) == ids([0, 2, 3, 4])
    assert snapshot.cases == 4
    assert snapshot.images == sum(len(e.vectors) for e in entries([0, 2, 3, 4]))


def test_publishing_without_a_case_also_drops_what_is_only_staged_of_it(reopen):
    store = reopen()
    store.stage(entries([1, 2]))
    store.stage([entry(1, version=1)])
    snapshot = store.publish(remove=ids([1]))
    assert (snapshot.cases, sorted(store.contents())) == (1, ids([2]))
    store.stage(entries([3]))
    assert store.publish(remove=ids([3])).cases == 1
    store.stage([entry(2, version=1)])  # staged and visible at once
    assert store.publish(remove=ids([2])).cases == 0
    assert (store.staged(), store.verify()) == ({}, [])
    assert store.publish().cases == 0
    assert store.nearest(entry(1).vectors, 5) == [[]]
    store.close()
    again = reopen()
    assert (again.contents(), again.staged()) == ({}, {})
    again.stage(entries([1]))  # removed is not erased
    assert again.publish().cases == 1


def test_unstaging_a_case_forgets_every_staging_of_it_and_leaves_what_is_visible(reopen):
    store = reopen()
    published(store, range(4))
    store.stage([entry(1, version=1), entry(5), entry(6)])
    store.stage([entry(1, version=2), entry(5, version=1)])
    store.unstage([])
    store.unstage(ids([1, 5, 99]))
    assert list(store.staged()) == ids([6])
    store.close()
    again = reopen()
    assert list(again.staged()) == ids([6])
    again.publish()
    assert again.cases(ids([1])) == [e.case for e in entries([1])]
    assert sorted(again.contents()) == ids([0, 1, 2, 3, 6])
    assert again.verify() == []


def test_snapshot_ids_increase_and_old_snapshots_are_dropped(store):
    made = [published(store, [number]).snapshot_id for number in range(RETAINED_SNAPSHOTS + 2)]
    assert made == sorted(set(made))
    assert [s.snapshot_id for s in store.snapshots()] == made[-RETAINED_SNAPSHOTS:]


def test_what_was_published_and_staged_is_there_after_reopening(reopen):
    first = reopen()
    snapshot = published(first, range(7))
    first.stage(entries([8]))
    contents, hits = first.contents(), first.nearest(exact_rows(9, 3), 5)
    first.close()
    again = reopen()
    assert again.current() == snapshot
    assert again.contents() == contents
    assert list(again.staged()) == ids([8])
    assert again.nearest(exact_rows(9, 3), 5) == hits


def test_many_small_publications_leave_few_segments(tmp_path):
    with opened("faiss", tmp_path) as open_store:
        store = open_store()
        for number in range(40):
            published(store, [number])
            assert len(store._view.parts) <= 7
        assert store.current().cases == 40


# Refusals at staging


@pytest.mark.parametrize(
    "vectors",
    [
        np.ones((1, DIMENSION + 1), np.float32),
        np.zeros((2, DIMENSION), np.float32),
        np.full((1, DIMENSION), np.nan, np.float32),
        np.ones((1, DIMENSION), np.float32),
    ],
    ids=["length", "count", "nan", "norm"],
)
def test_wrong_vectors_are_refused_and_nothing_of_the_call_is_kept(store, vectors):
    with pytest.raises(EncoderMismatch):
        store.stage([entry(1), Entry(case(2), vectors)])
    assert store.staged() == {}


# Erasure and rollback


def test_an_erased_case_is_in_no_snapshot_and_not_staged(store):
    published(store, range(5))
    published(store, range(5, 9))
    store.stage(entries([20, 21]))
    assert store.erase(ids([2, 6, 20, 77])) == 3
    assert sorted(store.contents()) == ids([0, 1, 3, 4, 5, 7, 8])
    assert list(store.staged()) == ids([21])
    assert store.current().cases == 7
    assert [s.cases for s in store.snapshots()] == [4, 7]
    assert all(h.case_id not in ids([2, 6]) for h in store.nearest(exact_rows(1, 1), 1000)[0])
    assert store.verify() == []


def test_erasure_renumbers_tombstones_and_counts(store):
    published(store, range(16))
    store.stage([entry(3, version=1)])
    store.publish(remove=ids([7]))
    assert store.erase(ids([1, 7])) == 2
    memory = oracle(entries(range(16)))
    memory.stage([entry(3, version=1)])
    memory.publish(remove=ids([7, 1]))
    assert store.contents() == memory.contents()
    assert store.current().images == memory.current().images
    assert store.nearest(exact_rows(4, 3), 50) == memory.nearest(exact_rows(4, 3), 50)


def test_an_erased_case_cannot_be_staged_again(store):
    published(store, range(3))
    store.erase(ids([1, 50]))
    assert store.erased(ids([1])[0])
    assert store.erased(ids([50])[0]), "also a case that was not there: the request holds for the future"
    assert not store.erased(ids([2])[0])
    with pytest.raises(RequestError):
        store.stage(entries([2, 50]))
    assert store.staged() == {}


def test_erasure_is_remembered_after_reopening(reopen):
    store = reopen()
    published(store, range(3))
    store.erase(ids([1]))
    store.close()
    assert reopen().erased(ids([1])[0])


def test_everything_can_be_erased(store):
    published(store, range(3))
    assert store.erase(ids(range(3))) == 3
    assert store.contents() == {}
    assert store.nearest(exact_rows(1, 1), 5) == [[]]
    assert store.verify() == []
    assert published(store, [9]).cases == 1


def test_rollback_brings_the_older_snapshot_back_and_keeps_the_newer(store):
    first = published(store, range(3))
    second = published(store, range(3, 6))
    assert store.rollback(first.snapshot_id) == first
    assert store.current() == first
    assert sorted(store.contents()) == ids(range(3))
    assert store.rollback(second.snapshot_id) == second
    assert sorted(store.contents()) == ids(range(6))


def test_rollback_does_not_bring_an_erased_case_back(store):
    first = published(store, range(3))
    published(store, range(3, 6))
    store.erase(ids([1]))
    snapshot = store.rollback(first.snapshot_id)
    assert (snapshot.cases, sorted(store.contents())) == (2, ids([0, 2]))


def test_publication_after_rollback_builds_on_the_older_snapshot(store):
    first = published(store, range(3))
    second = published(store, range(3, 6))
    store.rollback(first.snapshot_id)
    third = published(store, [9])
    assert third.snapshot_id > second.snapshot_id
    assert sorted(store.contents()) == ids([0, 1, 2, 9])


def test_the_snapshot_that_served_before_a_publication_stays_retained_after_a_rollback(store):
    made = [published(store, [number]).snapshot_id for number in range(3)]
    store.rollback(made[0])
    newest = published(store, [9]).snapshot_id
    assert [s.snapshot_id for s in store.snapshots()] == [made[0], made[2], newest]


def test_rollback_leaves_staged_work_staged(store):
    first = published(store, range(3))
    published(store, range(3, 6))
    store.stage(entries([9]))
    store.rollback(first.snapshot_id)
    assert list(store.staged()) == ids([9])


def test_rollback_to_a_snapshot_that_is_not_retained_is_refused(store):
    published(store, range(3))
    with pytest.raises(UnknownSnapshot):
        store.rollback(SnapshotId("00000077"))


# Two objects on one store


def test_a_reader_answers_from_its_snapshot_until_it_refreshes(shared):
    writer = shared()
    published(writer, range(6))
    reader = shared()
    before = reader.contents()
    published(writer, range(6, 8))
    assert reader.contents() == before
    reader.refresh()
    assert reader.contents() == writer.contents()


def test_a_reader_answers_on_when_its_files_are_gone(tmp_path):
    with opened("faiss", tmp_path) as open_store:
        writer = open_store()
        published(writer, range(6))
        reader = open_store()
        hits = reader.nearest(exact_rows(3, 2), 4)
        for number in range(10, 20):
            published(writer, [number])
        assert reader.nearest(exact_rows(3, 2), 4) == hits
        assert reader.cases(ids([5])) == [entries([5])[0].case]
        assert reader.current().snapshot_id not in [s.snapshot_id for s in reader.snapshots()]


def test_a_second_writer_is_told_that_the_store_is_busy(shared):
    first, second = shared(), shared()
    first.stage(entries([1]))
    for write in (
        lambda: second.stage(entries([2])),
        second.publish,
        lambda: second.erase(ids([1])),
        lambda: second.rollback(SnapshotId("00000001")),
    ):
        with pytest.raises(StoreBusy):
            write()
    first.close()
    second.stage(entries([2]))
    assert sorted(second.staged()) == ids([1, 2])


def test_opening_with_another_encoder_names_both(tmp_path):
    from retrieval.stores.faiss_segments import FaissSegments  # noqa: PLC0415

    shelf = FaissSegments(tmp_path / "store")
    store = SegmentedStore(shelf, ENCODER, DIMENSION)
    published(store, range(2))
    store.close()
    with pytest.raises(EncoderMismatch, match=r"drawn-1.*drawn-2"):
        SegmentedStore(shelf, EncoderIdentity("drawn-2"), DIMENSION)
    with pytest.raises(EncoderMismatch, match="dimension 9"):
        SegmentedStore(shelf, ENCODER, 9)
    assert SegmentedStore(shelf, None, None).current().encoder == ENCODER


def test_an_empty_store_without_an_encoder_cannot_be_written(tmp_path):
    from retrieval.stores.faiss_segments import FaissSegments  # noqa: PLC0415

    store = SegmentedStore(FaissSegments(tmp_path / "store"), None, None)
    with pytest.raises(StoreUnavailable):
        store.stage(entries([1]))
    assert store.current() is None
    store.close()
