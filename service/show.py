"""Evidence and drafts for people at a terminal.

Abnormal and normal statements differ by a mark, and hard and soft flags by their sign, not by colour alone.
"""

from textwrap import shorten
from typing import Final

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from generation.draft import Draft, DraftEvent, Support
from retrieval.ontology.ontology import load
from retrieval.records import Leg, SimilarCases
from retrieval.terminal import plain
from service.check import SIGNS
from service.explain import asked, compared, places

NOT_A_REPORT = "DRAFT for a radiologist to edit and sign. Not a report, not for clinical use."
SHOWN = 600
"""Characters of a section shown; --json gives all of it."""
SIMILARITIES: Final[dict[Leg, str]] = {
    "image": "image, the cosine of image vectors",
    "concept": "concept, from 0 to 1 by weight of the findings shared",
    "text": "text, BM25 by weight of the words shared",
}
"""What the numbers of each leg are."""


def show_similar_cases(console: Console, found: SimilarCases) -> None:
    """Print the similar cases, or why there are none."""
    verdict, evidence = found.verdict, found.evidence
    _show_warnings(console, verdict.warnings)
    if not verdict.in_scope:
        console.print(plain(f"No search: {verdict.reason}. {_sentence(verdict.explanation)}"))
        return
    ontology = load()
    if evidence.concepts is not None and (line := asked(evidence.concepts, ontology)):
        console.print(plain(line))
    if not evidence.cases:
        console.print(plain(f"No similar case: {found.reason}. {_sentence(found.explanation)}"))
        return
    console.print(plain(f"{len(evidence.cases)} similar cases, snapshot {evidence.index_snapshot}"), style="bold")
    for retrieved in evidence.cases:
        case, report = retrieved.case, retrieved.case.report
        console.print(plain(f"{retrieved.rank:3}. {case.case_id}  {places(retrieved)}"))
        for line in compared(retrieved.comparison, ontology) if retrieved.comparison else ():
            console.print(Padding(plain(line), (0, 0, 0, 5)))
        for heading, said in (("findings", report.findings), ("impression", report.impression)):
            if said:
                console.print(Padding(plain(f"{heading}: {shorten(said, SHOWN, placeholder=' ...')}"), (0, 0, 0, 5)))
        console.print(Padding(plain(f"{case.source}, {case.licence}"), (0, 0, 0, 5)), style="dim")
    legs = [SIMILARITIES[leg] for leg in evidence.legs]
    told = "" if evidence.concepts is None else " + present, - absent."
    console.print(f"Similarity: {'; '.join(legs)}. Higher is nearer.{told} These cases belong to other patients.")


def show_event(console: Console, event: DraftEvent) -> None:
    """Print a sentence of a draft that is still being written, or that it was withdrawn."""
    mark = "!" if event.sentence.abnormal else " "
    text = f" {mark} {event.sentence.text}" if event.event == "sentence" else f" withdrawn: {event.sentence.text}"
    console.print(plain(text), style="dim", soft_wrap=True)


def show_draft(console: Console, draft: Draft) -> None:
    """Print a draft sentence by sentence with what each rests on, or why there is none."""
    _show_warnings(console, draft.warnings)
    if draft.fallback:
        console.print(plain(f"note: no language model wrote this ({draft.fallback}): it is made of similar cases"))
    if draft.status == "abstained":
        console.print(plain(f"No draft: {draft.reason}. {_sentence(draft.explanation)}"))
        _show_dropped(console, draft)
        return
    console.print(Text(NOT_A_REPORT, style="bold"))
    heading = ""
    for sentence in draft.sentences:
        if sentence.section != heading:
            heading = sentence.section
            console.print(heading.upper())
        mark = "!" if sentence.abnormal else " "
        console.print(Text(f" {mark} ") + plain(sentence.text))
        console.print(plain(f"     {_support(sentence.support)}"), style="dim")
        for flag in sentence.flags:
            console.print(plain(f"     {SIGNS[flag.severity]} {flag.code}: {flag.explanation}"))
    _show_dropped(console, draft)
    if any(sentence.flags for sentence in draft.sentences):
        console.print("Below a sentence, ! is worth a look and !! is wrong unless somebody explains it.")
    wrote = f", {draft.writing.language_model} by preset {draft.writing.preset.name}" if draft.writing else ""
    console.print(
        plain(f"! states something abnormal. Snapshot {draft.evidence.index_snapshot}, {draft.drafter}{wrote}")
    )


def _support(support: Support) -> str:
    """What a sentence rests on, in one line."""
    named = ", ".join(support.case_ids[:3]) + (", ..." if len(support.case_ids) > 3 else "")
    rests_on = [f"{len(support.case_ids)} of {support.of} similar cases" + (f": {named}" if named else "")]
    rests_on += [f"expert {expert}" for expert in support.experts]
    rests_on += ["an earlier study"] if support.prior else []
    return "; ".join(rests_on)


def _show_dropped(console: Console, draft: Draft) -> None:
    if draft.dropped:
        counts = ", ".join(f"{count} for {code}" for code, count in draft.dropped.items())
        console.print(plain(f"left out by the checks: {counts}"))


def _show_warnings(console: Console, warnings: tuple[str, ...]) -> None:
    for warning in warnings:
        console.print(plain(f"note: {warning}"), style="yellow")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""
