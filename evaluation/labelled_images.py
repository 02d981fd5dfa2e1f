"""Labelled images from a manifest: which file, and which concepts are there, are not, or nobody knows.

A manifest is CSV or JSON lines. `file`, or else `path`, is relative to the manifest's folder: where both stand, the
path is the origin's. `view`, where it stands, keeps lateral images out. What is there stands in one of two ways:

    labels      a list of the findings that are there (JSON), or one text with | between them (CSV): findings that the
                collection names elsewhere are not there, and of those it never names nobody knows
    by label    an object (JSON) or a column for each label (CSV): 1 is there, 0 or nothing is not, -1 is left open

Labels are CheXpert's and ChestX-ray14's (`generation/experts/labels.py`); others are passed over. What is in an image
is not known here.
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from generation.experts.fitting import Truth
from generation.experts.labels import Label, concept_of
from retrieval.errors import InvalidManifest
from retrieval.mentions import ConceptId
from retrieval.records import ViewPosition, view_group

_OPEN: Final = -1.0
"""CheXpert's number for what a report leaves open: neither there nor not there."""


class LabelledImage(NamedTuple):
    """One image and what is known of it."""

    path: Path
    """The image file."""
    truth: Mapping[ConceptId, bool]
    """Of the concepts of which somebody knows."""


def read_labelled(manifest: Path) -> list[LabelledImage]:
    """The frontal images of a manifest in its order; raises InvalidManifest when it cannot be read or has none."""
    rows = [_lowered(row) for row in _rows(manifest)]
    images = [(manifest.parent / _path(row, manifest), _stated(row)) for row in rows if _frontal(row)]
    named = {concept for _, (stated, _) in images for concept in stated}
    found = [
        LabelledImage(path, stated if whole else {c: False for c in named} | dict(stated))
        for path, (stated, whole) in images
    ]
    if not found:
        raise InvalidManifest(f"{manifest} names no frontal image", fix="give rows with path and labels")
    return found


def truth_table(images: Sequence[LabelledImage], labels: Sequence[Label]) -> Truth:
    """Images x labels: 1, 0, or NaN where nobody knows."""
    known = [[image.truth.get(label.concept) for label in labels] for image in images]
    return np.array([[np.nan if has is None else float(has) for has in row] for row in known], np.float64)


def _rows(manifest: Path) -> Iterable[Mapping[str, Any]]:
    try:
        text = manifest.read_text(encoding="utf-8-sig")
        if manifest.suffix.lower() == ".csv":
            return list(csv.DictReader(text.splitlines()))
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidManifest(f"{manifest} cannot be read", fix="give CSV with a header, or JSON lines") from error
    if not all(isinstance(row, dict) for row in rows):
        raise InvalidManifest(f"{manifest} has lines that are no objects", fix="give one object a line")
    return rows


def _lowered(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with its columns in lower case: CheXpert writes `Path`."""
    # csv puts the cells that no column stands above under None.
    return {str(name).strip().lower(): value for name, value in row.items() if str(name) != "None"}


def _path(row: Mapping[str, Any], manifest: Path) -> str:
    found = row.get("file") or row.get("path")
    if not isinstance(found, str):
        raise InvalidManifest(f"{manifest} has rows without a path", fix="name the column `path`")
    return found


def _frontal(row: Mapping[str, Any]) -> bool:
    view: ViewPosition | None = row.get("view") or None
    return view is None or view_group(view) == "frontal"


def _stated(row: Mapping[str, Any]) -> tuple[dict[ConceptId, bool], bool]:
    """What a row says of concepts, and whether that is all anybody knows or only what is there."""
    named = row.get("labels")
    if isinstance(named, list | str):
        names = named.split("|") if isinstance(named, str) else named
        return {concept: True for name in names if (concept := concept_of(str(name)))}, False
    by_label: Mapping[str, Any] = named if isinstance(named, dict) else row
    values = {concept: value for name, value in by_label.items() if (concept := concept_of(name))}
    return {concept: value == 1 for concept, cell in values.items() if (value := _number(cell)) != _OPEN}, True


def _number(cell: object) -> float:
    try:
        number = float(str(cell).strip()) if cell not in (None, "") else 0.0
    except ValueError:
        number = float("nan")
    if number not in (1.0, 0.0, _OPEN):
        raise InvalidManifest("a label has a value that is none of 1, 0, -1 and nothing", fix="write one of these")
    return number
