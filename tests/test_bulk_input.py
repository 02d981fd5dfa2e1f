"""Folders and manifests as the input of bulk drafts."""

import json
import os
from pathlib import Path

import pytest

from retrieval.errors import InvalidManifest
from service.bulk_input import LONGEST_LINE, BadLine, BulkStudy, count_studies, studies_in
from service.request import DraftRequest


def written(folder: Path, *lines: bytes) -> Path:
    path = folder / "manifest.jsonl"
    path.write_bytes(b"\n".join(lines))
    return path


def test_a_folder_s_studies_are_its_entries_in_order_but_no_hidden_or_special_ones(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "a.dcm").touch()
    (tmp_path / ".hidden").touch()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    usual = DraftRequest(view="PA")
    studies = list(studies_in(tmp_path, usual))
    assert studies == [BulkStudy(study=name, images=(str(tmp_path / name),), request=usual) for name in ("a.dcm", "b")]
    assert count_studies(tmp_path) == 2


def test_studies_of_a_folder_that_has_gone_since_it_was_looked_at_are_still_studies(tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "studies" / name).touch()
    found = studies_in(tmp_path / "studies")
    next(found)
    (tmp_path / "studies").rename(tmp_path / "away")
    assert [study.study for study in found] == ["b", "c"]


def test_a_file_name_that_is_no_text_is_a_bad_line(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    (tmp_path / os.fsdecode(b"\xff\xfe")).touch()
    assert [type(study) for study in studies_in(tmp_path)] == [BulkStudy, BadLine]


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"null",
        b'{"study": "a"}',
        b'{"study": "", "images": ["x"]}',
        b'{"study": "a", "images": ["x"], "patient name": 1}',
        b'{"study": "a", "images": ["x"], "request": {"view": "UP"}}',
        b'{"study": "\\ud800", "images": ["x"]}',
        b"[" * 100_000,
        b'"' + b"x" * LONGEST_LINE + b'"',
    ],
)
def test_a_line_that_is_no_study_is_named_by_its_number_and_repeats_nothing(tmp_path: Path, line: bytes) -> None:
    good = json.dumps({"study": "good", "images": ["x.dcm"]}).encode()
    found = list(studies_in(written(tmp_path, b"\xef\xbb\xbf" + good, b"", line)))
    assert found[0] == BulkStudy(study="good", images=(str(tmp_path / "x.dcm"),))
    assert isinstance(found[1], BadLine)
    assert found[1].study == "line 3"
    assert "patient" not in found[1].what
    assert "UP" not in found[1].what


def test_a_request_keeps_what_it_says_itself(tmp_path: Path) -> None:
    row = {"study": "a", "images": ["x"], "request": {"seed": 0, "indication": "Cough."}}
    usual = DraftRequest(seed=4, view="PA", temperature=0.5)
    (study,) = studies_in(written(tmp_path, json.dumps(row).encode()), usual)
    assert isinstance(study, BulkStudy)
    assert study.request == DraftRequest(seed=0, view="PA", temperature=0.5, indication="Cough.")


def test_a_pipe_is_no_manifest(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidManifest, match="neither a folder"):
        count_studies(tmp_path / "pipe")
