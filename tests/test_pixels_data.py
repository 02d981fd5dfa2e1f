"""The real DICOM files: every one is read, and re-encoded ones have the pixels of their source."""

import ast
import csv
from pathlib import Path

import numpy as np
import pytest

from retrieval.pixels.read import digest, read_header, read_pixels
from retrieval.pixels.statistics import pixel_statistics

SOURCES = ("nih_00000001_DX.dcm", "wg04_RG1_chest_CR_j2k_lossy.dcm")

pytestmark = pytest.mark.data


def rows_of(data: Path) -> list[dict[str, str]]:
    with (data / "radiographs" / "dicom" / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_real_file_is_read_and_is_as_its_manifest_says(data: Path) -> None:
    listed = rows_of(data)
    assert len(listed) >= 15
    for row in listed:
        path = data / "radiographs" / row["file"]
        attributes = read_header(path, salt=b"salt")
        said = (str(attributes.rows), str(attributes.columns), str(attributes.bits_stored), attributes.photometric)
        assert said == (row["rows"], row["columns"], row["bits_stored"], row["photometric"]), row["file"]
        assert (attributes.modality, attributes.body_part or "") == (row["modality"], row["body_part"])
        assert attributes.transfer_syntax_uid == row["transfer_syntax"]
        assert digest(path) == row["sha256"]
        if row["view"]:
            assert attributes.view == row["view"]
        pixels = read_pixels(path)
        assert pixels.shape == (attributes.rows, attributes.columns)
        assert pixel_statistics(pixels).std > 0.05, row["file"]


def test_the_real_range_arrives_where_no_window_is_given(data: Path) -> None:
    for row in rows_of(data):
        if row["bits_stored"] != "8":
            continue
        low, high = (int(n) for n in row["decoded"].split()[-1].split(".."))
        pixels = read_pixels(data / "radiographs" / row["file"])
        assert (round(float(pixels.min()) * 255), round(float(pixels.max()) * 255)) == (low, high)
        assert ast.literal_eval(row["decoded"].split(") ")[0] + ")") == pixels.shape


def test_a_real_file_encoded_again_has_the_pixels_of_its_source(data: Path) -> None:
    derived = [row for row in rows_of(data) if row["pixels_equal_to_source"] == "True"]
    assert len(derived) >= 7
    for row in derived:
        (source,) = [s for s in SOURCES if Path(row["file"]).name.startswith(s.split("_j2k")[0].split(".")[0])]
        np.testing.assert_array_equal(
            read_pixels(data / "radiographs" / row["file"]), read_pixels(data / "radiographs" / "dicom" / source)
        )
