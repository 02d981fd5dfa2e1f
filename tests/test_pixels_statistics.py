"""Pixel statistics mean what their names say."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from evaluation.drawings import draw
from retrieval.pixels import Pixels
from retrieval.pixels.statistics import PixelStatistics, pixel_statistics


def chest(seed: int = 0) -> Pixels:
    return (draw(seed).frontal / 255).astype(np.float32)


def test_an_empty_image_is_black_and_of_one_grey() -> None:
    facts = pixel_statistics(np.zeros((300, 200), np.float32))
    assert (facts.std, facts.fraction_black, facts.fraction_white, facts.fraction_mid) == (0, 1, 0, 0)
    assert facts.grey_levels == 1


def test_noise_is_rough_and_anatomy_is_not() -> None:
    noise = np.random.default_rng(0).random((256, 256), np.float32)
    assert pixel_statistics(noise).roughness > 1
    assert pixel_statistics(chest()).roughness < 0.4


def test_a_blur_has_no_fine_detail_and_anatomy_has() -> None:
    blurred = gaussian_filter(chest(), 40)
    assert pixel_statistics(blurred).fine_share < 0.002 < pixel_statistics(chest()).fine_share


def test_a_dark_export_has_the_facts_of_a_bright_one() -> None:
    bright, dark = pixel_statistics(chest()), pixel_statistics(chest() * 0.3)
    assert dark.fraction_black == pytest.approx(bright.fraction_black, abs=0.01)
    assert dark.std == pytest.approx(bright.std, abs=0.01)


def test_half_black_half_white_is_told_from_middle_grey() -> None:
    halves = np.zeros((64, 64), np.float32)
    halves[:, 32:] = 1
    facts = pixel_statistics(halves)
    assert facts.fraction_black == pytest.approx(0.5, abs=0.02)
    assert facts.fraction_white == pytest.approx(0.5, abs=0.02)
    assert facts.fraction_mid < 0.02


def test_the_aspect_ratio_is_columns_over_rows() -> None:
    assert pixel_statistics(np.zeros((400, 200), np.float32)).aspect_ratio == 0.5


def test_an_image_twice_the_size_has_nearly_the_same_facts() -> None:
    small = chest()
    one, other = pixel_statistics(small), pixel_statistics(small.repeat(2, 0).repeat(2, 1))
    for name in PixelStatistics.model_fields:
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4), name


def test_the_grey_levels_of_an_8_bit_image_are_at_most_256() -> None:
    eight = (np.random.default_rng(2).integers(0, 256, (512, 512)) / 255).astype(np.float32)
    assert pixel_statistics(eight).grey_levels == 256


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 2), (3, 7)])
def test_the_smallest_images_have_facts(shape: tuple[int, int]) -> None:
    facts = pixel_statistics(np.full(shape, 0.5, np.float32))
    assert (facts.std, facts.grey_levels, facts.roughness) == (0, 1, 0)


def test_every_statistic_is_explained() -> None:
    assert all(field.description for field in PixelStatistics.model_fields.values())
