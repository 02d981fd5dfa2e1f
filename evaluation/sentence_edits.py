"""One sentence turned into its opposite: a denial lifted, a statement denied, sides exchanged.

A sentence and the place of what it names in, the edited sentence out, or None where the sentence is not plain enough to
be sure of the result. The rules know nothing of how the product reads sentences.
"""

import re
from typing import Final

_LIFTS: Final = (
    (
        re.compile(
            r"^(there (?:is|are|has been|was)) no(?:t an?y?)?\b(?: (?:definite|convincing|evidence (?:of|for)))?", re.I
        ),
        r"\1",
    ),
    (
        re.compile(
            r"\bno (?:definite |convincing |clear |radiographic )?(?:evidence|signs?|suggestion) (?:of|for)\b", re.I
        ),
        "evidence of",
    ),
    (re.compile(r"\b(?:is|are) (?:negative for|(?:clear|free) of)\b", re.I), "show"),
    (re.compile(r"\bnegative for\b", re.I), "positive for"),
    (re.compile(r"\bwithout (?:any |evidence of )?", re.I), "with "),
    (re.compile(r"\b(is|are|was|were) not\b", re.I), r"\1"),
    (
        re.compile(
            r"^no (?=[^,;]*\b(?:is|are) (?:seen|noted|present|identified|visuali[sz]ed|evident|demonstrated)\b)", re.I
        ),
        "",
    ),
    (re.compile(r"\bno\b(?! (?:longer|change|interval))", re.I), "there is"),
)


def lifted(sentence: str, at: int, last: int) -> str | None:
    """A sentence whose denial before, or around, a place is taken away; None where no plain denial stands."""
    for pattern, instead in _LIFTS:
        found = pattern.search(sentence)
        if found and (found.start() < at or "not" in found.group()):
            lifted = sentence[: found.start()] + found.expand(instead) + sentence[found.end() :]
            # What was denied as a list is stated as one, and not left open as alternatives.
            lifted = re.sub(r"\b(?:or|nor)\b", "and", lifted)
            return lifted[:1].upper() + lifted[1:]
    return None


_DEGREES: Final = re.compile(
    r"\b(?:also|again|an?|some|the|very|mild(?:ly)?|minimal(?:ly)?|slight(?:ly)?|moderate(?:ly)?|severe(?:ly)?|mark(?:ed|edly)|"
    r"small|large|tiny|few|multiple|scattered|stable|unchanged|persistent|probable|likely)\s+",
    re.I,
)
_SEEN: Final = re.compile(
    r"\s(?:is|are)\s+(?=(?:seen|noted|present|identified|demonstrated|visuali[sz]ed|evident)\b)", re.I
)
_IS: Final = re.compile(r"\b(?:is|are)\b", re.I)
_MORE_THAN_ONE: Final = re.compile(
    r"\b(?:no|not|without|but|however|cannot|consistent|compatible|which|may|as before|in addition|with|and)\b", re.I
)


def denied(sentence: str, at: int, last: int) -> str | None:
    """A plain statement of one thing as a denial, without degree; None where the statement is not a plain one."""
    if _MORE_THAN_ONE.search(sentence):
        return None
    there = re.match(r"there (?:is|are)\s+", sentence, re.I)
    if there:
        return f"{there.group()}no {_DEGREES.sub('', sentence[there.end() :])}"
    seen = _SEEN.search(sentence)
    if seen:
        return (
            f"No {_DEGREES.sub('', _lower(sentence[: seen.start()]))}{sentence[seen.start() :]}"
            if at < seen.start()
            else None
        )
    copula = _IS.search(sentence)
    if copula is None:
        return (
            None
            if re.search(r"\b(?:has|have|shows?|appears?|remains?|demonstrates?)\b", sentence, re.I)
            else f"No {_DEGREES.sub('', _lower(sentence))}"
        )
    if at <= copula.start() < last:
        return f"{sentence[: copula.end()]} not {_DEGREES.sub('', sentence[copula.end() :].lstrip())}"
    return None


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]


def swapped(sentence: str, at: int, last: int) -> str | None:
    """A sentence with its sides exchanged; None when it names both or none."""
    sides = {s.lower() for s in re.findall(r"\b(?:left|right)\b", sentence, re.I)}
    if len(sides) != 1 or re.search(r"\b(?:bilateral\w*|both|lingula\w*|middle lobe)\b", sentence, re.I):
        return None
    other = "right" if sides == {"left"} else "left"
    return re.sub(
        r"\b(?:left|right)\b", lambda m: other.capitalize() if m.group()[0].isupper() else other, sentence, flags=re.I
    )
