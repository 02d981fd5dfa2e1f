"""DICOM files that are read whole, and those that are refused with their name before anything is decoded."""

import logging
import os
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from retrieval.errors import ImageTooLarge, PrelimError, UnreadableImage, UnsupportedImage
from retrieval.pixels.limits import Limits
from retrieval.pixels.read import digest, read_header, read_pixels
from tests.dicom_files import (
    compressed,
    dataset,
    deflated_bomb,
    draw,
    encapsulated,
    half_a_j2k,
    implicit,
    jpeg_bytes,
    nested,
    ramp,
    save,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


def refused(path: Path, error: type[PrelimError], words: str, limits: Limits | None = None) -> None:
    """Both faces refuse it, say why and what to do, and do not quote the patient."""
    for read in (read_header, read_pixels):
        with pytest.raises(error, match=words) as raised:
            read(path, limits or Limits())
        assert raised.value.fix
        assert "Roentgen" not in str(raised.value)


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1])
def test_a_compressed_image_has_the_pixels_it_was_made_from(path: Path, syntax: str, bits: int) -> None:
    samples = ramp(bits, 34, 32)
    source = read_pixels(draw(path.with_name("source.dcm"), samples, bits))
    np.testing.assert_array_equal(read_pixels(compressed(path, samples, syntax, bits)), source)
    assert read_header(path).transfer_syntax_uid == syntax


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_signed_pixels_survive_compression(path: Path, syntax: str) -> None:
    samples = (ramp(12, 34, 32).astype(np.int32) - 2048).astype(np.int16)
    source = read_pixels(draw(path.with_name("source.dcm"), samples, 12))
    np.testing.assert_array_equal(read_pixels(compressed(path, samples, syntax, 12)), source)


def test_a_baseline_jpeg_is_close_to_what_it_was_made_from(path: Path) -> None:
    samples = ramp(8, 32, 32)
    encapsulated(path, jpeg_bytes(samples), samples, JPEGBaseline8Bit)
    np.testing.assert_allclose(read_pixels(path), samples / 255, atol=0.02)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
@pytest.mark.parametrize("bits", [8, 12])
def test_every_uncompressed_encoding_gives_the_same_pixels(path: Path, syntax: str, bits: int) -> None:
    samples = ramp(bits)
    stored = samples.byteswap() if syntax == ExplicitVRBigEndian and bits > 8 else samples
    image = dataset(samples, bits, WindowCenter=100, WindowWidth=200)
    image.PixelData = stored.tobytes()
    image["PixelData"].VR = "OW" if bits > 8 else "OB"
    source = read_pixels(draw(path.with_name("source.dcm"), samples, bits, WindowCenter=100, WindowWidth=200))
    np.testing.assert_array_equal(read_pixels(save(path, image, syntax)), source)


def test_a_data_set_without_preamble_has_its_pixels(path: Path) -> None:
    np.testing.assert_allclose(read_pixels(implicit(path, ramp(12), 12)), ramp(12) / 4095, atol=1e-6)


def test_an_odd_number_of_bytes_is_padded_and_read(path: Path) -> None:
    samples = ramp(8, 3, 3)
    np.testing.assert_allclose(read_pixels(draw(path, samples)), samples / 255, atol=1e-6)


def test_bytes_behind_the_pixels_do_no_harm(path: Path) -> None:
    image = dataset(ramp(8))
    image.PixelData += b"\0" * 64
    np.testing.assert_allclose(read_pixels(save(path, image)), ramp(8) / 255, atol=1e-6)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.100", "1.2.840.10008.1.2.4.94", "1.2.840.10008.1.2.4.102"])
def test_a_syntax_without_a_decoder_is_named(path: Path, syntax: str) -> None:
    encapsulated(path, b"\0" * 32, ramp(8), syntax)
    refused(path, UnsupportedImage, syntax.replace(".", r"\."))


def test_an_unknown_syntax_is_refused_without_quoting_it(path: Path) -> None:
    encapsulated(path, b"\0" * 32, ramp(8), "1.2.3.4.5")
    refused(path, UnsupportedImage, "transfer syntax of this file")


def test_several_frames_are_refused(path: Path) -> None:
    image = dataset(ramp(8), NumberOfFrames=2)
    image.PixelData = image.PixelData * 2
    refused(save(path, image), UnsupportedImage, "2 frames")


@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR"])
def test_colour_is_refused(path: Path, photometric: str) -> None:
    samples = 1 if photometric == "PALETTE COLOR" else 3
    image = dataset(ramp(8), PhotometricInterpretation=photometric, SamplesPerPixel=samples)
    image.PixelData = image.PixelData * samples
    refused(save(path, image), UnsupportedImage, "colour")


@pytest.mark.parametrize(("keyword", "value"), [("Rows", 0), ("Columns", 0)])
def test_an_image_of_no_size_is_damage(path: Path, keyword: str, value: int) -> None:
    refused(draw(path, **{keyword: value}), UnreadableImage, "0 ")


@pytest.mark.parametrize("keyword", ["Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation"])
def test_a_header_without_what_the_pixels_need_is_damage(path: Path, keyword: str) -> None:
    refused(draw(path, **{keyword: None}), UnreadableImage, "header has no|ends before")


def test_65535_squared_is_too_large_and_is_found_out_at_once(path: Path) -> None:
    draw(path, Rows=65535, Columns=65535)
    began = time.perf_counter()
    refused(path, ImageTooLarge, "65535")
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("limits", "words"),
    [({"max_rows": 11}, "rows"), ({"max_columns": 9}, "columns"), ({"max_pixels": 119}, "pixels"),
     ({"max_decoded_bytes": 599}, "decoded"), ({"max_file_bytes": 400}, "file has")],
)  # fmt: skip
def test_every_limit_holds(path: Path, limits: dict[str, Any], words: str) -> None:
    refused(draw(path), ImageTooLarge, words, Limits(**limits))


def test_an_image_at_its_limits_is_read(path: Path) -> None:
    draw(path)
    limits = Limits(max_rows=12, max_columns=10, max_pixels=120, max_decoded_bytes=600,
                    max_file_bytes=path.stat().st_size)  # fmt: skip
    assert read_pixels(path, limits).shape == (12, 10)


def test_a_deflated_bomb_is_stopped_while_inflating(path: Path) -> None:
    deflated_bomb(path, 40 * 2**20)
    assert path.stat().st_size < 2**17
    refused(path, ImageTooLarge, "inflates", Limits(max_file_bytes=2**20))


def test_a_deflated_file_that_is_cut_off_is_damage(path: Path) -> None:
    save(path, dataset(ramp(8)), DeflatedExplicitVRLittleEndian)
    path.write_bytes(path.read_bytes()[:-20])
    refused(path, UnreadableImage, "cut off")


def test_sequences_nested_without_end_are_damage(path: Path) -> None:
    refused(nested(path, 5000), UnreadableImage, "damaged")


def test_a_codestream_larger_than_its_header_is_not_decoded(path: Path) -> None:
    frame = bytearray(jpeg_bytes(ramp(8, 32, 32)))
    at = frame.index(b"\xff\xc0")
    frame[at + 5 : at + 9] = struct.pack(">HH", 65500, 65500)
    encapsulated(path, bytes(frame), ramp(8, 32, 32), JPEGBaseline8Bit)
    with pytest.raises(ImageTooLarge, match="larger than the header"):
        read_pixels(path)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, RLELossless])
def test_a_codestream_of_another_size_is_damage(path: Path, syntax: str) -> None:
    compressed(path, ramp(12, 34, 32), syntax, 12)
    data = path.read_bytes()
    rows = struct.pack("<HH2sHH", 0x0028, 0x0010, b"US", 2, 34)
    path.write_bytes(data.replace(rows, rows[:-2] + struct.pack("<H", 40)))
    with pytest.raises(UnreadableImage):
        read_pixels(path)


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, RLELossless])
def test_a_compressed_file_cut_off_anywhere_is_damage(path: Path, syntax: str) -> None:
    data = compressed(path, ramp(12, 34, 32), syntax, 12).read_bytes()
    for end in range(1, len(data) - 8, 19):
        path.write_bytes(data[:end])
        with pytest.raises(UnreadableImage):
            read_pixels(path)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_half_a_codestream_in_a_whole_file_is_damage(path: Path, syntax: str) -> None:
    samples = ramp(8, 32, 32)
    whole = jpeg_bytes(samples)
    half = half_a_j2k(samples) if syntax == JPEG2000Lossless else whole[: whole.index(b"\xff\xda") + 30]
    encapsulated(path, half, samples, syntax)
    with pytest.raises(UnreadableImage, match="cut off"):
        read_pixels(path)


def test_an_uncompressed_file_cut_off_anywhere_is_damage(path: Path) -> None:
    data = draw(path).read_bytes()
    for end in range(1, len(data), 7):
        path.write_bytes(data[:end])
        refused(path, UnreadableImage, r"\w")


def test_fewer_pixels_than_the_header_says_is_damage(path: Path) -> None:
    image = dataset(ramp(8))
    image.PixelData = image.PixelData[:-2]
    refused(save(path, image), UnreadableImage, "shorter")


@pytest.mark.parametrize("bits", [{"BitsStored": 9, "HighBit": 8}, {"BitsStored": 0}])
def test_more_bits_stored_than_allocated_is_damage(path: Path, bits: dict[str, int]) -> None:
    refused(draw(path, **bits), UnreadableImage, "bits are stored")


def test_a_shifted_high_bit_is_refused(path: Path) -> None:
    refused(draw(path, ramp(12), 12, HighBit=15), UnsupportedImage, "High Bit")


def test_an_object_without_pixels_is_refused(path: Path) -> None:
    image = dataset(ramp(8))
    del image.PixelData
    image.SOPClassUID = BasicTextSRStorage
    refused(save(path, image), UnsupportedImage, "no integer pixel data")


def test_one_bit_pixels_are_refused(path: Path) -> None:
    refused(draw(path, BitsAllocated=1, BitsStored=1, HighBit=0), UnsupportedImage, "1 bits allocated")


def test_an_empty_file_is_damage(path: Path) -> None:
    path.write_bytes(b"")
    refused(path, UnreadableImage, "empty")


@pytest.mark.parametrize("text", ["PatientName: Anna Roentgen\n" * 20, "x", "DICM", "GIF89a"])
def test_text_named_dcm_is_no_image(path: Path, text: str) -> None:
    path.write_text(text)
    refused(path, UnreadableImage, "neither DICOM nor PNG nor JPEG")


def test_a_preamble_with_nothing_behind_it_is_damage(path: Path) -> None:
    path.write_bytes(b"\0" * 128 + b"DICM")
    refused(path, UnreadableImage, "ends before")


def test_a_folder_and_a_missing_file_are_named_without_their_path(tmp_path: Path) -> None:
    refused(tmp_path, UnreadableImage, "regular file")
    refused(tmp_path / "Roentgen.dcm", UnreadableImage, "No such file")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", UnreadableImage, "regular file")


@pytest.mark.parametrize(
    ("name", "words"),
    [("pipe", "regular file"), ("folder", "regular file"), ("/dev/zero", "regular file"), ("none", "No such file"),
     ("empty", "empty"), ("a\0b", "not a path"), ("\ud800", "not a path")],
)  # fmt: skip
def test_the_digest_of_what_is_no_file_is_refused_at_once(tmp_path: Path, name: str, words: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    with pytest.raises(UnreadableImage, match=words) as raised:
        digest(tmp_path / name)
    assert raised.value.fix


def test_the_digest_of_a_huge_file_is_refused_before_it_is_read(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ImageTooLarge):
        digest(path)


def test_refusing_a_path_leaves_no_file_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(10):
        with pytest.raises(UnreadableImage):
            digest(tmp_path)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208


def test_the_digest_is_of_the_file(path: Path) -> None:
    path.write_bytes(b"abc")
    assert digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_reading_prints_nothing_and_passes_nothing_on_to_the_log(path: Path, capfd: Any) -> None:
    draw(path, ViewPosition="PA")
    path.write_bytes(path.read_bytes().replace(b"1.2.826.0.1.1", b"Anna Roentgen"))  # an invalid UID
    logged: list[str] = []
    listener = logging.Handler()
    listener.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(listener)
    try:
        read_header(path, salt=b"salt")
        read_pixels(path)
    finally:
        logging.getLogger().removeHandler(listener)
    assert capfd.readouterr() == ("", "")
    assert not logged


def test_an_error_carries_no_cause_that_could_quote_the_patient(path: Path) -> None:
    draw(path, Rows=None)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"Roentgen") + 4])
    with pytest.raises(UnreadableImage) as raised:
        read_header(path)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
