"""Making a layer: facts in any order go to a scratch table on disk, and come out once, sorted, into the layer's file.

Because the finished file is written in key order in one pass, the same facts and the same acknowledgement give the same
bytes. Memory is SQLite's page cache and one batch of rows, whatever the release holds. The file appears under its name
whole and sealed, or not at all.
"""

import errno
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, Literal

from retrieval.errors import InvalidVocabulary, OperatorError, StoreFull
from retrieval.vocabularies.layer import APPLICATION, FORMAT, SCHEMA, Layer, is_layer, seal
from retrieval.vocabularies.licences import Acknowledgement, Licence
from retrieval.vocabularies.schemes import canonical

_BATCH: Final = 10_000
_CACHE_KIB: Final = 32_768
Kind = Literal["name", "broader", "site", "type", "xref", "attribute", "retired"]

_TERMS: Final = """
INSERT INTO layer.term
SELECT code, value FROM (
    SELECT code, value, row_number() OVER (PARTITION BY code ORDER BY rank, value) AS place FROM raw WHERE kind = 'name'
) WHERE place = 1 AND code NOT IN (SELECT code FROM raw WHERE kind = 'retired') ORDER BY code
"""
_FACTS: Final = """
INSERT INTO layer.fact
SELECT DISTINCT raw.code, raw.kind, raw.value FROM raw JOIN layer.term AS term ON term.code = raw.code
WHERE raw.kind <> 'retired' AND NOT (raw.kind = 'name' AND raw.value = term.name)
  AND (raw.kind NOT IN ('broader', 'site') OR (
      raw.value <> raw.code AND EXISTS (SELECT 1 FROM layer.term AS other WHERE other.code = raw.value)))
ORDER BY 1, 2, 3
"""


class LayerDraft:
    """Takes facts in any order; what is said twice counts once, and what is said of no term is dropped."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[str, str, int, str]] = []

    def name(self, code: str, text: str, *, rank: int = 0) -> None:
        """A name: of those with the lowest rank, the first in order becomes the preferred one, all others synonyms."""
        text = " ".join(text.split())
        if text:
            self._add(code, "name", text, rank)

    def broader(self, code: str, above: str) -> None:
        """A concept directly above; kept only when that one is kept too."""
        self._add(code, "broader", above)

    def site(self, code: str, anatomy: str) -> None:
        """The anatomy where it is; kept only when that concept is kept too."""
        self._add(code, "site", anatomy)

    def kind(self, code: str, semantic_type: str) -> None:
        """A semantic type or tag; there may be several."""
        self._add(code, "type", semantic_type)

    def xref(self, code: str, scheme: str, other: str) -> None:
        """What another vocabulary calls it."""
        self._add(code, "xref", "\t".join(canonical(scheme, other)))

    def attribute(self, code: str, attribute: str, value: str) -> None:
        """A value that an attribute of it may have."""
        self._add(code, "attribute", "\t".join(" ".join(part.split()) for part in (attribute, value)))

    def retire(self, code: str) -> None:
        """Leave the concept out, whatever else is said of it before or after."""
        self._add(code, "retired", "")

    def flush(self) -> None:
        """Pass what is held to the disk."""
        self._connection.executemany("INSERT INTO raw VALUES (?, ?, ?, ?)", self._rows)
        self._rows.clear()

    def _add(self, code: str, kind: Kind, value: str, rank: int = 0) -> None:
        self._rows.append((code, kind, rank, value))
        if len(self._rows) >= _BATCH:
            self.flush()


Facts = Callable[[LayerDraft], tuple[str, str]]
"""Puts a vocabulary's facts into a draft; gives the release and the checksum of the files they came from."""


def write_layer(
    out: Path, vocabulary: str, scheme: str, licence: Licence, acknowledged: Acknowledgement, facts: Facts
) -> Layer:
    """Make a layer at `out`, replacing one that is there; after an error everything is as it was.

    Raises InvalidVocabulary when `out` is some other file or nothing was kept, StoreFull without room.
    """
    with _disk():
        if out.exists() and not (out.is_file() and is_layer(out)):
            raise InvalidVocabulary(f"{out.name} is there and is no layer", fix="name another file: --out")
        with tempfile.TemporaryDirectory(prefix=".layer-", dir=out.parent) as folder:
            made = Path(folder, "layer.sqlite")
            with closing(_scratch(Path(folder, "scratch.sqlite"), made)) as connection:
                draft = LayerDraft(connection)
                release, checksum = facts(draft)
                draft.flush()
                terms, phrases = _sort(connection)
                if not terms:
                    raise InvalidVocabulary(f"these files hold nothing of {vocabulary}", fix="name the right files")
                layer = Layer(
                    vocabulary=vocabulary,
                    scheme=scheme,
                    release=release,
                    licence=licence,
                    acknowledged=acknowledged,
                    checksum=checksum,
                    terms=terms,
                    phrases=phrases,
                )
                connection.execute("INSERT INTO layer.layer VALUES (?)", (layer.model_dump_json(),))
                connection.execute("COMMIT")
            seal(made)
            _sync(made)
            made.replace(out)
            _sync(out.parent)
    return layer


def _scratch(scratch: Path, made: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(scratch, isolation_level=None)
    connection.execute("ATTACH ? AS layer", (str(made),))
    for database in ("main", "layer"):  # an import that dies is started again: a journal would protect nothing
        for setting in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}"):
            connection.execute(f"PRAGMA {database}.{setting}")
    connection.execute(f"PRAGMA layer.application_id = {APPLICATION}")
    connection.execute(f"PRAGMA layer.user_version = {FORMAT}")
    connection.execute("BEGIN")
    connection.execute("CREATE TABLE raw (code TEXT, kind TEXT, rank INTEGER, value TEXT)")
    return connection


def _sort(connection: sqlite3.Connection) -> tuple[int, int]:
    for table in SCHEMA:
        connection.execute(f"CREATE TABLE layer.{table}")
    connection.execute(_TERMS)
    connection.execute(_FACTS)
    connection.execute("CREATE INDEX layer.by_xref ON fact (value, code) WHERE kind = 'xref'")
    (terms,) = connection.execute("SELECT count(*) FROM layer.term").fetchone()
    (synonyms,) = connection.execute("SELECT count(*) FROM layer.fact WHERE kind = 'name'").fetchone()
    return terms, terms + synonyms


@contextmanager
def _disk() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise StoreFull("no room for the layer", fix="make room, then call again") from error
        raise OperatorError(f"the layer cannot be written: {error}", fix="check the disk") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StoreFull("no room for the layer", fix="make room, then call again") from error
        raise OperatorError(f"the layer cannot be written: {error.strerror}", fix="check --out") from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
