"""A DICOM file up to its pixel data: the parsed header, and where the pixel data is.

What goes in is the bytes of one file (PS3.10), with or without preamble and file meta information, deflated or not;
what comes out is a `DicomFile`. No pixel is looked at, and what the header means is for others.
"""

import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from retrieval.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from retrieval.pixels.faults import AGAIN, faults_named
from retrieval.pixels.limits import Limits

# pydicom quotes element values in its log lines, and a value may be a name. Handlers set on this logger still get them.
logging.getLogger("pydicom").propagate = False

UNDEFINED_LENGTH = 0xFFFFFFFF
_PREAMBLE = 132
"""128 bytes of anything and the letters DICM (PS3.10 section 7.1)."""
_PIECE = 2**18
"""Bytes inflated at a time."""
_PIXEL_DATA = 0x7FE00010
_ANY_PIXEL_DATA = (0x7FE00008, 0x7FE00009, _PIXEL_DATA)
"""Float, double and integer pixel data."""


@dataclass(frozen=True)
class DicomFile:
    """A parsed header and where the pixel data is."""

    header: Dataset
    """Every element before the pixel data."""
    transfer_syntax: UID
    """As the file states it; Implicit VR Little Endian when it states none (PS3.5 section 10)."""
    data: bytes
    """What `pixel_start` counts in: the file, or for a deflated file its data set inflated."""
    pixel_start: int
    """First byte of the pixel data's value."""
    pixel_length: int
    """Its length in bytes, UNDEFINED_LENGTH when encapsulated."""
    pixel_vr: str
    """OB or OW: whether big endian files swapped the bytes of 8-bit samples too."""


def parse(data: bytes, limits: Limits) -> DicomFile:
    """Parse a file up to its pixel data.

    Raises UnreadableImage when the header is cut off or damaged, ImageTooLarge when a deflated one inflates to more
    than `limits.max_file_bytes`, UnsupportedImage when the object is no image of integer samples.
    """
    with faults_named("the DICOM header is damaged"):
        start = _PREAMBLE if data[128:_PREAMBLE] == b"DICM" else 0
        meta, start = _file_meta(data, start)
        syntax = UID(str(meta.get("TransferSyntaxUID") or ImplicitVRLittleEndian))
        if syntax == DeflatedExplicitVRLittleEndian:
            data, start = _inflated(data, start, meta, limits.max_file_bytes), 0
        reading = _Reading(data, stop=lambda tag: tag in _ANY_PIXEL_DATA)
        header = reading.from_(start, implicit=syntax == ImplicitVRLittleEndian, little=syntax != ExplicitVRBigEndian)
        # Only an object that says it is something else (a report, a presentation state) may have no pixels.
        kind = UID(str(header.get("SOPClassUID", "")))
        other = bool(kind) and kind.name != str(kind) and "Image Storage" not in kind.name
    if reading.stopped_at is None and not other:
        raise UnreadableImage("the DICOM file ends before its pixel data", fix=AGAIN)
    if reading.stopped_at != _PIXEL_DATA:
        raise UnsupportedImage("the DICOM object has no integer pixel data", fix="give the image, not a report on it")
    return DicomFile(header, syntax, data, reading.value_start, reading.length, reading.vr)


def _file_meta(data: bytes, start: int) -> tuple[Dataset, int]:
    """File meta information (group 0002, always Explicit VR Little Endian), and where the data set begins."""
    if data[start : start + 2] != b"\x02\x00":
        return Dataset(), start
    reading = _Reading(data, stop=lambda tag: tag >> 16 != 2)
    meta = reading.from_(start, implicit=False, little=True)
    if group_length := meta.get("FileMetaInformationGroupLength"):
        end = start + 12 + int(group_length)
        if str(meta.get("TransferSyntaxUID")) == DeflatedExplicitVRLittleEndian:
            return meta, end  # deflated bytes may look like another element of the group, so this length is trusted
    return meta, reading.position


def _inflated(data: bytes, start: int, meta: Dataset, limit: int) -> bytes:
    """The data set of a deflated file (PS3.5 A.5: raw deflate, no header), with a bound that pydicom does not have.

    A quarter of a MiB can inflate to 256: the limit holds while inflating, not after.
    """
    # In pieces into a buffer that grows in place: a bomb inflated at once is there twice before it is refused.
    inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), BytesIO()
    for at in range(start, len(data) + _PIECE, _PIECE):  # the last one is empty, for what is left inside
        rest, written = data[at : at + _PIECE], _PIECE
        while not inflater.eof and (rest or written == _PIECE):
            written = inflated.write(inflater.decompress(rest, _PIECE))
            rest = inflater.unconsumed_tail
            if inflated.tell() > limit:
                what = f"the deflated file inflates to more than {limit} bytes"
                raise ImageTooLarge(what, fix="send it without deflation")
    if not inflater.eof:
        raise UnreadableImage("the deflated data set is cut off", fix=AGAIN)
    return inflated.getvalue()


class _Reading:
    """One pass of pydicom over a data set, up to an element that `stop` names.

    pydicom takes a value that runs past the end of the file for a short one; here it is a fault.
    """

    def __init__(self, data: bytes, stop: Callable[[int], bool]) -> None:
        self._file = BytesIO(data)  # shares the bytes
        self._size = len(data)
        self._stop = stop
        self.stopped_at: int | None = None
        self.value_start = 0
        self.length = 0
        self.vr = "OW"

    @property
    def position(self) -> int:
        """The first byte that was not read."""
        return self._file.tell()

    def from_(self, start: int, *, implicit: bool, little: bool) -> Dataset:
        """Read from `start`; pydicom corrects `implicit` itself when the first element shows that it is wrong."""
        self._file.seek(start)
        return read_dataset(self._file, implicit, little, stop_when=self._seen)

    def _seen(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if self._stop(tag):
            self.stopped_at, self.value_start, self.length = int(tag), self._file.tell(), length
            self.vr = vr or "OW"  # implicit VR is always OW (PS3.5 A.1)
            return True
        if length != UNDEFINED_LENGTH and self._file.tell() + length > self._size:
            raise UnreadableImage("the DICOM header is cut off", fix=AGAIN)
        return False
