"""Words of a sentence as the patterns compare them: lower case, singular, American spelling, with their places.

Folding is deliberately blunt ("pelvis" becomes "pelvi"): the same function folds the patterns, so all that matters is
that two spellings of one word meet and two words do not.
"""

import re
from functools import lru_cache
from typing import Final, NamedTuple

TOKEN: Final = re.compile(r"\d+\.\d+|[A-Za-z]+|\d+|[,;:()/?+]|\.(?=\s)(?<!\b[vVsS][st]\.)")
"""Letters and digits are apart, so that "T12" and "5mm" are read; hyphens, apostrophes and other scripts separate.
A stop counts where it may end a clause, not behind "vs" and "St"."""

LONGEST: Final = 40
"""Letters in a word that is looked at; a longer one matches nothing."""
_IRREGULAR: Final = {
    "pneumothoraces": "pneumothorax", "hydropneumothoraces": "hydropneumothorax", "apices": "apex", "hila": "hilum",
    "hili": "hilum", "bullae": "bulla", "vertebrae": "vertebra", "vertebras": "vertebra", "scapulae": "scapula",
    "bases": "base", "bronchi": "bronchus", "sulci": "sulcus", "foci": "focus", "diagnoses": "diagnosis",
    "metastases": "metastasis", "prostheses": "prosthesis", "stenoses": "stenosis", "granulomata": "granuloma",
    "pleurae": "pleura", "atria": "atrium", "fistulae": "fistula", "lobuli": "lobule", "calculi": "calculus",
    "emboli": "embolus", "thrombi": "thrombus", "infiltrates": "infiltrate", "lenses": "lens", "disks": "disc",
    "disk": "disc", "discs": "disc", "centre": "center", "fibre": "fiber", "fibres": "fiber", "tumour": "tumor",
    "tumours": "tumor", "grey": "gray", "catheterisation": "catheterization", "bodies": "body", "masses": "mass",
    "densities": "density", "processes": "process", "abscesses": "abscess", "biopsies": "biopsy", "ribcage": "ribcage",
    "feet": "foot", "series": "series", "species": "species", "is": "is", "was": "was", "has": "has", "this": "this",
    "as": "as", "gas": "gas", "pus": "pus", "plus": "plus", "us": "us", "its": "its", "less": "less",
    "always": "always", "versus": "versus", "does": "does", "vs": "versus", "atelectases": "atelectasis",
}  # fmt: skip
_BRITISH: Final = (("oedem", "edem"), ("haem", "hem"), ("oesoph", "esoph"), ("anaem", "anem"), ("leuk", "leuk"))


@lru_cache(maxsize=50_000)
def fold(word: str) -> str:
    """One token in the spelling that patterns are compared in; the cache is bounded because text is unbounded."""
    word = word.lower()
    known = _IRREGULAR.get(word)
    if known is not None:
        return known
    for british, american in _BRITISH:
        if british in word:
            word = word.replace(british, american)
    if len(word) > 3 and word.endswith("s"):
        if word.endswith("ies") and len(word) > 4:
            return word[:-3] + "y"
        if not word.endswith(("ss", "us", "is")):
            return word[:-1]
    return word


class Tokens(NamedTuple):
    """The tokens of one sentence, in three lists of equal length."""

    words: list[str]
    """Folded."""
    starts: list[int]
    """First character of each."""
    ends: list[int]
    """One past the last character of each."""


def tokenise(text: str, start: int = 0, end: int | None = None) -> Tokens:
    """The tokens of text[start:end]; places count from the start of `text`."""
    words, starts, ends = [], [], []
    for match in TOKEN.finditer(text, start, len(text) if end is None else end):
        first, last = match.span()
        # No word of radiology is longer; a megabyte of letters must not fill the cache.
        words.append(fold(match.group()) if last - first <= LONGEST else "")
        starts.append(first)
        ends.append(last)
    return Tokens(words, starts, ends)


def fold_phrase(phrase: str) -> tuple[str, ...]:
    """The words of a pattern, folded like text."""
    return tuple(fold(m.group()) for m in TOKEN.finditer(phrase))


def word_set(text: str) -> frozenset[str]:
    """A list of words written as a line, folded."""
    return frozenset(fold(word) for word in text.split())
