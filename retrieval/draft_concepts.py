"""The concepts that a draft should think of: at most twelve, each with why it is here, and what is generally known.

Three things put a concept on the list: an expert that has not settled it as absent, the referrer's indication, and at
least two of the similar cases. Of these only what the experts leave open is taken (`agreement.py`), and an opposition
is called one. Its place is decided by how likely it is, by expert or by cases, times how urgent it would be. One step
through the ontology gives general knowledge, but never about a confident negative: that invites to invent it.

Facts about this study, knowledge, and other patients are kept apart: a side is the expert's or the indication's, never
that of a similar case.
"""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from retrieval.agreement import Settled
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.mentions import ConceptId, ConceptMention, Side
from retrieval.ontology.concept import Acuity, Kind
from retrieval.ontology.ontology import Ontology
from retrieval.record import Record
from retrieval.records import CaseId, RetrievedCase

Standing = Literal["likely", "possible", "disputed", "unlikely", "asked"]
"""Likely: an expert has settled it as present. Possible: an expert leaves it open, or only similar cases have it.
Disputed: expert and similar cases say opposite things. Unlikely: settled as absent, though the referrer asks. Asked:
only the referrer speaks of it."""
Relation = Literal["looks_like", "not_to_confuse", "caution", "is_a", "excludes"]
"""What a piece of general knowledge says of a concept."""
SEEN: Final[frozenset[Kind]] = frozenset({"finding", "diagnosis"})
"""Kinds that similar cases can suggest: hardware is in one patient or it is not."""


class DraftConceptSettings(Record):
    """What gets on the list, and where. The weights order, they are no probabilities; none is measured yet."""

    limit: int = Field(default=12, ge=1)
    """How many concepts at most: more crowds a prompt."""
    asked_cases: int = Field(default=10, ge=1)
    """How many similar cases are asked, the nearest."""
    min_cases: int = Field(default=2, ge=1)
    """A concept that only cases suggest needs so many of them: what one patient has alone says nothing of another."""
    indication: float = Field(default=0.3, ge=0, le=1)
    """How likely a concept counts that the referrer names and nothing else supports."""
    acuity: dict[Acuity, float] = Field(
        default={"critical": 2.0, "significant": 1.5, "conditional": 1.0, "incidental": 0.5}
    )
    """What likelihood is multiplied with: of two equally likely findings the more urgent one must not be cut off."""


SETTINGS: Final = DraftConceptSettings()
"""The settings used unless others are given."""


class DraftConcept(Record):
    """One concept that the draft should think of, and why."""

    concept: ConceptId
    """The concept."""
    slug: str
    """Its readable name."""
    standing: Standing
    """What is known of it in this study."""
    probability: float | None = None
    """The expert's calibrated probability; None when no expert scored it."""
    expert: str | None = None
    """Which expert scored it."""
    cases: tuple[CaseId, ...] = ()
    """Similar cases that state it or something narrower, nearest first."""
    of: int = 0
    """How many similar cases were asked."""
    indication: bool = False
    """Whether the referrer speaks of it."""
    site: ConceptId | None = None
    """The place that holds every site it can have; None where no one place does. Not where it usually is: that is
    knowledge about others."""
    side: Side | None = None
    """The patient's side, by expert or indication; None when neither gives one."""
    score: float = Field(ge=0)
    """Likelihood times urgency: what the list is ordered by."""


class Triple(Record):
    """One piece of general knowledge: true of the concept, and no evidence about this study."""

    subject: ConceptId
    """The concept it is about."""
    relation: Relation
    """What it says."""
    text: str
    """Names of other concepts by slug, or a sentence of the ontology."""


class DraftConcepts(Record):
    """What the draft should think of."""

    concepts: tuple[DraftConcept, ...] = ()
    """Most pressing first."""
    knowledge: tuple[Triple, ...] = ()
    """In the order of the concepts."""


def draft_concepts(
    cases: Sequence[RetrievedCase],
    experts: ExpertScores | None,
    indication: Sequence[ConceptMention],
    ontology: Ontology,
    settings: DraftConceptSettings = SETTINGS,
) -> DraftConcepts:
    """Choose the concepts from cases that may speak (`agreeing`), expert scores and mentions of the indication."""
    settled = Settled(ontology, experts)
    asked = cases[: settings.asked_cases]
    # 1. Seeds, each with what supports it.
    scores = {s.concept: s for s in experts.scores} if experts else {}
    stated = _stated_by(asked, settled, ontology)
    named: dict[ConceptId, Side | None] = {}
    for m in indication:
        if ontology[m.concept].kind in SEEN:
            # Asked about on both sides, in two ways: neither side is known.
            named[m.concept] = m.side if named.get(m.concept, m.side) == m.side else None
    seeds = {c for c, score in scores.items() if score.band != "absent"} | named.keys()
    seeds |= {
        c for c, ids in stated.items() if len(ids) >= settings.min_cases and not _said_closer(c, stated, ontology)
    }
    # 2. Each with its standing, the most pressing first.
    chosen = sorted(
        (_concept(c, scores.get(c), experts, stated.get(c, ()), len(asked), named, ontology, settings) for c in seeds),
        key=lambda c: (-c.score, c.concept),
    )[: settings.limit]
    # 3. One step through the ontology, for what may be there.
    listed = {c.concept for c in chosen if c.standing != "unlikely"}
    knowledge = [t for c in chosen if c.concept in listed for t in _knowledge(c.concept, listed, ontology)]
    return DraftConcepts(concepts=tuple(chosen), knowledge=tuple(knowledge))


def _stated_by(
    cases: Sequence[RetrievedCase], settled: Settled, ontology: Ontology
) -> dict[ConceptId, tuple[CaseId, ...]]:
    """For each concept the cases that state it or something narrower; the broadest concepts, which say nothing, not."""
    no_new = ontology["no_new"].id
    found: dict[ConceptId, dict[CaseId, None]] = {}
    for case in cases:
        for m in case.case.concepts.within(ontology).mentions if case.case.concepts else ():
            if m.certainty == "present" and m.change != no_new and ontology[m.concept].kind in SEEN:
                above = [b for b in ontology.ancestors(m.concept) if ontology[b].is_a or b in settled.bands]
                for c in (m.concept, *above):
                    found.setdefault(c, {})[case.case.case_id] = None
    # What the experts have settled is theirs; cases are kept beside it only to say that they see it too.
    return {c: tuple(ids) for c, ids in found.items() if c in settled.bands or settled.band(c) is None}


def _said_closer(concept: ConceptId, stated: dict[ConceptId, tuple[CaseId, ...]], ontology: Ontology) -> bool:
    """Whether something narrower is stated by the very same cases, and says more."""
    return any(
        narrower != concept and stated.get(narrower) == stated[concept] for narrower in ontology.descendants(concept)
    )


def _concept(
    concept: ConceptId,
    score: ExpertScore | None,
    experts: ExpertScores | None,
    cases: tuple[CaseId, ...],
    of: int,
    named: dict[ConceptId, Side | None],
    ontology: Ontology,
    settings: DraftConceptSettings,
) -> DraftConcept:
    known = ontology[concept]
    share = len(cases) / of if of else 0.0
    likely = max(score.probability if score else 0.0, share, settings.indication if concept in named else 0.0)
    return DraftConcept(
        concept=concept,
        slug=known.slug,
        standing=_standing(score, len(cases), of, settings),
        probability=score.probability if score else None,
        expert=experts.expert if experts and score else None,
        cases=cases,
        of=of,
        indication=concept in named,
        site=_place(ontology.ids(known.site), ontology),
        side=(score.side if score else None) or named.get(concept),
        score=likely * settings.acuity[known.acuity or "conditional"],
    )


def _place(sites: Sequence[ConceptId], ontology: Ontology) -> ConceptId | None:
    return next((place for place in sites if all(place in ontology.around(site) for site in sites)), None)


def _standing(score: ExpertScore | None, cases: int, of: int, settings: DraftConceptSettings) -> Standing:
    if score is None:
        return "possible" if cases else "asked"
    if score.band == "present":
        return "likely" if cases or of < settings.min_cases else "disputed"
    if score.band == "absent":
        return "disputed" if cases >= settings.min_cases else "unlikely"
    return "possible"


def _knowledge(concept: ConceptId, listed: set[ConceptId], ontology: Ontology) -> list[Triple]:
    """What the ontology says of a concept one step around it."""
    known = ontology[concept]
    said: list[tuple[Relation, str]] = [
        ("looks_like", known.appearance),
        ("not_to_confuse", ", ".join(known.confused_with)),
        ("caution", known.caution),
        ("is_a", ", ".join(known.is_a)),
        ("excludes", ", ".join(sorted(ontology[c].slug for c in listed if ontology.excludes(concept, c)))),
    ]
    return [Triple(subject=concept, relation=relation, text=text) for relation, text in said if text]
