"""Verification: read everything a store keeps, and say what does not hold; in repair, drop it.

Finds damage in documents and segments, counts that do not add up, and erased cases that are still stored. Changes
nothing except where the name says so.
"""

import contextlib
from collections.abc import Callable, Iterator

from retrieval.errors import OperatorError, StoreCorrupt, StoreUnavailable
from retrieval.records import SnapshotId
from retrieval.stores.bookkeeping import LEDGER, Books
from retrieval.stores.documents import Description, Manifest, Pointer


def store_faults(books: Books, read_pointer: Callable[[], Pointer | None]) -> list[str]:
    """Every fault of the pointer, the ledger, each retained snapshot and staged work, sorted; empty when whole."""
    faults: list[str] = []
    pointer: Pointer | None = None
    with _noting(faults):
        pointer = read_pointer()
    if pointer is None and faults:
        # One lost document must not hide what else is damaged.
        with contextlib.suppress(StoreCorrupt):
            pointer = books.remade_pointer()
    if pointer is None:
        return faults
    with _noting(faults):
        books.ledger()
    published: dict[str, Description] = {}
    for snapshot_id in pointer.retained:
        with _noting(faults):
            manifest = books.manifest(snapshot_id)
            faults += _snapshot_faults(books, manifest)
            published |= {d.segment: d for d in manifest.segments}
    for segment in books.segments():
        with _noting(faults):
            description = books.description(segment)
            if description is not None and segment not in published:
                faults += books.segment_faults(description)
    if not faults:
        faults += _erasure_faults(books, pointer, list(published.values()))
    return sorted(set(faults))


def whole_snapshots(books: Books, pointer: Pointer) -> tuple[SnapshotId, ...]:
    """The retained snapshots of which every byte is as it was written."""
    whole = []
    for snapshot_id in pointer.retained:
        with contextlib.suppress(StoreCorrupt):
            if not _snapshot_faults(books, books.manifest(snapshot_id)):
                whole.append(snapshot_id)
    return tuple(whole)


def discard_damaged(books: Books) -> None:
    """Drop every segment that is not as it was written; staged work in it has to be staged again."""
    for segment in books.segments():
        try:
            description = books.description(segment)
            whole = description is None or not books.segment_faults(description)
        except StoreCorrupt:
            whole = False
        if not whole:
            books.discard(segment)


def _snapshot_faults(books: Books, manifest: Manifest) -> list[str]:
    found = [fault for description in manifest.segments for fault in books.segment_faults(description)]
    cases = sum(d.cases for d in manifest.segments) - sum(len(gone) for gone in manifest.tombstones.values())
    if cases != manifest.cases:
        found.append(f"snapshot {manifest.snapshot_id} says {manifest.cases} cases and holds {cases}")
    return found


def _erasure_faults(books: Books, pointer: Pointer, published: list[Description]) -> list[str]:
    ledger = books.ledger()
    if ledger.pending:
        return ["an erasure was begun and is not finished: the next writer completes it"]
    if not ledger.tokens:
        return []
    return [
        f"segment {description.segment} holds a case that the {LEDGER} forbids"
        for description in [*published, *books.staged(pointer)]
        if any(ledger.forbids(case_id) for case_id, _ in books.open(description, pointer.dimension).contents())
    ]


@contextlib.contextmanager
def _noting(faults: list[str]) -> Iterator[None]:
    """Damage becomes a line of the list, as does what may not be read: one fault must not hide the next."""
    try:
        yield
    except (OperatorError, StoreUnavailable) as error:
        faults.append(error.what)
