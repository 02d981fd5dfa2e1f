"""The cases of one segment in one SQLite file: by ordinal, by identity, and which image is which vector row.

Written once, then opened read-only and immutable, so no journal or lock file ever appears beside it. Knows nothing of
vectors.
"""

import contextlib
import sqlite3
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from retrieval.errors import StoreFull, StoreUnavailable
from retrieval.mentions import ExtractorIdentity
from retrieval.records import Case, CaseId, ImageDigest, PatientKey, StudyUid, ViewGroup
from retrieval.stores.directory import corrupt
from retrieval.stores.facets import CaseKind
from retrieval.stores.segments import Ordinals

AT_ONCE = 500
"""Values in one IN list; SQLite's own limit was 999 for long."""

SCHEMA = """
CREATE TABLE cases (
    ordinal INTEGER PRIMARY KEY, case_id TEXT NOT NULL, patient_key TEXT NOT NULL, study TEXT NOT NULL,
    content TEXT NOT NULL, extractor TEXT, sex TEXT, age_band TEXT, source TEXT, licence TEXT, record TEXT NOT NULL
);
CREATE TABLE images (
    ordinal INTEGER NOT NULL, image INTEGER NOT NULL, digest TEXT NOT NULL, view_group TEXT NOT NULL,
    row INTEGER NOT NULL, PRIMARY KEY (ordinal, image)
) WITHOUT ROWID;
"""
INSERT = "INSERT INTO cases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
INDEXES = """
CREATE UNIQUE INDEX by_case ON cases (case_id);
CREATE INDEX by_patient ON cases (patient_key);
CREATE INDEX by_study ON cases (study);
CREATE INDEX by_digest ON images (digest);
CREATE UNIQUE INDEX by_row ON images (view_group, row);
"""


class CaseTableWriter:
    """Fills one new file; it is valid only after `finish`."""

    def __init__(self, path: Path) -> None:
        with _writing():
            self._connection = sqlite3.connect(path, isolation_level=None)
            # A killed writer's file is thrown away whole, so a journal would protect nothing; the caller syncs once.
            # Sorting for the indexes stays in memory: a temporary file elsewhere would hold identities.
            for setting in ("journal_mode = OFF", "synchronous = OFF", "temp_store = MEMORY"):
                self._connection.execute(f"PRAGMA {setting}")
            self._connection.executescript(SCHEMA)
            self._connection.execute("BEGIN")

    def add(self, ordinal: int, case: Case, rows: Sequence[tuple[ViewGroup, int]]) -> None:
        """One case and, per image, its view group and its row in that group's vectors."""
        with _writing():
            self._connection.execute(
                INSERT,
                (ordinal, case.case_id, case.patient_key, case.study_instance_uid, case.content,
                 case.extractor, case.sex, case.age_band, case.source, case.licence,
                 case.model_dump_json(exclude_none=True)),
            )  # fmt: skip
            self._connection.executemany(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?)",
                [
                    (ordinal, number, image.digest, group, row)
                    for number, (image, (group, row)) in enumerate(zip(case.images, rows, strict=True))
                ],
            )

    def finish(self) -> None:
        """Index and close; the caller still has to sync the file."""
        with _writing():
            self._connection.execute("COMMIT")
            self._connection.executescript(INDEXES)
        self.close()

    def close(self) -> None:
        """Give the file up, finished or not."""
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()


class CaseTable:
    """One finished file, open; raises StoreCorrupt when it does not read as what was written."""

    def __init__(self, path: Path) -> None:
        self._name = f"{path.parent.name}/{path.name}"
        with self._reading():
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?immutable=1", uri=True, check_same_thread=False
            )
            # Whoever still searches this segment keeps it open, so it closes when the last reader forgets it.
            weakref.finalize(self, self._connection.close)

    def contents(self) -> list[tuple[CaseId, str]]:
        """Case id and content by ordinal."""
        return self._all("SELECT case_id, content FROM cases ORDER BY ordinal")

    def extractors(self) -> list[tuple[CaseId, ExtractorIdentity | None]]:
        """Case id and what read the report, by ordinal; None for every case of a file from before reports were read."""
        read = "extractor" if self._has("extractor") else "NULL"
        return self._all(f"SELECT case_id, {read} FROM cases ORDER BY ordinal")

    def kinds(self) -> Iterator[CaseKind]:
        """What each case is chosen by, by ordinal; an older file is read by its records."""
        views: dict[int, set[ViewGroup]] = {}
        for ordinal, group in self._all("SELECT DISTINCT ordinal, view_group FROM images"):
            views.setdefault(ordinal, set()).add(group)
        columns = ["sex", "age_band", "source", "licence"]
        if not self._has("licence"):
            columns = [f"json_extract(record, '$.{column}')" for column in columns]
        found = self._all(f"SELECT ordinal, {', '.join(columns)} FROM cases ORDER BY ordinal")
        for ordinal, sex, age_band, source, licence in found:
            yield CaseKind(sex, age_band, source, licence, frozenset(views.get(ordinal, ())))

    def find(self, case_ids: Collection[CaseId]) -> dict[CaseId, int]:
        """Ordinals of those that are here."""
        return dict(self._among("SELECT case_id, ordinal FROM cases WHERE case_id IN", case_ids))

    def cases(self, ordinals: Sequence[int]) -> list[Case]:
        """In the order asked."""
        records = dict(self._among("SELECT ordinal, record FROM cases WHERE ordinal IN", ordinals))
        with self._reading():
            return [Case.model_validate_json(records[ordinal]) for ordinal in ordinals]

    def owners(self, digests: Collection[ImageDigest]) -> list[tuple[int, PatientKey]]:
        """Ordinal and patient of the cases that own any of these image files."""
        return list(
            self._among(
                "SELECT DISTINCT ordinal, patient_key FROM cases JOIN images USING (ordinal) WHERE digest IN", digests
            )
        )

    def matching(self, patients: Collection[PatientKey], studies: Collection[StudyUid]) -> Ordinals:
        """Ordinals of the cases of any of these patients or studies."""
        found = {ordinal for (ordinal,) in self._among("SELECT ordinal FROM cases WHERE patient_key IN", patients)}
        found |= {ordinal for (ordinal,) in self._among("SELECT ordinal FROM cases WHERE study IN", studies)}
        return np.array(sorted(found), np.int64)

    def rows(self, group: ViewGroup) -> tuple[Ordinals, Ordinals]:
        """For each vector row of a view group the case's ordinal and the image's number."""
        found = self._all("SELECT ordinal, image FROM images WHERE view_group = ? ORDER BY row", (group,))
        pairs = np.array(found, np.int64).reshape(-1, 2)
        return np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])

    def with_rows(self, ordinals: Sequence[int]) -> Iterator[tuple[Case, list[tuple[ViewGroup, int]]]]:
        """Those cases with their images' view groups and rows, in the order asked; holds AT_ONCE cases at a time."""
        for start in range(0, len(ordinals), AT_ONCE):
            some = ordinals[start : start + AT_ONCE]
            rows: dict[int, list[tuple[ViewGroup, int]]] = {ordinal: [] for ordinal in some}
            places = self._among("SELECT ordinal, image, view_group, row FROM images WHERE ordinal IN", some)
            for ordinal, _, group, row in sorted(places):
                rows[ordinal].append((group, row))
            for ordinal, case in zip(some, self.cases(some), strict=True):
                yield case, rows[ordinal]

    def _has(self, column: str) -> bool:
        return any(name == column for _, name, *_ in self._all("PRAGMA table_info(cases)"))

    def _all(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._reading():
            return self._connection.execute(query, values).fetchall()

    def _among(self, query: str, values: Iterable[Any]) -> Iterator[Any]:
        wanted = list(values)
        for start in range(0, len(wanted), AT_ONCE):
            some = wanted[start : start + AT_ONCE]
            yield from self._all(f"{query} ({','.join('?' * len(some))})", some)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, ValidationError, KeyError, ValueError) as error:
            raise corrupt(self._name) from error


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        # SQLite reports a full disk in its own words, not as an OSError.
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise StoreFull("no room for the cases of a segment", fix="make room, then call again") from error
        raise StoreUnavailable(f"SQLite could not write: {error}", fix="check the path and its permissions") from error
