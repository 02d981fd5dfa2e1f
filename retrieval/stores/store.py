"""The store contract: three stores pass one suite (tests/test_stores.py).

A *snapshot* is one published state. Readers see the current snapshot or none, never half of one. Writing has two
steps: `stage` is durable when it returns but invisible; `publish` makes everything staged visible at once by
swapping one pointer. A killed writer loses nothing acknowledged: `staged` says what the next run can skip.
Erasure is not removal: it rewrites every retained snapshot and the staged work before it returns, so that the case
is in no byte of the store, and the ledger keeps it out when an older snapshot is brought back.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from retrieval.comparison import ConceptComparison, ConceptSet, Form
from retrieval.encoders.encoder import Vectors
from retrieval.mentions import ConceptId, ExtractorIdentity
from retrieval.records import Case, CaseId, EncoderIdentity, Record, SnapshotId
from retrieval.where import EVERYWHERE, Hit, Match, Where

RETAINED_SNAPSHOTS = 3
"""Older snapshots are dropped at publishing: enough to go back twice, bounded in disk."""


@dataclass(frozen=True)
class Entry:
    """A case with its vectors, images x dimension, one row per `case.images` in that order."""

    case: Case
    vectors: Vectors


class Snapshot(Record):
    """What a published state holds."""

    snapshot_id: SnapshotId
    """Increases with every publication."""
    encoder: EncoderIdentity
    """Whose vectors these are."""
    dimension: int
    """Length of a vector."""
    cases: int
    """Visible cases."""
    images: int
    """Visible image rows."""
    created: str
    """UTC time of publication, ISO 8601."""
    note: str = ""
    """Who or what published it, as given."""


class Store(Protocol):
    """Cases and their vectors, in snapshots."""

    def current(self) -> Snapshot | None:
        """The snapshot that answers; None before the first publication."""

    def snapshots(self) -> list[Snapshot]:
        """Every retained snapshot, oldest first."""

    def contents(self) -> Mapping[CaseId, str]:
        """Case id to `Case.content` for every visible case."""

    def staged(self) -> Mapping[CaseId, str]:
        """Case id to `Case.content` for every case staged and not yet published."""

    def extractors(self, among: Literal["visible", "staged"] = "visible") -> Mapping[CaseId, ExtractorIdentity | None]:
        """What read the report of each case; None where nothing has. Parses no record: this is for counting.

        In the order of storage, in which `entries` is fastest.
        """

    def unlisted(self, among: Literal["visible", "staged"] = "visible") -> frozenset[CaseId]:
        """Cases that something has read and yet no search by report finds: their lists are of another form or ontology.

        Staged again, they are found.
        """

    def stage(self, entries: Sequence[Entry]) -> None:
        """Write entries durably; a case staged again, or already visible, is replaced at publication.

        Raises StoreFull (nothing of this call is kept), StoreBusy, EncoderMismatch (rows of another length or count,
        or not of unit length). Where one call brings a case twice, the later entry counts. The first writing call
        makes this object the only writer until `close`. Cases in the erasure ledger are refused with RequestError:
        callers ask `erased` first.
        """

    def unstage(self, case_ids: Collection[CaseId]) -> None:
        """Forget what is staged of these cases; what is visible of them stays. Raises StoreBusy, StoreFull.

        For staged work that is no longer wanted: publishing with `remove` would take out the visible case as well.
        Where it does not return, some may still be staged, each as staged last: call again.
        """

    def publish(self, *, remove: Collection[CaseId] = (), note: str = "") -> Snapshot:
        """Make everything staged visible, without `remove`, in one step, over whatever snapshot is current.

        Drops snapshots beyond RETAINED_SNAPSHOTS, oldest first, but never the one that was current until now.
        Raises StoreFull (the current snapshot serves on, staged work stays staged), StoreBusy.
        """

    def nearest(self, vectors: Vectors, limit: int, where: Where = EVERYWHERE) -> list[list[Hit]]:
        """For each query row the `limit` nearest image rows, nearest first, ties by case id then image: exact.

        Queries are unit rows. Raises StoreUnavailable before the first publication, EncoderMismatch.
        """

    def similar_concepts(
        self,
        query: ConceptSet,
        limit: int,
        where: Where = EVERYWHERE,
        *,
        form: Form = "symmetric",
        within: frozenset[ConceptId] | None = None,
    ) -> list[Match]:
        """The `limit` cases that say the most similar things, most similar first, ties by case id: exact.

        A case that shares nothing, or that nobody has read, is not found. What a concept weighs is counted over the
        visible cases that somebody has read, whatever `where` leaves out. `within` compares in those concepts alone.
        Raises StoreUnavailable before the first publication.
        """

    def matching_text(self, words: str, limit: int, where: Where = EVERYWHERE) -> list[Match]:
        """As `similar_concepts`, by BM25 over the sentences that stand without an earlier study."""

    def compare(
        self,
        query: ConceptSet,
        case_ids: Sequence[CaseId],
        *,
        form: Form = "symmetric",
        within: frozenset[ConceptId] | None = None,
    ) -> list[ConceptComparison | None]:
        """Why each of these cases is as similar as it is; None for one that nobody has read. Raises UnknownCase."""

    def base_rates(self) -> Mapping[ConceptId, float]:
        """To what degree each concept is present in the mean of the visible cases that somebody has read."""

    def searchable(self) -> int:
        """How many visible cases the concept and text legs can find: those that somebody has read."""

    def kept(self, where: Where) -> int:
        """How many visible cases a search with these filters may find; `where.group` leaves out none."""

    def cases(self, case_ids: Sequence[CaseId]) -> list[Case]:
        """The visible cases of those ids, in that order; raises UnknownCase, also before the first publication."""

    def entries(self, case_ids: Sequence[CaseId]) -> list[Entry]:
        """As `cases`, with their vectors bit for bit: staged again, they are the same to every search."""

    def erase(self, case_ids: Collection[CaseId]) -> int:
        """Remove every byte of these cases from every retained snapshot and staged work; return how many were found.

        Ids that are not there are forbidden from now on all the same. Raises StoreBusy; on StoreFull the erasure is
        pending: the cases are hidden, and the next writing call completes it. Another object that has a snapshot open
        holds the cases in memory until it refreshes.
        """

    def erased(self, case_id: CaseId) -> bool:
        """Whether the ledger, as of opening, refreshing or this object's last writing call, forbids this case."""

    def rollback(self, snapshot_id: SnapshotId) -> Snapshot:
        """Make a retained snapshot current again; cases erased since stay erased. Raises UnknownSnapshot."""

    def refresh(self) -> None:
        """Move on to the newest published snapshot; until then a store answers from the one it opened."""

    def verify(self) -> list[str]:
        """Every fault found by reading everything and comparing checksums and counts; empty when whole."""

    def close(self) -> None:
        """Release locks and handles; the store cannot be used afterwards."""
