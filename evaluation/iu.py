"""The Indiana University chest radiographs as measured here: studies with images, report text and coded heads.

Reads the local copy of the collection (Demner-Fushman et al., JAMIA 23:304, 2016; Open-i) under the folder that
PRELIM_DATA names: iu256/cases.jsonl, one study a line, and iu256/images. For internal measurement only (CC BY-NC-ND
4.0): nothing from it is copied into this repository, an index that is shipped, or a log. No pixel is opened here.

The collection has no patient ids. `fold` keeps studies with the same findings text together instead, because a report
written word for word twice would otherwise be found in the index and counted as a good draft.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from retrieval.errors import InvalidManifest, MissingData
from retrieval.records import CaseId, Record, ViewPosition, view_group

FOLDS = 5
_VIEWS: dict[str, ViewPosition] = {"frontal": "FRONTAL", "lateral": "LATERAL"}


class IuImage(Record):
    """One radiograph of a study."""

    path: Path
    """The image file; not opened, so it may be missing or damaged."""
    view: ViewPosition
    """FRONTAL or LATERAL, as the collection says; it does not tell PA from AP. UNKNOWN for anything else."""


class IuStudy(Record):
    """One study of the collection with its reference report."""

    case_id: CaseId
    """The collection's own study id."""
    images: tuple[IuImage, ...]
    """In the collection's order, which is not frontal first."""
    findings: str
    """Findings section as written, stripped; empty when the report has none."""
    impression: str
    """Impression section as written, stripped; empty when the report has none."""
    indication: str
    """Indication as written, stripped; empty when the report has none."""
    heads: frozenset[str]
    """Head terms of the MeSH codes given by hand, or `normal`."""

    @property
    def frontals(self) -> tuple[Path, ...]:
        """Files of the frontal images; empty when the study has only lateral ones."""
        return tuple(image.path for image in self.images if view_group(image.view) == "frontal")

    @property
    def fold(self) -> int:
        """Which fold it is measured in, from 0 to 4."""
        return fold(self.findings, self.case_id)


def data_folder() -> Path:
    """The folder that PRELIM_DATA names; raises MissingData without it."""
    named = os.environ.get("PRELIM_DATA")
    if not named:
        raise MissingData("PRELIM_DATA is not set", fix="set it to the folder that holds iu256/ and radiographs/")
    return Path(named).resolve()


def read_studies(data: Path) -> tuple[IuStudy, ...]:
    """Every study of data/iu256/cases.jsonl, in file order.

    Raises MissingData when the file or the image folder is not there, and InvalidManifest, with the line number and
    without its text, for a line that is not a study or repeats a case id.
    """
    folder = data / "iu256"
    for part in (folder / "cases.jsonl", folder / "images"):
        if not part.exists():
            raise MissingData(
                f"there is no {part}",
                fix="set PRELIM_DATA to the folder that holds iu256/cases.jsonl and iu256/images",
            )
    studies: dict[CaseId, IuStudy] = {}
    with (folder / "cases.jsonl").open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                study = _study(json.loads(line), folder)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                # Pydantic and json quote their input, and the input is report text.
                raise InvalidManifest(
                    f"line {number} of {folder / 'cases.jsonl'} is not a study ({type(error).__name__})",
                    fix="restore the file",
                ) from None
            if study.case_id in studies:
                raise InvalidManifest(f"line {number} repeats the study {study.case_id}", fix="restore the file")
            studies[study.case_id] = study
    return tuple(studies.values())


def heads(labels: Iterable[str]) -> frozenset[str]:
    """The head terms of coded findings: "Opacity/lung/base" and "Opacity, nodular" are both Opacity.

    Qualifiers (place, degree, number) are too rare one by one to measure with.
    """
    terms = (label.split("/", 1)[0].split(",", 1)[0].strip() for label in labels)
    return frozenset(term for term in terms if term)


def fold(findings: str, case_id: str) -> int:
    """Fold 0 to 4 from a hash of the findings, so that the same words, in any case and spacing, share a fold.

    A study without findings is placed by its case id. Depends on nothing else: adding studies moves none.
    """
    words = " ".join(findings.lower().split()) or case_id
    return int(hashlib.sha256(words.encode()).hexdigest(), 16) % FOLDS


def _study(row: dict[str, object], folder: Path) -> IuStudy:
    """One line as a study; raises what json and pydantic raise."""
    report, images, labels = row["report"], row["images"], row["labels"]
    if not isinstance(report, dict) or not isinstance(images, list) or not isinstance(labels, list):
        raise TypeError("report, images or labels")
    return IuStudy(
        case_id=CaseId(str(row["case_id"])),
        images=tuple(IuImage(path=folder / i["file"], view=_VIEWS.get(i["view"], "UNKNOWN")) for i in images),
        findings=(report["findings"] or "").strip(),
        impression=(report["impression"] or "").strip(),
        indication=(report["indication"] or "").strip(),
        heads=heads(labels),
    )
