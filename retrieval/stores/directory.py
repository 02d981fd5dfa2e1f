"""Files that are there as a whole or not at all, and errors of the file system in Prelim's words.

Nothing here knows what is in the files.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from retrieval.errors import OperatorError, StoreCorrupt, StoreFull, StoreUnavailable
from retrieval.stores.documents import REPAIR

PARTIAL = ".partial"
"""Ending of a file that is being written; what a killed writer left of it is deleted by the next."""


@contextlib.contextmanager
def answering(what: str) -> Iterator[None]:
    """Raise StoreFull without room, OperatorError without permission, StoreUnavailable for any other refusal."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull(f"no room for {what}", fix="make room, then call again") from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            # Nothing changes by waiting: not for those who try again.
            raise OperatorError(
                f"{what}: {error.strerror}", fix="give this account permission to read and write the index folder"
            ) from error
        raise StoreUnavailable(f"{what}: {error.strerror or error}", fix="check the path") from error


def replace(path: Path, body: bytes) -> None:
    """Write a file in one step, durable on return; raises OSError with the old file untouched."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        with partial.open("wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise
    # The new name is on the disk only when the directory is.
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file or directory is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def faults(directory: Path, checksums: Mapping[str, str]) -> list[str]:
    """Every file that is missing, unreadable or different from its checksum, by reading all of them."""
    found = []
    for name, expected in sorted(checksums.items()):
        file = f"{directory.name}/{name}"
        try:
            if checksum(directory / name) != expected:
                found.append(f"{file} does not match its checksum")
        except FileNotFoundError:
            found.append(f"{file} is missing")
        except OSError as error:
            found.append(f"{file} cannot be read: {error.strerror}")
    return found


def corrupt(file: str) -> StoreCorrupt:
    """The error for a file whose inside does not hold."""
    return StoreCorrupt(f"{file} is damaged", fix=REPAIR)
