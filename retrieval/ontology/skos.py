"""The ontology as SKOS in Turtle, for tools that read vocabularies; rdflib stays in this module.

What is broader, every name, definition and caution, and the codes of other vocabularies as mapping links go out. Gap
patterns and excluded phrases stay here: a hidden label is a text to be looked up as it stands, and "heart & enlarg*" in
any order is none; whoever indexed it as one would find nothing by it, or everything.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from rdflib import Graph, Literal, Namespace, URIRef
from rdflib.namespace import DCTERMS, OWL, RDF, SKOS

from retrieval.ontology.concept import Concept, Identifier
from retrieval.ontology.ontology import Ontology

CONCEPTS: Final = Namespace("urn:x-prelim:")
"""Concepts are named, not addressed: the project has no domain, and a link that leads nowhere is a promise broken."""
SCHEME: Final = CONCEPTS["ontology"]
"""The scheme that every concept is in."""
LICENCE: Final = URIRef("https://creativecommons.org/licenses/by/4.0/")
"""Creative Commons Attribution 4.0: of the ontology alone, the software around it has its own."""
_ABOUT: Final = (
    "Concepts of thoracic radiography: findings, anatomy, devices, modifiers, certainty, change, views and statements "
    "of normality. Names, definitions and hierarchy were written by the Prelim authors. Codes of other vocabularies "
    "are given as facts, each read in two places; nothing else was taken from those vocabularies, and none of their "
    "publishers endorses this one. Not a medical device and not for clinical use."
)
_OBO: Final = "http://purl.obolibrary.org/obo/"
_ADDRESSES: Final = {
    "UMLS": "https://uts.nlm.nih.gov/uts/umls/concept/",
    "HPO": _OBO,
    "RADLEX": "http://radlex.org/RID/",
    "MESH": "http://id.nlm.nih.gov/mesh/",
    "DOID": _OBO,
    "MONDO": _OBO,
    "NCIT": f"{_OBO}NCIT_",
    "UBERON": _OBO,
}
"""Where each vocabulary's codes begin as IRIs; the OBO ones keep their prefix in the code, with "_" for ":"."""
_MATCHES: Final = {"exact": SKOS.exactMatch, "close": SKOS.closeMatch}


def write_skos(ontology: Ontology, path: Path) -> None:
    """Write the whole ontology as one Turtle file; the same ontology gives the same bytes."""
    # rdflib sorts subjects and predicates; within one predicate it keeps the order of entry, which `graph` fixes.
    path.write_text(graph(ontology).serialize(format="turtle", encoding=None), encoding="utf-8", newline="\n")


def graph(ontology: Ontology) -> Graph:
    """The ontology as triples, sides of paired anatomy included."""
    triples = Graph()
    for prefix, namespace in (("prelim", CONCEPTS), ("skos", SKOS), ("dcterms", DCTERMS), ("owl", OWL)):
        triples.bind(prefix, namespace)
    triples.add((SCHEME, RDF.type, SKOS.ConceptScheme))
    triples.add((SCHEME, DCTERMS.title, Literal("Prelim ontology of thoracic radiography", lang="en")))
    triples.add((SCHEME, DCTERMS.description, Literal(_ABOUT, lang="en")))
    triples.add((SCHEME, DCTERMS.creator, Literal("The Prelim authors")))
    triples.add((SCHEME, DCTERMS.license, LICENCE))
    triples.add((SCHEME, OWL.versionInfo, Literal(ontology.version)))
    for concept in sorted(ontology, key=lambda c: c.id):
        for predicate, value in _statements(ontology, concept):
            triples.add((resource(concept), predicate, value))
        if not concept.is_a:
            triples.add((SCHEME, SKOS.hasTopConcept, resource(concept)))
    for one, other in _related(ontology):
        triples.add((resource(one), SKOS.related, resource(other)))
        triples.add((resource(other), SKOS.related, resource(one)))
    return triples


def resource(concept: Concept) -> URIRef:
    """The name of a concept in RDF: PRELIM:0101 becomes urn:x-prelim:0101."""
    return CONCEPTS[concept.id.removeprefix("PRELIM:")]


def address(identifier: Identifier) -> URIRef:
    """The IRI that the other vocabulary gives the code."""
    return URIRef(_ADDRESSES[identifier.scheme] + identifier.code.replace(":", "_"))


def _statements(ontology: Ontology, concept: Concept) -> Iterator[tuple[URIRef, URIRef | Literal]]:
    yield RDF.type, SKOS.Concept
    yield SKOS.inScheme, SCHEME
    yield SKOS.notation, Literal(concept.id)
    yield DCTERMS.type, Literal(concept.kind)
    yield SKOS.prefLabel, Literal(concept.name, lang="en")
    for synonym in concept.synonyms:
        if synonym != concept.name:  # SKOS S13: no label is preferred and alternative at once
            yield SKOS.altLabel, Literal(synonym, lang="en")
    yield SKOS.definition, Literal(concept.definition, lang="en")
    if concept.caution:
        yield SKOS.scopeNote, Literal(concept.caution, lang="en")
    if concept.appearance:
        yield SKOS.note, Literal(f"On a radiograph: {concept.appearance}", lang="en")
    for broader in concept.is_a:
        yield SKOS.broader, resource(ontology[broader])
    if not concept.is_a:
        yield SKOS.topConceptOf, SCHEME
    for identifier in ontology.identifiers.get(concept.slug, ()):
        yield _MATCHES[identifier.match], address(identifier)


def _related(ontology: Ontology) -> Iterator[tuple[Concept, Concept]]:
    """What a concept looks like, where it is, what it is a part of and what it suggests: SKOS has one word for all."""
    for concept in sorted(ontology, key=lambda c: c.id):
        for slug in (*concept.site, *concept.part_of, *concept.implies, *concept.confused_with):
            other = ontology[slug]
            # SKOS S27: what is related is neither broader nor narrower.
            if not ontology.is_a(concept.id, other.id) and not ontology.is_a(other.id, concept.id):
                yield concept, other
