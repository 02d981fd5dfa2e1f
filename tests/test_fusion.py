"""Reciprocal-rank fusion: by rank alone, ties by case id."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from retrieval.ranking.fusion import fuse
from retrieval.records import CaseId

LEGS = st.lists(st.lists(st.sampled_from("abcdefgh").map(CaseId), unique=True), max_size=4)


@given(LEGS)
def test_the_order_is_that_of_exact_fractions(legs: list[list[CaseId]]) -> None:
    exact = {c: sum(Fraction(1, 61 + leg.index(c)) for leg in legs if c in leg) for leg in legs for c in leg}
    assert [f.case_id for f in fuse(legs)] == sorted(exact, key=lambda c: (-exact[c], c))


@given(LEGS, st.randoms())
def test_the_order_of_the_legs_changes_nothing(legs: list[list[CaseId]], random) -> None:
    shuffled = random.sample(legs, len(legs))
    assert [(f.case_id, f.value) for f in fuse(shuffled)] == [(f.case_id, f.value) for f in fuse(legs)]


@given(st.lists(st.sampled_from("abcdefgh").map(CaseId), unique=True))
def test_one_leg_alone_keeps_its_order_and_empty_legs_change_nothing(leg: list[CaseId]) -> None:
    assert [f.case_id for f in fuse([[], leg, []])] == leg


def test_found_by_two_legs_is_better_than_first_in_one() -> None:
    first, second, *_ = fuse([["a", "b"], ["c", "b"]])
    assert first.case_id == "b"
    assert first.ranks == (2, 2)
    assert first.value == 2 / 62
    assert second.case_id == "a"
    assert second.ranks == (1, None)


def test_a_case_named_twice_by_one_leg_has_its_better_rank() -> None:
    assert fuse([["a", "b", "a"]])[0].ranks == (1,)


def test_a_limit_cuts_the_end() -> None:
    assert [f.case_id for f in fuse([["c", "a", "b"]], limit=2)] == ["c", "a"]
    assert not fuse([])
