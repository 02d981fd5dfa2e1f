"""Image files drawn for tests: small radiograph-like DICOM, PNG and JPEG files, and things to do in a decoder.

Everything is written by pydicom, Pillow and the codecs themselves; no byte of a real patient is here.
"""

import io
import os
import signal
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import gdcm
import numpy as np
from numpy.typing import NDArray
from openjpeg.utils import encode_array
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import compress as pydicom_compress
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

ROWS, COLUMNS = 12, 10


def ramp(bits: int = 12, rows: int = ROWS, columns: int = COLUMNS) -> NDArray[Any]:
    """Every grey once over, from 0 to the largest that `bits` hold."""
    values = np.linspace(0, 2**bits - 1, rows * columns).round()
    return values.reshape(rows, columns).astype(np.uint8 if bits <= 8 else np.uint16)


def dataset(samples: NDArray[Any], bits_stored: int | None = None, **elements: Any) -> Dataset:
    """A DX image of `samples`; `elements` replace or add attributes, and None removes one."""
    bits = samples.dtype.itemsize * 8
    stored = bits_stored or bits
    image = Dataset()
    image.SOPClassUID = DigitalXRayImageStorageForPresentation
    image.SOPInstanceUID = "1.2.826.0.1.1"
    image.StudyInstanceUID = "1.2.826.0.1"
    image.SeriesInstanceUID = "1.2.826.0.1.0"
    image.Modality = "DX"
    image.PatientID = "4711"
    image.PatientName = "Roentgen^Anna"
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.Rows, image.Columns = samples.shape[:2]
    image.BitsAllocated, image.BitsStored, image.HighBit = bits, stored, stored - 1
    image.PixelRepresentation = int(samples.dtype.kind == "i")
    image.PixelData = samples.tobytes() + b"\0" * (samples.nbytes % 2)
    image["PixelData"].VR = "OB" if bits == 8 else "OW"
    for keyword, value in elements.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


def save(path: Path, image: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a PS3.10 file in a syntax whose encoding `image` already has."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = image.SOPClassUID
    meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    meta.TransferSyntaxUID = UID(syntax)
    image.file_meta = meta
    private = UID(syntax).is_private
    encoding = {"implicit_vr": False, "little_endian": True} if private else {}
    image.save_as(path, enforce_file_format=True, **encoding)
    return path


def draw(path: Path, samples: NDArray[Any] | None = None, bits_stored: int | None = None, **elements: Any) -> Path:
    """A file of `samples` in Explicit VR Little Endian."""
    return save(path, dataset(ramp(8) if samples is None else samples, bits_stored, **elements))


def encapsulated(path: Path, frame: bytes, samples: NDArray[Any], syntax: str, **elements: Any) -> Path:
    """A file whose one compressed frame is `frame`."""
    image = dataset(samples, **elements)
    image.PixelData = encapsulate([frame])
    image["PixelData"].is_undefined_length = True
    image["PixelData"].VR = "OB"
    return save(path, image, syntax)


def compressed(path: Path, samples: NDArray[Any], syntax: str, bits_stored: int | None = None) -> Path:
    """The same image compressed by whichever codec writes that syntax."""
    if syntax == JPEG2000Lossless:
        frame = encode_array(samples, bits_stored=bits_stored, photometric_interpretation=2)
        return encapsulated(path, frame, samples, syntax, bits_stored=bits_stored)
    if syntax == JPEGLosslessSV1:
        return _by_gdcm(path, draw(path.with_suffix(".raw"), samples, bits_stored))
    image = dataset(samples, bits_stored)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    plugin = "pydicom" if syntax == RLELossless else "pyjpegls"  # GDCM aborts on 12 bits
    pydicom_compress(image, syntax, encoding_plugin=plugin, generate_instance_uid=False)
    return save(path, image, syntax)


def _by_gdcm(path: Path, source: Path) -> Path:
    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    writer.SetFileName(str(path))
    assert writer.Write()
    return path


def lut(first: int, values: list[int], depth: int) -> Sequence:
    """A Modality or VOI LUT Sequence of one item."""
    item = Dataset()
    item.add_new(0x00283002, "SS" if first < 0 else "US", [len(values), first, depth])
    item.add_new(0x00283006, "US", values)
    return Sequence([item])


def coded(value: str, scheme: str) -> Sequence:
    """A code sequence of one item."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, "a view"
    return Sequence([item])


def half_a_j2k(samples: NDArray[Any]) -> bytes:
    """The first half of a JPEG 2000 codestream."""
    whole = bytes(encode_array(samples))
    return whole[: len(whole) // 2]


def deflated_bomb(path: Path, inflated_bytes: int) -> Path:
    """A deflated file with a long run of zeros in a private element before its pixels."""
    image = dataset(ramp(8))
    image.add_new(0x00091001, "OB", b"\0" * inflated_bytes)
    return save(path, image, "1.2.840.10008.1.2.1.99")


def nested(path: Path, depth: int) -> Path:
    """Sequences of undefined length inside each other, written by hand: pydicom would not."""
    image = draw(path, PatientName=None)
    data = path.read_bytes()
    opening = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    at = data.index(struct.pack("<HH2s", 0x0010, 0x0020, b"LO"))
    path.write_bytes(data[:at] + opening * depth + data[at:])
    return image


def png(path: Path, samples: NDArray[Any], **options: Any) -> Path:
    """A PNG of the array as it is."""
    Image.fromarray(samples).save(path, "PNG", **options)
    return path


def jpeg(path: Path, samples: NDArray[Any], **options: Any) -> Path:
    """A JPEG of the array, lossy as JPEG is."""
    Image.fromarray(samples).save(path, "JPEG", quality=100, **options)
    return path


def jpeg_bytes(samples: NDArray[Any]) -> bytes:
    """A grey JPEG Baseline codestream."""
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "JPEG", quality=100)
    return buffer.getvalue()


def png_header(path: Path, rows: int, columns: int, depth: int = 8, colour_type: int = 0) -> Path:
    """A PNG with a valid header chunk and nothing behind it that could be decoded."""
    chunk = b"IHDR" + struct.pack(">IIBBBBB", columns, rows, depth, colour_type, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)))
    return path


def implicit(path: Path, samples: NDArray[Any], bits_stored: int | None = None, **elements: Any) -> Path:
    """A data set in Implicit VR Little Endian without preamble and file meta information."""
    image = dataset(samples, bits_stored, **elements)
    image.save_as(path, enforce_file_format=False, implicit_vr=True, little_endian=True)
    return path


# What a decoder process is told to do with the pixels: pickled by reference, so it lives in an importable module.


def as_is(pixels: NDArray[np.float32]) -> NDArray[Any]:
    """The pixels themselves."""
    return pixels


def killed_by_white(pixels: NDArray[np.float32]) -> NDArray[Any]:
    """A crash, as of a faulty codec, on an image that is all white."""
    if pixels.min() == 1.0:
        os.kill(os.getpid(), signal.SIGSEGV)
    return pixels


def asleep_on_white(pixels: NDArray[np.float32]) -> NDArray[Any]:
    """A decoder that hangs on an image that is all white."""
    if pixels.min() == 1.0:
        time.sleep(60)
    return pixels


def greedy(_pixels: NDArray[np.float32]) -> NDArray[Any]:
    """More memory than a decoder is given."""
    return np.ones(2**30, np.float64)


def writing(pixels: NDArray[np.float32]) -> NDArray[Any]:
    """Whether this process can write a file: 1 when it can."""
    try:
        with Path("/tmp", f"prelim-decoder-{os.getpid()}").open("wb") as file:
            file.write(b"x")
    except OSError:
        return np.zeros(1)
    finally:
        Path("/tmp", f"prelim-decoder-{os.getpid()}").unlink(missing_ok=True)
    return np.ones(1)


def chatty(pixels: NDArray[np.float32]) -> NDArray[Any]:
    """A decoder's C library that has more to say than a pipe holds."""
    os.write(2, b"Roentgen^Anna\n" * 10_000)
    return pixels


def surroundings(_pixels: NDArray[np.float32]) -> NDArray[Any]:
    """Whether the secret of the test is in this process's environment, and its process id."""
    return np.array([int("PRELIM_TEST_SECRET" in os.environ), os.getpid()])


def of_objects(_pixels: NDArray[np.float32]) -> NDArray[Any]:
    """What may not leave a decoder: an array that would have to be unpickled."""
    return np.array([None])


def broken(_pixels: NDArray[np.float32]) -> NDArray[Any]:
    """A fault of the caller's own."""
    raise ZeroDivisionError
