"""What a classifier of findings says of one study, as records: the ground floor imports no classifier."""

from typing import Literal

from pydantic import Field, model_validator

from retrieval.mentions import ConceptId, Side
from retrieval.record import Record

Band = Literal["present", "uncertain", "absent"]
"""What a calibrated probability settles: above one threshold, between the two, below the other."""


class ExpertScore(Record):
    """One finding's calibrated probability, with the thresholds that belong to it."""

    concept: ConceptId
    """The finding."""
    probability: float = Field(ge=0, le=1)
    """Calibrated: of studies with .8, eight in ten have the finding."""
    absent_below: float = Field(ge=0, le=1)
    """Below it the expert counts as denying the finding."""
    present_above: float = Field(ge=0, le=1)
    """Above it the expert counts as stating the finding."""
    side: Side | None = None
    """Where the expert located it; None when it locates nothing."""

    @model_validator(mode="after")
    def _in_order(self) -> "ExpertScore":
        if self.absent_below > self.present_above:
            raise ValueError("absent_below lies above present_above")
        return self

    @property
    def band(self) -> Band:
        """Whether the expert has settled the finding."""
        if self.probability >= self.present_above:
            return "present"
        return "absent" if self.probability < self.absent_below else "uncertain"


class ExpertScores(Record):
    """Every finding that one expert scored for one study."""

    expert: str
    """Which model with which calibration."""
    scores: tuple[ExpertScore, ...] = ()
    """One for each finding it knows."""
