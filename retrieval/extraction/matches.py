"""What a sentence names: matches of patterns, which of overlapping ones count, and normal statements put together.

Phrases and gap matches in, matches out. A normal statement has two parts that may be far apart, a structure and a
predicate ("the heart, hila and mediastinum are normal"), so it is assembled here and is no pattern.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, NamedTuple, cast

from retrieval.extraction.certainty import CueAt, Span
from retrieval.extraction.cues import Cue
from retrieval.extraction.patterns import Phrase
from retrieval.mentions import ConceptId
from retrieval.ontology.concept import Concept
from retrieval.ontology.ontology import Ontology

REFUSED: Final = "not:"
"""Prefix of the target of a phrase in which a concept's name means something else."""
_OPENS_DENIAL: Final = frozenset(("no", "without", "negative"))
_WHOLE: Final = "thorax"
"""That the chest as a whole is normal is said in fixed phrases; the word alone stands in "bony thorax" too."""
_MIDLINE: Final = frozenset({"trachea", "mediastinum", "airway", "cardiomediastinal_silhouette", "esophagus"})
"""Structures of which "midline" says that they are normal; of surgical clips it says where they are."""


class Match(NamedTuple):
    """A concept named by words of a sentence."""

    concept: Concept
    """What is named."""
    tokens: tuple[int, ...]
    """The words that name it, in order."""

    @property
    def span(self) -> Span:
        """From the first to the last of its words."""
        return Span(self.tokens[0], self.tokens[-1])


def tokens_of(phrase: Phrase) -> range:
    """Every token of a phrase."""
    return range(phrase.first, phrase.last + 1)


def clause_ends(words: Sequence[str], signs: Sequence[Phrase]) -> list[int]:
    """Tokens at which a clause ends, sorted."""
    return sorted(
        {*(i for i, w in enumerate(words) if w in (";", ".")), *(p.first for p in signs if p.target == "end")}
    )


def resolve(matches: Sequence[Match], phrases: Sequence[Phrase]) -> list[Match]:
    """Drop refused matches, doubles, and every match whose words another match has and more."""
    refused = [p for p in phrases if p.target.startswith(REFUSED)]
    longest: dict[tuple[ConceptId, int], Match] = {}
    for m in matches:
        if any(
            p.target == REFUSED + m.concept.id and p.first <= m.tokens[-1] and p.last >= m.tokens[0] for p in refused
        ):
            continue
        key = m.concept.id, m.tokens[0]
        if key not in longest or len(m.tokens) > len(longest[key].tokens):
            longest[key] = m
    if len(longest) < 2:
        return list(longest.values())
    sets = [(m, frozenset(m.tokens)) for m in longest.values()]
    specific = [m for m, own in sets if not any(own < other for _, other in sets)]
    # One concept named twice by overlapping words is one mention.
    single: list[Match] = []
    for m in sorted(specific, key=lambda m: (m.tokens[-1] - m.tokens[0], m.tokens)):
        if not any(m.concept.id == s.concept.id and set(m.tokens) & set(s.tokens) for s in single):
            single.append(m)
    return single


def cues_among(words: Sequence[str], signs: Sequence[Phrase], matches: Sequence[Match]) -> list[CueAt]:
    """The cues in order, less those whose words are all part of a match.

    A longer cue takes the place of those that begin within it ("not well seen"); a normal phrase that opens with a
    denial goes on denying ("no acute disease or effusion").
    """
    taken = {i for m in matches for i in m.tokens}
    # "Normal heart size and mediastinal contours": a predicate that opens a normal phrase may have another subject yet.
    opening = {m.tokens[0] for m in matches if m.concept.kind == "normal"}
    found: list[CueAt] = []
    busy = -1
    for p in signs:
        if p.first <= busy:
            continue
        # "There is possible pneumonia": nothing stands before the verb that it could speak of.
        if p.target.endswith("_before") and p.first and words[p.first - 1] == "there":
            continue
        if p.last > p.first:
            busy = p.last
        if (p.target == "normal" and p.first in opening) or not all(t in taken for t in tokens_of(p)):
            found.append(CueAt(cast(Cue, p.target), p.first, p.last))
    for m in matches:
        if m.concept.kind == "normal" and words[m.tokens[0]] in _OPENS_DENIAL:
            # Only as far as its words stand together: "no fracture or bony abnormality" denies the fracture.
            run = next((a for a, b in pairwise(m.tokens) if b != a + 1), m.tokens[-1])
            found.append(CueAt("deny_after", m.tokens[0], run))
    return sorted(found, key=lambda c: (c.first, c.last))


def normals_by_structure(ontology: Ontology) -> dict[ConceptId, tuple[Concept, ...]]:
    """Which normal concepts the normality of a structure states."""
    found: dict[ConceptId, tuple[Concept, ...]] = {}
    for c in ontology.written:
        if c.kind == "normal":
            for site in ontology.ids(slug for slug in c.site if slug != _WHOLE):
                found[site] = (*found.get(site, ()), c)
    return found


def normal_statements(
    words: Sequence[str],
    places: Sequence[tuple[Phrase, Concept]],
    cues: Sequence[CueAt],
    ends: Sequence[int],
    matches: Sequence[Match],
    normals: Mapping[ConceptId, Sequence[Concept]],
) -> list[Match]:
    """Normal concepts from a structure and a predicate in one clause; one match for each concept.

    The structures to the left are the predicate's subjects, as far back as another predicate or finding; when there
    are none it stands in front of them ("normal heart size"), or shares those of the normal phrase that it follows
    ("the lungs are well expanded and clear").
    """
    taken = {i for m in matches for i in m.tokens}
    free = [(p, c) for p, c in places if not (p.first in taken and p.last in taken)]
    predicates = [c for c in cues if c.cue == "normal"]
    found: dict[ConceptId, Match] = {}
    used: set[int] = set()
    for predicate in predicates:
        if any(c.cue in ("deny_after", "idle") and c.last + 1 == predicate.first for c in cues):
            continue  # "not normal", "otherwise normal"
        begin = max([0, *(e + 1 for e in ends if e < predicate.first)])
        end = min([len(words), *(e for e in ends if e > predicate.last)])
        others = [c.first for c in predicates if c is not predicate]
        others += [m.tokens[-1] for m in matches if m.tokens[0] != predicate.first or m.concept.kind != "normal"]
        left = max([begin, *(o + 1 for o in others if o < predicate.first)])
        subjects = [(p, c) for p, c in free if left <= p.first and p.last < predicate.first and p.first not in used]
        if not subjects:
            for m in matches:
                between = words[m.tokens[-1] + 1 : predicate.first]
                if m.concept.kind == "normal" and m.tokens[-1] < predicate.first and set(between) <= {"and", ","}:
                    subjects = [(p, c) for p, c in places if m.tokens[0] <= p.first and p.last <= m.tokens[-1]]
        if not subjects:
            right = min([end, *(o for o in others if o > predicate.last)])
            subjects = [(p, c) for p, c in free if predicate.last < p.first and p.last < right]
        midline = words[predicate.first] == "midline"
        for p, c in subjects:
            used.add(p.first)
            # "Pulmonary XXXX are normal" does not speak of the lungs.
            if (midline and c.slug not in _MIDLINE) or words[p.first : p.last + 1] == ["pulmonary"]:
                continue
            for normal in normals.get(c.id, ()):
                tokens = {*tokens_of(p), *range(predicate.first, predicate.last + 1)}
                found.setdefault(normal.id, Match(normal, tuple(sorted(tokens))))
    named = {m.concept.id for m in matches}
    return [m for concept, m in found.items() if concept not in named]


def places_among(lesser: Sequence[tuple[Phrase, Concept]]) -> list[tuple[Phrase, Concept]]:
    """The anatomy of a sentence that is not part of a longer name ("thorax" in "bony thorax")."""
    places = [(p, c) for p, c in lesser if c.kind == "anatomy"]
    return [
        (p, c)
        for p, c in places
        if not any(
            q.first <= p.first and p.last <= q.last and (q.first, q.last) != (p.first, p.last) for q, _ in places
        )
    ]
