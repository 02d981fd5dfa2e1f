"""Display-ready grey as PNG for the eye: 16 bits for a page that windows itself, or 8 with the window applied.

Grey comes in, bytes of a PNG go out. Nothing is known here of files that somebody sent: those are decoded elsewhere,
in limited processes, and this only ever sees what they made of them.
"""

import io
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.pixels import Pixels

Grey = NDArray[np.uint16]
"""[rows, columns]; 65535 is white."""
LEAST_WIDTH: Final = 1e-4
"""Of a window: some six levels of grey, below which there is nothing to see."""
_WHITE: Final = 65535


def whole(pixels: Pixels) -> Grey:
    """All pixels of an image in 16 bits; what a decoder process prepares for the eye."""
    return np.asarray(np.rint(pixels.clip(0, 1) * _WHITE), np.uint16)


def png16(grey: Grey, longest: int | None = None) -> bytes:
    """A 16-bit PNG for a page that applies the window itself, no side longer than `longest`."""
    return _png(Image.fromarray(_smaller(grey, longest)))


def png8(grey: Grey, *, centre: float, width: float, longest: int | None = None) -> bytes:
    """An 8-bit PNG with a linear window; `centre` and `width` (LEAST_WIDTH at least) are fractions of all grey."""
    levels = (_smaller(grey, longest).astype(np.float32) / _WHITE - (centre - width / 2)) / width
    return _png(Image.fromarray(np.rint(levels.clip(0, 1) * 255).astype(np.uint8)))


def _smaller(grey: Grey, longest: int | None) -> Grey:
    """No side longer than `longest`, each cell the mean of what it covers."""
    if longest is None or max(grey.shape) <= longest:
        return grey
    rows, columns = (max(1, round(side * longest / max(grey.shape))) for side in grey.shape)
    resized = Image.fromarray(grey.astype(np.float32)).resize((columns, rows), Image.Resampling.BOX)
    return np.asarray(np.rint(np.asarray(resized)).clip(0, _WHITE), np.uint16)


def _png(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=3)
    return out.getvalue()
