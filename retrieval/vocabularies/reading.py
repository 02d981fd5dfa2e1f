"""Files of a vocabulary as a stream: counted, digested and checked for wholeness while they pass.

Nothing is held but one line. An error names the file and the line and never quotes it: the terms are licensed, and a
log is not where they belong.
"""

import codecs
import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from retrieval.errors import InvalidVocabulary

LONGEST_LINE: Final = 1 << 20
"""Bytes; no release has a line a tenth as long, and a file without line ends must not fill the memory."""
_PACKED: Final = (b"\x1f\x8b", b"PK\x03\x04", b"BZh")
OnProgress = Callable[[int, int], None]
"""Told the bytes read so far and the bytes of all files."""


def unheard(done: int, total: int) -> None:
    """The progress callback of those who do not ask."""


def invalid(file: str, what: str, *, line: int | None = None, fix: str = "") -> InvalidVocabulary:
    """The error for a file, with the line where that is known."""
    return InvalidVocabulary(
        f"{file} line {line}: {what}" if line else f"{file}: {what}",
        fix=fix or "unpack the release again, or download it again and compare its published checksum",
    )


class Reading:
    """All files of one import, in the order they are read."""

    def __init__(self, files: Sequence[Path], on_progress: OnProgress = unheard) -> None:
        """Take every file that will be read, so that progress has an end."""
        try:
            self._total = sum(file.stat().st_size for file in files)
        except OSError as error:
            raise invalid(Path(str(error.filename)).name, "cannot be read", fix="check the path") from error
        self._done = 0
        self._on_progress = on_progress
        self._digests: dict[str, str] = {}

    @contextmanager
    def open(self, file: Path) -> Iterator["SourceFile"]:
        """Open one file; its digest counts once the block is left without an error."""
        with opened(file, self._advance) as source:
            yield source
            source.drain()
            self._digests[file.name] = source.digest()

    def checksum(self) -> str:
        """SHA-256 of what `sha256sum` prints for the files in order of their names."""
        listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(self._digests.items()))
        return hashlib.sha256(listing.encode()).hexdigest()

    def _advance(self, length: int) -> None:
        self._done += length
        self._on_progress(self._done, self._total)


class SourceFile:
    """One open file; `read` is what libraries call, `lines` what the tables use."""

    def __init__(self, raw: io.BufferedReader, name: str, on_bytes: Callable[[int], None]) -> None:
        self._raw = raw
        self._digest = hashlib.sha256()
        self._on_bytes = on_bytes
        self._pending = 0
        self.name = name
        """Without its folder."""

    def read(self, size: int = -1) -> bytes:
        """Bytes as they stand."""
        return self._pass(self._raw.read(size))

    def close(self) -> None:
        """Nothing: libraries close what they were given, but there may be more to digest."""

    def drain(self) -> None:
        """Read to the end, so that the digest is of the whole file."""
        while self.read(1 << 20):
            pass
        self._on_bytes(self._pending)
        self._pending = 0

    def digest(self) -> str:
        """SHA-256 of what has been read, in hex."""
        return self._digest.hexdigest()

    def lines(self) -> Iterator[tuple[int, str]]:
        """Number and text of every line, without its end, be it LF or CRLF.

        Raises InvalidVocabulary for a last line without an end (the file was cut off), for bytes that are not UTF-8,
        and for a line that no release would have.
        """
        number = 0
        while body := self._pass(self._raw.readline(LONGEST_LINE)):
            number += 1
            if not body.endswith(b"\n"):
                what = "is no line of text" if len(body) == LONGEST_LINE else "ends within a line: the file is cut off"
                raise invalid(self.name, what, line=number)
            try:
                text = body.decode()
            except UnicodeDecodeError:
                raise invalid(self.name, "is not UTF-8", line=number) from None  # the cause holds the line
            yield number, text.rstrip("\r\n")

    def rows(self, separator: str, columns: int) -> Iterator[tuple[int, list[str]]]:
        """Number and cells of every line; raises InvalidVocabulary for a line with another number of cells."""
        for number, text in self.lines():
            cells = text.split(separator)
            if len(cells) != columns:
                raise invalid(self.name, f"has {len(cells)} columns where {columns} belong", line=number)
            yield number, cells

    def _pass(self, body: bytes) -> bytes:
        if body:
            self._digest.update(body)
            self._pending += len(body)
            if self._pending >= 1 << 20:  # a callback for each line would cost more than the line
                self._on_bytes(self._pending)
                self._pending = 0
        return body


@contextmanager
def opened(file: Path, on_bytes: Callable[[int], None] = lambda length: None) -> Iterator[SourceFile]:
    """Open a file without counting it; raises InvalidVocabulary when it cannot be read or is compressed."""
    try:
        raw = file.open("rb")
    except OSError as error:
        raise invalid(file.name, f"cannot be read: {error.strerror}", fix="check the path") from error
    with raw:
        if raw.peek(4).startswith(_PACKED):
            raise invalid(file.name, "is compressed", fix="unpack it first")
        source = SourceFile(raw, file.name, on_bytes)
        if raw.peek(3).startswith(codecs.BOM_UTF8):  # digested, and seen by no parser: not all know it
            source.read(len(codecs.BOM_UTF8))
        yield source


def one_file(folder: Path, pattern: str, what: str) -> Path:
    """The one file of that name pattern in a folder or below it; raises InvalidVocabulary for none or several."""
    found = sorted(folder.rglob(pattern)) if folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    raise InvalidVocabulary(
        f"{folder.name} holds {len(found) or 'no'} file{'s' * (len(found) != 1)} named {pattern} ({what})",
        fix="name the unpacked folder of one release",
    )
