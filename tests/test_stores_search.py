"""Searching, as every store must do it: exactly, in the oracle's order, without whom the query leaves out."""

import numpy as np
import pytest

from retrieval.errors import (
    EncoderMismatch,
    UnknownCase,
)
from retrieval.records import PatientKey, StudyUid, view_group
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import Entry
from retrieval.where import Where
from tests.stores_backends import QDRANT, opened
from tests.stores_drawing import (
    DIMENSION,
    ENCODER,
    case,
    digest,
    entries,
    entry,
    exact_rows,
    ids,
    oracle,
    published,
    random_rows,
)


@pytest.fixture(params=["memory", "faiss", QDRANT])
def store(request, tmp_path):
    with opened(request.param, tmp_path) as open_store:
        yield open_store()


def test_a_case_is_its_own_nearest_neighbour(store):
    drawn = [Entry(case(n), random_rows(n, 1)) for n in range(30)]
    store.stage(drawn)
    store.publish()
    for each in drawn:
        hit = store.nearest(each.vectors, 1)[0][0]
        assert (hit.case_id, hit.image) == (each.case.case_id, 0)
        assert hit.similarity == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("group", [None, "frontal", "lateral", "other"])
def test_hits_are_those_of_the_oracle_in_its_order(store, group):
    parts = [entries(range(20)), entries(range(15, 26), version=1), entries([40])]
    for part in parts:
        store.stage(part)
        store.publish()
    # Products of these rows are multiples of 1/4: ties everywhere, and broken alike.
    queries = exact_rows(7, 5)
    for limit in (1, 4, 9, 1000):
        assert store.nearest(queries, limit, Where(group=group)) == oracle(*parts).nearest(
            queries, limit, Where(group=group)
        )


def test_similarities_of_real_vectors_agree_with_the_oracle(store):
    drawn = [Entry(case(n, views=("PA", "LL")), random_rows(n, 2)) for n in range(60)]
    store.stage(drawn)
    store.publish()
    ours = store.nearest(random_rows(99, 25), 10)
    theirs = oracle(drawn).nearest(random_rows(99, 25), 10)
    for our, their in zip(ours, theirs, strict=True):
        assert [h.similarity for h in our] == pytest.approx([h.similarity for h in their], abs=1e-5)
        assert {h.case_id for h in our} == {h.case_id for h in their}


def test_equal_rows_are_ordered_by_case_then_image_also_at_the_cut(store):
    row = exact_rows(1, 1)
    store.stage([Entry(case(n, views=("PA", "AP")), np.repeat(row, 2, axis=0)) for n in range(40, 0, -1)])
    store.publish()
    for limit in (1, 5, 33):
        found = [(h.case_id, h.image) for h in store.nearest(row, limit)[0]]
        assert found == [(case(1 + n // 2).case_id, n % 2) for n in range(limit)]


def test_a_similarity_depends_on_nothing_but_the_two_rows(tmp_path):
    # Real float32 rows of a real length: BLAS sums them in another order in another batch or place.
    row = random_rows(1, 1, 512)
    filler = random_rows(2, 300, 512)
    store = SegmentedStore(FaissSegments(tmp_path / "wide"), ENCODER, 512)
    store.stage([Entry(case(n), row if n % 7 == 0 else filler[n : n + 1]) for n in range(300)])
    store.publish()
    queries = np.concatenate([random_rows(3, 40, 512), (row + random_rows(4, 1, 512)) / 2])
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    together = store.nearest(queries, 300)
    for query, hits in zip(queries, together, strict=True):
        assert store.nearest(query[None], 300) == [hits]
        assert len({h.similarity for h in hits if int(h.case_id[-5:]) % 7 == 0}) == 1
    store.close()


def test_a_frontal_query_finds_no_lateral_image(store):
    published(store, range(20))
    hits = store.nearest(exact_rows(3, 1), 1000, Where(group="frontal"))[0]
    views = {(h.case_id, h.image): store.cases([h.case_id])[0].images[h.image].view for h in hits}
    assert hits
    assert {view_group(view) for view in views.values()} == {"frontal"}


def test_cases_of_an_excluded_patient_are_not_found(store):
    published(store, range(20))
    where = Where(not_patients=frozenset({PatientKey("patient-00003"), PatientKey("nobody")}))
    found = {h.case_id for h in store.nearest(exact_rows(3, 1), 1000, where)[0]}
    # Case 4 is patient 3's as well.
    assert found == set(ids(set(range(20)) - {3, 4}))


def test_cases_of_an_excluded_study_are_not_found(store):
    published(store, range(20))
    where = Where(not_studies=frozenset({StudyUid("study-00003")}))
    assert {h.case_id for h in store.nearest(exact_rows(3, 1), 1000, where)[0]} == set(ids(set(range(20)) - {3}))


def test_every_case_of_the_owner_of_an_excluded_image_is_not_found_in_whatever_segment_it_stands(store):
    published(store, range(12))
    store.stage([entry(50, patient=3)])
    store.publish()
    where = Where(not_images=frozenset({digest("case-00050/0/0"), digest("no image")}))
    assert {h.case_id for h in store.nearest(exact_rows(3, 1), 1000, where)[0]} == set(ids(set(range(12)) - {3, 4}))


def test_an_image_of_a_replaced_case_excludes_nobody(store):
    published(store, range(12))
    store.stage([entry(3, views=("PA",), version=1)])
    store.publish()
    where = Where(not_images=frozenset({digest("case-00003/0/0")}))
    assert {h.case_id for h in store.nearest(exact_rows(3, 1), 1000, where)[0]} == set(ids(range(12)))


def test_exclusions_leave_the_limit_full(store):
    published(store, range(30))
    query = entry(7).vectors
    everything = store.nearest(query, 1000)[0]
    nearest = [h.case_id for h in everything[:10]]
    where = Where(not_studies=frozenset(c.study_instance_uid for c in store.cases(nearest)))
    left = [h for h in everything if h.case_id not in nearest]
    assert store.nearest(query, 5, where)[0] == left[:5]


def test_many_excluded_rows_are_handled_exactly(store):
    drawn = [Entry(case(n, patient=n % 2), exact_rows(n, 1)) for n in range(700)]
    store.stage(drawn)
    store.publish()
    where = Where(not_patients=frozenset({PatientKey("patient-00001")}))
    queries = exact_rows(3, 2)
    assert store.nearest(queries, 6, where) == oracle(drawn).nearest(queries, 6, where)


def test_asking_for_none_or_with_no_query_gives_nothing(store):
    published(store, range(3))
    assert store.nearest(exact_rows(1, 2), 0) == [[], []]
    assert store.nearest(exact_rows(1, 0), 3) == []


def test_a_query_of_another_dimension_is_refused(store):
    published(store, range(3))
    with pytest.raises(EncoderMismatch):
        store.nearest(np.ones((1, DIMENSION + 1), np.float32), 1)
    with pytest.raises(EncoderMismatch):
        store.nearest(exact_rows(1, 1)[0], 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, 1])
def test_a_query_that_is_no_unit_row_is_refused(store, value):
    published(store, range(3))
    with pytest.raises(EncoderMismatch):
        store.nearest(np.full((1, DIMENSION), value, np.float32), 1)


def test_cases_come_back_in_the_order_asked(store):
    published(store, range(6))
    assert store.cases(ids([4, 1, 4])) == [e.case for e in entries([4, 1, 4])]


def test_an_unknown_case_is_named(store):
    published(store, range(3))
    with pytest.raises(UnknownCase, match="case-00077"):
        store.cases(ids([1, 77]))
