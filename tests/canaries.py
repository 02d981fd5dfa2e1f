"""Words and numbers that are nobody's, for every field that a caller can fill, and where they must not turn up."""

import io
import json
from pathlib import Path
from typing import Any

from pydicom.uid import ExplicitVRLittleEndian

from evaluation.drawings import draw
from tests.dicom_files import dataset, save

MARKS = ("zqxv", "770770770", "909909909")
"""In each canary one of these: in names and text, in numbers of records, in UIDs."""
NAME, NUMBER, UID, TEXT = (
    "Zqxvhart^Wilhelmina", "MRN770770770", "1.2.826.0.1.909909909.1",
    "Zqxvhart, W., seen on the ward, phone 770770770, has a zqxvoma of the left lung.",
)  # fmt: skip
TAGS: dict[str, Any] = {
    "PatientName": NAME, "PatientID": NUMBER, "PatientBirthDate": "19000101", "PatientAddress": TEXT[:60],
    "OtherPatientIDs": "770770770-2", "PatientComments": TEXT, "AccessionNumber": "ZQXV770770770",
    "InstitutionName": "Zqxv Clinic", "InstitutionAddress": "Zqxv Street 1", "ReferringPhysicianName": "Zqxvdoc^A",
    "OperatorsName": "Zqxvop^B", "PerformingPhysicianName": "Zqxvperf^C", "StudyID": "ZQXV1", "ImageComments": TEXT,
    "StudyDescription": "ZQXV CHEST", "SeriesDescription": "ZQXV PA", "ProtocolName": "ZQXV PROTOCOL",
    "RequestedProcedureDescription": "ZQXV PROCEDURE", "ReasonForTheRequestedProcedure": TEXT[:64],
    "AdmittingDiagnosesDescription": TEXT[:64], "AdditionalPatientHistory": TEXT, "DeviceSerialNumber": "ZQXV770770770",
    "StationName": "ZQXVSTATION", "StudyInstanceUID": UID, "SeriesInstanceUID": f"{UID}.2",
    "SOPInstanceUID": f"{UID}.3", "ImageType": ["DERIVED", "PRIMARY", "ZQXV"], "ManufacturerModelName": "ZQXV MODEL",
}  # fmt: skip
ASKED: dict[str, Any] = {
    "view": "PA", "patient_key": NUMBER, "indication": TEXT, "technique": f"Portable. {TEXT}",
    "comparison": f"Study of {NUMBER}", "priors": [f"FINDINGS: {TEXT}", f"IMPRESSION: {NAME}"],
}  # fmt: skip
HEADERS = {
    "User-Agent": NAME, "Referer": f"http://zqxv/{NUMBER}", "Cookie": f"patient={NUMBER}", "From": "zqxv@hospital",
    "X-Request-Id": NUMBER, "X-Forwarded-For": "zqxv", "X-Trace-Id": NUMBER, "Accept-Language": "zqxv",
    "baggage": f"patient={NUMBER}", "tracestate": f"zqxv={NUMBER}", "traceparent": f"00-{NUMBER}-zqxv-01",
    "If-None-Match": f'"{NUMBER}"', "X-Zqxv": TEXT,
}  # fmt: skip


def dicom(folder: Path, number: int = 9105, **tags: Any) -> bytes:
    """A chest radiograph with a canary in every tag that may name somebody, private ones too."""
    image = dataset(draw(number).frontal, **{"ViewPosition": "PA", "BodyPartExamined": "CHEST", **TAGS, **tags})
    block = image.private_block(0x0029, "ZQXV VENDOR", create=True)
    block.add_new(0x10, "LO", TEXT[:64])
    block.add_new(0x11, "UN", NAME.encode())
    return save(folder / f"canary-{number}-{len(tags)}.dcm", image, ExplicitVRLittleEndian).read_bytes()


def form(*files: tuple[str, str, bytes], asked: Any = None, **parts: str) -> dict[str, Any]:
    """What httpx sends as a form: files by part and name, the part `request`, and others."""
    fields = {**({} if asked is None else {"request": asked if isinstance(asked, str) else json.dumps(asked)}), **parts}
    return {"files": [(part, (name, io.BytesIO(content))) for part, name, content in files], "data": fields}


def found(where: bytes | str) -> list[str]:
    """Each mark that is there, in whatever case, with what stands around it."""
    text = (where.decode("latin-1") if isinstance(where, bytes) else where).lower()
    return [text[max(0, at - 60) : at + 60] for mark in MARKS if (at := text.find(mark)) >= 0]


def found_below(folder: Path) -> list[str]:
    """The same for every file below a folder, and for the names of files."""
    hits = []
    for path in folder.rglob("*"):
        hits += found(str(path.relative_to(folder)))
        hits += [f"{path.name}: {hit}" for hit in found(path.read_bytes())] if path.is_file() else []
    return hits
