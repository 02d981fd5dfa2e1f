"""Leaning a draft towards what the experts found and away from what they did not: a bias on phrases, not on tokens.

Phrases with their log odds and the tokens generated so far in, token ids with what is added to their scores out. A
phrase is entered as the tokenizer writes it after a blank and where a line begins, and is leant on at the first token
that settles it: one that no other label's phrases share and with which at least three letters stand. So "pneum" of
pneumonia and pneumothorax is left alone and the token after it is not; and the article "a" is never "atelectasis".

Nothing is added after a denial until its sentence ends (the experts speak of what is there; "no" has already said that
it is not), nor for a phrase that already stands in the sentence. `published_bias` is CCD's rule, for comparison.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from generation.decoding.tokenizer import Tokenizer
from retrieval.extraction.cues import CUES
from retrieval.extraction.patterns import Trie
from retrieval.extraction.sentences import sentence_spans
from retrieval.extraction.tokens import tokenise
from retrieval.ontology.ontology import Ontology

LEAST_LETTERS: Final = 3
"""Letters of a phrase that must stand before it is leant on; a shorter head belongs to any word."""
PUBLISHED_GAMMA: Final = 10.0
"""CCD's cap on the odds."""
PUBLISHED_DECAY: Final = 0.95
"""What CCD multiplies a probability by for each token into the label."""

_CERTAIN: Final = 1e-6
_DENIALS: Final = frozenset({"deny_after", "deny_new"})
_PROBE: Final = " Xx"
"""A word put after the text to see whether it opens a sentence."""
Place = Literal["after blank", "line start"]
_CARRIERS: Final[Mapping[Place, str]] = {"after blank": "is ", "line start": "\n"}
"""What a phrase is put after to see how it is written there."""


def ontology_forms(ontology: Ontology) -> dict[str, tuple[str, ...]]:
    """Every concept's name with its synonyms: the lexicon in which one concept's words are told from another's."""
    return {concept.name: (concept.name, *concept.synonyms) for concept in ontology.written}


def log_odds(probability: float) -> float:
    """Evidence in nats from a calibrated probability, finite at 0 and 1."""
    p = min(max(probability, _CERTAIN), 1 - _CERTAIN)
    return math.log(p / (1 - p))


class _Node:
    """A place in the trie of token ids."""

    def __init__(self, letters: int) -> None:
        self.children: dict[int, _Node] = {}
        self.letters = letters
        """Letters of the phrase that stand when this token has been written, counted as far as they matter."""
        self.labels: set[str] = set()
        """Whose phrases lead through here."""
        self.ends: set[str] = set()
        """Whose phrases are whole here."""
        self.due: dict[int, str] = {}
        """The tokens that settle a label next, and which; filled when the whole trie stands."""

    @property
    def sole(self) -> bool:
        """Only one label can follow from here, and enough of it stands."""
        return len(self.labels) == 1 and self.letters >= LEAST_LETTERS

    @property
    def settles(self) -> str | None:
        """The label that this token settles: the only one, or the only one that is whole."""
        known = self.labels if len(self.labels) == 1 else self.ends
        return next(iter(known)) if len(known) == 1 and self.letters >= LEAST_LETTERS else None


class _Begun(NamedTuple):
    """A place of a draft, the next one or one some tokens ago, from which all tokens since may lead on a phrase."""

    nodes: tuple[_Node, ...]
    """Where they have led, in each of the tries that may be entered there."""
    standing: frozenset[str]
    """Labels that the sentence named before."""

    def on(self, token: int) -> "_Begun | None":
        """The same with one token more; None when that is no phrase's."""
        nodes = tuple(child for node in self.nodes if (child := node.children.get(token)) is not None)
        return _Begun(nodes, self.standing) if nodes else None


class PhraseTrie:
    """The phrases of a lexicon as one tokenizer writes them: made once, used for every draft, free of state."""

    def __init__(self, tokenizer: Tokenizer, forms: Mapping[str, Sequence[str]]) -> None:
        """Take, for each label, its wordings as they stand inside a sentence."""
        self._tokenizer = tokenizer
        self._roots: dict[Place, _Node] = {"after blank": _Node(0), "line start": _Node(0)}
        self.deepest = 0
        """Tokens of the longest phrase."""
        for place, carrier in _CARRIERS.items():
            before = tokenizer.encode(carrier.rstrip(" "))
            for label, written in forms.items():
                for phrase in written:
                    for form in dict.fromkeys((phrase, phrase[:1].upper() + phrase[1:])):
                        self._enter(place, before, carrier + form, form, label)
        due: set[tuple[int, str]] = set()
        for root in self._roots.values():
            for node in _nodes(root):
                if not node.sole:
                    found = {token: child.settles for token, child in node.children.items()}
                    node.due = {token: label for token, label in found.items() if label is not None}
                    due.update(node.due.items())
        self.due: frozenset[tuple[int, str]] = frozenset(due)
        """Every token that settles a label at some place, with the label."""
        self._forms = Trie((form, label) for label, written in forms.items() for form in written)
        self._cues = Trie((phrase, cue) for cue, listed in CUES.items() for phrase in listed)

    def _enter(self, place: Place, before: Sequence[int], text: str, form: str, label: str) -> None:
        """Enter what follows the carrier's tokens `before` when `text` (carrier and form) is tokenised."""
        whole = self._tokenizer.encode(text)
        carried = text.strip().removesuffix(form)
        # A tokenizer may write carrier and word as one, or normalise the phrase away.
        if whole[: len(before)] != list(before) or self._tokenizer.decode(whole).strip() != carried + form:
            return
        node = self._roots[place]
        for i, token in enumerate(whole[len(before) :], start=len(before) + 1):
            if token not in node.children:
                letters = node.letters
                if letters < LEAST_LETTERS:  # more need not be counted
                    so_far = self._tokenizer.decode(whole[:i]).strip()
                    letters = sum(ch.isalpha() for ch in so_far[len(carried.rstrip()) :])
                node.children[token] = _Node(letters)
            node = node.children[token]
            node.labels.add(label)
        node.ends.add(label)
        self.deepest = max(self.deepest, len(whole) - len(before))

    def begin(self, generated: Sequence[int]) -> _Begun | None:
        """What may be leant on if a phrase begins after these tokens; None where the sentence denies."""
        text = self._tokenizer.decode(generated)
        spans = sentence_spans(text + _PROBE)
        words = tokenise(text, spans[-1][0]).words
        denied, busy = False, -1
        for cue in self._cues.find(words):
            # The longest cue from a word takes the place of those that begin within it ("no change", "cannot exclude").
            if cue.first > busy:
                denied = denied or cue.target in _DENIALS
                busy = cue.last
        if denied:
            return None
        # A word without a blank before it is a word of its own only here.
        opens_word = not text or text[-1].isspace() or text[-1] in "(["
        nodes = tuple(root for place, root in self._roots.items() if place == "after blank" or opens_word)
        return _Begun(nodes, frozenset(phrase.target for phrase in self._forms.find(words)))


class PhraseBias:
    """The bias of one draft: a lexicon's trie with the log odds of this study's labels.

    It remembers where it is in the draft, so that each step reads one token; it may be asked about any other place, but
    not by two threads at once.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | PhraseTrie,
        phrases: Mapping[str, float],
        *,
        forms: Mapping[str, Sequence[str]] | None = None,
        gamma: float = PUBLISHED_GAMMA,
    ) -> None:
        """`phrases` are labels as written inside a sentence, with their log odds; `forms` are further wordings.

        A label of 0 is never leant on but still claims its words: with "lung" among the labels, "lung nodule" is
        settled by "nodule". Log odds are capped at plus and minus ln(gamma). A trie already made brings its own
        wordings, and may know more labels than `phrases` names.
        """
        if not gamma > 1:
            raise ValueError(f"gamma {gamma} is not above 1")
        if any(math.isnan(value) for value in phrases.values()):
            raise ValueError("log odds that are not a number")
        cap = math.log(gamma)
        if isinstance(tokenizer, PhraseTrie):
            if forms:
                raise ValueError("a trie has its wordings already")
            self._trie = tokenizer
        else:
            wordings = {label: dict.fromkeys((label, *(forms or {}).get(label, ()))) for label in phrases}
            self._trie = PhraseTrie(tokenizer, {label: tuple(written) for label, written in wordings.items()})
        self._values = {label: min(max(value, -cap), cap) for label, value in phrases.items() if value}
        self._written: list[int] | None = None
        self._begun: list[_Begun] = []
        self._known: dict[_Node, tuple[tuple[int, str, float], ...]] = {}
        due = self._trie.due
        self.tokens = frozenset(token for token, label in due if label in self._values)
        """Every token that some place may lean on."""
        settled = {label for _, label in due}
        self.unsettled: tuple[str, ...] = tuple(label for label in self._values if label not in settled)
        """Labels that no token settles: all of it is another's too, or the tokenizer cannot write it."""

    def at(self, generated: Sequence[int]) -> dict[int, float]:
        """What to add to which token's score after the tokens generated so far (the prompt's not among them)."""
        written = list(generated)
        if self._written is None or written[:-1] != self._written:
            # Elsewhere than one token later: all places from which a phrase can still be under way.
            self._begun = []
            for end in range(max(0, len(written) - self._trie.deepest), len(written)):
                self._step(written[:end])
        self._step(written)
        self._written = written
        return {
            token: value
            for begun in self._begun
            for node in begun.nodes
            for token, label, value in self._leaning(node)
            if label not in begun.standing
        }

    def _step(self, written: Sequence[int]) -> None:
        """Follow the last token; the newest places first, so that where two meet the longest phrase has its way."""
        on = [led for begun in self._begun if (led := begun.on(written[-1])) is not None] if written else []
        begins = self._trie.begin(written)
        self._begun = on if begins is None else [begins, *on]

    def _leaning(self, node: _Node) -> tuple[tuple[int, str, float], ...]:
        """Of the tokens that settle a label next, those of this study's labels: token, label, what is added."""
        if node not in self._known:
            due = node.due.items()
            self._known[node] = tuple(
                (token, label, self._values[label]) for token, label in due if label in self._values
            )
        return self._known[node]


def _nodes(node: _Node) -> Iterator[_Node]:
    yield node
    for child in node.children.values():
        yield from _nodes(child)


def published_bias(
    tokenizer: Tokenizer, labels: Mapping[str, float], *, gamma: float = PUBLISHED_GAMMA
) -> dict[int, float]:
    """CCD's bias, the same at every step, from labels with their probabilities (its code, mode "logit").

    Labels are tokenised without a leading blank, as given and in lower case. Tokens that open a word by their mark, and
    the first one, get the probability times .95 for each token before them; where two meet the larger one stays.
    """
    if not gamma > 1:
        raise ValueError(f"gamma {gamma} is not above 1")
    scores: dict[int, float] = {}
    for label, probability in labels.items():
        for written in (label, label.lower()):
            tokens = tokenizer.encode(written.replace("_", " "))
            opens = True
            for i, (token, piece) in enumerate(zip(tokens, tokenizer.pieces(tokens), strict=True)):
                if opens or piece.startswith(("\u0120", "\u2581")):
                    scores[token] = max(scores.get(token, 0.0), probability * PUBLISHED_DECAY**i)
                opens = piece in ("\u0120", "\u2581")
    cap = math.log(gamma)
    return {token: min(max(log_odds(score), -cap), cap) for token, score in scores.items()}


def repeated_ngrams(tokens: Sequence[int], size: int = 3) -> dict[int, float]:
    """Bans (minus infinity) on tokens that would repeat a run of `size`; CCD's loop counts the prompt's runs too."""
    if size < 1:
        raise ValueError(f"no runs of {size} tokens")
    if len(tokens) < size:
        return {}
    last = tuple(tokens[len(tokens) - size + 1 :])
    return {
        tokens[i + size - 1]: -math.inf
        for i in range(len(tokens) - size + 1)
        if tuple(tokens[i : i + size - 1]) == last
    }
