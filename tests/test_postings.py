"""Posting lists: the fast similarity is the slow one in every bit, whatever the segments were."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.bench_concepts import bench_concepts, draw_sets
from retrieval.mentions import ConceptId
from retrieval.ranking.concept_sets import ConceptSet, Expansion, concepts_in
from retrieval.ranking.concept_similarity import ConceptSimilarity, Form, Weights, frequencies
from retrieval.ranking.lists import Part, PostingLists, best, merge
from retrieval.ranking.postings import ConceptPostings, rows
from retrieval.records import CaseId
from tests.concept_sets_drawing import IDS, ONTOLOGY, cid, concept_sets

Cases = dict[CaseId, ConceptSet]
CASES = st.dictionaries(st.text("abc", min_size=1, max_size=3).map(CaseId), concept_sets(), max_size=12)
FORMS = st.sampled_from(["symmetric", "asymmetric"])
WITHIN = st.none() | st.frozensets(st.sampled_from(IDS))


def slow_top(
    query: ConceptSet, cases: Cases, limit: int, form: Form, within: frozenset[ConceptId] | None
) -> list[tuple[CaseId, float]]:
    weights = Weights(ONTOLOGY, frequencies(map(Expansion(ONTOLOGY).expand, cases.values())))
    slow = ConceptSimilarity(ONTOLOGY, weights)
    found = [(case_id, slow.similarity(query, case, form, within)) for case_id, case in cases.items()]
    return sorted(((c, s) for c, s in found if s > 0), key=lambda f: (-f[1], f[0]))[:limit]


def segment(cases: list[tuple[CaseId, ConceptSet]], gone: frozenset[int] = frozenset()) -> Part:
    return Part(PostingLists.from_rows(rows((s for _, s in cases), ONTOLOGY)), [c for c, _ in cases], gone)


@given(concept_sets(), CASES, st.integers(0, 8), FORMS, WITHIN)
@settings(max_examples=300)
def test_fast_and_slow_agree_in_every_bit(
    query: ConceptSet, cases: Cases, limit: int, form: Form, within: frozenset[ConceptId] | None
) -> None:
    postings = ConceptPostings.build(cases.items(), ONTOLOGY)
    assert postings.top(query, limit, form, within=within) == slow_top(query, cases, limit, form, within)


def test_fast_and_slow_agree_on_sets_drawn_from_the_whole_ontology() -> None:
    cases = {CaseId(f"{n:04d}"): s for n, s in enumerate(draw_sets(ONTOLOGY, 300))}
    postings = ConceptPostings.build(cases.items(), ONTOLOGY)
    lung = concepts_in(ONTOLOGY, "lung")
    for query in list(cases.values())[:6]:
        for within in (None, lung):
            assert postings.top(query, 300, within=within) == slow_top(query, cases, 300, "symmetric", within)


@given(CASES, st.data(), concept_sets(), FORMS)
def test_any_split_into_segments_minus_what_is_gone_is_one_segment(
    cases: Cases, data: st.DataObject, query: ConceptSet, form: Form
) -> None:
    shuffled = data.draw(st.permutations(list(cases.items())))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(shuffled)), max_size=3)))
    pieces = [shuffled[a:b] for a, b in zip([0, *cuts], [*cuts, len(shuffled)], strict=True)]
    # A case that is gone from one segment may live on, changed, in another.
    dead = data.draw(st.lists(st.tuples(st.sampled_from(IDS), concept_sets()), max_size=3))
    ids = list(cases) or [CaseId("x")]
    parts = [segment(piece) for piece in pieces]
    parts.append(segment([(ids[i % len(ids)], s) for i, (_, s) in enumerate(dead)], frozenset(range(len(dead)))))
    split, whole = ConceptPostings(parts, ONTOLOGY), ConceptPostings.build(cases.items(), ONTOLOGY)
    for name, array in whole.lists.to_arrays().items():
        assert np.array_equal(array, split.lists.to_arrays()[name])
    assert split.case_ids == whole.case_ids
    assert split.top(query, 5, form) == whole.top(query, 5, form)


@given(CASES)
def test_what_is_kept_as_arrays_comes_back(cases: Cases) -> None:
    lists = segment(list(cases.items())).lists
    file = io.BytesIO()
    np.savez(file, **lists.to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as kept:
        again = PostingLists.from_arrays(kept)
    assert again.keys == lists.keys
    assert again.cases == lists.cases
    assert all(np.array_equal(again[k][i], lists[k][i]) for k in lists.keys for i in (0, 1))


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    arrays = segment([(CaseId("a"), ConceptSet(present={cid("pneumonia"): 1}))]).lists.to_arrays()
    for name, wrong in (
        ("codes", arrays["codes"][:-1]),
        ("starts", arrays["starts"][:-1]),
        ("cases", np.array([0])),
        ("keys", arrays["keys"][::-1]),
    ):
        with pytest.raises(ValueError, match="posting lists"):
            PostingLists.from_arrays({**arrays, name: wrong})


def test_a_case_that_lives_twice_is_refused() -> None:
    one = segment([(CaseId("a"), ConceptSet())])
    with pytest.raises(ValueError, match="two segments"):
        merge([one, one])


def test_equal_cases_rank_by_case_id_and_strangers_are_not_found() -> None:
    said = ConceptSet(present={cid("cardiomegaly"): 1})
    cases = {CaseId(c): said for c in "dbca"} | {CaseId("e"): ConceptSet(present={cid("picc"): 1})}
    postings = ConceptPostings.build(cases.items(), ONTOLOGY)
    assert postings.top(said, 3) == [("a", 1.0), ("b", 1.0), ("c", 1.0)]
    assert len(postings.top(said, 9)) == 4
    keep = np.array([case_id in "bd" for case_id in postings.case_ids])
    assert [c for c, _ in postings.top(said, 9, keep=keep)] == ["b", "d"]
    assert not postings.top(ConceptSet(), 9)
    assert not ConceptPostings.build([], ONTOLOGY).top(said, 9)


def test_base_rates_are_mean_degrees() -> None:
    sets = [ConceptSet(present={cid("pleural_effusion"): d}) for d in (1, 0.5)] + [ConceptSet()] * 2
    rates = ConceptPostings.build(((CaseId(str(n)), s) for n, s in enumerate(sets)), ONTOLOGY).base_rates()
    assert rates[cid("pleural_effusion")] == 1.5 / 4
    assert rates[cid("pleural_abnormality")] == 0.75 / 4
    assert cid("pneumonia") not in rates


def test_more_anatomies_than_are_remembered_change_nothing() -> None:
    cases = {CaseId(str(n)): s for n, s in enumerate(draw_sets(ONTOLOGY, 40))}
    postings = ConceptPostings.build(cases.items(), ONTOLOGY)
    parts = [frozenset({c}) for c in IDS]
    query = cases[CaseId("0")]
    first = [postings.top(query, 5, within=within) for within in parts]
    assert first == [postings.top(query, 5, within=within) for within in parts]


@given(st.lists(st.sampled_from([0.0, 0.1, 0.5, 0.5000000001, 1.0]), max_size=20), st.integers(0, 25), st.data())
def test_the_best_are_those_of_a_full_sort(values: list[float], limit: int, data: st.DataObject) -> None:
    keep = data.draw(st.none() | st.lists(st.booleans(), min_size=len(values), max_size=len(values)))
    kept = [i for i, v in enumerate(values) if v > 0 and (keep is None or keep[i])]
    expected = sorted(kept, key=lambda i: (-values[i], i))[:limit]
    assert best(np.array(values), limit, None if keep is None else np.array(keep, bool)).tolist() == expected


def test_the_bench_measures_what_agrees() -> None:
    report = bench_concepts(cases=2_000, queries=20)
    assert report.unequal == 0
    assert report.compared == 1_000
    assert 20 < report.postings < 30
