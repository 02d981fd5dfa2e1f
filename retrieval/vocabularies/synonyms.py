"""What a layer adds to our own phrases: other names of concepts that both vocabularies have, each with its origin.

A concept meets a term when one of its exact identifiers is the term's code or one of the term's cross-references. The
ontology's own phrases always win: what another concept says already is refused, and so is what would become the phrase
of two concepts. Codes decide, never likeness of names.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from retrieval.extraction.patterns import GapPatterns
from retrieval.extraction.tokens import fold_phrase
from retrieval.mentions import ConceptId
from retrieval.ontology.ontology import Ontology
from retrieval.record import Record
from retrieval.vocabularies.layer import OpenLayer

LONGEST: Final = 6
"""Words; longer names are an index's, not a radiologist's."""
SHORTEST: Final = 4
"""Letters; shorter ones are abbreviations, and those of a whole medicine mean several things in a chest report."""


class Extra(Record):
    """A phrase that a layer gives one of our concepts."""

    concept: ConceptId
    """Ours."""
    phrase: str
    """As the vocabulary spells it."""
    vocabulary: str
    """Which layer it comes from."""
    code: str
    """The term there."""
    through: str
    """The identifier that the two have in common, scheme and code."""


class Extras(Record):
    """Everything a layer adds, and how much was refused."""

    phrases: tuple[Extra, ...]
    """By concept, then phrase; no phrase twice."""
    concepts: int
    """Our concepts that a term of the layer was found for."""
    known: int
    """Phrases that the concept has already."""
    owned: int
    """Phrases refused because another of our concepts has them."""
    ambiguous: int
    """Phrases refused because the layer gives them to several of our concepts."""
    unusable: int
    """Phrases no report would contain as they stand: abbreviations, inverted names, long or bracketed ones."""


def synonyms_for(ontology: Ontology, layer: OpenLayer) -> Extras:
    """Extra phrases for our concepts; the ontology itself is left as it is."""
    own = _Owners(ontology)
    offered: dict[tuple[str, ...], dict[ConceptId, Extra]] = defaultdict(dict)
    met: set[ConceptId] = set()
    known: set[tuple[ConceptId, tuple[str, ...]]] = set()
    owned, unusable = set[tuple[str, ...]](), set[str]()
    for concept, phrase, code, through in _meetings(ontology, layer):
        met.add(concept)
        words = fold_phrase(phrase)
        if own.has(words, concept):
            known.add((concept, words))
        elif not _usable(phrase, words):
            unusable.add(phrase)
        elif own.others(words, concept):
            owned.add(words)
        else:
            extra = Extra(
                concept=concept, phrase=phrase, vocabulary=layer.layer.vocabulary, code=code, through=through
            )  # the first spelling in order stands for all that fold to the same words
            offered[words].setdefault(concept, extra)
    clear = [extra for by_concept in offered.values() if len(by_concept) == 1 for extra in by_concept.values()]
    return Extras(
        phrases=tuple(sorted(clear, key=lambda e: (e.concept, e.phrase))),
        concepts=len(met),
        known=len(known),
        owned=len(owned),
        ambiguous=len(offered) - len(clear),
        unusable=len(unusable),
    )


def _meetings(ontology: Ontology, layer: OpenLayer) -> Iterator[tuple[ConceptId, str, str, str]]:
    """Concept, phrase, code and identifier, in the order of the files and of the codes."""
    for slug, identifiers in sorted(ontology.identifiers.items()):
        for identifier in identifiers:
            if identifier.match == "exact":  # a close match has other names because it is another thing
                for code in layer.carrying(identifier.scheme, identifier.code):
                    term = layer[code]
                    for phrase in (term.name, *term.synonyms):
                        yield ontology[slug].id, phrase, code, f"{identifier.scheme} {identifier.code}"


def _usable(phrase: str, words: tuple[str, ...]) -> bool:
    plain = all(c.isascii() and (c.isalnum() or c in " -'") for c in phrase)
    return plain and 0 < len(words) <= LONGEST and sum(c.isalpha() for c in phrase) >= SHORTEST


class _Owners:
    """Which of our concepts have a phrase, folded as the extractor folds text."""

    def __init__(self, ontology: Ontology) -> None:
        self._owners: dict[tuple[str, ...], set[ConceptId]] = defaultdict(set)
        self._denied: dict[tuple[str, ...], set[ConceptId]] = defaultdict(set)
        for c in ontology:
            for phrase in (c.name, *c.synonyms):
                self._owners[fold_phrase(phrase)].add(c.id)
            for phrase in c.not_phrases:
                self._denied[fold_phrase(phrase)].add(c.id)
        self._gaps = GapPatterns((words, c.id) for c in ontology for words in c.gap_synonyms)

    def _found(self, words: tuple[str, ...]) -> set[ConceptId]:
        # A gap pattern has a phrase when it is made of all its words; a longer phrase is more specific and may stand.
        gaps = {ConceptId(m.target) for m in self._gaps.find(words, (), ()) if len(m.tokens) == len(words)}
        return gaps | self._owners.get(words, set())

    def has(self, words: tuple[str, ...], concept: ConceptId) -> bool:
        return concept in self._found(words)

    def others(self, words: tuple[str, ...], concept: ConceptId) -> bool:
        """Whether another concept has it, or this one says that it means something else."""
        return bool(self._found(words) - {concept}) or concept in self._denied.get(words, set())
