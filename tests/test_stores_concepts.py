"""Entries that come back as they went in, and what has read each case: the same sentences for every store."""

import pytest

from retrieval.errors import UnknownCase
from retrieval.mentions import ExtractorIdentity
from retrieval.stores.store import Entry
from tests.stores_backends import QDRANT, opened
from tests.stores_drawing import EXTRACTOR, concepts, entries, entry, exact_rows, ids, published, random_rows

OTHER = ExtractorIdentity("drawn-rules-2")


def again(one):
    """The entry as another extractor reads it."""
    number = int(one.case.case_id.rpartition("-")[2])
    return Entry(one.case.model_copy(update={"concepts": concepts(number, extractor=OTHER)}), one.vectors)


@pytest.fixture(params=["memory", "faiss", QDRANT])
def reopen(request, tmp_path):
    """Opens the store under test; called again, opens the same data again."""
    with opened(request.param, tmp_path) as open_store:
        yield open_store


@pytest.fixture
def store(reopen):
    return reopen()


def same(found, expected):
    return all(
        a.case == b.case and a.vectors.dtype == b.vectors.dtype and a.vectors.tobytes() == b.vectors.tobytes()
        for a, b in zip(found, expected, strict=True)
    )


def test_entries_come_back_bit_for_bit_in_the_order_asked(store):
    drawn = [Entry(e.case, random_rows(n, len(e.vectors))) for n, e in enumerate(entries(range(30)))]
    store.stage(drawn[:20])
    store.publish()
    store.stage(drawn[20:])  # a second segment
    store.publish()
    wanted = [7, 22, 3, 29, 0]
    assert same(store.entries(ids(wanted)), [drawn[n] for n in wanted])
    assert same(store.entries(ids(range(30))), drawn)
    assert store.entries([]) == []


def test_entries_are_those_of_the_snapshot(store):
    with pytest.raises(UnknownCase):
        store.entries(ids([1]))
    assert store.entries([]) == []
    published(store, range(8))
    store.stage([entry(3, version=2), entry(9)])
    assert same(store.entries(ids([3])), entries([3]))
    store.publish(remove=ids([5]))
    assert same(store.entries(ids([3, 9])), [entry(3, version=2), entry(9)])
    for gone in (5, 77):
        with pytest.raises(UnknownCase):
            store.entries(ids([1, gone]))


def test_what_has_read_a_case_is_known_whether_it_is_visible_or_staged(store):
    assert (store.extractors(), store.extractors("staged")) == ({}, {})
    published(store, range(4))
    assert store.extractors() == dict(zip(ids(range(4)), [None, EXTRACTOR, None, EXTRACTOR], strict=True))
    store.stage([again(entry(1)), entry(8)])
    assert store.extractors("staged") == {ids([1])[0]: OTHER, ids([8])[0]: None}
    assert store.extractors()[ids([1])[0]] == EXTRACTOR
    store.publish(remove=ids([3]))
    assert store.extractors() == dict(zip(ids([0, 1, 2, 8]), [None, OTHER, None, None], strict=True))
    assert store.extractors("staged") == {}


def test_concepts_read_again_replace_those_of_before_and_a_rollback_brings_them_back(reopen):
    store = reopen()
    first = published(store, range(20))
    published(store, [30])
    query = exact_rows(5, 3)
    before, hits = store.contents(), store.nearest(query, 40)
    store.stage([again(e) for e in store.entries(ids(range(12)))])
    assert store.publish().cases == 21
    assert store.nearest(query, 40) == hits
    assert store.contents() == before
    assert [c.concepts for c in store.cases(ids([4, 5]))] == [
        concepts(4, extractor=OTHER),
        concepts(5, extractor=OTHER),
    ]
    published(store, range(40, 80))  # merges what is smaller
    store.close()
    store = reopen()
    assert [store.extractors()[i] for i in ids([11, 12, 13])] == [OTHER, None, EXTRACTOR]
    assert same(store.entries(ids(range(12))), [again(e) for e in entries(range(12))])
    assert store.verify() == []
    store.rollback(store.snapshots()[0].snapshot_id)
    assert store.current().snapshot_id > first.snapshot_id
    assert [c.concepts for c in store.cases(ids([4, 5]))] == [None, concepts(5)]


def test_a_segment_from_before_reports_were_read_opens_as_unread(tmp_path, monkeypatch):
    from retrieval.stores import case_table  # noqa: PLC0415

    with opened("faiss", tmp_path) as open_store:
        # As the first version wrote it: no column, and no concepts in the record.
        columns = "extractor TEXT, sex TEXT, age_band TEXT, source TEXT, licence TEXT, "
        monkeypatch.setattr(case_table, "SCHEMA", case_table.SCHEMA.replace(columns, ""))
        monkeypatch.setattr(case_table, "INSERT", "INSERT INTO cases VALUES (?1, ?2, ?3, ?4, ?5, ?11)")
        store = open_store()
        published(store, range(0, 8, 2))
        monkeypatch.undo()
        assert set(store.extractors().values()) == {None}
        store.stage([again(e) for e in store.entries(ids([2, 4]))])
        store.publish()
        assert [store.extractors()[i] for i in ids([0, 2, 4, 6])] == [None, OTHER, OTHER, None]
