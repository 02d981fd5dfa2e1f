"""What no image shows: numbers that nobody measured, and words about the patient or about other people.

An allowance is made for everything the context holds: a measurement that was made, a history that was given, a device
or a trace of an operation that is seen, a finding that the classifier found.
"""

import re
from collections.abc import Iterator
from typing import Final

from retrieval.checks.context import CheckContext, Quantity, Unit
from retrieval.checks.remark import Remark
from retrieval.checks.said import Said, SentenceAt, remark_at
from retrieval.extraction.tokens import tokenise, word_set
from retrieval.mentions import ConceptId

_QUANTITY: Final = re.compile(
    r"(?<![\w.])(?:\d{1,4}(?:\.\d{1,3})?\s{0,2}(?:x|by|-|to)\s{0,2}){0,2}\d{1,4}(?:\.\d{1,3})?[\s-]{0,2}"
    r"(?P<unit>mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?|ml|cc|milliliters?|%|percent|degrees?|french|fr)(?![a-z])",
    re.I,
)
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?")
_UNITS: Final[dict[str, tuple[Unit, float]]] = {
    "mm": ("mm", 1), "mi": ("mm", 1), "cm": ("mm", 10), "ce": ("mm", 10), "ml": ("ml", 1), "cc": ("ml", 1),
    "%": ("%", 1), "pe": ("%", 1), "de": ("degrees", 1), "fr": ("Fr", 1),
}  # fmt: skip
_TOLERANCE: Final = 0.5
"""In the unit itself: what rounding to whole numbers may change."""

_RECOMMENDS: Final = re.compile(
    r"\b(?:recommend\w*|advis\w*|suggest\w*|consider\w*|could|would|should|may|might|can|if|further|follow\w*|correlat\w*|"
    r"evaluat\w*|obtain\w*|helpful|useful|needed|indicated|warranted|desired)\b",
    re.I,
)
_TOLD: Final = re.compile(
    r"\b(?:discussed|communicated|called|telephoned|phoned|paged|notified|informed|conveyed|relayed|reported|faxed|"
    r"reviewed|telephoning|acknowledged)\b[^.;]{0,80}\b(?:dr|doctor|physicians?|clinicians?|nurses?|team|providers?|"
    r"residents?|surgeons?|(?:tele)?phone|clinic|office|department|patient|a\.?m|p\.?m|hours)\b|"
    r"\b(?:dr|doctor)\b\.?[^.;]{0,60}\b(?:was|were|has been)\s+(?:notified|informed|called|paged|made aware)\b",
    re.I,
)
_MODALITY: Final = re.compile(
    r"\b(?:on|by|at|per|from|in|with|see|prior|previous|recent)\s+(?:the\s+)?(?:[a-z]+\s+){0,3}?"
    r"(?P<what>ct|cta|mri|mra|pet|ultrasound|sonogra\w+|echocardiogra\w+|mammogra\w+|fluoroscop\w+|angiogra\w+|"
    r"scintigra\w+|bronchoscop\w+)\b|"
    r"\b(?P<it>ct|cta|mri|pet|ultrasound|echocardiogram)\b(?:\s+[a-z]+){0,3}\s+(?:shows?|showed|demonstrate[sd]?|"
    r"revealed|confirmed|dated)\b",
    re.I,
)
_CLAIM: Final = re.compile(
    r"\b(?:status[- ]?post|s/p|(?:(?:past|prior|previous|known|remote|clinical|given|provided|the|patient'?s?)\s+)*"
    r"history(?:\s+of)?|underwent|(?:has|have) undergone|diagnosed with|treated (?:for|with)|"
    r"(?:the )?patient (?:has|had|is an?|was|reports?|complains?|presents?|denies|states)|"
    r"presents? with|complain\w* of|"
    r"\d{1,3}[- ]years?[- ]old|smoker|smoking)\b",
    re.I,
)
_CLAUSE_END: Final = re.compile(r"[.,;:()]|\b(?:which|but|with no|without|is|are|there|noted|seen)\b", re.I)
_EMPTY: Final = word_set(
    "a an the of and or with in on for to by at from as is are was were has have had been this that patient s known "
    "prior previous given provided history clinical status post recent remote left right side sided"
)


def quantities(text: str) -> list[tuple[Quantity, int, int]]:
    """Every number with a unit, with its place; "2 x 3 cm" is two numbers at one place."""
    found = []
    for match in _QUANTITY.finditer(text):
        unit, times = _UNITS[match["unit"][:2].lower()]
        for number in _NUMBER.findall(match.group()):
            found.append((Quantity(value=float(number) * times, unit=unit), match.start(), match.end()))
    return found


def unmeasured(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A number with a unit that is none of the measurements made on this study."""
    if context.measurements is None:
        return
    for sentence in said.sentences:
        told: set[tuple[int, int]] = set()
        for quantity, start, end in quantities(sentence.text):
            if (start, end) in told or any(_equal(quantity, known) for known in context.measurements):
                continue
            told.add((start, end))
            words = " ".join(sentence.text[start:end].split())
            explanation = f'"{words}" is none of the measurements made on this study.'
            yield remark_at(sentence, (start, end), "MEASURE", "hard", explanation)


def not_on_the_image(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A conversation, another examination, or a history that is not in what was given."""
    if context.history is None:
        return
    given = set(tokenise(context.history).words) - _EMPTY
    known = (context.devices or frozenset()) | {m.concept for m in said.extractor.read(context.history)}
    known |= {s.concept for s in (context.experts.scores if context.experts else ()) if s.band == "present"}
    for sentence in said.sentences:
        for found in _TOLD.finditer(sentence.text):
            explanation = "A conversation is reported, which is neither on the image nor among what was given."
            yield remark_at(sentence, found.span(), "NONIMAGE", "hard", explanation)
        if not _RECOMMENDS.search(sentence.text):
            for found in _MODALITY.finditer(sentence.text):
                what = found["what"] or found["it"]
                if not set(tokenise(what).words) & given:
                    explanation = f'"{what}" is another examination, and what was given does not hold it.'
                    yield remark_at(sentence, found.span(), "NONIMAGE", "hard", explanation)
        for found in _CLAIM.finditer(sentence.text):
            end = _CLAUSE_END.search(sentence.text, found.end())
            last = end.start() if end else len(sentence.text)
            claimed = set(tokenise(sentence.text[found.start() : last]).words) - _EMPTY
            # Most of the words: "renal failure" that was given is no "renal cell carcinoma".
            if (
                not claimed
                or 2 * len(claimed & given) > len(claimed)
                or _seen(said, sentence, (found.start(), last), known)
            ):
                continue
            explanation = "This is told of the patient, and neither the image nor what was given shows it."
            yield remark_at(sentence, (found.start(), last), "NONIMAGE", "hard", explanation)


def _equal(one: Quantity, other: Quantity) -> bool:
    return one.unit == other.unit and abs(one.value - other.value) <= _TOLERANCE


def _seen(said: Said, sentence: SentenceAt, span: tuple[int, int], known: frozenset[ConceptId]) -> bool:
    """Whether what a claim names is known, or is there to be seen like an operation's wires and clips."""
    first, last = sentence.start + span[0], sentence.start + span[1]
    named = [m for m in sentence.mentions if m.start < last and first < m.end]
    return any(said.related(m.concept, k) for m in named for k in known)
