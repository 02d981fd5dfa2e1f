"""`prelim-evaluate calibrate`: an expert's calibration from labelled images, as the file that is kept beside it.

Images are read as the service reads them, in decoder processes and at the size that experts get, scored, and put to
`generation/experts/fitting.py`. With `--scores` what the expert said is kept, so that a run that was stopped goes on
and another choice of method needs no image again. Nothing of a patient is printed: counts and figures only.

    prelim-evaluate calibrate --expert xrv:xrv-all --manifest validation.csv --out xrv-all/calibration.json

What was run: drawn images with random weights. No real weights of an expert were at hand.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from evaluation.figures_table import figures_table
from evaluation.labelled_images import LabelledImage, read_labelled, truth_table
from generation.experts.calibration import Calibration, write_calibration
from generation.experts.expert import Expert, Logits
from generation.experts.fitting import fit
from generation.experts.named import load_expert
from retrieval.errors import CalibrationMismatch, PrelimError
from retrieval.pixels.kept import packed, unpacked
from retrieval.pixels.sandbox import Readers
from retrieval.terminal import plain

AT_ONCE: Final = 16
"""Images of one forward pass."""


class Scored(NamedTuple):
    """What an expert said of a collection."""

    images: list[LabelledImage]
    """Those that could be read."""
    raw: Logits
    """images x labels."""
    refused: Counter[str]
    """How many could not be read, by error code."""


def add_calibrate(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand to `prelim-evaluate`."""
    adding = commands.add_parser("calibrate", help="an expert's calibration from labelled images")
    adding.add_argument("--expert", required=True, help="xrv:FOLDER or zero-shot:ENCODER")
    adding.add_argument("--manifest", required=True, type=Path, help="CSV or JSON lines with path and labels")
    adding.add_argument(
        "--out", required=True, type=Path, help="the file to write: calibration.json beside the weights"
    )
    adding.add_argument("--scores", type=Path, help="where scores are kept: JSON lines, used again where they exist")
    adding.add_argument("--collection", help="what the file shall call the collection (default: the manifest's name)")
    adding.add_argument("--method", choices=("platt", "temperature"), default="platt")
    adding.add_argument("--device", default="cpu")
    adding.add_argument("--json", action="store_true", help="the calibration as JSON")


def calibrate(options: argparse.Namespace, console: Console) -> int:
    """Run the subcommand; returns the exit status."""
    # 1. The expert by itself: a calibration that lies beside it is about to be replaced.
    expert = load_expert(options.expert, calibration="none", device=options.device)
    images = read_labelled(options.manifest)
    # 2. What it says of every image.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    errors = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=errors) as progress:
        scoring = progress.add_task("scoring", total=len(images))
        scored = score(expert, images, options.scores, lambda done: progress.update(scoring, advance=done))
    for code, number in sorted(scored.refused.items()):
        errors.print(plain(f"{number} of {len(images)} images were left out: {code}"))
    # 3. The line and the thresholds of every label.
    calibration = fit(
        scored.raw,
        truth_table(scored.images, expert.labels),
        expert.uncalibrated(scored.raw),
        labels=[label.name for label in expert.labels],
        expert=expert.weights,
        collection=options.collection or options.manifest.name,
        method=options.method,
    )
    write_calibration(calibration, options.out)
    # 4. What became of it.
    if options.json:
        sys.stdout.write(calibration.model_dump_json(indent=2) + "\n")
    else:
        console.print(calibration_table(calibration))
        console.print(plain(f"calibration: {options.out}"))
    return 0


def score(
    expert: Expert, images: Sequence[LabelledImage], kept: Path | None, on_images: Callable[[int], None]
) -> Scored:
    """Put every image to the expert that `kept` has no scores of; an image that cannot be read is left out."""
    known = _read_scores(kept, expert) if kept else {}
    ahead = [image for image in images if str(image.path) not in known]
    on_images(len(images) - len(ahead))
    refused: Counter[str] = Counter()
    with Readers(packed, workers=os.cpu_count() or 1) as readers:
        for first in range(0, len(ahead), AT_ONCE):
            some = ahead[first : first + AT_ONCE]
            read = readers.read([str(image.path) for image in some])
            prepared: dict[str, NDArray[Any]] = {}
            for image, reading in zip(some, read, strict=True):
                if isinstance(reading, PrelimError):
                    refused[reading.code] += 1
                else:
                    prepared[str(image.path)] = expert.prepare(unpacked(reading.prepared))
            if prepared:
                new = dict(zip(prepared, expert.run(np.stack(list(prepared.values()))), strict=True))
                known |= new
                if kept:
                    _append_scores(kept, expert, new)
            on_images(len(some))
    found = [image for image in images if str(image.path) in known]
    rows = [known[str(image.path)] for image in found]
    return Scored(found, np.stack(rows) if rows else np.zeros((0, len(expert.labels))), refused)


def calibration_table(calibration: Calibration) -> Table:
    """One row a label: how far the expert's own probabilities were off, and what the thresholds reach."""
    table = figures_table(
        f"{calibration.expert} on {calibration.collection}, {calibration.studies} images, {calibration.method}",
        "", "images", "with it", "Brier", "after", "ECE", "after", "absent below", "present from", "NPV", "precision",
    )  # fmt: skip
    for name, label in calibration.labels.items():
        figures = (label.brier_before, label.brier_after, label.ece_before, label.ece_after)
        table.add_row(
            name,
            str(label.studies),
            str(label.positives),
            *(f"{figure:.3f}" for figure in figures),
            f"{label.absent_below:.3f}" if label.absent_below > 0 else "never",
            f"{label.present_above:.3f}" if label.present_above < 1 else "never",
            _share(label.negative_predictive_value),
            _share(label.precision),
        )
    if calibration.too_few:
        few = ", ".join(f"{name} {positives}" for name, positives in calibration.too_few.items())
        table.caption = f"too few examples, never settled (images with it): {few}"
    return table


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _read_scores(kept: Path, expert: Expert) -> dict[str, NDArray[np.float64]]:
    """What an earlier run kept; a line may be torn, because that run may have been stopped while writing it."""
    known: dict[str, NDArray[np.float64]] = {}
    for line in kept.read_text(encoding="utf-8").splitlines() if kept.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if row["expert"] != expert.weights:
            raise CalibrationMismatch(
                f"{kept} has scores of {row['expert']}, and this expert is {expert.weights}",
                fix="name another file, or take this one away",
            )
        known[row["path"]] = np.array([row["raw"][label.name] for label in expert.labels], np.float64)
    return known


def _append_scores(kept: Path, expert: Expert, new: dict[str, NDArray[np.float64]]) -> None:
    names = [label.name for label in expert.labels]
    with kept.open("a", encoding="utf-8") as file:
        for path, row in new.items():
            raw = dict(zip(names, row.tolist(), strict=True))
            # The break comes first, so that a line that was torn takes no other with it.
            file.write("\n" + json.dumps({"expert": expert.weights, "path": path, "raw": raw}))
