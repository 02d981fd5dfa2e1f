"""Files to a study: folders, several views, what is left out and what is refused."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import InvalidStudy, UnreadableImage
from retrieval.pixels import Pixels
from retrieval.pixels.sandbox import Readers
from retrieval.records import PatientKey, PriorReport, StudyUid, Told
from retrieval.study import MAX_IMAGES, read_study
from tests.dicom_files import draw


def mean_grey(pixels: Pixels) -> Any:
    return np.array([pixels.mean()], np.float32)


@pytest.fixture(scope="module")
def readers() -> Iterator[Readers]:
    with Readers(mean_grey, look=mean_grey, salt=b"secret") as opened:
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


def test_the_view_of_the_request_is_for_images_that_say_none(tmp_path: Path, readers: Readers) -> None:
    image(tmp_path / "s", "1.dcm", ViewPosition="LL")
    image(tmp_path / "s", "2.dcm")
    shown = [i.attributes for i in read_study([tmp_path / "s"], readers, view="AP").study.images]
    assert [(a.view, a.view_source) for a in shown] == [("AP", "request"), ("LL", "view_position")]


def test_the_patient_and_the_indication_of_the_request_win_over_the_header(tmp_path: Path, readers: Readers) -> None:
    file = image(tmp_path / "s", "1.dcm", ReasonForTheRequestedProcedure="Dyspnoea")
    study = read_study([file], readers, patient_key=PatientKey("me"), told=Told(indication="Cough.")).study
    assert (study.patient_key, study.indication) == ("me", "Cough.")


def test_an_earlier_study_without_text_is_refused(tmp_path: Path, readers: Readers) -> None:
    file = image(tmp_path / "s", "1.dcm")
    blank = Told(priors=(PriorReport(study_instance_uid=StudyUid("prior-1"), text=" . "),))
    with pytest.raises(InvalidStudy):
        read_study([file], readers, told=blank)


def test_technique_and_comparison_of_the_request_reach_the_study(tmp_path: Path, readers: Readers) -> None:
    file = image(tmp_path / "s", "1.dcm")
    study = read_study([file], readers, told=Told(technique="Portable, supine.", comparison="None.")).study
    assert (study.technique, study.comparison) == ("Portable, supine.", "None.")


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


def test_a_folder_of_a_whole_system_is_not_walked_to_its_end(tmp_path: Path, readers: Readers) -> None:
    for number in range(MAX_IMAGES + 1):
        (tmp_path / f"{number}").touch()
    looked_at: list[Any] = []
    scandir = os.scandir
    for number in range(50):
        (tmp_path / "more" / f"{number}").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", lambda path: looked_at.append(path) or scandir(path))
        with pytest.raises(InvalidStudy, match="more than one study"):
            read_study([tmp_path], readers)
    assert looked_at == [tmp_path]


def test_a_folder_inside_that_may_not_be_read_is_named(
    tmp_path: Path, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    image(tmp_path / "s", "1.dcm")
    (tmp_path / "s" / "locked").mkdir()
    scandir = os.scandir

    def guarded(path: Path) -> Any:  # root may read everything, so permissions alone would prove nothing
        if path.name == "locked":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(InvalidStudy, match=r"locked cannot be looked at: Permission denied"):
        read_study([tmp_path / "s"], readers)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["", "1.dcm"])
def test_a_locked_folder_and_a_file_in_it_are_named(tmp_path: Path, readers: Readers, name: str) -> None:
    image(tmp_path / "s", "1.dcm")
    (tmp_path / "s").chmod(0)
    try:
        with pytest.raises(InvalidStudy, match="cannot be looked at: Permission denied"):
            read_study([tmp_path / "s" / name], readers)
    finally:
        (tmp_path / "s").chmod(0o700)


def test_a_path_that_may_not_be_looked_at_is_named(
    tmp_path: Path, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    path = tmp_path / "1.dcm"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", refused)
        with pytest.raises(InvalidStudy, match=r"1\.dcm cannot be looked at: Permission"):
            read_study([path], readers)


def test_links_to_folders_and_what_is_no_file_are_not_part_of_a_study(tmp_path: Path, readers: Readers) -> None:
    image(tmp_path / "s", "1.dcm")
    image(tmp_path / "other", "2.dcm", StudyInstanceUID="1.2.3")
    (tmp_path / "s" / "round").symlink_to(tmp_path / "s")
    (tmp_path / "s" / "away").symlink_to(tmp_path / "other")
    (tmp_path / "s" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "s" / "pipe")
    read = read_study([tmp_path / "s"], readers)
    assert (len(read.study.images), read.warnings) == (1, ())


@pytest.mark.parametrize("name", [b"r\xf6ntgen.txt", b"r\x1b\x07ntgen\n.txt", "r\u202ebc.txt".encode()])
def test_warnings_and_errors_can_be_printed_and_written_as_json(tmp_path: Path, readers: Readers, name: bytes) -> None:
    image(tmp_path / "s", "1.dcm")
    odd = tmp_path / "s" / os.fsdecode(name)
    odd.write_text("no image")
    (warning,) = read_study([tmp_path / "s"], readers).warnings
    with pytest.raises(InvalidStudy) as raised:
        read_study([odd / "none"], readers)
    for said in (warning, str(raised.value)):
        assert "?" in said
        assert said.isprintable()
        said.encode()


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
def test_text_that_can_be_no_path_is_no_file(readers: Readers, name: str) -> None:
    with pytest.raises(InvalidStudy, match="there is no file"):
        read_study([Path(name)], readers)
