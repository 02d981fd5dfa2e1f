"""Text of requests, attributes and reports, made fit to stand in a prompt as data.

What comes out is one line without control and invisible characters, in which no tokenizer finds a special token,
neither as it stands nor after a tokenizer's own normalisation (NFC, NFD, NFKC or NFKD, with or without accents): every
opening bracket is followed by a blank, and no special token has one there. A bar becomes a slash, so that a bar at
the start of a line always means "data". Clinical text stays readable: "<3 cm" becomes "< 3 cm".

Nothing here knows a tokenizer; the tests hold it to the special tokens of those families that Prelim loads.
"""

import re
import unicodedata
from typing import Final

from prompts.concepts import tokens

PREFIX: Final = "| "
"""What every line of data begins with, and no other line."""
ELLIPSIS: Final = " ..."
"""The end of a text that was clipped."""

OPENERS: Final = "<\u226e\ufe64\uff1c[\ufe47\uff3b"
"""What some normalisation turns into an angle or a square bracket that opens."""
CLOSERS: Final = ">\u226f\ufe65\uff1e"
"""What some normalisation turns into an angle bracket that closes; two of them open a token of Falcon's."""
BARS: Final = "|\uff5c"
"""What some normalisation turns into a bar."""
_BLANK: Final = "\u2581"
"""SentencePiece's mark for a space, which it cannot tell from one."""
_INVISIBLE: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Default-ignorable characters that are not of a category left out anyway."""
_LEFT_OUT: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
"""Control, format (zero width, direction), surrogate, private and unassigned characters."""
_NARROW: Final = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
"""Full-width letters and signs are the ordinary ones to whoever reads them, and to tokenizers that normalise."""
_OPENED: Final = re.compile(rf"([{re.escape(OPENERS)}])(?! )")
_CLOSED: Final = re.compile(rf"([{re.escape(CLOSERS)}])(?=[{re.escape(CLOSERS)}])")
_ROLE: Final = re.compile(r"\b(user|assistant|system|human|instruction|response)\s*[:\uff1a\ufe55\ufe13]", re.I)
"""Some conversation formats write roles as plain words, also in the middle of a line."""


def clean(text: str) -> str:
    """One line of plain text; total, linear, and the same when applied again."""
    # 1. Blanks of every kind are blanks; what cannot be seen goes, so that it cannot hide what it stands between.
    seen = "".join(" " if c.isspace() or c == _BLANK else c for c in text if _shows(c))
    seen = unicodedata.normalize("NFC", _INVISIBLE.sub("", seen).translate(_NARROW))
    # 2. No bar, no bracket that opens markup, no speaker.
    for bar in BARS:
        seen = seen.replace(bar, "/")
    seen = _OPENED.sub(r"\1 ", _CLOSED.sub(r"\1 ", seen))
    seen = " ".join(seen.split())
    return _ROLE.sub(r"\1 -", seen)


def clipped(text: str, budget: int) -> str:
    """A cleaned text of at most so many tokens, cut between words; where one was cut off an ellipsis stands."""
    if tokens(text) <= budget:
        return text
    left = budget - tokens(ELLIPSIS)
    kept: list[str] = []
    for word in text.split():
        cost = tokens(word) - 1
        if cost > left:
            # A first word that is longer than everything there is room for is no word.
            while not kept and word and tokens(word) - 1 > left:
                word = word[: len(word) // 2]
            kept += [] if kept or not word else [word]
            break
        left -= cost
        kept.append(word)
    return " ".join(kept) + ELLIPSIS


def data_line(text: str, budget: int) -> str:
    """Text from outside as a line of data of at most so many tokens, its prefix aside; empty where nothing is left."""
    shown = clipped(clean(text), budget)
    return PREFIX + shown if shown else ""


def _shows(character: str) -> bool:
    return character.isspace() or unicodedata.category(character) not in _LEFT_OUT
