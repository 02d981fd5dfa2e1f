"""What a person asks, in words, as something the legs can search for: texts, findings and parts of the body.

Texts are read by the same extractor as reports, so "left pleural effusion without pneumothorax" asks for the one, on
its side, and against the other.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple

from retrieval.comparison import ConceptSet
from retrieval.errors import RequestError
from retrieval.extraction.extractor import SPEAKING, Extractor, affirmed
from retrieval.mentions import ConceptId, ConceptMention, ReadConcepts, Side
from retrieval.ontology.ontology import Ontology
from retrieval.ranking.concept_sets import concepts_of_report
from retrieval.ranking.text import words_of

LONGEST = 20_000
"""Characters of a text that are read; nobody asks with more."""
_SIDES: tuple[Side, ...] = ("left", "right", "bilateral")


class AskedText(NamedTuple):
    """A text as the legs search for it."""

    concepts: ConceptSet
    """What it states, leaves open and denies."""
    words: str
    """The text without what it denies: a word knows no denial (`ranking.text`)."""


def text_asked(text: str, extractor: Extractor) -> AskedText:
    """A question or report in free text; raises RequestError when it is too long or has no word to search for."""
    if len(text) > LONGEST:
        raise RequestError(f"the text has more than {LONGEST} characters", fix="ask with a sentence or one report")
    if not words_of(text):
        raise RequestError("the text has no word to search for", fix="name findings, as in a report")
    mentions = extractor.read(text)
    return AskedText(_together(mentions, extractor), affirmed(text, mentions))


def finding_asked(name: str, extractor: Extractor) -> ConceptSet:
    """A finding by slug, id, name or phrase, with its side and with "no" before it if it shall not be there.

    Raises RequestError, with the nearest names, when nothing is called so.
    """
    ontology = extractor.ontology
    side, _, rest = name.strip().partition(" ")
    for said, slug in ((None, _slug(name)), (side.lower(), _slug(rest))):
        if slug in ontology and ontology[slug].kind in SPEAKING and said in (None, *_SIDES):
            concept = ontology[slug].id
            sides = [given for given in _SIDES if given == said]
            return ConceptSet(present={concept: 1.0}, sides=dict.fromkeys([concept], sides[0]) if sides else {})
    found = _together(extractor.read(name[:LONGEST]), extractor)
    if not found.present and not found.absent:
        names = {n: None for c in ontology.written if c.kind in SPEAKING for n in (c.name.lower(), c.slug)}
        raise _unknown("finding", name, names)
    return found


def findings_asked(names: Iterable[str], extractor: Extractor) -> ConceptSet:
    """All of these findings in one question; raises RequestError as `finding_asked`, and where two contradict."""
    wanted = ConceptSet()
    for name in names:
        one = finding_asked(name, extractor)
        for stated, denied in ((one.present, wanted.absent), (wanted.present, one.absent)):
            for against in denied:
                if any(extractor.ontology.is_a(concept, against) for concept in stated):
                    why = f"{extractor.ontology[against].name.lower()} is asked for and asked against"
                    raise RequestError(
                        f"{name[:100]!r} and another finding cannot both hold: {why}",
                        fix="ask one after the other",
                        unquoted=f"two findings cannot both hold: {why}",
                    )
        wanted = both(wanted, one)
    return wanted


def anatomy_asked(name: str, ontology: Ontology) -> ConceptId:
    """A part of the body by slug, id, name or synonym, with its side; raises RequestError as `finding_asked`."""
    if (slug := _slug(name)) in ontology and ontology[slug].kind == "anatomy":
        return ontology[slug].id
    wanted = " ".join(name.lower().split())
    names = {n.lower(): c.id for c in ontology if c.kind == "anatomy" for n in (c.slug, *c.synonyms, c.name)}
    if wanted not in names:
        raise _unknown("part of the body", name, names)
    return names[wanted]


def both(one: ConceptSet, other: ConceptSet) -> ConceptSet:
    """Two questions in one; where they disagree the first counts."""
    present = {**{c: d for c, d in other.present.items() if c not in one.absent}, **one.present}
    absent = {**{c: d for c, d in other.absent.items() if c not in present}, **one.absent}
    return ConceptSet(
        present=present, absent=absent, sides={**other.sides, **one.sides}, sites={**other.sites, **one.sites}
    )


def _together(mentions: list[ConceptMention], extractor: Extractor) -> ConceptSet:
    read = ReadConcepts(extractor=extractor.identity, mentions=tuple(mentions))
    return concepts_of_report(read, extractor.ontology)


def _slug(name: str) -> str:
    """As a slug, or the id that it is."""
    name = "_".join(name.replace("-", " ").split())
    return name.upper() if name.upper().startswith("PRELIM:") else name.lower()


def _unknown(kind: str, name: str, names: dict[str, ConceptId] | dict[str, None]) -> RequestError:
    near = get_close_matches(name.lower()[:100], names, n=3, cutoff=0.5)
    fix = f"such as {', '.join(near)}" if near else "`prelim concepts` shows how a text is read"
    return RequestError(f"no {kind} is called {name[:100]!r}", fix=fix, unquoted=f"no {kind} is called so")
