"""How large an image may be, checked from its header before a pixel is decoded.

What goes in are numbers a header states; what comes out is nothing, or an error that names the number and its limit.
Nothing here opens a file or knows a format.
"""

from pydantic import Field

from retrieval.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from retrieval.records import Record

MIB = 1024 * 1024


class Limits(Record):
    """Hard limits on one image file; the defaults admit every CR and DX detector on sale with room to spare."""

    max_file_bytes: int = Field(default=256 * MIB, gt=0)
    """Size of the file, taken from the directory entry before reading; also the size of a deflated data set inflated,
    so that a deflated file is never allowed to be more than an inflated one."""
    max_rows: int = Field(default=10_000, gt=0)
    """Image height in pixels."""
    max_columns: int = Field(default=10_000, gt=0)
    """Image width in pixels."""
    max_pixels: int = Field(default=64 * 1024 * 1024, gt=0)
    """Rows times columns."""
    max_frames: int = Field(default=1, ge=1, le=1)
    """Frames of one file. Only single-frame images are read, so this limit can be stated but not raised."""
    max_decoded_bytes: int = Field(default=1024 * MIB, gt=0)
    """Memory for the decoded samples together with the float32 grey made from them."""


DEFAULT_LIMITS = Limits()
"""What is used where nobody asks for other limits."""

_EXPORT_SMALLER = "export the image at a smaller size, or ask the operator to raise the limit"


def check_file_bytes(size: int, limits: Limits) -> None:
    """Raise UnreadableImage for an empty file and ImageTooLarge for one over the limit; `size` is in bytes."""
    if size == 0:
        raise UnreadableImage("the file is empty", fix="export the image again")
    if size > limits.max_file_bytes:
        raise ImageTooLarge(f"the file has {size} bytes, more than {limits.max_file_bytes}", fix=_EXPORT_SMALLER)


def check_size(limits: Limits, *, rows: int, columns: int, frames: int, bits_allocated: int) -> None:
    """Check what a header says about the size of an image of one sample per pixel.

    Raises UnreadableImage for a size of nothing, UnsupportedImage for several frames, ImageTooLarge above a limit.
    """
    if rows < 1 or columns < 1 or frames < 1:
        raise UnreadableImage(
            f"the header says {rows} rows, {columns} columns and {frames} frames", fix="export the image again"
        )
    if frames > limits.max_frames:
        raise UnsupportedImage(f"the image has {frames} frames", fix="export the frame as an image of its own")
    if rows > limits.max_rows or columns > limits.max_columns:
        raise ImageTooLarge(
            f"the image has {rows} rows and {columns} columns, more than {limits.max_rows} or {limits.max_columns}",
            fix=_EXPORT_SMALLER,
        )
    pixels = rows * columns
    if pixels > limits.max_pixels:
        raise ImageTooLarge(f"the image has {pixels} pixels, more than {limits.max_pixels}", fix=_EXPORT_SMALLER)
    decoded = pixels * ((bits_allocated + 7) // 8 + 4)  # the samples, and 4 bytes of float32 grey
    if decoded > limits.max_decoded_bytes:
        raise ImageTooLarge(
            f"the image needs {decoded} bytes decoded, more than {limits.max_decoded_bytes}", fix=_EXPORT_SMALLER
        )
