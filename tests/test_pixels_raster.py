"""PNG and JPEG: grey by bit depth, grey saved as colour, and what is refused before decoding."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from retrieval.pixels.limits import Limits
from retrieval.pixels.read import read_header, read_pixels
from tests.dicom_files import jpeg, png, png_header, ramp

GREY = ramp(8)
COLOUR = np.stack([GREY, GREY, GREY[::-1]], axis=-1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image"


def test_a_png_of_8_bits_is_scaled_by_255(path: Path) -> None:
    np.testing.assert_allclose(read_pixels(png(path, GREY)), GREY / 255, atol=1e-6)
    attributes = read_header(path)
    assert (attributes.media, attributes.rows, attributes.columns, attributes.bits_stored) == ("png", 12, 10, 8)


def test_a_png_of_16_bits_keeps_them(path: Path) -> None:
    pixels = read_pixels(png(path, ramp(16, 300, 200)))
    np.testing.assert_allclose(pixels, ramp(16, 300, 200) / 65535, atol=1e-6)
    assert len(np.unique(pixels)) == 60_000
    assert read_header(path).bits_stored == 16


def test_a_jpeg_is_scaled_by_255(path: Path) -> None:
    np.testing.assert_allclose(read_pixels(jpeg(path, ramp(8, 32, 32))), ramp(8, 32, 32) / 255, atol=0.02)
    attributes = read_header(path)
    assert (attributes.media, attributes.rows, attributes.view_source) == ("jpeg", 32, "none")
    assert (attributes.modality, attributes.study_instance_uid) == (None, None)


def test_a_one_bit_png_is_black_and_white(path: Path) -> None:
    Image.fromarray(GREY > 100).save(path, "PNG")
    np.testing.assert_array_equal(read_pixels(path), (GREY > 100).astype(np.float32))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_saved_as_colour_is_grey(path: Path, mode: str) -> None:
    Image.fromarray(GREY).convert(mode).save(path, "PNG")
    np.testing.assert_allclose(read_pixels(path), GREY / 255, atol=1e-6)


def test_grey_saved_as_a_colour_jpeg_is_grey(path: Path) -> None:
    grey = ramp(8, 32, 32)
    pixels = read_pixels(jpeg(path, np.stack([grey] * 3, axis=-1)))
    np.testing.assert_allclose(pixels, grey / 255, atol=0.02)


@pytest.mark.parametrize("write", [png, jpeg])
def test_true_colour_is_refused(path: Path, write: object) -> None:
    write(path, COLOUR)  # type: ignore[operator]
    with pytest.raises(UnsupportedImage, match="colour"):
        read_pixels(path)


def test_a_transparent_image_is_refused(path: Path) -> None:
    png(path, np.stack([GREY, GREY, GREY, 255 - GREY], axis=-1))
    with pytest.raises(UnsupportedImage, match="transparent"):
        read_pixels(path)


def test_a_cmyk_jpeg_is_refused(path: Path) -> None:
    Image.fromarray(GREY).convert("CMYK").save(path, "JPEG")
    with pytest.raises(UnsupportedImage, match="colour"):
        read_header(path)


def test_sixteen_bits_of_colour_are_not_halved_silently(path: Path) -> None:
    png_header(path, 4, 4, depth=16, colour_type=4)
    with pytest.raises(UnsupportedImage, match="16 bits"):
        read_header(path)


def test_an_animated_png_is_refused(path: Path) -> None:
    Image.fromarray(GREY).save(path, "PNG", save_all=True, append_images=[Image.fromarray(GREY[::-1])])
    with pytest.raises(UnsupportedImage, match="animated"):
        read_header(path)


def test_a_jpeg_with_a_second_picture_is_refused(path: Path) -> None:
    Image.fromarray(GREY).save(path, "MPO", save_all=True, append_images=[Image.fromarray(GREY[::-1])])
    with pytest.raises(UnsupportedImage, match="2 frames"):
        read_header(path)


@pytest.mark.parametrize("size", [(65535, 65535), (100_000, 4), (4, 2**31 - 1)])
def test_a_png_that_says_it_is_huge_is_not_decoded(path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooLarge):
        read_header(png_header(path, *size))


def test_a_png_of_no_size_is_damage(path: Path) -> None:
    with pytest.raises(UnreadableImage, match="0 rows"):
        read_header(png_header(path, 0, 0))


def test_a_jpeg_over_a_limit_is_not_decoded(path: Path) -> None:
    jpeg(path, ramp(8, 32, 32))
    for limits in (Limits(max_rows=31), Limits(max_pixels=1000), Limits(max_decoded_bytes=4000)):
        with pytest.raises(ImageTooLarge):
            read_pixels(path, limits)


def test_a_jpeg_of_65535_squared_is_too_large(path: Path) -> None:
    data = bytearray(jpeg(path, ramp(8, 32, 32)).read_bytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(ImageTooLarge):
        read_header(path)


@pytest.mark.parametrize("write", [png, jpeg])
def test_a_file_cut_off_anywhere_is_damage(path: Path, write: object) -> None:
    data = write(path, ramp(8, 64, 64)).read_bytes()  # type: ignore[operator]
    for end in [*range(8, len(data), 101), len(data) - 1, len(data) - 2]:
        path.write_bytes(data[:end])
        with pytest.raises(UnreadableImage):
            read_pixels(path)


def test_a_flipped_bit_in_a_png_is_damage(path: Path) -> None:
    data = bytearray(png(path, ramp(8, 64, 64)).read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UnreadableImage, match="checksum"):
        read_pixels(path)


def test_the_name_of_a_file_does_not_matter(path: Path) -> None:
    assert read_header(png(path.with_suffix(".dcm"), GREY)).media == "png"
    assert read_header(jpeg(path.with_suffix(".png"), GREY)).media == "jpeg"


def test_exif_orientation_is_applied_as_every_viewer_does(path: Path) -> None:
    grey = ramp(8, 32, 16)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown a quarter turn clockwise
    jpeg(path, grey, exif=exif)
    assert (read_header(path).rows, read_header(path).columns) == (16, 32)
    np.testing.assert_allclose(read_pixels(path), np.rot90(grey, -1) / 255, atol=0.02)
