"""Display-ready grey of any size to the fixed square an encoder works on.

Preprocessing belongs to an encoder's identity: two encoders that differ only in how they resize give vectors that must
not be compared, so everything that changes a pixel stands in this record and its hash.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retrieval.records import Record


class Preprocessing(Record):
    """Stretch the grey range between two percentiles, then squeeze to a square."""

    version: int = 1
    """Raised whenever the code below changes a pixel."""
    side: int = 256
    """Rows and columns of the result; the aspect ratio is not kept, as in the collections measured."""
    low: float = 1.0
    """Percentile that becomes 0, so that exposure and burnt-in black borders matter little."""
    high: float = 99.0
    """Percentile that becomes 1, so that metal and side markers matter little."""

    @property
    def identity(self) -> str:
        """Twelve hex digits over every setting."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def apply(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn rows x columns of any size and range into side x side in [0, 1]; a flat image becomes zeros."""
        image = Image.fromarray(np.ascontiguousarray(pixels, np.float32))
        # reducing_gap averages whole blocks first: four times as fast on a full-size radiograph, same cells.
        small = np.asarray(
            image.resize((self.side, self.side), Image.Resampling.BILINEAR, reducing_gap=3.0), dtype=np.float32
        )
        return stretch(small, self.low, self.high)


def stretch(image: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    """Map the `low` and `high` percentiles to 0 and 1 and clip."""
    dark, bright = np.percentile(image, [low, high])
    spread = float(bright - dark)
    if spread <= 0:
        return np.zeros_like(image)
    return np.asarray(np.clip((image - dark) / max(spread, 1e-3), 0, 1), dtype=np.float32)
