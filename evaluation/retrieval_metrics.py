"""Neighbours and coded findings in, lift out: whether similar cases carry the findings that the query study has.

Precision at k alone rewards an index that always answers with the commonest finding. Lift takes that away: for a head
(a coded finding such as Cardiomegaly), the mean share of the top k that carries it over queries that have it, minus the
same over queries that have it not. It is 0 for any answer that does not depend on the query, be it constant or drawn by
chance, and 1 only when the top k carries exactly what the query has. This is the difference between mean true and false
support, Youden's J (Cancer 3:32, 1950) for a share instead of a yes or no. The value reported is the mean over heads.

Which cases may be neighbours (other patients, other folds) is settled before; nothing here knows images or vectors.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from evaluation.statistics import RESAMPLES, Flags, Interval, Numbers, draws, interval
from retrieval.errors import NotScorable
from retrieval.records import Record

Indices = npt.NDArray[np.integer]

MINIMUM = 20
"""A head needs this many queries with it and as many without: fewer make its lift noise, and resamples lose it."""


class Lift(Record):
    """How much likelier neighbours carry a finding when the query study has it."""

    value: float
    """Mean over heads: 0 when answers do not depend on the query, 1 when they carry exactly its findings."""
    per_head: dict[str, tuple[float, int]]
    """For each head that was common enough: its lift and how many queries have it."""
    k: int
    """How many neighbours of each query were looked at."""
    heads: int
    """How many heads the value is a mean of."""
    n: int
    """How many queries."""


class _Support(NamedTuple):
    """What the lift of the heads that are common enough is computed from."""

    counts: Numbers
    """float64[n, h]: how many of the top k carry the head. Whole numbers, so equal answers cancel to exactly 0."""
    present: Numbers
    """float64[n, h]: 1 where the query has the head."""
    columns: npt.NDArray[np.intp]
    """intp[h]: which columns of the input these heads are."""


def lift_at(k: int, neighbours: Indices, has: Flags, queries: Flags, heads: Sequence[str]) -> Lift:
    """Lift of the k nearest cases of each query.

    neighbours: int[n, >= k], nearest first, indices into the cases; has: bool[cases, h], which case carries which head;
    queries: bool[n, h], which query has it; heads: their h names. Heads with fewer than MINIMUM queries on either side
    are left out. Raises NotScorable when none remains or the shapes, types or indices do not fit together.
    """
    support = _support(k, neighbours, has, queries, heads)
    lifts = _lifts(np.ones((1, len(queries))), support, k)[0]
    positives = support.present.sum(axis=0)
    return Lift(
        value=float(lifts.mean()),
        per_head={
            heads[column]: (float(lift), int(count))
            for column, lift, count in zip(support.columns, lifts, positives, strict=True)
        },
        k=k,
        heads=len(support.columns),
        n=len(queries),
    )


def lift_interval(
    k: int,
    neighbours: Indices,
    has: Flags,
    queries: Flags,
    heads: Sequence[str],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The value of `lift_at` with its bootstrap interval over queries; arguments and errors as there.

    Queries are drawn, cases are not: it says how the lift would move with other queries against this index. The heads
    are those of the whole set in every resample.
    """
    support = _support(k, neighbours, has, queries, heads)
    value = float(_lifts(np.ones((1, len(queries))), support, k)[0].mean())
    resampled = [_lifts(w, support, k).mean(axis=1) for w in draws(len(queries), resamples, seed)]
    return interval(value, resampled, len(queries), seed)


def _lifts(weights: Numbers, support: _Support, k: int) -> Numbers:
    """Lift of each head with queries weighted, float64[m, h] for weights float64[m, n]; NaN where a side is empty."""
    counts, present, _ = support
    absent = 1.0 - present
    of_present, of_absent = weights @ (counts * present), weights @ (counts * absent)
    n_present, n_absent = weights @ present, weights @ absent
    undefined = np.full_like(of_present, np.nan)
    with_head = np.divide(of_present, n_present, out=undefined.copy(), where=n_present > 0)
    without = np.divide(of_absent, n_absent, out=undefined, where=n_absent > 0)
    lifts: Numbers = (with_head - without) / k
    return lifts


def _support(k: int, neighbours: Indices, has: Flags, queries: Flags, heads: Sequence[str]) -> _Support:
    _check(k, neighbours, has, queries, heads)
    positives = queries.sum(axis=0)
    columns = np.flatnonzero((positives >= MINIMUM) & (len(queries) - positives >= MINIMUM))
    if not len(columns):
        raise NotScorable(f"no head has {MINIMUM} queries with it and {MINIMUM} without", fix="more queries")
    # One neighbour at a time keeps memory at n x h, whatever k is.
    counts = np.zeros((len(queries), len(columns)))
    kept = has[:, columns]
    for nearest in range(k):
        counts += kept[neighbours[:, nearest]]
    return _Support(counts, queries[:, columns].astype(np.float64), columns)


def _check(k: int, neighbours: Indices, has: Flags, queries: Flags, heads: Sequence[str]) -> None:
    if has.dtype != np.bool_ or queries.dtype != np.bool_ or not np.issubdtype(neighbours.dtype, np.integer):
        raise NotScorable(
            f"neighbours {neighbours.dtype}, cases {has.dtype}, queries {queries.dtype}", fix="int, bool and bool"
        )
    shapes = (neighbours.shape, has.shape, queries.shape, len(heads))
    if not (neighbours.ndim == has.ndim == queries.ndim == 2) or not (
        len(neighbours) == len(queries) and has.shape[1] == queries.shape[1] == len(heads) == len(set(heads))
    ):
        raise NotScorable(f"shapes {shapes} do not fit", fix="int[n, k], bool[cases, h], bool[n, h], h names")
    if not 1 <= k <= neighbours.shape[1]:
        raise NotScorable(f"{neighbours.shape[1]} neighbours of each query are given, {k} asked for", fix="another k")
    top = neighbours[:, :k]
    # A negative index would silently count a case from the end.
    if len(top) and (top.min() < 0 or top.max() >= len(has)):
        raise NotScorable(
            f"neighbours point outside the {len(has)} cases", fix="leave out queries with fewer than k neighbours"
        )
