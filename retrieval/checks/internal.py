"""A text against itself: what it states and denies, what cannot both be true, and what it says twice."""

from collections.abc import Iterator
from itertools import combinations
from typing import Final

from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark, Severity
from retrieval.checks.said import FINDINGS, RESTRICTED, Said, remark_at, remark_on, upper
from retrieval.extraction.tokens import tokenise, word_set
from retrieval.mentions import ConceptId, ConceptMention

_PAST: Final = ("chronic", "old", "healed")
"""Ages of a finding that a denial of acute disease leaves room for."""
_KINDS: Final = word_set(
    "displaced nondisplaced healed healing old chronic subacute remote calcified noncalcified large moderate massive "
    "severe tension loculated layering suspicious pathologic cavitary spiculated complete compression lytic sclerotic"
)
"""Words by which a denial is one of a kind only."""
_APART: Final = ("normal", "view")
"""Kinds of which denials are not about the patient."""
_SHORT: Final = 3
"""Words a sentence needs before saying it twice is worth a remark."""


def contradiction(said: Said, context: CheckContext) -> Iterator[Remark]:
    """One finding stated and denied, in two sentences, without a side, place or degree that tells them apart."""
    stated = said.few(
        [m for m in said.mentions if m.certainty == "present" and said.ontology[m.concept].kind not in _APART]
    )
    for no in said.few([m for m in said.mentions if m.certainty == "absent"]):
        against = [
            yes
            for yes in stated
            if yes.sentence != no.sentence
            and said.ontology.is_a(yes.concept, no.concept)
            and _same_thing(said, yes, no)
        ]
        if not against:
            continue
        yes = next((m for m in against if _weight(said, m, no) == "hard"), against[0])
        first, second = sorted((yes, no), key=lambda m: m.start)
        explanation = (
            f"{upper(said.name(second.concept))} is {_how(second)} here, and {said.name(first.concept)} is "
            f"{_how(first)} before."
        )
        yield remark_on(second, "INTERNAL", _weight(said, yes, no), explanation, first.concept)


def exclusion(said: Said, context: CheckContext) -> Iterator[Remark]:
    """Two statements that the ontology's exclusion groups do not allow together, such as a normal heart and a large."""
    present = said.few([m for m in said.mentions if m.certainty == "present"])
    told: set[frozenset[ConceptId]] = set()
    for first, second in combinations(present, 2):
        pair = frozenset((first.concept, second.concept))
        group = said.ontology.excludes(first.concept, second.concept)
        if group is None or pair in told or first.sentence == second.sentence or not _one_thing(said, first, second):
            continue
        told.add(pair)
        explanation = f"{upper(said.name(second.concept))} is stated here, and {said.name(first.concept)} before."
        yield remark_on(second, "INTERNAL", group.strength, explanation, first.concept)


def attributes(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A finding of one degree, size or course in the findings and of an opposite one in the impression."""
    stated = said.few([m for m in said.mentions if m.certainty != "absent" and said.is_finding(m)])
    for first, second in combinations(stated, 2):
        if first.concept != second.concept or said.section_of(first) == said.section_of(second):
            continue
        if not said.one_place(first, second):
            continue
        for one, other in ((first.severity, second.severity), (first.size, second.size), (first.change, second.change)):
            group = said.ontology.excludes(one, other) if one and other else None
            if one and other and group and group.strength == "hard":
                explanation = (
                    f"{upper(said.name(second.concept))} is called {said.name(other)} here and {said.name(one)} before."
                )
                yield remark_on(second, "INTERNAL", "hard", explanation, one, other)


def repetition(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A sentence, or a finding with the same side, place and degree, that its section has said already."""
    sentences: set[tuple[str, ...]] = set()
    things: dict[tuple[object, ...], int] = {}
    for sentence in said.sentences:
        words = (sentence.section, *tokenise(sentence.text).words)
        twice = words in sentences and len(words) > _SHORT
        sentences.add(words)
        if twice:
            span = (0, len(sentence.text))
            yield remark_at(sentence, span, "REPEAT", "soft", "This sentence stands in the same section twice.")
            continue
        for m in sentence.mentions:
            if said.ontology[m.concept].kind not in FINDINGS:
                continue
            thing = (
                sentence.section,
                m.concept,
                m.certainty,
                m.side,
                m.sites,
                m.severity,
                m.size,
                m.modifiers,
                m.change,
                m.measurement and m.measurement.millimetres,
            )
            if things.setdefault(thing, m.sentence) != m.sentence:
                explanation = (
                    f"{upper(said.name(m.concept))} is {_how(m)} in this section already, with the same side, place "
                    "and degree."
                )
                yield remark_on(m, "REPEAT", "soft", explanation)


def _same_thing(said: Said, yes: ConceptMention, no: ConceptMention) -> bool:
    """Whether a denial is about what is stated: a large one, a new one, one on the left, leaves others open."""
    if said.is_new_only(no) or not said.one_place(yes, no):
        return False
    if no.side and yes.side != no.side:
        return False
    if "acute" in _words(said, no) and _words(said, yes) & set(_PAST):
        return False
    told = {yes.size, yes.severity, *yes.modifiers, *yes.sites}
    return said.narrowing(no) <= told and not RESTRICTED.search(said.sentence_of(no).text)


def _weight(said: Said, yes: ConceptMention, no: ConceptMention) -> Severity:
    """Hard where the very finding is denied as such; soft where its words deny only a kind of it, as a displaced one.

    Such words are part of the finding's name there, and so no modifiers of it.
    """
    narrower = (_words(said, no) & _KINDS) - set(said.name(no.concept).split())
    return "hard" if yes.concept == no.concept and narrower <= _words(said, yes) else "soft"


def _words(said: Said, m: ConceptMention) -> frozenset[str]:
    """The words that name a finding, and its modifiers."""
    named = tokenise(said.text[m.start : m.end]).words
    return frozenset((*named, *said.name(m.concept).split(), *(said.ontology[c].slug for c in m.modifiers)))


def _one_thing(said: Said, first: ConceptMention, second: ConceptMention) -> bool:
    """Whether two statements can only be of one thing: not one lung clear and fluid in the other, not "otherwise"."""
    if not said.one_place(first, second):
        return False
    for m, other in ((first, second), (second, first)):
        concept = said.ontology[m.concept]
        if concept.kind != "normal":
            continue
        if (m.side in ("left", "right") and other.side != m.side) or RESTRICTED.search(said.sentence_of(m).text):
            return False
        if said.narrowing(m) and not other.sites:
            return False
        ages = {*said.name(other.concept).split(), *(said.ontology[c].slug for c in other.modifiers)}
        if ages & set(_PAST):
            return False
    return True


def _how(m: ConceptMention) -> str:
    return {"present": "stated", "absent": "denied", "uncertain": "left open"}[m.certainty]
