"""What is true of a whole snapshot: what its reports usually say, against which the drafter judges a vote.

Made after every publication, rollback and erasure and kept beside the snapshot; where that document is missing,
damaged or of another snapshot (a build was killed between publishing and writing it) it is made again in memory, so
that a reader is never wrong, only slower.
"""

from importlib.metadata import version

from generation.statements import Statements, summarise
from retrieval.errors import StoreCorrupt, StoreUnavailable
from retrieval.index import Index
from retrieval.records import Record, SnapshotId


class IndexSummary(Record):
    """A snapshot in rates and phrases. Phrases are report text: an erasure makes this document anew."""

    snapshot: SnapshotId
    """Which snapshot this is about."""
    software: str
    """Version of Prelim that read the reports: another may read them otherwise."""
    statements: Statements
    """What reports usually say."""


def make_summary(index: Index) -> IndexSummary:
    """Read every visible case; raises StoreUnavailable when nothing is published."""
    snapshot = index.store.current()
    if snapshot is None:
        raise StoreUnavailable("nothing has been published in this index", fix="finish: prelim-index build")
    visible = sorted(index.store.contents())
    return IndexSummary(
        snapshot=snapshot.snapshot_id,
        software=version("prelim"),
        statements=summarise(index.store.cases(visible)),
    )


def keep_summary(index: Index) -> None:
    """Make and keep the summary of what is visible now; does nothing when it is kept already or nothing is visible."""
    if index.store.current() is not None and _kept(index) is None:
        index.keep_summary(make_summary(index))


def summary_of(index: Index) -> IndexSummary:
    """The kept summary, or the same made in memory; raises StoreUnavailable when nothing is published."""
    return _kept(index) or make_summary(index)


def _kept(index: Index) -> IndexSummary | None:
    """The kept summary if it is whole, of the current snapshot and of this version."""
    snapshot = index.store.current()
    try:
        kept = index.summary(IndexSummary)
    except StoreCorrupt:
        # All of it follows from the cases, which are checked for themselves; `verify` names the damage.
        return None
    if kept is None or snapshot is None or kept.software != version("prelim"):
        return None
    return kept if kept.snapshot == snapshot.snapshot_id else None
