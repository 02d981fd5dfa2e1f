"""Numbers per study in, an estimate with its interval out. What the numbers mean is not known here.

All intervals are percentile bootstrap intervals (Efron and Tibshirani, An Introduction to the Bootstrap, 1993): studies
are drawn again with replacement, the statistic is computed on each draw, and the middle 95 % of its values is reported.
A draw of n studies is how often each was taken, a row of multinomial counts, so a statistic made of sums needs one
matrix product for all draws instead of a loop. Where studies of one patient are not independent, whole patients are
drawn (`clusters`). Two systems are always compared on the same draws.

Everything is deterministic for a seed.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from retrieval.errors import NotScorable
from retrieval.records import Record

Numbers = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

LEVEL = 0.95
RESAMPLES = 2000
# Rows of counts held at a time: bounds memory at 250 x n numbers, and changes no result.
_BLOCK = 250


class Interval(Record):
    """An estimate and how far it would move with other studies of the same kind."""

    value: float
    """The statistic on all studies as they are."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float = LEVEL
    """Share of resamples between low and high."""
    n: int
    """How many studies."""
    resamples: int
    """How many times they were drawn again."""
    seed: int
    """Seed of the draws; the same seed gives the same interval."""


def draws(n: int, resamples: int, seed: int) -> Iterator[Numbers]:
    """Bootstrap weights in blocks float64[<= 250, n]: how often each of n units is in each draw; a row sums to n.

    `resamples` rows in all. Raises NotScorable for fewer than two units, which cannot vary, or no resample.
    """
    if n < 2 or resamples < 1:
        raise NotScorable(
            f"{n} independent units drawn {resamples} times give no interval", fix="at least 2 units and 1 resample"
        )
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, _BLOCK):
        rows = min(_BLOCK, resamples - start)
        # Counting uniform picks is the same law as generator.multinomial, several times faster.
        picks = generator.integers(0, n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(picks.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def interval(value: float, resampled: Sequence[Numbers], n: int, seed: int) -> Interval:
    """Percentile interval of a statistic from its values in the draws (blocks of float64[m]).

    Raises NotScorable when any of them is NaN: an interval over only those draws that could be scored would be too
    narrow and would not say so.
    """
    values = np.concatenate(list(resampled))
    if not np.isfinite(values).all():
        raise NotScorable(
            f"the statistic is undefined in {int((~np.isfinite(values)).sum())} of {len(values)} resamples",
            fix="more studies, or only heads that are common enough",
        )
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value=value, low=float(low), high=float(high), n=n, resamples=len(values), seed=seed)


def bootstrap_mean(
    values: npt.ArrayLike, clusters: Sequence[str] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Mean of one number per study, float[n], with its interval.

    With `clusters` (one name per study, such as the patient) whole clusters are drawn and the mean stays one over
    studies: sum of the values by number of studies. Raises NotScorable for values that are not finite (leave a study
    that could not be scored out, and say so), for clusters of another length and for fewer than two independent units.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers) or not np.isfinite(numbers).all():
        raise NotScorable("a mean needs one finite number per study", fix="leave out what could not be scored")
    unit = _units(clusters, len(numbers))
    sums = np.bincount(unit, weights=numbers)
    sizes = np.bincount(unit).astype(np.float64)
    resampled = [(w @ sums) / (w @ sizes) for w in draws(len(sums), resamples, seed)]
    return interval(float(numbers.mean()), resampled, len(numbers), seed)


def paired_difference(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    clusters: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Mean of a - b over the same studies, float[n] each, with its interval; above 0 means a is larger.

    Pairing removes how hard each study is. Raises NotScorable for unequal lengths and as `bootstrap_mean` does.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise NotScorable(f"{first.shape} and {second.shape} values do not pair", fix="the same studies, in one order")
    return bootstrap_mean(first - second, clusters, resamples, seed)


def macro_f1(asserted: Flags, truth: Flags) -> float:
    """Mean over heads of F1 = 2 TP / (2 TP + FP + FN), counted over studies; bool[n, h] each.

    A head that nothing asserts and that is never true has no F1 (0/0) and is left out of the mean. Counting it 0 would
    punish silence that is right and drag rare heads down in every resample that misses them; counting it 1 would pay
    for heads nobody has. A head asserted but never true is a false alarm and counts 0. Raises NotScorable when no
    head is left, or for arrays of unequal shape or other type.
    """
    _check(asserted, truth)
    value = _mean_f1((asserted & truth).sum(axis=0)[None], asserted.sum(axis=0)[None] + truth.sum(axis=0)[None])[0]
    if np.isnan(value):
        raise NotScorable("no head is asserted or true in any study", fix="check the heads and the studies")
    return float(value)


def macro_f1_interval(asserted: Flags, truth: Flags, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Macro F1 with its interval over studies; bool[n, h] each, heads left out in each resample as in `macro_f1`.

    Raises NotScorable as `macro_f1` does, and when a resample is left without any head.
    """
    value = macro_f1(asserted, truth)
    resampled = [f1 for (f1,) in _resampled_f1((asserted,), truth, resamples, seed)]
    return interval(value, resampled, len(truth), seed)


def macro_f1_difference(a: Flags, b: Flags, truth: Flags, resamples: int = RESAMPLES, seed: int = 0) -> Interval:
    """Macro F1 of a minus that of b, both on the same draws of studies; bool[n, h] each.

    Each system's mean runs over its own defined heads, so the value is exactly macro_f1(a) - macro_f1(b).
    Raises NotScorable as `macro_f1_interval` does.
    """
    value = macro_f1(a, truth) - macro_f1(b, truth)
    resampled = [of_a - of_b for of_a, of_b in _resampled_f1((a, b), truth, resamples, seed)]
    return interval(value, resampled, len(truth), seed)


def _resampled_f1(systems: Sequence[Flags], truth: Flags, resamples: int, seed: int) -> Iterator[list[Numbers]]:
    """Macro F1 of every system in each draw: per block of draws, one float64[m] for each system."""
    # Counts below 2**24 are exact in float32, which halves the time of the product.
    true = truth.astype(np.float32)
    hits = [(s & truth).astype(np.float32) for s in systems]
    sizes = [s.astype(np.float32) + true for s in systems]
    columns = np.concatenate([*hits, *sizes], axis=1)
    for w in draws(len(truth), resamples, seed):
        counts = np.split(w.astype(np.float32) @ columns, 2 * len(systems), axis=1)
        yield [_mean_f1(counts[i], counts[i + len(systems)]) for i in range(len(systems))]


def _mean_f1(hits: npt.NDArray[np.generic], sizes: npt.NDArray[np.generic]) -> Numbers:
    """Mean F1 over defined heads, float64[m], NaN where none is; hits = TP, sizes = 2 TP + FP + FN, [m, h] each."""
    twice, total = 2 * hits.astype(np.float64), sizes.astype(np.float64)
    defined = total > 0
    f1 = np.divide(twice, total, out=np.zeros_like(total), where=defined)
    kept = defined.sum(axis=1)
    mean: Numbers = np.divide(f1.sum(axis=1), kept, out=np.full(len(kept), np.nan), where=kept > 0)
    return mean


def _check(asserted: Flags, truth: Flags) -> None:
    if asserted.dtype != np.bool_ or truth.dtype != np.bool_ or asserted.ndim != 2 or asserted.shape != truth.shape:
        raise NotScorable(
            f"{asserted.dtype}{list(asserted.shape)} and {truth.dtype}{list(truth.shape)} are not one bool per study "
            "and head each",
            fix="bool[n, h] twice",
        )


def _units(clusters: Sequence[str] | None, n: int) -> npt.NDArray[np.intp]:
    """The number of each study's cluster, intp[n]; every study its own when none are given."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise NotScorable(f"{len(clusters)} clusters do not name {n} studies", fix="one cluster per study")
    return np.unique(np.asarray(clusters, dtype=str), return_inverse=True)[1].astype(np.intp)
