"""Evidence and drafts for people at a terminal.

Text of reports is data: it is printed without markup and without control characters, so that nothing in a report can
move the cursor or colour the screen. Abnormal and normal statements differ by a mark, not by colour alone.
"""

import re
from textwrap import shorten

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from retrieval.records import Draft, Evidence, GateVerdict

NOT_A_REPORT = "DRAFT for a radiologist to edit and sign. Not a report, not for clinical use."
SHOWN = 600
"""Characters of a section shown; --json gives all of it."""
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def plain(text: str) -> Text:
    """Text of a report or file, safe to print."""
    return Text(_CONTROL.sub("", text))


def show_evidence(console: Console, verdict: GateVerdict, evidence: Evidence) -> None:
    """Print the similar cases, or why there are none."""
    _show_warnings(console, verdict.warnings)
    if not verdict.in_scope:
        console.print(plain(f"No search: {verdict.reason}. {_sentence(verdict.explanation)}"))
        return
    if not evidence.cases:
        console.print("No similar case: the index holds nothing that may be compared with this study.")
        return
    console.print(plain(f"{len(evidence.cases)} similar cases, snapshot {evidence.index_snapshot}"), style="bold")
    for found in evidence.cases:
        case, report = found.case, found.case.report
        console.print(plain(f"{found.rank:3}. {case.case_id}  similarity {found.similarity:.2f}"))
        for heading, said in (("findings", report.findings), ("impression", report.impression)):
            if said:
                console.print(Padding(plain(f"{heading}: {shorten(said, SHOWN, placeholder=' ...')}"), (0, 0, 0, 5)))
        console.print(Padding(plain(f"{case.source}, {case.licence}"), (0, 0, 0, 5)), style="dim")
    console.print("Similarity is the cosine of image vectors: higher is nearer. These cases belong to other patients.")


def show_draft(console: Console, draft: Draft) -> None:
    """Print a draft sentence by sentence with what each rests on, or why there is none."""
    _show_warnings(console, draft.warnings)
    if draft.status == "abstained":
        console.print(plain(f"No draft: {draft.reason}. {_sentence(draft.explanation)}"))
        return
    console.print(Text(NOT_A_REPORT, style="bold"))
    console.print("FINDINGS")
    for sentence in draft.sentences:
        mark = "!" if sentence.abnormal else " "
        support = sentence.support
        named = ", ".join(support.case_ids[:3]) + (", ..." if len(support.case_ids) > 3 else "")
        console.print(Text(f" {mark} ") + plain(sentence.text))
        console.print(plain(f"     {len(support.case_ids)} of {support.of} similar cases: {named}"), style="dim")
        for flag in sentence.flags:
            console.print(plain(f"     {flag.code}: {flag.explanation}"))
    console.print(plain(f"! states something abnormal. Snapshot {draft.evidence.index_snapshot}, {draft.drafter}"))


def _show_warnings(console: Console, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        console.print(plain(f"note: {warning}"), style="yellow")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""
