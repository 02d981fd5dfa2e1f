import numpy as np
import pytest

from evaluation.drawings import draw
from evaluation.off_scope import CORRUPTIONS, DRAWN, corrupted, off_scope_images, turned


def test_every_kind_is_drawn_as_a_whole_grey_image():
    drawn = list(off_scope_images(len(DRAWN), seed=3))
    assert [kind for kind, _ in drawn] == list(DRAWN)
    assert all(image.dtype == np.uint8 and image.ndim == 2 and min(image.shape) >= 128 for _, image in drawn)


def test_a_seed_draws_the_same_images_again_and_another_seed_others():
    first, again, other = (list(off_scope_images(6, seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for (_, a), (_, b) in zip(first[1:], other[1:], strict=True))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_a_spoilt_image_differs_from_the_chest_and_leaves_it_alone(kind):
    chest = draw(0).frontal
    before = chest.copy()
    spoilt = corrupted(chest, kind, seed=5)
    assert spoilt.dtype == np.uint8
    assert spoilt.shape != chest.shape or not np.array_equal(spoilt, chest)
    assert np.array_equal(spoilt, corrupted(chest, kind, seed=5))
    assert np.array_equal(chest, before)


def test_blacked_out_means_more_than_85_percent_black():
    assert all((corrupted(draw(n).frontal + 1, "blacked_out", n) == 0).mean() > 0.85 for n in range(20))


def test_a_half_turn_twice_is_the_chest_again():
    chest = draw(1).frontal
    assert np.array_equal(turned(turned(chest, "half_turn"), "half_turn"), chest)
