"""Which word of side, place, degree, size, change and measure belongs to which finding of a sentence.

Attributes and spans in, owners out. The rules are those of English noun phrases, tried in order:

1. an attribute within a finding's own words belongs to it ("the heart is *mildly* enlarged"),
2. one in front of a finding with nothing but its like between belongs to that ("*small left* pleural effusion"),
3. one after a preposition belongs to the finding before ("opacity in the *right base*"), and to those coordinated
   with it that have none of their own ("atelectasis and effusion in the left base"),
4. else to the finding before in the clause ("the effusion is *small*"), else to the one after.
"""

import re
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from retrieval.extraction.certainty import Span
from retrieval.extraction.patterns import Phrase
from retrieval.extraction.tokens import Tokens, word_set
from retrieval.mentions import Measurement, Side
from retrieval.ontology.concept import Concept

What = Literal["side", "site", "severity", "size", "modifier", "change", "measurement"]


class AttributeAt(NamedTuple):
    """An attribute in a sentence."""

    what: What
    """Its kind."""
    value: str
    """A side, a concept id, or for a measurement its number in the sentence."""
    first: int
    """First token."""
    last: int
    """Last token, included."""


_SIDES: Final[Mapping[str, Side]] = {
    "left": "left", "right": "right", "bilateral": "bilateral", "bilaterally": "bilateral", "both": "bilateral",
    "bibasilar": "bilateral", "biapical": "bilateral", "bihilar": "bilateral", "leftward": "left", "rightward": "right",
    "lingula": "left", "lingular": "left", "biapically": "bilateral", "bibasal": "bilateral", "bibasally": "bilateral",
    "lul": "left", "lll": "left", "rul": "right", "rll": "right", "rml": "right",
}  # fmt: skip
_ABBREVIATED: Final = frozenset(("lul", "lll", "rul", "rll", "rml", "lingula", "lingular"))
"""Names of places that say their side; in other anatomy "left" is part of a name ("left atrium")."""
_MEASURE: Final = re.compile(
    r"(\d{1,4}(?:\.\d{1,3})?)(?:\s{0,2}(?:x|by|-|to)\s{0,2}(\d{1,4}(?:\.\d{1,3})?)){0,2}[\s-]{0,2}"
    r"(mm|cm|millimet(?:er|re)s?|centimet(?:er|re)s?)\b",
    re.I,
)
_PREPOSITIONS: Final = word_set("""
    in at within on along over near involving throughout overlying adjacent toward towards into from across under
    beneath above below around through inside projecting projects located
""")
_VERBS: Final = word_set("""
    is are was were has have had show shows demonstrate demonstrates contain contains appear appears may could might
    remain remains suggest suggests represent represents seen noted identified
""")
_PREDICATE: Final = word_set("has have was were been")
_ARTICLES: Final = word_set("the a an his her their")
_LINKS: Final = frozenset((",", "and", "or", "/", "to"))
_GOES_ON: Final = frozenset(("with", "which", "while"))
_SHARED: Final = frozenset(("side", "site"))
_ADJECTIVES: Final = 3
"""Other words that may stand between an attribute and the finding it precedes ("left sided layering effusion")."""


def bind(
    words: Sequence[str], spans: Sequence[Span], attributes: Sequence[AttributeAt], ends: Sequence[int]
) -> list[list[AttributeAt]]:
    """The attributes of each span. `spans` are in order of their first token; `ends` are sorted clause ends."""
    owned: list[list[AttributeAt]] = [[] for _ in spans]
    if not spans or not attributes:
        return owned
    taken = {i for a in attributes for i in range(a.first, a.last + 1)}
    trailing: set[int] = set()
    for number, attribute in enumerate(attributes):
        owner, behind = _owner(words, spans, attribute, taken, ends)
        if owner is not None:
            owned[owner].append(attribute)
            if behind:
                trailing.add(number)
    _share(words, spans, owned, {attributes[n] for n in trailing}, taken)
    return owned


class Tail(NamedTuple):
    """What is said of a finding's other side after a comma, without its name ("effusion on the left, none right")."""

    owner: int
    """The span that is meant."""
    first: int
    """First token."""
    last: int
    """Last token, included."""
    denied: bool
    """Whether it is not there on that side."""


def tails(
    words: Sequence[str], spans: Sequence[Span], attributes: Sequence[AttributeAt], ends: Sequence[int]
) -> list[Tail]:
    """The elliptic tails of a sentence; of a finding whose own side is not given there are none."""
    if "," not in words or sum(a.what == "side" and a.value != "bilateral" for a in attributes) < 2:
        return []
    found = []
    for comma in (i for i, word in enumerate(words) if word == ","):
        first = comma + 2 if words[comma + 1 : comma + 2] == ["and"] else comma + 1
        stop = min(
            [len(words), *(e for e in ends if e > comma), *(i for i in range(first, len(words)) if words[i] in ",.;")]
        )
        at = next((i for i in range(first, stop) if words[i] in ("on", "in")), stop)
        degree = {i for a in attributes if a.what in ("size", "severity") for i in range(a.first, a.last + 1)}
        denied = words[first:at] in (["none"], ["no"])
        if not denied and not (at > first and degree.issuperset(range(first, at))):
            continue
        if any(s.last >= first and s.first < stop for s in spans):
            continue
        begin = max([0, *(e + 1 for e in ends if e < comma)])
        before = [i for i, s in enumerate(spans) if begin <= s.first and s.last < comma]
        own = {a.value for a in attributes if a.what == "side" and begin <= a.first < comma}
        other = {a.value for a in attributes if a.what == "side" and first <= a.first < stop}
        if len(before) == 1 and {*own, *other} == {"left", "right"} and len(own) == len(other) == 1:
            found.append(Tail(before[0], first, stop - 1, denied))
    return found


def _owner(
    words: Sequence[str], spans: Sequence[Span], at: AttributeAt, taken: Collection[int], ends: Sequence[int]
) -> tuple[int | None, bool]:
    """Which span owns an attribute, and whether the attribute stands behind it."""
    inside = [i for i, s in enumerate(spans) if s.first <= at.first and at.last <= s.last]
    if inside:
        return min(inside, key=lambda i: spans[i].last - spans[i].first), False
    after = next((i for i, s in enumerate(spans) if s.first > at.last), None)
    before = next((i for i in range(len(spans) - 1, -1, -1) if spans[i].last < at.first), None)
    if after is not None and any(at.last < e < spans[after].first for e in ends):
        after = None
    if before is not None:
        crossed = [e for e in ends if spans[before].last < e <= at.first]
        # "PICC with tip in the cava" goes on about the PICC when nothing else follows; "but" never does.
        if crossed and (after is not None or any(words[e] not in _GOES_ON for e in crossed)):
            before = None
    blocked = "end" if after is None else _blocked(words, at.last + 1, spans[after].first, taken)
    if at.what == "change" and before is not None and words[at.first] in _PREDICATE:
        return before, True  # "the tube has been removed and a line placed"
    led_by = _led_by(words, at.first, taken)
    if led_by == "preposition" and before is not None:
        return before, True
    if not blocked:
        return after, False
    if blocked == "verb" and led_by in ("start", "link"):
        return after, False  # "and the right lung shows an opacity"
    return (before, True) if before is not None else (after, False)


def _blocked(words: Sequence[str], begin: int, until: int, taken: Collection[int]) -> Literal["", "verb", "other"]:
    """Whether an attribute can belong to the finding that begins at `until`, seen from behind it."""
    others = 0
    for i in range(begin, until):
        word = words[i]
        if i in taken or word in ("of", "sided", "side"):
            continue
        if word in _VERBS:
            return "verb"
        if word in _PREPOSITIONS or word in (";", "(", ")", "with", "without"):
            return "other"
        if word in _LINKS:
            if i + 1 < until and (i + 1 in taken):
                continue
            return "other"
        others += 1
        if others > _ADJECTIVES or word in _ARTICLES:
            return "other"
    return ""


def _led_by(
    words: Sequence[str], first: int, taken: Collection[int]
) -> Literal["preposition", "link", "start", "word"]:
    """What stands before an attribute, past its like and articles."""
    for i in range(first - 1, -1, -1):
        word = words[i]
        if word in _PREPOSITIONS:
            return "preposition"
        if word == "of" and i > 0 and i - 1 not in taken:
            return "preposition"  # "blunting of the left angle"; but "base of the left lung" goes on
        if word in _LINKS:
            # "left and right base" goes on through the link; "and the right lung" begins there.
            if i > 0 and i - 1 in taken and i + 1 == first and word != ",":
                continue
            return "link"
        if i in taken or word in _ARTICLES or word in ("of", "sided", "side", "aspect", "portion", "region"):
            first = i
            continue
        return "word"
    return "start"


def _share(
    words: Sequence[str],
    spans: Sequence[Span],
    owned: list[list[AttributeAt]],
    trailing: Collection[AttributeAt],
    taken: Collection[int],
) -> None:
    """Give side and place that stand behind the last of coordinated findings to those before it that have none."""
    for i in range(len(spans) - 1, 0, -1):
        shared = [a for a in owned[i] if a.what in _SHARED and a in trailing]
        between = range(spans[i - 1].last + 1, spans[i].first)
        if not shared or not _coordinated(words, between, taken):
            continue
        if not any(a.what in _SHARED for a in owned[i - 1]):
            owned[i - 1] += shared


def _coordinated(words: Sequence[str], between: range, taken: Collection[int]) -> bool:
    linked = False
    for i in between:
        if words[i] in ("and", "or", ",", "/"):
            linked = True
        elif i not in taken:
            return False
    return linked


def attributes_among(
    text: str, tokens: Tokens, lesser: Sequence[tuple[Phrase, Concept]], taken: Collection[int]
) -> list[AttributeAt]:
    """The attributes of a sentence in order: its places, modifiers and changes, its words of side, its measures.

    Words that are part of a finding's name are no attributes, places excepted ("pleural effusion" is in the pleura).
    """
    found: list[AttributeAt] = []
    within: set[int] = set()
    spans = {(p.first, p.last) for p, _ in lesser}
    for p, c in lesser:
        if c.kind == "certainty" or (c.kind != "anatomy" and p.first in taken and p.last in taken):
            continue
        if any(first <= p.first and p.last <= last for first, last in spans - {(p.first, p.last)}):
            continue  # the heart in "right heart border" is no place of its own
        if c.kind == "anatomy" and c.laterality != "paired":
            within.update(range(p.first, p.last + 1))
        found.append(AttributeAt(_what(c), c.id, p.first, p.last))
    for i, word in enumerate(tokens.words):
        side = _SIDES.get(word)
        if word == "both" and tokens.words[i + 1 : i + 2] in (["absent"], ["resolved"]):
            continue
        if side is not None and (i not in within or word in _ABBREVIATED):
            found.append(AttributeAt("side", side, i, i))
    if any(word[:1].isdigit() for word in tokens.words):
        for m in _MEASURE.finditer(text, tokens.starts[0], tokens.ends[-1]):
            first, last = bisect_left(tokens.starts, m.start()), bisect_left(tokens.starts, m.end()) - 1
            if first <= last:
                found.append(AttributeAt("measurement", f"{m.start()}:{m.end()}", first, last))
    return sorted(found, key=lambda a: (a.first, a.last))


def measurement_at(text: str, where: str) -> Measurement:
    """The measure that an attribute points at."""
    start, end = map(int, where.split(":"))
    numbers = [float(n) for n in re.findall(r"\d+(?:\.\d+)?", text[start:end])]
    unit: Literal["mm", "cm"] = "mm" if re.search(r"mm|milli", text[start:end], re.I) else "cm"
    return Measurement(value=max(numbers), unit=unit, start=start, end=end)


def _what(concept: Concept) -> What:
    match concept.kind, concept.attribute:
        case "anatomy", _:
            return "site"
        case "change", _:
            return "change"
        case _, "severity" | "size" as scale:
            return scale
        case _:
            return "modifier"
