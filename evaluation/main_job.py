"""The main job on real input: index everything, then gate, search and draft what a hospital would send.

All of the IU studies are indexed by the product's own command. Every DICOM file of the collection is drafted. Two
hundred images that are no chest radiograph must be refused, and nearly no real one may be: an IU image is judged
against an index without its own study, an NIH image against an index of another source.
"""

import csv
import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.iu import read_studies
from evaluation.off_scope import CORRUPTIONS, corrupted, off_scope_images
from generation.summary import keep_summary
from indexing.build import BuildReport, build
from indexing.wiring import extractor, readers, writing
from retrieval.errors import PrelimError
from retrieval.records import Record
from retrieval.study import assemble
from service.desk import Desk
from service.wiring import open_desk

GENERATED, SPOILT = 100, 100
"""Two hundred images that are no chest radiograph: drawn ones, and real ones spoilt beyond use."""


class DicomOutcome(Record):
    """What became of one DICOM file."""

    file: str
    """Relative to the collection's DICOM folder."""
    status: str
    """drafted, abstained, or the code of an error."""
    reason: str | None
    """Why there is no draft."""
    view: str
    """As the header says; UNKNOWN when it says nothing."""
    sentences: int
    """In the draft."""
    abnormal: int
    """Of these, how many state something abnormal."""


class Refused(Record):
    """How many images of one kind were refused."""

    refused: int
    """With a reason."""
    asked: int
    """Images of that kind."""
    reasons: dict[str, int]
    """By reason code."""


class MainJobReport(Record):
    """Everything measured."""

    build: BuildReport
    """Of all IU studies."""
    dicom: list[DicomOutcome]
    """Every DICOM file."""
    off_scope: dict[str, Refused]
    """By kind: drawn, and real ones spoilt."""
    off_scope_share: float
    """Of all of them, refused."""
    chests: dict[str, Refused]
    """Real chest radiographs by source and view. The gate's scope was learned from 2,000 of the IU images: NIH is the
    figure for images it has not seen."""


def measure_main_job(data: Path, workers: int) -> MainJobReport:
    """Run everything; about ten minutes on two cores. Raises MissingData."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        index = str(folder / "index")
        manifest = write_iu_manifest(data, folder / "iu.jsonl")
        with readers(workers) as reading, writing(index, manifest, workers=workers) as (opened, known):
            report, _ = build(manifest, opened.store, opened.encoder, reading, extractor(), known=known)
            keep_summary(opened)
        with open_desk(index, workers=workers) as desk:
            dicom = [_dicom(desk, data, file) for file in _dicom_files(data)]
            iu = {f"iu {view.lower()}": _refused(desk, paths) for view, paths in _iu_images(data).items()}
            nih = {"nih": _refused(desk, _nih_images(data))}
            strange = _off_scope(folder / "strange", data)
            off_scope = {kind: _refused(desk, paths) for kind, paths in strange.items()}
    asked, refused = sum(r.asked for r in off_scope.values()), sum(r.refused for r in off_scope.values())
    return MainJobReport(
        build=report, dicom=dicom, off_scope=off_scope, off_scope_share=refused / asked, chests=iu | nih
    )


def write_iu_manifest(data: Path, manifest: Path) -> Path:
    """Write a manifest over the IU studies, images by absolute path; for internal measurement, never for shipping."""
    defaults = {
        "source": "Indiana University Chest X-ray Collection",
        "licence": "CC BY-NC-ND 4.0, internal measurement only",
        "deidentified": {
            "attested_by": "Open-i, U.S. National Library of Medicine",
            "method": "published de-identified",
        },
    }
    with manifest.open("w", encoding="utf-8") as rows:
        rows.write(json.dumps({"prelim_manifest": 1, "defaults": defaults}) + "\n")
        for study in read_studies(data):
            row = {
                "case_id": study.case_id,
                "patient_key": study.case_id,  # the collection has no patient ids
                "images": [{"path": str(image.path.resolve()), "view": image.view} for image in study.images],
                "report": {
                    "indication": study.indication,
                    "findings": study.findings,
                    "impression": study.impression,
                },
                "labels": sorted(study.heads),
            }
            rows.write(json.dumps(row) + "\n")
    return manifest


def _dicom_files(data: Path) -> Iterator[str]:
    with (data / "radiographs" / "dicom" / "manifest.csv").open(newline="", encoding="utf-8") as rows:
        for row in csv.DictReader(rows):
            yield row["file"]


def _dicom(desk: Desk, data: Path, file: str) -> DicomOutcome:
    try:
        read = desk.read([data / "radiographs" / file], view=None, patient_key=None)
        draft = desk.drafter.draft(read)
    except PrelimError as error:
        return DicomOutcome(file=file, status=error.code, reason=None, view="UNKNOWN", sentences=0, abnormal=0)
    return DicomOutcome(
        file=file,
        status=draft.status,
        reason=draft.reason,
        view=read.study.images[0].attributes.view,
        sentences=len(draft.sentences),
        abnormal=sum(sentence.abnormal for sentence in draft.sentences),
    )


def _iu_images(data: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for study in read_studies(data):
        for image in study.images:
            found.setdefault(image.view, []).append(str(image.path))
    return found


def _nih_images(data: Path) -> list[str]:
    with (data / "nih" / "cases.jsonl").open(encoding="utf-8") as rows:
        return [str(data / "nih" / json.loads(row)["file"]) for row in rows]


def _off_scope(folder: Path, data: Path) -> dict[str, list[str]]:
    """Write the two hundred as PNG files, by kind; spoilt ones are made of NIH images and never leave `folder`."""
    folder.mkdir()
    kinds: dict[str, list[str]] = {}

    def keep(kind: str, image: NDArray[np.uint8]) -> None:
        path = folder / f"{sum(map(len, kinds.values())):04d}.png"
        Image.fromarray(image).save(path)
        kinds.setdefault(kind, []).append(str(path))

    for kind, image in off_scope_images(GENERATED):
        keep(kind, image)
    for number, path in enumerate(_nih_images(data)[:SPOILT]):
        kind = CORRUPTIONS[number % len(CORRUPTIONS)]
        with Image.open(path) as chest:
            keep(f"spoilt: {kind}", corrupted(np.asarray(chest.convert("L")), kind, number))
    return kinds


def _refused(desk: Desk, paths: Sequence[str]) -> Refused:
    """Judge each image as a study of its own, of unknown view: nothing but its pixels speaks for it."""
    reasons: Counter[str] = Counter()
    for reading in desk.readers.read(paths):
        if isinstance(reading, PrelimError):
            reasons[reading.code] += 1
        else:
            verdict = desk.drafter.similar_cases(assemble([reading]), limit=1).verdict
            if not verdict.in_scope:
                reasons[verdict.reason or ""] += 1
    return Refused(refused=reasons.total(), asked=len(paths), reasons=dict(reasons))
