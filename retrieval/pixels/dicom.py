"""DICOM files: what the header says as `ImageAttributes`, and pixel data as display-ready grey.

What goes in is a parsed file; what comes out is attributes or pixels. Everything a header can decide (size, frames,
colour, transfer syntax, whether the pixel data is all there) is decided before decoding. Which DICOM objects are
radiographs of a chest is for the gate, elsewhere.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from retrieval.errors import UnreadableImage, UnsupportedImage
from retrieval.pixels import Pixels
from retrieval.pixels.attributes import patient_key, spacing_mm, text
from retrieval.pixels.codestream import check_codestream, joined_fragments
from retrieval.pixels.data_set import UNDEFINED_LENGTH, DicomFile
from retrieval.pixels.faults import AGAIN, faults_named, values_tolerated
from retrieval.pixels.grayscale import SampleFormat, grey_table, to_grey
from retrieval.pixels.limits import Limits, check_size
from retrieval.pixels.views import view_of
from retrieval.records import ImageAttributes, Laterality, StudyUid

_UNCOMPRESSED = "send the image in Explicit VR Little Endian"
_LATERALITIES: dict[str, Laterality] = {"L": "L", "R": "R", "B": "B", "U": "U"}
_DECLARED = {"YES": True, "NO": False}

_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
_PLUGINS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLossless: "gdcm",
    JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pillow",
    JPEG2000: "pillow",
    RLELossless: "pydicom",
}
"""One decoder for each compressed syntax. Left to itself pydicom tries whatever is installed, one after the other, so
that two machines could make different grey of one file, and a decoder that fails on damage hands it to one that may
not notice. GDCM, which aborts its process on some damage, is asked only where nothing else decodes."""


def dicom_attributes(file: DicomFile, limits: Limits, salt: bytes | None) -> ImageAttributes:
    """What the header says; after this, only damage inside the pixel data can keep the image from being read.

    Raises UnsupportedImage for what is not one frame of grey in a syntax with a decoder, ImageTooLarge beyond a
    limit, UnreadableImage when a size is missing or the pixel data is shorter than the header says.
    """
    header = file.header
    with faults_named("the DICOM header is damaged"), values_tolerated():
        sample, rows, columns = _checked_format(file, limits)
        view, view_source = view_of(header)
        image_laterality = _LATERALITIES.get(_upper(header, "ImageLaterality"))
        laterality = image_laterality or _LATERALITIES.get(_upper(header, "Laterality"))
        spacing, calibrated = spacing_mm(header)
        study = text(header, "StudyInstanceUID")
        return ImageAttributes(
            media="dicom",
            rows=rows,
            columns=columns,
            bits_stored=sample.bits_stored,
            photometric=_upper(header, "PhotometricInterpretation"),
            modality=text(header, "Modality"),
            body_part=_upper(header, "BodyPartExamined") or None,
            sop_class_uid=text(header, "SOPClassUID"),
            transfer_syntax_uid=str(file.transfer_syntax),
            presentation_intent=text(header, "PresentationIntentType"),
            view=view,
            view_source=view_source,
            laterality=laterality,
            laterality_source="image_laterality" if image_laterality else "laterality" if laterality else "none",
            study_instance_uid=StudyUid(study) if study else None,
            series_instance_uid=text(header, "SeriesInstanceUID"),
            sop_instance_uid=text(header, "SOPInstanceUID"),
            patient_key=patient_key(header, salt),
            indication=text(header, "ReasonForTheRequestedProcedure"),  # (0040,1002)
            burned_in_annotation=_DECLARED.get(_upper(header, "BurnedInAnnotation")),
            pixel_spacing_mm=spacing,
            pixel_spacing_calibrated=calibrated,
        )


def dicom_pixels(file: DicomFile, limits: Limits) -> Pixels:
    """Decode to display-ready grey, rows x columns.

    Raises what `dicom_attributes` raises, and UnreadableImage when the pixel data cannot be decoded whole.
    """
    with faults_named("the DICOM header is damaged"), values_tolerated():
        sample, rows, columns = _checked_format(file, limits)
        table = grey_table(file.header, sample)
    with faults_named("the pixel data is damaged"):
        return to_grey(_decoded(file, sample, rows, columns), table)


def _decoded(file: DicomFile, sample: SampleFormat, rows: int, columns: int) -> NDArray[np.generic]:
    """Samples as stored (rows x columns); bits above Bits Stored are left as they are, the grey table ignores them."""
    if file.transfer_syntax.is_encapsulated:
        frame = joined_fragments(file.data, file.pixel_start)
        if file.transfer_syntax != RLELossless:  # its frames state no size and have no end marker
            check_codestream(frame, rows=rows, columns=columns)
        source = encapsulate([frame], has_bot=False)
    else:
        length = _bytes_of(sample, rows, columns)
        source = file.data[file.pixel_start : file.pixel_start + length + length % 2]
    # pydicom annotates each option as all of them together, hence the Any.
    options: dict[str, Any] = {
        "view_only": True,
        "correct_unused_bits": False,
        "allow_excess_frames": False,
        "rows": rows,
        "columns": columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": _upper(file.header, "PhotometricInterpretation"),
        "pixel_keyword": "PixelData",
        "pixel_vr": "OB" if file.pixel_vr == "OB" else "OW",
        "bits_allocated": sample.bits_allocated,
        "bits_stored": sample.bits_stored,
        "pixel_representation": int(sample.signed),
    }
    decoder = get_decoder(_inflated_syntax(file.transfer_syntax))
    plugin = _PLUGINS.get(file.transfer_syntax, "")
    samples, _ = decoder.as_array(source, index=0, raw=True, decoding_plugin=plugin, **options)
    if samples.shape != (rows, columns) or samples.dtype.itemsize * 8 != sample.bits_allocated:
        raise UnreadableImage("the pixel data has another size or depth than the header says", fix=AGAIN)
    native: NDArray[np.generic] = samples.astype(samples.dtype.newbyteorder("="), copy=False)
    return native


def _checked_format(file: DicomFile, limits: Limits) -> tuple[SampleFormat, int, int]:
    """Sample format, rows and columns, after every check that needs no decoding."""
    header = file.header
    rows, columns = _whole(header, "Rows"), _whole(header, "Columns")
    allocated, stored = _whole(header, "BitsAllocated"), _whole(header, "BitsStored")
    frames = _whole(header, "NumberOfFrames", absent=1)
    check_size(limits, rows=rows, columns=columns, frames=frames, bits_allocated=allocated)
    photometric = _upper(header, "PhotometricInterpretation")
    if not photometric:
        raise UnreadableImage("the header has no Photometric Interpretation", fix=AGAIN)
    if photometric not in ("MONOCHROME1", "MONOCHROME2") or _whole(header, "SamplesPerPixel", absent=1) != 1:
        raise UnsupportedImage("the image is in colour, not grey", fix="give the original radiograph")
    if allocated not in (8, 16):
        raise UnsupportedImage(f"the image has {allocated} bits allocated, not 8 or 16", fix="export it with 16 bits")
    if not 1 <= stored <= allocated:
        raise UnreadableImage(f"the header says {stored} of {allocated} bits are stored", fix=AGAIN)
    if _whole(header, "HighBit", absent=stored - 1) != stored - 1:  # PS3.5 8.1.1: anything else is retired
        raise UnsupportedImage("High Bit is not Bits Stored less 1", fix="export the image again")
    sample = SampleFormat(allocated, stored, _whole(header, "PixelRepresentation", absent=0) == 1)
    _check_pixel_data(file, sample, _bytes_of(sample, rows, columns))
    return sample, rows, columns


def _check_pixel_data(file: DicomFile, sample: SampleFormat, expected: int) -> None:
    """Whether a decoder exists, and whether an uncompressed image has all its bytes."""
    syntax = file.transfer_syntax
    if not _has_decoder(syntax):
        known = syntax.name != str(syntax)  # pydicom knows its name; other text from the file stays out of errors
        raise UnsupportedImage(
            f"there is no decoder for the transfer syntax {f'{syntax.name}, {syntax}' if known else 'of this file'}",
            fix=_UNCOMPRESSED,
        )
    if syntax == JPEGExtended12Bit and sample.bits_stored != 8:  # the free decoders read 8 bits of it only
        raise UnsupportedImage("there is no decoder for JPEG Extended of 12 bits", fix=_UNCOMPRESSED)
    if syntax.is_encapsulated:
        return
    if file.pixel_length == UNDEFINED_LENGTH:
        raise UnreadableImage("uncompressed pixel data has no length", fix=AGAIN)
    if file.pixel_length < expected or file.pixel_start + file.pixel_length > len(file.data):
        raise UnreadableImage("the pixel data is shorter than the header says", fix=AGAIN)


def _has_decoder(syntax: UID) -> bool:
    if syntax in _PLUGINS:
        return _PLUGINS[syntax] in get_decoder(syntax).available_plugins
    return syntax in _NATIVE


def _inflated_syntax(syntax: UID) -> UID:
    return ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax


def _bytes_of(sample: SampleFormat, rows: int, columns: int) -> int:
    return rows * columns * sample.bits_allocated // 8


def _upper(header: Dataset, keyword: str) -> str:
    return (text(header, keyword) or "").upper()


def _whole(header: Dataset, keyword: str, absent: int | None = None) -> int:
    """A number that the pixels depend on; raises UnreadableImage when it is no number, or missing without `absent`."""
    value = text(header, keyword)
    if value is None and absent is not None and keyword not in header:
        return absent
    if value is None or not value.isdecimal():
        raise UnreadableImage(f"the header has no usable {keyword}", fix=AGAIN)
    return int(value)
