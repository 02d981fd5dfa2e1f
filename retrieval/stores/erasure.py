"""Erasure: make every byte of a case disappear from every retained snapshot and from staged work.

Nothing is overwritten in place. Each segment that holds such a case is written again without it, the manifests are
pointed at the new segment, and the old one is dropped as a whole; only then is the ledger told that it is done.
Killed anywhere in between, the tokens are still `pending`: readers hide those cases and the next writer runs this
again. What it cannot reach: backups, other processes' memory until they refresh, and blocks that a file system or
disk keeps after a file was deleted.
"""

from collections.abc import Callable, Collection

import numpy as np

from retrieval.records import CaseId
from retrieval.stores.bookkeeping import Books
from retrieval.stores.documents import Description, Ledger, Manifest, Pointer
from retrieval.stores.segments import Segment


def purge(books: Books, pointer: Pointer, ledger: Ledger) -> Ledger:
    """Rewrite whatever holds a pending case, drop the old segments, and return the ledger with nothing pending."""
    manifests = books.manifests(pointer)
    everything = {d.segment: d for manifest in manifests for d in manifest.segments}
    everything |= {d.segment: d for d in books.staged(pointer)}

    # 1. A second segment beside each affected one.
    rewritten: dict[str, Rewriting] = {}
    for description in everything.values():
        segment = books.open(description, pointer.dimension)
        doomed = _ordinals(segment, ledger.forbids)
        if doomed:
            rewritten[description.segment] = _rewrite(books, pointer, description, segment, doomed)

    # 2. Each manifest over to the new ones, one atomic document at a time: every one of them is whole by itself.
    for manifest in manifests:
        if any(d.segment in rewritten for d in manifest.segments):
            books.put_manifest(_redirect(books, manifest, rewritten))

    # 3. Only now can the bytes go, and only after that is it true that they are gone.
    for segment_id in rewritten:
        books.discard(segment_id)
    done = ledger.model_copy(update={"tokens": dict.fromkeys(ledger.tokens, "done")})
    books.put_ledger(done)
    return done


def count_found(books: Books, pointer: Pointer, case_ids: set[CaseId]) -> int:
    """How many of the cases a retained snapshot shows or staging holds."""
    found: set[CaseId] = set()
    for manifest in books.manifests(pointer):
        for description in manifest.segments:
            gone = set(manifest.tombstones.get(description.segment, ()))
            here = books.open(description, pointer.dimension).find(case_ids)
            found |= {case_id for case_id, ordinal in here.items() if ordinal not in gone}
    for description in books.staged(pointer):
        found |= set(books.open(description, pointer.dimension).find(case_ids))
    return len(found)


def unstage(books: Books, pointer: Pointer, case_ids: Collection[CaseId]) -> None:
    """Rewrite staged segments without these cases, the oldest first: no earlier staging of a case comes to light."""
    for old in books.staged(pointer):
        segment = books.open(old, pointer.dimension)
        if doomed := frozenset(segment.find(case_ids).values()):
            _rewrite(books, pointer, old, segment, doomed)
            books.discard(old.segment)


class Rewriting:
    """A segment's successor and where each of its ordinals went."""

    def __init__(self, successor: Description | None, moved: dict[int, int], lost: frozenset[int]) -> None:
        self.successor = successor
        """None when no case was left."""
        self.moved = moved
        """Old ordinal to new one."""
        self.lost = lost
        """Old ordinals that were erased."""


def _ordinals(segment: Segment, forbids: Callable[[CaseId], bool]) -> frozenset[int]:
    return frozenset(ordinal for ordinal, (case_id, _) in enumerate(segment.contents()) if forbids(case_id))


def _rewrite(books: Books, pointer: Pointer, old: Description, segment: Segment, doomed: frozenset[int]) -> Rewriting:
    left = [ordinal for ordinal in range(old.cases) if ordinal not in doomed]
    successor = None
    if left:
        entries = segment.entries(np.array(left, np.int64))
        successor = books.build(old.purpose, old.order, pointer.dimension, entries)
    return Rewriting(successor, {ordinal: new for new, ordinal in enumerate(left)}, doomed)


def _redirect(books: Books, manifest: Manifest, rewritten: dict[str, Rewriting]) -> Manifest:
    """The manifest over the rewritten segments, with its tombstones renumbered and its counts corrected."""
    segments: list[Description] = []
    tombstones: dict[str, tuple[int, ...]] = {}
    cases, images = manifest.cases, manifest.images
    for old in manifest.segments:
        gone = manifest.tombstones.get(old.segment, ())
        rewriting = rewritten.get(old.segment)
        if rewriting is None:
            segments.append(old)
            if gone:
                tombstones[old.segment] = gone
            continue
        visible = np.array(sorted(rewriting.lost - set(gone)), np.int64)
        cases -= len(visible)
        images -= books.open(old, manifest.dimension).image_count(visible)
        if rewriting.successor is not None:
            segments.append(rewriting.successor)
            if still := tuple(rewriting.moved[ordinal] for ordinal in gone if ordinal in rewriting.moved):
                tombstones[rewriting.successor.segment] = still
    changed = {"segments": tuple(segments), "tombstones": tombstones, "cases": cases, "images": images}
    return manifest.model_copy(update=changed)
