"""The command `prelim check`: a second look at a report, for people and as JSON.

What the report itself gives is used: its comparison section says whether there was an earlier study, its indication and
technique what was known. Similar cases are evidence where a file or an index gives them. A hard remark is marked !!, a
soft one !, so that they differ by sign and not by colour alone; what could not be checked is named.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from rich.console import Console
from rich.padding import Padding

from retrieval.checks.check import check
from retrieval.checks.context import CheckContext, SimilarReport, earlier_study
from retrieval.checks.remark import Checked, Remark
from retrieval.errors import RequestError
from retrieval.extraction.extractor import embedded
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import load
from retrieval.records import Evidence, PatientKey, Report, RetrievedCase, SectionName, ViewPosition
from retrieval.sections import read_report
from retrieval.terminal import plain
from service.concepts import read_given
from service.request import CheckRequest
from service.wiring import open_desk

SIGNS = {"hard": "!!", "soft": "! "}
"""The mark of a remark."""
_GIVEN: Final[tuple[SectionName, ...]] = ("indication", "technique", "comparison")
LARGEST: Final = 16 * 2**20
"""Bytes of evidence that are read."""
CASES = 10
"""Similar cases that are asked for."""


def looked_at(asked: CheckRequest) -> Checked:
    """The remarks on a report that a face was given; raises RequestError for concepts that are none."""
    report = read_report(asked.report)
    return check(report, completed(of_known_concepts(asked.context), report), embedded())


def check_report(given: str, console: Console, context: CheckContext, *, as_json: bool) -> None:
    """Check a report, a file that holds one, or standard input, and print the remarks; raises as `read_given` does.

    `context` is what is known beside the report; what it leaves open is taken from the report's own sections.
    """
    report = read_given(given, context.sections)
    checked = check(report, completed(context, report), embedded())
    if as_json:
        sys.stdout.write(checked.model_dump_json(indent=2) + "\n")
    else:
        show_remarks(console, checked, report)


def show_remarks(console: Console, checked: Checked, report: Report) -> None:
    """Print remarks in the order of the text, and what was not checked."""
    for remark in checked.remarks:
        console.print(plain(f"{SIGNS[remark.severity]} {remark.code}  {_where(remark, report)}"), soft_wrap=True)
        console.print(Padding(plain(remark.explanation), (0, 0, 0, 3)))
    hard, every = len(checked.hard), len(checked.remarks)
    console.print(f"{hard} hard (!!) and {every - hard} soft (!) remarks; findings and impression are checked")
    lacking = dict.fromkeys(name for rule in checked.not_run for name in rule.lacks)
    if lacking:
        codes = ", ".join(dict.fromkeys(rule.code for rule in checked.not_run))
        console.print(f"not checked in full: {codes}; not known: {', '.join(lacking)}")
    if checked.crowded:
        console.print("not all compared with each other: this text says more than a report; check its parts")


def context_of(evidence: Path | None, *, has_prior: bool | None = None) -> CheckContext:
    """What was handed in beside the report; None where nothing was said of an earlier study.

    `evidence` is the JSON of `prelim draft`, of `prelim search`, or of a whole context. Raises RequestError for a file
    that is none of them.
    """
    context = CheckContext() if evidence is None else _read_evidence(evidence)
    return context.model_copy(update={"has_prior": has_prior}) if has_prior is not None else context


def with_similar_cases(
    context: CheckContext,
    images: Sequence[Path],
    index: str,
    notes: Console,
    *,
    view: ViewPosition | None = None,
    patient_key: PatientKey | None = None,
) -> CheckContext:
    """The context with the similar cases of a study; what the gate warns of, or why there are none, goes to `notes`.

    Raises RequestError where the context has cases already, and the errors of `open_desk` and `read_study`.
    """
    if context.cases is not None:
        raise RequestError("similar cases are given twice, by --evidence and by --images", fix="give one of the two")
    with open_desk(index) as desk:
        found = desk.drafter.similar_cases(desk.read(images, view=view, patient_key=patient_key), limit=CASES)
    verdict, cases = found.verdict, found.evidence.cases
    for warning in verdict.warnings:
        notes.print(plain(f"note: {warning}"), soft_wrap=True)
    if verdict.in_scope and cases:
        return context.model_copy(update={"cases": _similar(cases)})
    why = (verdict.reason, verdict.explanation) if not verdict.in_scope else (found.reason, found.explanation)
    notes.print(plain(f"note: no similar cases as evidence: {why[0]}. {why[1]}"), soft_wrap=True)
    return context


def completed(context: CheckContext, report: Report) -> CheckContext:
    """The context with what the report's own sections give where nothing was handed in."""
    given = {name: report.section(name) for name in _GIVEN}
    update: dict[str, object] = {}
    if context.has_prior is None:
        update["has_prior"] = earlier_study(given["comparison"])
    # A comparison alone tells nothing of what was known of the patient.
    if context.history is None and (given["indication"] or given["technique"]):
        update["history"] = "\n".join(text for text in given.values() if text)
    return context.model_copy(update=update)


def _read_evidence(path: Path) -> CheckContext:
    try:
        if path.stat().st_size > LARGEST:
            raise RequestError(f"the evidence has more than {LARGEST} bytes", fix="give the JSON of one study")
        read = json.loads(path.read_bytes())
        if isinstance(read, dict) and "evidence" in read:
            context = CheckContext(cases=_similar(Evidence.model_validate(read["evidence"]).cases))
        else:
            context = CheckContext.model_validate(read)
    except (OSError, ValueError, ValidationError, RecursionError) as error:
        # Pydantic quotes its input, and the input is report text.
        raise RequestError(
            f"the evidence is not what draft or search writes ({type(error).__name__})",
            fix="give what `prelim draft --json` or `prelim search --json` wrote",
        ) from None
    return of_known_concepts(context)


def of_known_concepts(context: CheckContext) -> CheckContext:
    """The context, its cases to be read anew where they hold unknown concepts; raises RequestError for other ones."""
    known = {concept.id for concept in load()}
    named = {*(context.devices or ()), *(context.compared or ())}
    named |= {s.concept for s in (context.experts.scores if context.experts else ())}
    if not named <= known:
        raise RequestError(
            f"the context names {len(named - known)} concepts that the ontology does not have",
            fix="give identifiers as `prelim concepts --json` writes them",
        )
    cases = context.cases and tuple(
        case if _ids(case) <= known else case.model_copy(update={"concepts": None}) for case in context.cases
    )
    return context.model_copy(update={"cases": cases})


def _ids(case: SimilarReport) -> set[ConceptId]:
    mentions = case.concepts.mentions if case.concepts else ()
    attributes = {c for m in mentions for c in (m.severity, m.size, m.change) if c}
    return attributes | {c for m in mentions for c in (m.concept, *m.sites, *m.modifiers)}


def _similar(cases: Sequence[RetrievedCase]) -> tuple[SimilarReport, ...]:
    return tuple(SimilarReport.of(retrieved.case) for retrieved in cases)


def _where(remark: Remark, report: Report) -> str:
    if remark.sentence is None:
        return "not in the text"
    words = " ".join(report.text[remark.start : remark.end].split())
    return f'sentence {remark.sentence + 1}, {remark.start}-{remark.end}: "{words}"'
