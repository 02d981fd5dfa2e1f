"""What bulk drafting works through: a folder of studies, or a manifest that names them.

In a folder every sub-folder is a study, and every file that lies beside them is one of its own. In a manifest (JSONL)
every line is a study with its images and whatever else may be asked (`BulkStudy`). Studies come in a fixed order and
under names of their own, so that a run that was killed goes on where it was.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from retrieval.errors import InvalidManifest
from retrieval.record import Record
from service.request import DraftRequest

LONGEST_LINE: Final = 1_000_000
"""Characters of a line; longer ones are no study."""
LONGEST_NAME: Final = 500


class BulkStudy(Record):
    """One study of a bulk run."""

    study: str = Field(min_length=1, max_length=LONGEST_NAME)
    """Its name in the output; unique in the run."""
    images: tuple[str, ...] = Field(min_length=1, max_length=64)
    """Files or a folder, relative to the manifest."""
    request: DraftRequest = DraftRequest()
    """What else is asked of its draft; what is not said here is as the command says it."""


class BadLine(Record):
    """A line of a manifest, or a file, that names no study."""

    study: str
    """Such as `line 3`: a bad line has no name that could be trusted."""
    what: str
    """What is wrong with it, without its text."""


def count_studies(source: Path) -> int:
    """How many studies there are, bad lines among them; raises InvalidManifest where a run would be for nothing.

    That is for what is neither a folder nor a manifest, for a study that is named twice, and where no line is a study.
    """
    names: dict[str, int] = {}
    good = 0
    for number, study in enumerate(studies_in(source), 1):
        if study.study in names:
            raise InvalidManifest(
                f"study number {number} has the name of number {names[study.study]}",
                fix="give every study a name of its own",
            )
        names[study.study] = number
        good += isinstance(study, BulkStudy)
    if not good:
        raise InvalidManifest(
            f"{source} names no study", fix='one line each, such as {"study": "a", "images": ["a.dcm"]}, or a folder'
        )
    return len(names)


def studies_in(source: Path, usual: DraftRequest | None = None) -> Iterator[BulkStudy | BadLine]:
    """Every study of a folder or a manifest; what a study does not ask for itself is asked as `usual`."""
    usual = usual or DraftRequest()
    return _in_folder(source, usual) if source.is_dir() else _in_manifest(source, usual)


def _in_folder(folder: Path, usual: DraftRequest) -> Iterator[BulkStudy | BadLine]:
    try:
        # All of it now: later, where the folder's storage has gone away, what is left would look like nothing.
        visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
        found = [path for path in visible if path.is_dir() or path.is_file()]
    except OSError as error:
        raise InvalidManifest(f"{folder} cannot be looked at", fix="give it read permission") from error
    for number, path in enumerate(found, 1):
        try:
            yield BulkStudy(study=path.name, images=(str(path),), request=usual)
        except ValidationError:  # bytes of another encoding
            yield BadLine(study=f"entry {number}", what="its file name is no text")


def _in_manifest(manifest: Path, usual: DraftRequest) -> Iterator[BulkStudy | BadLine]:
    if not manifest.is_file():  # it is read twice, which a pipe is not
        raise InvalidManifest(
            f"{manifest} is neither a folder of studies nor a manifest", fix="see `prelim bulk --help`"
        )
    try:
        with manifest.open(encoding="utf-8-sig", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _study(line, number, manifest.parent, usual)
    except OSError as error:
        raise InvalidManifest(f"{manifest} cannot be read: {error.strerror}", fix="give it read permission") from error


def _study(line: str, number: int, base: Path, usual: DraftRequest) -> BulkStudy | BadLine:
    name = f"line {number}"
    if len(line) > LONGEST_LINE:
        return BadLine(study=name, what=f"it has more than {LONGEST_LINE} characters")
    try:
        study = BulkStudy.model_validate(json.loads(line))
    except ValidationError as error:
        fields = {".".join(str(part) for part in fault["loc"] if part in _KNOWN) for fault in error.errors()}
        return BadLine(study=name, what=f"not as they must be: {', '.join(sorted(filter(None, fields))) or 'fields'}")
    except ValueError:
        return BadLine(study=name, what="it is no JSON")
    except RecursionError:
        return BadLine(study=name, what="it is nested too deep")
    own = {field: getattr(study.request, field) for field in study.request.model_fields_set}
    return BulkStudy(
        study=study.study,
        images=tuple(str(base / image) for image in study.images),
        request=usual.model_copy(update=own),
    )


_KNOWN: Final = frozenset({*BulkStudy.model_fields, *DraftRequest.model_fields})
"""Names that may be repeated in a message; those a line made up may not."""
