"""Display-ready grey of any size to the fixed frame of bytes that a trained encoder was trained on.

What goes in is grey, what comes out bytes of one shape: small to send from a decoder process, and what the libraries'
own image processors resize, which work on bytes too. Scaling and normalising, which need no image, are left to the
encoder's forward pass, but their numbers stand here: they belong to the same identity. No library of encoders is
imported, so this runs in the limited decoder processes.
"""

import hashlib
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from retrieval.records import Record

Interpolation = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
"""Pillow's filters; each smooths before it shrinks, as the processors of trained encoders do."""


class Framing(Record):
    """Resize, then cut or fill to the frame; called with pixels it gives rows x columns of bytes."""

    version: int = 1
    """Raised whenever the code below changes a byte."""
    rows: int = Field(gt=0)
    """Of the frame."""
    columns: int = Field(gt=0)
    """Of the frame."""
    resize: Literal["squash", "shortest", "longest"]
    """To the frame whatever the aspect ratio; or keeping it, until the shortest side is `edge` and the middle is cut
    out; or until the whole fits into the frame and the rest is filled."""
    edge: int = Field(default=0, ge=0)
    """Pixels of the shortest side after resizing; 0 for the other ways, which have none."""
    interpolation: Interpolation = "bicubic"
    """How pixels are resampled."""
    middle: Literal["down", "even"] = "down"
    """Where half a pixel is left over when the middle is cut out: rounded down, or to an even number (torchvision)."""
    fill: int = Field(default=0, ge=0, le=255)
    """The byte around what fits into the frame."""
    scale: float = 1 / 255
    """What a byte is multiplied with."""
    mean: tuple[float, float, float]
    """What is then taken off each of the three channels, which are all the same grey."""
    std: tuple[float, float, float]
    """What each channel is then divided by."""

    @model_validator(mode="after")
    def _frame_is_covered(self) -> Self:
        if self.resize == "shortest" and self.edge < max(self.rows, self.columns):
            raise ValueError("the resized image would not cover the frame")
        if min(self.std) <= 0:
            raise ValueError("a channel cannot be divided by nothing")
        return self

    @property
    def identity(self) -> str:
        """Twelve hex digits over every setting."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()[:12]

    def __call__(self, pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Rows x columns of any size, 0 black to 1 white, to the frame."""
        grey = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
        size = self._resized(*grey.shape)
        resized = Image.fromarray(grey).resize(size[::-1], Image.Resampling[self.interpolation.upper()])
        return self._framed(np.asarray(resized, dtype=np.uint8))

    def _resized(self, rows: int, columns: int) -> tuple[int, int]:
        match self.resize:
            case "squash":
                return self.rows, self.columns
            case "shortest":
                # As torchvision and transformers write it: the longer side is cut to a whole number, not rounded.
                short, long = sorted((rows, columns))
                longer = int(self.edge * long / short)
                return (self.edge, longer) if rows <= columns else (longer, self.edge)
            case _:
                ratio = max(rows / self.rows, columns / self.columns)
                return max(1, round(rows / ratio)), max(1, round(columns / ratio))

    def _framed(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The middle of what is larger than the frame, the rest filled around what is smaller."""
        spare = (self.rows - image.shape[0], self.columns - image.shape[1])
        pads = [(max(0, n) // 2, (max(0, n) + 1) // 2) for n in spare]
        image = np.pad(image, pads, constant_values=self.fill)
        top, left = (self._first(max(0, -n)) for n in spare)
        return np.ascontiguousarray(image[top : top + self.rows, left : left + self.columns])

    def _first(self, excess: int) -> int:
        return excess // 2 if self.middle == "down" else round(excess / 2)
