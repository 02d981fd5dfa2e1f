"""A calibration from labelled images: for each label the line, the two thresholds, and how much better it became.

The line is Platt's (1999): the likelihood of the labels is maximised, with targets a little inside 0 and 1, so that a
perfect separation stays finite. Thresholds follow from stated targets. A finding is stated where at least 80 % of what
is stated is there; where no threshold reaches that, at the best F1 of those that are right more often than wrong; and
never where none is. It is denied where at least 95 % of what is denied is not there, and where at most half as many of
the denied have it as of all: of a rare finding 95 % is true of everybody and denies nothing. Every share has to reach
its target at the pessimistic end of its interval (Wilson, 1927, one-sided 95 %), because among thousands of possible
thresholds some are always lucky.

Figures are of the images it was fitted on: two numbers a label hardly overfit, thresholds do a little. Judge an expert
on other images. What was scored, and by whom, is not known here.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.optimize import minimize
from scipy.special import expit

from generation.experts.calibration import NEVER, Bands, Calibration, LabelCalibration, Method, probability_of
from generation.experts.expert import Logits, Probabilities
from retrieval.errors import NotScorable
from retrieval.record import Record

Truth = NDArray[np.float64]
"""images x labels: 1 has the finding, 0 does not, NaN where nobody knows."""
_MIN_SLOPE: Final = 1e-3
"""An expert that is worse than chance is made to say nothing, never the opposite."""
_BINS: Final = 15


class Targets(Record):
    """What thresholds have to reach."""

    precision: float = Field(default=0.8, gt=0, le=1)
    """Of those stated, the least share that must have the finding."""
    more_right_than_wrong: float = Field(default=0.5, gt=0, le=1)
    """The same where `precision` cannot be reached and the best F1 decides."""
    negative_predictive_value: float = Field(default=0.95, gt=0, le=1)
    """Of those denied, the least share that must not have it."""
    base_rate: float = Field(default=0.5, gt=0, le=1)
    """The denied may have the finding at most so many times as often as all have it."""
    z: float = Field(default=1.645, ge=0)
    """How pessimistic a share is judged, in standard errors; 0 takes it as it was counted."""
    least_of_each: int = Field(default=20, ge=1)
    """A label with fewer images that have the finding, or that do not, is never settled."""


TARGETS: Final = Targets()
"""The targets used unless others are given; precision and predictive value are conventions, none is measured."""


def fit(
    raw: Logits,
    truth: Truth,
    before: Probabilities,
    *,
    labels: Sequence[str],
    expert: str,
    collection: str,
    method: Method = "platt",
    targets: Targets = TARGETS,
) -> Calibration:
    """Fit every label that has enough examples; `before` are the expert's own probabilities, to compare with."""
    if not len(raw):
        raise NotScorable("there is no labelled image", fix="check the manifest's paths and labels")
    if not np.isfinite(raw).all():
        raise NotScorable("some scores are no numbers", fix="leave out the images that the expert cannot score")
    fitted: dict[str, LabelCalibration] = {}
    too_few: dict[str, int] = {}
    for column, name in enumerate(labels):
        known = np.isfinite(truth[:, column])
        x, has = raw[known, column], truth[known, column] == 1
        if min(has.sum(), (~has).sum()) < targets.least_of_each:
            too_few[name] = int(has.sum())
            continue
        slope, intercept = _line(x, has, method)
        after = probability_of(x, slope, intercept)
        low, high = thresholds(after, has, targets)
        stated, denied = has[after >= high], has[after < low]
        fitted[name] = LabelCalibration(
            slope=slope,
            intercept=intercept,
            absent_below=low,
            present_above=high,
            studies=len(has),
            positives=int(has.sum()),
            precision=float(stated.mean()) if len(stated) else None,
            negative_predictive_value=float(1 - denied.mean()) if len(denied) else None,
            brier_before=brier(before[known, column], has),
            brier_after=brier(after, has),
            ece_before=calibration_error(before[known, column], has),
            ece_after=calibration_error(after, has),
        )
    return Calibration(
        expert=expert, collection=collection, method=method, studies=len(raw), labels=fitted, too_few=too_few
    )


def thresholds(probabilities: Probabilities, has: NDArray[np.bool_], targets: Targets = TARGETS) -> Bands:
    """The lowest threshold for stating and the highest for denying that reach the targets; NEVER's where none does."""
    order = np.argsort(probabilities, kind="stable")
    # Equal probabilities cannot be told apart, so only the first of them is a cut.
    cuts, below = np.unique(probabilities[order], return_index=True)
    had_below = np.concatenate([[0], np.cumsum(has[order])])[below]
    total, above = int(has.sum()), len(has) - below
    absent_below, present_above = NEVER
    # 1. Stated from here on: precise enough, or else the best compromise.
    precision = 1 - at_most(above - (total - had_below), above, targets.z)
    if (reached := precision >= targets.precision).any():
        present_above = float(cuts[reached].min())
    elif (usable := precision >= targets.more_right_than_wrong).any():
        f1 = 2 * (total - had_below) / (above + total)
        present_above = float(cuts[usable][np.argmax(f1[usable])])
    # 2. Denied below there, and never what is stated.
    missed = at_most(had_below, below, targets.z)
    allowed = min(1 - targets.negative_predictive_value, targets.base_rate * total / len(has))
    if (reached := (missed <= allowed) & (cuts <= present_above)).any():
        absent_below = float(cuts[reached].max())
    return absent_below, present_above


def at_most(found: NDArray[np.int64], of: NDArray[np.int64], z: float) -> NDArray[np.float64]:
    """The upper end of a share's interval (Wilson, 1927); 1 of nothing."""
    n = np.maximum(of, 1)
    share = found / n
    upper = (share + z**2 / (2 * n) + z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    return np.asarray(np.where(of > 0, upper, 1.0), np.float64)


def brier(probabilities: Probabilities, has: NDArray[np.bool_]) -> float:
    """Mean squared distance of probability and truth: 0 is perfect, .25 a coin."""
    return float(np.mean((probabilities - has) ** 2))


def calibration_error(probabilities: Probabilities, has: NDArray[np.bool_]) -> float:
    """Mean distance of probability and frequency over bins of equal width, weighted by how full they are."""
    bins = np.minimum((probabilities * _BINS).astype(int), _BINS - 1)
    said = np.bincount(bins, probabilities, _BINS)
    true = np.bincount(bins, has, _BINS)
    return float(np.abs(said - true).sum() / len(has))


def _line(x: Logits, has: NDArray[np.bool_], method: Method) -> tuple[float, float]:
    """Slope and intercept of the greatest likelihood; a convex problem of two unknowns."""
    positives = int(has.sum())
    target = np.where(has, (positives + 1) / (positives + 2), 1 / (len(has) - positives + 2))
    centre = float(x.mean()) if method == "platt" else 0.0
    scale = float(x.std()) or 1.0
    z = (x - centre) / scale

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        odds = line[0] * z + line[1]
        off = expit(odds) - target
        return float(np.mean(np.logaddexp(0, odds) - target * odds)), np.array([np.mean(off * z), np.mean(off)])

    low = _MIN_SLOPE * scale
    free = (None, None) if method == "platt" else (0.0, 0.0)
    found = minimize(loss, [max(1.0, low), 0.0], jac=True, method="L-BFGS-B", bounds=[(low, None), free])
    slope = float(found.x[0]) / scale
    return slope, float(found.x[1]) - slope * centre
