"""The embedded encoder keeps the encoder protocol and sees what it is said to see."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.drawings import draw
from retrieval.encoders.descriptor import BLOCKS, DescriptorEncoder, features
from retrieval.encoders.encoder import encode
from retrieval.encoders.lung_box import BOX, lung_box
from retrieval.pixels import Pixels
from retrieval.pixels.preprocess import Preprocessing


def chest(seed: int) -> Pixels:
    return (draw(seed).frontal / 255).astype(np.float32)


@pytest.fixture(scope="module")
def encoder() -> DescriptorEncoder:
    return DescriptorEncoder.fit(np.stack([features(chest(seed)) for seed in range(40)]))


def test_rows_are_unit_float32_in_input_order(encoder: DescriptorEncoder) -> None:
    images = [chest(seed) for seed in (3, 1, 2)]
    rows = encode(encoder, images)
    assert rows.dtype == np.float32
    assert rows.shape == (3, encoder.dimension)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(rows[1], encode(encoder, [images[1]])[0], atol=1e-5)


def test_no_images_give_no_rows(encoder: DescriptorEncoder) -> None:
    assert encode(encoder, []).shape == (0, encoder.dimension)


def test_an_image_is_its_own_nearest(encoder: DescriptorEncoder) -> None:
    rows = encode(encoder, [chest(seed) for seed in range(100, 120)])
    np.testing.assert_array_equal((rows @ rows.T).argmax(1), np.arange(20))


def test_brightness_size_and_depth_hardly_move_a_vector(encoder: DescriptorEncoder) -> None:
    image = chest(5)
    darker = (image * 0.6 + 0.1).astype(np.float32)
    larger = np.kron(image, np.ones((3, 3), np.float32))
    deeper = (np.round(image * 4095) / 4095).astype(np.float32)
    rows = encode(encoder, [image, darker, larger, deeper, chest(6)])
    same, other = rows[0] @ rows[1:4].T, float(rows[0] @ rows[4])
    assert same.min() > 0.9 > other


def test_a_kept_encoder_gives_the_same_rows_and_identity(encoder: DescriptorEncoder) -> None:
    again = DescriptorEncoder.from_bytes(encoder.to_bytes())
    assert again.identity == encoder.identity
    np.testing.assert_array_equal(encode(again, [chest(9)]), encode(encoder, [chest(9)]))


def test_another_whitening_is_another_identity(encoder: DescriptorEncoder) -> None:
    other = DescriptorEncoder.fit(np.stack([features(chest(seed)) for seed in range(50, 90)]))
    assert other.identity != encoder.identity


def test_every_preprocessing_setting_is_part_of_its_identity() -> None:
    base = Preprocessing()
    changed = [Preprocessing(side=128), Preprocessing(low=2), Preprocessing(high=98), Preprocessing(version=2)]
    assert len({p.identity for p in (base, *changed)}) == 5


def test_preparing_can_be_handed_to_another_process_by_name(encoder: DescriptorEncoder) -> None:
    assert pickle.loads(pickle.dumps(encoder.prepare)) is features


def test_fewer_images_than_components_give_fewer_dimensions() -> None:
    few = DescriptorEncoder.fit(np.stack([features(chest(seed)) for seed in range(4)]))
    assert 2 <= few.dimension <= 8
    assert np.isfinite(encode(few, [chest(77)])).all()


def test_one_image_alone_can_be_indexed() -> None:
    alone = DescriptorEncoder.fit(features(chest(1))[None])
    assert np.isfinite(encode(alone, [chest(1), chest(2)])).all()


def test_the_lungs_are_found_where_they_were_moved_to() -> None:
    image = chest(2)
    moved = np.roll(image, (12, -15), axis=(0, 1))
    plain = float(np.abs(moved - image).mean())
    boxed = float(np.abs(lung_box(Preprocessing().apply(moved)) - lung_box(Preprocessing().apply(image))).mean())
    assert lung_box(Preprocessing().apply(image)).shape == (BOX, BOX)
    assert boxed < plain / 2


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 300), columns=st.integers(1, 300), seed=st.integers(0, 9), flat=st.booleans())
def test_any_image_gets_finite_features(rows: int, columns: int, seed: int, flat: bool) -> None:
    noise = np.random.default_rng(seed).random((rows, columns)).astype(np.float32)
    found = features(np.full_like(noise, 0.5) if flat else noise)
    assert found.shape == (sum(BLOCKS),)
    assert np.isfinite(found).all()
