"""What parsers and decoders say about damaged bytes, turned into errors of ours.

What goes in are exceptions and warnings of pydicom, Pillow and their decoders; what comes out is UnreadableImage or
ImageTooLarge. Their own texts are dropped: pydicom quotes element values, and a value may name a person.
"""

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom.errors import BytesLengthException

from retrieval.errors import ImageTooLarge, PrelimError, UnreadableImage

AGAIN = "send or export the image again"

MALFORMED = (ArithmeticError, AssertionError, AttributeError, BytesLengthException, EOFError, LookupError, OSError,
             RuntimeError, SyntaxError, TypeError, ValueError, struct.error, zlib.error)  # fmt: skip
"""What pydicom, Pillow and the decoders raise on bytes that are not what they should be (SyntaxError is Pillow's).

RecursionError, from sequences nested too deep, is a RuntimeError."""

_HARMLESS = (
    "Expected implicit VR, but found explicit VR",
    "Expected explicit VR, but found implicit VR",
    "The decoded RLE segment contains non-conformant padding",
    "The number of bytes of compressed pixel data matches",
    "The (0028,0004) 'Photometric Interpretation' value is",  # a grey JPEG with a JFIF marker
    "Incorrect value for Specific Character Set",
    "Unknown encoding",
)
"""Beginnings of warnings about files that are whole."""


@contextmanager
def faults_named(what: str) -> Iterator[None]:
    """Within it, a fault of a parser or decoder becomes UnreadableImage(`what`), and no memory ImageTooLarge.

    Warnings are collected, never printed: one that is not known to be harmless means damage and raises as well.
    """
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            yield
        except PrelimError:
            raise
        except MemoryError:
            raise ImageTooLarge("the image does not fit in memory", fix="export it at a smaller size") from None
        except MALFORMED:
            raise UnreadableImage(what, fix=AGAIN) from None
    if not all(str(warning.message).startswith(_HARMLESS) for warning in told):
        raise UnreadableImage(what, fix=AGAIN)


@contextmanager
def values_tolerated() -> Iterator[None]:
    """Within it, warnings about single malformed values are no fault: such a value counts as absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
