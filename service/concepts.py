"""The command `prelim concepts`: what a text says, concept by concept, for people and as JSON.

Text in, mentions out; no index is needed. Marks differ by sign and not by colour alone: + present, - absent,
? uncertain.
"""

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from retrieval.errors import RequestError
from retrieval.extraction.extractor import READ_SECTIONS, Extractor
from retrieval.mentions import Certainty, ConceptId, ConceptMention, ReadConcepts
from retrieval.ontology.ontology import Ontology, load
from retrieval.records import Report, SectionName
from retrieval.sections import read_report
from retrieval.terminal import plain

SIGNS: Final[dict[Certainty, tuple[str, str]]] = {
    "present": ("+", "bold"),
    "absent": ("-", "dim"),
    "uncertain": ("?", "italic"),
}
"""The mark and the style of a mention."""
LONGEST: Final = 200_000
"""Characters of one report; more is refused, not cut."""
_BYTES: Final = 4 * LONGEST
"""What so many characters take at most in UTF-8."""
_FILE: Final = re.compile(r"\S*/\S*|\S+\.(?:txt|text|md|json|jsonl|rpt)", re.I)
"""One word that can only be meant as a file."""
_GIVE: Final = "give a text file, the text itself, or - for standard input"


def read_input(given: str) -> str:
    """The text itself, the text of the file that it names, or standard input for "-".

    Raises RequestError for what is empty, too long or no text in UTF-8, and for a file that is not there, is none or
    may not be read.
    """
    try:
        text = _bytes(given).decode()
    except (OSError, ValueError):
        # The error would quote the text.
        raise RequestError("the report cannot be read as text in UTF-8", fix=_GIVE) from None
    if len(text) > LONGEST:
        raise RequestError(f"the report has more than {LONGEST} characters", fix="give one report")
    if not text.strip():
        raise RequestError("the report is empty", fix=_GIVE)
    return text


def read_given(given: str, sections: Sequence[SectionName] = READ_SECTIONS) -> Report:
    """The report that is given; raises as `read_input` does, and RequestError where nothing in it is read."""
    report = read_report(read_input(given))
    read = (s.text for s in report.sections if s.name in READ_SECTIONS and s.name in sections)
    if not any(character.isalnum() for text in read for character in text):
        raise RequestError("no findings or impression to read", fix="give a report with one of the two sections")
    return report


def _bytes(given: str) -> bytes:
    """What is given; of a longer file or stream so much that its length shows. Raises OSError and ValueError."""
    if given == "-":
        return _whole(sys.stdin.buffer.read(_BYTES + 1))
    # Unlike Path.is_file before Python 3.12, these take a text that is too long for a name.
    if os.path.isfile(given):  # noqa: PTH113
        with Path(given).open("rb") as file:
            return _whole(file.read(_BYTES + 1))
    if os.path.exists(given):  # noqa: PTH110
        raise RequestError("that is a folder or no regular file", fix=_GIVE)
    if _FILE.fullmatch(given):
        raise RequestError("there is no such file", fix=_GIVE)
    return given.encode()


def _whole(data: bytes) -> bytes:
    if len(data) > _BYTES:
        raise RequestError(f"the report has more than {LONGEST} characters", fix="give one report")
    return data


def concepts(given: str, console: Console, *, as_json: bool) -> None:
    """Read a report and print what it says; raises what `read_given` raises."""
    report = read_given(given)
    ontology = load()
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
