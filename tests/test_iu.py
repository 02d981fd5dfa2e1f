"""The Indiana collection: what is read, how it is folded, and what is said when it is not there."""

import hashlib
import json
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.iu import FOLDS, fold, heads, read_studies
from retrieval.errors import InvalidManifest, MissingData, PrelimError


def row(case_id: str = "iu-1", findings: str | None = " Clear lungs. ") -> dict[str, object]:
    return {
        "case_id": case_id,
        "images": [{"file": "images/l.jpg", "view": "lateral"}, {"file": "images/f.jpg", "view": "frontal"}],
        "report": {"findings": findings, "impression": "Normal.", "indication": None},
        "labels": ["Opacity/lung/base", "Opacity, nodular", "normal"],
    }


def collection(folder: Path, *rows: object) -> Path:
    (folder / "iu256" / "images").mkdir(parents=True)
    (folder / "iu256" / "cases.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return folder


def test_a_line_is_read_as_a_study(tmp_path: Path) -> None:
    (study,) = read_studies(collection(tmp_path, row()))
    assert (study.case_id, study.findings, study.impression, study.indication) == (
        "iu-1",
        "Clear lungs.",
        "Normal.",
        "",
    )
    assert [image.view for image in study.images] == ["LATERAL", "FRONTAL"]
    assert study.frontals == (tmp_path / "iu256" / "images" / "f.jpg",)
    assert study.heads == {"Opacity", "normal"}
    assert study.fold == fold("Clear lungs.", "iu-1")


def test_an_absent_section_is_empty_text(tmp_path: Path) -> None:
    (study,) = read_studies(collection(tmp_path, row(findings=None)))
    assert study.findings == ""


def test_the_head_of_a_code_is_what_stands_before_its_qualifiers() -> None:
    codes = ["Calcified Granuloma/lung/hilum", "Opacity, left", " Pleural Effusion ", "A, b/c", "A/b, c", "", "/x"]
    assert heads(codes) == {"Calcified Granuloma", "Opacity", "Pleural Effusion", "A"}


@given(st.text(), st.text(), st.text())
def test_the_same_words_share_a_fold_whatever_the_study(text: str, one: str, other: str) -> None:
    findings = f"word {text}"
    assert fold(findings, one) == fold("  " + "\n".join(findings.lower().split()) + "\t", other)
    assert 0 <= fold(findings, one) < FOLDS


def test_the_fold_of_a_text_never_moves() -> None:
    digest = hashlib.sha256(b"the lungs are clear.").hexdigest()
    assert fold("The lungs\n are  clear.", "any") == int(digest, 16) % 5


def test_studies_without_findings_are_spread_by_their_id() -> None:
    assert {fold(" \n", f"iu-{i}") for i in range(50)} == set(range(FOLDS))


def test_a_missing_folder_says_to_set_prelim_data(tmp_path: Path) -> None:
    with pytest.raises(PrelimError, match=r"set PRELIM_DATA .* iu256/cases\.jsonl and iu256/images"):
        read_studies(tmp_path)
    (tmp_path / "iu256").mkdir()
    (tmp_path / "iu256" / "cases.jsonl").touch()
    with pytest.raises(MissingData, match="images"):
        read_studies(tmp_path)


@pytest.mark.parametrize(
    "bad",
    [
        {**row("b"), "report": None},
        {**row("b"), "report": {"findings": ["secret"], "impression": "", "indication": ""}},
        {**row("b"), "images": [{"view": "secret"}]},
        {**row("b"), "labels": [3]},
        {"case_id": "secret"},
        ["secret"],
        row("iu-1"),
    ],
    ids=["no report", "findings no text", "image without file", "label no text", "no fields", "no object", "repeated"],
)
def test_a_damaged_line_is_named_by_number_and_not_by_text(tmp_path: Path, bad: object) -> None:
    with pytest.raises(InvalidManifest, match="line 2") as caught:
        read_studies(collection(tmp_path, row("iu-1"), bad))
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_line_that_is_no_json_is_refused(tmp_path: Path) -> None:
    file = collection(tmp_path, row()) / "iu256" / "cases.jsonl"
    good = file.read_bytes()
    for bad in (b"{secret\n", b'"\xff"\n', b"\n"):
        file.write_bytes(good + bad)
        with pytest.raises(InvalidManifest, match="line 2"):
            read_studies(tmp_path)


@pytest.mark.data
def test_the_whole_collection_is_read_and_folded_without_leaks(data: Path) -> None:
    studies = read_studies(data)
    assert len(studies) == 2745
    usable = [study for study in studies if study.frontals and study.findings]
    assert len(usable) == 2303
    assert all(image.path.is_file() for study in studies for image in study.images)
    assert all(study.heads for study in studies)

    folds_of: defaultdict[str, set[int]] = defaultdict(set)
    for study in usable:
        folds_of[" ".join(study.findings.lower().split())].add(study.fold)
    assert len(folds_of) < len(usable)  # the same text does occur twice, or this would test nothing
    assert {len(folds) for folds in folds_of.values()} == {1}
    for counted in (studies, usable):
        shares = Counter(study.fold for study in counted)
        assert all(0.15 <= shares[i] / len(counted) <= 0.25 for i in range(FOLDS))
