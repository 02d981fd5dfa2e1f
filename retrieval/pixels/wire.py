"""What passes between a decoder process and the process that started it.

Towards the decoder: once the pickled `Setup`, then one path a message. Back: one JSON `Answer`, and after an answer
with an image the raw bytes of the prepared array, of what `look` gave and of the pixels that are kept. A decoder has
touched hostile bytes and is not believed: what it writes is parsed as JSON and checked field by field, and never
unpickled.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from retrieval.errors import ImageTooLarge, OperatorError, PrelimError, UnreadableImage, UnsupportedImage
from retrieval.pixels import Pixels
from retrieval.pixels.kept import LONGEST_SIDE
from retrieval.pixels.limits import Limits
from retrieval.pixels.statistics import PixelStatistics
from retrieval.records import ImageAttributes, ImageDigest, Record

MAX_ANSWER_BYTES = 1024 * 1024
"""Longest JSON answer; header text is cut off long before."""
MAX_LOOKS = 100_000
"""Most numbers `look` may give."""
READY = b"ready"
"""What a decoder process sends once, before its first answer."""

_ERRORS: dict[str, type[PrelimError]] = {
    error.code: error for error in (UnreadableImage, UnsupportedImage, ImageTooLarge, OperatorError)
}
"""What a decoder may say; that it took too long or died is for the other side to say."""
_NUMBERS = "biuf"
"""Kinds of numpy dtype that are plain numbers: no objects, no strings, no records."""
Keep = Literal["nothing", "pixels"]
"""Whether the display-ready grey leaves the decoder process as well."""
_Side = Annotated[int, Field(ge=1, le=LONGEST_SIDE)]


@dataclass(frozen=True)
class Setup:
    """What a decoder process works with; pickled by the process that starts it, which it trusts."""

    prepare: Callable[[Pixels], NDArray[Any]]
    look: Callable[[Pixels], NDArray[np.float32]] | None
    limits: Limits
    timeout_s: float
    memory_bytes: int
    salt: bytes | None
    keep: Keep
    nice: int


class Fault(Record):
    """An error, without its traceback."""

    code: str = Field(max_length=64)
    """Which class of error."""
    what: str = Field(max_length=2000)
    """What happened."""
    fix: str = Field(max_length=2000)
    """What to do about it."""

    def error(self) -> PrelimError:
        """The error again, of the same class; UnreadableImage for a code that is not a decoder's to give."""
        return _ERRORS.get(self.code, UnreadableImage)(self.what, fix=self.fix)


class Image(Record):
    """What was read from one file, without the array, whose bytes follow."""

    digest: ImageDigest = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the bytes that were decoded."""
    attributes: ImageAttributes
    """What the header says."""
    statistics: PixelStatistics | None
    """What the grey is like; None without `look`, which the same callers ask for."""
    dtype: str = Field(max_length=8, pattern=r"^[<>|=]?[a-z]\d+$")
    """numpy's name of the array's numbers."""
    shape: tuple[int, ...] = Field(max_length=8)
    """The array's shape."""
    looks: int = Field(default=0, ge=0, le=MAX_LOOKS)
    """How many float32 of `look` follow the array."""
    kept: tuple[_Side, _Side] | None = None
    """Rows and columns of the 16-bit grey that comes last; None where pixels are not kept."""

    def empty_array(self, max_bytes: int) -> NDArray[Any]:
        """A fresh array for the bytes that follow; raises ValueError for what is not numbers or over `max_bytes`."""
        dtype = np.dtype(self.dtype)
        if dtype.kind not in _NUMBERS or any(n < 0 for n in self.shape):
            raise ValueError("not an array of numbers")
        if prod(self.shape) * dtype.itemsize > max_bytes:
            raise ValueError("the array is too large")
        return np.empty(self.shape, dtype)


class Answer(Record):
    """One answer to one path: exactly one of the two."""

    image: Image | None = None
    """What was read."""
    fault: Fault | None = None
    """Why nothing was read."""
