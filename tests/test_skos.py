"""The ontology written as SKOS is the ontology: parsed again, it has the same concepts, edges, names and matches."""

import hashlib
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("rdflib", reason="pip install 'prelim[vocabularies]'")

from rdflib import Graph, Literal, URIRef
from rdflib.namespace import DCTERMS, RDF, SKOS

from retrieval.ontology.concept import Concept, Identifier
from retrieval.ontology.ontology import Ontology, load
from retrieval.ontology.skos import LICENCE, SCHEME, address, resource, write_skos

ONTOLOGY = load()
WRITE = (
    "import sys; from pathlib import Path; from retrieval.ontology.ontology import load; "
    "from retrieval.ontology.skos import write_skos; write_skos(load(), Path(sys.argv[1]))"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    path = tmp_path_factory.mktemp("skos") / "prelim.ttl"
    write_skos(ONTOLOGY, path)
    return Graph().parse(path, format="turtle")


def anatomy(number: int, slug: str, **fields: object) -> Concept:
    """A concept that needs no more than this."""
    sound = {
        "id": f"PRELIM:{number}", "slug": slug, "kind": "anatomy", "name": slug, "definition": "Invented for a test.",
    }  # fmt: skip
    return Concept.model_validate(sound | fields)


def test_every_concept_comes_back_with_its_notation(written: Graph) -> None:
    assert set(written.subjects(RDF.type, SKOS.Concept)) == {resource(c) for c in ONTOLOGY}
    assert {str(o) for o in written.objects(None, SKOS.notation)} == {c.id for c in ONTOLOGY}
    assert Counter(str(o) for o in written.objects(None, DCTERMS.type)) == Counter(c.kind for c in ONTOLOGY)


def test_the_broader_edges_are_the_ontologys(written: Graph) -> None:
    edges = {(resource(c), resource(ONTOLOGY[slug])) for c in ONTOLOGY for slug in c.is_a}
    assert set(written.subject_objects(SKOS.broader)) == edges


def test_what_has_nothing_broader_is_a_top_concept(written: Graph) -> None:
    top = {resource(c) for c in ONTOLOGY if not c.is_a}
    assert set(written.objects(SCHEME, SKOS.hasTopConcept)) == top
    assert set(written.subjects(SKOS.topConceptOf, SCHEME)) == top


@pytest.mark.parametrize(("match", "predicate"), [("exact", SKOS.exactMatch), ("close", SKOS.closeMatch)])
def test_codes_of_other_vocabularies_come_back_as_matches(written: Graph, match: str, predicate: URIRef) -> None:
    links = {
        (resource(ONTOLOGY[slug]), address(row))
        for slug, rows in ONTOLOGY.identifiers.items()
        for row in rows
        if row.match == match
    }
    assert set(written.subject_objects(predicate)) == links


def test_a_code_has_the_address_that_its_vocabulary_gives_it() -> None:
    def at(scheme: str, code: str) -> str:
        row = {"scheme": scheme, "code": code, "sources": ("one", "another"), "verified": "2025-01"}
        return str(address(Identifier.model_validate(row)))

    assert at("HPO", "HP:0002202") == "http://purl.obolibrary.org/obo/HP_0002202"
    assert at("NCIT", "C3331") == "http://purl.obolibrary.org/obo/NCIT_C3331"
    assert at("RADLEX", "RID34539") == "http://radlex.org/RID/RID34539"
    assert at("MESH", "D010996") == "http://id.nlm.nih.gov/mesh/D010996"
    for rows in ONTOLOGY.identifiers.values():
        assert all(address(row) for row in rows)


def test_names_and_notes_come_back_word_for_word(written: Graph) -> None:
    for c in ONTOLOGY:
        subject = resource(c)
        assert list(written.objects(subject, SKOS.prefLabel)) == [Literal(c.name, lang="en")]
        assert {str(o) for o in written.objects(subject, SKOS.altLabel)} == set(c.synonyms) - {c.name}
        assert [str(o) for o in written.objects(subject, SKOS.definition)] == [c.definition]
        assert [str(o) for o in written.objects(subject, SKOS.scopeNote)] == ([c.caution] if c.caution else [])
        notes = [str(o) for o in written.objects(subject, SKOS.note)]
        assert notes == ([f"On a radiograph: {c.appearance}"] if c.appearance else [])


def test_related_concepts_are_related_both_ways_and_never_broader(written: Graph) -> None:
    pairs = set(written.subject_objects(SKOS.related))
    assert pairs
    assert pairs == {(other, one) for one, other in pairs}
    named = {resource(c): c.id for c in ONTOLOGY}
    assert not [pair for pair in pairs if ONTOLOGY.is_a(named[pair[0]], named[pair[1]])]
    said = {
        (resource(c), resource(ONTOLOGY[slug]))
        for c in ONTOLOGY
        for slug in (*c.site, *c.part_of, *c.implies, *c.confused_with)
        if not ONTOLOGY.is_a(c.id, ONTOLOGY[slug].id) and not ONTOLOGY.is_a(ONTOLOGY[slug].id, c.id)
    }
    assert pairs == said | {(other, one) for one, other in said}


def test_a_part_that_is_also_narrower_is_not_called_related(tmp_path: Path) -> None:
    whole = anatomy(9001, "vessel", synonyms=("vessel", "tube of blood"))
    part = anatomy(9002, "artery", is_a=("vessel",), part_of=("vessel",))
    write_skos(Ontology([whole, part]), tmp_path / "two.ttl")
    read = Graph().parse(tmp_path / "two.ttl", format="turtle")
    assert list(read.subject_objects(SKOS.related)) == []
    assert [str(o) for o in read.objects(None, SKOS.altLabel)] == ["tube of blood"]


def test_the_file_states_its_licence_and_version(written: Graph) -> None:
    assert list(written.objects(SCHEME, DCTERMS.license)) == [LICENCE]
    assert Literal(ONTOLOGY.version) in set(written.objects(SCHEME, None))
    assert set(written.subjects(SKOS.inScheme, SCHEME)) == {resource(c) for c in ONTOLOGY}


def test_the_same_ontology_gives_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    digests = set()
    for seed in ("1", "2"):
        path = tmp_path / f"{seed}.ttl"
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", WRITE, str(path)], check=True, env=environment, timeout=120)
        digests.add(hashlib.sha256(path.read_bytes()).hexdigest())
    assert len(digests) == 1
