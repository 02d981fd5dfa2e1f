"""The ontology's phrases found in one sentence: consecutive words through a trie, gap patterns around a rare word.

Tokens in, matches out; nothing is known here of negation or of who belongs to whom. Both kinds of pattern are found in
time proportional to the sentence: the trie reads each token once per phrase that begins there, and a gap pattern is
tried only where its rarest word stands. `slow_phrases` says the same in the obvious way; tests hold the two together.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import product
from typing import Final, NamedTuple

from retrieval.extraction.tokens import fold, fold_phrase

MAX_GAP: Final = 4
"""Content words that may stand between the words of a gap pattern (.924 mention F1 against .882 for none, and no more
for 6: reference figures in ARCHITECTURE.md)."""
MAX_SPAN: Final = 24
"""Tokens from the first to the last word of a gap pattern, free ones included."""
_NEAREST: Final = 3
"""Places tried for each word of a gap pattern: a sentence that repeats a word a thousand times costs no more."""


class Phrase(NamedTuple):
    """A phrase found as consecutive tokens."""

    target: str
    """Whose phrase it is: a concept id, or the name of a cue."""
    first: int
    """Its first token."""
    last: int
    """Its last token, included."""


class GapMatch(NamedTuple):
    """A gap pattern found."""

    target: str
    """Whose pattern it is."""
    tokens: tuple[int, ...]
    """The tokens that are the pattern's words, in the order of the text."""


class Trie:
    """Phrases as nested dictionaries; the longest phrase from each token wins within one set of phrases."""

    def __init__(self, phrases: Iterable[tuple[str, str]]) -> None:
        """Take (phrase as written, target); one phrase may have several targets."""
        self._root: dict[str, _Node] = {}
        for phrase, target in phrases:
            words = fold_phrase(phrase)
            if not words:
                continue
            children = self._root
            node = _Node({}, [])
            for word in words:
                node = children.setdefault(word, _Node({}, []))
                children = node.children
            if target not in node.targets:
                node.targets.append(target)

    def find(self, words: Sequence[str]) -> list[Phrase]:
        """Every phrase, longest from each token, in order of their first token. Overlaps are left to the caller."""
        found: list[Phrase] = []
        root = self._root
        for first, word in enumerate(words):
            node = root.get(word)
            if node is None:
                continue
            best, best_last, last = node.targets, first, first
            while node.children and last + 1 < len(words):
                node = node.children.get(words[last + 1])
                if node is None:
                    break
                last += 1
                if node.targets:
                    best, best_last = node.targets, last
            found += [Phrase(target, first, best_last) for target in best]
        return found


class _Node(NamedTuple):
    children: dict[str, "_Node"]
    targets: list[str]


class GapPatterns:
    """Bags of words that mean something together."""

    def __init__(self, patterns: Iterable[tuple[Sequence[str], str]]) -> None:
        """Take (words, target); a word may be a choice ("enlarged|large") and end in * for any ending."""
        numbered: list[tuple[tuple[int, ...], str]] = []
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._prefixes: dict[str, list[tuple[str, int]]] = defaultdict(list)
        elements: dict[str, int] = {}
        uses: dict[int, int] = defaultdict(int)
        for words, target in patterns:
            numbers = []
            for word in words:
                if word not in elements:
                    elements[word] = len(elements)
                    self._enter(word, elements[word])
                numbers.append(elements[word])
                uses[elements[word]] += 1
            numbered.append((tuple(numbers), target))
        # By its rarest word; beside each, the other words that have to be near.
        self._by_anchor: dict[int, list[tuple[tuple[int, ...], str]]] = defaultdict(list)
        for needed, target in numbered:
            anchor = min(needed, key=lambda e: (uses[e], e))
            self._by_anchor[anchor].append((tuple(e for e in needed if e != anchor), target))
        self._memo: dict[str, tuple[int, ...]] = {}

    def _enter(self, choice: str, element: int) -> None:
        for option in choice.split("|"):
            if option.endswith("*"):
                stem = option[:-1].lower()
                self._prefixes[stem[:3]].append((stem, element))
            else:
                self._exact[fold(option)].append(element)

    def _elements(self, word: str) -> tuple[int, ...]:
        by_prefix = [e for stem, e in self._prefixes.get(word[:3], ()) if word.startswith(stem)]
        known = tuple(dict.fromkeys([*self._exact.get(word, ()), *by_prefix]))
        if len(self._memo) < 50_000:
            self._memo[word] = known
        return known

    def find(self, words: Sequence[str], free: Collection[int], barriers: Sequence[int]) -> list[GapMatch]:
        """Every pattern whose words all stand close together.

        `free` are tokens that do not count as gap; `barriers` are sorted tokens that no gap may contain.
        """
        places: dict[int, list[int]] = {}
        memo = self._memo
        for i, word in enumerate(words):
            elements = memo.get(word)
            if elements is None:
                elements = self._elements(word)
            for element in elements:
                places.setdefault(element, []).append(i)
        found: list[GapMatch] = []
        for anchor, where in places.items():
            for others, target in self._by_anchor.get(anchor, ()):
                for element in others:
                    if element not in places:
                        break
                else:
                    near = [places[element] for element in others]
                    for at in where:
                        tokens = _closest(at, near, free, barriers)
                        if tokens is not None:
                            found.append(GapMatch(target, tokens))
        return found


def _closest(
    at: int, others: Sequence[Sequence[int]], free: Collection[int], barriers: Sequence[int]
) -> tuple[int, ...] | None:
    """The tightest choice of a place for each other word around `at` whose gap is allowed; None when none is."""
    options = [
        sorted((p for p in where if p != at and abs(p - at) <= MAX_SPAN), key=lambda p: (abs(p - at), p))[:_NEAREST]
        for where in others
    ]
    best: tuple[int, ...] | None = None
    for chosen in product(*options):
        tokens = tuple(sorted({at, *chosen}))
        if len(tokens) != len(chosen) + 1:
            continue
        span = tokens[-1] - tokens[0]
        if best is not None and span >= best[-1] - best[0]:
            continue
        if span <= MAX_SPAN and _allowed(tokens, free, barriers):
            best = tokens
    return best


def _allowed(tokens: tuple[int, ...], free: Collection[int], barriers: Sequence[int]) -> bool:
    first, last = tokens[0], tokens[-1]
    if any(first < b < last and b not in tokens for b in barriers):
        return False
    return sum(1 for i in range(first + 1, last) if i not in free and i not in tokens) <= MAX_GAP


def slow_phrases(words: Sequence[str], phrases: Mapping[str, Collection[str]]) -> set[Phrase]:
    """The oracle of `Trie.find`: every phrase tried at every token, then the longest from each token kept."""
    found: set[Phrase] = set()
    for first in range(len(words)):
        fitting: dict[int, set[str]] = defaultdict(set)
        for target, written in phrases.items():
            for phrase in written:
                folded = fold_phrase(phrase)
                if folded and tuple(words[first : first + len(folded)]) == folded:
                    fitting[len(folded)].add(target)
        if fitting:
            longest = max(fitting)
            found |= {Phrase(target, first, first + longest - 1) for target in fitting[longest]}
    return found
