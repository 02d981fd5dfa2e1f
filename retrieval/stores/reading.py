"""One snapshot, open: every question a reader asks of it, answered over all of its segments.

Built from a manifest, its open segments and the cases to hide; never changes, so threads may share it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np

from retrieval.comparison import ConceptComparison, ConceptSet, Form
from retrieval.encoders.encoder import Vectors
from retrieval.errors import UnknownCase
from retrieval.mentions import ConceptId, ExtractorIdentity
from retrieval.records import Case, CaseId
from retrieval.stores.acceptance import queries
from retrieval.stores.bookkeeping import Books
from retrieval.stores.case_postings import concept_set
from retrieval.stores.documents import Ledger, Manifest
from retrieval.stores.legs import Legs
from retrieval.stores.segments import Ordinals, Segment
from retrieval.stores.store import Entry, Snapshot
from retrieval.where import Hit, Where

T = TypeVar("T")


@dataclass(frozen=True)
class OpenSnapshot:
    """A snapshot with its segments and, beside each, the ordinals it must not show."""

    snapshot: Snapshot
    parts: tuple[tuple[Segment, Ordinals], ...]

    def nearest(self, vectors: Vectors, limit: int, where: Where) -> list[list[Hit]]:
        """See `Store.nearest`."""
        rows = queries(vectors, self.snapshot.dimension)
        if limit < 1 or not len(rows):
            return [[] for _ in rows]
        merged: list[list[Hit]] = [[] for _ in rows]
        for (segment, _), excluded in zip(self.parts, self.excluded(where), strict=True):
            for hits, more in zip(merged, segment.nearest(rows, limit, where.group, excluded), strict=True):
                hits += more
        if len(self.parts) > 1:
            merged = [sorted(hits, key=by_similarity)[:limit] for hits in merged]
        return merged

    @cached_property
    def legs(self) -> Legs:
        """Concepts and words of what is visible, made when first asked for."""
        return Legs(self.parts)

    def excluded(self, where: Where) -> list[Ordinals]:
        """Of each segment the cases that a search leaves out, those included that the snapshot does not show."""
        # Whose images these are may stand in another segment than the patient's other cases: ask all of them first.
        patients = set(where.not_patients)
        if where.not_images:
            for segment, gone in self.parts:
                hidden = set(gone.tolist())
                patients |= {patient for ordinal, patient in segment.owners(where.not_images) if ordinal not in hidden}
        excluded = [gone for _, gone in self.parts]
        if patients or where.not_studies:
            found = (segment.matching(patients, where.not_studies) for segment, _ in self.parts)
            excluded = [np.union1d(one, more) for one, more in zip(excluded, found, strict=True)]
        if where.by_kind:
            masks = (segment.facets().left_out(where) for segment, _ in self.parts)
            excluded = [np.union1d(one, np.flatnonzero(mask)) for one, mask in zip(excluded, masks, strict=True)]
        if where.by_report:
            lacking = self.legs.lacking(where)
            excluded = [np.union1d(one, np.flatnonzero(mask)) for one, mask in zip(excluded, lacking, strict=True)]
        return excluded

    def compare(
        self, query: ConceptSet, case_ids: Sequence[CaseId], form: Form, within: frozenset[ConceptId] | None
    ) -> list[ConceptComparison | None]:
        """See `Store.compare`."""
        sets = map(concept_set, self.cases(case_ids))
        return [None if said is None else self.legs.compare(query, said, form, within) for said in sets]

    def cases(self, case_ids: Sequence[CaseId]) -> list[Case]:
        """See `Store.cases`."""
        return self._each(case_ids, lambda segment, ordinals: segment.cases(ordinals))

    def entries(self, case_ids: Sequence[CaseId]) -> list[Entry]:
        """See `Store.entries`."""

        def read(segment: Segment, ordinals: list[int]) -> list[Entry]:
            ascending = sorted(ordinals)
            read = dict(zip(ascending, segment.entries(np.array(ascending, np.int64)), strict=True))
            return [read[ordinal] for ordinal in ordinals]

        return self._each(case_ids, read)

    def extractors(self) -> Mapping[CaseId, ExtractorIdentity | None]:
        """See `Store.extractors`."""
        visible: dict[CaseId, ExtractorIdentity | None] = {}
        for segment, gone in self.parts:
            hidden = set(gone.tolist())
            visible.update(pair for ordinal, pair in enumerate(segment.extractors()) if ordinal not in hidden)
        return visible

    def unlisted(self) -> frozenset[CaseId]:
        """See `Store.unlisted`."""
        found: set[CaseId] = set()
        for segment, gone in self.parts:
            hidden = set(gone.tolist())
            told = enumerate(read_and_listed(segment))
            found |= {i for ordinal, (i, (read, listed)) in told if read and not listed and ordinal not in hidden}
        return frozenset(found)

    def kept(self, where: Where) -> int:
        """See `Store.kept`."""
        excluded = self.excluded(where)
        return sum(len(segment.contents()) - len(out) for (segment, _), out in zip(self.parts, excluded, strict=True))

    def _each(self, case_ids: Sequence[CaseId], read: Callable[[Segment, list[int]], list[T]]) -> list[T]:
        """What `read` gives for the visible cases of those ids, in that order; raises UnknownCase."""
        found: dict[CaseId, T] = {}
        for segment, gone in self.parts:
            hidden = set(gone.tolist())
            here = {i: ordinal for i, ordinal in segment.find(set(case_ids)).items() if ordinal not in hidden}
            if here:
                found.update(zip(here, read(segment, list(here.values())), strict=True))
        for case_id in case_ids:
            if case_id not in found:
                what = f"no case {case_id!r} in snapshot {self.snapshot.snapshot_id}"
                raise UnknownCase(what, unquoted="no such case")
        return [found[case_id] for case_id in case_ids]

    def contents(self) -> Mapping[CaseId, str]:
        """See `Store.contents`."""
        visible: dict[CaseId, str] = {}
        for segment, gone in self.parts:
            hidden = set(gone.tolist())
            visible.update(pair for ordinal, pair in enumerate(segment.contents()) if ordinal not in hidden)
        return visible


def open_snapshot(books: Books, manifest: Manifest, ledger: Ledger) -> OpenSnapshot:
    """Open and check every segment of a snapshot, and hide whom the ledger forbids; raises StoreCorrupt.

    Finished erasures left nothing to hide; an erasure that is being made or was killed hides its cases at once.
    """
    parts: list[tuple[Segment, Ordinals]] = []
    cases, images = manifest.cases, manifest.images
    for description in manifest.segments:
        segment = books.open(description, manifest.dimension)
        gone = np.array(manifest.tombstones.get(description.segment, ()), np.int64)
        if ledger.tokens:
            forbidden = [o for o, (case_id, _) in enumerate(segment.contents()) if ledger.forbids(case_id)]
            more: Ordinals = np.setdiff1d(np.array(forbidden, np.int64), gone)
            cases, images = cases - len(more), images - segment.image_count(more)
            gone = np.union1d(gone, more)
        parts.append((segment, gone))
    snapshot = manifest.snapshot().model_copy(update={"cases": cases, "images": images})
    return OpenSnapshot(snapshot, tuple(parts))


def read_and_listed(segment: Segment) -> list[tuple[CaseId, tuple[bool, bool]]]:
    """Case id, whether anything has read its report and whether the lists here have it, of every case, by ordinal."""
    extractors, kept = segment.extractors(), segment.postings()
    listed = [False] * len(extractors) if kept is None else kept.read.tolist()
    return [(case_id, (by is not None, has)) for (case_id, by), has in zip(extractors, listed, strict=True)]


def by_similarity(hit: Hit) -> tuple[float, CaseId, int]:
    """The order of hits: nearest first, ties by case id, then by image."""
    return -hit.similarity, hit.case_id, hit.image
