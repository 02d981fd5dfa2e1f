"""What a sentence claims: present, absent, normal, and what cannot stand together. Every sentence is invented."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.claims import TOPICS, Claim, claims_of, contradict, is_device, standing, topic_of
from retrieval.extraction.extractor import Extractor
from retrieval.ontology.ontology import load

EXTRACTOR = Extractor(load())

SENTENCES = [
    "No focal consolidation, pleural effusion, or pneumothorax.",
    "Lungs are clear.",
    "Heart size is normal.",
    "Cardiomegaly.",
    "Small left pleural effusion.",
    "Low lung volumes.",
    "The lungs are hyperexpanded.",
    "Flattened diaphragms with emphysema.",
    "Elevated right hemidiaphragm.",
    "Bibasilar opacities.",
    "No acute bony abnormality.",
    "Healed rib fracture.",
    "Degenerative changes of the thoracic spine.",
    "Calcified granuloma in the right upper lobe.",
    "The mediastinum is unremarkable.",
    "Tortuous aorta.",
    "Mild vascular congestion.",
    "Normal pulmonary vascularity.",
]


def made(text: str) -> frozenset[Claim]:
    return claims_of(EXTRACTOR.read(text))


def said(text: str) -> set[str]:
    return {f"{c.polarity} {load()[c.concept].slug}" for c in made(text)}


def claim(polarity: str, slug: str) -> Claim:
    return Claim.parse(f"{polarity} {load()[slug].id}")


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("Small left pleural effusion.", {"present pleural_effusion"}),
        ("No pleural effusion.", {"absent pleural_effusion"}),
        ("Pleural effusion is not seen.", {"absent pleural_effusion"}),
        ("The pneumothorax has resolved.", {"absent pneumothorax"}),
        ("Mildly enlarged heart.", {"present cardiomegaly"}),
        ("The heart is not enlarged.", {"absent cardiomegaly"}),
        ("Effusion and pneumothorax.", {"present pleural_effusion", "present pneumothorax"}),
        ("Neither effusion nor pneumothorax.", {"absent pleural_effusion", "absent pneumothorax"}),
        ("An effusion cannot be excluded.", {"present pleural_effusion"}),
        ("Possible effusion.", {"present pleural_effusion"}),
        ("No new effusion.", set()),
        ("The patient is rotated.", set()),
        ("Nothing of the kind.", set()),
        ("", set()),
    ],
)
def test_a_sentence_claims_what_it_says(sentence: str, claims: set[str]) -> None:
    assert said(sentence) == claims


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("Linear atelectasis.", {"present linear_atelectasis", "present atelectasis"}),
        ("Atelectasis.", {"present atelectasis"}),
        ("Bibasilar opacities.", {"present lung_opacity"}),
        ("Loculated effusion.", {"present loculated_effusion", "present pleural_effusion"}),
        ("Right jugular catheter.", {"present central_venous_catheter", "present vascular_catheter"}),
    ],
)
def test_a_finding_counts_for_what_is_broader_but_not_for_the_broadest(sentence: str, claims: set[str]) -> None:
    assert said(sentence) == claims


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("No focal consolidation.", {"absent airspace_opacity"}),
        ("No airspace disease.", {"absent airspace_opacity"}),
        ("No pneumonia.", {"absent airspace_opacity"}),
        ("No air bronchogram.", {"absent air_bronchogram"}),
        ("No nodule.", {"absent lung_lesion"}),
        ("No lung mass.", {"absent lung_lesion"}),
        ("No rib fracture.", {"absent fracture"}),
        ("No lung opacity.", {"absent lung_opacity"}),
    ],
)
def test_denials_in_other_words_deny_one_thing(sentence: str, claims: set[str]) -> None:
    assert said(sentence) == claims


@pytest.mark.parametrize(
    "end",
    [
        "but there is",
        "; there is",
        "; mild",
        "however",
        "except for",
        "although",
        "aside from",
        ", with mild",
        ", there is",
    ],
)
def test_a_denial_ends_with_its_clause(end: str) -> None:
    claims = said(f"No pneumothorax {end} left basilar atelectasis.".replace(" ;", ";").replace(" ,", ","))
    assert claims == {"absent pneumothorax", "present atelectasis"}


@pytest.mark.parametrize("sentence", ["Effusion without change.", "Effusion, not significantly changed."])
def test_a_word_about_change_denies_no_finding(sentence: str) -> None:
    assert said(sentence) == {"present pleural_effusion"}


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("The heart is normal in size.", {"normal normal_heart_size"}),
        ("Clear lungs.", {"normal clear_lungs"}),
        ("Heart and mediastinum are unremarkable.", {"normal normal_heart_size", "normal normal_mediastinum"}),
        (
            "The cardiomediastinal silhouette is within normal limits.",
            {"normal normal_cardiomediastinal_silhouette", "normal normal_heart_size", "normal normal_mediastinum"},
        ),
        ("The hemidiaphragms are sharp.", {"normal normal_diaphragm"}),
        ("No acute bony abnormality.", {"normal no_acute_bone_finding"}),
    ],
)
def test_a_normal_statement_speaks_of_every_structure_that_it_implies(sentence: str, claims: set[str]) -> None:
    assert said(sentence) == claims


@pytest.mark.parametrize(
    "sentence",
    ["Heart size is at the upper limits of normal.", "Heart is borderline normal.", "The lungs are not clear."],
)
def test_a_hedge_takes_the_normal_statement_back(sentence: str) -> None:
    assert not any(c.polarity == "normal" for c in made(sentence))


def test_the_finding_outweighs_the_normal_words_around_it() -> None:
    assert said("Heart is normal with mild cardiomegaly.") == {"present cardiomegaly"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pleural effusion.", "No pleural effusion."),
        ("Cardiomegaly.", "Heart size is normal."),
        ("Left lower lobe pneumonia.", "No focal consolidation."),
        ("Loculated effusion.", "No pleural effusion."),
        ("Left lower lobe pneumonia.", "Lungs are clear."),
        ("Low lung volumes.", "The lungs are hyperexpanded."),
        ("Low lung volumes.", "Lungs are well expanded."),
        ("Flattened diaphragms.", "The diaphragm is unremarkable."),
        ("Basilar opacity.", "Lungs are clear."),
        ("Healed rib fracture.", "No acute bony abnormality."),
        ("Vascular congestion.", "Pulmonary vascularity is normal."),
    ],
)  # fmt: skip
def test_two_sentences_that_no_patient_could_have_contradict_each_other(one: str, other: str) -> None:
    assert any(contradict(a, b) for a, b in product(made(one), made(other)))
    assert any(contradict(b, a) for a, b in product(made(one), made(other)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pleural effusion.", "No pneumothorax."),
        ("Cardiomegaly.", "Lungs are clear."),
        ("Degenerative changes of the thoracic spine.", "No acute bony abnormality."),
        ("Tortuous aorta.", "Heart size is normal."),
        ("Basilar atelectasis.", "No focal consolidation."),
        ("No pleural effusion.", "Lungs are clear."),
        ("Low lung volumes.", "Basilar atelectasis."),
        ("Calcified granuloma.", "Lungs are clear."),
        ("Basilar opacity.", "No focal consolidation."),
    ],
)
def test_two_sentences_that_one_patient_can_have_do_not_contradict(one: str, other: str) -> None:
    assert made(one)
    assert made(other)
    assert not any(contradict(a, b) for a, b in product(made(one), made(other)))


@given(st.lists(st.sampled_from(SENTENCES), max_size=6))
def test_what_stands_of_a_report_holds_every_finding_and_nothing_against_it(sentences: list[str]) -> None:
    every = {c for s in sentences for c in made(s)}
    kept = standing(every)
    present = {c for c in every if c.polarity == "present"}
    assert present <= kept <= every
    assert all(any(contradict(p, c) for p in present) for c in every - kept)
    assert not any(contradict(p, c) for p in present for c in kept - present)


def test_no_two_claims_contradict_each_other_one_way_only() -> None:
    claims = sorted({c for s in SENTENCES for c in made(s)})
    assert all(contradict(a, b) == contradict(b, a) for a, b in product(claims, claims))
    assert not any(contradict(a, a) for a in claims)


def test_a_claim_can_be_written_and_read_again() -> None:
    for made_of in {c for s in SENTENCES for c in made(s)}:
        assert Claim.parse(str(made_of)) == made_of


@pytest.mark.parametrize(
    "text", ["", "present", "present ", "PRELIM:0221", "uncertain PRELIM:0221", "PRESENT PRELIM:0221", "present Mass"]
)
def test_text_that_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a claim is written as"):
        Claim.parse(text)


@pytest.mark.parametrize(
    ("slug", "topic"),
    [
        ("pleural_effusion", "pleura"),
        ("blunted_costophrenic_angle", "pleura"),
        ("atelectasis", "lungs"),
        ("cardiomegaly", "heart"),
        ("pulmonary_vascular_congestion", "heart"),
        ("tortuous_aorta", "mediastinum"),
        ("hiatal_hernia", "abdomen"),
        ("hilar_enlargement", "mediastinum"),
        ("vertebral_compression_fracture", "bones"),
        ("rib_fracture", "bones"),
        ("elevated_hemidiaphragm", "abdomen"),
        ("pneumoperitoneum", "abdomen"),
        ("picc", "devices"),
        ("sternotomy", "devices"),
    ],
)
def test_a_finding_is_read_where_it_usually_is(slug: str, topic: str) -> None:
    assert topic_of(claim("present", slug)) == topic


@pytest.mark.parametrize(
    ("slug", "topic"),
    [
        ("clear_lungs", "lungs"),
        ("normal_chest", "lungs"),
        ("normal_heart_size", "heart"),
        ("normal_cardiomediastinal_silhouette", "mediastinum"),
        ("no_acute_bone_finding", "bones"),
        ("normal_upper_abdomen", "abdomen"),
    ],
)
def test_a_normal_statement_is_read_with_its_structure(slug: str, topic: str) -> None:
    assert topic_of(claim("normal", slug)) == topic


def test_every_concept_that_can_be_claimed_has_a_topic_and_every_topic_has_some() -> None:
    kinds = ("finding", "diagnosis", "device", "postoperative")
    claims = [claim("present", c.slug) for c in load().written if c.kind in kinds]
    assert {topic_of(c) for c in claims} == set(TOPICS)
    assert all(is_device(c) == (topic_of(c) == "devices") for c in claims)
