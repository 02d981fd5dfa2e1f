"""The spoilt image of the blind branch: VCD's schedule, normal noise, the same wherever and beside what it is made."""

import math
import random

import numpy as np
import pytest

from generation.decoding.blinding import STEPS, noised

GREY = np.full((301, 203), 0.5, dtype=np.float32)


def kept_by_hand(steps: int) -> float:
    """What VCD's schedule leaves of the variance, written out number by number."""
    left = 1.0
    for i in range(steps):
        beta = 1 / (1 + math.exp(-(-6 + 12 * i / 999))) * (0.5e-2 - 1e-5) + 1e-5
        left *= 1 - beta
    return left


def test_no_step_is_the_image_itself() -> None:
    image = np.random.default_rng(0).random((40, 31), dtype=np.float32)
    np.testing.assert_allclose(noised(image, 3, steps=0), image, atol=1e-7)


@pytest.mark.parametrize("steps", [1, 150])
def test_noise_has_the_moments_of_the_schedule(steps: int) -> None:
    """So small that nothing is clipped: the spread of the noise, and the share of the image that is left."""
    kept = kept_by_hand(steps)
    bright, dark = noised(GREY + 0.1, 1, steps=steps), noised(GREY - 0.1, 2, steps=steps)
    assert np.std(bright.astype(float)) * 2 == pytest.approx(math.sqrt(1 - kept), rel=0.02)
    assert bright.mean() - dark.mean() == pytest.approx(0.2 * math.sqrt(kept), abs=1e-3)


def test_at_vcds_step_the_noise_is_normal_and_as_wide_as_its_schedule_says() -> None:
    # Mid grey stands two spreads from either end, so quantiles well inside tell the normal curve.
    spoilt = noised(GREY, 5)
    spread = math.sqrt(1 - kept_by_hand(501))
    assert spread == pytest.approx(0.505, abs=1e-3)
    for share, deviations in ((0.1587, -1), (0.5, 0), (0.8413, 1), (0.9332, 1.5)):
        assert np.quantile(spoilt, share) * 2 - 1 == pytest.approx(spread * deviations, abs=0.01)
    noise = spoilt - spoilt.mean()
    for neighbour in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]):
        assert abs(neighbour.mean() / noise.var()) < 0.02


def test_the_default_is_index_500_of_the_schedule() -> None:
    assert STEPS == 501
    assert np.array_equal(noised(GREY, 1), noised(GREY, 1, steps=501))


def test_black_and_white_stay_within_grey() -> None:
    for value in (0.0, 1.0):
        spoilt = noised(np.full((50, 50), value, dtype=np.float32), 0)
        assert spoilt.dtype == np.float32
        assert spoilt.shape == (50, 50)
        assert 0 <= spoilt.min() < spoilt.max() <= 1


def test_the_same_seed_gives_the_same_noise_and_another_another_whatever_else_was_drawn() -> None:
    image = np.random.default_rng(0).random((33, 57), dtype=np.float32)
    before = image.copy()
    first = noised(image, 7)
    np.random.seed(3)
    random.seed(3)
    others = [noised(GREY, 7), noised(image, 8)]
    assert np.array_equal(noised(image, 7), first)
    assert np.array_equal(image, before), "the image handed in was written to"
    assert abs(np.corrcoef((others[1] - image).ravel(), (first - image).ravel())[0, 1]) < 0.5
    assert np.array_equal(noised(image, 7 + 2**64), first)


def test_the_stream_of_noise_has_not_changed() -> None:
    assert (noised(np.full((2, 3), 0.5, np.float32), 11) * 1e4).round().astype(int).tolist() == STREAM


STREAM = [[6246, 10000, 6242], [4017, 6379, 1264]]


@pytest.mark.parametrize("steps", [-1, 1001])
def test_there_is_no_step_outside_of_the_schedule(steps: int) -> None:
    with pytest.raises(ValueError, match="1000 steps"):
        noised(GREY, 0, steps=steps)
