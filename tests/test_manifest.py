"""Manifests: what a row must say, and that one bad row spoils only itself."""

import json
from pathlib import Path
from typing import Any

import pytest

from indexing.manifest import MAX_LINE, ManifestStudy, Quarantined, count_rows, read_manifest
from retrieval.errors import InvalidManifest

ATTESTED = {"attested_by": "tests", "method": "invented"}


def row(**changes: Any) -> dict[str, Any]:
    whole = {
        "case_id": "a",
        "patient_key": "p",
        "images": [{"path": "a.png", "view": "PA"}],
        "report": {"text": "FINDINGS: The lungs are clear."},
        "source": "tests",
        "licence": "CC0-1.0",
        "deidentified": ATTESTED,
    }
    return {name: value for name, value in (whole | changes).items() if value is not None}


def written(folder: Path, *rows: Any) -> Path:
    manifest = folder / "manifest.jsonl"
    lines = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows]
    manifest.write_bytes(b"\n".join(lines) + b"\n")
    return manifest


def test_a_good_row_is_read_with_its_paths_beside_the_manifest(tmp_path: Path) -> None:
    (study,) = read_manifest(written(tmp_path, row(age=67)))
    assert isinstance(study, ManifestStudy)
    assert study.paths == (str(tmp_path / "a.png"),)
    assert study.report.findings == "The lungs are clear."
    assert study.age_band == "60-69"
    assert study.study_instance_uid is None


def test_ages_of_ninety_and_more_share_one_band(tmp_path: Path) -> None:
    studies = list(read_manifest(written(tmp_path, row(age=90), row(case_id="b", age=104))))
    assert [s.age_band for s in studies if isinstance(s, ManifestStudy)] == ["90+", "90+"]


def test_defaults_of_the_header_stand_for_fields_left_out(tmp_path: Path) -> None:
    header = {"prelim_manifest": 1, "defaults": {"source": "s", "licence": "l", "deidentified": ATTESTED}}
    manifest = written(
        tmp_path, header, row(source=None, licence=None, deidentified=None), row(case_id="b", source="t")
    )
    first, second = read_manifest(manifest)
    assert isinstance(first, ManifestStudy)
    assert isinstance(second, ManifestStudy)
    assert (first.row.source, second.row.source) == ("s", "t")
    assert count_rows(manifest) == 2


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (row(deidentified=None), "NO_ATTESTATION"),
        (row(licence=None), "INVALID_ROW"),
        (row(images=[]), "INVALID_ROW"),
        (row(surprise=1), "INVALID_ROW"),
        (row(age=-1), "INVALID_ROW"),
        (row(report={"text": "  "}), "EMPTY_REPORT"),
        (row(report={"text": "INDICATION: Cough."}), "EMPTY_REPORT"),
        (b"{", "NOT_JSON"),
        (b'"text"', "NOT_A_ROW"),
        (b'{"case_id": "\xff"}', "NOT_JSON"),
        (b"[" * 100_000, "NOT_JSON"),
        (b"1" * (2 * MAX_LINE), "ROW_TOO_LONG"),
    ],
)
def test_a_bad_row_is_quarantined_with_a_code_and_the_next_is_read(tmp_path: Path, bad: Any, code: str) -> None:
    refused, good = read_manifest(written(tmp_path, bad, row(case_id="good")))
    assert isinstance(refused, Quarantined)
    assert (refused.line, refused.code) == (1, code)
    assert isinstance(good, ManifestStudy)
    assert good.line == 2


def test_a_case_id_counts_once(tmp_path: Path) -> None:
    _, second = read_manifest(written(tmp_path, row(), row(patient_key="other")))
    assert isinstance(second, Quarantined)
    assert second.code == "DUPLICATE_CASE"


def test_what_a_quarantined_row_says_is_not_repeated(tmp_path: Path) -> None:
    secret = "Mrs Invented has a nodule"
    (refused,) = read_manifest(written(tmp_path, row(report={"text": "x", "unknown": secret}, sex=secret)))
    assert isinstance(refused, Quarantined)
    assert "Invented" not in refused.model_dump_json()


def test_names_of_unknown_fields_and_odd_case_ids_are_not_repeated(tmp_path: Path) -> None:
    manifest = written(
        tmp_path,
        row(report={"FINDINGS Mrs Invented": ""}),
        row(case_id="Mrs Invented, room 7", sex="?"),
        row(case_id="x" * 1000, sex="?"),
    )
    refused = list(read_manifest(manifest))
    assert [q.case_id for q in refused] == ["a", None, None]
    assert not any("Invented" in q.model_dump_json() for q in refused)


@pytest.mark.parametrize("text", [b"\\u0000", b"\\ud800"])
def test_text_that_no_file_can_hold_is_quarantined(tmp_path: Path, text: bytes) -> None:
    for field in (b"case_id", b"path", b"labels"):
        whole = json.dumps(row(labels=["LABELS"])).encode()
        spoilt = {
            b"case_id": (b'"a"', b'"a' + text + b'"'),
            b"path": (b"a.png", b"a" + text),
            b"labels": (b"LABELS", text),
        }
        (refused,) = read_manifest(written(tmp_path, whole.replace(*spoilt[field])))
        assert isinstance(refused, Quarantined)
        assert refused.code == "NOT_JSON"


def test_content_changes_with_the_row_and_with_the_images(tmp_path: Path) -> None:
    first, changed = read_manifest(written(tmp_path, row(), row(case_id="b", labels=["x"])))
    assert isinstance(first, ManifestStudy)
    assert isinstance(changed, ManifestStudy)
    assert first.content(["d1"]) == first.content(["d1"])  # type: ignore[list-item]
    assert len({first.content(["d1"]), first.content(["d2"]), changed.content(["d1"])}) == 3  # type: ignore[list-item]


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match=r"nowhere\.jsonl"):
        list(read_manifest(tmp_path / "nowhere.jsonl"))


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidManifest, match="version 2"):
        list(read_manifest(written(tmp_path, {"prelim_manifest": 2}, row())))
