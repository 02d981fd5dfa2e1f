"""The concept and text legs and the filters, as every store must do them: exactly what the oracle does."""

import pytest

from retrieval.comparison import ConceptSet
from retrieval.errors import StoreUnavailable, UnknownCase
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.ranking.concept_sets import concepts_in
from retrieval.records import CaseImage, PatientKey, view_group
from retrieval.stores import case_postings
from retrieval.stores.case_postings import concept_set
from retrieval.stores.store import Entry
from retrieval.where import Where
from tests.stores_backends import QDRANT, opened
from tests.stores_drawing import SAID, digest, entries, exact_rows, ids, oracle, published, query

PARTS = [entries(range(40)), entries(range(30, 52), version=1), entries([61])]
FILTERS = [
    Where(sex="F"),
    Where(sex="O", age_bands=frozenset({"50-59"})),
    Where(sources=frozenset({"sketched"})),
    Where(licences=frozenset({"CC-BY-4.0", "unheard of"})),
    Where(views=frozenset({"lateral"})),
    Where(views=frozenset({"frontal", "lateral"}), group="lateral"),
    Where(findings=frozenset({SAID[0]})),
    Where(findings=frozenset({SAID[5], SAID[0]})),
    Where(denied=frozenset({SAID[2]})),
    Where(not_stated=frozenset({SAID[0], SAID[9]})),
    Where(not_denied=frozenset({SAID[1], SAID[7]})),
    Where(findings=frozenset({ConceptId("PRELIM:9999")})),
    Where(denied=frozenset({ConceptId("PRELIM:9999")})),
    Where(not_patients=frozenset({PatientKey("patient-00003")}), sex="M"),
    Where(not_images=frozenset({digest("case-00003/0/0")})),
]


@pytest.fixture(params=["memory", "faiss", QDRANT])
def reopen(request, tmp_path):
    with opened(request.param, tmp_path) as open_store:
        yield open_store


@pytest.fixture
def store(reopen):
    """Three publications: segments, replaced cases, and every second case unread."""
    store = reopen()
    for part in PARTS:
        store.stage(part)
        store.publish()
    return store


@pytest.fixture(scope="module")
def judge():
    return oracle(*PARTS)


@pytest.mark.parametrize("where", [Where(), *FILTERS], ids=str)
def test_every_leg_and_filter_gives_what_the_oracle_gives(store, judge, where):
    for limit in (1, 7, 1000):
        assert store.nearest(exact_rows(7, 3), limit, where) == judge.nearest(exact_rows(7, 3), limit, where)
        for number in (1, 4):
            found = store.similar_concepts(query(number), limit, where)
            assert found == judge.similar_concepts(query(number), limit, where)
        assert store.matching_text("left effusions", limit, where) == judge.matching_text(
            "left effusions", limit, where
        )


@pytest.mark.parametrize("form", ["symmetric", "asymmetric"])
def test_both_forms_and_one_part_of_the_body_give_what_the_oracle_gives(store, judge, form):
    for within in (None, concepts_in(load(), "pleura")):
        options = {"form": form, "within": within}
        ours = store.similar_concepts(query(2), 100, **options)
        assert ours == judge.similar_concepts(query(2), 100, **options)
        why = store.compare(query(2), [match.case_id for match in ours], **options)
        assert why == judge.compare(query(2), [match.case_id for match in ours], **options)
        assert [w.similarity for w in why if w] == [match.similarity for match in ours]
    assert store.base_rates() == judge.base_rates()
    assert store.searchable() == judge.searchable() == 27


@pytest.mark.parametrize("where", [Where(), *FILTERS], ids=str)
def test_the_filters_keep_as_many_as_the_oracle(store, judge, where):
    assert store.kept(where) == judge.kept(where)
    assert store.unlisted() == frozenset()


def test_the_filters_keep_what_they_say(store):
    everything = store.cases(list(store.contents()))

    def kept(**where):
        found = {h.case_id for h in store.nearest(exact_rows(1, 1), 1000, Where(**where))[0]}
        return [c for c in everything if c.case_id in found]

    assert {c.sex for c in kept(sex="F")} == {"F"}
    assert {c.age_band for c in kept(age_bands=frozenset({"40-49", "50-59"}))} == {"40-49", "50-59"}
    assert {c.source for c in kept(sources=frozenset({"sketched"}))} == {"sketched"}
    assert {c.licence for c in kept(licences=frozenset({"CC-BY-4.0"}))} == {"CC-BY-4.0"}
    both = frozenset({"frontal", "lateral"})
    assert all(both <= {view_group(i.view) for i in c.images} for c in kept(views=both))
    assert kept(views=both)
    opacity, effusion = SAID[0], SAID[5]
    narrower = load().descendants(opacity).keys()
    with_opacity = kept(findings=frozenset({opacity}))
    assert all(any(concept_set(c).present.get(n) == 1 for n in narrower) for c in with_opacity)
    assert any(opacity not in concept_set(c).present for c in with_opacity)
    assert {c.case_id for c in kept(findings=frozenset({opacity, effusion}))} <= {c.case_id for c in with_opacity}


def test_a_case_that_denies_the_broader_finding_denies_the_narrower(reopen):
    store = reopen()
    consolidation, opacity = SAID[2], SAID[0]
    drawn = entries([1, 3, 5, 7])
    says = [("absent", opacity), ("absent", consolidation), ("present", consolidation), ("uncertain", consolidation)]
    drawn = [said(e, certainty, concept) for e, (certainty, concept) in zip(drawn, says, strict=True)]
    store.stage(drawn)
    store.publish()

    def found(**where):
        return {h.case_id for h in store.nearest(exact_rows(1, 1), 9, Where(**where))[0]}

    assert found(denied=frozenset({consolidation})) == set(ids([1, 3]))
    assert found(denied=frozenset({opacity})) == set(ids([1]))
    assert found(findings=frozenset({opacity})) == set(ids([5]))
    assert found(not_denied=frozenset({consolidation})) == set(ids([5, 7]))
    assert found(not_stated=frozenset({opacity})) == set(ids([1, 3, 7]))


def said(entry, certainty, concept):
    (first, *_) = entry.case.concepts.mentions
    mention = first.model_copy(update={"certainty": certainty, "concept": concept})
    concepts = entry.case.concepts.model_copy(update={"mentions": (mention,)})
    return Entry(entry.case.model_copy(update={"concepts": concepts}), entry.vectors)


def test_nothing_is_found_by_nothing(store):
    assert store.similar_concepts(ConceptSet(), 9) == []
    assert store.matching_text("no, not without", 9) == []
    assert store.matching_text("unheard", 9) == []
    assert store.similar_concepts(query(1), 0) == []
    assert store.matching_text("left", 0) == []
    assert store.similar_concepts(ConceptSet(present={ConceptId("PRELIM:9999"): 1.0}), 9) == []


def test_an_unread_case_is_found_by_its_images_alone(store):
    published(store, [70])
    assert store.compare(query(1), ids([70])) == [None]
    assert ids([70])[0] not in {m.case_id for m in store.similar_concepts(query(1), 1000)}
    assert ids([70])[0] in {h.case_id for h in store.nearest(exact_rows(1, 1), 1000)[0]}
    with pytest.raises(UnknownCase):
        store.compare(query(1), ids([777]))


def test_before_the_first_publication_there_is_nothing_to_ask(reopen):
    store = reopen()
    for ask in (
        lambda: store.similar_concepts(query(1), 1),
        lambda: store.matching_text("left", 1),
        lambda: store.base_rates(),
        lambda: store.compare(query(1), []),
    ):
        with pytest.raises(StoreUnavailable):
            ask()


def test_erasure_and_rollback_reach_what_weighs(reopen):
    store = reopen()
    published(store, range(20))
    published(store, [31])
    store.erase(ids([5, 31]))
    assert_as(store, oracle(entries([n for n in range(20) if n != 5])))
    store.rollback(store.snapshots()[0].snapshot_id)
    assert_as(store, oracle(entries([n for n in range(20) if n != 5])))


def assert_as(store, judge):
    assert store.similar_concepts(query(2), 99) == judge.similar_concepts(query(2), 99)
    assert store.matching_text("left 00031 effusion", 99) == judge.matching_text("left 00031 effusion", 99)


@pytest.mark.parametrize("backend", ["faiss", QDRANT])
def test_postings_of_another_ontology_are_as_none_until_read_again(backend, tmp_path, monkeypatch):
    with opened(backend, tmp_path) as open_store:
        store = open_store()
        monkeypatch.setattr(case_postings, "FORM", "postings-0")
        published(store, range(12))
        monkeypatch.undo()
        store.close()
        store = open_store()
        assert store.verify() == []
        assert (store.searchable(), store.similar_concepts(query(1), 9), store.matching_text("left", 9)) == (0, [], [])
        assert store.nearest(exact_rows(1, 1), 5) == oracle(entries(range(12))).nearest(exact_rows(1, 1), 5)
        store.stage(store.entries(ids(range(12))))
        store.publish()
        assert_as(store, oracle(entries(range(12))))


def test_an_index_from_before_there_were_postings_opens_and_is_searched_by_images_and_kind(tmp_path, monkeypatch):
    from retrieval.stores import case_table, faiss_segments  # noqa: PLC0415

    columns = "sex TEXT, age_band TEXT, source TEXT, licence TEXT, "
    with opened("faiss", tmp_path) as open_store:
        monkeypatch.setattr(case_table, "SCHEMA", case_table.SCHEMA.replace(columns, ""))
        monkeypatch.setattr(case_table, "INSERT", "INSERT INTO cases VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?11)")
        build = faiss_segments.FaissSegments.build

        def old_build(self, segment, dimension, entries):
            built = build(self, segment, dimension, entries)
            (self._segment(segment) / "postings.npz").unlink()
            kept = {name: digest for name, digest in built.checksums.items() if name != "postings.npz"}
            return built.model_copy(update={"checksums": kept})

        monkeypatch.setattr(faiss_segments.FaissSegments, "build", old_build)
        writer = open_store()
        published(writer, range(24))
        writer.close()
        monkeypatch.undo()
        store, judge = open_store(), oracle(entries(range(24)))
        assert store.verify() == []
        assert store.searchable() == 0
        for where in FILTERS[:6]:
            assert store.nearest(exact_rows(2, 2), 9, where) == judge.nearest(exact_rows(2, 2), 9, where)
        published(store, range(30, 60))  # merges the old segment, and so makes its postings
        assert_as(store, oracle(entries(range(24)), entries(range(30, 60))))


def test_postings_are_answered_after_another_process_dropped_the_segment(tmp_path):
    with opened("faiss", tmp_path) as open_store:
        writer = open_store()
        published(writer, range(20))
        reader = open_store()
        published(writer, range(30, 60))
        for number in range(3):
            published(writer, [70 + number])
        assert_as(reader, oracle(entries(range(20))))


def test_views_of_every_image_count(store):
    (one,) = entries([81])
    images = (CaseImage(digest=digest("a"), view="LLD"), CaseImage(digest=digest("b"), view="RL"))
    store.stage([Entry(one.case.model_copy(update={"images": images}), exact_rows(1, 2))])
    store.publish()
    where = Where(views=frozenset({"lateral", "other"}))
    assert {h.case_id for h in store.nearest(exact_rows(1, 1), 99, where)[0]} == {one.case.case_id}
