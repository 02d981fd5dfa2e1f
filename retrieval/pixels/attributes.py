"""Optional attributes of a DICOM header, read with care.

What goes in is a header and a keyword; what comes out is a clean value, or nothing. A small fault in an attribute
that no pixel depends on (a malformed number, bytes outside the character set) makes that attribute absent: it is not
guessed at, and it does not cost the image. Values never appear in an error: they may name a person.
"""

import hashlib
import hmac
import math

from pydicom import Dataset

from retrieval.pixels.faults import MALFORMED
from retrieval.records import PatientKey

_MAX_CHARACTERS = 10_240
"""The longest text DICOM allows in one value (LT); longer is damage, not text."""


def texts(header: Dataset, keyword: str) -> list[str]:
    """All values of an attribute as text, without padding and control characters; empty when absent or malformed."""
    try:
        value = header.get(keyword)
        if value is None:
            return []
        if isinstance(value, bytes):
            return []
        values = [value] if isinstance(value, (str, int, float)) else list(value)
        cleaned = [_clean(str(v)) for v in values]
    except MALFORMED:
        return []
    return [] if sum(map(len, cleaned)) > _MAX_CHARACTERS else cleaned


def text(header: Dataset, keyword: str) -> str | None:
    """The first value of an attribute as text; None when absent, empty or malformed."""
    return next(iter(texts(header, keyword)), "") or None


def first_item(header: Dataset, keyword: str) -> Dataset | None:
    """The first item of a sequence attribute; None when absent, empty or malformed."""
    try:
        items = header.get(keyword)
        return items[0] if items and isinstance(items[0], Dataset) else None
    except MALFORMED:
        return None


def spacing_mm(header: Dataset) -> tuple[tuple[float, float] | None, bool]:
    """Row and column spacing in mm, and whether it is at the patient (PS3.3 10.7.1.3).

    Pixel Spacing that only repeats Imager Pixel Spacing, without a calibration type, is spacing at the detector.
    """
    spacing, imager = _two(header, "PixelSpacing"), _two(header, "ImagerPixelSpacing")
    if spacing is None:
        return imager, False
    return spacing, spacing != imager or text(header, "PixelSpacingCalibrationType") is not None


def patient_key(header: Dataset, salt: bytes | None) -> PatientKey | None:
    """HMAC-SHA256 of issuer and Patient ID under the installation's salt, the first 128 bits in hex.

    None without a salt (an unkeyed hash of an id can be reversed by trying all ids) or without an id. The issuer is
    part of it because two hospitals give the same number to two people.
    """
    identifier = text(header, "PatientID")
    if not salt or identifier is None:
        return None
    return pseudonym(salt, text(header, "IssuerOfPatientID") or "", identifier)


def pseudonym(salt: bytes, issuer: str, identifier: str) -> PatientKey:
    """What `patient_key` gives for an id of that issuer; raises ValueError for a blank id."""
    if not identifier.strip():
        raise ValueError("a blank id names nobody")
    whole = f"{issuer.strip()}\x1f{identifier.strip()}"  # DICOM pads values with spaces
    return PatientKey(hmac.new(salt, whole.encode(), hashlib.sha256).hexdigest()[:32])


def _two(header: Dataset, keyword: str) -> tuple[float, float] | None:
    try:
        rows, columns = (float(v) for v in texts(header, keyword))
    except ValueError:
        return None
    usable = all(math.isfinite(v) and v > 0 for v in (rows, columns))
    return (rows, columns) if usable else None


def _clean(value: str) -> str:
    printable = "".join(c if c.isprintable() or c in "\n\t" else " " for c in value.replace("\r\n", "\n"))
    return printable.strip()
