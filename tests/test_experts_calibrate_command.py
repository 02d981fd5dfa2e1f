"""`prelim-evaluate calibrate` from labelled images to the file that the expert then uses, on drawn images."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.__main__ import main
from evaluation.drawings import draw
from evaluation.labelled_images import read_labelled, truth_table
from generation.experts.calibration import read_calibration
from generation.experts.labels import labels_of
from generation.experts.named import load_expert
from retrieval.errors import InvalidManifest
from tests.tiny_experts import need_xrv, tiny_config, write_tiny_xrv

LABELS = {"cardiomegaly": "Cardiomegaly", "right effusion": "Pleural Effusion", "left effusion": "Pleural Effusion"}
DRAWN = 75


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Drawn images with a manifest that names what was drawn."""
    folder = tmp_path_factory.mktemp("drawn")
    with (folder / "manifest.jsonl").open("w") as manifest:
        for n in range(DRAWN):
            drawing = draw(n)
            Image.fromarray(drawing.frontal).save(folder / f"{n}.png")
            labels = sorted({LABELS[finding] for finding in drawing.findings if finding in LABELS})
            manifest.write(json.dumps({"path": f"{n}.png", "view": "PA", "labels": labels or ["No Finding"]}) + "\n")
        manifest.write(json.dumps({"path": "0.png", "view": "LL", "labels": ["Cardiomegaly"]}) + "\n")
        manifest.write(json.dumps({"path": "gone.png", "labels": ["Cardiomegaly"]}) + "\n")
    return folder


@pytest.fixture
def expert(tmp_path: Path) -> Path:
    need_xrv()
    return write_tiny_xrv(
        tmp_path / "xrv", tiny_config(("Cardiomegaly", "", "Effusion", "Hernia"), (0.3, None, 0.2, 0.1))
    )


def test_a_calibration_is_fitted_written_and_used(
    collection: Path, expert: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = expert / "calibration.json"
    arguments = ["calibrate", "--expert", f"xrv:{expert}", "--manifest", str(collection / "manifest.jsonl")]
    assert main([*arguments, "--out", str(out), "--collection", "drawings", "--json"]) == 0
    said = capsys.readouterr()
    uncalibrated = load_expert(f"xrv:{expert}", calibration="none")
    calibration = read_calibration(out, uncalibrated.weights)
    assert json.loads(said.out) == calibration.model_dump()
    assert calibration.collection == "drawings"
    # The lateral is not asked for; the file that is gone is counted.
    assert calibration.studies == DRAWN
    assert f"1 of {DRAWN + 1} images were left out: UNREADABLE_IMAGE" in said.err
    # Nobody labelled hernias, so nobody knows whether there are any.
    truths = [truth for _, truth in read_labelled(collection / "manifest.jsonl")[:DRAWN]]
    effusion, cardiomegaly = (sum(t[c.concept] for t in truths) for c in labels_of(["Effusion", "Cardiomegaly"]))
    assert calibration.too_few == {"Cardiomegaly": cardiomegaly, "Hernia": 0}
    assert set(calibration.labels) == {"Effusion"}
    label = calibration.labels["Effusion"]
    assert (label.studies, label.positives) == (DRAWN, effusion)
    assert label.brier_after <= label.brier_before
    expert_now = load_expert(f"xrv:{expert}")
    assert calibration.identity in expert_now.identity
    # A calibration that fits other weights is no reason not to fit one for these.
    first = out.read_bytes()
    out.write_bytes(first.replace(b"xrv-densenet-", b"other-"))
    assert main([*arguments, "--out", str(out), "--collection", "drawings"]) == 0
    assert out.read_bytes() == first
    table = capsys.readouterr().out
    assert "Effusion" in table
    assert "Hernia 0" in table


def test_kept_scores_are_used_again_and_those_of_another_expert_are_refused(
    collection: Path, expert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, out = tmp_path / "scores.jsonl", tmp_path / "calibration.json"
    arguments = ["calibrate", "--expert", f"xrv:{expert}", "--out", str(out), "--scores", str(kept)]
    manifest = ["--manifest", str(collection / "manifest.jsonl")]
    assert main([*arguments, *manifest]) == 0
    whole = out.read_bytes()
    lines = kept.read_text().splitlines()
    assert len([line for line in lines if line]) == DRAWN
    # A run that was stopped in the middle of a line goes on, and comes to the same.
    kept.write_text("\n".join(lines[:40])[:-20])
    assert main([*arguments, *manifest]) == 0
    assert out.read_bytes() == whole
    # Kept scores alone will do.
    moved = tmp_path / "manifest.jsonl"
    rows = [json.loads(line) for line in (collection / "manifest.jsonl").read_text().splitlines()]
    moved.write_text("\n".join(json.dumps(row | {"path": str(collection / row["path"])}) for row in rows))
    assert main([*arguments, "--manifest", str(moved), "--method", "temperature"]) == 0
    assert read_calibration(out, load_expert(f"xrv:{expert}").weights).method == "temperature"
    kept.write_text(kept.read_text().replace("xrv-densenet-", "xrv-densenet-other-"))
    capsys.readouterr()
    assert main([*arguments, *manifest]) == 78
    assert "CALIBRATION_MISMATCH" in capsys.readouterr().err


def test_what_a_manifest_says_is_read_alike_from_every_form(tmp_path: Path) -> None:
    labels = labels_of(["Effusion", "Cardiomegaly", "Hernia"])
    expected = [[1, 0, np.nan], [0, 1, np.nan], [0, 0, np.nan]]
    named = [["Pleural Effusion"], ["Cardiomegaly"], ["No Finding"]]
    lines = tmp_path / "lists.jsonl"
    lines.write_text(
        "".join(
            json.dumps({"path": "origin", "file": f"{n}.png", "labels": each}) + "\n" for n, each in enumerate(named)
        )
    )
    by_name = tmp_path / "mappings.jsonl"
    numbers = [
        {"Effusion": 1, "Cardiomegaly": None},
        {"Effusion": 0, "Cardiomegaly": 1.0},
        {"Effusion": "", "Cardiomegaly": 0},
    ]
    by_name.write_text(
        "".join(json.dumps({"path": f"{n}.png", "labels": each}) + "\n" for n, each in enumerate(numbers))
    )
    joined = tmp_path / "joined.csv"
    columns = tmp_path / "chexpert.csv"
    with joined.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "labels"], *([f"{n}.png", "|".join(e)] for n, e in enumerate(named))])
    with columns.open("w", newline="") as file:
        rows = [["0.png", "Female", "1.0", ""], ["1.png", "", "", "1.0"], ["2.png", "", "0.0", "0.0"]]
        csv.writer(file).writerows([["Path", "Sex", "Pleural Effusion", "Cardiomegaly"], *rows])
    for manifest in (lines, by_name, joined, columns):
        images = read_labelled(manifest)
        assert [image.path for image in images] == [tmp_path / f"{n}.png" for n in range(3)]
        np.testing.assert_array_equal(truth_table(images, labels), expected)


def test_what_a_report_leaves_open_is_neither_there_nor_not_there(tmp_path: Path) -> None:
    manifest = tmp_path / "open.csv"
    manifest.write_text("Path,Edema\na.png,-1.0\nb.png,1\n")
    np.testing.assert_array_equal(truth_table(read_labelled(manifest), labels_of(["Edema"])), [[np.nan], [1]])


@pytest.mark.parametrize(
    "text", ["", "not json", "[1]", '{"labels": ["Edema"]}', '{"path": "a", "labels": {"Edema": 7}}', '{"path": 3}']
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, text: str) -> None:
    manifest = tmp_path / "wrong.jsonl"
    manifest.write_text(text)
    with pytest.raises(InvalidManifest):
        read_labelled(manifest)
    with pytest.raises(InvalidManifest):
        read_labelled(tmp_path / "nowhere.csv")
