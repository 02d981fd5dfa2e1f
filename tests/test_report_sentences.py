"""Which sentences of a report belong to its own patient. Every sentence is invented."""

from typing import get_args

import pytest

from retrieval.foreign_sentences import Reason, foreign

FOREIGN: dict[Reason, list[str]] = {
    "DEIDENTIFIED": [
        "XXXX XXXX is normal.",
        "Effusion seen by xxxx.",
        "Film of [**2010**] shows atelectasis.",
        "Reviewed by ____ in full.",
        "Reported by [NAME].",
    ],
    "NAME": ["Reviewed by Dr. Halloway.", "Seen by Mrs Okonkwo.", "Signed M.D.", "The radiologist saw an effusion."],
    "DATE": [
        "Effusion on 03/14/2011.",
        "Effusion in March.",
        "Effusion in May.",
        "Effusion on Sept. 3.",
        "Fracture of 2009.",
        "Read at 14:35.",
        "Surfaced two weeks ago.",
    ],
    "MEASUREMENT": [
        "A nodule of 5 mm.",
        "A 1.5-cm nodule.",
        "A nodule, 2 x 3 in size.",
        "A subcentimeter nodule.",
        "The nodule measures little.",
        "A one inch nodule.",
        "Catheter of 8 French.",
        "Scoliosis of 15 degrees.",
    ],
    "PRIOR_REFERENCE": [
        "Stable cardiomegaly.",
        "Effusion has increased.",
        "New effusion.",
        "Effusion compared with an earlier one.",
        "Cardiomegaly as before.",
        "Enlarging effusion.",
        "No change in the effusion.",
        "Residual atelectasis.",
        "The effusion is larger since then.",
    ],
    "OTHER_MODALITY": ["Nodule seen on CT.", "Best seen at ultrasound.", "Echocardiography may help."],
    "HISTORY": [
        "Effusion in a patient with heart failure.",
        "Status post lobectomy.",
        "Clinical correlation is recommended.",
        "Effusion explains the cough.",
        "Findings were discussed.",
        "Scar of earlier treatment.",
    ],
    "TECHNIQUE": [
        "Two views are normal.",
        "Rotated position.",
        "Portable technique.",
        "Nipple shadow at the base.",
        "Effusion on the lateral radiograph.",
    ],
    "DEPENDENT": [
        "These are benign.",
        "Otherwise normal lungs.",
        "There is also an effusion.",
        "This may be atelectasis.",
        "Effusion as described.",
    ],
    "LONE_DEVICE": [],
}


@pytest.mark.parametrize(("reason", "sentence"), [(r, s) for r, listed in FOREIGN.items() for s in listed])
def test_a_sentence_that_belongs_to_another_patient_is_named_as_such(reason: Reason, sentence: str) -> None:
    assert foreign(sentence) == reason


def test_every_reason_is_shown_by_an_example_or_found_over_cases() -> None:
    assert [r for r in get_args(Reason) if not FOREIGN[r]] == ["LONE_DEVICE"]


def test_what_identifies_a_person_is_named_before_what_only_makes_the_sentence_wrong() -> None:
    assert foreign("Stable effusion compared with CT, as Dr. Halloway said on 03/14/2011.") == "NAME"
    assert foreign("Stable effusion compared with CT of 03/14/2011.") == "DATE"
    assert foreign("Stable effusion compared with CT.") == "PRIOR_REFERENCE"


@pytest.mark.parametrize(
    "sentence",
    [
        "Clear lungs.",
        "The lungs are clear bilaterally.",
        "Prior granulomatous disease.",
        "Old healed granulomatous disease in the right hilum.",
        "Sequela of remote infection.",
        "Heart size is normal for age.",
        "Heart size is normal for the patient's age.",
        "No focal consolidation, pleural effusion, or pneumothorax.",
        "Mild degenerative change of the thoracic spine.",
        "The costophrenic angles are sharp.",
        "Chronic blunting of the left costophrenic angle.",
        "Calcified granuloma in the right upper lobe.",
        "No acute bony abnormality.",
        "The pulmonary vasculature is within normal limits.",
        "Streaky opacity at the left base, likely atelectasis.",
        "Mild central vascular prominence.",
    ],
)
def test_a_sentence_that_anybody_could_have_is_not_dropped(sentence: str) -> None:
    assert foreign(sentence) is None
