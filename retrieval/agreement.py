"""Which similar cases may speak: those near enough, whose reports do not go against what the experts have settled.

Two rules, both from what others measured. Dissimilar examples in a prompt always hurt (Zamaninejad et al.), so a case
must lie well above an arbitrary one, and few cases are never filled up with far ones. Filtering by agreement with
predicted labels is the cheap big gain of retrieval (LaB-RAG, arXiv 2411.16523: CheXbert F1 .409 to .504 by the filter
alone). And after RADAR (arXiv 2505.14318), what the experts have settled is not asked of other patients:
`supplementary` gives of a case only the rest.

The filter judges cases by what their reports state. It knows no image, no store and no draft.
"""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import Field

from retrieval.expert_scores import Band, ExpertScores
from retrieval.mentions import ConceptId, ConceptMention
from retrieval.ontology.ontology import Ontology
from retrieval.ranking.concept_sets import concepts_of_report
from retrieval.record import Record
from retrieval.records import CaseId, RetrievedCase

LeftOut = Literal["DISSIMILAR", "DISAGREES", "UNREAD"]
"""Why a case may not speak: too far away, against the experts, or nothing has read its report. Stable: audits store it.
"""


class AgreementSettings(Record):
    """How near and how much in agreement a case must be."""

    floor: float = Field(default=0.5, ge=0, le=1)
    """How far a case must lie on the way from an arbitrary case to the nearest one: 0 keeps all, 1 the nearest only."""
    usual: float = 0.0
    """Similarity of two arbitrary cases. Nothing for a whitened encoder; others have a base rate, often above .5."""
    min_agreement: float = Field(default=0.5, ge=0, le=1)
    """The least agreement with the experts. At .5 a case may lack one of two findings, but not the only one."""


SETTINGS: Final = AgreementSettings()
"""The settings used unless others are given."""


class Agreement(Record):
    """The cases that may speak, and why the others may not."""

    kept: tuple[RetrievedCase, ...] = ()
    """In the order given, with their ranks among all."""
    left_out: dict[CaseId, LeftOut] = Field(default_factory=dict)
    """The others."""
    agreement: dict[CaseId, float] = Field(default_factory=dict)
    """Of every case that was near enough and read: 0 to 1."""


class Settled:
    """What the experts' scores settle, for any concept of the ontology."""

    def __init__(self, ontology: Ontology, experts: ExpertScores | None) -> None:
        self.ontology = ontology
        """Whose concepts are meant."""
        self.bands = {s.concept: s.band for s in experts.scores} if experts else {}
        """Of the concepts that were scored."""

    def band(self, concept: ConceptId) -> Band | None:
        """The band of its own score; else present where something narrower is, absent where something broader is.

        None when the scores say nothing of it: a settled opacity leaves open which kind it is.
        """
        if concept in self.bands:
            return self.bands[concept]
        if any(band == "present" and self.ontology.is_a(c, concept) for c, band in self.bands.items()):
            return "present"
        if any(self.bands.get(c) == "absent" for c in self.ontology.ancestors(concept)):
            return "absent"
        return None

    def agreement(self, present: Sequence[ConceptId]) -> float:
        """Of the settled findings that the experts or the case have, the share that both have; 1 where neither has any.

        A report that does not speak of a finding counts as not having it, because reports name what is there.
        """
        settled = {c for c, band in self.bands.items() if band != "uncertain"}
        experts = {c for c in settled if self.bands[c] == "present"}
        case = {c for c in settled if any(self.ontology.is_a(p, c) for p in present)}
        return len(experts & case) / len(experts | case) if experts | case else 1.0


def agreeing(
    cases: Sequence[RetrievedCase],
    experts: ExpertScores | None,
    ontology: Ontology,
    settings: AgreementSettings = SETTINGS,
) -> Agreement:
    """The cases that may speak; without expert scores only nearness is asked for."""
    settled = Settled(ontology, experts)
    best: dict[str, float] = {}
    for case in cases:
        best[_leg(case)] = max(case.similarity, best.get(_leg(case), case.similarity))
    kept: list[RetrievedCase] = []
    left_out: dict[CaseId, LeftOut] = {}
    agreement: dict[CaseId, float] = {}
    for case in cases:
        case_id = case.case.case_id
        # Only images are compared in units of which an arbitrary case is known; the other legs begin at nothing.
        usual = settings.usual if _leg(case) == "image" else 0.0
        if case.similarity < usual + settings.floor * (best[_leg(case)] - usual) or case.similarity <= usual:
            left_out[case_id] = "DISSIMILAR"
        elif case.case.concepts is None:
            left_out[case_id] = "UNREAD"
        else:
            said = concepts_of_report(case.case.concepts.within(ontology), ontology).present
            agreement[case_id] = settled.agreement([c for c, degree in said.items() if degree == 1])
            if agreement[case_id] < settings.min_agreement:
                left_out[case_id] = "DISAGREES"
            else:
                kept.append(case)
    return Agreement(kept=tuple(kept), left_out=left_out, agreement=agreement)


def supplementary(case: RetrievedCase, settled: Settled) -> tuple[ConceptMention, ...]:
    """What a case says of concepts that the experts have not settled: all that may be taken from it (RADAR)."""
    mentions = case.case.concepts.within(settled.ontology).mentions if case.case.concepts else ()
    return tuple(m for m in mentions if settled.band(m.concept) in (None, "uncertain"))


def _leg(case: RetrievedCase) -> str:
    """Whose similarity the case carries; similarities compare within a leg only."""
    return case.found_by[0].leg if case.found_by else "image"
