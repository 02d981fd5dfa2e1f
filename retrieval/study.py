"""Files to a study: one file, several files or a folder, every view of one study of one patient.

What goes in is paths; what comes out is the `Study` record with, for each image, what the encoder prepared, what the
gate looks at and, for readers that keep them, its pixels. A folder may hold files that are no images (a DICOMDIR, a
text file): they are named in the warnings and left out. A folder that mixes studies or patients is an error, never a
guess.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.errors import InvalidStudy, PrelimError
from retrieval.pixels import Pixels
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.pixels.statistics import PixelStatistics
from retrieval.records import NOTHING_TOLD, PatientKey, Study, StudyImage, Told, ViewPosition, view_group

MAX_IMAGES = 64
"""Images of one study; more than this is a folder of studies handed in by mistake."""
_NO_MARKUP = str.maketrans(dict.fromkeys("<>[]{}|\uff1c\uff1e\uff5c\uff3b\uff3d", "?"))
"""A draft's warnings may be read by programs: no file name may look like markup or a control token there."""


@dataclass(frozen=True)
class ReadStudy:
    """A study with what was read from its images, all in the order of `study.images`."""

    study: Study
    prepared: tuple[NDArray[Any], ...]
    """What the encoder's `prepare` made of each image."""
    statistics: tuple[PixelStatistics, ...]
    looks: tuple[NDArray[np.float32], ...]
    """What `look` made of each image, for the gate."""
    warnings: tuple[str, ...]
    """Files that were left out, by name and error code."""
    pixels: tuple[Pixels, ...] = ()
    """Display-ready grey of each image, for experts and language models; empty when the readers did not keep it."""

    def only(self, kept: Sequence[int], images: Sequence[StudyImage]) -> "ReadStudy":
        """The same study with only the images at these places, as given in `images`, frontal ones first."""
        order = sorted(range(len(kept)), key=lambda n: view_group(images[n].attributes.view) != "frontal")
        study = self.study.model_copy(update={"images": tuple(images[n] for n in order)})
        places = [kept[n] for n in order]
        return ReadStudy(
            study,
            tuple(self.prepared[n] for n in places),
            tuple(self.statistics[n] for n in places),
            tuple(self.looks[n] for n in places),
            self.warnings,
            tuple(self.pixels[n] for n in places) if self.pixels else (),
        )

    def batch(self) -> NDArray[Any]:
        """The prepared images stacked, images first: what an encoder runs on."""
        return np.stack(self.prepared)


def read_study(
    paths: Sequence[Path],
    readers: Readers,
    *,
    view: ViewPosition | None = None,
    patient_key: PatientKey | None = None,
    told: Told = NOTHING_TOLD,
) -> ReadStudy:
    """Read files and folders as one study.

    `view`, `patient_key` and `told` come from the request. The view is for images whose header says none: a file knows
    better which of several views it is; the others win over the header. Raises the image's own error when no file is
    readable, InvalidStudy when a path cannot be looked at, there is no file, there are too many, the images belong to
    several studies, or a prior has no text: a draft would then believe in a comparison that nobody can make.
    """
    files = _files(paths)
    readings: list[Reading] = []
    faults: list[tuple[Path, PrelimError]] = []
    for file, result in zip(files, readers.read([str(f) for f in files]), strict=True):
        if isinstance(result, PrelimError):
            faults.append((file, result))
        else:
            readings.append(result)
    if not readings:
        raise faults[0][1]
    warnings = tuple(f"{_shown(file.name).translate(_NO_MARKUP)} was left out: {fault.code}" for file, fault in faults)
    return assemble(readings, view=view, patient_key=patient_key, told=told, warnings=warnings)


def assemble(
    readings: Sequence[Reading],
    *,
    view: ViewPosition | None = None,
    patient_key: PatientKey | None = None,
    told: Told = NOTHING_TOLD,
    warnings: tuple[str, ...] = (),
) -> ReadStudy:
    """Make one study of images that were read; arguments and errors as in `read_study`."""
    if not all(any(map(str.isalnum, prior.text)) for prior in told.priors):
        raise InvalidStudy("an earlier study has no text", fix="give its report, or leave it out")
    pairs = [(reading, _image(reading, view)) for reading in readings]
    pairs.sort(key=lambda pair: view_group(pair[1].attributes.view) != "frontal")  # stable
    ordered, images = [reading for reading, _ in pairs], tuple(image for _, image in pairs)
    _same("studies", [r.attributes.study_instance_uid for r in ordered])
    _same("patients", [r.attributes.patient_key for r in ordered])
    header = images[0].attributes
    study = Study(
        images=images,
        study_instance_uid=header.study_instance_uid,
        patient_key=patient_key or header.patient_key,
        indication=told.indication or header.indication,
        technique=told.technique,
        comparison=told.comparison,
        priors=told.priors,
    )
    statistics = tuple(r.statistics for r in ordered if r.statistics is not None)
    if len(statistics) < len(ordered):
        raise ValueError("a study is read by readers that look")
    return ReadStudy(
        study,
        tuple(r.prepared for r in ordered),
        statistics,
        tuple(r.look for r in ordered),
        warnings,
        tuple(r.pixels for r in ordered if r.pixels is not None),
    )


def _files(paths: Sequence[Path]) -> list[Path]:
    files = list(islice(chain.from_iterable(map(_files_at, paths)), MAX_IMAGES + 1))
    if not files:
        raise InvalidStudy("there is no file in the folder", fix="give a folder with the images of one study")
    if len(files) > MAX_IMAGES:
        raise InvalidStudy(f"more than {MAX_IMAGES} files are more than one study", fix=f"give at most {MAX_IMAGES}")
    return files


def _files_at(path: Path) -> Iterator[Path]:
    """The path itself or, for a folder, its files at any depth, in order."""
    try:
        folder = stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: text that can be no path
        raise InvalidStudy(
            f"there is no file {_shown(str(path))}", fix="check the path", unquoted="there is no such file"
        ) from None
    except OSError as error:
        raise _locked(path, error) from error
    # A folder of too many files is not read to its end: one more than allowed is enough to say so.
    yield from sorted(islice(_inside(path), MAX_IMAGES + 1)) if folder else [path]


def _inside(top: Path) -> Iterator[Path]:
    """Regular files below a folder, in no order; not hidden ones, and not what links to folders lead to."""
    folders = [top]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(Path(entry.path))
                    elif entry.is_file() and not entry.name.startswith("."):
                        yield Path(entry.path)
        except OSError as error:
            raise _locked(Path(error.filename or folder), error) from error


def _locked(path: Path, error: OSError) -> InvalidStudy:
    why = f"cannot be looked at: {error.strerror or type(error).__name__}"
    fix = "give it read permission, or give the paths of the images"
    return InvalidStudy(f"{_shown(str(path))} {why}", fix=fix, unquoted=f"a file {why}")


def _shown(name: str) -> str:
    """A file name that can be printed and written as JSON: names may hold control characters and bytes of no text."""
    return "".join(c if c.isprintable() else "?" for c in name)


def _same(what: str, values: Sequence[str | None]) -> None:
    if len({v for v in values if v is not None}) > 1:
        raise InvalidStudy(f"the images belong to several {what}", fix="give the images of one study")


def _image(reading: Reading, view: ViewPosition | None) -> StudyImage:
    attributes = reading.attributes
    if view is not None and attributes.view == "UNKNOWN":
        attributes = attributes.model_copy(update={"view": view, "view_source": "request"})
    return StudyImage(path=reading.path, digest=reading.digest, attributes=attributes)
