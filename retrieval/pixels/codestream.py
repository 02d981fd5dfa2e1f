"""Encapsulated pixel data: its fragments joined to one frame, and what the codestream says of itself.

What goes in is the value of an encapsulated Pixel Data element (PS3.5 A.4); what comes out is the compressed frame,
known to be whole and to be as large as the header says. Decoders believe the codestream, not the DICOM header: one
that says 65,535 x 65,535 inside a header of 8 x 8 would be allocated before anybody compares. Nothing is decoded here.
"""

import struct

from retrieval.errors import ImageTooLarge, UnreadableImage

_ITEM = 0xE000FFFE
_SEQUENCE_DELIMITER = 0xE0DDFFFE
_AGAIN = "send or export the image again"
_END = b"\xff\xd9"
"""EOI of JPEG and JPEG-LS, EOC of JPEG 2000: the same two bytes."""
_TRAILING = 16
"""Bytes after the end marker that writers are known to add: padding to even length, sometimes to a word."""

_JPEG_START = b"\xff\xd8"
_J2K_START = b"\xff\x4f\xff\x51"
_START_OF_FRAME = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""Markers that carry the size; C4, C8 and CC are tables and an extension, F7 is JPEG-LS."""
_START_OF_SCAN = 0xDA


def joined_fragments(data: bytes, start: int) -> bytes:
    """The one frame whose items begin at `start`; raises UnreadableImage when the items do not end where they say."""
    fragments: list[bytes] = []
    first = True
    while True:
        if start + 8 > len(data):
            raise UnreadableImage("the compressed pixel data ends before its delimiter", fix=_AGAIN)
        tag, length = struct.unpack_from("<II", data, start)
        start += 8
        if tag == _SEQUENCE_DELIMITER:
            break
        if tag != _ITEM:
            raise UnreadableImage("the compressed pixel data is not a row of items", fix=_AGAIN)
        if start + length > len(data):
            raise UnreadableImage("the compressed pixel data is cut off", fix=_AGAIN)
        if not first:  # the first item is the Basic Offset Table, empty or one offset for a single frame
            fragments.append(data[start : start + length])
        elif length > 4:
            raise UnreadableImage("the pixel data has offsets for more frames than the header states", fix=_AGAIN)
        first = False
        start += length
    frame = b"".join(fragments)
    if not frame:
        raise UnreadableImage("there is no compressed pixel data", fix=_AGAIN)
    return frame


def check_codestream(frame: bytes, *, rows: int, columns: int) -> None:
    """Check a JPEG, JPEG-LS or JPEG 2000 frame against the header's size, and that it has its end.

    Raises UnreadableImage when the end marker or the size is missing or the size is another, ImageTooLarge when the
    size is another and a larger one. Other codestreams (RLE) state no size and pass.
    """
    if frame.startswith(_J2K_START):
        stated = _j2k_size(frame)
    elif frame.startswith(_JPEG_START):
        stated = _jpeg_size(frame)
    else:
        raise UnreadableImage("the compressed pixel data does not begin as its transfer syntax says", fix=_AGAIN)
    if stated[0] * stated[1] > rows * columns:
        raise ImageTooLarge("the compressed pixel data is larger than the header says", fix=_AGAIN)
    if stated != (rows, columns):
        raise UnreadableImage("the compressed pixel data has another size than the header says", fix=_AGAIN)
    # A decoder given half a codestream fills the rest with grey and says nothing.
    if _END not in frame[-_TRAILING - len(_END) :]:
        raise UnreadableImage("the compressed pixel data has no end: it is cut off", fix=_AGAIN)


def _j2k_size(frame: bytes) -> tuple[int, int]:
    """Rows and columns from the SIZ marker (ISO/IEC 15444-1 A.5.1)."""
    if len(frame) < 24:
        raise UnreadableImage("the JPEG 2000 header is cut off", fix=_AGAIN)
    right, bottom, left, top = struct.unpack_from(">IIII", frame, 8)
    return bottom - top, right - left


def _jpeg_size(frame: bytes) -> tuple[int, int]:
    """Rows and columns from the first start-of-frame marker (ISO/IEC 10918-1 B.2.2)."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # fill
            at += 1
            continue
        if marker in _START_OF_FRAME:
            rows, columns = struct.unpack_from(">HH", frame, at + 5)
            return rows, columns
        if marker == _START_OF_SCAN:
            break
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    raise UnreadableImage("the JPEG has no size in its header", fix=_AGAIN)
