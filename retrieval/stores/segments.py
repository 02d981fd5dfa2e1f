"""What a storage backend must offer to carry a `SegmentedStore`: immutable segments and small atomic documents.

A segment is a set of cases with their vectors, written once and only ever dropped as a whole. Inside a segment a case
is known by its *ordinal*, counted from 0: the snapshot documents speak in ordinals, so that no identity of a person
or study stands in them. A backend knows nothing of snapshots, staging, erasure or checksums of documents.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.encoder import Vectors
from retrieval.mentions import ExtractorIdentity
from retrieval.records import Case, CaseId, ImageDigest, PatientKey, Record, StudyUid, ViewGroup
from retrieval.stores.case_postings import SegmentPostings
from retrieval.stores.facets import Facets
from retrieval.stores.store import Entry
from retrieval.where import Hit

Ordinals = NDArray[np.int64]
"""Case ordinals within one segment, in any order."""


class Built(Record):
    """What was written into one segment."""

    cases: int
    """Cases, with ordinals 0 to cases - 1."""
    images: int
    """Image rows."""
    checksums: dict[str, str]
    """SHA-256 by file (or by other unit of the backend), in hex."""


class Segment(Protocol):
    """One segment, open for reading; it keeps answering after another process dropped the segment, where it can."""

    def nearest(self, vectors: Vectors, limit: int, group: ViewGroup | None, excluded: Ordinals) -> list[list[Hit]]:
        """For each query row the `limit` nearest rows of cases not excluded; nearest first, ties by id and image."""

    def contents(self) -> list[tuple[CaseId, str]]:
        """Case id and content of every case, by ordinal."""

    def extractors(self) -> list[tuple[CaseId, ExtractorIdentity | None]]:
        """Case id and what read the report of every case, by ordinal; None where nothing has."""

    def find(self, case_ids: Collection[CaseId]) -> dict[CaseId, int]:
        """The ordinals of those of the ids that are here."""

    def cases(self, ordinals: Sequence[int]) -> list[Case]:
        """The cases of those ordinals, in that order."""

    def owners(self, digests: Collection[ImageDigest]) -> list[tuple[int, PatientKey]]:
        """Ordinal and patient of every case that owns one of these image files."""

    def matching(self, patients: Collection[PatientKey], studies: Collection[StudyUid]) -> Ordinals:
        """The cases of any of these patients or studies."""

    def facets(self) -> Facets:
        """Of which kind each case is."""

    def postings(self) -> SegmentPostings | None:
        """The lists of concepts and words; None for a segment from before there were any, or of another ontology."""

    def image_count(self, ordinals: Ordinals) -> int:
        """How many image rows those cases have together."""

    def entries(self, ordinals: Ordinals) -> Iterator[Entry]:
        """Those cases with their vectors bit for bit, by ascending ordinal."""


class Segments(Protocol):
    """A shelf of segments and documents.

    Raises StoreUnavailable where it does not answer, StoreFull without room, OperatorError without permission.
    """

    def lock(self) -> None:
        """Become the only writer and clear away half-written documents; raises StoreBusy."""

    def unlock(self) -> None:
        """Stop being the writer; does nothing when it is not."""

    def close(self) -> None:
        """Unlock and release every handle but those of open segments."""

    def read(self, name: str) -> bytes | None:
        """A document as last written; None when there is none."""

    def write(self, name: str, body: bytes) -> None:
        """Replace a document in one step, durable on return: a reader sees the old or the new one, never a part."""

    def delete(self, name: str) -> None:
        """Remove a document; nothing happens when there is none."""

    def documents(self, folder: str) -> list[str]:
        """Names of the documents directly under `folder`, sorted."""

    def segments(self) -> list[str]:
        """Every segment that has anything stored, finished or not, sorted."""

    def build(self, segment: str, dimension: int, entries: Iterable[Entry]) -> Built:
        """Write a new segment, durable on return. After an error its remains are for `drop`."""

    def open(self, segment: str, built: Built, dimension: int) -> Segment:
        """Open for reading what `build` described; raises StoreCorrupt naming what is missing or differs."""

    def faults(self, segment: str, built: Built) -> list[str]:
        """Every difference between what is stored and what `build` described, by reading everything."""

    def drop(self, segment: str) -> None:
        """Remove every byte of a segment, finished or not; nothing happens when there is none."""
