"""Where the sentences of a report begin and end, as offsets, so that what is read from one can be shown in its text.

A sentence ends at a full stop that is no part of an abbreviation, an initial, a decimal or a list number, at a blank
line, before a list item, and at a line end that does not merely wrap a line. Semicolons do not end one. Headings are
found elsewhere. Time is linear in the text, whatever it holds.
"""

import re
from typing import Final

# A run of stops is entered at its first one only and never given back, or a megabyte of dots would take for ever.
# A capital right after a stop is a missing blank ("clear.No") unless the stop belongs to an acronym ("U.S.A").
# One set of characters comes first so that the search skips everything else at full speed.
_CANDIDATE: Final = re.compile(
    r"[.!?\r\n](?:(?<=[\r\n])\s*+|"
    r"(?<![.!?].)[.!?]*+(?:[\"')\]]*+(?=\s|\Z)|(?=[A-Z][a-z])|(?<=[a-z][a-z].)(?=[A-Z])))"
)
_MARK: Final = r"(?:\(?\d{1,2}[.)](?:\s++|(?=[A-Za-z]{2}))|[-*\u2022]++\s++)"
_ITEM: Final = re.compile(_MARK)
_LEAD: Final = re.compile(rf"\s*+(?:{_MARK})*+")
_TWO_LETTERS: Final = re.compile(r"[^\W\d_][\W\d_]*+[^\W\d_]")
# A full stop after one of these does not end a sentence.
_ABBREVIATIONS: Final[frozenset[str]] = frozenset({
    "dr", "mr", "mrs", "ms", "prof", "st", "vs", "approx", "e.g", "i.e", "eg", "ie", "etc", "ca", "fig", "a.m", "p.m",
    "am", "pm", "resp", "incl",
})  # fmt: skip
# Most words are no abbreviation by their last two letters, and the rest of the question need not be asked.
_TAILS: Final[frozenset[str]] = frozenset(word[-2:] for word in _ABBREVIATIONS)
# A line that ends in one of these is not a finished sentence, even if the next line opens with a capital.
_UNFINISHED: Final[frozenset[str]] = frozenset({
    "a", "an", "the", "of", "in", "on", "at", "to", "for", "from", "with", "without", "within", "by", "and", "or",
    "nor", "but", "no", "not", "is", "are", "was", "were", "be", "been", "has", "have", "had", "this", "these", "that",
    "which", "there", "as", "than", "dr", "mr", "mrs", "ms", "prof", "vs",
})  # fmt: skip
_LONGEST_WORD = 14
"""How far back a last word is looked for: longer than any word of the two lists."""
_FULL_LINE = 50
"""A line this long may have been wrapped by a margin; a shorter one was ended by its author."""


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each sentence: its stop included; list marks, outer blanks and what has no word left out."""
    spans: list[tuple[int, int]] = []
    lead, words = _LEAD.match, _TWO_LETTERS.search
    opening = lead(text, 0)
    begin = opening.end() if opening else 0
    for match in _CANDIDATE.finditer(text):
        stop, end = match.span()
        # Inside the list marks that open the sentence, or the last character of a broken line.
        if stop < begin:
            continue
        mark = text[stop]
        if mark == ".":
            tail = text[stop - 2 : stop]
            if (not tail.isalpha() or tail.lower() in _TAILS) and _shortened(text, begin, stop):
                continue
        elif mark in "\r\n":
            if _wraps(text, begin, stop, end):
                continue
            end = stop
            while end > begin and text[end - 1].isspace():
                end -= 1
        if text[begin : begin + 2].isalpha() or words(text, begin, end):
            spans.append((begin, end))
        opening = lead(text, match.end())
        begin = opening.end() if opening else match.end()
    end = begin + len(text[begin:].rstrip())
    if words(text, begin, end):
        spans.append((begin, end))
    return spans


def _shortened(text: str, begin: int, stop: int) -> bool:
    """Whether the full stop at `stop` follows an abbreviation or an initial; "a" is more often a typing slip."""
    words = text[max(begin, stop - _LONGEST_WORD) : stop].split()
    last = words[-1].lower().lstrip("([\"'") if words else ""
    return last in _ABBREVIATIONS or (len(last) == 1 and last != "a" and last.isalpha())


def _wraps(text: str, begin: int, stop: int, end: int) -> bool:
    """Whether the line end from `stop` to `end` stands inside the sentence that opened at `begin`."""
    broken = text[stop:end]
    if broken.count("\n") > 1 or broken.count("\r") > 1 or end == len(text) or _ITEM.match(text, end):
        return False
    following = text[end]
    if following.islower() or following.isdigit():
        return True
    before = text[max(begin, stop - _LONGEST_WORD) : stop].split()
    if not before:
        return False
    last = before[-1]
    if last.lower() in _UNFINISHED or last[-1] in ",-/(":
        return True
    # Dictation in capitals, where case tells nothing: only a full line can have been wrapped.
    full = stop - begin >= _FULL_LINE and text.find("\n", stop - _FULL_LINE, stop) < 0
    return full and last.isupper() and len(last) > 1 and text[end : end + 2].isupper()
