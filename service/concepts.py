"""The command `prelim concepts`: what a text says, concept by concept, for people and as JSON.

Text in, mentions out; no index is needed. Marks differ by sign and not by colour alone: + present, - absent,
? uncertain.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retrieval.errors import RequestError
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import Certainty, ConceptId, ConceptMention, ReadConcepts
from retrieval.ontology.ontology import Ontology, load
from retrieval.records import Report
from retrieval.sections import read_report
from retrieval.terminal import plain

SIGNS: Final[dict[Certainty, tuple[str, str]]] = {
    "present": ("+", "bold"),
    "absent": ("-", "dim"),
    "uncertain": ("?", "italic"),
}
"""The mark and the style of a mention."""
LONGEST: Final = 16 * 2**20
"""Bytes read of a file; no report is longer."""


def read_input(given: str) -> str:
    """The text itself, the text of the file that it names, or standard input for "-".

    Raises RequestError for a file that is no text in UTF-8, is too long, or may not be read.
    """
    if given == "-":
        return sys.stdin.buffer.read(LONGEST).decode(errors="replace")
    try:
        path = Path(given)
        if len(given) > 1000 or not path.is_file():
            return given
        if path.stat().st_size > LONGEST:
            raise RequestError(f"the file has more than {LONGEST} bytes", fix="give one report")
        return path.read_bytes().decode()
    except (OSError, ValueError) as error:
        raise RequestError("the file cannot be read as text in UTF-8", fix="give a text file, or the text") from error


def concepts(given: str, console: Console, *, as_json: bool) -> None:
    """Read a report and print what it says; raises what `read_input` raises."""
    ontology = load()
    report = read_report(read_input(given))
    read = Extractor(ontology).read_report(report)
    if as_json:
        sys.stdout.write(json.dumps(as_facts(read, report, ontology), indent=2, ensure_ascii=False) + "\n")
        return
    console.print(highlighted(report.text, read.mentions))
    console.print()
    console.print(_table(read.mentions, report.text, ontology))
    console.print(plain("+ present  - absent  ? uncertain; findings and impression are read, other sections are not"))


def highlighted(text: str, mentions: Sequence[ConceptMention]) -> Text:
    """The text with every mention marked where it stands; where mentions overlap the first keeps its mark."""
    shown, at = Text(), 0
    for m in sorted(mentions, key=lambda m: (m.start, m.end)):
        if m.start < at:
            continue
        sign, style = SIGNS[m.certainty]
        shown.append(plain(text[at : m.start]).plain)
        shown.append(f"[{sign}", style="bold").append(plain(text[m.start : m.end]).plain, style=f"{style} underline")
        shown.append("]", style="bold")
        at = m.end
    return shown.append(plain(text[at:]).plain)


def as_facts(read: ReadConcepts, report: Report, ontology: Ontology) -> dict[str, Any]:
    """Everything that was read, with names beside ids."""

    def name(concept: ConceptId) -> dict[str, str]:
        return {"id": concept, "name": ontology[concept].name}

    rows = []
    for m in read.mentions:
        row: dict[str, Any] = m.model_dump(mode="json", exclude_none=True)
        row["words"] = report.text[m.start : m.end]
        row["concept"] = name(m.concept) | {"kind": ontology[m.concept].kind}
        for field in ("severity", "size", "change"):
            if field in row:
                row[field] = name(row[field])
        for field in ("sites", "modifiers"):
            row[field] = [name(concept) for concept in row[field]]
        rows.append(row)
    return {"extractor": read.extractor, "mentions": rows, "standalone": list(read.standalone)}


def _table(mentions: Sequence[ConceptMention], text: str, ontology: Ontology) -> Table:
    table = Table(box=None, pad_edge=False, title=None)
    for column in ("", "concept", "side", "where", "how", "change", "words"):
        table.add_column(column, overflow="fold")
    for m in mentions:
        degree = [ontology[c].name for c in (m.severity, m.size, *m.modifiers) if c]
        measured = [f"{m.measurement.value:g} {m.measurement.unit}"] if m.measurement else []
        table.add_row(
            SIGNS[m.certainty][0],
            ontology[m.concept].name,
            m.side or "",
            ", ".join(ontology[site].name for site in m.sites),
            ", ".join(degree + measured),
            ontology[m.change].name if m.change else "",
            plain(" ".join(text[m.start : m.end].split())),
        )
    return table
