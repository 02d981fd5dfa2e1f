"""What an indication asks about: the findings that a referrer names, whether known, feared or to be ruled out.

The extractor reads reports, in which "rule out pneumothorax" states nothing about the image. In an indication it is
the very thing that is asked. So words that ask are read as the end of a clause and words of history as nothing, before
the same extractor reads the rest: names, sides and places are found as in any text, and "no fever, rule out pneumonia"
denies no pneumonia.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ConceptMention, Measurement
from retrieval.ontology.concept import Kind

LASTING: Final[frozenset[Kind]] = frozenset({"device", "postoperative"})
"""What was put in or taken out can be seen, so its history states it."""


def _any_of(phrases: str) -> str:
    """Any of these phrases as whole words, the longest first."""
    listed = sorted((" ".join(phrase.split()) for phrase in phrases.split(",")), key=len, reverse=True)
    return rf"\b(?:{'|'.join(re.escape(phrase) for phrase in listed)})\b".replace(r"\ ", r"\s+")


_ASKS: Final = re.compile(
    r"(?<![^\s(,;])\?|"
    + _any_of("""
        rule out, ruling out, r/o, exclude, excluding, to be excluded, evaluate, evaluate for, evaluation of,
        evaluation for, eval, eval for, assess, assess for, assessment of, assessment for, check, check for, look for,
        looking for, verify, confirm, concern for, concerned for, clinical concern for, worry for, worried about,
        suspicion of, suspicion for, clinical suspicion of, clinical suspicion for, clinically suspected, query, if,
        whether, follow up, follow-up, followup, f/u, follow up of, follow up for, f/u of, f/u for, monitor,
        resolution of, clearing of, clearance of
    """),
    re.I,
)
"""Words that ask about what comes after them."""
_HISTORY: Final = re.compile(
    _any_of("""
        history of, history, hx of, hx, h/o, known history of, medical history of, past medical history of, pmh, pmh of,
        status post, s/p, prior, previous, recent, risk of, at risk for, patient with, symptoms of, signs of
    """),
    re.I,
)
"""Words of what has been; what comes after them may be there no more."""
_DENIES: Final = re.compile(r"\b(?:denies|denied|denying)\b", re.I)
_REFERRERS: Final = re.compile(r"\bPE\b")
"""In an indication it is an embolism; the extractor leaves it alone, because in reports it is an effusion, too."""
_EMBOLISM: Final = "pulmonary embolism"
_END: Final = re.compile(r"[.;](?=\s|\Z)|\n|(?<=[^\s(,;?])\?")
_QUESTION: Final = re.compile(r"[^.;,?\n]{0,80}\?")


def asked_about(indication: str, extractor: Extractor) -> tuple[ConceptMention, ...]:
    """Every concept that an indication names, less what it denies; any text is read, in linear time.

    Its certainty is "uncertain" where it is asked about or has been, else as the words have it. Places are those of
    the indication as it was given.
    """
    # 1. Abbreviations of referrers written out, and where each character was.
    text, places = _written_out(indication)
    # 2. Where it asks, where it looks back, and how far either reaches.
    asks = [m.start() for m in _ASKS.finditer(text)]
    history = [m.start() for m in _HISTORY.finditer(text)]
    ends = [m.end() for m in _END.finditer(text)]
    # 3. The rest, read as any text; of the same length, so that every place stays.
    plain = _ASKS.sub(lambda m: ";" + " " * (len(m.group()) - 1), text).replace("?", ";")
    plain = _HISTORY.sub(lambda m: " " * len(m.group()), plain)
    plain = _DENIES.sub(lambda m: "no".ljust(len(m.group())), plain)
    found: list[ConceptMention] = []
    for mention in extractor.read(plain):
        if mention.certainty == "absent":
            continue
        end = bisect_right(ends, mention.start)
        begin = ends[end - 1] if end else 0
        has_been = extractor.ontology[mention.concept].kind not in LASTING and _within(history, begin, mention.start)
        if has_been or _within(asks, begin, mention.start) or _QUESTION.match(text, mention.end):
            mention = mention.model_copy(update={"certainty": "uncertain"})
        found.append(mention if places is None else _moved(mention, places))
    return tuple(found)


def _within(sorted_places: Sequence[int], begin: int, end: int) -> bool:
    """Whether one of the places lies from `begin` to before `end`."""
    return bisect_left(sorted_places, begin) < bisect_left(sorted_places, end)


def _written_out(text: str) -> tuple[str, list[int] | None]:
    """The text with abbreviations written out, and the place of each of its characters; None where they are its own."""
    if not _REFERRERS.search(text):
        return text, None
    places: list[int] = []
    at = 0
    for short in _REFERRERS.finditer(text):
        places += [*range(at, short.start()), *[short.start()] * (len(_EMBOLISM) - 1), short.end() - 1]
        at = short.end()
    return _REFERRERS.sub(_EMBOLISM, text), [*places, *range(at, len(text))]


def _moved(mention: ConceptMention, places: Sequence[int]) -> ConceptMention:
    def moved(span: ConceptMention | Measurement) -> dict[str, int]:
        return {"start": places[span.start], "end": places[span.end - 1] + 1}

    measurement = mention.measurement
    if measurement is not None:
        measurement = measurement.model_copy(update=moved(measurement))
    return mention.model_copy(update={**moved(mention), "measurement": measurement})
