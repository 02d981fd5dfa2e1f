"""Pixels out of the decoder processes, for experts and language models."""

from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import UnreadableImage
from retrieval.pixels.kept import LONGEST_SIDE, packed, unpacked
from retrieval.pixels.limits import DEFAULT_LIMITS
from retrieval.pixels.read import read_header, read_pixels
from retrieval.pixels.sandbox import Readers, Reading, _Worker
from retrieval.pixels.wire import Answer, Image, Setup
from retrieval.study import read_study
from tests.dicom_files import as_is, draw, png, ramp


def test_a_study_s_pixels_are_what_reading_here_gives_in_the_order_of_its_images(tmp_path: Path) -> None:
    draw(tmp_path / "1.dcm", ViewPosition="LL", SOPInstanceUID="1.2.1")
    draw(tmp_path / "2.dcm", np.arange(64, dtype=np.uint8).reshape(8, 8), ViewPosition="PA", SOPInstanceUID="1.2.2")
    with Readers(mean_of, look=as_is, keep="pixels") as readers:
        read = read_study([tmp_path], readers)
    assert [image.attributes.view for image in read.study.images] == ["PA", "LL"]
    for pixels, name in zip(read.pixels, ("2.dcm", "1.dcm"), strict=True):
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, read_pixels(str(tmp_path / name)), atol=1 / 65535)
    alone = read.only([1], [read.study.images[1]])
    np.testing.assert_array_equal(alone.pixels[0], read.pixels[1])


def test_readers_hand_no_pixels_over_unless_they_are_to_keep_them(tmp_path: Path) -> None:
    draw(tmp_path / "1.dcm")
    with Readers(as_is, look=as_is) as readers:
        read = read_study([tmp_path], readers)
    assert read.pixels == ()
    assert read.only([0], read.study.images).pixels == ()


@pytest.mark.parametrize(
    ("shape", "becomes"),
    [
        ((3000, 2000), (LONGEST_SIDE, 683)),
        ((2000, 3000), (683, LONGEST_SIDE)),
        ((4000, 3), (LONGEST_SIDE, 1)),
        ((3, 4000), (1, LONGEST_SIDE)),
    ],
)
def test_a_large_image_is_averaged_and_not_sampled(shape: tuple[int, int], becomes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random(shape, dtype=np.float32)
    kept = unpacked(packed(pixels))
    assert kept.shape == becomes
    # Of n independent pixels in a cell the mean spreads like one over the square root of n.
    assert kept.std() < 0.7 * pixels.std()
    assert kept.mean() == pytest.approx(pixels.mean(), abs=0.01)


@pytest.mark.parametrize("shape", [(1024, 7), (1, 1), (300, 500)])
def test_a_small_image_stays_as_it_is(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).random(shape, dtype=np.float32)
    np.testing.assert_allclose(unpacked(packed(pixels)), pixels, atol=1 / 65535)


def test_black_and_white_stay_black_and_white() -> None:
    assert unpacked(packed(np.array([[0, 1]], np.float32))).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize("kept", [(0, 5), (5, 1025), (-1, 4), (4,)])
def test_a_decoder_may_announce_no_other_size(tmp_path: Path, kept: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - pydantic's
        announced(tmp_path, kept=kept)


@pytest.mark.parametrize(("kept", "numbers"), [((4, 4), 15), ((4, 4), 17), (None, 16)])
def test_a_decoder_that_sends_other_pixels_than_it_said_costs_one_image(
    tmp_path: Path, kept: Any, numbers: int
) -> None:
    image = announced(tmp_path, kept=kept)
    worker = _Worker(Setup(as_is, as_is, DEFAULT_LIMITS, 5.0, 2**30, None, "pixels", 0))
    ours, theirs = Pipe()
    worker._pipe, worker._ready = ours, True  # type: ignore[assignment]
    theirs.send_bytes(Answer(image=image).model_dump_json().encode())
    theirs.send_bytes(np.zeros(1, np.float32).tobytes())
    theirs.send_bytes(b"")
    theirs.send_bytes(np.zeros(numbers, np.uint16).tobytes())
    try:
        assert isinstance(worker.receive("x.png", []), UnreadableImage)
    finally:
        worker.close()


def test_pixels_of_many_images_come_in_the_order_asked_for(tmp_path: Path) -> None:
    paths = [str(png(tmp_path / f"{n}.png", np.full((9, 9 + n), 10 * n, np.uint8))) for n in range(8)]
    with Readers(as_is, look=as_is, workers=2, keep="pixels") as readers:
        for path, reading in zip(paths, readers.read(paths), strict=True):
            assert isinstance(reading, Reading)
            assert reading.pixels is not None
            np.testing.assert_allclose(reading.pixels, read_pixels(path), atol=1 / 65535)


def mean_of(pixels: Any) -> Any:
    return np.array([pixels.mean()], np.float32)


def announced(folder: Path, kept: Any) -> Image:
    path = str(png(folder / "x.png", ramp(8)))
    return Image(
        digest="0" * 64,  # type: ignore[arg-type]
        attributes=read_header(path),
        statistics=None,
        dtype="<f4",
        shape=(1,),
        kept=kept,
    )
