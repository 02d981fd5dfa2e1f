"""The indexing manifest: one study per line of JSON, and why a line may be refused.

    {"prelim_manifest": 1, "defaults": {"source": "...", "licence": "...", "deidentified": {...}}}
    {"case_id": "...", "patient_key": "...", "images": [{"path": "a.dcm", "view": "PA"}], "report": {"text": "..."}}

The first line is optional; its defaults stand for fields a row leaves out. Image paths are relative to the manifest.
Every row needs a licence and a de-identification attestation: the index fails closed, because whatever it holds is
shown to the readers of other patients' studies. A row that breaks a rule is quarantined with a code and the line
number; the rest of the manifest goes on (`prelim-index build` writes them to a file).
"""

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from retrieval.errors import InvalidManifest
from retrieval.records import CaseId, ImageDigest, PatientKey, Record, Report, StudyUid, ViewPosition
from retrieval.sections import compose_report, read_report

MAX_LINE = 4 * 2**20
"""Bytes in one row: a report of 4 MiB is not a report."""

Identifier = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ManifestImage(_Row):
    """One image file of a row."""

    path: str = Field(min_length=1)
    """Relative to the manifest, or absolute."""
    view: ViewPosition | None = None
    """Overrides the header's view; needed for PNG and JPEG, which carry none."""


class ManifestReport(_Row):
    """Either the whole text, or its sections."""

    text: str = ""
    """The report with its headings."""
    indication: str = ""
    """Section text, when the source comes sectioned."""
    technique: str = ""
    """Section text."""
    comparison: str = ""
    """Section text."""
    findings: str = ""
    """Section text."""
    impression: str = ""
    """Section text."""

    def read(self) -> Report:
        """Build the report record; the whole text wins where both are given, because nothing is lost in it."""
        if self.text.strip():
            return read_report(self.text)
        return compose_report(**self.model_dump(exclude={"text"}))


class Attestation(_Row):
    """Who says that this row identifies nobody, and how that was reached."""

    attested_by: Identifier
    """A person or a pipeline that can be asked."""
    method: Identifier
    """For example: DICOM PS3.15 Basic Profile, or source published de-identified."""


class ManifestRow(_Row):
    """One study to index."""

    case_id: Identifier
    """Unique in the index."""
    patient_key: Identifier
    """Salted pseudonym, equal for all studies of one patient (`prelim-index pseudonym` makes them)."""
    study_instance_uid: Identifier | None = None
    """DICOM study; when left out, the images' headers say it, or else the case id stands in."""
    images: Annotated[tuple[ManifestImage, ...], Field(min_length=1, max_length=64)]
    """All images of the study that should be found."""
    report: ManifestReport
    """Its signed report."""
    sex: Literal["F", "M", "O"] | None = None
    """As DICOM codes it."""
    age: Annotated[int, Field(ge=0, le=130)] | None = None
    """Years; only the ten-year band is kept."""
    labels: tuple[str, ...] = ()
    """Expert-coded findings, as the source writes them."""
    source: Identifier
    """The collection."""
    licence: Identifier
    """Under which terms the case may be used and shown."""
    attribution: str = ""
    """Whom to credit."""
    deidentified: Attestation
    """Without it the row is refused."""


class Quarantined(Record):
    """A row that was not indexed, and why. Never holds text of the row."""

    line: int
    """Line number in the manifest, from 1."""
    case_id: str | None
    """None when the row could not be read that far."""
    code: str
    """Stable reason code."""
    what: str
    """What is wrong, naming fields, never their contents."""


class ManifestStudy(Record):
    """A good row with what is derived from it before any image is decoded."""

    line: int
    """Line number in the manifest, from 1."""
    case_id: CaseId
    """As in the row."""
    patient_key: PatientKey
    """As in the row."""
    study_instance_uid: StudyUid | None
    """As in the row; None leaves it to the images' headers."""
    row: ManifestRow
    """The row itself."""
    paths: tuple[str, ...]
    """Absolute image paths, in the row's order."""
    report: Report
    """Sectioned."""

    def content(self, digests: list[ImageDigest]) -> str:
        """Identify row and image bytes together: equal content is never encoded twice."""
        whole = hashlib.sha256(self.row.model_dump_json().encode())
        for digest in digests:
            whole.update(digest.encode())
        return whole.hexdigest()

    @property
    def age_band(self) -> str | None:
        """Ten-year band; one band from 90 up, as the HIPAA Safe Harbor rule asks."""
        if self.row.age is None:
            return None
        decade = self.row.age // 10 * 10
        return f"{decade}-{decade + 9}" if decade < 90 else "90+"


def count_rows(manifest: Path) -> int:
    """Count the rows, for a progress bar; blank lines and the header are not rows."""
    return sum(1 for number, line in _lines(manifest) if line.strip() and not _is_header(number, line))


def read_manifest(manifest: Path) -> Iterator[ManifestStudy | Quarantined]:
    """Read row by row; a bad row comes out as `Quarantined` in its place.

    Raises InvalidManifest when the file cannot be read or its header is of another version.
    """
    defaults: dict[str, Any] = {}
    seen: set[str] = set()
    for number, line in _lines(manifest):
        if _is_header(number, line):
            defaults = _defaults(line)
            continue
        if not line.strip():
            continue
        study = _study(number, line, defaults, manifest.parent)
        if isinstance(study, ManifestStudy):
            if study.case_id in seen:
                what = "the case id stands on an earlier line"
                study = Quarantined(line=number, case_id=study.case_id, code="DUPLICATE_CASE", what=what)
            else:
                seen.add(study.case_id)
        yield study


def _lines(manifest: Path) -> Iterator[tuple[int, bytes]]:
    """Numbered lines as bytes, so that one line of another encoding spoils only itself; long ones come cut."""
    if not manifest.is_file():
        raise InvalidManifest(f"{manifest} is no file", fix="give a JSONL file; it is read more than once")
    try:
        with manifest.open("rb") as rows:
            number = 0
            while line := rows.readline(MAX_LINE + 1):
                number += 1
                rest = line
                while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
                    rest = rows.readline(MAX_LINE + 1)
                yield number, line
    except OSError as error:
        raise InvalidManifest(f"cannot read the manifest {manifest}", fix="check the path") from error


def _is_header(number: int, line: bytes) -> bool:
    return number == 1 and b'"prelim_manifest"' in line


def _defaults(line: bytes) -> dict[str, Any]:
    try:
        header = json.loads(line)
        version, defaults = header["prelim_manifest"], dict(header.get("defaults", {}))
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidManifest("the first line is no manifest header", fix="see README, Your own cases") from error
    if version != 1:
        raise InvalidManifest(f"manifest version {version!r} is not read here", fix="write version 1")
    return defaults


def _study(number: int, line: bytes, defaults: dict[str, Any], folder: Path) -> ManifestStudy | Quarantined:
    if len(line) > MAX_LINE:
        return Quarantined(line=number, case_id=None, code="ROW_TOO_LONG", what=f"over {MAX_LINE} bytes")
    try:
        fields = json.loads(line)
        # NUL ends a path early, and a lone surrogate can be written to no file.
        if "\\u0000" in json.dumps(fields) or not json.dumps(fields, ensure_ascii=False).encode():
            raise ValueError("NUL")
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return Quarantined(line=number, case_id=None, code="NOT_JSON", what="the line is not clean JSON in UTF-8")
    if not isinstance(fields, dict):
        return Quarantined(line=number, case_id=None, code="NOT_A_ROW", what="the line is not a JSON object")
    named = fields.get("case_id")
    # An id is repeated only if it could be one: anything else may be text of the row.
    case_id = named if isinstance(named, str) and _IDENTIFIER.fullmatch(named) else None
    try:
        row = ManifestRow.model_validate(defaults | fields)
    except ValidationError as error:
        # Known field names and kinds of error only: values, and names of unknown fields, may be report text.
        problems = [(_location(e["loc"]), e["type"]) for e in error.errors(include_input=False)]
        attested = any(location.startswith("deidentified") for location, _ in problems)
        what = "; ".join(f"{location}: {kind}" for location, kind in problems[:5])
        return Quarantined(
            line=number, case_id=case_id, code="NO_ATTESTATION" if attested else "INVALID_ROW", what=what
        )
    report = row.report.read()
    if not (report.findings or report.impression):
        what = "the report has neither findings nor impression"
        return Quarantined(line=number, case_id=row.case_id, code="EMPTY_REPORT", what=what)
    return ManifestStudy(
        line=number,
        case_id=CaseId(row.case_id),
        patient_key=PatientKey(row.patient_key),
        study_instance_uid=None if row.study_instance_uid is None else StudyUid(row.study_instance_uid),
        row=row,
        paths=tuple(str(folder / image.path) for image in row.images),
        report=report,
    )


def _location(parts: tuple[int | str, ...]) -> str:
    return ".".join(str(part) if isinstance(part, int) or part in _FIELDS else "unknown field" for part in parts)


_IDENTIFIER = re.compile(r"[\w.:/@+-]{1,256}")
_FIELDS = frozenset(
    name for row in (ManifestRow, ManifestImage, ManifestReport, Attestation) for name in row.model_fields
)
