"""Image files: what one says of itself, its pixels, and its digest.

What goes in is a path; what comes out is attributes, display-ready grey or a SHA-256, or a named error. The first
bytes decide what a file is, never its name. A file is read once into memory and everything is made from those bytes,
so the digest is of what was decoded even when the file changes meanwhile. Decoding untrusted files in this process is
for tests and tools; `Readers` (sandbox.py) does the same in processes that may fail.
"""

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from retrieval.errors import UnreadableImage
from retrieval.pixels import Pixels
from retrieval.pixels.data_set import DicomFile, parse
from retrieval.pixels.dicom import dicom_attributes, dicom_pixels
from retrieval.pixels.limits import DEFAULT_LIMITS, Limits, check_file_bytes
from retrieval.pixels.raster import JPEG_START, PNG_START, raster_attributes, raster_pixels
from retrieval.records import ImageAttributes, ImageDigest


@dataclass(frozen=True)
class ImageFile:
    """The bytes of one image file, recognised; `dicom` is its parsed header, None for PNG and JPEG."""

    data: bytes
    dicom: DicomFile | None
    limits: Limits

    def attributes(self, salt: bytes | None) -> ImageAttributes:
        """What the header says; `salt` keys the patient's pseudonym."""
        if self.dicom is not None:
            return dicom_attributes(self.dicom, self.limits, salt)
        return raster_attributes(self.data, self.limits)

    def pixels(self) -> Pixels:
        """Display-ready grey, rows x columns."""
        if self.dicom is not None:
            return dicom_pixels(self.dicom, self.limits)
        return raster_pixels(self.data, self.limits)

    def digest(self) -> ImageDigest:
        """SHA-256 of the bytes, in hex."""
        return ImageDigest(hashlib.sha256(self.data).hexdigest())


def open_image(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> ImageFile:
    """Read a file and recognise it; raises UnreadableImage for what is no image, ImageTooLarge before reading."""
    data = _read(path, limits)
    if data.startswith((PNG_START, JPEG_START)):
        return ImageFile(data, None, limits)
    # Group 0008 or 0002 first: a data set that lost its preamble. No text begins with these bytes.
    if data[128:132] == b"DICM" or data[:2] in (b"\x08\x00", b"\x02\x00"):
        return ImageFile(data, parse(data, limits), limits)
    raise UnreadableImage("the file is neither DICOM nor PNG nor JPEG", fix="give the radiograph as one of these")


def read_header(path: str | Path, limits: Limits = DEFAULT_LIMITS, salt: bytes | None = None) -> ImageAttributes:
    """What the file says of its image; no pixel is decoded. Raises UnreadableImage, UnsupportedImage, ImageTooLarge."""
    return open_image(path, limits).attributes(salt)


def read_pixels(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Pixels:
    """The image as display-ready grey. Raises UnreadableImage, UnsupportedImage or ImageTooLarge."""
    return open_image(path, limits).pixels()


def digest(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> ImageDigest:
    """SHA-256 of the file's bytes, in hex; raises UnreadableImage or, before reading, ImageTooLarge."""
    return ImageDigest(hashlib.sha256(_read(path, limits)).hexdigest())


def _read(path: str | Path, limits: Limits) -> bytes:
    """All bytes of a regular file; whatever else the path leads to is refused without waiting for it."""
    try:
        # Without O_NONBLOCK, opening a pipe waits for its writer. What was opened is then what is looked at.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):  # a pipe or a device may never end
                raise UnreadableImage("the path is no regular file", fix="give the path of an image file")
            check_file_bytes(facts.st_size, limits)
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read(limits.max_file_bytes + 1)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path, or text that no file name can be
        raise _not_opened(error) from None
    check_file_bytes(len(data), limits)  # it may have changed since the first look
    return data


def _not_opened(error: OSError | ValueError) -> UnreadableImage:
    why = error.strerror if isinstance(error, OSError) and error.strerror else "not a path"
    return UnreadableImage(f"the file cannot be opened: {why}", fix="check the path and its permissions")
