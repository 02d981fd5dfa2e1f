"""Publication's arithmetic: which staged cases win, what they replace, and which segments become one.

Segments are merged like the digits of a binary counter: a publication swallows every published segment that is not
larger than what it has swallowed so far. So n cases lie in about log2(n) segments however they arrived, and each case
is rewritten about log2(n) times.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from retrieval.records import CaseId
from retrieval.stores.bookkeeping import Books
from retrieval.stores.documents import Description, Pointer
from retrieval.stores.store import Entry


@dataclass(frozen=True)
class Merged:
    """The segments of the next snapshot."""

    segments: tuple[Description, ...]
    tombstones: dict[str, tuple[int, ...]]
    cases: int
    images: int


def merge(
    books: Books, pointer: Pointer, staged: list[Description], remove: Collection[CaseId],
    forbids: Callable[[CaseId], bool],
) -> Merged:  # fmt: skip
    """What everything staged over the current snapshot without `remove` comes to; writes at most one segment.

    Opens one segment at a time, so memory holds the vectors of the new segment and of one old one.
    """
    removed = set(remove)
    # 1. Of a case staged more than once the last staging wins.
    winners: dict[CaseId, tuple[str, int]] = {}
    for description in staged:
        for ordinal, (case_id, _) in enumerate(books.open(description, pointer.dimension).contents()):
            if case_id not in removed and not forbids(case_id):
                winners[case_id] = description.segment, ordinal
    won: dict[str, set[int]] = {description.segment: set() for description in staged}
    for segment, ordinal in winners.values():
        won[segment].add(ordinal)

    # 2. What each published segment loses by that.
    base = None if pointer.current is None else books.manifest(pointer.current)
    published = base.segments if base else ()
    lost: dict[str, set[int]] = {}
    for description in published:
        replaced = books.open(description, pointer.dimension).find({*winners, *removed})
        lost[description.segment] = {
            *replaced.values(),
            *(base.tombstones if base else {}).get(description.segment, ()),
        }

    # 3. The binary counter; a segment of which less than half is left is worth rewriting whatever its size.
    size, swallowed, kept = len(winners), [], []
    for description in sorted(published, key=lambda d: d.cases - len(lost[d.segment])):
        left = description.cases - len(lost[description.segment])
        if 0 < left <= size or 0 < 2 * left < description.cases:
            swallowed.append(description)
            size += left
        elif left:
            kept.append(description)

    # 4. The new segment, unless one staged segment can serve as it stands.
    for description in staged:
        lost[description.segment] = set(range(description.cases)) - won[description.segment]
    if len(staged) == 1 and not swallowed and winners:
        kept.append(staged[0])
    elif size:
        entries = _survivors(books, pointer.dimension, [*swallowed, *staged], lost)
        kept.append(books.build("merged", 0, pointer.dimension, entries))

    # 5. Counts.
    tombstones = {d.segment: tuple(sorted(lost[d.segment])) for d in kept if lost.get(d.segment)}
    images = sum(d.images for d in kept)
    for description in kept:
        if gone := tombstones.get(description.segment):
            images -= books.open(description, pointer.dimension).image_count(np.array(gone, np.int64))
    cases = sum(d.cases - len(tombstones.get(d.segment, ())) for d in kept)
    return Merged(tuple(kept), tombstones, cases, images)


def _survivors(books: Books, dimension: int, sources: list[Description], lost: dict[str, set[int]]) -> Iterator[Entry]:
    for description in sources:
        ordinals = np.array([o for o in range(description.cases) if o not in lost[description.segment]], np.int64)
        if len(ordinals):
            yield from books.open(description, dimension).entries(ordinals)
