"""The encoder protocol: images in, one unit float32 row per image out, in input order.

Three steps, so that batching, processes and devices live outside the encoder (after infinity's prepare / run /
finish): `prepare` is CPU work on one image and may run in the decoding process; `run` is the only step that may
touch a device; `finish` makes unit rows. An encoder refuses to know about files, stores and reports.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from retrieval.pixels import Pixels
from retrieval.records import EncoderIdentity

Prepared = NDArray[Any]
"""What `prepare` makes of one image; every image of one encoder has the same shape."""
Vectors = NDArray[np.float32]
"""images x dimension, unit length, in input order."""


class Encoder(Protocol):
    """What an index needs of an encoder."""

    @property
    def identity(self) -> EncoderIdentity:
        """Changes whenever the same image would get another vector."""

    @property
    def dimension(self) -> int:
        """Columns of the vectors."""

    def prepare(self, pixels: Pixels) -> Prepared:
        """One image to a fixed-shape array; pure, picklable by reference, no device."""

    def run(self, batch: Prepared) -> NDArray[np.float32]:
        """Stacked prepared images (images first) to raw rows; the only step that may use a device."""

    def finish(self, raw: NDArray[np.float32]) -> Vectors:
        """Raw rows to unit rows."""


@runtime_checkable
class ImageTextEncoder(Encoder, Protocol):
    """An encoder that places words where it places images; with it an image can be asked in words."""

    @property
    def logit_scale(self) -> float:
        """What a cosine of image and text is multiplied with, exponential already taken: often near 100."""

    @property
    def logit_bias(self) -> float:
        """What is added after that, so that a sigmoid gives a probability (SigLIP); 0 where softmax was trained."""

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Texts to unit rows; what is longer than the text encoder reads is cut."""


def encode(encoder: Encoder, images: list[Pixels]) -> Vectors:
    """The three steps in a row; `len(images)` x `encoder.dimension`, also for no images at all."""
    if not images:
        return np.zeros((0, encoder.dimension), np.float32)
    return encoder.finish(encoder.run(np.stack([encoder.prepare(pixels) for pixels in images])))
