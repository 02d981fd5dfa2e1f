"""Lift: zero for answers that ignore the query, one for perfect ones, and equal to the loop it stands for."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.retrieval_metrics import MINIMUM, Indices, lift_at, lift_interval
from evaluation.statistics import Flags, draws
from retrieval.errors import NotScorable


def flags(seed: int, n: int, heads: int, share: float = 0.3) -> Flags:
    return np.random.default_rng(seed).random((n, heads)) < share


def random_neighbours(seed: int, n: int, k: int, cases: int) -> Indices:
    return np.random.default_rng(seed).integers(0, cases, size=(n, k))


def names(heads: int) -> list[str]:
    return [f"head {i}" for i in range(heads)]


def slow_lifts(
    k: int, neighbours: Indices, has: Flags, queries: Flags, drawn: list[int], kept: list[int]
) -> list[float]:
    lifts = []
    for head in kept:
        with_head: list[float] = []
        without: list[float] = []
        for q in drawn:
            share = sum(bool(has[case, head]) for case in neighbours[q, :k]) / k
            (with_head if queries[q, head] else without).append(share)
        lifts.append(sum(with_head) / len(with_head) - sum(without) / len(without))
    return lifts


def common(queries: Flags) -> list[int]:
    return [h for h in range(queries.shape[1]) if MINIMUM <= queries[:, h].sum() <= len(queries) - MINIMUM]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(60, 90))
def test_lift_agrees_with_the_loop(seed: int, k: int, n: int) -> None:
    has, queries = flags(seed, 50, 6), flags(seed + 1, n, 6, 0.4)
    queries[:, 5] = False
    neighbours = random_neighbours(seed, n, 6, 50)
    found = lift_at(k, neighbours, has, queries, names(6))
    kept = common(queries)
    lifts = slow_lifts(k, neighbours, has, queries, list(range(n)), kept)
    assert list(found.per_head) == [f"head {h}" for h in kept]
    assert [lift for lift, _ in found.per_head.values()] == pytest.approx(lifts)
    assert [count for _, count in found.per_head.values()] == [int(queries[:, h].sum()) for h in kept]
    assert found.value == pytest.approx(sum(lifts) / len(lifts))
    assert (found.k, found.heads, found.n) == (k, len(kept), n)


def test_the_interval_agrees_with_the_loop_on_the_same_draws() -> None:
    n, k = 80, 3
    has, queries, neighbours = flags(1, 40, 3), flags(2, n, 3, 0.4), random_neighbours(3, n, k, 40)
    values = []
    for block in draws(n, 120, seed=6):
        for row in block:
            drawn = [q for q in range(n) for _ in range(int(row[q]))]
            values.append(float(np.mean(slow_lifts(k, neighbours, has, queries, drawn, common(queries)))))
    found = lift_interval(k, neighbours, has, queries, names(3), resamples=120, seed=6)
    assert found.value == lift_at(k, neighbours, has, queries, names(3)).value
    assert (found.low, found.high) == pytest.approx((np.quantile(values, 0.025), np.quantile(values, 0.975)))
    assert (found.n, found.resamples, found.seed) == (n, 120, 6)


def test_the_same_answer_to_every_query_has_no_lift_at_all() -> None:
    has, queries = flags(0, 100, 12), flags(1, 333, 12)
    neighbours = np.tile(np.arange(7), (333, 1))
    found = lift_at(7, neighbours, has, queries, names(12))
    assert found.value == 0
    assert {lift for lift, _ in found.per_head.values()} == {0.0}
    spread = lift_interval(7, neighbours, has, queries, names(12), resamples=100)
    assert (spread.value, spread.low, spread.high) == (0, 0, 0)


def test_neighbours_drawn_by_chance_have_next_to_no_lift() -> None:
    has, queries = flags(0, 500, 20), flags(1, 1000, 20)
    neighbours = random_neighbours(2, 1000, 10, 500)
    assert abs(lift_at(10, neighbours, has, queries, names(20)).value) < 0.02


def test_about_nineteen_of_twenty_intervals_hold_the_lift_of_chance_which_is_zero() -> None:
    held = 0
    for trial in range(200):
        has, queries = flags(3 * trial, 300, 8), flags(3 * trial + 1, 200, 8)
        neighbours = random_neighbours(3 * trial + 2, 200, 5, 300)
        found = lift_interval(5, neighbours, has, queries, names(8), resamples=300)
        held += found.low <= 0 <= found.high
    assert 0.89 <= held / 200 <= 0.99, held


def test_neighbours_that_carry_what_the_query_has_lift_to_one() -> None:
    queries = flags(1, 200, 5)
    perfect = np.arange(200)[:, None]
    assert lift_at(1, perfect, queries, queries, names(5)).value == 1
    assert lift_at(1, perfect, ~queries, queries, names(5)).value == -1


def test_neighbours_beyond_k_do_not_count() -> None:
    has, queries, neighbours = flags(0, 50, 4), flags(1, 100, 4), random_neighbours(2, 100, 5, 50)
    changed = neighbours.copy()
    changed[:, 3:] = 0
    assert lift_at(3, changed, has, queries, names(4)) == lift_at(3, neighbours, has, queries, names(4))
    assert lift_at(5, changed, has, queries, names(4)) != lift_at(5, neighbours, has, queries, names(4))


def test_a_head_with_too_few_queries_on_either_side_is_left_out() -> None:
    queries = np.zeros((100, 4), dtype=bool)
    for head, positives in enumerate((MINIMUM - 1, MINIMUM, 100 - MINIMUM, 100 - MINIMUM + 1)):
        queries[:positives, head] = True
    found = lift_at(1, np.arange(100)[:, None], queries, queries, names(4))
    assert found.per_head == {"head 1": (1.0, MINIMUM), "head 2": (1.0, 100 - MINIMUM)}
    with pytest.raises(NotScorable, match="no head"):
        lift_at(1, np.arange(100)[:, None], queries[:, :1], queries[:, :1], names(1))


def test_what_does_not_fit_together_is_refused() -> None:
    has, queries, neighbours = flags(0, 50, 3), flags(1, 100, 3), random_neighbours(2, 100, 5, 50)
    outside, missing = neighbours.copy(), neighbours.copy()
    outside[4, 0], missing[4, 0] = 50, -1
    for bad in (outside, missing):
        with pytest.raises(NotScorable, match="outside the 50 cases"):
            lift_at(5, bad, has, queries, names(3))
    for k in (0, 6):
        with pytest.raises(NotScorable, match="asked for"):
            lift_at(k, neighbours, has, queries, names(3))
    for wrong in (names(2), ["same", "same", "other"]):
        with pytest.raises(NotScorable, match="do not fit"):
            lift_at(5, neighbours, has, queries, wrong)
    with pytest.raises(NotScorable, match="do not fit"):
        lift_at(5, neighbours[:99], has, queries, names(3))
    with pytest.raises(NotScorable, match="float64"):
        lift_at(5, neighbours, has.astype(np.float64), queries, names(3))


def test_two_thousand_resamples_of_a_whole_collection_take_seconds_at_most() -> None:
    has, queries, neighbours = flags(0, 2300, 40, 0.1), flags(1, 2300, 40, 0.1), random_neighbours(2, 2300, 10, 2300)
    started = time.perf_counter()
    lift_interval(10, neighbours, has, queries, names(40))
    assert time.perf_counter() - started < 3
