"""What an indication asks about. Every indication is invented."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.extraction.extractor import embedded
from retrieval.indication import asked_about

ONTOLOGY = embedded().ontology


def asked(indication: str) -> dict[str, str]:
    return {ONTOLOGY[m.concept].slug: m.certainty for m in asked_about(indication, embedded())}


@pytest.mark.parametrize(
    ("indication", "expected"),
    [
        ("rule out pneumothorax", {"pneumothorax": "uncertain"}),
        ("R/O PTX.", {"pneumothorax": "uncertain"}),
        ("r/o PE", {"pulmonary_embolism": "uncertain"}),
        ("evaluate for effusion", {"pleural_effusion": "uncertain"}),
        ("Please assess for pneumonia or edema", {"pneumonia": "uncertain", "pulmonary_edema": "uncertain"}),
        ("? CHF", {"heart_failure": "uncertain"}),
        ("Cough, ?pneumonia", {"pneumonia": "uncertain"}),
        ("Fever, PNA?", {"pneumonia": "uncertain"}),
        ("pneumonia vs effusion", {"pneumonia": "uncertain", "pleural_effusion": "uncertain"}),
        ("concern for pneumothorax", {"pneumothorax": "uncertain"}),
        ("Exclude pneumothorax", {"pneumothorax": "uncertain"}),
        ("possible rib fracture", {"rib_fracture": "uncertain"}),
        ("history of tuberculosis", {"tuberculosis": "uncertain"}),
        ("follow-up pneumonia, check for resolution of effusion",
         {"pneumonia": "uncertain", "pleural_effusion": "uncertain"}),
        ("evaluate for effusion, pneumothorax, rib fracture",
         {"pleural_effusion": "uncertain", "pneumothorax": "uncertain", "rib_fracture": "uncertain"}),
    ],
)  # fmt: skip
def test_what_an_indication_asks_about_is_found_and_left_open(indication: str, expected: dict[str, str]) -> None:
    assert asked(indication) == expected


@pytest.mark.parametrize(
    ("indication", "expected"),
    [
        ("Known COPD.", {"copd": "present"}),
        ("COPD. Rule out pneumonia", {"copd": "present", "pneumonia": "uncertain"}),
        ("PNA? Pleural effusion on the left.", {"pneumonia": "uncertain", "pleural_effusion": "present"}),
        ("NG tube placement", {"enteric_tube": "present"}),
        ("s/p CABG", {"cabg": "present"}),
    ],
)
def test_what_a_referrer_states_is_present(indication: str, expected: dict[str, str]) -> None:
    assert asked(indication) == expected


@pytest.mark.parametrize(
    "indication",
    [
        "no history of CHF",
        "denies TB",
        "Fever without pneumonia",
        "PE ruled out by CT",
        "chest pain",
        "",
        "No h/o TB, CHF",
        "routine examination before surgery",
    ],
)
def test_what_an_indication_denies_is_not_asked(indication: str) -> None:
    assert asked(indication) == {}


def test_a_denial_before_a_question_does_not_reach_into_it() -> None:
    assert asked("no fever, rule out pneumonia") == {"pneumonia": "uncertain"}
    assert asked("denies chest pain, r/o PE, no h/o CHF") == {"pulmonary_embolism": "uncertain"}
    assert asked("PE? no") == {"pulmonary_embolism": "uncertain"}


def test_the_place_of_a_line_is_a_question_about_the_line() -> None:
    assert asked("assess central line placement") == {"central_venous_catheter": "uncertain"}
    assert asked("check ETT position") == {"endotracheal_tube": "uncertain"}


def test_the_side_is_the_one_asked_about() -> None:
    (mention,) = asked_about("r/o left pneumothorax", embedded())
    assert mention.side == "left"


def test_places_are_those_of_the_indication_as_given() -> None:
    indication = "r/o PE or PE, 3 cm nodule; evaluate for effusion"
    found = [(indication[m.start : m.end], m.measurement) for m in asked_about(indication, embedded())]
    assert [words for words, _ in found] == ["PE", "PE", "nodule", "effusion"]
    measurement = found[2][1]
    assert measurement is not None
    assert indication[measurement.start : measurement.end] == "3 cm"


@given(st.text(alphabet="PE?r/o ;.,\nno if pneumonia", max_size=60))
def test_any_text_is_read_and_every_place_lies_in_it(indication: str) -> None:
    for mention in asked_about(indication, embedded()):
        assert 0 <= mention.start < mention.end <= len(indication)
        assert mention.certainty != "absent"


def test_a_very_long_indication_takes_time_by_its_length_only() -> None:
    begin = time.perf_counter()
    asked_about("rule out pneumothorax or PE ? " * 5_000, embedded())
    assert time.perf_counter() - begin < 5
