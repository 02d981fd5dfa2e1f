"""The durable store: snapshots, publication, erasure and rollback over any shelf of immutable segments.

A snapshot is a manifest over segments plus tombstones; one pointer document says which snapshot answers. Every step
writes what is new beside what is old and makes it count by replacing one document, so a writer killed at any moment
leaves the last snapshot whole, the staged work in place, and rubbish that the next writer clears away.

The first writing call makes this object the store's only writer until `close`: a build and its staged work belong
together. Readers take no lock. Opening reads and checks every byte of the current snapshot on shelves that keep files
(SHA-256 runs at about 1 to 2 GB/s: two seconds for a million 512-dimensional rows); refreshing reads only new segments.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal, TypeVar

from retrieval.comparison import ConceptComparison, ConceptSet, Form
from retrieval.encoders.encoder import Vectors
from retrieval.errors import EncoderMismatch, PrelimError, StoreCorrupt, StoreUnavailable, UnknownCase, UnknownSnapshot
from retrieval.mentions import ConceptId, ExtractorIdentity
from retrieval.records import Case, CaseId, EncoderIdentity, SnapshotId
from retrieval.stores.acceptance import accept
from retrieval.stores.bookkeeping import Books
from retrieval.stores.checking import discard_damaged, store_faults, whole_snapshots
from retrieval.stores.documents import Ledger, Manifest, Pointer
from retrieval.stores.erasure import count_found, purge, unstage
from retrieval.stores.merging import merge
from retrieval.stores.reading import OpenSnapshot, open_snapshot, read_and_listed
from retrieval.stores.segments import Segment, Segments
from retrieval.stores.store import RETAINED_SNAPSHOTS, Entry, Snapshot
from retrieval.where import EVERYWHERE, Hit, Match, Where

T = TypeVar("T")
ATTEMPTS = 20
"""How often a reader starts again when a writer replaced what it was reading; a small store changes often."""


class SegmentedStore:
    """A store on a shelf of segments; see `retrieval.stores.store.Store` for every method.

    `encoder` and `dimension` None open whatever is there. `opening="repair"` opens a store whose current snapshot is
    damaged: `verify`, `snapshots` (those that can still be read) and `rollback` work, also when the pointer is lost,
    and rollback then drops whatever else is damaged.
    """

    def __init__(
        self,
        segments: Segments,
        encoder: EncoderIdentity | None,
        dimension: int | None,
        *,
        opening: Literal["current", "repair"] = "current",
    ) -> None:
        self._shelf = segments
        self._books = Books(segments)
        self._encoder = encoder
        self._dimension = dimension
        self._opening = opening
        self._writing = False
        # Only the writer counts, so it need not read every staged description again at each staging.
        self._last_order = 0
        self._ledger: Ledger | None = None
        self._view: OpenSnapshot | None = None
        if opening == "current":
            self.refresh()

    # Reading

    def current(self) -> Snapshot | None:
        return None if self._view is None else self._view.snapshot

    def snapshots(self) -> list[Snapshot]:
        def read() -> list[Snapshot]:
            if self._opening == "repair":
                return [manifest.snapshot() for manifest in self._readable()]
            pointer = self._pointer()
            return [manifest.snapshot() for manifest in self._books.manifests(pointer)] if pointer else []

        return self._steadily(read)

    def contents(self) -> Mapping[CaseId, str]:
        return {} if self._view is None else self._view.contents()

    def staged(self) -> Mapping[CaseId, str]:
        return self._steadily(lambda: self._waiting(lambda segment: segment.contents()))

    def extractors(self, among: Literal["visible", "staged"] = "visible") -> Mapping[CaseId, ExtractorIdentity | None]:
        if among == "staged":
            return self._steadily(lambda: self._waiting(lambda segment: segment.extractors()))
        return {} if self._view is None else self._view.extractors()

    def unlisted(self, among: Literal["visible", "staged"] = "visible") -> frozenset[CaseId]:
        if among == "visible":
            return frozenset() if self._view is None else self._view.unlisted()
        waiting = self._steadily(lambda: self._waiting(read_and_listed))
        return frozenset(case_id for case_id, (read, listed) in waiting.items() if read and not listed)

    def nearest(self, vectors: Vectors, limit: int, where: Where = EVERYWHERE) -> list[list[Hit]]:
        return self._published().nearest(vectors, limit, where)

    def similar_concepts(
        self,
        query: ConceptSet,
        limit: int,
        where: Where = EVERYWHERE,
        *,
        form: Form = "symmetric",
        within: frozenset[ConceptId] | None = None,
    ) -> list[Match]:
        view = self._published()
        return view.legs.similar(query, limit, view.excluded(where), form, within)

    def matching_text(self, words: str, limit: int, where: Where = EVERYWHERE) -> list[Match]:
        view = self._published()
        return view.legs.matching(words, limit, view.excluded(where))

    def compare(
        self,
        query: ConceptSet,
        case_ids: Sequence[CaseId],
        *,
        form: Form = "symmetric",
        within: frozenset[ConceptId] | None = None,
    ) -> list[ConceptComparison | None]:
        return self._published().compare(query, case_ids, form, within)

    def base_rates(self) -> Mapping[ConceptId, float]:
        return self._published().legs.base_rates()

    def searchable(self) -> int:
        return 0 if self._view is None else self._view.legs.cases

    def kept(self, where: Where) -> int:
        return 0 if self._view is None else self._view.kept(where)

    def cases(self, case_ids: Sequence[CaseId]) -> list[Case]:
        if self._view is None:
            if case_ids:
                raise UnknownCase(f"no case {case_ids[0]!r}: nothing has been published yet", unquoted="no such case")
            return []
        return self._view.cases(case_ids)

    def entries(self, case_ids: Sequence[CaseId]) -> list[Entry]:
        if self._view is None:
            if case_ids:
                raise UnknownCase(f"no case {case_ids[0]!r}: nothing has been published yet", unquoted="no such case")
            return []
        return self._view.entries(case_ids)

    def erased(self, case_id: CaseId) -> bool:
        return self._ledger is not None and self._ledger.forbids(case_id)

    def refresh(self) -> None:
        self._view = self._steadily(self._load)

    # Writing

    def stage(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        pointer = self._own()
        accepted = accept(entries, pointer.dimension, self.erased)
        self._books.build("staged", self._last_order + 1, pointer.dimension, accepted)
        self._last_order += 1

    def unstage(self, case_ids: Collection[CaseId]) -> None:
        if not case_ids:
            return
        pointer = self._own()
        with self._nothing_kept_on_failure():
            unstage(self._books, pointer, case_ids)

    def publish(self, *, remove: Collection[CaseId] = (), note: str = "") -> Snapshot:
        pointer = self._own()
        with self._nothing_kept_on_failure():
            # 1. One new segment, and a manifest that nobody reads yet.
            staged = self._books.staged(pointer)
            merged = merge(self._books, pointer, staged, remove, self.erased)
            number = pointer.publications + 1
            manifest = Manifest(
                snapshot_id=SnapshotId(f"{number:08d}"),
                encoder=pointer.encoder,
                dimension=pointer.dimension,
                cases=merged.cases,
                images=merged.images,
                created=datetime.now(UTC).isoformat(timespec="milliseconds"),
                note=note,
                segments=merged.segments,
                tombstones=merged.tombstones,
                published_order=self._last_order,
            )
            self._books.put_manifest(manifest)
            # 2. The swap.
            changed = {
                "current": manifest.snapshot_id,
                "retained": (*_still_retained(pointer), manifest.snapshot_id),
                "publications": number,
                "published_order": self._last_order,
            }
            pointer = pointer.model_copy(update=changed)
            self._books.put_pointer(pointer)
        # 3. What nothing refers to any more; opened first, so that segments this object holds are not read again.
        self._view = self._load()
        # Published is published: rubbish that will not go is left to the next writer.
        with contextlib.suppress(PrelimError):
            self._books.sweep(pointer)
        return manifest.snapshot()

    def erase(self, case_ids: Collection[CaseId]) -> int:
        pointer = self._own()
        ledger = self._books.ledger()
        found = count_found(self._books, pointer, set(case_ids))
        pending = {ledger.token(case_id) for case_id in case_ids}
        # The ledger first: from here on no reader that opens serves these cases, whatever happens to this process.
        self._ledger = ledger.model_copy(update={"tokens": {**ledger.tokens, **dict.fromkeys(pending, "pending")}})
        self._books.put_ledger(self._ledger)
        try:
            with self._nothing_kept_on_failure():
                self._ledger = purge(self._books, pointer, self._ledger)
        finally:
            self._view = self._load(keep=True)
        return found

    def rollback(self, snapshot_id: SnapshotId) -> Snapshot:
        pointer = self._own() if self._opening == "current" else self._own_damaged()
        if snapshot_id not in pointer.retained:
            raise UnknownSnapshot(f"no snapshot {snapshot_id!r} is retained", fix="`prelim-index describe` lists them")
        # Opened, so checked, before anything is changed.
        self._view = open_snapshot(self._books, self._books.manifest(snapshot_id), self._books.ledger())
        pointer = pointer.model_copy(update={"current": snapshot_id})
        if self._opening == "repair":
            pointer = pointer.model_copy(update={"retained": whole_snapshots(self._books, pointer)})
            discard_damaged(self._books)
        self._books.put_pointer(pointer)
        self._opening = "current"
        self._recover()
        # Once more, as finishing an erasure may have rewritten it.
        self._view = open_snapshot(self._books, self._books.manifest(snapshot_id), self._books.ledger())
        return self._view.snapshot

    def verify(self) -> list[str]:
        """Also reads the ledger: a case that it forbids and a segment still holds is a fault."""
        faults = store_faults(self._books, self._pointer)
        if faults and not self._writing:
            # Damage stands; what a writer was replacing while it was read is another thing by now, or gone.
            faults = sorted({*faults} & {*store_faults(self._books, self._pointer)})
        return faults

    def close(self) -> None:
        self._view = None
        self._writing = False
        self._shelf.close()

    def _published(self) -> OpenSnapshot:
        if self._view is None:
            raise StoreUnavailable("no published snapshot is open", fix="publish, then refresh")
        return self._view

    # The writer's duties

    def _own(self) -> Pointer:
        """Become the writer, finishing what a killed one began; raises StoreBusy and EncoderMismatch."""
        if not self._writing:
            self._shelf.lock()
            self._writing = True
            try:
                return self._recover()
            except BaseException:
                self._writing = False
                self._shelf.unlock()
                raise
        pointer = self._pointer()
        if pointer is None or self._books.ledger().pending:
            # An erasure of this very object failed for want of room: it comes before anything else.
            return self._recover()
        return pointer

    def _recover(self) -> Pointer:
        pointer = self._pointer()
        if pointer is None:
            if self._encoder is None or self._dimension is None:
                raise StoreUnavailable("the store is empty and no encoder was named", fix="name the encoder")
            pointer = Pointer(encoder=self._encoder, dimension=self._dimension)
            self._books.begin(pointer)
        self._books.sweep(pointer)
        self._last_order = max([pointer.published_order, *(d.order for d in self._books.staged(pointer))])
        self._ledger = self._books.ledger()
        if self._ledger.pending:
            with self._nothing_kept_on_failure():
                self._ledger = purge(self._books, pointer, self._ledger)
        return pointer

    @contextlib.contextmanager
    def _nothing_kept_on_failure(self) -> Iterator[None]:
        try:
            yield
        except PrelimError:
            # The pointer on disk says whether the swap happened, so it and not this call decides what is rubbish.
            with contextlib.suppress(PrelimError):
                pointer = self._pointer()
                if pointer is not None:
                    self._books.sweep(pointer)
            raise

    def _load(self, *, keep: bool = False) -> OpenSnapshot | None:
        """The current snapshot, or with `keep` the one that is open if it is still retained."""
        pointer = self._pointer()
        if pointer is None:
            self._ledger = None
            return None
        self._ledger = self._books.ledger()
        chosen = pointer.current
        if keep and self._view is not None and self._view.snapshot.snapshot_id in pointer.retained:
            chosen = self._view.snapshot.snapshot_id
        return None if chosen is None else open_snapshot(self._books, self._books.manifest(chosen), self._ledger)

    def _waiting(self, told: Callable[[Segment], list[tuple[CaseId, T]]]) -> dict[CaseId, T]:
        """What the segments that wait for publication tell of each case, as staged last."""
        pointer = self._pointer()
        waiting: dict[CaseId, T] = {}
        if pointer is None:
            return waiting
        ledger = self._books.ledger()
        for description in self._books.staged(pointer):
            waiting.update(told(self._books.open(description, pointer.dimension)))
        return {case_id: value for case_id, value in waiting.items() if not ledger.forbids(case_id)}

    def _pointer(self) -> Pointer | None:
        pointer = self._books.pointer()
        if pointer is None:
            return None
        if self._encoder not in (None, pointer.encoder) or self._dimension not in (None, pointer.dimension):
            raise EncoderMismatch(
                f"the index was built with {pointer.encoder!r} (dimension {pointer.dimension}), "
                f"not with {self._encoder!r} (dimension {self._dimension})",
                fix="configure that encoder, or build a new index",
            )
        return pointer

    def _steadily(self, read: Callable[[], T]) -> T:
        """Read again when a writer may have replaced something meanwhile.

        Writers drop a segment only after no document names it, so whoever starts again is told of others: the same
        complaint twice is damage.
        """
        complaint = ""
        for _ in range(ATTEMPTS):
            try:
                return read()
            except StoreCorrupt as error:
                if self._writing or str(error) == complaint:
                    raise
                complaint = str(error)
        raise StoreUnavailable("a writer kept replacing what was being read", fix="try again")

    # Damage

    def _own_damaged(self) -> Pointer:
        self._shelf.lock()
        self._writing = True
        try:
            pointer = self._pointer()
        except StoreCorrupt:
            return self._books.remade_pointer()
        return pointer or self._books.remade_pointer()

    def _readable(self) -> list[Manifest]:
        try:
            pointer = self._pointer()
        except StoreCorrupt:
            pointer = self._books.remade_pointer()
        return self._books.readable(pointer.retained) if pointer else []


def _still_retained(pointer: Pointer) -> list[SnapshotId]:
    """What stays beside a new snapshot: the one that served until now, even after a rollback, and the newest others."""
    others = [snapshot_id for snapshot_id in pointer.retained if snapshot_id != pointer.current]
    now = [] if pointer.current is None else [pointer.current]
    return sorted([*others[-(RETAINED_SNAPSHOTS - 2) :], *now])
