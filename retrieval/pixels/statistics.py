"""Cheap facts about an image's grey, for a gate that asks whether this can be a usable chest radiograph.

What goes in is display-ready grey; what comes out are numbers measured on a copy of at most 256 pixels a side. What
they mean for scope and quality is for the gate.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from retrieval.pixels.grayscale import Pixels
from retrieval.records import Record

SIDE = 256
"""Longest side of the copy that is measured, in pixels."""
_BLACK, _WHITE = 0.02, 0.98
_EDGE = 0.05
"""Step of grey between neighbours of the copy that counts as an edge."""


class PixelStatistics(Record):
    """What the grey of one image is like; grey runs from 0 black to 1 white."""

    mean: float
    """Mean grey."""
    std: float
    """Standard deviation of grey; 0 for an image of one grey."""
    fraction_black: float
    """Part of the image below 0.02: collimation, background or an empty image."""
    fraction_white: float
    """Part of the image above 0.98: burnt-out or paper."""
    entropy: float
    """Entropy of the histogram of single pixels over 256 greys, in bits, 0 to 8: drawings have few greys."""
    edge_density: float
    """Part of neighbouring pairs whose grey differs by more than 0.05: high for text, noise and drawings."""
    left_mean: float
    """Mean grey of the image's left half as displayed, which is the patient's right in a frontal image."""
    right_mean: float
    """Mean grey of the right half as displayed."""
    center_mean: float
    """Mean grey of the middle half of rows and columns."""
    border_mean: float
    """Mean grey of the outer eighth on every side."""
    aspect_ratio: float = Field(gt=0)
    """Columns over rows of the whole image."""
    grey_levels: int
    """How many different greys a sample of at most 256 x 256 pixels has, counted in steps of 1/65535."""


def pixel_statistics(pixels: Pixels) -> PixelStatistics:
    """Measure an image (rows x columns, at least 1 x 1)."""
    small = _reduced(pixels)
    rows, columns = small.shape
    levels = _grey_levels(pixels)
    histogram = levels.reshape(256, 256).sum(axis=1)
    seen = histogram[histogram > 0] / levels.sum()
    middle = small[rows // 4 : rows - rows // 4, columns // 4 : columns - columns // 4]
    inner = small[rows // 8 : rows - rows // 8, columns // 8 : columns - columns // 8]
    border = small.size - inner.size
    mean = float(small.mean())
    return PixelStatistics(
        mean=mean,
        std=float(small.std()),
        fraction_black=float(np.count_nonzero(small < _BLACK) / small.size),
        fraction_white=float(np.count_nonzero(small > _WHITE) / small.size),
        entropy=max(0.0, float(-(seen * np.log2(seen)).sum())),
        edge_density=_edge_density(small),
        left_mean=float(small[:, : max(1, columns // 2)].mean()),
        right_mean=float(small[:, columns // 2 :].mean()),
        center_mean=float(middle.mean()),
        border_mean=float((small.sum() - inner.sum()) / border) if border else mean,
        aspect_ratio=pixels.shape[1] / pixels.shape[0],
        grey_levels=int(np.count_nonzero(levels)),
    )


def _reduced(pixels: Pixels) -> Pixels:
    """Block means, so that noise and fine lines weigh the same in a large image and in a small one."""
    factor = _factor(pixels)
    return pixels if factor == 1 else np.asarray(Image.fromarray(pixels).reduce(factor))


def _factor(pixels: Pixels) -> int:
    longest: int = max(pixels.shape)
    return -(-longest // SIDE)


def _edge_density(small: NDArray[np.float32]) -> float:
    down = np.abs(small[1:] - small[:-1]) > _EDGE
    across = np.abs(small[:, 1:] - small[:, :-1]) > _EDGE
    pairs = down.size + across.size
    return float((np.count_nonzero(down) + np.count_nonzero(across)) / pairs) if pairs else 0.0


def _grey_levels(pixels: Pixels) -> NDArray[np.int64]:
    """How often each of 65,536 greys occurs among single pixels, not block means, which would make new greys."""
    factor = _factor(pixels)
    sample = (pixels[::factor, ::factor] * np.float32(65_535) + np.float32(0.5)).astype(np.uint16)
    return np.bincount(sample.ravel(), minlength=65_536)
