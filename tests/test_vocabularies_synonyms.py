"""What a layer adds to our concepts: found by code, refused where ours says it already, never more than offered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from retrieval.ontology.concept import Concept, Identifier
from retrieval.ontology.ontology import Ontology
from retrieval.vocabularies.layer import OpenLayer
from retrieval.vocabularies.licences import UMLS
from retrieval.vocabularies.synonyms import Extras, synonyms_for
from retrieval.vocabularies.writing import LayerDraft, write_layer
from tests.vocabularies_files import MAKERS, acknowledged, imported

Said = dict[str, Sequence[str]]


def concept(number: int, name: str, **more: Any) -> Concept:
    return Concept(
        id=f"PRELIM:{number:04d}",
        slug=name.replace(" ", "_"),
        kind="finding",
        name=name,
        definition="Invented for a test.",
        **more,
    )


def identifier(code: str, scheme: str = "UMLS", match: str = "exact") -> Identifier:
    return Identifier.model_validate(
        {"scheme": scheme, "code": code, "match": match, "sources": ("one", "two"), "verified": "2026-01"}
    )


@pytest.fixture
def ontology() -> Ontology:
    return Ontology(
        [
            concept(1, "dim thorax", synonyms=("dull thorax",), not_phrases=("thorax of dusk",)),
            concept(2, "bright thorax", synonyms=("thoracic oedema",), gap_synonyms=(("gleam*|shine", "thorax"),)),
            concept(3, "odd thorax"),
        ],
        identifiers={
            "dim_thorax": [identifier("C0000001"), identifier("HP:9000001", "HPO")],
            "bright_thorax": [identifier("C0000002")],
            "odd_thorax": [identifier("C0000003", match="close")],
        },
    )


def layer(folder: Path, said: Said, xrefs: dict[str, tuple[str, str]] | None = None) -> OpenLayer:
    def facts(draft: LayerDraft) -> tuple[str, str]:
        for code, phrases in said.items():
            for phrase in phrases:
                draft.name(code, phrase)
        for code, (scheme, other) in (xrefs or {}).items():
            draft.xref(code, scheme, other)
        return "", "0" * 64

    write_layer(folder / "made.sqlite", "UMLS", "UMLS", UMLS, acknowledged("umls"), facts)
    return OpenLayer(folder / "made.sqlite")


def phrases(extras: Extras) -> list[tuple[str, str]]:
    return [(extra.concept, extra.phrase) for extra in extras.phrases]


def test_a_phrase_comes_with_its_vocabulary_its_code_and_the_identifier_in_common(
    ontology: Ontology, tmp_path: Path
) -> None:
    (extra,) = synonyms_for(ontology, layer(tmp_path, {"C0000001": ["gloomy thorax"]})).phrases
    assert (extra.concept, extra.phrase) == ("PRELIM:0001", "gloomy thorax")
    assert (extra.vocabulary, extra.code, extra.through) == ("UMLS", "C0000001", "UMLS C0000001")


def test_a_cross_reference_leads_to_the_concept_and_a_likeness_of_names_does_not(
    ontology: Ontology, tmp_path: Path
) -> None:
    made = layer(
        tmp_path,
        {"C0000008": ["gloomy thorax"], "C0000009": ["dim thorax", "dusky thorax"]},
        {"C0000008": ("HP", "9000001")},
    )
    (extra,) = synonyms_for(ontology, made).phrases
    assert (extra.phrase, extra.code, extra.through) == ("gloomy thorax", "C0000008", "HPO HP:9000001")


@pytest.mark.parametrize("token", ["umls", "radlex", "hp"])
def test_imported_layers_meet_the_ontology(token: str, ontology: Ontology, tmp_path: Path) -> None:
    extras = synonyms_for(ontology, imported(token, MAKERS[token](tmp_path / "source"), tmp_path / "layer"))
    assert ("PRELIM:0001", "gloomy thorax") in phrases(extras)


@pytest.mark.parametrize(
    "theirs",
    ["bright thorax", "Bright-Thorax", "thoracic edema", "thoracic oedemas",
     "gleaming thorax", "thorax shine"],
)  # fmt: skip
def test_what_another_of_our_concepts_says_is_refused_however_it_is_spelled(
    theirs: str, ontology: Ontology, tmp_path: Path
) -> None:
    extras = synonyms_for(ontology, layer(tmp_path, {"C0000001": [theirs]}))
    assert (extras.phrases, extras.owned) == ((), 1)


def test_a_phrase_that_our_concept_says_means_something_else_is_refused(ontology: Ontology, tmp_path: Path) -> None:
    extras = synonyms_for(ontology, layer(tmp_path, {"C0000001": ["thorax of dusk"]}))
    assert (extras.phrases, extras.owned) == ((), 1)


def test_ours_are_left_as_they_are_and_not_given_again(ontology: Ontology, tmp_path: Path) -> None:
    before = [c.model_dump_json() for c in ontology]
    extras = synonyms_for(ontology, layer(tmp_path, {"C0000001": ["Dim Thorax", "dull thorax", "dull-thorax"]}))
    assert (extras.phrases, extras.known) == ((), 2)
    assert [c.model_dump_json() for c in ontology] == before


def test_a_phrase_for_two_of_our_concepts_goes_to_neither(ontology: Ontology, tmp_path: Path) -> None:
    made = layer(tmp_path, {"C0000001": ["strange thorax", "gloomy thorax"], "C0000002": ["Strange Thorax"]})
    extras = synonyms_for(ontology, made)
    assert phrases(extras) == [("PRELIM:0001", "gloomy thorax")]
    assert (extras.ambiguous, extras.concepts) == (1, 2)


def test_a_close_match_gives_nothing(ontology: Ontology, tmp_path: Path) -> None:
    extras = synonyms_for(ontology, layer(tmp_path, {"C0000003": ["peculiar thorax"]}))
    assert (extras.phrases, extras.concepts) == ((), 0)


@pytest.mark.parametrize(
    "theirs",
    [
        "DT",
        "3D",
        "thorax, gloomy",
        "gloomy thorax (finding)",
        "a thorax so gloomy that nobody reads it",
        "trüber thorax",
    ],
)
def test_abbreviations_inverted_and_bracketed_names_are_counted_and_left_out(
    theirs: str, ontology: Ontology, tmp_path: Path
) -> None:
    extras = synonyms_for(ontology, layer(tmp_path, {"C0000001": [theirs]}))
    assert (extras.phrases, extras.unusable) == ((), 1)


def test_spellings_that_fold_to_the_same_words_are_one_phrase(ontology: Ontology, tmp_path: Path) -> None:
    made = layer(tmp_path, {"C0000001": ["Gloomy Thorax", "gloomy thorax", "gloomy-thorax"]})
    assert phrases(synonyms_for(ontology, made)) == [("PRELIM:0001", "Gloomy Thorax")]
