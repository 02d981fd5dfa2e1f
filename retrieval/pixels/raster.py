"""PNG and JPEG files: what their headers say, and their pixels as display-ready grey.

What goes in is the bytes of one file; what comes out is attributes or float32 grey, 0 to 1 by the file's bit depth.
Grey saved as colour (three equal channels) is read as the grey it is; true colour is refused. Pillow decodes.

EXIF orientation is applied. Exports of radiographs have none; where one is found, every viewer in which the reader
will check the draft shows the image turned, and regions and sides are stated for the image as displayed.
"""

import struct
import zlib
from io import BytesIO
from typing import Literal

import numpy as np
from PIL import Image, ImageFile, ImageOps

from retrieval.errors import ImageTooLarge, UnreadableImage, UnsupportedImage
from retrieval.pixels import Pixels
from retrieval.pixels.faults import AGAIN, faults_named
from retrieval.pixels.limits import Limits, check_size
from retrieval.records import ImageAttributes

ImageFile.LOAD_TRUNCATED_IMAGES = False  # Pillow's default; another user of Pillow in this process may have changed it

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8\xff"
_ORIENTATION = 0x0112
_QUARTER_TURNS = frozenset({5, 6, 7, 8})
_GREY_IN_COLOUR = frozenset({"RGB", "RGBA", "P", "LA", "PA"})
_ORIGINAL = "give the original radiograph"


def raster_attributes(data: bytes, limits: Limits) -> ImageAttributes:
    """What the header says, with rows and columns as displayed.

    Raises UnreadableImage for damage, UnsupportedImage for several frames or colour models without grey,
    ImageTooLarge beyond a limit; all before decoding.
    """
    with faults_named("the image file is damaged"), _opened(data, limits) as image:
        # Asked for its Exif data, Pillow decodes a whole PNG; hardly any has such a chunk.
        has_exif = b"eXIf" in data or not data.startswith(PNG_START)
        turned = has_exif and image.getexif().get(_ORIENTATION) in _QUARTER_TURNS
        columns, rows = reversed(image.size) if turned else image.size
        media: Literal["png", "jpeg"] = "png" if data.startswith(PNG_START) else "jpeg"
        return ImageAttributes(media=media, rows=rows, columns=columns, bits_stored=_bits(data))


def raster_pixels(data: bytes, limits: Limits) -> Pixels:
    """Decode to display-ready grey, rows x columns.

    Raises what `raster_attributes` raises, UnreadableImage for pixel data that is damaged or cut off, and
    UnsupportedImage for true colour or transparency.
    """
    with faults_named("the image file is damaged"), _opened(data, limits) as opened:
        opened.load()
        image = ImageOps.exif_transpose(opened)
        if image.mode == "1":
            image = image.convert("L")
        if image.mode in _GREY_IN_COLOUR or image.has_transparency_data:
            image = _as_grey(image)
        samples = np.asarray(image)
        if samples.dtype not in (np.uint8, np.uint16):
            raise UnsupportedImage("the samples are neither of 8 nor of 16 bits", fix=_ORIGINAL)
        # Pillow spreads 1, 2 and 4 bits over 8, so the width of what it gives is the scale.
        return samples.astype(np.float32) / np.float32(np.iinfo(samples.dtype).max)


def _as_grey(image: Image.Image) -> Image.Image:
    """The one channel that all colours of an image are; raises UnsupportedImage for true colour or transparency."""
    transparent = image.has_transparency_data
    colours = image.convert("RGBA" if transparent else "RGB")
    red, green, blue = (colours.getchannel(channel).tobytes() for channel in range(3))
    if not red == green == blue:
        raise UnsupportedImage("the image is in colour, not grey", fix=_ORIGINAL)
    if transparent and colours.getchannel(3).getextrema() != (
        255,
        255,
    ):  # its ground is the viewer's choice
        raise UnsupportedImage("the image is transparent", fix=_ORIGINAL)
    return colours.getchannel(0)


def _opened(data: bytes, limits: Limits) -> ImageFile.ImageFile:
    """Open without decoding, after the checks that need no pixels."""
    if data.startswith(PNG_START):
        _check_png(data, limits)
    # An end marker cannot occur inside a scan, so one behind the last scan is the image's own.
    elif data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise UnreadableImage("the JPEG is cut off", fix=AGAIN)
    try:
        image = Image.open(BytesIO(data), formats=("PNG", "JPEG"))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Pillow's own bound, above ours; it holds where an operator has raised ours.
        raise ImageTooLarge("the image has too many pixels", fix="export it at a smaller size") from None
    if not isinstance(image, ImageFile.ImageFile):
        raise UnreadableImage("the image file is damaged", fix=AGAIN)
    columns, rows = image.size
    frames = getattr(image, "n_frames", 1)  # an animated PNG, or a JPEG with a second picture (MPO)
    check_size(limits, rows=rows, columns=columns, frames=frames, bits_allocated=8 * len(image.getbands()))
    if image.mode == "CMYK":
        raise UnsupportedImage("the image is in colour, not grey", fix=_ORIGINAL)
    return image


def _bits(data: bytes) -> int:
    return data[24] if data.startswith(PNG_START) else 8


def _check_png(data: bytes, limits: Limits) -> None:
    """Walk the chunks: size, depth and frames from their headers, and every checksum.

    Pillow stops reading when it has all rows, and then neither checks the rest nor misses the end.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise UnreadableImage("the PNG has no header", fix=AGAIN)
    columns, rows, depth, colour_type = struct.unpack_from(">IIBB", data, 16)
    check_size(limits, rows=rows, columns=columns, frames=1, bits_allocated=depth)
    if depth == 16 and colour_type != 0:
        # Pillow reads these with 8 bits only, and half the grey levels would be gone without a word.
        raise UnsupportedImage("a PNG of 16 bits with colour or transparency", fix="save it as 16-bit grey")
    at, name = len(PNG_START), b""
    view = memoryview(data)
    while name != b"IEND":
        if at + 12 > len(data):
            raise UnreadableImage("the PNG is cut off", fix=AGAIN)
        length, name = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise UnreadableImage("the PNG is cut off", fix=AGAIN)
        if name == b"acTL":
            raise UnsupportedImage("the PNG is animated", fix="save the frame to be read as an image of its own")
        if zlib.crc32(view[at + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise UnreadableImage("a checksum of the PNG does not hold", fix=AGAIN)
        at = end + 4
