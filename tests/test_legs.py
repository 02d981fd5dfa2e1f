"""Legs and questions in words on invented studies: figures equal to the loop they stand for, own reports never read."""

from math import log2

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from evaluation import legs, text_queries
from evaluation.case_material import Cases, shown
from evaluation.case_search import CaseSearchReport
from evaluation.iu import FOLDS, IuStudy
from evaluation.leg_tables import leg_tables
from evaluation.legs import dealt_to_others, lift_difference, mean_lift, measure_legs, rare_lifts
from evaluation.published_leg import PublishedLeg
from evaluation.retrieval_metrics import lift_at, lift_interval
from evaluation.statistics import bootstrap_mean
from evaluation.text_queries import QUERIES, answers, chance_ndcg, grade, hidden_sets, ndcg
from retrieval.asking import text_asked
from retrieval.comparison import ConceptSet
from retrieval.errors import NotScorable
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load
from retrieval.ranking.concept_sets import concepts_of_report
from retrieval.ranking.published_similarity import PublishedSets, rank_published
from retrieval.records import CaseId
from retrieval.retriever import NEIGHBOURS
from retrieval.sections import compose_report
from retrieval.stores.case_postings import words_affirmed
from tests.concept_sets_drawing import IDS, cid

ONTOLOGY = load()
SENTENCES = {
    "Cardiomegaly": "The heart is enlarged.",
    "Pleural Effusion": "There is a small left pleural effusion.",
    "Lung": "The lungs are hyperinflated.",
    "Fractures": "Healed rib fractures.",
    "Pneumothorax": "Right apical pneumothorax.",
}


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    return Extractor(ONTOLOGY)


def drawn_cases(extractor: Extractor, n: int = 150, seed: int = 0) -> Cases:
    """Studies whose images are alike when their findings are, but for much noise."""
    generator = np.random.default_rng(seed)
    names = list(SENTENCES)
    has = generator.random((n, len(names))) < [0.3, 0.3, 0.3, 0.3, 0.04]
    vectors = has + generator.normal(0, 0.8, has.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    studies, read = [], []
    for i, row in enumerate(has):
        heads = [name for name, there in zip(names, row, strict=True) if there]
        text = " ".join(SENTENCES[name] for name in heads) or "Normal chest."
        study = IuStudy(
            case_id=CaseId(f"iu-{i:04}"),
            images=(),
            findings=text,
            impression="",
            indication="",
            heads=frozenset(heads or ["normal"]),
        )
        studies.append(study)
        read.append(extractor.read_report(compose_report(findings=text, impression="")))
    said = [concepts_of_report(r, ONTOLOGY) for r in read]
    return Cases(studies, read, said, np.arange(n) % FOLDS, (vectors @ vectors.T).astype(np.float32))


def with_another_report(cases: Cases, query: int, extractor: Extractor) -> Cases:
    text = "Large right pneumothorax. A pacemaker is seen. Hiatal hernia."
    read, said, studies = list(cases.read), list(cases.said), list(cases.studies)
    read[query] = extractor.read_report(compose_report(findings=text, impression=""))
    said[query] = concepts_of_report(read[query], ONTOLOGY)
    studies[query] = studies[query].model_copy(update={"findings": text, "heads": frozenset({"Pneumothorax"})})
    return cases._replace(read=read, said=said, studies=studies)


def test_nothing_a_study_says_itself_changes_what_is_found_for_it(extractor: Extractor) -> None:
    cases = drawn_cases(extractor)
    for query in (0, 7, 63):
        other = with_another_report(cases, query, extractor)
        found = []
        for seen in (cases, other):
            index = legs._index(seen, int(seen.folds[query]), ONTOLOGY)
            image = seen.nearest(query, 100)
            vote = shown(seen, query, 10, index.base_rates, ONTOLOGY)
            found.append(
                [
                    image.tolist(),
                    legs._concept_leg(index, vote, 5, "asymmetric"),
                    legs._fused(index, seen, vote, image).tolist(),
                    legs._reranked(index, vote, image, 20).tolist(),
                    legs._published(index, seen, query, image, 10, 0.125).tolist(),
                    legs._plain(index, seen, query, image, 10, 0.125).tolist(),
                ]
            )
            found[-1].append(legs._oracle(index, seen, query, image, ONTOLOGY).tolist())
        # The oracle is the row that does ask with it: it must be the only one to notice.
        assert found[0][:-1] == found[1][:-1]
        assert found[0][-1] != found[1][-1]


def test_a_hidden_case_is_known_by_nothing_it_says_itself(extractor: Extractor) -> None:
    cases = drawn_cases(extractor, 60)
    for query in (0, 11):
        before = hidden_sets(cases, ONTOLOGY)[query]
        assert before.present
        assert hidden_sets(with_another_report(cases, query, extractor), ONTOLOGY)[query] == before


def test_no_leg_finds_a_case_of_the_query_fold(extractor: Extractor) -> None:
    cases = drawn_cases(extractor, 60)
    for query in (0, 22, 44):
        index = legs._index(cases, int(cases.folds[query]), ONTOLOGY)
        found = legs._concept_leg(index, cases.said[query], 40, "symmetric")
        assert found
        assert not {query % FOLDS} & {int(cases.folds[i]) for i in (*found, *cases.nearest(query, 40))}


def test_ranking_anew_keeps_to_the_nearest_by_image(extractor: Extractor) -> None:
    cases = drawn_cases(extractor, 80)
    index = legs._index(cases, 0, ONTOLOGY)
    for query in range(0, 80, FOLDS):
        image = cases.nearest(query, 50)
        found = legs._reranked(index, shown(cases, query, 10, index.base_rates, ONTOLOGY), image, 12)
        assert len(set(found.tolist())) == 5
        assert set(found.tolist()) <= set(image[:12].tolist())
        # Asked with nothing, there is nothing but the images to go by.
        assert legs._reranked(index, ConceptSet(), image, 12).tolist() == image[:5].tolist()


def test_the_control_gives_every_query_another_of_its_fold() -> None:
    folds = np.random.default_rng(0).integers(0, FOLDS, 90)
    dealt = dealt_to_others(folds)
    assert sorted(dealt.tolist()) == list(range(90))
    assert (dealt != np.arange(90)).all()
    assert (folds[dealt] == folds).all()


def drawn_lifts(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    has, queries = generator.random((50, 4)) < 0.3, generator.random((80, 4)) < 0.45
    return generator.integers(0, 50, (80, 5)), generator.integers(0, 50, (80, 5)), has, queries


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_a_difference_of_lifts_is_the_difference(seed: int) -> None:
    one, other, has, queries = drawn_lifts(seed)
    heads = list("abcd")
    found = lift_difference(one, other, has, queries, resamples=50)
    assert found.value == pytest.approx(
        lift_at(5, one, has, queries, heads).value - lift_at(5, other, has, queries, heads).value
    )
    assert mean_lift(one, has, queries, np.arange(4)) == pytest.approx(lift_at(5, one, has, queries, heads).value)
    backwards = lift_difference(other, one, has, queries, resamples=50)
    assert (backwards.low, backwards.high) == pytest.approx((-found.high, -found.low))


def test_a_difference_to_a_constant_answer_has_the_interval_of_the_lift() -> None:
    one, _, has, queries = drawn_lifts(1)
    constant = np.tile(np.arange(5), (80, 1))
    alone = lift_interval(5, one, has, queries, list("abcd"), resamples=300)
    found = lift_difference(one, constant, has, queries, resamples=300)
    assert (found.value, found.low, found.high) == pytest.approx((alone.value, alone.low, alone.high))
    assert lift_difference(one, one, has, queries, resamples=10).high == 0
    with pytest.raises(NotScorable):
        lift_difference(one, constant, has, np.zeros_like(queries))


def test_rare_lifts_agree_with_the_loop() -> None:
    one, _, has, queries = drawn_lifts(2)
    values, whose = rare_lifts(one, has, queries, np.array([1, 3]))
    expected, owners = [], []
    for head in (1, 3):
        shares = [sum(bool(has[c, head]) for c in row) / 5 for row in one]
        without = [share for share, there in zip(shares, queries[:, head], strict=True) if not there]
        for query in range(len(one)):
            if queries[query, head]:
                expected.append(shares[query] - sum(without) / len(without))
                owners.append(str(query))
    assert values == pytest.approx(expected)
    assert whose == owners


published = st.builds(
    PublishedSets,
    st.frozensets(st.sampled_from(IDS), max_size=6),
    st.frozensets(st.sampled_from(IDS), max_size=6),
)


@settings(max_examples=60, deadline=None)
@given(published, st.lists(published, min_size=1, max_size=12))
def test_the_published_form_in_matrices_ranks_as_one_by_one(query: PublishedSets, sets: list[PublishedSets]) -> None:
    named = {CaseId(f"case-{i:02}"): one for i, one in enumerate(sets)}
    expected = [case_id for case_id, _ in rank_published(query, named, ONTOLOGY)]
    found = PublishedLeg(sets, ONTOLOGY).top(query, len(sets))
    assert [f"case-{i:02}" for i in found] == expected


def test_the_published_vote_is_the_share_beyond_chance() -> None:
    one, two = cid("cardiomegaly"), cid("pneumothorax")
    sets = [PublishedSets(frozenset([one]), frozenset()) for _ in range(2)]
    sets += [PublishedSets(frozenset([one, two]), frozenset()), PublishedSets(frozenset(), frozenset([two]))]
    leg = PublishedLeg(sets, ONTOLOGY)
    nearest, similarities = np.array([0, 2]), np.array([0.5, 0.5], np.float32)
    # Cardiomegaly: all of the vote, three quarters by chance. Pneumothorax: half of the vote, a quarter by chance.
    assert leg.vote(nearest, similarities, 0.3).present == {one, two}
    assert leg.vote(nearest, similarities, 0.5).present == {one}
    assert leg.vote(nearest, similarities, 0.3).absent == frozenset()
    assert leg.vote(np.array([2, 3]), np.array([0.5, -1], np.float32), 0.5).present == {one, two}


def slow_ndcg(found: list[int], every: list[int]) -> float:
    gained = sum(grade / log2(place + 2) for place, grade in enumerate(found[:5]))
    return gained / sum(grade / log2(place + 2) for place, grade in enumerate(sorted(every, reverse=True)[:5]))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=20), st.randoms(use_true_random=False))
def test_ndcg_is_the_formula(grades: list[int], random: object) -> None:
    every = np.array([*grades, 2])
    order = np.random.default_rng(len(grades)).permutation(every).tolist()
    assert ndcg(order, every) == pytest.approx(slow_ndcg(order, every.tolist()))
    assert ndcg(sorted(order, reverse=True), every) == 1
    assert ndcg(order[:2], every) == pytest.approx(ndcg([*order[:2], 0, 0, 0], every))
    assert np.isnan(ndcg([0], np.zeros(3, int)))


def test_a_random_order_has_its_mean_in_the_long_run() -> None:
    every, generator = np.array([2, 2, 1, 0, 0, 0, 0, 0]), np.random.default_rng(0)
    drawn = [ndcg(generator.permutation(every).tolist(), every) for _ in range(4000)]
    assert chance_ndcg(every) == pytest.approx(np.mean(drawn), abs=0.01)


QUESTION = {q.words: q for q in QUERIES}


@pytest.mark.parametrize(
    ("words", "coded", "expected"),
    [
        ("left pleural effusion", ("Pleural Effusion/left/small",), 2),
        ("left pleural effusion", ("Pleural Effusion/bilateral",), 2),
        ("left pleural effusion", ("Pleural Effusion/right",), 1),
        ("left pleural effusion", ("normal",), 0),
        ("mild cardiomegaly", ("Cardiac Shadow/enlarged/mild",), 2),
        ("mild cardiomegaly", ("Cardiac Shadow/obscured", "Opacity/mild"), 0),
        ("hyperinflated lungs with flattened diaphragms", ("Lung/hyperdistention", "Diaphragm/left/flattened"), 2),
        ("hyperinflated lungs with flattened diaphragms", ("Diaphragm/flattened",), 1),
        ("cardiomegaly without pleural effusion", ("Cardiomegaly",), 2),
        ("cardiomegaly without pleural effusion", ("Cardiomegaly", "Pleural Effusion"), 1),
        ("cardiomegaly without pleural effusion", ("Pleural Effusion",), 0),
        ("no pleural effusion or pneumothorax", ("Cardiomegaly",), 2),
        ("no pleural effusion or pneumothorax", ("Pneumothorax/left",), 0),
    ],
)
def test_grades_follow_from_the_codes(words: str, coded: tuple[str, ...], expected: int) -> None:
    assert grade(QUESTION[words], coded) == expected


def test_there_are_twenty_questions_and_the_extractor_reads_each(extractor: Extractor) -> None:
    assert len(QUESTION) == 20
    for query in QUERIES:
        asked = text_asked(query.words, extractor).concepts
        assert asked.present or asked.absent, query.words


def test_words_of_denial_are_left_out_of_the_text_leg(extractor: Extractor) -> None:
    report = compose_report(findings="There is no pneumothorax. Small left pleural effusion.", impression="")
    kept = words_affirmed(extractor.read_report(report))
    assert "pneumothorax" not in " ".join(kept)
    assert "pleural effusion" in " ".join(kept)


def test_a_question_is_answered_by_who_has_it_and_not_by_who_denies_it(extractor: Extractor) -> None:
    cases = drawn_cases(extractor, 40)
    denying = "No pneumothorax. No pneumothorax or pleural effusion."
    read = [extractor.read_report(compose_report(findings=denying, impression="")) for _ in range(40)]
    read[3] = extractor.read_report(compose_report(findings="A right pneumothorax is seen.", impression=""))
    cases = cases._replace(read=read, said=[concepts_of_report(r, ONTOLOGY) for r in read])
    nothing: list[ConceptSet] = [ConceptSet()] * 40
    rows = answers([text_asked("pneumothorax", extractor)], cases, np.arange(40), nothing, extractor)
    assert rows["concept"][0].tolist() == rows["text"][0].tolist() == rows["visible"][0].tolist() == [3]
    # BM25 knows no grammar: this is what leaving denied words out is for.
    assert len(rows["text, every word"][0]) == 5
    assert rows["hidden"][0].tolist() == []


def test_everything_is_measured_and_told(extractor: Extractor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(legs, "VOTERS", (5, NEIGHBOURS))
    monkeypatch.setattr(legs, "AMONG", (10, 20))
    monkeypatch.setattr(legs, "PUBLISHED_VOTERS", (1, 10))
    monkeypatch.setattr(legs, "SHARES", (0.25,))
    report = measure_legs(drawn_cases(extractor), ONTOLOGY)
    assert list(report.legs)[:5] == ["image", "concept", "fused", "reranked", "published"]
    assert report.legs["image"].over_image is None
    assert report.legs["oracle"].lift.value > report.legs["image"].lift.value > 0
    assert report.legs["control"].lift.low < 0 < report.legs["control"].lift.high
    assert {form: list(by_voters) for form, by_voters in report.by_voters.items()} == {
        "asymmetric": [5, NEIGHBOURS],
        "symmetric": [5, NEIGHBOURS],
    }
    flat = bootstrap_mean([0.5, 0.7, 0.9])
    row = text_queries.RowFigures(ndcg=flat, precision_full=flat, precision_any=flat, perfect=1, ndcg_fold_0=0.5)
    asked = text_queries.AnsweredQuery(words="cardiomegaly", kind="ours", full=3, part=0, ndcg={"visible": 1.0})
    words = text_queries.TextQueriesReport(
        cases=9, rows={"visible": row}, chance_ndcg=flat, visible_over_every_word=flat, hidden_over_chance=flat,
        queries=(asked,),
    )  # fmt: skip
    whole = CaseSearchReport(extractor="x", legs=report, words=words)
    assert CaseSearchReport.model_validate_json(whole.model_dump_json()) == whole
    console = Console(width=200, record=True)
    for table in leg_tables(whole):
        console.print(table)
    assert "cardiomegaly" in console.export_text()
