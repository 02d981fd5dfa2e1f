"""What a check says, as records: one remark for one thing in a text that deserves a second look."""

from typing import Literal

from pydantic import Field

from retrieval.mentions import ConceptId
from retrieval.record import Record

RemarkCode = Literal[
    "CONTRA_EXPERT",
    "OMIT_EXPERT",
    "UNSUPPORTED",
    "PRIOR_REF",
    "CHANGE_NO_EVID",
    "LATERALITY",
    "SITE",
    "INTERNAL",
    "NEGATION",
    "DEVICE_UNSEEN",
    "DEVICE_STATE",
    "MEASURE",
    "CERTAINTY",
    "NONIMAGE",
    "COPY",
    "REPEAT",
]
"""Which rule of the catalogue in `check.py` was broken. Stable: interfaces and audits store it."""
Severity = Literal["hard", "soft"]
"""`hard`: wrong unless somebody explains it; a draft may not keep it. `soft`: worth a look."""


class Remark(Record):
    """One thing that a reader should look at, with the reason."""

    code: RemarkCode
    """Which check."""
    severity: Severity
    """How much it weighs; set by the rule and by how urgent the finding is."""
    sentence: int | None = Field(default=None, ge=0)
    """In which sentence of findings and impression, from 0; None for what the text does not say at all."""
    start: int | None = Field(default=None, ge=0)
    """First character in the report's text; None where `sentence` is None."""
    end: int | None = Field(default=None, gt=0)
    """One past the last character; None where `sentence` is None."""
    concepts: tuple[ConceptId, ...] = ()
    """What it is about; empty where no concept is."""
    explanation: str
    """One sentence for a radiologist; findings carry the ontology's names, and of the text no more than the words of
    the span is quoted."""


class NotRun(Record):
    """A rule that could not be tried."""

    code: RemarkCode
    """Which check; others of its rules may have run."""
    lacks: tuple[str, ...]
    """The fields of the context that were not given."""


class Checked(Record):
    """The answer of all checks for one text."""

    remarks: tuple[Remark, ...] = ()
    """In the order of the text, hard before soft at one place; what the text lacks comes last."""
    not_run: tuple[NotRun, ...] = ()
    """What was not checked: no remark of it means nothing."""

    crowded: bool = False
    """More different things were said than are compared each with each: contradictions further down may be missed."""

    @property
    def hard(self) -> tuple[Remark, ...]:
        """The remarks that a draft may not keep."""
        return tuple(r for r in self.remarks if r.severity == "hard")
