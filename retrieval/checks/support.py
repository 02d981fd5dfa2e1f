"""A text against the retrieved cases: what nothing supports, and what the cited cases say the other way round."""

from collections.abc import Iterator
from typing import Final

from retrieval.checks.context import CheckContext, SimilarReport
from retrieval.checks.remark import Remark
from retrieval.checks.said import Said, remark_on, upper
from retrieval.mentions import Certainty, ConceptId, ConceptMention
from retrieval.records import CaseId

_MOST: Final = 0.5
"""Share of the cited cases above which they count as saying the opposite."""


def unsupported(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A finding that no classifier knows, no retrieved case has and nothing given mentions."""
    if context.cases is None:
        return
    known = {s.concept for s in (context.experts.scores if context.experts else ())}
    known |= {m.concept for case in context.cases for m in mentions_of(said, case) if m.certainty != "absent"}
    known |= {m.concept for m in said.extractor.read(context.history or "")}
    stated = [m for m in said.mentions if m.certainty == "present" and said.is_finding(m)]
    alone = {c for c in {m.concept for m in stated} if not any(said.related(c, k) for k in known)}
    for m in stated:
        if m.concept in alone:
            explanation = f"Nothing beside this text speaks of {said.name(m.concept)}: verify it on the image."
            yield remark_on(m, "UNSUPPORTED", "soft", explanation)


def negation(said: Said, context: CheckContext) -> Iterator[Remark]:
    """A statement whose cited cases mostly say the opposite."""
    if context.cases is None or context.supports is None:
        return
    cases: dict[CaseId, dict[ConceptId, set[Certainty]]] = {}
    for case in context.cases:
        told = cases.setdefault(case.case_id, {})
        for o in mentions_of(said, case):
            told.setdefault(o.concept, set()).add(o.certainty)
    for sentence in said.sentences:
        cited = [cases[i] for i in context.supports.get(sentence.number, ()) if i in cases]
        for m in sentence.mentions:
            opposite = {"present": "absent", "absent": "present"}.get(m.certainty)
            # A case that says both says not the opposite.
            against = [
                told for told in cited if opposite in (says := told.get(m.concept, ())) and m.certainty not in says
            ]
            if cited and len(against) > _MOST * len(cited):
                explanation = (
                    f"{upper(said.name(m.concept))} is {_how(m)} here, and {_how_cited(m)} in {len(against)} of the "
                    f"{len(cited)} cases cited for it."
                )
                yield remark_on(m, "NEGATION", "soft", explanation)


def mentions_of(said: Said, case: SimilarReport) -> tuple[ConceptMention, ...]:
    """What a case says; read here when nothing with this extractor has."""
    if case.concepts is not None and case.concepts.extractor == said.extractor.identity:
        return case.concepts.mentions
    return said.extractor.read_report(case.report).mentions


def _how(m: ConceptMention) -> str:
    return "denied" if m.certainty == "absent" else "stated"


def _how_cited(m: ConceptMention) -> str:
    return "stated" if m.certainty == "absent" else "denied"
