"""The embedded encoder: a descriptor of a chest radiograph that needs no trained weights.

1. The lungs are found and cut out (`lung_box`).
2. Texture: the box's small patches, evened in contrast, answer to the lowest patterns of a cosine transform; positive
   and negative answers are pooled on a grid, a gradient histogram with more kinds of edges (after Dalal and Triggs,
   CVPR 2005, and Coates and Ng, AISTATS 2011, with drawn instead of learned patterns).
3. Thumbnail: the box's rank-equalised grey on a coarse grid.
4. Whitening, fitted once per index; the two blocks make one unit row.

It sees shape, volume and diffuse density (heart size, effusion, hernia); small focal findings such as nodules and
fractures are beyond it, and the measured figures say so (evaluation/measured/iu.json).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.encoder import Vectors
from retrieval.encoders.lung_box import lung_box, shrink
from retrieval.encoders.whitening import Whitening
from retrieval.pixels import Pixels
from retrieval.pixels.preprocess import Preprocessing, stretch
from retrieval.records import EncoderIdentity

Float = NDArray[np.float32]

NAME = "descriptor-1"
"""Changes whenever the same image would get other features."""
PREPROCESSING = Preprocessing()
PATCH, STEP = 6, 2
"""Side and stride in pixels of a patch, on the halved lung box."""
PATTERNS = 24
"""Cosine patterns, lowest first, the constant one left out."""
GRID, THRESHOLD = 8, 0.1
"""Cells per axis, and the answer below which a pattern is not seen."""
THUMBNAIL = 24
"""Cells per axis of the thumbnail."""
BLOCKS = (2 * PATTERNS * GRID * GRID, THUMBNAIL * THUMBNAIL)
"""Features per block: 3,072 of texture and 576 of thumbnail."""
COMPONENTS = (384, 128)
"""Axes kept of each block, at most: 512 together."""
WEIGHTS = (1.0, 0.6)
"""Length of each block in the joined row."""


def features(pixels: Pixels) -> Float:
    """Describe one display-ready image of any size by sum(BLOCKS) numbers; about 5 ms for 256 x 256."""
    box = stretch(lung_box(PREPROCESSING.apply(pixels)), PREPROCESSING.low, PREPROCESSING.high)
    small = shrink(box, 2)
    return np.concatenate([_texture(small), _thumbnail(small)]).astype(np.float32)


@dataclass(frozen=True)
class DescriptorEncoder:
    """The descriptor with the whitening of one index."""

    whitening: Whitening

    @classmethod
    def fit(cls, rows: Float) -> "DescriptorEncoder":
        """Fit the whitening on images x features."""
        return cls(Whitening.fit(rows, BLOCKS, COMPONENTS))

    @property
    def identity(self) -> EncoderIdentity:
        """Features, preprocessing and whitening: `descriptor-1/1f0c.../93ab...`."""
        return EncoderIdentity(f"{NAME}/{PREPROCESSING.identity}/{self.whitening.identity}")

    @property
    def dimension(self) -> int:
        """Columns of the vectors: 512, or fewer when fitted on fewer images."""
        return self.whitening.dimension

    prepare = staticmethod(features)

    def run(self, batch: Float) -> Float:
        """Whiten images x features."""
        return self.whitening.project(batch, WEIGHTS)

    def finish(self, raw: Float) -> Vectors:
        """Make every row unit; a row of zeros stays zero and is near nothing."""
        return np.asarray(raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-9), dtype=np.float32)

    def to_bytes(self) -> bytes:
        """The fitted part."""
        return self.whitening.to_bytes()

    @classmethod
    def from_bytes(cls, state: bytes) -> "DescriptorEncoder":
        """Read what `to_bytes` wrote."""
        return cls(Whitening.from_bytes(state))


def _texture(small: Float) -> Float:
    patches = np.lib.stride_tricks.sliding_window_view(small, (PATCH, PATCH))[::STEP, ::STEP]
    side = patches.shape[0]
    rows = patches.reshape(side * side, -1)
    rows = rows - rows.mean(1, keepdims=True)
    rows /= np.sqrt((rows * rows).mean(1, keepdims=True) + 1e-3)
    answers = (rows @ _patterns()).T.reshape(-1, side, side)
    halves = np.concatenate([np.maximum(answers - THRESHOLD, 0), np.maximum(-answers - THRESHOLD, 0)])
    cells = _pooling(side, GRID)
    return np.asarray(np.sqrt(cells @ halves @ cells.T), dtype=np.float32).ravel()


def _thumbnail(small: Float) -> Float:
    levels = (small * 255).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256).cumsum()
    rank = (counts / counts[-1]).astype(np.float32)[levels]
    cells = _pooling(small.shape[0], THUMBNAIL)
    return np.asarray(cells @ rank @ cells.T, dtype=np.float32).ravel()


@lru_cache(maxsize=1)
def _patterns() -> Float:
    """The lowest cosine patterns of a patch, by rising frequency: patch pixels x PATTERNS."""
    i = np.arange(PATCH)
    basis = np.cos(np.pi * (i[None] + 0.5) * i[:, None] / PATCH)
    basis /= np.linalg.norm(basis, axis=1, keepdims=True)
    order = sorted((a + b, a, b) for a in range(PATCH) for b in range(PATCH))[1 : PATTERNS + 1]
    return np.stack([np.outer(basis[a], basis[b]).ravel() / PATCH for _, a, b in order], axis=1).astype(np.float32)


@lru_cache(maxsize=8)
def _pooling(pixels: int, cells: int) -> Float:
    """Overlapping triangular cells along an axis: cells x pixels, rows sum to 1."""
    place = (np.arange(pixels) + 0.5) * cells / pixels - 0.5
    weight = np.maximum(0, 1 - np.abs(place[None] - np.arange(cells)[:, None]))
    return np.asarray(weight / weight.sum(1, keepdims=True), dtype=np.float32)
