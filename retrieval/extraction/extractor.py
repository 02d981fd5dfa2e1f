"""Report text to concept mentions: the one door of this package.

    sentences ─> tokens ─> phrases and gap patterns ─> overlaps resolved ─> certainty ─> attributes bound ─> mentions

Sentences are read one by one and nothing is carried over, so their order does not matter. No download, no model;
about a thousand reports a second on one core (evaluation/measured/extraction.json).
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Final

from retrieval.extraction.attributes import AttributeAt, What, attributes_among, bind, measurement_at, tails
from retrieval.extraction.certainty import Verdict, judge
from retrieval.extraction.cues import CUES, FREE
from retrieval.extraction.matches import (
    REFUSED,
    Match,
    clause_ends,
    cues_among,
    normal_statements,
    normals_by_structure,
    places_among,
    resolve,
    tokens_of,
)
from retrieval.extraction.patterns import GapPatterns, Phrase, Trie
from retrieval.extraction.priors import standalone
from retrieval.extraction.sentences import sentence_spans
from retrieval.extraction.tokens import Tokens, tokenise
from retrieval.mentions import Certainty, ConceptId, ConceptMention, ExtractorIdentity, ReadConcepts, Side
from retrieval.ontology.concept import Concept, Kind
from retrieval.ontology.ontology import Ontology, load
from retrieval.records import Report, SectionName

READ_SECTIONS: Final[tuple[SectionName, ...]] = ("findings", "impression")
"""What a report states about its images stands here; the rest is history, technique and other people's words."""
SPEAKING: Final[frozenset[Kind]] = frozenset({"finding", "diagnosis", "device", "postoperative", "view", "normal"})
"""Kinds that become mentions; the others become attributes of mentions."""
_WINDOW: Final = 200
"""Tokens read as one sentence; a longer one (no writer's sentence) is read in pieces, so that time stays linear."""


class Extractor:
    """Reads texts with one ontology; made once, used from any thread."""

    def __init__(self, ontology: Ontology, extra: Iterable[tuple[ConceptId, str]] = ()) -> None:
        """`extra` are further synonyms, such as those of an imported vocabulary."""
        self.ontology = ontology
        further = sorted(set(extra))
        phrases: list[tuple[str, str]] = [(p, c.id) for c in ontology.written for p in (c.name, *c.synonyms)]
        phrases += [(phrase, REFUSED + c.id) for c in ontology.written for phrase in c.not_phrases]
        phrases += [(phrase, concept) for concept, phrase in further]
        self._phrases = Trie(phrases)
        # Apart, so that a long name of a change ("have cleared in the interval") does not hide the denial in it.
        self._cues = Trie((phrase, cue) for cue, listed in CUES.items() for phrase in listed)
        self._gaps = GapPatterns((words, c.id) for c in ontology.written for words in c.gap_synonyms)
        self._concepts = {c.id: c for c in ontology.written}
        self._normals = normals_by_structure(ontology)
        self._no_new, self._persistent, self._resolved = (ontology[c].id for c in ("no_new", "persistent", "resolved"))
        self.identity = ExtractorIdentity(f"concepts-1/{ontology.version}/{_rules()}" + _digest(further))

    def read_report(self, report: Report) -> ReadConcepts:
        """The mentions of a report's findings and impression, and what of it stands without an earlier study."""
        mentions: list[ConceptMention] = []
        sentence = 0
        kept: list[str] = []
        for section in report.sections:
            if section.name in READ_SECTIONS:
                start = report.text.find(section.text, section.start) if section.text else section.end
                found, sentence = self._read(report.text, start, start + len(section.text), sentence)
                mentions += found
                kept += standalone(section.text)
        return ReadConcepts(extractor=self.identity, mentions=tuple(mentions), standalone=tuple(dict.fromkeys(kept)))

    def read(self, text: str) -> list[ConceptMention]:
        """Every mention in a text without headings, in order; total: any string is read, in linear time."""
        return self._read(text, 0, len(text), 0)[0]

    def _read(self, text: str, start: int, end: int, sentence: int) -> tuple[list[ConceptMention], int]:
        """The mentions of a stretch, and the number of the sentence after it."""
        mentions: list[ConceptMention] = []
        for first, last in sentence_spans(text[start:end]):
            words, starts, ends = tokenise(text, start + first, start + last)
            for i in range(0, len(words), _WINDOW):
                piece = Tokens(words[i : i + _WINDOW], starts[i : i + _WINDOW], ends[i : i + _WINDOW])
                mentions += self._read_sentence(text, piece, sentence)
            sentence += 1
        return mentions, sentence

    def _read_sentence(self, text: str, tokens: Tokens, sentence: int) -> list[ConceptMention]:
        words = tokens.words
        # 1. Phrases, and gap patterns around them.
        phrases = self._phrases.find(words)
        if not phrases:
            return []
        named = [(p, self._concepts[ConceptId(p.target)]) for p in phrases if p.target in self._concepts]
        lesser = [(p, c) for p, c in named if c.kind not in SPEAKING]
        signs = self._cues.find(words)
        ends = clause_ends(words, signs)
        free = {i for i, word in enumerate(words) if word in FREE} | {i for p, _ in lesser for i in tokens_of(p)}
        barriers = sorted({*ends, *(i for p in signs if p.target == "normal" for i in tokens_of(p))})
        matches = [Match(c, tuple(tokens_of(p))) for p, c in named if c.kind in SPEAKING]
        for g in self._gaps.find(words, free, barriers):
            concept = self._concepts[ConceptId(g.target)]
            if concept.kind in SPEAKING:
                matches.append(Match(concept, g.tokens))
            else:
                lesser.append((Phrase(g.target, g.tokens[0], g.tokens[-1]), concept))
        # 2. Of overlapping matches the more specific one stays; normal statements are put together.
        matches = resolve(matches, phrases)
        taken = {i for m in matches for i in m.tokens}
        cues = cues_among(words, signs, matches)
        if any(c.cue == "normal" for c in cues):
            places = places_among([*lesser, *self._within(words, matches)])
            matches += normal_statements(words, places, cues, ends, matches, self._normals)
        if not matches:
            return []
        matches.sort(key=lambda m: (m.tokens, m.concept.id))
        spans = [m.span for m in matches]
        # 3. Certainty; what an operation left behind is seen, so its history counts.
        lasting = [i for i, m in enumerate(matches) if m.concept.kind in ("device", "postoperative")]
        verdicts = judge(words, spans, cues, lasting)
        # 4. Attributes, and the mentions.
        attributes = attributes_among(text, tokens, lesser, taken)
        others = tails(words, spans, attributes, ends)
        apart = {a: t for t in others for a in attributes if t.first <= a.first <= t.last}
        owned = bind(words, spans, [a for a in attributes if a not in apart], ends)
        read = [*zip(matches, verdicts, owned, strict=True)]
        for t in others:
            if verdicts[t.owner] in ("present", "absent"):
                there = Match(matches[t.owner].concept, tuple(range(t.first, t.last + 1)))
                read.append((there, "absent" if t.denied else "present", [a for a in attributes if apart.get(a) == t]))
        if others:
            read.sort(key=lambda r: (r[0].tokens, r[0].concept.id))
        return [
            self._mention(m, verdict, own, text, tokens, sentence) for m, verdict, own in read if verdict != "elsewhere"
        ]

    def _within(self, words: Sequence[str], matches: Sequence[Match]) -> list[tuple[Phrase, Concept]]:
        """The structures that normal phrases name: their words belong to the phrase, and a predicate may share them."""
        found = []
        for i in (i for m in matches if m.concept.kind == "normal" for i in m.tokens):
            for p in self._phrases.find(words[i : i + 1]):
                concept = self._concepts.get(ConceptId(p.target))
                if concept is not None and concept.kind == "anatomy":
                    found.append((Phrase(p.target, i, i), concept))
        return found

    def _mention(
        self, match: Match, verdict: Verdict, own: Sequence[AttributeAt], text: str, tokens: Tokens, sentence: int
    ) -> ConceptMention:
        certainty: Certainty = verdict if verdict in ("present", "absent") else "uncertain"
        first: dict[What, str] = {}
        # What is gone does not persist, and what is there is not gone.
        never = {"absent": self._persistent, "present": self._resolved}.get(verdict)
        for attribute in (a for a in own if a.what != "change" or a.value != never):
            first.setdefault(attribute.what, attribute.value)
        sites = tuple(dict.fromkeys(ConceptId(a.value) for a in own if a.what == "site"))
        measured = first.get("measurement")
        return ConceptMention(
            concept=match.concept.id,
            # "No acute disease" is its own denial.
            certainty="present" if match.concept.kind == "normal" else certainty,
            start=tokens.starts[match.tokens[0]],
            end=tokens.ends[match.tokens[-1]],
            sentence=sentence,
            side=self._side(match.concept, own, sites),
            sites=sites,
            severity=_id(first.get("severity")),
            size=_id(first.get("size")),
            modifiers=tuple(dict.fromkeys(ConceptId(a.value) for a in own if a.what == "modifier")),
            change=self._no_new if verdict == "no_new" else _id(first.get("change")),
            measurement=measurement_at(text, measured) if measured else None,
        )

    def _side(self, concept: Concept, own: Sequence[AttributeAt], sites: Sequence[ConceptId]) -> Side | None:
        """The side its words give, or that its place can only have (the lingula)."""
        if concept.laterality == "left" or concept.laterality == "right":
            return concept.laterality
        if concept.laterality == "midline":
            return None
        said: set[str] = {a.value for a in own if a.what == "side"}
        if not said and len(sites) == 1:
            said = {str(self._concepts[site].laterality) for site in sites} & {"left", "right"}
        if not said:
            return None
        return "left" if said == {"left"} else "right" if said == {"right"} else "bilateral"


@cache
def embedded() -> Extractor:
    """The extractor of the embedded ontology, made once a process: reading the files takes half a second."""
    return Extractor(load())


def affirmed(text: str, mentions: Iterable[ConceptMention]) -> str:
    """The text without the words of what it denies, for those who look at words: a word knows no denial."""
    words, at = [], 0
    for start, end in sorted((m.start, m.end) for m in mentions if m.certainty == "absent"):
        words.append(text[at : max(start, at)])
        at = max(end, at)
    return " ".join([*words, text[at:]])


def stated(mentions: Iterable[ConceptMention], no_new: ConceptId) -> dict[ConceptId, Certainty]:
    """What a report as a whole says of each concept: present over uncertain over absent; see POLICY.md."""
    order: tuple[Certainty, ...] = ("absent", "uncertain", "present")
    whole: dict[ConceptId, Certainty] = {}
    for m in mentions:
        if m.change == no_new:
            continue
        if order.index(m.certainty) >= order.index(whole.get(m.concept, "absent")):
            whole[m.concept] = m.certainty
    return whole


def _id(value: str | None) -> ConceptId | None:
    return None if value is None else ConceptId(value)


def _digest(further: Sequence[tuple[ConceptId, str]]) -> str:
    return "/" + hashlib.sha256(repr(further).encode()).hexdigest()[:12] if further else ""


@cache
def _rules() -> str:
    """Digest of this package's code: mentions of other rules are not the same mentions."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()[:12]
