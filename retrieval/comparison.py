"""What a study says of each concept, and how two studies compare in that, as records.

Made in `retrieval.ranking`; here, without a library or an ontology, because evidence quotes them.
"""

from typing import Final, Literal

from pydantic import Field, model_validator

from retrieval.mentions import Certainty, ConceptId, Side
from retrieval.record import Record

STEPS: Final = 16
"""Degrees are multiples of one over this."""
Form = Literal["symmetric", "asymmetric"]
"""Whether both sets were written by somebody who looked for everything, or the query only answers what it was asked."""


class ConceptSet(Record):
    """What one study says of each concept; a concept is present to a degree or absent to a degree, never both."""

    present: dict[ConceptId, float] = Field(default_factory=dict)
    """Concepts stated (1) or left open (.5), or voted for by similar cases (any sixteenth)."""
    absent: dict[ConceptId, float] = Field(default_factory=dict)
    """Concepts denied."""
    sides: dict[ConceptId, Side] = Field(default_factory=dict)
    """The patient's side, for the concepts that have one."""
    sites: dict[ConceptId, tuple[ConceptId, ...]] = Field(default_factory=dict)
    """Anatomy that the report gives for a concept, without side; missing where it gives none."""

    @model_validator(mode="after")
    def _valid(self) -> "ConceptSet":
        if both := self.present.keys() & self.absent.keys():
            raise ValueError(f"both present and absent: {min(both)}")
        if any(not 0 < d <= 1 or d * STEPS != int(d * STEPS) for m in (self.present, self.absent) for d in m.values()):
            raise ValueError(f"a degree is a multiple of 1/{STEPS} above 0 and up to 1")
        return self


class ComparedConcept(Record):
    """One concept's part in a similarity."""

    concept: ConceptId
    """The concept."""
    certainty: Certainty
    """`present` or `absent`: what is shared or left over, and for a contradiction what the query says."""
    in_query: float = Field(ge=0, le=1)
    """Degree in the query; 0 when it says nothing."""
    in_case: float = Field(ge=0, le=1)
    """Degree in the case; 0 when it says nothing."""
    weight: float = Field(ge=0)
    """What it adds to its list's sum; denials are already reduced."""
    stated: bool
    """True when a set states it itself; False when it only follows from other concepts."""
    side_differs: bool = False
    """True when one has it on the left and the other on the right; then half is shared and half is left over."""


class ConceptComparison(Record):
    """Why two studies are as similar in concepts as they are.

    The similarity is shared / (shared + a share of case_only + a share of query_only + contradicting), each the sum of
    its weights; the shares are those of the form (`SHARES`).
    """

    similarity: float = Field(ge=0, le=1)
    """1 when both say the same, 0 when they share nothing or one is empty."""
    form: Form
    """How what only one of them says was counted."""
    shared: tuple[ComparedConcept, ...] = ()
    """What both state or both deny, the weightiest first."""
    contradicting: tuple[ComparedConcept, ...] = ()
    """What one states and the other denies."""
    query_only: tuple[ComparedConcept, ...] = ()
    """What the query says beyond the case."""
    case_only: tuple[ComparedConcept, ...] = ()
    """What the case says beyond the query."""
