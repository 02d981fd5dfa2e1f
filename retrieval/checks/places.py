"""Sides and sites: a side that the classifier or the other section contradicts, and places where a finding cannot be.

Sides are compared only where both are explicit and opposite, and on mentions of one finding: many reports rightly name
both sides, and a rule that compares whole reports is wrong two times in three.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from retrieval.checks.context import CheckContext
from retrieval.checks.remark import Remark
from retrieval.checks.said import Said, opposite, remark_at, remark_on, upper
from retrieval.mentions import ConceptId, ConceptMention
from retrieval.ontology.ontology import Ontology

_REGIONS: Final = {
    "lungs": ("lung", "pleura", "airway", "diaphragm", "cardiophrenic_angle"),
    "middle": ("mediastinum", "hilum", "perihilar_region", "airway", "pulmonary_vessel"),
    "abdomen": ("abdomen", "diaphragm"),
    "bones": ("bone", "shoulder", "spine", "intervertebral_disc", "sternoclavicular_joint"),
    "surface": ("chest_wall", "soft_tissue", "breast", "axilla", "neck"),
}
"""Regions by the places that make them up; what lies where two of them meet is in both."""
_NEAR: Final[dict[str, tuple[str, ...]]] = {
    "lungs": ("middle", "surface"), "middle": (), "abdomen": (), "bones": (), "surface": ("lungs", "bones"),
}  # fmt: skip
"""What else a finding of a region is placed at without anybody wondering: an opacity behind the heart."""
_PROJECTED: Final = re.compile(
    r"\b(?:over\w*|project\w*|adjacent|near|level|along|behind|above|below|beneath|under|abut\w*|next to)\b",
    re.I,
)
"""Words by which a place is where something is seen, not what it is in."""


def side_against_expert(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A finding on the left that the classifier located on the right, or the other way round."""
    located = [s for s in (context.experts.scores if context.experts else ()) if s.band == "present" and s.side]
    sided = said.few([m for m in said.mentions if m.certainty != "absent" and m.side])
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
    sided = said.few(
        [m for m in said.mentions if m.certainty != "absent" and m.side and said.ontology[m.concept].kind != "view"]
    )
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
    """Whether any of its sites lies in a region where the concept can be; "thorax" and "bone" are everywhere."""
    regions = {r for site in said.ontology.ids(said.ontology[m.concept].site) for r in _regions(said, site)}
    if not regions or said.has(_PROJECTED, m):
        return True
    near = regions | {r for region in regions for r in _NEAR[region]}
    return any(not _regions(said, site) or _regions(said, site) & near for site in m.sites)


def _regions(said: Said, site: ConceptId) -> set[str]:
    around = {said.ontology[c].slug for c in said.ontology.around(site)}
    return {region for region, slugs in _REGIONS.items() if around.intersection(slugs)}


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
