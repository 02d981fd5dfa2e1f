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
    """What else is asked of its draft."""


class BadLine(Record):
    """A line of a manifest that names no study."""

    study: str
    """`line N`: a bad line has no name that could be trusted."""
    what: str
    """What is wrong with it, without its text."""


def studies_in(source: Path) -> Iterator[BulkStudy | BadLine]:
    """Every study of a folder or a manifest; raises InvalidManifest for what is neither, or names a study twice."""
    seen: set[str] = set()
    for study in _in_folder(source) if source.is_dir() else _in_manifest(source):
        if study.study in seen:
            raise InvalidManifest(
                f"a study is named twice, the second time as number {len(seen) + 1}",
                fix="give every line a name of its own",
            )
        seen.add(study.study)
        yield study


def _in_folder(folder: Path) -> Iterator[BulkStudy]:
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not found:
        raise InvalidManifest(
            "the folder is empty", fix="put each study into a sub-folder, or each image beside others"
        )
    for path in found:
        if path.is_dir() or path.is_file():
            yield BulkStudy(study=path.name, images=(str(path.resolve()),))


def _in_manifest(manifest: Path) -> Iterator[BulkStudy | BadLine]:
    try:
        with manifest.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _study(line, number, manifest.parent)
    except OSError as error:
        raise InvalidManifest(
            f"{manifest} is neither a folder of studies nor a manifest", fix="see `prelim bulk --help`"
        ) from error


def _study(line: str, number: int, base: Path) -> BulkStudy | BadLine:
    name = f"line {number}"
    if len(line) > LONGEST_LINE:
        return BadLine(study=name, what=f"it has more than {LONGEST_LINE} characters")
    try:
        study = BulkStudy.model_validate(json.loads(line))
    except ValidationError as error:
        fields = {".".join(str(part) for part in fault["loc"] if part in _KNOWN) for fault in error.errors()}
        return BadLine(study=name, what=f"not as they must be: {', '.join(sorted(filter(None, fields))) or 'fields'}")
    except ValueError:  # of json; also a RecursionError's cousin, a text that nests too deep
        return BadLine(study=name, what="it is no JSON")
    except RecursionError:
        return BadLine(study=name, what="it is nested too deep")
    return study.model_copy(update={"images": tuple(str((base / image).resolve()) for image in study.images)})


_KNOWN: Final = frozenset({*BulkStudy.model_fields, *DraftRequest.model_fields})
"""Names that may be repeated in a message; those a line made up may not."""
