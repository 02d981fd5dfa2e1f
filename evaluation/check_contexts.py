"""What a real call would know of an IU report, made from everything in the collection but the report's own findings.

The classifier is the hand-given coding: a finding coded for the report gets probability .95, one that is not .05, with
the sides that its qualifiers give. Left out, as undecided, is a finding whose code is shared with another, so that
nobody can say which was meant, and one that is kin to a coded finding (broader, narrower, easily confused, implied):
coders pick one of several codes for one thing, and a calibrated classifier scores such findings together.

Whether there was an earlier study stands in the report's comparison field. A quarter of the reports have none; of
these, one counts as having had an earlier study when its text names one outright or says what changed, as it is the
only witness; a report that says "None" is taken at its word.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from evaluation.coded_heads import fits, gold_of, heads_of, named
from evaluation.iu_reports import CodedReport, read_reports
from retrieval.checks.context import CheckContext, SimilarReport, earlier_study
from retrieval.checks.foreign import quantities
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.extraction.extractor import Extractor
from retrieval.extraction.priors import find_prior_references
from retrieval.mentions import ConceptId, ConceptMention, ReadConcepts, Side
from retrieval.ontology.ontology import Ontology
from retrieval.records import CaseId

PRESENT, ABSENT = 0.95, 0.05
NEAREST: Final = 10
_SEEN: Final = ("device", "postoperative")


class Known(NamedTuple):
    """A report of the collection with what is known beside it."""

    coded: CodedReport
    """The report and its coding."""
    read: ReadConcepts
    """What it says."""
    context: CheckContext
    """What a real call would know."""
    comparison: str
    """The collection's comparison field; empty when it has none."""


def known_reports(data: Path, extractor: Extractor) -> list[Known]:
    """Every coded report with its context; raises MissingData and InvalidManifest as `read_reports` does."""
    beside = _beside(data)
    reports = [r for r in read_reports(data) if r.coded is not None]
    read = [extractor.read_report(r.report) for r in reports]
    contexts = Contexts(extractor.ontology, reports)
    near = _nearest(extractor.ontology, reports, read)
    cases = [
        SimilarReport(case_id=CaseId(r.report_id), report=r.report, concepts=c)
        for r, c in zip(reports, read, strict=True)
    ]
    known = []
    for r, c, nearest in zip(reports, read, near, strict=True):
        indication, comparison, exam = beside[r.report_id]
        context = contexts.of(r, c.mentions, indication, comparison, exam)
        context = context.model_copy(update={"cases": tuple(cases[i] for i in nearest)})
        known.append(Known(r, c, context, comparison))
    return known


class Contexts:
    """Turns coding into what a call would know."""

    def __init__(self, ontology: Ontology, reports: Sequence[CodedReport]) -> None:
        """Only heads that at least one report carries can be told absent."""
        self.ontology = ontology
        self.heads = heads_of(ontology, "iu_mesh")
        self.known = named(self.heads)
        used = {h for r in reports for h in gold_of(r.coded or (), self.known).heads}
        own = {c.id for c in ontology.written if used.intersection(c.labels.iu_mesh)}
        self.scored = tuple(c for c in own if ontology[c].kind in ("finding", "diagnosis"))
        self.kin = _kin(ontology, self.scored)
        """Findings that are kin to each scored one: broader, narrower, easily confused, implied."""

    def of(
        self, coded: CodedReport, mentions: Sequence[ConceptMention], indication: str, comparison: str, exam: str
    ) -> CheckContext:
        """What a real call would know of one report, without similar cases."""
        text = coded.report.text
        references = find_prior_references(f"{coded.findings}\n\n{coded.impression}")
        told = earlier_study(comparison)
        has_prior = bool(references) if told is None else told
        seen = {m.concept for m in mentions if m.certainty != "absent" and self.ontology[m.concept].kind in _SEEN}
        return CheckContext(
            has_prior=has_prior,
            history="\n".join((indication, comparison, exam)),
            devices=frozenset(seen | self.coded_devices(coded)),
            measurements=tuple(q for q, _, _ in quantities(text)),
            experts=self.experts(coded),
        )

    def coded_devices(self, coded: CodedReport) -> frozenset[ConceptId]:
        """Devices and operations that the coding names."""
        gold = gold_of(coded.coded or (), self.known)
        return frozenset(
            c.id for c in self.ontology.written if c.kind in _SEEN and gold.heads.intersection(c.labels.iu_mesh)
        )

    def experts(self, coded: CodedReport) -> ExpertScores:
        """The coding as the answer of a classifier."""
        return self._experts(coded, self.kin)

    def strict_experts(self, coded: CodedReport) -> ExpertScores:
        """As `experts`, but what is kin to a coded finding and not coded counts as absent."""
        return self._experts(coded, {})

    def _experts(self, coded: CodedReport, kin: Mapping[ConceptId, Collection[ConceptId]]) -> ExpertScores:
        terms = coded.coded or ()
        gold = gold_of(terms, self.known)
        every = gold.heads | gold.broader
        coded_as = {c for c in self.scored if gold.heads.intersection(self.heads[c])}
        scores = []
        for concept in self.scored:
            heads = gold.heads.intersection(self.heads[concept])
            if heads and self._alone(concept, heads, coded_as):
                scores.append(_score(concept, PRESENT, _side(terms, heads)))
            elif not every.intersection(self.heads[concept]) and coded_as.isdisjoint(kin.get(concept, ())):
                scores.append(_score(concept, ABSENT, None))
        return ExpertScores(expert="coding", scores=tuple(sorted(scores, key=lambda s: s.concept)))

    def _alone(self, concept: ConceptId, heads: Collection[str], coded_as: Collection[ConceptId]) -> bool:
        """Whether no other finding, but a narrower one, could have been coded by the same head."""
        narrower = self.ontology.descendants(concept)
        return any(all(o in narrower for o in coded_as if head in self.heads[o]) for head in heads)


def _score(concept: ConceptId, p: float, side: Side | None) -> ExpertScore:
    return ExpertScore(concept=concept, probability=p, absent_below=0.2, present_above=0.6, side=side)


def _side(terms: Sequence[str], heads: Collection[str]) -> Side | None:
    """The sides that the coded terms of some heads give, taken together; None when one of them gives none."""
    sides: set[str] = set()
    for term in terms:
        if any(fits(head, term) for head in heads):
            given = {"left", "right", "bilateral"}.intersection(p.strip().lower() for p in term.split("/"))
            if not given:
                return None
            sides |= given
    return None if not sides else "left" if sides == {"left"} else "right" if sides == {"right"} else "bilateral"


def _kin(ontology: Ontology, scored: Sequence[ConceptId]) -> dict[ConceptId, frozenset[ConceptId]]:
    kin: dict[ConceptId, set[ConceptId]] = {c: {*ontology.ancestors(c), *ontology.descendants(c)} - {c} for c in scored}
    for concept in ontology.written:
        for other in ontology.ids((*concept.confused_with, *concept.implies)):
            for one, two in ((concept.id, other), (other, concept.id)):
                if one in kin:
                    kin[one].add(two)
    return {c: frozenset(others) for c, others in kin.items()}


def _beside(data: Path) -> Mapping[str, tuple[str, str, str]]:
    """Indication, comparison and examination of each report."""
    rows = [json.loads(line) for line in (data / "radiographs" / "reports_iu.jsonl").read_bytes().splitlines()]
    fields = ("indication", "comparison", "exam")
    return {str(r["report_id"]): tuple(str(r[f] or "").strip() for f in fields) for r in rows}  # type: ignore[misc]


def _nearest(ontology: Ontology, reports: Sequence[CodedReport], read: Sequence[ReadConcepts]) -> list[list[int]]:
    """For each report the most similar ones of other folds by what they state: the hardest to tell a copy from."""
    number = {c.id: i for i, c in enumerate(ontology)}
    said = np.zeros((len(reports), len(number)), dtype=np.float32)
    for row, concepts in enumerate(read):
        for m in concepts.mentions:
            if m.certainty != "absent":
                said[row, number[m.concept]] = 1
    sizes = said.sum(axis=1)
    folds = np.array([r.fold for r in reports])
    near = []
    for i in range(len(reports)):
        both = said @ said[i]
        similarity = both / np.maximum(sizes + sizes[i] - both, 1)
        similarity[folds == folds[i]] = -1
        near.append([int(j) for j in np.argsort(-similarity, kind="stable")[:NEAREST]])
    return near
