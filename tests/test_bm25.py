"""BM25: against the formula written out, and the same however the reports were split."""

from collections import Counter
from math import log

from hypothesis import given
from hypothesis import strategies as st

from retrieval.ranking.lists import Part, PostingLists
from retrieval.ranking.text import TextPostings, rows, words_of
from retrieval.records import CaseId

WORDS = ["effusion", "effusions", "left", "oedema", "edema", "the", "no", "heart", "5", "lung"]
REPORTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join), max_size=3)
CASES = st.dictionaries(st.text("abc", min_size=1, max_size=3).map(CaseId), REPORTS, max_size=10)
QUERY = st.lists(st.sampled_from([*WORDS, "unknown"]), max_size=5).map(" ".join)


def slow(query: str, cases: dict[CaseId, list[str]]) -> list[tuple[CaseId, float]]:
    counts = {case_id: sum((words_of(s) for s in sentences), Counter()) for case_id, sentences in cases.items()}
    lengths = {case_id: sum(words.values()) for case_id, words in counts.items()}
    mean = sum(lengths.values()) / len(cases) if any(lengths.values()) else 1.0
    found = []
    for case_id, words in counts.items():
        similarity = 0.0
        for word in sorted(words_of(query)):
            having = sum(word in other for other in counts.values())
            tf = float(words[word])
            held_back = 1.2 * (1 - 0.75 + 0.75 * (lengths[case_id] / mean))
            if tf:
                similarity += log(1 + (len(cases) - having + 0.5) / (having + 0.5)) * (tf * 2.2 / (tf + held_back))
        found.append((case_id, similarity))
    return sorted(((c, s) for c, s in found if s > 0), key=lambda f: (-f[1], f[0]))


@given(QUERY, CASES)
def test_the_lists_give_what_the_formula_gives(query: str, cases: dict[CaseId, list[str]]) -> None:
    assert TextPostings.build(cases.items()).top(query, 100) == slow(query, cases)


@given(QUERY, CASES, st.data())
def test_any_split_into_segments_is_one_segment(
    query: str, cases: dict[CaseId, list[str]], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(list(cases.items())))
    cut = data.draw(st.integers(0, len(shuffled)))
    ghosts = [(CaseId("zz"), ["heart heart"]), (CaseId("zy"), ["edema"])]
    parts = [
        Part(PostingLists.from_rows(rows(s for _, s in piece)), [c for c, _ in piece], gone)
        for piece, gone in (
            (shuffled[:cut], frozenset()),
            (ghosts, frozenset({0, 1})),
            (shuffled[cut:], frozenset()),
        )
    ]
    assert TextPostings(parts).top(query, 100) == TextPostings.build(cases.items()).top(query, 100)


def test_spellings_and_plurals_meet_and_small_words_are_left_out() -> None:
    assert words_of("No pleural effusions; the oedema, is 5 mm.") == {
        "pleural": 1, "effusion": 1, "edema": 1, "5": 1, "mm": 1,
    }  # fmt: skip


def test_a_word_in_every_report_counts_less_than_a_rare_one() -> None:
    postings = TextPostings.build(
        (CaseId(c), [text]) for c, text in [("a", "heart lung"), ("b", "heart fracture"), ("c", "heart lung")]
    )
    assert [c for c, _ in postings.top("heart fracture", 3)] == ["b", "a", "c"]


def test_a_word_said_a_thousand_times_fits_a_byte() -> None:
    postings = TextPostings.build([(CaseId("a"), ["effusion " * 1000]), (CaseId("b"), ["heart"])])
    assert [c for c, _ in postings.top("effusion", 3)] == ["a"]


def test_no_reports_and_no_words_are_no_hits() -> None:
    assert not TextPostings.build([]).top("effusion", 3)
    assert not TextPostings.build([(CaseId("a"), [])]).top("effusion", 3)
    assert not TextPostings.build([(CaseId("a"), ["effusion"])]).top("the no", 3)
