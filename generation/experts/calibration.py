"""What an expert's log odds are worth: calibrated probabilities and the thresholds that belong to them.

A calibration is fitted on labelled images (`fitting.py`), is kept beside the weights as `calibration.json`, and holds
for the very weights and preparation it was fitted for. For each label it keeps a line through the log odds (Platt,
1999; with intercept 0 it is a temperature) and two thresholds, which make three bands: absent, uncertain, present. A
label that had too few examples is never settled: its probability stays what the expert says, and its band is uncertain.
The file has no date, so that the same fit gives the same bytes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator
from scipy.special import expit, logit

from generation.experts.expert import Logits, Probabilities
from generation.experts.labels import Label
from retrieval.errors import BrokenLogits, CalibrationMismatch
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.record import Record

FILE: Final = "calibration.json"
"""Its name beside the weights."""
EDGE: Final = 1e-6
"""Probabilities stay this far from 0 and 1: nothing an image shows is certain, and log odds stay finite."""
Named = Path | Literal["beside", "none"]
"""Which calibration to use: a file, the one beside the weights, or none, as when one is to be fitted."""
Bands = tuple[float, float]
"""`absent_below` and `present_above`."""
NEVER: Final[Bands] = (0.0, 1.0)
"""Thresholds that no probability inside (0, 1) crosses: what has them is never settled."""


Method = Literal["platt", "temperature"]
"""A slope and an intercept for each label, or a slope alone."""


class LabelCalibration(Record):
    """One label's line and thresholds, and how they came about."""

    slope: float = Field(gt=0)
    """What log odds are multiplied with; above 0, so that the order of images stays the expert's."""
    intercept: float
    """What is added then; 0 for a temperature."""
    absent_below: float = Field(ge=0, le=1)
    """Below this calibrated probability the finding counts as denied; 0 where the target could not be reached."""
    present_above: float = Field(ge=0, le=1)
    """From it on the finding counts as stated; 1 where no threshold is more often right than wrong."""
    studies: int
    """Images it was fitted on."""
    positives: int
    """Those of them that have the finding."""
    precision: float | None
    """Of those stated, the share that have it; None when none is stated."""
    negative_predictive_value: float | None
    """Of those denied, the share that do not have it; None when none is denied."""
    brier_before: float
    """Mean squared error of the expert's own probabilities."""
    brier_after: float
    """The same of the calibrated ones, on the images it was fitted on."""
    ece_before: float
    """Expected calibration error of the expert's own probabilities, 15 bins of equal width (Guo et al., 2017)."""
    ece_after: float
    """The same of the calibrated ones."""

    @model_validator(mode="after")
    def _in_order(self) -> "LabelCalibration":
        if self.absent_below > self.present_above:
            raise ValueError("absent_below lies above present_above")
        return self


class Calibration(Record):
    """One expert's calibration on one collection."""

    expert: str
    """The weights it was fitted for; with any others it is refused."""
    collection: str
    """What it was fitted on, in the words of who fitted it."""
    method: Method
    """Which line was fitted."""
    studies: int
    """Images that were scored."""
    labels: dict[str, LabelCalibration]
    """By the expert's own name of the label."""
    too_few: dict[str, int]
    """Labels with too few examples of either kind, with how many have the finding: never settled."""

    @property
    def identity(self) -> str:
        """Twelve hex digits over everything in it."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]


def identity_of(weights: str, calibration: Calibration | None) -> str:
    """The name of an expert as it judges; without a calibration it says so."""
    return f"{weights}/calibration-{calibration.identity}" if calibration else f"{weights}/uncalibrated"


def calibration_for(weights: str, named: Named, folder: Path | None) -> Calibration | None:
    """The calibration to judge by: the file named, or the one in the expert's folder if there is one, or none."""
    if isinstance(named, Path):
        return read_calibration(named, weights)
    beside = folder / FILE if folder and named == "beside" else None
    return read_calibration(beside, weights) if beside and beside.is_file() else None


def read_calibration(file: Path, weights: str) -> Calibration:
    """The calibration in a file; raises CalibrationMismatch where it is none, or none for these weights."""
    try:
        found = Calibration.model_validate_json(file.read_bytes())
    except (ValidationError, OSError) as error:
        raise CalibrationMismatch(f"{file} is no calibration", fix="fit it again, or take it away") from error
    if found.expert != weights:
        raise CalibrationMismatch(
            f"{file} was fitted for {found.expert}, and this expert is {weights}",
            fix="fit one for this expert with `prelim-evaluate calibrate`, or take the file away",
        )
    return found


def write_calibration(calibration: Calibration, file: Path) -> None:
    """Write the file that `read_calibration` reads."""
    file.write_text(calibration.model_dump_json(indent=1) + "\n", encoding="utf-8")


def log_odds(probability: float) -> float:
    """The log odds of a probability, finite also at its ends."""
    return float(logit(np.clip(probability, EDGE, 1 - EDGE)))


def probability_of(odds: Logits, slope: float = 1.0, intercept: float = 0.0) -> Probabilities:
    """Probabilities of log odds on a line, kept inside (0, 1)."""
    return np.asarray(np.clip(expit(slope * odds + intercept), EDGE, 1 - EDGE), np.float64)


def finish_scores(
    raw: Logits,
    labels: Sequence[Label],
    uncalibrated: Probabilities,
    own: Sequence[Bands],
    weights: str,
    calibration: Calibration | None,
) -> list[ExpertScores]:
    """One record an image; `own` are the bands of each label where there is no calibration at all.

    Raises BrokenLogits for a row that holds NaN or infinity: a broken forward pass is no opinion.
    """
    if broken := tuple(int(row) for row in np.flatnonzero(~np.isfinite(raw).all(axis=1))):
        raise BrokenLogits(f"{weights} gave no number for {len(broken)} of {len(raw)} images", groups=broken)
    columns = np.clip(uncalibrated, EDGE, 1 - EDGE).astype(np.float64)
    bands = [NEVER] * len(labels) if calibration else list(own)
    if calibration:
        for column, label in enumerate(labels):
            if of_label := calibration.labels.get(label.name):
                columns[:, column] = probability_of(raw[:, column], of_label.slope, of_label.intercept)
                bands[column] = (of_label.absent_below, of_label.present_above)
    identity = identity_of(weights, calibration)
    return [
        ExpertScores(
            expert=identity,
            scores=tuple(
                ExpertScore(concept=label.concept, probability=float(p), absent_below=low, present_above=high)
                for label, p, (low, high) in zip(labels, row, bands, strict=True)
            ),
        )
        for row in columns
    ]
