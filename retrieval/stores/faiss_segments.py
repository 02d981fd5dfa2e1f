"""Segments as directories on a local disk: FAISS flat indexes for the vectors, SQLite for the cases.

    current.json  ledger.json  snapshots/<id>.json  writer.lock
    segments/<id>/vectors-frontal.faiss, -lateral, -other     one exact index per view group that occurs
    segments/<id>/cases.sqlite                                 cases by ordinal, and which image is which row
    segments/<id>/postings.npz                                 lists of concepts and words, for the other two legs
    segments/<id>/segment.json                                 the description, written last

A view filter costs nothing, because each view group is an index of its own. An open segment holds its vectors in
memory and its SQLite file open, so it answers on when another process deletes the files.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import threading
import weakref
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, get_args

import faiss
import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.encoder import Vectors
from retrieval.errors import StoreBusy, StoreCorrupt
from retrieval.mentions import ExtractorIdentity
from retrieval.records import Case, CaseId, ImageDigest, PatientKey, StudyUid, ViewGroup, view_group
from retrieval.stores.case_postings import PostingsWriter, RowMaker, SegmentPostings, from_bytes, to_bytes
from retrieval.stores.case_table import CaseTable, CaseTableWriter
from retrieval.stores.directory import PARTIAL, answering, corrupt, faults, replace, sync
from retrieval.stores.documents import REPAIR
from retrieval.stores.facets import Facets
from retrieval.stores.reading import by_similarity
from retrieval.stores.segments import Built, Ordinals
from retrieval.stores.store import Entry
from retrieval.where import Hit

OVERFETCH = 256
"""Up to this many hidden rows are fetched and dropped; beyond, FAISS skips them by a bitmap, which slows each row."""
MARGIN = 8
"""Rows fetched beyond the limit, to see whether the last place is shared."""
NOISE = 1e-5
"""How far FAISS's float32 sum over a unit row may lie from the exact one; also depends on the batch (BLAS blocking)."""
ADD_AT_ONCE = 4096
"""Rows handed to FAISS together: one at a time costs more than the copy."""
CASES = "cases.sqlite"
POSTINGS = "postings.npz"
FAISS: Any = faiss
"""For what FAISS's own stubs leave out: the constructors that its Python layer adds to the C++ ones."""


class FaissSegments:
    """A directory, made by the first writer; raises StoreUnavailable or OperatorError where the file system refuses."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._lock: BinaryIO | None = None

    def lock(self) -> None:
        if self._lock is not None:
            return
        with answering(str(self._directory)):
            self._directory.mkdir(parents=True, exist_ok=True)
            lock = (self._directory / "writer.lock").open("wb")
            try:
                # Tied to the open file, not to its being there: the kernel releases it when the process dies.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                lock.close()
                raise StoreBusy(f"another writer holds {self._directory}", fix="wait until it is done") from error
            self._lock = lock
            for folder in (self._directory, self._directory / "snapshots"):
                for partial in folder.glob(f"*{PARTIAL}"):
                    partial.unlink()

    def unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def close(self) -> None:
        self.unlock()

    def read(self, name: str) -> bytes | None:
        with answering(f"document {name!r}"):
            try:
                return self._document(name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, body: bytes) -> None:
        with answering(f"document {name!r}"):
            replace(self._document(name), body)

    def delete(self, name: str) -> None:
        with answering(f"document {name!r}"), contextlib.suppress(FileNotFoundError):
            self._document(name).unlink()
            sync(self._document(name).parent)

    def documents(self, folder: str) -> list[str]:
        with answering(f"documents of {folder!r}"):
            return sorted(f"{folder}/{path.stem}" for path in (self._directory / folder).glob("*.json"))

    def segments(self) -> list[str]:
        with answering("segments"), contextlib.suppress(FileNotFoundError):
            return sorted(path.name for path in (self._directory / "segments").iterdir() if path.is_dir())
        return []

    def build(self, segment: str, dimension: int, entries: Iterable[Entry]) -> Built:
        directory = self._segment(segment)
        with answering(f"segment {segment}"):
            directory.mkdir(parents=True)
            sync(self._directory)
            table, postings, maker = CaseTableWriter(directory / CASES), PostingsWriter(), RowMaker()
            try:
                vectors: dict[ViewGroup, _Rows] = {}
                ordinal = -1
                for ordinal, entry in enumerate(entries):
                    rows = []
                    for image, row in zip(entry.case.images, entry.vectors, strict=True):
                        group = view_group(image.view)
                        rows.append((group, vectors.setdefault(group, _Rows(dimension)).add(row)))
                    table.add(ordinal, entry.case, rows)
                    postings.add(maker.rows(entry.case))
                table.finish()
            finally:
                table.close()
            checksums = {_file(group): rows.write(directory / _file(group)) for group, rows in vectors.items()}
            sync(directory / CASES)
            with (directory / CASES).open("rb") as file:
                checksums[CASES] = hashlib.file_digest(file, "sha256").hexdigest()
            body = to_bytes(postings.finish())
            replace(directory / POSTINGS, body)
            checksums[POSTINGS] = hashlib.sha256(body).hexdigest()
            sync(directory)
            sync(directory.parent)
        return Built(cases=ordinal + 1, images=sum(rows.count for rows in vectors.values()), checksums=checksums)

    def open(self, segment: str, built: Built, dimension: int) -> "FaissSegment":
        if found := self.faults(segment, built):
            raise StoreCorrupt(f"segment {found[0]}", fix=REPAIR)
        with answering(f"segment {segment}"):
            opened = FaissSegment(self._segment(segment), built, dimension)
        if (opened.case_count, opened.row_count) != (built.cases, built.images):
            raise corrupt(f"segment {segment}")
        return opened

    def faults(self, segment: str, built: Built) -> list[str]:
        return faults(self._segment(segment), built.checksums)

    def drop(self, segment: str) -> None:
        with answering(f"segment {segment}"), contextlib.suppress(FileNotFoundError):
            shutil.rmtree(self._segment(segment))
            sync(self._directory / "segments")

    def _document(self, name: str) -> Path:
        return self._directory / f"{name}.json"

    def _segment(self, segment: str) -> Path:
        return self._directory / "segments" / segment


class FaissSegment:
    """One segment in memory; see `retrieval.stores.segments.Segment` for every method."""

    def __init__(self, directory: Path, built: Built, dimension: int) -> None:
        self._table = CaseTable(directory / CASES)
        # Case ids decide ties, so they are at hand; beside the vectors they weigh little.
        self._ids = [case_id for case_id, _ in self._table.contents()]
        groups: tuple[ViewGroup, ...] = get_args(ViewGroup)
        self._groups = {
            group: GroupIndex(directory / _file(group), dimension, *self._table.rows(group))
            for group in groups
            if _file(group) in built.checksums
        }
        # Read when first asked for, and open until then, so that they too outlive the file.
        self._lock = threading.Lock()
        self._facets: Facets | None = None
        self._postings: BinaryIO | None = None
        if POSTINGS in built.checksums:
            self._postings = (directory / POSTINGS).open("rb")
            weakref.finalize(self, self._postings.close)
        self._checksum = built.checksums.get(POSTINGS)
        self._name = f"{directory.name}/{POSTINGS}"

    @property
    def case_count(self) -> int:
        """Cases in the table."""
        return len(self._ids)

    @property
    def row_count(self) -> int:
        """Vector rows over all view groups."""
        return sum(len(index.ordinals) for index in self._groups.values())

    def nearest(self, vectors: Vectors, limit: int, group: ViewGroup | None, excluded: Ordinals) -> list[list[Hit]]:
        hidden = None
        if len(excluded):
            hidden = np.zeros(self.case_count, bool)
            hidden[excluded] = True
        merged: list[list[Hit]] = [[] for _ in vectors]
        for name, index in self._groups.items():
            if group in (None, name):
                dead = None if hidden is None else hidden[index.ordinals]
                for hits, more in zip(merged, index.nearest(vectors, limit, dead, self._ids), strict=True):
                    hits += more
        return [sorted(hits, key=by_similarity)[:limit] for hits in merged]

    def contents(self) -> list[tuple[CaseId, str]]:
        return self._table.contents()

    def extractors(self) -> list[tuple[CaseId, ExtractorIdentity | None]]:
        return self._table.extractors()

    def find(self, case_ids: Collection[CaseId]) -> dict[CaseId, int]:
        return self._table.find(case_ids)

    def cases(self, ordinals: Sequence[int]) -> list[Case]:
        return self._table.cases(ordinals)

    def owners(self, digests: Collection[ImageDigest]) -> list[tuple[int, PatientKey]]:
        return self._table.owners(digests)

    def matching(self, patients: Collection[PatientKey], studies: Collection[StudyUid]) -> Ordinals:
        return self._table.matching(patients, studies)

    def facets(self) -> Facets:
        with self._lock:
            if self._facets is None:
                self._facets = Facets(self._table.kinds())
            return self._facets

    def postings(self) -> SegmentPostings | None:
        if self._postings is None:
            return None
        with self._lock, answering(self._name):
            self._postings.seek(0)
            body = self._postings.read()
        try:
            if hashlib.sha256(body).hexdigest() != self._checksum:  # whatever has happened since it was opened
                raise corrupt(self._name)
            return from_bytes(body)
        except ValueError as error:
            raise corrupt(self._name) from error

    def image_count(self, ordinals: Ordinals) -> int:
        return sum(int(np.isin(index.ordinals, ordinals).sum()) for index in self._groups.values())

    def entries(self, ordinals: Ordinals) -> Iterator[Entry]:
        for case, rows in self._table.with_rows(np.sort(ordinals).tolist()):
            yield Entry(case, np.stack([self._groups[group].matrix[row] for group, row in rows]))


class GroupIndex:
    """The vectors of one view group, with the case and image of each row."""

    def __init__(self, path: Path, dimension: int, ordinals: Ordinals, images: Ordinals) -> None:
        name = f"{path.parent.name}/{path.name}"
        try:
            self._index: Any = faiss.read_index(str(path))
        except RuntimeError as error:
            raise corrupt(name) from error
        if not isinstance(self._index, faiss.IndexFlatIP) or self._index.d != dimension:
            raise corrupt(name)
        if self._index.ntotal != len(ordinals):
            raise corrupt(name)
        self.ordinals = ordinals
        self.images = images
        # FAISS's own memory, not a copy of it; valid as long as the index beside it.
        self.matrix: Vectors = faiss.rev_swig_ptr(self._index.get_xb(), len(ordinals) * dimension).reshape(
            -1, dimension
        )

    def nearest(
        self, vectors: Vectors, limit: int, dead: NDArray[np.bool_] | None, ids: list[CaseId]
    ) -> list[list[Hit]]:
        """For each query the nearest rows that are not `dead` (rows of bool), in the contract's order."""
        hidden = 0 if dead is None else int(dead.sum())
        wanted = min(limit, len(self.ordinals) - hidden)
        if not wanted:
            return [[] for _ in vectors]
        # 1. Few hidden rows are fetched and dropped; many are skipped inside FAISS.
        available, fetch, params = len(self.ordinals), wanted + hidden + MARGIN, None
        if dead is not None and hidden > OVERFETCH:
            selector = FAISS.IDSelectorBitmap(np.packbits(~dead, bitorder="little"))
            available, fetch, params = available - hidden, wanted + MARGIN, FAISS.SearchParameters(sel=selector)
        answers: list[list[Hit]] = [[] for _ in vectors]
        open_queries = np.arange(len(vectors))
        while len(open_queries):
            fetch = min(fetch, available)
            similarities, rows = self._index.search(vectors[open_queries], fetch, params=params)
            undecided = []
            for query, line, found in zip(open_queries, similarities, rows, strict=True):
                last = line[-1]
                if dead is not None:
                    shown = ~dead[found]
                    line, found = line[shown], found[shown]
                # 2. Rows as near as the last place may lie beyond what was fetched: then fetch more.
                floor = line[wanted - 1] - NOISE
                if fetch < available and last >= floor:
                    undecided.append(query)
                else:
                    answers[query] = self._hits(vectors[query], found[line >= floor], ids)[:wanted]
            open_queries = np.array(undecided, np.int64)
            fetch *= 4
        return answers

    def _hits(self, vector: NDArray[np.float32], rows: NDArray[np.int64], ids: list[CaseId]) -> list[Hit]:
        # Summed again in float64 and rounded once: FAISS's own sums differ with the batch, and equal rows must tie.
        exact = (self.matrix[rows].astype(np.float64) @ vector.astype(np.float64)).astype(np.float32)
        keyed = sorted(
            (-similarity, ids[ordinal], image)
            for similarity, ordinal, image in zip(
                exact.tolist(), self.ordinals[rows].tolist(), self.images[rows].tolist(), strict=True
            )
        )
        return [Hit(case_id=case_id, image=image, similarity=-negated) for negated, case_id, image in keyed]


class _Rows:
    """Vectors of one view group on their way to a file."""

    def __init__(self, dimension: int) -> None:
        self._index: Any = faiss.IndexFlatIP(dimension)
        self._waiting: list[NDArray[np.float32]] = []
        self.count = 0

    def add(self, row: NDArray[np.float32]) -> int:
        """Take a row and say which it is."""
        self._waiting.append(row)
        self.count += 1
        if len(self._waiting) == ADD_AT_ONCE:
            self._flush()
        return self.count - 1

    def write(self, path: Path) -> str:
        """Write the index durably and return the file's SHA-256; raises OSError."""
        self._flush()
        digest = hashlib.sha256()
        with path.open("wb") as file:
            # Through a callback: FAISS's own writer does not report a disk that fills up while it closes the file.
            def take(chunk: bytes) -> None:
                file.write(chunk)
                digest.update(chunk)

            faiss.write_index(self._index, FAISS.PyCallbackIOWriter(take))
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    def _flush(self) -> None:
        if self._waiting:
            self._index.add(np.stack(self._waiting))
            self._waiting = []


def _file(group: ViewGroup) -> str:
    return f"vectors-{group}.faiss"
