"""What a report says, as records: one `ConceptMention` for each time it states, denies or doubts something.

What is counted as present, absent or uncertain is written in `retrieval/extraction/POLICY.md`.
"""

from typing import Literal, NewType, Protocol

from pydantic import Field

from retrieval.record import Record

ConceptId = NewType("ConceptId", str)
"""A concept of the ontology, such as PRELIM:0101; stable, never reused."""
ExtractorIdentity = NewType("ExtractorIdentity", str)
"""Ontology and extraction rules in one string: mentions compare only when it is equal."""
Certainty = Literal["present", "absent", "uncertain"]
"""Stated, denied, or neither."""
Side = Literal["left", "right", "bilateral"]
"""The patient's side."""


class Measurement(Record):
    """A number with its unit, as written."""

    value: float
    """The number; the largest one of "2 x 3 cm"."""
    unit: Literal["mm", "cm"]
    """As written."""
    start: int
    """First character."""
    end: int
    """One past the last character."""

    @property
    def millimetres(self) -> float:
        """The value in mm."""
        return self.value * (10 if self.unit == "cm" else 1)


class ConceptMention(Record):
    """One thing that a text says of one concept."""

    concept: ConceptId
    """What is spoken of."""
    certainty: Certainty
    """Whether it is stated, denied or doubted."""
    start: int = Field(ge=0)
    """First character of the words that name it."""
    end: int = Field(gt=0)
    """One past the last character; other words may stand between ("the heart is mildly enlarged")."""
    sentence: int = Field(default=0, ge=0)
    """In which sentence of the text, from 0."""
    side: Side | None = None
    """The patient's side; None when the text gives none for it."""
    sites: tuple[ConceptId, ...] = ()
    """Anatomy that the text gives for it, without side; empty when it gives none."""
    severity: ConceptId | None = None
    """Such as mild; None when not said."""
    size: ConceptId | None = None
    """Such as small; None when not said."""
    modifiers: tuple[ConceptId, ...] = ()
    """Distribution, morphology, margin, density, number and age, in the order written."""
    change: ConceptId | None = None
    """Such as increased or new, compared with an earlier study; None when not said."""
    measurement: Measurement | None = None
    """Its size in figures; None when not given."""


class Known(Protocol):
    """Which concepts there are: an ontology."""

    def __contains__(self, name: str, /) -> bool:
        """Whether it has the concept."""


class ReadConcepts(Record):
    """What one report says, and what of it can be said without an earlier study."""

    extractor: ExtractorIdentity
    """What read it."""
    mentions: tuple[ConceptMention, ...] = ()
    """In the order of the text; offsets are into the report's text."""
    standalone: tuple[str, ...] = ()
    """The report's findings and impression, sentence by sentence, without what belongs to an earlier study."""

    def within(self, known: Known) -> "ReadConcepts":
        """Without concepts and sites that this ontology does not have; another version may have read the report."""
        if all(m.concept in known and all(site in known for site in m.sites) for m in self.mentions):
            return self
        kept = (m for m in self.mentions if m.concept in known)
        mentions = (m.model_copy(update={"sites": tuple(s for s in m.sites if s in known)}) for m in kept)
        return self.model_copy(update={"mentions": tuple(mentions)})
