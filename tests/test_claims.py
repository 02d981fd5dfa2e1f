"""What a sentence claims: present, absent, normal, and what cannot stand together. Every sentence is invented."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.claims import TOPICS, Claim, claims_of, contradict, standing, topic_of
from generation.terms import DEVICES, HEADS, read

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


def said(sentence: str) -> set[str]:
    return {str(c) for c in claims_of(sentence)}


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("Small left pleural effusion.", {"present Pleural Effusion"}),
        ("No pleural effusion.", {"absent Pleural Effusion"}),
        ("Pleural effusion is not seen.", {"absent Pleural Effusion"}),
        ("There is no evidence of pleural effusion.", {"absent Pleural Effusion"}),
        ("Lungs are free of consolidation.", {"absent Airspace Disease", "normal lungs"}),
        ("The pneumothorax has resolved.", {"absent Pneumothorax"}),
        ("Mildly enlarged heart.", {"present Cardiomegaly"}),
        ("The heart is enlarged.", {"present Cardiomegaly"}),
        ("The heart is not enlarged.", {"absent Cardiomegaly", "normal heart"}),
        ("Tortuous aorta.", {"present Aorta"}),
        ("Nothing of the kind.", set()),
        ("", set()),
    ],
)
def test_a_sentence_claims_what_it_says(sentence: str, claims: set[str]) -> None:
    assert said(sentence) == claims


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        (
            "No focal consolidation, pleural effusion, or pneumothorax.",
            {"absent Airspace Disease", "absent Pleural Effusion", "absent Pneumothorax"},
        ),
        ("No effusion, edema, nodule, or pneumothorax is seen.",
            {"absent Pleural Effusion", "absent Pulmonary Edema", "absent Nodule", "absent Pneumothorax"}),
        ("Neither effusion nor pneumothorax.", {"absent Pleural Effusion", "absent Pneumothorax"}),
        ("Without effusion or pneumothorax.", {"absent Pleural Effusion", "absent Pneumothorax"}),
        ("Effusion and pneumothorax.", {"present Pleural Effusion", "present Pneumothorax"}),
    ],
)  # fmt: skip
def test_a_denial_reaches_every_part_of_its_list(sentence: str, claims: set[str]) -> None:
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
    assert claims == {"absent Pneumothorax", "present Pulmonary Atelectasis"}


@pytest.mark.parametrize(
    "sentence",
    ["Effusion without change.", "Effusion, not significantly changed.", "An effusion cannot be excluded."],
)
def test_a_word_about_change_denies_no_finding(sentence: str) -> None:
    assert said(sentence) == {"present Pleural Effusion"}


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("Heart size is normal.", {"normal heart"}),
        ("The heart is normal in size.", {"normal heart"}),
        ("Lungs are clear.", {"normal lungs"}),
        ("Clear lungs.", {"normal lungs"}),
        ("The cardiomediastinal silhouette is within normal limits.", {"normal heart", "normal mediastinum"}),
        ("Heart and mediastinum are unremarkable.", {"normal heart", "normal mediastinum"}),
        ("The hemidiaphragms are sharp.", {"normal diaphragm"}),
        ("Osseous structures are unremarkable.", {"normal bones"}),
        ("No acute bony abnormality.", {"absent acute bone"}),
        ("Bony structures are intact.", {"absent acute bone"}),
        ("Lungs are well expanded and clear.", {"normal lungs", "normal inflation"}),
    ],
)
def test_a_normal_statement_claims_its_structure(sentence: str, claims: set[str]) -> None:
    assert said(sentence) == claims


@pytest.mark.parametrize(
    "sentence",
    ["Heart size is at the upper limits of normal.", "Heart is borderline normal.", "The lungs are not clear."],
)
def test_a_hedge_takes_the_normal_statement_back(sentence: str) -> None:
    assert not any(c.polarity == "normal" for c in claims_of(sentence))


def test_the_finding_outweighs_the_normal_words_around_it() -> None:
    assert said("Lungs are clear with a calcified granuloma.") == {"present Calcified Granuloma"}
    assert said("Heart is normal with mild cardiomegaly.") == {"present Cardiomegaly"}


@pytest.mark.parametrize(
    ("sentence", "claims"),
    [
        ("Low lung volumes.", {"present Lung/low"}),
        ("Hyperexpanded lungs.", {"present Lung/high"}),
        ("Flattened diaphragms.", {"present Diaphragm/flat"}),
        ("The right hemidiaphragm is elevated.", {"present Diaphragm/elevated"}),
    ],
)
def test_findings_that_share_a_name_are_told_apart_by_their_qualifier(sentence: str, claims: set[str]) -> None:
    assert said(sentence) == claims


def test_of_two_rivals_in_one_sentence_neither_is_believed() -> None:
    assert said("Hyperinflated lungs with a small pleural effusion.") == {"present Pleural Effusion"}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pleural effusion.", "No pleural effusion."),
        ("Cardiomegaly.", "Heart size is normal."),
        ("Basilar opacity.", "No focal consolidation."),
        ("Left lower lobe pneumonia.", "Lungs are clear."),
        ("Pleural effusion.", "Lungs are clear."),
        ("Low lung volumes.", "The lungs are hyperexpanded."),
        ("Low lung volumes.", "Lungs are well expanded."),
        ("Flattened diaphragms.", "Elevated right hemidiaphragm."),
        ("Healed rib fracture.", "No acute bony abnormality."),
        ("Osteophytes.", "Osseous structures are unremarkable."),
        ("Calcified granuloma.", "No pulmonary nodule or mass."),
        ("Enlarged cardiac silhouette.", "The mediastinum is unremarkable."),
        ("Vascular congestion.", "Pulmonary vascularity is normal."),
    ],
)  # fmt: skip
def test_two_sentences_that_no_patient_could_have_contradict_each_other(one: str, other: str) -> None:
    assert any(contradict(a, b) for a, b in product(claims_of(one), claims_of(other)))
    assert any(contradict(b, a) for a, b in product(claims_of(one), claims_of(other)))


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
    ],
)
def test_two_sentences_that_one_patient_can_have_do_not_contradict(one: str, other: str) -> None:
    assert claims_of(one)
    assert claims_of(other)
    assert not any(contradict(a, b) for a, b in product(claims_of(one), claims_of(other)))


@given(st.lists(st.sampled_from(SENTENCES), max_size=3).map(" ".join))
def test_no_text_contradicts_itself_in_its_claims(text: str) -> None:
    claims = claims_of(text)
    assert not any(contradict(a, b) for a in claims for b in claims if a is not b)


@given(st.lists(st.sampled_from(SENTENCES), max_size=6))
def test_what_stands_of_a_report_holds_every_finding_and_nothing_against_it(sentences: list[str]) -> None:
    made = {c for s in sentences for c in claims_of(s)}
    kept = standing(made)
    present = {c for c in made if c.polarity == "present"}
    assert present <= kept <= made
    assert all(any(contradict(p, c) for p in present) for c in made - kept)
    assert not any(contradict(p, c) for p in present for c in kept - present)


@pytest.mark.parametrize(
    "claim", [Claim("present", "Lung/low"), Claim("absent", "acute bone"), Claim("normal", "heart")]
)
def test_a_claim_can_be_written_and_read_again(claim: Claim) -> None:
    assert Claim.parse(str(claim)) == claim


@pytest.mark.parametrize("text", ["", "present", "present ", "Pleural Effusion", "uncertain Mass", "PRESENT Mass"])
def test_text_that_is_no_claim_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a claim is written as"):
        Claim.parse(text)


def test_every_finding_is_read_under_a_topic_and_every_device_under_devices() -> None:
    assert {topic_of(Claim("present", head)) for head in HEADS} == set(TOPICS)
    assert {topic_of(Claim("present", head)) for head in DEVICES} == {"devices"}
    assert topic_of(Claim("present", "Pleural Effusion")) == "pleura"
    assert topic_of(Claim("normal", "vessels")) == "heart"


@pytest.mark.parametrize("text", ["No effusion. Small effusion.", "Small effusion; no effusion."])
def test_a_finding_stated_once_is_not_absent_however_often_denied(text: str) -> None:
    assert read(text).present == {"Pleural Effusion"}
    assert read(text).absent == set()


def test_a_calcified_granuloma_is_not_also_a_plain_one() -> None:
    assert read("Calcified granuloma and a granuloma.").present == {"Calcified Granuloma"}
    assert read("Left apical granuloma.").present == {"Granuloma"}


def test_subcutaneous_emphysema_is_not_emphysema() -> None:
    assert "Emphysema" not in read("Subcutaneous emphysema at the neck.").present
    assert "Emphysema" in read("Upper lobe emphysema.").present
