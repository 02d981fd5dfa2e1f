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
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load
from retrieval.records import Evidence, Report, RetrievedCase, SectionName, ViewPosition
from retrieval.sections import read_report
from retrieval.terminal import plain
from service.concepts import LONGEST, read_input
from service.wiring import open_desk

SIGNS = {"hard": "!!", "soft": "! "}
"""The mark of a remark."""
_GIVEN: Final[tuple[SectionName, ...]] = ("indication", "technique", "comparison")
CASES = 10
"""Similar cases that are asked for."""


def check_report(given: str, console: Console, context: CheckContext, *, as_json: bool) -> None:
    """Check a report, a file that holds one, or standard input, and print the remarks; raises as `read_input` does.

    `context` is what is known beside the report; what it leaves open is taken from the report's own sections.
    """
    report = read_report(read_input(given))
    checked = check(report, _completed(context, report), Extractor(load()))
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


def context_of(evidence: Path | None, *, has_prior: bool) -> CheckContext:
    """What was handed in beside the report.

    `evidence` is the JSON of `prelim draft`, of `prelim search`, or of a whole context. Raises RequestError for a file
    that is none of them.
    """
    context = CheckContext() if evidence is None else _read_evidence(evidence)
    return context.model_copy(update={"has_prior": True}) if has_prior else context


def with_similar_cases(
    context: CheckContext, images: Sequence[Path], index: str, view: ViewPosition | None
) -> CheckContext:
    """The context with the similar cases of a study; raises the errors of `open_desk` and `read_study`."""
    with open_desk(index) as desk:
        found = desk.drafter.similar_cases(desk.read(images, view=view, patient_key=None), limit=CASES)
    return context.model_copy(update={"cases": _similar(found.evidence.cases)}) if found.verdict.in_scope else context


def _completed(context: CheckContext, report: Report) -> CheckContext:
    """The context with what the report's own sections give where nothing was handed in."""
    given = {name: report.section(name) for name in _GIVEN}
    update: dict[str, object] = {}
    if context.has_prior is None:
        update["has_prior"] = earlier_study(given["comparison"])
    if context.history is None and any(given.values()):
        update["history"] = "\n".join(text for text in given.values() if text)
    return context.model_copy(update=update)


def _read_evidence(path: Path) -> CheckContext:
    try:
        if path.stat().st_size > LONGEST:
            raise RequestError(f"the evidence has more than {LONGEST} bytes", fix="give the JSON of one study")
        read = json.loads(path.read_bytes())
        if isinstance(read, dict) and "evidence" in read:
            return CheckContext(cases=_similar(Evidence.model_validate(read["evidence"]).cases))
        return CheckContext.model_validate(read)
    except (OSError, ValueError, ValidationError) as error:
        # Pydantic quotes its input, and the input is report text.
        raise RequestError(
            f"the evidence is not what draft or search writes ({type(error).__name__})",
            fix="give what `prelim draft --json` or `prelim search --json` wrote",
        ) from None


def _similar(cases: Sequence[RetrievedCase]) -> tuple[SimilarReport, ...]:
    return tuple(SimilarReport.of(retrieved.case) for retrieved in cases)


def _where(remark: Remark, report: Report) -> str:
    if remark.sentence is None:
        return "not in the text"
    words = " ".join(report.text[remark.start : remark.end].split())
    return f'sentence {remark.sentence + 1}, {remark.start}-{remark.end}: "{words}"'
