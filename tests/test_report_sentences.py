"""Sentences of a report: where one ends, and which of them belong to another patient. Every sentence is invented."""

import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.sentences import Reason, foreign, split

# Whatever can end a sentence or only looks like it, mixed into arbitrary text.
PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [". ", ".", "Dr. ", "1. ", "2) ", "- ", "XXXX", "\n", "; ", "e.g. ", "J. ", "? ", "0.5 ", "No effusion"]
    ),
)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Lungs are clear. No effusion.", ["Lungs are clear.", "No effusion."]),
        ("Lungs are clear.No effusion", ["Lungs are clear.", "No effusion."]),
        ("Is there an effusion? No effusion!", ["Is there an effusion.", "No effusion."]),
        ("Heart is normal; Lungs are clear", ["Heart is normal.", "Lungs are clear."]),
        ("Heart is normal; lungs are clear.", ["Heart is normal; lungs are clear."]),
        ("heart is\tnormal", ["Heart is normal."]),
        ("Heart is normal\nLungs are clear", ["Heart is normal.", "Lungs are clear."]),
        ("", []),
        (" . .. 3. ?", []),
    ],
)
def test_a_sentence_ends_at_its_stop_and_with_one_full_stop(text: str, sentences: list[str]) -> None:
    assert list(split(text)) == sentences


@pytest.mark.parametrize(
    "text",
    [
        "Discussed with Dr. Halloway by phone.",
        "Read by J. Halloway at noon.",
        "Opacities at the bases, e.g. atelectasis.",
        "Atelectasis vs. scar at the left base.",
        "A nodule of approx. two centimeters.",
        "A nodule of 0.5 cm.",
    ],
)
def test_the_stop_of_an_abbreviation_or_a_number_ends_no_sentence(text: str) -> None:
    assert split(text) == (text,)


def test_a_number_at_the_end_of_a_sentence_ends_it() -> None:
    assert split("Fracture of rib 5. No effusion.") == ("Fracture of rib 5.", "No effusion.")


def test_an_abbreviation_at_the_end_of_a_text_gets_no_second_full_stop() -> None:
    assert split("Old granulomas etc.") == ("Old granulomas etc.",)


@pytest.mark.parametrize(
    "text",
    [
        "1. Lungs are clear. 2. No effusion.",
        "1) Lungs are clear\n2) No effusion",
        "(1) Lungs are clear\n(2) No effusion",
        "- Lungs are clear\n- No effusion",
        "\u2022 Lungs are clear\n\u2022 No effusion",
        "* 1. Lungs are clear.\n* 2. No effusion.",
    ],
)
def test_list_marks_are_not_part_of_a_sentence(text: str) -> None:
    assert split(text) == ("Lungs are clear.", "No effusion.")


def test_a_mark_of_removed_text_stays_in_its_sentence() -> None:
    assert split("Seen on XXXX. XXXX effusion.") == ("Seen on XXXX.", "XXXX effusion.")


@given(st.lists(PIECES, max_size=25).map("".join))
def test_splitting_loses_no_letter_and_repeats_none(text: str) -> None:
    # Only pieces of fewer than two letters may go, one for each end of a sentence or line.
    said = [ch for sentence in split(text) for ch in sentence.casefold() if ch.isalpha()]
    written = [ch for ch in text.casefold() if ch.isalpha()]
    left = iter(written)
    assert all(ch in left for ch in said)
    ends = sum(text.count(ch) for ch in ".!?;\n")
    assert len(written) - len(said) <= 2 * (ends + 1)


@given(st.lists(PIECES, max_size=25).map("".join))
def test_every_sentence_is_one_line_with_one_full_stop(text: str) -> None:
    for sentence in split(text):
        assert sentence == " ".join(sentence.split())
        assert sentence.endswith(".")
        assert not sentence.endswith("..")


@pytest.mark.parametrize("text", ["a" * 200_000, "dr. " * 50_000, "e.g." * 50_000, ". " * 100_000])
def test_a_long_text_is_split_in_little_time(text: str) -> None:
    begin = time.perf_counter()
    split(text)
    assert time.perf_counter() - begin < 2.0


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
        "Chest tube was placed.",
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
