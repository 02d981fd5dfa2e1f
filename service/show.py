"""Evidence and drafts for people at a terminal.

Abnormal and normal statements differ by a mark, not by colour alone.
"""

from textwrap import shorten

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from retrieval.records import Draft, SimilarCases
from retrieval.terminal import plain

NOT_A_REPORT = "DRAFT for a radiologist to edit and sign. Not a report, not for clinical use."
SHOWN = 600
"""Characters of a section shown; --json gives all of it."""


def show_similar_cases(console: Console, found: SimilarCases) -> None:
    """Print the similar cases, or why there are none."""
    verdict, evidence = found.verdict, found.evidence
    _show_warnings(console, verdict.warnings)
    if not verdict.in_scope:
        console.print(plain(f"No search: {verdict.reason}. {_sentence(verdict.explanation)}"))
        return
    if not evidence.cases:
        console.print("No similar case: the index holds nothing that may be compared with this study.")
        return
    console.print(plain(f"{len(evidence.cases)} similar cases, snapshot {evidence.index_snapshot}"), style="bold")
    for retrieved in evidence.cases:
        case, report = retrieved.case, retrieved.case.report
        console.print(plain(f"{retrieved.rank:3}. {case.case_id}  similarity {retrieved.similarity:.2f}"))
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
