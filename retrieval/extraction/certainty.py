"""Whether what a sentence names is stated, denied or left open: the reach of cues, by `POLICY.md`.

Matches and cues of one sentence in, one verdict a match out. The reach of a cue ends at an `end` cue, at a semicolon,
or where a new clause begins; the nearest cue before a match decides, a cue after it may overrule.
"""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple

from retrieval.extraction.cues import RESTART, Cue
from retrieval.extraction.tokens import word_set

Verdict = Literal["present", "absent", "uncertain", "no_new", "elsewhere"]
"""`no_new`: only that it is not new is said. `elsewhere`: no statement about this image."""

_VERDICT: Final[dict[str, Verdict]] = {
    "deny_after": "absent",
    "deny_before": "absent",
    "deny_new": "no_new",
    "open_next": "uncertain",
    "open_after": "uncertain",
    "open_before": "uncertain",
    "elsewhere_after": "elsewhere",
    "elsewhere_before": "elsewhere",
}
_FORWARD: Final[frozenset[str]] = frozenset({"deny_after", "deny_new", "open_next", "open_after", "elsewhere_after"})
_BACKWARD: Final[frozenset[str]] = frozenset({"deny_before", "open_before", "elsewhere_before"})
_VERBS: Final = word_set("is are was were has have had there show shows demonstrate demonstrates appear appears")
_STOPS: Final = frozenset((";", "."))
_ANSWERS: Final = word_set("none no negative absent nil")
_CLOSES: Final = frozenset((";", ".", ",", ")"))
_LINKED: Final = frozenset((",", "and", "or", "/"))
_PLANNED: Final = word_set("consider considered recommend recommended before prior planned for if may")
_GENERIC: Final = word_set(
    "evidence finding findings sign signs feature features abnormality abnormalities change changes"
)
_MAX_BACK: Final = 20
"""Tokens a backward cue reaches: a list of findings, not a page."""


class CueAt(NamedTuple):
    """A cue in a sentence."""

    cue: Cue
    """What it does."""
    first: int
    """Its first token."""
    last: int
    """Its last token, included."""


class Span(NamedTuple):
    """The tokens from the first to the last word of a match."""

    first: int
    """First token."""
    last: int
    """Last token, included."""


def judge(
    words: Sequence[str], spans: Sequence[Span], cues: Sequence[CueAt], history_counts: Collection[int] = ()
) -> list[Verdict]:
    """One verdict for each span; `cues` in order, `history_counts` are spans that history states like any other."""
    verdicts: list[Verdict] = ["present"] * len(spans)
    answered, answers = _answered(words, spans, history_counts)
    if not spans or (not cues and not answered and "or" not in words):
        return verdicts
    if answers:
        cues = [c for c in cues if c.first not in answers]
    stops = _stops(words, cues)
    for i in range(len(spans)):
        forward = _forward(words, i, spans, cues, stops)
        if forward is not None and not (forward == "elsewhere" and i in history_counts):
            verdicts[i] = forward
    for c in cues:
        if c.cue in _BACKWARD:
            for i in _before(words, c, spans, stops):
                # A device that is poorly seen is still there.
                if verdicts[i] != "elsewhere" and not (c.cue == "elsewhere_before" and i in history_counts):
                    verdicts[i] = _VERDICT[c.cue]
        elif c.cue == "open_both":
            for i in _both(c, spans, stops):
                if verdicts[i] == "present":
                    verdicts[i] = "uncertain"
    _alternatives(words, spans, cues, verdicts)
    for i in answered:
        verdicts[i] = "absent"
    return verdicts


def _answered(words: Sequence[str], spans: Sequence[Span], devices: Collection[int]) -> tuple[set[int], set[int]]:
    """The spans that the word right behind them denies ("effusion: none", "tube removal"), and where it stands."""
    answered: set[int] = set()
    answers: set[int] = set()
    for i, span in enumerate(spans):
        at = span.last + 1
        if at < len(words) and words[at] in (":", "("):
            at += 1
        if at >= len(words):
            continue
        if words[at] == "removal":
            taken_out = i in devices and words[at + 1 : at + 2] != ["of"] and _PLANNED.isdisjoint(words[: span.first])
            if at == span.last + 1 and taken_out:
                answered.add(i)
        elif words[at] in _ANSWERS and (at + 1 == len(words) or words[at + 1] in _CLOSES):
            answers.add(at)
            answered.add(i)
            while i and _LINKED.issuperset(words[spans[i - 1].last + 1 : spans[i].first]):
                i -= 1
                answered.add(i)
    return answered, answers


def _stops(words: Sequence[str], cues: Sequence[CueAt]) -> list[int]:
    """Tokens at which every reach ends, in order, and one past the sentence."""
    found = [i for i, word in enumerate(words) if word in _STOPS]
    found += [c.first for c in cues if c.cue == "end"]
    return [*sorted(found), len(words)]


def _forward(
    words: Sequence[str], i: int, spans: Sequence[Span], cues: Sequence[CueAt], stops: Sequence[int]
) -> Verdict | None:
    """What the nearest cue before the end of a span that reaches it says; None when none does."""
    span = spans[i]
    for at in range(len(cues) - 1, -1, -1):
        c = cues[at]
        if c.cue not in _FORWARD or c.last >= span.last:
            continue
        if any(c.last < stop < span.last for stop in stops):
            return None  # nor does any cue further left
        if c.cue == "open_next" and any(c.last < other.last < span.last for other in spans):
            continue  # it belonged to another
        if c.cue == "elsewhere_after" and "," in words[c.last : span.first]:
            continue
        if words[c.first] in ("absence", "lack") and _concluded(words, c, span, spans):
            continue
        if c.cue in ("deny_after", "deny_new"):
            # A list can only have ended after something was denied ("no acute, displaced fractures are seen").
            denied = [s.last for s in spans if c.last < s.last < span.first]
            if denied and _restarted(words, min(denied) + 1, span.first, cues, stops):
                continue
        if c.cue in ("open_next", "open_after") and _denied_already(words, c, spans, cues[:at], stops):
            continue  # "no opacity to suggest pneumonia" denies the pneumonia
        if c.cue in ("open_next", "open_after") and _elsewhere_already(words, c, spans, cues[:at], stops):
            return "elsewhere"
        return _VERDICT[c.cue]
    return None


def _concluded(words: Sequence[str], c: CueAt, span: Span, spans: Sequence[Span]) -> bool:
    """Whether an absence is itself a sign of what follows ("absence of lung markings suggests pneumothorax")."""
    for i in range(c.last + 2, span.first):
        if words[i] in ("suggest", "indicate") and words[i - 1] != "to":
            return True
        if words[i] in ("suggesting", "indicating") or words[i : i + 2] == ["consistent", "with"]:
            named = any(c.last < s.first < i for s in spans)
            return not named and _GENERIC.isdisjoint(words[c.last + 1 : i])
    return False


def _restarted(words: Sequence[str], begin: int, until: int, cues: Sequence[CueAt], stops: Sequence[int]) -> bool:
    """Whether a denied list ended and a new statement began between `begin` and `until`."""
    stop = next(s for s in stops if s >= begin)
    for i in range(begin, until):
        if words[i] not in (",", "and") or i + 1 >= len(words):
            continue
        after = i + 2 if words[i] == "," and words[i + 1] == "and" else i + 1
        if after >= len(words) or words[after] in ("or", "nor"):
            continue
        rest = words[after:stop]
        if words[after] in RESTART and "or" not in rest and "nor" not in rest:
            return True
        if "," in rest:
            rest = rest[: rest.index(",")]
        verbs = [
            after + n for n, word in enumerate(rest) if word in _VERBS or (word == "suggest" and rest[n - 1] != "to")
        ]
        if verbs and "or" not in rest and not any(c.first <= verbs[0] <= c.last for c in cues if c.cue in _BACKWARD):
            return True
    return False


def _denied_already(
    words: Sequence[str], opening: CueAt, spans: Sequence[Span], earlier: Sequence[CueAt], stops: Sequence[int]
) -> bool:
    """Whether a hedge stands inside a denial, with no comma since the last thing denied."""
    for c in reversed(earlier):
        if c.cue in ("deny_after", "deny_new"):
            if any(c.last < stop < opening.first for stop in stops):
                return False
            if words[c.first] in ("absence", "lack") and _concluded(words, c, Span(opening.last + 1, 0), spans):
                continue
            denied = [s.last for s in spans if c.last < s.last < opening.first]
            return "," not in words[max(denied, default=c.last) : opening.first]
    return False


def _elsewhere_already(
    words: Sequence[str], opening: CueAt, spans: Sequence[Span], earlier: Sequence[CueAt], stops: Sequence[int]
) -> bool:
    """Whether a hedge only says what to look for ("if there is concern for")."""
    for c in reversed(earlier):
        if c.cue == "elsewhere_after":
            between = range(c.last + 1, opening.first)
            named = any(s.first in between for s in spans)
            return not named and not any(i in stops or words[i] == "," for i in between)
    return False


def _before(words: Sequence[str], c: CueAt, spans: Sequence[Span], stops: Sequence[int]) -> list[int]:
    """The spans that a backward cue speaks of: its subject, and what is coordinated with it."""
    begin = max([0, c.first - _MAX_BACK, *(s + 1 for s in stops if s < c.first)])
    verb = c.first - 1
    while verb >= begin and (words[verb] in _VERBS or words[verb] == "been"):
        verb -= 1  # the cue's own ("has been ruled out")
    begin = next((i for i in range(verb, begin - 1, -1) if words[i] in _VERBS), begin)
    return [i for i, span in enumerate(spans) if begin <= span.first and span.last < c.first]


def _both(c: CueAt, spans: Sequence[Span], stops: Sequence[int]) -> list[int]:
    before = [i for i, s in enumerate(spans) if s.last < c.first and not any(s.last < x < c.first for x in stops)]
    after = [i for i, s in enumerate(spans) if s.first > c.last and not any(c.last < x < s.first for x in stops)]
    return before[-1:] + after[:1]


def _alternatives(words: Sequence[str], spans: Sequence[Span], cues: Sequence[CueAt], verdicts: list[Verdict]) -> None:
    """Leave both open where one thing is said to be "atelectasis or infiltrate"."""
    for i, (one, other) in enumerate(pairwise(spans)):
        between = words[one.last + 1 : other.first]
        joined = "or" in between and len(between) <= 4 and "," not in between
        joined = joined and ("and" not in between or "/" in between)
        # "No change in the effusion or the infiltrate" has both.
        if joined and any(c.cue == "idle" and 0 < one.first - c.last <= 2 for c in cues):
            continue
        if joined and {verdicts[i], verdicts[i + 1]} <= {"present", "uncertain"}:
            verdicts[i] = verdicts[i + 1] = "uncertain"
