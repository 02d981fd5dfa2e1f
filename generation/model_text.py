"""A language model's text to sentences with their sections; nothing here knows whether they are true.

Text in, sentences out, in the order written. Total: any text is read, in linear time. What stands before the first
heading is findings, because models often begin without one; what stands under any heading but findings and impression
is kept apart, for it is no statement about the images. The markup of chats and of Markdown goes, control characters go.
"""

import re
from typing import Final, Literal, NamedTuple

from retrieval.extraction.sentences import sentence_spans
from retrieval.sections import read_report

# Zero-width and direction characters, halves of characters, and everything that moves a cursor but the line end.
_UNSEEN: Final = re.compile(
    "\x1b\\[[0-9;]{0,20}[A-Za-z]|"
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffd\ud800-\udfff]"
)
_MARKUP: Final = re.compile(
    r"<\|[^|<>\n]{0,60}\|?>|</?[A-Za-z][\w./-]{0,60}>|\[/?[A-Z]{2,12}\]|\*\*|`+|^#{1,6}(?=\s)", re.M
)
_UNHEADED: Final = frozenset({"", "final report", "preliminary report", "radiology report"})
"""Headings that say nothing of what stands below them."""
_NUMBER: Final = re.compile(r"\b([Nn]o\.)\s+(?=\d)")
_NUMBERED: Final = re.compile(r"\b([Nn]o\.)(?=\d)")
"""A stop right before a digit ends no sentence, so that a number is put there while sentences are sought."""


class Written(NamedTuple):
    """One sentence as the model wrote it."""

    section: Literal["findings", "impression", "other"]
    """Where it stands; `other` under any heading that is neither."""
    text: str
    """In one line, without list mark."""


def cleaned(text: str) -> str:
    """Without what is no part of a report: unseen characters, and the markup of chats and of Markdown."""
    return _MARKUP.sub(" ", _UNSEEN.sub("", text))


def sentences_of(text: str) -> list[Written]:
    """The sentences of a text; of one that is still being written every sentence but the last will stay as it is."""
    found: list[Written] = []
    for section in read_report(cleaned(text)).sections:
        name: Literal["findings", "impression", "other"] = "other"
        if section.name == "impression":
            name = "impression"
        elif section.name == "findings" or " ".join(section.heading.split()).lower() in _UNHEADED:
            name = "findings"
        found += (Written(name, piece) for piece in _pieces(section.text))
    return found


def ends_open(text: str) -> bool:
    """Whether a text breaks off inside a sentence."""
    return not cleaned(text).rstrip().rstrip("\"')]").endswith((".", "!", "?"))


def _pieces(text: str) -> list[str]:
    joined = _NUMBER.sub(r"\1", text)
    pieces: list[str] = []
    for first, last in sentence_spans(joined):
        piece = _NUMBERED.sub(r"\1 ", " ".join(joined[first:last].split()))
        # A subheading ("Heart:") and what stands below it are one.
        if pieces and pieces[-1].endswith(":"):
            pieces[-1] = f"{pieces[-1]} {piece}"
        else:
            pieces.append(piece)
    return [piece for piece in pieces if not piece.endswith(":")]
