"""Reports read again where another extractor read them, or none: after an ontology, a rule or a vocabulary changed.

Also where their posting lists are of another form or ontology: no search by report finds those.

No image is opened and nothing is encoded: vectors move bit for bit. Cases are staged in batches and published once.
After a kill call again: what is staged and read by this extractor is not read twice, and readers see the concepts of
before until all are there.
"""

import time
from collections.abc import Callable

from retrieval.errors import UnfinishedBuild
from retrieval.extraction.extractor import Extractor
from retrieval.mentions import ExtractorIdentity
from retrieval.records import Record, SnapshotId
from retrieval.stores.store import Entry, Store

BATCH_CASES = 2048
"""Cases staged together: a kill costs about a second of reading, and a quarter of a million cases make 120 segments."""


class RereadReport(Record):
    """What a rereading did; every visible case is `read`, `resumed` or `unchanged`."""

    extractor: ExtractorIdentity
    """What has now read every visible case."""
    cases: int
    """Visible cases."""
    read: int
    """Read by this run."""
    resumed: int
    """Read by an earlier run that did not finish."""
    unchanged: int
    """Read by this extractor before, and listed."""
    seconds: float
    """Wall time of this run."""
    snapshot: SnapshotId | None
    """What is published now; None when nothing ever was."""


def reread(
    store: Store,
    extractor: Extractor,
    *,
    batch_cases: int = BATCH_CASES,
    note: str = "",
    on_case: Callable[[int], None] = lambda cases: None,
) -> RereadReport:
    """Read every visible report that `extractor` has not read or no list has; publishes only where there was one.

    The caller is the store's only writer already and has refreshed it: an entry from a snapshot that another writer
    has replaced would undo that writer's work. `on_case` is told how many more cases are dealt with. Raises
    UnfinishedBuild, StoreFull, StoreUnavailable.
    """
    began = time.monotonic()
    visible, contents = store.extractors(), store.contents()
    # 1. What waits already: ours counts, another extractor's is no longer wanted, a build's is not ours to publish.
    if any(contents.get(case_id) != content for case_id, content in store.staged().items()):
        raise UnfinishedBuild(
            "an unfinished build has staged cases", fix="finish it, or drop its work: run any prelim-index build"
        )
    staged, unlisted = store.extractors("staged"), store.unlisted("staged")
    resumed = {case_id for case_id, by in staged.items() if by == extractor.identity and case_id not in unlisted}
    store.unstage([case_id for case_id in staged if case_id not in resumed])
    # 2. The others, in the order of storage.
    unlisted = store.unlisted()
    stale = [
        case_id
        for case_id, by in visible.items()
        if (by != extractor.identity or case_id in unlisted) and case_id not in resumed
    ]
    on_case(len(visible) - len(stale))
    for some in (stale[start : start + batch_cases] for start in range(0, len(stale), batch_cases)):
        store.stage([_read(entry, extractor) for entry in store.entries(some)])
        on_case(len(some))
    # 3. All at once.
    if stale or resumed:
        store.publish(note=note)
    snapshot = store.current()
    return RereadReport(
        extractor=extractor.identity,
        cases=len(visible),
        read=len(stale),
        resumed=len(resumed),
        unchanged=len(visible) - len(stale) - len(resumed),
        seconds=time.monotonic() - began,
        snapshot=snapshot and snapshot.snapshot_id,
    )


def _read(entry: Entry, extractor: Extractor) -> Entry:
    concepts = extractor.read_report(entry.case.report)
    return Entry(entry.case.model_copy(update={"concepts": concepts}), entry.vectors)
