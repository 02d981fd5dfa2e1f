"""Display-ready grey as it leaves a decoder process, for experts and language models: small enough to be handed over.

Sixteen bits are more than any of them looks at, and numbers of sixteen bits can be neither infinite nor no number,
whatever a decoder that a hostile file has taken over may send.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.pixels import Pixels

LONGEST_SIDE: Final = 1024
"""Rows or columns at most: above what any expert or language model is given."""
_WHITE: Final = 65535


def packed(pixels: Pixels) -> NDArray[np.uint16]:
    """The grey in 16 bits, each cell the mean of what it covers, its longest side at most LONGEST_SIDE."""
    rows, columns = pixels.shape
    if (longest := max(rows, columns)) > LONGEST_SIDE:
        size = (max(1, round(columns * LONGEST_SIDE / longest)), max(1, round(rows * LONGEST_SIDE / longest)))
        image = Image.fromarray(np.ascontiguousarray(pixels, np.float32))
        pixels = np.asarray(image.resize(size, Image.Resampling.BOX), np.float32)
    return np.asarray(np.rint(pixels.clip(0, 1) * _WHITE), np.uint16)


def unpacked(grey: NDArray[np.uint16]) -> Pixels:
    """What `packed` made, as display-ready grey."""
    return (grey / np.float32(_WHITE)).astype(np.float32)
