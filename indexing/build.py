"""A manifest to a published snapshot: read images and reports, encode, stage, publish.

The order of work makes every interruption harmless. A batch is staged (durable, invisible) before the next is read;
a build that is started again finds what is staged, skips it, and never encodes an acknowledged image twice. Readers
see the snapshot before or the snapshot after. Rows that cannot be indexed are quarantined with a reason, and the
counts reconcile: read = indexed + unchanged + quarantined.

What is in a report is read when its case is staged. A case that an earlier extractor has read is unchanged here:
`indexing.reread` reads its report again without its images.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest
from pathlib import Path
from typing import Literal

import numpy as np

from indexing.manifest import ManifestStudy, Quarantined, read_manifest
from retrieval.encoders.encoder import Encoder
from retrieval.errors import InvalidManifest, PrelimError
from retrieval.extraction.extractor import Extractor
from retrieval.gate import refuse_for_index
from retrieval.pixels.read import digest
from retrieval.pixels.sandbox import Readers, Reading
from retrieval.records import Case, CaseId, CaseImage, ImageDigest, Record, SnapshotId, StudyUid
from retrieval.stores.store import Entry, Store

BATCH_IMAGES = 256
"""Images staged together: a kill costs at most this many encodings, and one fsync pays for all of them."""


class BuildReport(Record):
    """What a build did; `read` equals `indexed + unchanged + quarantined`."""

    read: int
    """Rows in the manifest."""
    indexed: int
    """Rows that this build made visible, new or with new content."""
    resumed: int
    """Of `indexed`: encoded by an earlier run of this build that did not finish."""
    unchanged: int
    """Rows already visible with equal content."""
    quarantined: int
    """Rows refused."""
    reasons: dict[str, int]
    """Quarantined rows by reason code."""
    removed: int
    """Cases taken out because the manifest no longer names them (only with `absent="remove"`)."""
    images: int
    """Images encoded by this run."""
    seconds: float
    """Wall time of this run, without fitting the encoder."""
    snapshot: SnapshotId | None
    """What is published now; None when nothing ever was."""


@dataclass(frozen=True)
class _Wanted:
    """A row that has to be encoded."""

    study: ManifestStudy
    digests: list[ImageDigest] | None
    """Of its files as they were when the row was compared; None for a case nobody knew, which nothing compares with."""


@dataclass
class _Tally:
    read: int = 0
    resumed: int = 0
    unchanged: int = 0
    encoded: int = 0
    images: int = 0
    named: set[CaseId] = field(default_factory=set)
    """In the manifest, whatever became of the row."""
    done: set[CaseId] = field(default_factory=set)
    """Staged by this build, now or in an earlier run."""
    quarantined: list[Quarantined] = field(default_factory=list)


def build(
    manifest: Path,
    store: Store,
    encoder: Encoder,
    readers: Readers,
    extractor: Extractor,
    *,
    known: Mapping[str, Reading] | None = None,
    absent: Literal["keep", "remove"] = "keep",
    batch_images: int = BATCH_IMAGES,
    note: str = "",
    on_row: Callable[[int], None] = lambda rows: None,
) -> tuple[BuildReport, list[Quarantined]]:
    """Index a manifest into a store; after any interruption call again with the same arguments.

    `known` holds images by path that were read already (fitting the encoder reads some); `absent` says what happens
    to visible cases the manifest no longer has; `on_row` is told how many more rows are dealt with.
    Raises InvalidManifest, StoreBusy, StoreFull, StoreUnavailable, EncoderMismatch.
    """
    began = time.monotonic()
    tally = _Tally()
    waiting: deque[_Wanted] = deque()

    def paths() -> Iterator[str]:
        for wanted in _rows_to_encode(manifest, store, tally, on_row):
            waiting.append(wanted)
            yield from wanted.study.paths

    batch: list[tuple[_Wanted, list[Reading]]] = []
    waits = 0  # images in the batch
    readings = _read(readers, paths(), dict(known or {}))
    for reading in readings:
        wanted = waiting.popleft()
        outcome = [reading, *islice(readings, len(wanted.study.paths) - 1)]
        fault = _fault(wanted, outcome)
        if fault is not None:
            tally.quarantined.append(fault)
            on_row(1)
            continue
        batch.append((wanted, [r for r in outcome if isinstance(r, Reading)]))
        waits += len(outcome)
        if waits >= batch_images:
            _stage(store, encoder, extractor, batch, tally, on_row)
            waits = 0
    _stage(store, encoder, extractor, batch, tally, on_row)

    if absent == "remove" and not tally.read:
        raise InvalidManifest("the manifest has no rows", fix="erase cases by name, or delete the index folder")
    # What an earlier, unfinished build of another manifest left behind is nothing that this one asked for.
    store.unstage(set(store.staged()) - tally.done)
    gone = set(store.contents()) - tally.named if absent == "remove" else set()
    if tally.encoded or tally.resumed or gone:
        store.publish(remove=gone, note=note)
    snapshot = store.current()
    report = BuildReport(
        read=tally.read,
        indexed=tally.encoded + tally.resumed,
        resumed=tally.resumed,
        unchanged=tally.unchanged,
        quarantined=len(tally.quarantined),
        reasons=dict(Counter(q.code for q in tally.quarantined)),
        removed=len(gone),
        images=tally.images,
        seconds=time.monotonic() - began,
        snapshot=snapshot and snapshot.snapshot_id,
    )
    return report, sorted(tally.quarantined, key=lambda q: q.line)


def _rows_to_encode(manifest: Path, store: Store, tally: _Tally, on_row: Callable[[int], None]) -> Iterator[_Wanted]:
    """Rows that are neither visible nor staged with equal content; everything else is counted and left out."""
    visible, staged = store.contents(), store.staged()
    for row in read_manifest(manifest):
        tally.read += 1
        if row.case_id is not None:
            tally.named.add(CaseId(row.case_id))  # a refused row is not an absent one
        known = row.case_id in visible or row.case_id in staged
        refused = _refuse(row, store, known) if isinstance(row, ManifestStudy) else row
        if isinstance(refused, Quarantined):
            tally.quarantined.append(refused)
            on_row(1)
            continue
        wanted = refused
        content = None if wanted.digests is None else wanted.study.content(wanted.digests)
        if content is not None and staged.get(wanted.study.case_id) == content:
            if visible.get(wanted.study.case_id) == content:
                tally.unchanged += 1  # an unfinished `reread` staged it: only its concepts are new
            else:
                tally.resumed += 1
            tally.done.add(wanted.study.case_id)
            on_row(1)
        elif content is not None and wanted.study.case_id not in staged and visible[wanted.study.case_id] == content:
            tally.unchanged += 1
            on_row(1)
        else:
            yield wanted


def _refuse(study: ManifestStudy, store: Store, known: bool) -> Quarantined | _Wanted:
    """Look at what can be known before any image is decoded; files are read only where there is content to compare."""
    if store.erased(study.case_id):
        what = "the case was erased from this index and stays out"
        return Quarantined(line=study.line, case_id=study.case_id, code="ERASED", what=what)
    if not known:
        return _Wanted(study, None)
    try:
        return _Wanted(study, [digest(path) for path in study.paths])
    except PrelimError as error:
        return Quarantined(line=study.line, case_id=study.case_id, code=error.code, what=error.what)


def _read(readers: Readers, paths: Iterator[str], known: dict[str, Reading]) -> Iterator[Reading | PrelimError]:
    """Like `readers.read`, in the order of `paths`, without reading again what is known."""
    order: deque[str] = deque()

    def unknown() -> Iterator[str]:
        for path in paths:
            order.append(path)
            if path not in known:
                yield path

    for reading in readers.read(unknown()):
        while order[0] in known:
            yield known[order.popleft()]
        order.popleft()
        yield reading
    for path in order:
        yield known[path]


def _fault(wanted: _Wanted, outcome: list[Reading | PrelimError]) -> Quarantined | None:
    """Judge a row as one: a study with one unreadable image is not indexed without it."""
    for number, (read, expected) in enumerate(zip_longest(outcome, wanted.digests or ())):
        if isinstance(read, PrelimError):
            code, what = read.code, read.what
        elif expected is not None and read.digest != expected:
            code, what = "CHANGED_WHILE_READING", "the file changed between two readings"
        elif (refusal := refuse_for_index(read.attributes)) is not None:
            code, what = refusal.reason or "", refusal.explanation
        else:
            continue
        return Quarantined(
            line=wanted.study.line, case_id=wanted.study.case_id, code=code, what=f"image {number}: {what}"
        )
    if len(_study_uids(wanted.study, outcome)) > 1:
        what = "the row and the images' headers name several studies"
        return Quarantined(line=wanted.study.line, case_id=wanted.study.case_id, code="SEVERAL_STUDIES", what=what)
    return None


def _study_uids(study: ManifestStudy, images: Sequence[Reading | PrelimError]) -> set[StudyUid]:
    said = [image.attributes.study_instance_uid for image in images if isinstance(image, Reading)]
    return {uid for uid in (study.study_instance_uid, *said) if uid is not None}


def _stage(
    store: Store,
    encoder: Encoder,
    extractor: Extractor,
    batch: list[tuple[_Wanted, list[Reading]]],
    tally: _Tally,
    on_row: Callable[[int], None],
) -> None:
    """Encode a batch and make it durable; only then does it count. Empties the batch."""
    if not batch:
        return
    vectors = encoder.finish(encoder.run(np.stack([image.prepared for _, images in batch for image in images])))
    entries, first = [], 0
    for wanted, images in batch:
        entries.append(Entry(_case(wanted, images, extractor), vectors[first : first + len(images)]))
        first += len(images)
    store.stage(entries)
    tally.encoded += len(batch)
    tally.done.update(entry.case.case_id for entry in entries)
    tally.images += first
    on_row(len(batch))
    batch.clear()


def _case(wanted: _Wanted, images: list[Reading], extractor: Extractor) -> Case:
    study, row = wanted.study, wanted.study.row
    return Case(
        case_id=study.case_id,
        patient_key=study.patient_key,
        study_instance_uid=next(iter(_study_uids(study, images)), StudyUid(study.case_id)),
        images=tuple(
            CaseImage(digest=image.digest, view=named.view or image.attributes.view, path=named.path)
            for named, image in zip(row.images, images, strict=True)
        ),
        report=study.report,
        sex=row.sex,
        age_band=study.age_band,
        labels=row.labels,
        source=row.source,
        licence=row.licence,
        attribution=row.attribution,
        content=study.content([image.digest for image in images]),
        concepts=extractor.read_report(study.report),
    )
