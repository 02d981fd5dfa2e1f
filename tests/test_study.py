"""Files to a study: folders, several views, what is left out and what is refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import InvalidStudy, UnreadableImage
from retrieval.pixels import Pixels
from retrieval.pixels.sandbox import Readers
from retrieval.records import PatientKey
from retrieval.study import MAX_IMAGES, read_study
from tests.dicom_files import draw


def mean_grey(pixels: Pixels) -> Any:
    return np.array([pixels.mean()], np.float32)


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    with Readers(mean_grey, salt=b"secret") as opened:
        yield opened


def image(folder: Path, name: str, **elements: Any) -> Path:
    folder.mkdir(exist_ok=True)
    return draw(folder / name, **elements)


def test_a_folder_is_one_study_with_the_frontal_image_first(tmp_path: Path, readers: Readers) -> None:
    image(tmp_path / "s", "1.dcm", ViewPosition="LL", SOPInstanceUID="1.2.1")
    image(tmp_path / "s", "2.dcm", ViewPosition="PA", SOPInstanceUID="1.2.2")
    read = read_study([tmp_path / "s"], readers)
    assert [i.attributes.view for i in read.study.images] == ["PA", "LL"]
    assert [Path(i.path).name for i in read.study.images] == ["2.dcm", "1.dcm"]
    assert read.study.study_instance_uid == "1.2.826.0.1"
    assert read.study.patient_key is not None
    assert read.batch().shape == (2, 1)


def test_the_request_wins_over_the_header(tmp_path: Path, readers: Readers) -> None:
    file = image(tmp_path / "s", "1.dcm", ViewPosition="LL")
    read = read_study([file], readers, view="AP", patient_key=PatientKey("me"), indication="Cough.")
    shown = read.study.images[0].attributes
    assert (shown.view, shown.view_source) == ("AP", "request")
    assert (read.study.patient_key, read.study.indication) == ("me", "Cough.")


def test_the_reason_for_the_procedure_becomes_the_indication(tmp_path: Path, readers: Readers) -> None:
    file = image(tmp_path / "s", "1.dcm", ReasonForTheRequestedProcedure="Dyspnoea")
    assert read_study([file], readers).study.indication == "Dyspnoea"


def test_images_of_two_studies_are_refused(tmp_path: Path, readers: Readers) -> None:
    image(tmp_path / "s", "1.dcm")
    image(tmp_path / "s", "2.dcm", StudyInstanceUID="1.2.3")
    with pytest.raises(InvalidStudy, match="several studies"):
        read_study([tmp_path / "s"], readers)


def test_images_of_two_patients_are_refused_even_in_one_study(tmp_path: Path, readers: Readers) -> None:
    image(tmp_path / "s", "1.dcm")
    image(tmp_path / "s", "2.dcm", PatientID="another")
    with pytest.raises(InvalidStudy, match="several patients"):
        read_study([tmp_path / "s"], readers)


def test_a_file_that_is_no_image_is_left_out_and_named(tmp_path: Path, readers: Readers) -> None:
    image(tmp_path / "s", "1.dcm")
    (tmp_path / "s" / "notes.txt").write_text("no image")
    (tmp_path / "s" / ".hidden").write_text("not even looked at")
    read = read_study([tmp_path / "s"], readers)
    assert len(read.study.images) == 1
    assert read.warnings == ("notes.txt was left out: UNREADABLE_IMAGE",)


def test_a_single_bad_file_gives_its_own_error(tmp_path: Path, readers: Readers) -> None:
    (tmp_path / "bad.dcm").write_bytes(b"")
    with pytest.raises(UnreadableImage):
        read_study([tmp_path / "bad.dcm"], readers)


def test_nothing_there_is_said_plainly(tmp_path: Path, readers: Readers) -> None:
    with pytest.raises(InvalidStudy, match="no file"):
        read_study([tmp_path / "nowhere.dcm"], readers)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidStudy, match="no file"):
        read_study([tmp_path / "empty"], readers)


def test_a_folder_of_too_many_files_is_refused_before_any_is_read(tmp_path: Path, readers: Readers) -> None:
    for number in range(MAX_IMAGES + 1):
        (tmp_path / f"{number}.dcm").touch()
    with pytest.raises(InvalidStudy, match="more than one study"):
        read_study([tmp_path], readers)
