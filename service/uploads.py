"""What is sent as files, on disk for as long as it is worked on, under limits and under names of our own.

A client's file name is never a path here and is never kept. Everything is counted while it comes in, so that too much
is refused before it is all there. Archives are not opened. How files travel is the faces' affair.
"""

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

from anyio import to_thread

from retrieval.errors import ImageTooLarge, InvalidStudy, StoreFull, UnsupportedImage
from retrieval.study import MAX_IMAGES
from service.temporary import upload_folder

MAX_FILE_BYTES: Final = 256 * 2**20
"""Of one file; a chest radiograph has less than 40 MB as it is stored."""
MAX_UPLOAD_BYTES: Final = 512 * 2**20
"""Of all files of one request, and of the request itself."""
MAX_BODY_BYTES: Final = 4 * 2**20
"""Of a request without files, such as a report to check with its similar cases."""
_CHUNK: Final = 2**20
_ARCHIVES: Final = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"7z\xbc\xaf",
    b"Rar!",
    b"\xfd7zXZ",
    b"\x28\xb5\x2f\xfd",
)
"""First bytes of zip, gzip, bzip2, 7z, rar, xz and zstandard files."""


class Incoming(Protocol):
    """One file as it comes in."""

    async def read(self, size: int, /) -> bytes:
        """The next bytes, `size` at most; none at the end."""
        ...


class Uploaded:
    """Files of one request in a folder of their own, until `remove`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: list[Path] = []
        """In the order sent."""

    def remove(self) -> None:
        """Delete the files; may be called twice, and from any thread."""
        shutil.rmtree(self.folder, ignore_errors=True)


def no_room() -> StoreFull:
    """What is told where the disk takes no more of what is sent."""
    return StoreFull("the images could not be put down", fix="make room for temporary files")


async def received(files: Sequence[Incoming], spool: Path | None = None) -> Uploaded:
    """The files on disk, below `spool` or the folder of this process; whoever calls has them removed.

    Raises InvalidStudy for no file or too many, ImageTooLarge, UnsupportedImage for an archive, StoreFull.
    """
    if not files:
        raise InvalidStudy("no image was sent", fix="send the images of one study as `images`")
    if len(files) > MAX_IMAGES:
        raise InvalidStudy(f"more than {MAX_IMAGES} images are more than one study", fix=f"send at most {MAX_IMAGES}")
    try:
        uploaded = Uploaded(upload_folder(spool))
    except OSError as error:
        raise no_room() from error
    try:
        left = MAX_UPLOAD_BYTES
        for number, file in enumerate(files):
            path = uploaded.folder / str(number)
            left -= await _write(file, path, left)
            uploaded.paths.append(path)
    except OSError as error:
        uploaded.remove()
        raise no_room() from error
    except BaseException:
        uploaded.remove()
        raise
    return uploaded


@asynccontextmanager
async def on_disk(files: Sequence[Incoming]) -> AsyncIterator[list[Path]]:
    """The files as paths, gone when the block ends; errors as in `received`."""
    uploaded = await received(files)
    try:
        yield uploaded.paths
    finally:
        uploaded.remove()


async def _write(file: Incoming, path: Path, left: int) -> int:
    written = 0
    with path.open("xb") as out:
        while chunk := await file.read(_CHUNK):
            if not written and chunk.startswith(_ARCHIVES):
                raise UnsupportedImage("archives are not opened", fix="send the images themselves")
            written += len(chunk)
            if written > min(left, MAX_FILE_BYTES):
                raise ImageTooLarge(
                    f"an image may have {MAX_FILE_BYTES >> 20} MB, all of a request {MAX_UPLOAD_BYTES >> 20} MB",
                    fix="send the images of one study, as they are stored",
                )
            await to_thread.run_sync(out.write, chunk)
    return written
