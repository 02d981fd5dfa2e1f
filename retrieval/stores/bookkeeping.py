"""Which documents and segments a store is made of, and which of them count: the typed face of a `Segments` shelf.

Reads and writes pointer, ledger, manifests and descriptions; says which segments are staged; clears away what no
document accounts for. Knows nothing of locking, merging or searching.
"""

import contextlib
import re
import secrets
import weakref
from collections.abc import Iterable
from typing import Literal

from retrieval.errors import PrelimError, StoreCorrupt
from retrieval.records import SnapshotId
from retrieval.stores.documents import Description, Ledger, Manifest, Pointer, seal, unseal
from retrieval.stores.segments import Segment, Segments
from retrieval.stores.store import Entry

POINTER, LEDGER, SNAPSHOTS = "current", "ledger", "snapshots"


class Books:
    """The documents of one store, read from the shelf each time: another process may have written them."""

    def __init__(self, shelf: Segments) -> None:
        self._shelf = shelf
        # A segment that some snapshot object still holds is not read and checked again; segments never change.
        self._open: weakref.WeakValueDictionary[str, Segment] = weakref.WeakValueDictionary()

    def pointer(self) -> Pointer | None:
        """None in a new store; raises StoreCorrupt when it is damaged, or lost from a store that holds something."""
        sealed = self._shelf.read(POINTER)
        # The pointer is written before any segment, so a store with segments and no pointer has lost it.
        if sealed is None and not self._shelf.segments() and not self.snapshot_ids():
            return None
        return unseal(Pointer, POINTER, sealed)

    def ledger(self) -> Ledger:
        """Raises StoreCorrupt when it is missing: without it nobody knows which cases may not be served."""
        return unseal(Ledger, LEDGER, self._shelf.read(LEDGER))

    def manifest(self, snapshot_id: SnapshotId) -> Manifest:
        """One snapshot's document; raises StoreCorrupt."""
        return unseal(Manifest, f"{SNAPSHOTS}/{snapshot_id}", self._shelf.read(f"{SNAPSHOTS}/{snapshot_id}"))

    def manifests(self, pointer: Pointer) -> list[Manifest]:
        """Every retained snapshot, oldest first; raises StoreCorrupt."""
        return [self.manifest(snapshot_id) for snapshot_id in pointer.retained]

    def readable(self, snapshot_ids: Iterable[SnapshotId]) -> list[Manifest]:
        """Those of the snapshots whose documents are whole and stand under their own names, in that order."""
        found = []
        for snapshot_id in snapshot_ids:
            with contextlib.suppress(StoreCorrupt):
                if (manifest := self.manifest(snapshot_id)).snapshot_id == snapshot_id:
                    found.append(manifest)
        return found

    def snapshot_ids(self) -> list[SnapshotId]:
        """Every manifest document there is, also one that a killed publication left behind.

        Other names are none of ours: somebody's copy of a manifest is no snapshot.
        """
        names = [name.rpartition("/")[2] for name in self._shelf.documents(SNAPSHOTS)]
        return [SnapshotId(name) for name in names if re.fullmatch(r"[0-9]{8,}", name)]

    def segments(self) -> list[str]:
        """Every segment on the shelf, finished or not."""
        return self._shelf.segments()

    def description(self, segment: str) -> Description | None:
        """None for an unfinished segment; raises StoreCorrupt when it is damaged."""
        sealed = self._shelf.read(_described(segment))
        return None if sealed is None else unseal(Description, _described(segment), sealed)

    def staged(self, pointer: Pointer) -> list[Description]:
        """Finished segments that wait for publication, in the order of staging; raises StoreCorrupt."""
        found = (self.description(segment) for segment in self._shelf.segments())
        waiting = [d for d in found if d and d.purpose == "staged" and d.order > pointer.published_order]
        # An erasure or unstaging that was killed half-way leaves a staged segment beside its rewriting, under the same
        # order. They differ only in cases the ledger hides, or of which nobody was told that they went: either will do.
        return sorted({d.order: d for d in waiting}.values(), key=lambda d: d.order)

    def put_pointer(self, pointer: Pointer) -> None:
        """The swap: what it names is visible from here on."""
        self._shelf.write(POINTER, seal(pointer))

    def put_ledger(self, ledger: Ledger) -> None:
        """Durable on return."""
        self._shelf.write(LEDGER, seal(ledger))

    def put_manifest(self, manifest: Manifest) -> None:
        """Durable on return, visible only once the pointer names it."""
        self._shelf.write(f"{SNAPSHOTS}/{manifest.snapshot_id}", seal(manifest))

    def begin(self, pointer: Pointer) -> None:
        """The first two documents of a new store, in the order that `pointer` relies on."""
        if self._shelf.read(LEDGER) is None:
            self.put_ledger(Ledger(salt=secrets.token_hex(32)))
        self.put_pointer(pointer)

    def build(
        self, purpose: Literal["staged", "merged"], order: int, dimension: int, entries: Iterable[Entry]
    ) -> Description:
        """Write a segment, its description last; after StoreFull or any other answer nothing of it is kept."""
        segment = secrets.token_hex(8)
        try:
            built = self._shelf.build(segment, dimension, entries)
            description = Description(**built.model_dump(), segment=segment, purpose=purpose, order=order)
            self._shelf.write(_described(segment), seal(description))
        except PrelimError:
            with contextlib.suppress(PrelimError):
                self.discard(segment)
            raise
        return description

    def open(self, description: Description, dimension: int) -> Segment:
        """A segment for reading, checked unless it is open already; raises StoreCorrupt."""
        known = self._open.get(description.segment)
        if known is None:
            known = self._shelf.open(description.segment, description, dimension)
            self._open[description.segment] = known
        return known

    def discard(self, segment: str) -> None:
        """Drop a segment, its description first: half-dropped must look unfinished, not damaged."""
        self._shelf.delete(_described(segment))
        self._shelf.drop(segment)

    def sweep(self, pointer: Pointer) -> None:
        """Drop every segment and manifest that neither a retained snapshot nor staging needs.

        Reads all it needs before the first removal, so that damage stops it (StoreCorrupt) with nothing lost.
        """
        needed = {d.segment for manifest in self.manifests(pointer) for d in manifest.segments}
        needed |= {description.segment for description in self.staged(pointer)}
        for snapshot_id in self.snapshot_ids():
            if snapshot_id not in pointer.retained:
                self._shelf.delete(f"{SNAPSHOTS}/{snapshot_id}")
        for segment in self._shelf.segments():
            if segment not in needed:
                self.discard(segment)

    def segment_faults(self, description: Description) -> list[str]:
        """What differs in one segment, its description included."""
        try:
            if self.description(description.segment) != description:
                return [f"segment {description.segment} is not the one its snapshot names"]
        except StoreCorrupt as error:
            return [error.what]
        return self._shelf.faults(description.segment, description)

    def remade_pointer(self) -> Pointer:
        """The pointer as the manifests tell it, for a store that lost its own; the newest readable one is current."""
        manifests = self.readable(self.snapshot_ids())
        if not manifests:
            raise StoreCorrupt(
                "neither the pointer nor any snapshot can be read",
                fix="build the index again in a new folder: prelim-index build",
            )
        return Pointer(
            encoder=manifests[-1].encoder,
            dimension=manifests[-1].dimension,
            current=manifests[-1].snapshot_id,
            retained=tuple(manifest.snapshot_id for manifest in manifests),
            publications=max(int(snapshot_id) for snapshot_id in self.snapshot_ids()),
            published_order=max(manifest.published_order for manifest in manifests),
        )


def _described(segment: str) -> str:
    return f"segments/{segment}/segment"
