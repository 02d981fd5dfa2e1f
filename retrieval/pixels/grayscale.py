"""Stored values to display-ready grey: the DICOM grayscale transformations, in the order of PS3.4 N.2.

What goes in is a header and decoded samples; what comes out is float32 grey, 0 black to 1 white. Every step is a
function of one stored value, so the steps run on a table of all values a sample can hold (at most 65,536) and the
image is looked up in it once: one pass, no float64 copy of the image, and the same arithmetic for every pixel.

1. Modality LUT (C.11.1): sequence or rescale.
2. VOI LUT (C.11.2): sequence, else window, else the full nominal range.
3. Scale the output range to 0..1: by what the step before can put out, never by dtype and never by the image's own
   extremes, so that one bright marker does not darken the lungs.
4. Invert, last and once, when the smallest value is to be white (MONOCHROME1 or Presentation LUT Shape INVERSE).
5. Pixel padding to black.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from retrieval.errors import UnreadableImage, UnsupportedImage
from retrieval.pixels import Pixels

_Values = NDArray[np.float64]
_AGAIN = "export the image again"
_ROWS_AT_ONCE = 256
"""Rows looked up together: bounds the index copy that numpy makes at 8 bytes a pixel."""


@dataclass(frozen=True)
class SampleFormat:
    """How one sample is stored (PS3.5 section 8.1)."""

    bits_allocated: int
    """8 or 16."""
    bits_stored: int
    """Significant low bits; what the others hold is not image."""
    signed: bool
    """Pixel Representation 1: two's complement."""


def to_grey(samples: NDArray[Any], table: NDArray[np.float32]) -> Pixels:
    """Look samples (rows x columns, 8 or 16 bit) up in a `grey_table` of the same width."""
    index = np.ascontiguousarray(samples).view(np.uint8 if samples.dtype.itemsize == 1 else np.uint16)
    grey = np.empty(index.shape, np.float32)
    for row in range(0, index.shape[0], _ROWS_AT_ONCE):
        grey[row : row + _ROWS_AT_ONCE] = table[index[row : row + _ROWS_AT_ONCE]]
    return grey


def grey_table(header: Dataset, sample: SampleFormat) -> NDArray[np.float32]:
    """The grey of every value that `bits_allocated` bits can hold, indexed by the bits as an unsigned number.

    Raises UnreadableImage for a transformation that cannot be carried out, UnsupportedImage for one not known here.
    """
    stored = _stored_values(sample)
    try:
        with np.errstate(over="raise", divide="raise", invalid="raise"):
            values, low, high = _modality(header, stored, sample)
            grey = _voi(header, values, low, high)
    except FloatingPointError:
        raise UnreadableImage("the header's rescale or window gives no finite grey", fix=_AGAIN) from None
    if _smallest_is_white(header):
        grey = 1.0 - grey
    grey[_padding(header, stored, sample)] = 0.0
    return grey.astype(np.float32)


def _stored_values(sample: SampleFormat) -> _Values:
    bits = np.arange(2**sample.bits_allocated, dtype=np.int64) & (2**sample.bits_stored - 1)
    if sample.signed:
        bits = np.where(bits >= 2 ** (sample.bits_stored - 1), bits - 2**sample.bits_stored, bits)
    return np.asarray(bits, np.float64)


def _modality(header: Dataset, stored: _Values, sample: SampleFormat) -> tuple[_Values, float, float]:
    """Values after the modality LUT, with the smallest and largest value it can put out."""
    if items := header.get("ModalityLUTSequence"):
        values, _ = _looked_up(items[0], stored)
        # The table's own extremes: unlike a VOI LUT its depth is no display range, and real ones say 16 and use 10.
        low, high = float(values.min()), float(values.max())
        return values, low, high if high > low else low + 1.0
    low = float(-(2 ** (sample.bits_stored - 1))) if sample.signed else 0.0
    high = low + 2**sample.bits_stored - 1
    slope, intercept = _number(header, "RescaleSlope"), _number(header, "RescaleIntercept")
    if slope is None or intercept is None:
        return stored, low, high
    if slope == 0:
        raise UnreadableImage("the Rescale Slope is 0", fix=_AGAIN)
    ends = (low * slope + intercept, high * slope + intercept)
    return stored * slope + intercept, min(ends), max(ends)


def _voi(header: Dataset, values: _Values, low: float, high: float) -> _Values:
    """Fractions of the output range, 0 to 1. Of several LUTs or windows the first counts, as in most viewers."""
    if items := header.get("VOILUTSequence"):
        looked_up, top = _looked_up(items[0], values)
        return np.clip(looked_up / top, 0.0, 1.0)
    center, width = _number(header, "WindowCenter"), _number(header, "WindowWidth")
    if center is None or width is None:
        return np.clip((values - low) / (high - low), 0.0, 1.0)
    return _windowed(values, center, width, str(header.get("VOILUTFunction") or "LINEAR").strip().upper())


def _windowed(values: _Values, center: float, width: float, function: str) -> _Values:
    """PS3.3 C.11.2.1.2.1 (LINEAR), C.11.2.1.3.1 (SIGMOID) and C.11.2.1.3.2 (LINEAR_EXACT), as fractions."""
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise UnsupportedImage("the VOI LUT Function is none of LINEAR, LINEAR_EXACT and SIGMOID", fix=_AGAIN)
    if width <= 0 or (function == "LINEAR" and width < 1):
        # Ignoring such a window would be a silent repair: the grey would not be what the sender meant.
        raise UnreadableImage("the Window Width is too small for its function", fix=_AGAIN)
    if function == "SIGMOID":
        return np.asarray(1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / width, -700.0, 700.0))))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1.0
    if width == 0:  # LINEAR with a width of 1 is a threshold
        return np.where(values > center, 1.0, 0.0)
    return np.clip((values - center) / width + 0.5, 0.0, 1.0)


def _smallest_is_white(header: Dataset) -> bool:
    # C.8.11.3.1.2 asks MONOCHROME1 images to say INVERSE too: both together mean one inversion.
    inverse = str(header.get("PresentationLUTShape") or "").strip().upper() == "INVERSE"
    return inverse or str(header.get("PhotometricInterpretation")).strip() == "MONOCHROME1"


def _padding(header: Dataset, stored: _Values, sample: SampleFormat) -> NDArray[np.bool_]:
    """Which values are background outside the image (C.7.5.1.1.2), in stored values: before any LUT."""
    value = _number(header, "PixelPaddingValue")
    if value is None:
        return np.zeros(stored.shape, np.bool_)
    limit = _number(header, "PixelPaddingRangeLimit")
    ends = [_as_stored(end, sample) for end in (value, value if limit is None else limit)]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _as_stored(value: float, sample: SampleFormat) -> float:
    """US or SS depends on Pixel Representation, and writers get it wrong: the bits are what counts."""
    bits = int(value) & (2**sample.bits_allocated - 1)
    return float(bits - 2**sample.bits_allocated if sample.signed and bits >> (sample.bits_allocated - 1) else bits)


def _looked_up(item: Dataset, values: _Values) -> tuple[_Values, float]:
    """Values through one LUT item (C.11.1.1, C.11.2.1.1), and the largest value its depth can put out."""
    entries, first, depth = (int(number) for number in _words(item, "LUTDescriptor")[:3])
    entries = entries or 2**16
    if not 1 <= depth <= 16:
        raise UnreadableImage(f"a lookup table states {depth} bits an entry", fix=_AGAIN)
    if values.min() < 0 and first > 32_767:
        first -= 65_536  # read as US, but the values it maps are signed
    table = _words(item, "LUTData")
    if len(table) < entries and depth <= 8:
        table = table.astype("<u2").view(np.uint8)  # two 8-bit entries to a word
    if len(table) < entries:
        raise UnreadableImage(f"a lookup table has {len(table)} of {entries} entries", fix=_AGAIN)
    index = np.clip(np.rint(values - first), 0, entries - 1).astype(np.int64)
    return table[index].astype(np.float64), float(2**depth - 1)


def _words(item: Dataset, keyword: str) -> NDArray[Any]:
    """A US, SS or OW value as an array of 16-bit numbers, whatever VR it was written with."""
    value = item.get(keyword)
    if value is None:
        raise UnreadableImage(f"a lookup table has no {keyword}", fix=_AGAIN)
    if isinstance(value, bytes):
        little_endian = item.original_encoding[1] is not False
        return np.frombuffer(value[: len(value) // 2 * 2], "<u2" if little_endian else ">u2")
    return np.atleast_1d(np.asarray(value, np.int64))


def _number(header: Dataset, keyword: str) -> float | None:
    """The first value of a DS, US or SS element; None when absent. Raises UnreadableImage when it is no number."""
    value = header.get(keyword)
    if isinstance(value, bytes):  # US or SS that nothing decided
        value = int.from_bytes(value[:2], "little") if value else None
    elif not isinstance(value, (str, int, float)) and value is not None:
        value = value[0] if len(value) else None
    if value is None or value == "":
        return None
    number = float(value)
    if not math.isfinite(number):
        raise UnreadableImage(f"the header's {keyword} is not a number", fix=_AGAIN)
    return number
