"""Sides and sites: a side that the classifier or the other section contradicts, and places where a finding cannot be.

Sides are compared only where both are explicit and opposite, and on mentions of one finding: many reports rightly name
both sides, and a rule that compares whole reports is wrong two times in three.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark
from retrieval.checks.said import Said, opposite, remark_at, remark_on, upper
from retrieval.mentions import ConceptMention
from retrieval.ontology.ontology import Ontology


def side_against_expert(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A finding on the left that the classifier located on the right, or the other way round."""
    located = [s for s in (context.experts.scores if context.experts else ()) if s.band == "present" and s.side]
    sided = [m for m in said.mentions if m.certainty != "absent" and m.side]
    for m in sided:
        scores = [s for s in located if said.related(m.concept, s.concept)]
        exact = [s for s in scores if s.concept == m.concept]
        # A nodule on the right beside an opacity on the left, as located, are two things.
        if not exact:
            exact = [
                s for s in scores if not any(o.side == s.side and said.related(o.concept, s.concept) for o in sided)
            ]
        if exact and all(opposite(m.side, s.side) for s in exact):
            explanation = (
                f"{upper(said.name(m.concept))} is placed on the {m.side}, and the image classifier located "
                f"{said.name(exact[0].concept)} on the {exact[0].side}."
            )
            yield remark_on(m, "LATERALITY", "hard", explanation, exact[0].concept)


def side_between_sections(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A finding that is on one side only in the findings and on the other only in the impression."""
    sided = [m for m in said.mentions if m.certainty != "absent" and m.side and said.ontology[m.concept].kind != "view"]
    for m in sided:
        if said.section_of(m) != "impression" or m.side == "bilateral":
            continue
        same = [o for o in sided if said.section_of(o) == "findings" and said.related(o.concept, m.concept)]
        if same and all(opposite(o.side, m.side) for o in same):
            explanation = (
                f"{upper(said.name(m.concept))} is on the {m.side} in the impression and on the {same[0].side} in the "
                "findings."
            )
            yield remark_on(m, "LATERALITY", "hard", explanation, same[0].concept)


def impossible_side(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A side that the place does not have, such as a left middle lobe."""
    for sentence in said.sentences:
        for side, pattern in _impossible(said.ontology):
            for found in pattern.finditer(sentence.text):
                explanation = f'"{" ".join(found.group().split())}" names a place that lies on the {side}.'
                yield remark_at(sentence, found.span(), "LATERALITY", "hard", explanation)


def impossible_site(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A finding bound to a place where the ontology does not have it."""
    for m in said.mentions:
        if said.is_finding(m) and m.certainty != "absent" and m.sites and not _may_be_there(said, m):
            places = " and ".join(said.name(s) for s in m.sites)
            explanation = f"{upper(said.name(m.concept))} is placed at {places}, where it does not occur."
            yield remark_on(m, "SITE", "soft", explanation, *m.sites)


def _may_be_there(said: Said, m: ConceptMention) -> bool:
    """Whether any of its sites is one of the concept's, a part of one, or something that has one as a part."""
    allowed = said.ontology.ids(said.ontology[m.concept].site)
    if not allowed:
        return True
    return any(site in said.around(a) or a in said.around(site) for site in m.sites for a in allowed)


@lru_cache(maxsize=4)
def _impossible(ontology: Ontology) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """Each side with the pattern of the other, wrong one right before a place that only this side has."""
    patterns = []
    for side, wrong in (("left", "right"), ("right", "left")):
        names = {
            n for c in ontology.written if c.kind == "anatomy" and c.laterality == side for n in (c.name, *c.synonyms)
        }
        listed = "|".join(re.escape(name) for name in sorted(names, key=lambda n: (-len(n), n)))
        patterns.append((side, re.compile(rf"\b{wrong}(?:[- ]sided)?\s+(?:{listed})\b", re.I)))
    return tuple(patterns)
