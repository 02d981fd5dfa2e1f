"""Estimates and intervals: against the slow obvious resampling, on the same draws."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import (
    Flags,
    NotScorable,
    Numbers,
    bootstrap_mean,
    draws,
    macro_f1,
    macro_f1_difference,
    macro_f1_interval,
    paired_difference,
)

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30)


def random_flags(seed: int, n: int, heads: int, share: float) -> Flags:
    return np.random.default_rng(seed).random((n, heads)) < share


def slow_macro_f1(asserted: Flags, truth: Flags) -> float:
    scores = []
    for head in range(truth.shape[1]):
        tp = fp = fn = 0
        for said, true in zip(asserted[:, head], truth[:, head], strict=True):
            tp += said and true
            fp += said and not true
            fn += true and not said
        if tp + fp + fn:
            scores.append(2 * tp / (2 * tp + fp + fn))
    return sum(scores) / len(scores)


def drawn_studies(n: int, resamples: int, seed: int) -> list[list[int]]:
    """Each draw as the list of studies it holds, repeats and all."""
    return [[i for i in range(n) for _ in range(int(row[i]))] for block in draws(n, resamples, seed) for row in block]


def middle(values: list[float]) -> tuple[float, float]:
    ordered = np.sort(values)
    return float(np.quantile(ordered, 0.025)), float(np.quantile(ordered, 0.975))


def test_every_draw_takes_as_many_units_as_there_are() -> None:
    rows: Numbers = np.concatenate(list(draws(7, 600, seed=1)))
    assert rows.shape == (600, 7)
    assert (rows.sum(axis=1) == 7).all()
    # Mean 1 and variance 1 - 1/n per unit: the multinomial law.
    assert np.allclose(rows.mean(axis=0), 1, atol=0.15)
    assert np.allclose(rows.var(axis=0), 1 - 1 / 7, atol=0.2)


def test_the_first_draws_do_not_depend_on_how_many_follow() -> None:
    short = np.concatenate(list(draws(9, 250, seed=3)))
    long = np.concatenate(list(draws(9, 700, seed=3)))
    assert (short == long[:250]).all()


def test_a_mean_agrees_with_the_slow_resampling() -> None:
    values = np.random.default_rng(5).normal(size=40)
    found = bootstrap_mean(values, resamples=300, seed=4)
    low, high = middle([float(np.mean(values[studies])) for studies in drawn_studies(40, 300, 4)])
    assert found.value == pytest.approx(values.mean())
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert (found.level, found.n, found.resamples, found.seed) == (0.95, 40, 300, 4)


def test_clusters_are_drawn_whole() -> None:
    values, patients = [0.0, 0.0, 0.0, 1.0, 1.0, 4.0], ["p", "p", "p", "q", "q", "r"]
    found = bootstrap_mean(values, clusters=patients, resamples=400, seed=2)
    members = {0: [0.0, 0.0, 0.0], 1: [1.0, 1.0], 2: [4.0]}
    means = [float(np.mean([v for c in drawn for v in members[c]])) for drawn in drawn_studies(3, 400, 2)]
    assert (found.value, found.n) == (pytest.approx(1.0), 6)
    assert (found.low, found.high) == tuple(map(pytest.approx, middle(means)))


def test_clusters_of_one_study_each_change_nothing() -> None:
    values = [3.0, 1.0, 2.0, 8.0]
    assert bootstrap_mean(values, clusters=["a", "b", "c", "d"]) == bootstrap_mean(values)


def test_copies_of_the_same_studies_in_clusters_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).normal(size=30)
    once = bootstrap_mean(values, seed=1)
    copied = bootstrap_mean(np.tile(values, 5), clusters=[str(i) for i in range(30)] * 5, seed=1)
    naive = bootstrap_mean(np.tile(values, 5), seed=1)
    assert copied.high - copied.low > 0.7 * (once.high - once.low)
    assert naive.high - naive.low < 0.6 * (once.high - once.low)


def test_about_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    values = np.random.default_rng(11).normal(loc=2.0, size=(300, 60))
    held = sum(i.low <= 2.0 <= i.high for i in (bootstrap_mean(v, resamples=400) for v in values))
    assert 0.90 <= held / 300 <= 0.985


@given(NUMBERS, st.integers(0, 5))
def test_the_same_seed_gives_the_same_interval(values: list[float], seed: int) -> None:
    assert bootstrap_mean(values, resamples=20, seed=seed) == bootstrap_mean(values, resamples=20, seed=seed)


@given(NUMBERS)
def test_swapping_the_systems_turns_the_difference_round(values: list[float]) -> None:
    there = paired_difference(values, values[::-1], resamples=50)
    back = paired_difference(values[::-1], values, resamples=50)
    assert (there.value, there.low, there.high) == pytest.approx((-back.value, -back.high, -back.low))


def test_a_constant_advantage_has_no_width() -> None:
    hard = np.random.default_rng(1).normal(size=50) * 100
    found = paired_difference(hard + 1, hard)
    assert (found.value, found.low, found.high) == pytest.approx((1, 1, 1))


def test_macro_f1_of_a_small_example_is_as_computed_by_hand() -> None:
    truth = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0]], dtype=bool)
    asserted = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]], dtype=bool)
    # Head 0: TP 1, FN 1 -> 2/3. Head 1: TP 1, FP 1 -> 2/3. Head 2 is neither true nor asserted.
    assert macro_f1(asserted, truth) == pytest.approx(2 / 3)


def test_a_false_alarm_on_a_head_nobody_has_counts_zero() -> None:
    truth = np.array([[1, 0], [0, 0]], dtype=bool)
    assert macro_f1(truth, truth) == 1
    assert macro_f1(np.array([[1, 0], [0, 1]], dtype=bool), truth) == 0.5


@given(st.integers(0, 10_000), st.integers(2, 15), st.integers(1, 6))
def test_macro_f1_agrees_with_counting_one_by_one(seed: int, n: int, heads: int) -> None:
    asserted, truth = random_flags(seed, n, heads, 0.3), random_flags(seed + 1, n, heads, 0.4)
    asserted[0, 0] = True
    assert macro_f1(asserted, truth) == pytest.approx(slow_macro_f1(asserted, truth))


def test_the_macro_f1_intervals_agree_with_the_slow_resampling() -> None:
    n, heads = 40, 6
    truth = random_flags(0, n, heads, 0.3)
    truth[:, 5] = False
    truth[3, 5] = True  # absent from a third of the draws, where it is undefined for a and a false alarm for b
    a, b = truth ^ random_flags(1, n, heads, 0.1), truth ^ random_flags(2, n, heads, 0.3)
    a[:, 5] = truth[:, 5]
    studies = drawn_studies(n, 300, 9)
    of_a = [slow_macro_f1(a[s], truth[s]) for s in studies]
    of_b = [slow_macro_f1(b[s], truth[s]) for s in studies]

    alone = macro_f1_interval(a, truth, resamples=300, seed=9)
    paired = macro_f1_difference(a, b, truth, resamples=300, seed=9)
    assert (alone.low, alone.high) == tuple(map(pytest.approx, middle(of_a)))
    assert paired.value == pytest.approx(macro_f1(a, truth) - macro_f1(b, truth))
    assert (paired.low, paired.high) == tuple(
        map(pytest.approx, middle([x - y for x, y in zip(of_a, of_b, strict=True)]))
    )
    assert paired.low > 0


def test_two_thousand_resamples_of_forty_heads_take_less_than_a_second() -> None:
    truth, a, b = (random_flags(i, 2000, 40, 0.1) for i in range(3))
    started = time.perf_counter()
    found = macro_f1_difference(a, b, truth, resamples=2000)
    assert time.perf_counter() - started < 1
    assert found.low < 0 < found.high


@pytest.mark.parametrize(
    "values", [[], [1.0], [1.0, float("nan")], [float("inf"), 1.0], [[1.0, 2.0], [3.0, 4.0]]], ids=str
)
def test_what_has_no_interval_is_refused(values: list[float]) -> None:
    with pytest.raises(NotScorable):
        bootstrap_mean(values)


def test_one_patient_has_no_interval_however_many_studies() -> None:
    with pytest.raises(NotScorable, match="1 independent units"):
        bootstrap_mean([1.0, 2.0, 3.0], clusters=["p", "p", "p"])


def test_values_that_do_not_pair_are_refused() -> None:
    with pytest.raises(NotScorable, match="do not pair"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(NotScorable, match="do not name"):
        bootstrap_mean([1.0, 2.0], clusters=["p"])
    with pytest.raises(NotScorable, match="per study"):
        macro_f1(np.ones((3, 2), dtype=bool), np.ones((2, 2), dtype=bool))
    with pytest.raises(NotScorable, match="per study"):
        macro_f1(np.ones((3, 2), dtype=np.int64), np.ones((3, 2), dtype=bool))


def test_heads_that_are_never_true_nor_asserted_cannot_be_scored() -> None:
    nothing = np.zeros((3, 2), dtype=bool)
    with pytest.raises(NotScorable, match="no head"):
        macro_f1(nothing, nothing)
    once = nothing.copy()
    once[0, 0] = True
    with pytest.raises(NotScorable, match="of 100 resamples"):
        macro_f1_interval(once, once, resamples=100)
