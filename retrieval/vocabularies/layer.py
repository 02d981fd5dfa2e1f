"""A layer: one imported vocabulary in one sealed SQLite file, read-only, never merged into the ontology's own files.

SQLite rather than JSON lines, because releases spread one concept over several files that are sorted by other things:
bringing it together needs a table on disk anyway, and the same table then answers "which term carries this code" for
400,000 concepts from an index instead of from memory.

The file ends in a seal, the SHA-256 of everything before it; SQLite does not look past its own pages. Opening reads
every byte and compares. It is a seal against damage, not against somebody who can also write the seal.
"""

import hashlib
import sqlite3
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from retrieval.errors import InvalidVocabulary, StoreCorrupt
from retrieval.record import Record
from retrieval.vocabularies.licences import Acknowledgement, Licence
from retrieval.vocabularies.schemes import canonical

APPLICATION: Final = 0x50524C56
"""SQLite's application id of a layer ("PRLV")."""
FORMAT: Final = 1
"""SQLite's user version: raised when the tables change."""
SCHEMA: Final = (
    "layer (record TEXT NOT NULL)",
    "term (code TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID",
    "fact (code TEXT NOT NULL, kind TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (code, kind, value)) WITHOUT ROWID",
)
"""The tables; `fact` holds synonyms (kind `name`) and everything else that may be said more than once."""
_MARK: Final = b"\nPRELIM\n"
SEAL_LENGTH: Final = len(_MARK) + 64


class Layer(Record):
    """What a layer says of itself."""

    vocabulary: str
    """UMLS, RADLEX, SNOMEDCT, OIFM, or OBO: and the ontology's name."""
    scheme: str
    """The scheme of its codes, as `schemes.canonical` names it."""
    release: str
    """As the files or the operator name it; empty when neither does."""
    licence: Licence
    """The terms it is under."""
    acknowledged: Acknowledgement
    """Who said that they hold them, and when."""
    checksum: str = Field(pattern=r"^[0-9a-f]{64}$")
    """SHA-256 of what `sha256sum` prints for the source files, in order of their names."""
    terms: int = Field(ge=1)
    """Concepts kept."""
    phrases: int = Field(ge=1)
    """Names and synonyms kept."""


class Term(Record):
    """One concept of the vocabulary. Every list is sorted."""

    code: str
    """In the layer's scheme."""
    name: str
    """The preferred name."""
    synonyms: tuple[str, ...] = ()
    """Other names, spelled as the source spells them."""
    broader: tuple[str, ...] = ()
    """Codes of the concepts directly above; the source may have cycles."""
    sites: tuple[str, ...] = ()
    """Codes of the anatomy where it is, where the source says so."""
    types: tuple[str, ...] = ()
    """Semantic types or tags, where the source has them."""
    xrefs: tuple[tuple[str, str], ...] = ()
    """Scheme and code of what other vocabularies call it."""
    attributes: tuple[tuple[str, str], ...] = ()
    """An attribute and a value it may have, for each value; only finding models have them."""


class OpenLayer:
    """An open layer; may be used from several threads, not at the same time. Close it, or let it go."""

    def __init__(self, path: Path) -> None:
        """Read and compare every byte; raises InvalidVocabulary for what is no layer, StoreCorrupt for damage."""
        _check_seal(path)
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True, check_same_thread=False)
        weakref.finalize(self, self._connection.close)
        if self._connection.execute("PRAGMA user_version").fetchone() != (FORMAT,):
            raise InvalidVocabulary(f"{path.name} has the format of another version of Prelim", fix="import it again")
        try:
            (record,) = self._connection.execute("SELECT record FROM layer").fetchone()
            self.layer = Layer.model_validate_json(record)
            """What it says of itself."""
        except (sqlite3.Error, TypeError, ValidationError) as error:
            raise StoreCorrupt(f"{path.name} does not say what it is", fix="import it again") from error

    def close(self) -> None:
        """Give the file up."""
        self._connection.close()

    def __len__(self) -> int:
        return self.layer.terms

    def __iter__(self) -> Iterator[Term]:
        for (code,) in self._connection.execute("SELECT code FROM term ORDER BY code"):
            yield self[code]

    def __contains__(self, code: str) -> bool:
        return bool(self._connection.execute("SELECT 1 FROM term WHERE code = ?", (code,)).fetchone())

    def __getitem__(self, code: str) -> Term:
        """The term of a code; raises KeyError when there is none."""
        row = self._connection.execute("SELECT name FROM term WHERE code = ?", (code,)).fetchone()
        if row is None:
            raise KeyError(code)
        facts: dict[str, list[str]] = {}
        for kind, value in self._connection.execute(
            "SELECT kind, value FROM fact WHERE code = ? ORDER BY kind, value", (code,)
        ):
            facts.setdefault(kind, []).append(value)
        return Term(
            code=code,
            name=row[0],
            synonyms=tuple(facts.get("name", ())),
            broader=tuple(facts.get("broader", ())),
            sites=tuple(facts.get("site", ())),
            types=tuple(facts.get("type", ())),
            xrefs=tuple(_pair(value) for value in facts.get("xref", ())),
            attributes=tuple(_pair(value) for value in facts.get("attribute", ())),
        )

    def carrying(self, scheme: str, code: str) -> tuple[str, ...]:
        """The terms that are this code or name it as a cross-reference, in order."""
        scheme, code = canonical(scheme, code)
        found = {found for (found,) in self._connection.execute(
            "SELECT code FROM fact WHERE kind = 'xref' AND value = ?", (f"{scheme}\t{code}",)
        )}  # fmt: skip
        if scheme == self.layer.scheme and code in self:
            found.add(code)
        return tuple(sorted(found))

    def ancestors(self, code: str) -> tuple[str, ...]:
        """Everything broader, nearest first, without itself: a cycle in the source ends the walk, not the program."""
        found = dict.fromkeys([code])  # a set that keeps its order
        level = [code]
        while level:
            level = sorted({b for c in level for b in self[c].broader if b not in found})
            found.update(dict.fromkeys(level))
        return tuple(found)[1:]


def seal(path: Path) -> None:
    """End a finished file in the digest of its bytes."""
    digest = _digest(path, path.stat().st_size)
    with path.open("ab") as file:
        file.write(_MARK + digest.encode())


def _check_seal(path: Path) -> None:
    try:
        length = path.stat().st_size - SEAL_LENGTH
        if not is_layer(path):
            raise InvalidVocabulary(f"{path.name} is no layer", fix="make one: prelim-index vocabulary import")
        with path.open("rb") as file:
            file.seek(max(length, 0))
            sealed = file.read()
        if length <= 0 or sealed != _MARK + _digest(path, length).encode():
            raise StoreCorrupt(f"{path.name} differs from what was written", fix="import the vocabulary again")
    except OSError as error:
        raise InvalidVocabulary(f"{path.name} cannot be read: {error.strerror}", fix="check the path") from error


def is_layer(path: Path) -> bool:
    """Whether the first bytes are a layer's, whole or damaged."""
    with path.open("rb") as file:
        head = file.read(72)
    return head.startswith(b"SQLite format 3\0") and head[68:72] == APPLICATION.to_bytes(4, "big")


def _digest(path: Path, length: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while length > 0 and (body := file.read(min(length, 1 << 20))):
            digest.update(body)
            length -= len(body)
    return digest.hexdigest()


def _pair(value: str) -> tuple[str, str]:
    one, _, other = value.partition("\t")
    return one, other
