"""Stored values to grey: each transformation of PS3.3 C.11, in order, and against pydicom where that is right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from retrieval.errors import UnreadableImage, UnsupportedImage
from retrieval.pixels.read import read_header, read_pixels
from tests.dicom_files import draw, lut, ramp

TWELVE = ramp(12)


def grey(path: Path, samples: Any = TWELVE, bits_stored: int | None = 12, **elements: Any) -> Any:
    pixels = read_pixels(draw(path, samples, bits_stored, **elements))
    assert pixels.dtype == np.float32
    assert pixels.min() >= 0
    assert pixels.max() <= 1
    return pixels


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "image.dcm"


def test_twelve_bits_in_sixteen_are_scaled_by_the_bits_stored(path: Path) -> None:
    np.testing.assert_allclose(grey(path), TWELVE / 4095, atol=1e-6)


def test_eight_bits_are_scaled_by_255(path: Path) -> None:
    np.testing.assert_allclose(grey(path, ramp(8), 8), ramp(8) / 255, atol=1e-6)


def test_the_scale_does_not_depend_on_the_brightest_pixel(path: Path) -> None:
    dim = (TWELVE // 4).astype(np.uint16)
    np.testing.assert_allclose(grey(path, dim), dim / 4095, atol=1e-6)


def test_bits_above_the_stored_ones_are_no_image(path: Path) -> None:
    np.testing.assert_allclose(grey(path, TWELVE | 0xF000), TWELVE / 4095, atol=1e-6)


def test_signed_pixels_run_from_their_lowest_value(path: Path) -> None:
    signed = (TWELVE.astype(np.int32) - 2048).astype(np.int16)
    np.testing.assert_allclose(grey(path, signed), TWELVE / 4095, atol=1e-6)


def test_signed_pixels_stored_without_sign_extension_are_negative_all_the_same(path: Path) -> None:
    signed = ((TWELVE.astype(np.int32) - 2048) & 0x0FFF).astype(np.int16)
    np.testing.assert_allclose(grey(path, signed), TWELVE / 4095, atol=1e-6)


def test_monochrome1_is_inverted(path: Path) -> None:
    np.testing.assert_allclose(grey(path, PhotometricInterpretation="MONOCHROME1"), 1 - TWELVE / 4095, atol=1e-6)


def test_monochrome1_that_also_says_inverse_is_inverted_once(path: Path) -> None:
    pixels = grey(path, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    np.testing.assert_allclose(pixels, 1 - TWELVE / 4095, atol=1e-6)


def test_monochrome2_that_says_inverse_is_inverted(path: Path) -> None:
    np.testing.assert_allclose(grey(path, PresentationLUTShape="INVERSE"), 1 - TWELVE / 4095, atol=1e-6)


def test_monochrome2_that_says_identity_is_not_inverted(path: Path) -> None:
    np.testing.assert_allclose(grey(path, PresentationLUTShape="IDENTITY"), TWELVE / 4095, atol=1e-6)


def test_inversion_comes_after_the_window(path: Path) -> None:
    window = {"WindowCenter": 1000, "WindowWidth": 1000}
    upright = grey(path, **window)
    inverted = grey(path, **window, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(inverted, 1 - upright, atol=1e-6)


def test_of_several_windows_the_first_is_used(path: Path) -> None:
    first = grey(path, WindowCenter=1000, WindowWidth=500)
    np.testing.assert_array_equal(grey(path, WindowCenter=[1000, 3000], WindowWidth=[500, 900]), first)


def test_a_linear_window_follows_its_formula(path: Path) -> None:
    x = TWELVE.astype(np.float64)
    expected = np.clip((x - (2000 - 0.5)) / (1000 - 1) + 0.5, 0, 1)
    np.testing.assert_allclose(grey(path, WindowCenter=2000, WindowWidth=1000), expected, atol=1e-6)


def test_a_linear_exact_window_follows_its_formula(path: Path) -> None:
    expected = np.clip((TWELVE.astype(np.float64) - 2000) / 1000 + 0.5, 0, 1)
    pixels = grey(path, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_a_sigmoid_window_follows_its_formula(path: Path) -> None:
    expected = 1 / (1 + np.exp(-4 * (TWELVE.astype(np.float64) - 2000) / 1000))
    pixels = grey(path, WindowCenter=2000, WindowWidth=1000, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_a_linear_window_of_width_one_is_a_threshold(path: Path) -> None:
    pixels = grey(path, WindowCenter=2000, WindowWidth=1)
    np.testing.assert_array_equal(pixels, (TWELVE > 1999.5).astype(np.float32))


@pytest.mark.parametrize(("width", "function"), [(0, "LINEAR"), (0.5, "LINEAR"), (0, "SIGMOID"), (-5, "LINEAR_EXACT")])
def test_a_window_without_width_is_not_guessed_at(path: Path, width: float, function: str) -> None:
    with pytest.raises(UnreadableImage, match="Window Width"):
        grey(path, WindowCenter=100, WindowWidth=width, VOILUTFunction=function)


def test_an_unknown_voi_lut_function_is_not_read(path: Path) -> None:
    with pytest.raises(UnsupportedImage, match="VOI LUT Function"):
        grey(path, WindowCenter=100, WindowWidth=50, VOILUTFunction="CUBIC")


def test_a_window_applies_to_rescaled_values(path: Path) -> None:
    pixels = grey(path, RescaleSlope=2, RescaleIntercept=-100, WindowCenter=4000, WindowWidth=2000)
    expected = np.clip((TWELVE * 2.0 - 100 - (4000 - 0.5)) / 1999 + 0.5, 0, 1)
    np.testing.assert_allclose(pixels, expected, atol=1e-6)


def test_a_rescale_alone_does_not_change_the_grey(path: Path) -> None:
    np.testing.assert_allclose(grey(path, RescaleSlope=0.5, RescaleIntercept=-1024), TWELVE / 4095, atol=1e-6)


def test_a_negative_rescale_slope_reverses_the_grey(path: Path) -> None:
    np.testing.assert_allclose(grey(path, RescaleSlope=-1, RescaleIntercept=4095), 1 - TWELVE / 4095, atol=1e-6)


def test_a_rescale_slope_of_zero_is_damage(path: Path) -> None:
    with pytest.raises(UnreadableImage, match="Rescale Slope"):
        grey(path, RescaleSlope=0, RescaleIntercept=0)


def test_a_voi_lut_wins_over_a_window(path: Path) -> None:
    values = [int(4095 * (n / 4095) ** 2) for n in range(4096)]
    pixels = grey(path, VOILUTSequence=lut(0, values, 12), WindowCenter=10, WindowWidth=10)
    np.testing.assert_allclose(pixels, np.asarray(values)[TWELVE] / 4095, atol=1e-6)


def test_values_outside_a_voi_lut_take_its_ends(path: Path) -> None:
    pixels = grey(path, VOILUTSequence=lut(1000, [10, 100, 250], 8))
    assert set(np.unique((pixels * 255).round())) == {10, 250}


def test_a_voi_lut_may_begin_below_zero(path: Path) -> None:
    signed = (TWELVE.astype(np.int32) - 2048).astype(np.int16)
    pixels = grey(path, signed, VOILUTSequence=lut(-2048, list(range(4096)), 12))
    np.testing.assert_allclose(pixels, TWELVE / 4095, atol=1e-6)


def test_a_lookup_table_with_missing_entries_is_damage(path: Path) -> None:
    table = lut(0, list(range(16)), 8)
    table[0].LUTDescriptor = [4096, 0, 8]
    with pytest.raises(UnreadableImage, match="lookup table"):
        grey(path, VOILUTSequence=table)


def test_a_modality_lut_sequence_comes_before_the_window(path: Path) -> None:
    table = [4095 - n for n in range(4096)]
    elements = {"ModalityLUTSequence": lut(0, table, 12), "WindowCenter": 2000, "WindowWidth": 1000}
    expected = np.clip(((4095.0 - TWELVE) - 1999.5) / 999 + 0.5, 0, 1)
    np.testing.assert_allclose(grey(path, **elements), expected, atol=1e-6)


def test_a_modality_lut_without_a_window_fills_the_range_it_uses(path: Path) -> None:
    # A depth of 16 in the descriptor and entries of 10 bits: real files do this.
    pixels = grey(path, ramp(10), 10, ModalityLUTSequence=lut(0, list(range(1024)), 16))
    np.testing.assert_allclose(pixels, ramp(10) / 1023, atol=1e-6)


def test_pixel_padding_is_black_also_when_the_image_is_inverted(path: Path) -> None:
    pixels = grey(path, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=0)
    assert pixels[0, 0] == 0
    np.testing.assert_allclose(pixels.ravel()[1:], 1 - TWELVE.ravel()[1:] / 4095, atol=1e-6)


def test_a_range_of_pixel_padding_is_black(path: Path) -> None:
    pixels = grey(path, PixelPaddingValue=4000, PixelPaddingRangeLimit=4095)
    assert not pixels[TWELVE >= 4000].any()
    assert pixels[TWELVE < 4000].max() > 0.9


@pytest.mark.parametrize(
    "elements",
    [
        {},
        {"WindowCenter": 1500, "WindowWidth": 700},
        {"WindowCenter": 1500, "WindowWidth": 700, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 1500, "WindowWidth": 700, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": [900, 10], "WindowWidth": [300, 10], "RescaleSlope": 1.5, "RescaleIntercept": -200},
        {"VOILUTSequence": lut(100, [n * 7 % 4096 for n in range(4096)], 12)},
        {"ModalityLUTSequence": lut(0, [n // 2 for n in range(4096)], 16), "WindowCenter": 900, "WindowWidth": 800},
    ],
)
def test_the_grey_table_agrees_with_pydicom(path: Path, elements: dict[str, Any]) -> None:
    pixels = grey(path, **elements)
    slow = dcmread(path)
    output = apply_voi_lut(apply_modality_lut(slow.pixel_array, slow), slow, index=0, prefer_lut=True)
    output = output.astype(np.float64)
    correlated = np.corrcoef(output.ravel(), pixels.ravel())[0, 1]
    assert correlated > 0.999999  # the same function up to the scale, which pydicom leaves to its caller


def test_the_header_of_an_inverted_image_still_says_monochrome1(path: Path) -> None:
    assert read_header(draw(path, PhotometricInterpretation="MONOCHROME1")).photometric == "MONOCHROME1"


@pytest.mark.parametrize(
    "elements",
    [{"RescaleSlope": "1e308", "RescaleIntercept": "0"}, {"RescaleSlope": "1e-310", "RescaleIntercept": "1000"},
     {"RescaleSlope": "1", "RescaleIntercept": "1e300"},
     {"WindowCenter": "-1e308", "WindowWidth": "1e-5", "VOILUTFunction": "LINEAR_EXACT"},
     {"WindowCenter": "1e308", "WindowWidth": "1e308", "VOILUTFunction": "SIGMOID"}],
)  # fmt: skip
def test_a_transformation_that_gives_no_finite_grey_is_refused_by_name(path: Path, elements: dict[str, str]) -> None:
    with pytest.raises(UnreadableImage, match="no finite grey"):
        grey(path, **elements)


@pytest.mark.parametrize("number", ["1e309", "-inf", "nan"])
@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"])
def test_a_transformation_by_what_is_no_number_is_refused(path: Path, keyword: str, number: str) -> None:
    elements = dict.fromkeys(("RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth"), "77")
    draw(path, TWELVE, 12, **elements | {keyword: "987654"})
    path.write_bytes(path.read_bytes().replace(b"987654", number.ljust(6).encode()))
    with pytest.raises(UnreadableImage):
        read_pixels(path)
