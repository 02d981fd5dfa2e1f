"""Report text in, sections out: where a written report says why, how, compared with what, what was seen, what it means.

A heading is one of a closed vocabulary, because a report is full of phrases before a colon that are none ("Lungs:",
"4 views of the left knee:"); those stay inside the section they are written in. A phrase of the vocabulary is a heading

1. at the start of a line, before a colon, in any case ("findings:", "Findings :"),
2. alone on a line, when it starts with a capital, since a wrapped sentence can leave "findings" alone on a line,
3. within a line, before a colon, after the end of a sentence ("... cough. Findings: ..."),
4. within a line, before a colon, capitalised and not in `_WORDS_OF_PROSE` ("INDICATION: cough FINDINGS: ...").

So "the findings are" and "impression of a nodule" are text. The vocabulary follows what reports use (the section names
of MIMIC-CXR, Johnson et al., Scientific Data 6:317, 2019, and of the Indiana collection, Demner-Fushman et al., JAMIA
23:304, 2016). Where it had to choose:

* "FINDINGS AND IMPRESSION" is findings: drafts are made from findings, and an observation filed as impression is lost.
* The examination performed is technique; the history is indication.
* A wet read was superseded, a recommendation or a notification was not seen on an image, and a signature is a name:
  all are `other`, as is text before the first heading. An addendum is `other` too; it may speak of any section.
* A report in which no section but `other` is headed is findings, except what stands under a heading of its own such as
  ADDENDUM. MIMIC-CXR's own tools take the last paragraph as the impression instead; that would call most one-paragraph
  readings an impression and leave nothing to draft from, so it is not done here.

Known limit: a reading written without heading below a headed section ("COMPARISON: None.", blank line, reading) stays
in that section. Nothing is guessed from blank lines, which also separate the paragraphs of one section.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from retrieval.records import Report, Section, SectionName

_VOCABULARY: dict[SectionName, str] = {
    "indication": """indication, indications, clinical indication, clinical indications, history, clinical history,
        patient history, medical history, clinical information, clinical data, clinical details, clinical statement,
        clinical question, clinical notes, reason, reason for exam, reason for examination, reason for this exam,
        reason for this examination, reason for study, reason for the study, reason for visit, presenting complaint""",
    "technique": """technique, techniques, procedure, procedures, procedure comments, exam, examination, examinations,
        type of exam, type of examination, study, views, number of views""",
    "comparison": """comparison, comparisons, comparison(s), comparison exam, comparison study, comparison studies,
        comparison film, comparison films, comparison date, compared to, prior, priors, prior study, prior studies,
        prior exam, prior exams, reference exam""",
    "findings": """finding, findings, finding(s), other findings, additional findings, incidental findings,
        chest findings, observations, description, result, results, report""",
    "impression": """impression, impressions, impression(s), conclusion, conclusions, opinion, summary, diagnosis,
        interpretation, assessment""",
    "other": """addendum, addenda, recommendation, recommendations, recommendation(s), notification, notifications,
        notification(s), wet read, wetread, comment, comments, other information, dictated by, transcribed by,
        signed by, electronically signed by, signature, final report, preliminary report, radiology report""",
}
# Also said before a colon inside sentences ("lateral views:", "smoking history:"), so rule 4 does not apply to them.
_PROSE = """history, medical history, reason, procedure, procedures, exam, examination, examinations, study, views,
    prior, priors, prior study, prior studies, prior exam, prior exams, compared to, finding, observations, description,
    result, results, report, opinion, summary, diagnosis, interpretation, assessment, comment, comments, signature"""


def _phrases(listed: str) -> frozenset[str]:
    return frozenset(" ".join(phrase.split()) for phrase in listed.split(","))


_NAME_OF: dict[str, SectionName] = {phrase: name for name, listed in _VOCABULARY.items() for phrase in _phrases(listed)}
_WORDS_OF_PROSE = _phrases(_PROSE)
_TITLES = _phrases("final report, preliminary report, radiology report")
_LONGEST_WORDS = 7
_LONGEST_CHARACTERS = 80
_COLON = re.compile(r"(?<=[A-Za-z)])[ \t]{0,3}:")
_STOP = re.compile(r"[.;:,!?|]")
_WORD = re.compile(r"\S+")
_JOINED = re.compile(r"\s*[/&+]\s*")


class _Heading(NamedTuple):
    """A heading and the name of the section below it."""

    name: SectionName
    title: bool
    start: int
    """First character of the phrase."""
    end: int
    """One past its last character, before any colon."""
    body: int
    """First character after it and its colon."""


def read_report(text: str) -> Report:
    """Find the sections of a report as written.

    Total and lossless: any string is read, in time linear in its length, and the sections tile it (the first starts at
    0, each starts where the one before ends, the last ends at len(text)). White space before the first heading belongs
    to that heading's section. Empty text has no sections.
    """
    if not text:
        return Report(text=text)
    headings = list(_headings(text))
    # Titles do not count here: "FINAL REPORT" above one paragraph heads nothing in particular.
    unheaded: SectionName = "other" if any(h.name != "other" for h in headings) else "findings"
    first = headings[0].start if headings else len(text)
    sections = []
    if not headings or text[:first].strip():
        sections.append(Section(name=unheaded, heading="", text=text[:first].strip(), start=0, end=first))
    for i, h in enumerate(headings):
        start = h.start if sections else 0
        end = headings[i + 1].start if i + 1 < len(headings) else len(text)
        sections.append(
            Section(
                name=unheaded if h.title else h.name,
                heading=text[h.start : h.end],
                text=text[h.body : end].strip(),
                start=start,
                end=end,
            )
        )
    return Report(text=text, sections=tuple(sections))


def compose_report(
    *,
    indication: str = "",
    technique: str = "",
    comparison: str = "",
    findings: str = "",
    impression: str = "",
    other: str = "",
) -> Report:
    """Make a report of sections that a source keeps apart, so that all reports have one shape.

    Sections keep exactly the names they are given, even when their text holds a heading. Only white space around each
    is taken off; empty ones are left out. `read_report` of the text finds the same sections unless one holds a heading.
    """
    given: tuple[tuple[SectionName, str, str], ...] = (
        ("indication", "INDICATION", indication),
        ("technique", "TECHNIQUE", technique),
        ("comparison", "COMPARISON", comparison),
        ("findings", "FINDINGS", findings),
        ("impression", "IMPRESSION", impression),
        ("other", "OTHER INFORMATION", other),
    )
    written = [(name, heading, text.strip()) for name, heading, text in given if text.strip()]
    parts: list[str] = []
    sections: list[Section] = []
    start = 0
    for i, (name, heading, text) in enumerate(written):
        parts.append(f"{heading}: {text}" + ("\n\n" if i + 1 < len(written) else ""))
        end = start + len(parts[-1])
        sections.append(Section(name=name, heading=heading, text=text, start=start, end=end))
        start = end
    return Report(text="".join(parts), sections=tuple(sections))


def _headings(text: str) -> Iterator[_Heading]:
    start = 0
    for line in text.splitlines(keepends=True):
        yield from _headings_of_line(line, start)
        start += len(line)


def _headings_of_line(line: str, offset: int) -> Iterator[_Heading]:
    """The headings of one line, which starts at `offset` in the report."""
    alone = line.strip()
    if not alone:
        return
    indent = len(line) - len(line.lstrip())
    if len(alone) <= _LONGEST_CHARACTERS and alone[0].isupper() and (known := _meaning(alone)):
        name, title = known
        end = offset + indent + len(alone)
        yield _Heading(name, title, offset + indent, end, end)
        return
    for colon in _COLON.finditer(line):
        # Bounded look-back: a megabyte on one line costs the same per colon as a short line.
        window = max(indent, colon.start() - _LONGEST_CHARACTERS)
        clause = colon.start() - len(_STOP.split(line[window : colon.start()])[-1])
        words = [m.start() for m in _WORD.finditer(line, clause, colon.start())]
        if clause == window > indent and not line[window - 1].isspace():
            words = words[1:]  # it may be the tail of a longer word
        for word in words[-_LONGEST_WORDS:]:  # longest phrase first
            phrase = line[word : colon.start()]
            known = _meaning(phrase)
            if known and (word == indent or _heads_within_a_line(phrase, line[max(indent, word - 8) : word])):
                name, title = known
                yield _Heading(name, title, offset + word, offset + colon.start(), offset + colon.end())
                break


def _heads_within_a_line(phrase: str, before: str) -> bool:
    """Rules 3 and 4: `before` is the few characters that stand in front of the phrase."""
    if before.rstrip().endswith((".", "!", "?", ";")):
        return True
    return phrase[0].isupper() and " ".join(phrase.casefold().split()) not in _WORDS_OF_PROSE


def _meaning(phrase: str) -> tuple[SectionName, bool] | None:
    """Which section a phrase heads and whether it is a title; None for a phrase that heads nothing."""
    words = " ".join(phrase.casefold().split())
    if words in _NAME_OF:
        return _NAME_OF[words], words in _TITLES
    parts = _JOINED.sub(" and ", words).split(" and ")
    names = [_NAME_OF[part] for part in parts if part in _NAME_OF]
    if len(parts) == 1 or len(names) != len(parts):
        return None
    return ("findings" if "findings" in names else names[0]), False
