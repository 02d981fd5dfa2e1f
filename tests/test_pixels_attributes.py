"""What a DICOM header says, where it says it, and what stays out."""

from pathlib import Path
from typing import Any

import pytest
from pydicom.sr.codedict import codes

from retrieval.pixels.read import read_header
from retrieval.pixels.views import _CODES
from retrieval.records import ImageAttributes
from tests.dicom_files import coded, draw, implicit, ramp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


def said(path: Path, **elements: Any) -> ImageAttributes:
    return read_header(draw(path, **elements), salt=b"salt")


@pytest.mark.parametrize("term", ["PA", "AP", "LL", "RL", "RLD", "LLD", "RLO", "LLO"])
def test_every_defined_view_position_is_itself(path: Path, term: str) -> None:
    assert (said(path, ViewPosition=term).view, said(path, ViewPosition=term).view_source) == (term, "view_position")


@pytest.mark.parametrize(
    ("value", "view"),
    [("LATERAL", "LATERAL"), ("LAO", "OTHER"), ("AP LLD", "LLD"), ("LORDOTIC", "OTHER")],
)
def test_view_positions_of_published_collections_are_known(path: Path, value: str, view: str) -> None:
    assert said(path, ViewPosition=value).view == view


@pytest.mark.parametrize(
    ("code", "scheme", "view"),
    [
        ("399348003", "SCT", "AP"), ("R-10206", "SRT", "AP"), ("272479007", "SCT", "PA"), ("R-10214", "SRT", "PA"),
        ("R-10214", "SNM3", "PA"), ("399173006", "SCT", "LL"), ("R-10236", "SRT", "LL"), ("399198007", "SCT", "RL"),
        ("R-10232", "SRT", "RL"), ("399033003", "SCT", "FRONTAL"), ("399067008", "SCT", "LATERAL"),
        ("399135007", "SCT", "OTHER"),
    ],
)  # fmt: skip
def test_a_view_code_says_the_view_when_there_is_no_view_position(
    path: Path, code: str, scheme: str, view: str
) -> None:
    attributes = said(path, ViewPosition="", ViewCodeSequence=coded(code, scheme))
    assert (attributes.view, attributes.view_source) == (view, "view_code")


def test_the_view_codes_are_those_of_the_code_dictionary() -> None:
    named = {"AnteroPosterior": "AP", "PosteroAnterior": "PA", "LeftLateral": "LL", "RightLateral": "RL",
             "Frontal": "FRONTAL", "LateralProjection": "LATERAL"}  # fmt: skip
    for name, view in named.items():
        assert _CODES[getattr(codes.cid4010, name).value] == view
    known = {getattr(codes.cid4010, name).value for name in codes.cid4010.dir()}
    assert {code for code in _CODES if code.isdecimal()} <= known


def test_a_view_code_of_another_scheme_is_not_a_view_code(path: Path) -> None:
    assert said(path, ViewCodeSequence=coded("399348003", "99HOUSE")).view_source == "none"


@pytest.mark.parametrize(
    ("orientation", "view"),
    [(["L", "F"], "FRONTAL"), (["R", "F"], "FRONTAL"), (["F", "L"], "FRONTAL"), (["A", "F"], "LATERAL"),
     (["P", "FA"], "LATERAL"), (["L", "P"], "OTHER")],
)  # fmt: skip
def test_patient_orientation_tells_frontal_from_lateral(path: Path, orientation: list[str], view: str) -> None:
    attributes = said(path, PatientOrientation=orientation)
    assert (attributes.view, attributes.view_source) == (view, "patient_orientation")


@pytest.mark.parametrize(
    ("description", "view"),
    [("W033 Chest PA", "PA"), ("CHEST, LATERAL", "LATERAL"), ("Thorax ap liegend", "AP"), ("Chest frontal", "FRONTAL"),
     ("LAT DECUB LEFT", "OTHER"), ("Chest frontal (PA)", "PA")],
)  # fmt: skip
def test_a_description_says_the_view_when_nothing_else_does(path: Path, description: str, view: str) -> None:
    attributes = said(path, SeriesDescription=description)
    assert (attributes.view, attributes.view_source) == (view, "description")


@pytest.mark.parametrize("description", ["Chest PA and lateral", "Paediatric chest", "Cardiomegaly", ""])
def test_a_description_with_no_view_or_two_says_none(path: Path, description: str) -> None:
    attributes = said(path, StudyDescription=description)
    assert (attributes.view, attributes.view_source) == ("UNKNOWN", "none")


def test_the_more_trusted_place_wins(path: Path) -> None:
    attributes = said(
        path,
        ViewPosition="PA",
        ViewCodeSequence=coded("399348003", "SCT"),
        PatientOrientation=["A", "F"],
        SeriesDescription="LATERAL",
    )
    assert (attributes.view, attributes.view_source) == ("PA", "view_position")


def test_an_unknown_view_position_leaves_the_question_to_the_next_place(path: Path) -> None:
    assert said(path, ViewPosition="ERECT", PatientOrientation=["L", "F"]).view == "FRONTAL"


def test_nothing_of_a_description_but_the_view_is_kept(path: Path) -> None:
    attributes = said(path, StudyDescription="Cardiomegaly PA", SeriesDescription="Anna Roentgen")
    assert "ardiomegaly" not in repr(attributes)
    assert "Anna" not in repr(attributes)


def test_image_laterality_wins_over_laterality(path: Path) -> None:
    attributes = said(path, ImageLaterality="L", Laterality="R")
    assert (attributes.laterality, attributes.laterality_source) == ("L", "image_laterality")


def test_laterality_is_used_when_the_image_has_none(path: Path) -> None:
    attributes = said(path, Laterality="R")
    assert (attributes.laterality, attributes.laterality_source) == ("R", "laterality")


def test_no_laterality_is_no_laterality(path: Path) -> None:
    attributes = said(path, Laterality="")
    assert (attributes.laterality, attributes.laterality_source) == (None, "none")


def test_the_patient_key_is_equal_for_one_patient_and_hides_the_id(path: Path) -> None:
    one, again = said(path, PatientID="4711"), said(path, PatientID="4711 ", PatientName="Other^Name")
    assert one.patient_key == again.patient_key
    assert len(str(one.patient_key)) == 32
    assert "4711" not in repr(one)


def test_the_patient_key_depends_on_salt_issuer_and_id(path: Path) -> None:
    keys = {
        said(path, PatientID="4711").patient_key,
        said(path, PatientID="4712").patient_key,
        said(path, PatientID="4711", IssuerOfPatientID="B").patient_key,
        read_header(draw(path, PatientID="4711"), salt=b"other").patient_key,
    }
    assert len(keys) == 4


@pytest.mark.parametrize("salt", [None, b""])
def test_there_is_no_patient_key_without_a_salt(path: Path, salt: bytes | None) -> None:
    assert read_header(draw(path), salt=salt).patient_key is None


def test_there_is_no_patient_key_without_a_patient_id(path: Path) -> None:
    assert said(path, PatientID="").patient_key is None


def test_the_rest_of_the_header_is_kept_in_its_own_words(path: Path) -> None:
    attributes = said(
        path,
        BodyPartExamined="CHEST",
        PresentationIntentType="FOR PRESENTATION",
        BurnedInAnnotation="NO",
        ReasonForTheRequestedProcedure="Cough for two weeks",
    )
    assert (attributes.modality, attributes.body_part) == ("DX", "CHEST")
    assert attributes.presentation_intent == "FOR PRESENTATION"
    assert attributes.burned_in_annotation is False
    assert attributes.indication == "Cough for two weeks"
    assert attributes.sop_class_uid == "1.2.840.10008.5.1.4.1.1.1.1"
    assert (attributes.study_instance_uid, attributes.sop_instance_uid) == ("1.2.826.0.1", "1.2.826.0.1.1")
    assert (attributes.rows, attributes.columns, attributes.bits_stored) == (12, 10, 8)
    assert attributes.transfer_syntax_uid == "1.2.840.10008.1.2.1"


def test_what_is_not_declared_stays_unknown(path: Path) -> None:
    attributes = said(path, Modality="")
    assert (attributes.modality, attributes.body_part, attributes.burned_in_annotation) == (None, None, None)
    assert attributes.indication is None


def test_pixel_spacing_is_calibrated_and_imager_pixel_spacing_is_not(path: Path) -> None:
    at_patient = said(path, PixelSpacing=[0.2, 0.1], ImagerPixelSpacing=[0.3, 0.3])
    assert (at_patient.pixel_spacing_mm, at_patient.pixel_spacing_calibrated) == ((0.2, 0.1), True)
    at_detector = said(path, ImagerPixelSpacing=[0.3, 0.3])
    assert (at_detector.pixel_spacing_mm, at_detector.pixel_spacing_calibrated) == ((0.3, 0.3), False)


def test_pixel_spacing_that_repeats_the_imager_is_not_calibrated(path: Path) -> None:
    assert not said(path, PixelSpacing=[0.3, 0.3], ImagerPixelSpacing=[0.3, 0.3]).pixel_spacing_calibrated


def test_a_pixel_spacing_of_zero_is_unknown(path: Path) -> None:
    assert said(path, PixelSpacing=[0, 0]).pixel_spacing_mm is None


def test_a_malformed_attribute_is_absent_and_does_not_cost_the_image(path: Path) -> None:
    draw(path, BodyPartExamined="CHEST", PixelSpacing=["0.2", "0.1"])
    path.write_bytes(path.read_bytes().replace(b"0.2\\0.1", b"zz\\\xff\xfe1 "))
    attributes = read_header(path)
    assert (attributes.pixel_spacing_mm, attributes.body_part) == (None, "CHEST")


def test_control_characters_do_not_reach_the_indication(path: Path) -> None:
    assert said(path, ReasonForTheRequestedProcedure="Cough\x1b[31m").indication == "Cough [31m"


def test_a_data_set_without_preamble_is_read(path: Path) -> None:
    attributes = read_header(implicit(path, ramp(8), ViewPosition="PA", RescaleSlope=1, RescaleIntercept=0))
    assert (attributes.view, attributes.transfer_syntax_uid) == ("PA", "1.2.840.10008.1.2")
