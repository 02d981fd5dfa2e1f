"""Pixel statistics mean what their names say."""

import numpy as np
import pytest

from retrieval.pixels.statistics import PixelStatistics, pixel_statistics


def test_an_empty_image_is_black_and_has_no_entropy() -> None:
    facts = pixel_statistics(np.zeros((300, 200), np.float32))
    assert (facts.mean, facts.std, facts.fraction_black, facts.fraction_white, facts.entropy) == (0, 0, 1, 0, 0)
    assert (facts.grey_levels, facts.edge_density) == (1, 0)


def test_noise_has_the_entropy_and_the_edges_of_noise() -> None:
    facts = pixel_statistics(np.random.default_rng(0).random((256, 256), np.float32))
    assert facts.entropy == pytest.approx(8, abs=0.05)
    assert facts.edge_density > 0.8
    assert facts.grey_levels > 30_000


def test_the_halves_are_left_and_right_as_displayed() -> None:
    pixels = np.zeros((64, 64), np.float32)
    pixels[:, :32] = 1
    facts = pixel_statistics(pixels)
    assert (facts.left_mean, facts.right_mean) == (1, 0)


def test_the_center_is_told_from_the_border() -> None:
    pixels = np.zeros((64, 64), np.float32)
    pixels[16:48, 16:48] = 1
    facts = pixel_statistics(pixels)
    assert (facts.center_mean, facts.border_mean) == (1, 0)


def test_the_aspect_ratio_is_columns_over_rows() -> None:
    assert pixel_statistics(np.zeros((400, 200), np.float32)).aspect_ratio == 0.5


def test_an_image_twice_the_size_has_the_same_facts() -> None:
    small = np.random.default_rng(1).random((128, 128), np.float32)
    small, large = small.repeat(2, 0).repeat(2, 1), small.repeat(8, 0).repeat(8, 1)
    one, other = pixel_statistics(small), pixel_statistics(large)
    for name in PixelStatistics.model_fields:
        assert getattr(one, name) == pytest.approx(getattr(other, name), abs=1e-4), name


def test_the_grey_levels_of_an_8_bit_image_are_at_most_256() -> None:
    eight = (np.random.default_rng(2).integers(0, 256, (512, 512)) / 255).astype(np.float32)
    assert pixel_statistics(eight).grey_levels == 256


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1), (2, 2), (3, 7)])
def test_the_smallest_images_have_facts(shape: tuple[int, int]) -> None:
    facts = pixel_statistics(np.full(shape, 0.5, np.float32))
    assert (facts.mean, facts.left_mean, facts.right_mean, facts.center_mean) == (0.5, 0.5, 0.5, 0.5)
    assert facts.border_mean == pytest.approx(0.5)


def test_every_statistic_is_explained() -> None:
    assert all(field.description for field in PixelStatistics.model_fields.values())
