"""Damaged bytes of every format give an image or an error of ours, and nothing else."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from retrieval.errors import RequestError
from retrieval.pixels.limits import Limits
from retrieval.pixels.read import read_header, read_pixels
from tests.dicom_files import coded, compressed, dataset, draw, implicit, jpeg, lut, png, ramp, save

# An image that damage makes large is another image: it need not be decoded here, in the test's own process.
LIMITS = Limits(max_pixels=2**20)


@cache
def whole(kind: str) -> bytes:
    """The bytes of an undamaged file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        match kind:
            case "dicom":
                draw(path, ramp(12), 12, WindowCenter=[2000, 1], WindowWidth=[900, 1],
                     VOILUTSequence=lut(0, list(range(64)), 8), ViewCodeSequence=coded("399348003", "SCT"),
                     PatientOrientation=["L", "F"], PixelSpacing=[0.1, 0.1], PixelPaddingValue=0)  # fmt: skip
            case "implicit":
                implicit(path, ramp(12), bits_stored=12, ModalityLUTSequence=lut(0, list(range(64)), 16))
            case "deflated":
                save(path, dataset(ramp(8)), DeflatedExplicitVRLittleEndian)
            case "png":
                png(path, ramp(8))
            case "png16":
                png(path, ramp(16))
            case "jpeg":
                jpeg(path, ramp(8))
            case syntax:
                compressed(path, ramp(12, 34, 32), syntax, 12)
        return path.read_bytes()


def read_both(path: Path) -> None:
    try:
        attributes = read_header(path, LIMITS, b"salt")
        pixels = read_pixels(path, LIMITS)
    except RequestError:
        return
    assert pixels.shape == (attributes.rows, attributes.columns)
    assert pixels.dtype == np.float32
    assert np.isfinite(pixels).all()
    assert pixels.min() >= 0
    assert pixels.max() <= 1


KINDS = ["dicom", "implicit", "deflated", "png", "png16", "jpeg", RLELossless, JPEGLSLossless, JPEG2000Lossless]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=150, deadline=None, derandomize=True)
@given(draws=st.data())
def test_damaged_bytes_give_an_image_or_an_error_of_ours(kind: str, draws: st.DataObject) -> None:
    data = bytearray(whole(kind))
    for at in draws.draw(st.lists(st.integers(0, len(data) - 1), max_size=6)):
        data[at] = draws.draw(st.integers(0, 255))
    end = draws.draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    with tempfile.NamedTemporaryFile() as file:
        file.write(data[:end])
        file.flush()
        read_both(Path(file.name))
