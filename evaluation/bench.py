"""Benchmarks as ratios within one run, so that a noisy machine says the same as a quiet one.

*Search*: a store's `nearest` over raw FAISS on the same index. *Indexing*: `build` over a bare loop that decodes and
encodes the same files in one process, nothing checked, nothing kept. Pairs alternate; the median of the pairs counts.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median

import faiss
import numpy as np

from evaluation.drawings import write_studies
from indexing.build import build
from indexing.wiring import extractor, readers
from retrieval.encoders.descriptor import DescriptorEncoder, features
from retrieval.pixels.read import read_pixels
from retrieval.pixels.sandbox import Readers
from retrieval.records import Case, CaseId, CaseImage, EncoderIdentity, ImageDigest, PatientKey, Record, StudyUid
from retrieval.sections import compose_report
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import Entry


class Ratios(Record):
    """Paired ratios of one comparison."""

    median: float
    """Of the pairs."""
    low: float
    """Smallest pair."""
    high: float
    """Largest pair."""
    pairs: int
    """How many were run."""
    seconds: tuple[float, float]
    """Median seconds of ours and of the other, on this machine, for orientation only."""


class BenchReport(Record):
    """What `prelim-evaluate bench` measured."""

    search_single: Ratios
    """Time of `nearest` for one query over raw FAISS: 1 is equal, lower is better."""
    search_batch: Ratios
    """The same for 64 queries at once."""
    search_rows: int
    """Vectors in the index."""
    index_one_core: Ratios
    """Rate of `build` on one core over the bare loop on one core: 1 is equal, higher is better."""
    index_two_cores: Ratios | None
    """Rate of `build` with two workers over the bare loop on one core; None on a machine with one core."""
    index_files: int
    """Images indexed in each run."""


def bench(rows: int = 100_000, files: int = 2_000) -> BenchReport:
    """Run all benchmarks; a few minutes."""
    with tempfile.TemporaryDirectory() as folder:
        single, batch = _search(Path(folder, "search"), rows)
        one, two = _indexing(Path(folder, "indexing"), files)
    return BenchReport(
        search_single=single,
        search_batch=batch,
        search_rows=rows,
        index_one_core=one,
        index_two_cores=two,
        index_files=files,
    )


def _paired(ours: Callable[[], object], other: Callable[[], object], pairs: int) -> tuple[list[float], list[float]]:
    ours(), other()  # warm caches
    mine: list[float] = []
    theirs: list[float] = []
    for pair in range(pairs):
        for timed, times in ((ours, mine), (other, theirs)) if pair % 2 else ((other, theirs), (ours, mine)):
            began = time.perf_counter()
            timed()
            times.append(time.perf_counter() - began)
    return mine, theirs


def _ratios(over: list[float], under: list[float], ours: list[float], other: list[float]) -> Ratios:
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    return Ratios(
        median=median(ratios),
        low=min(ratios),
        high=max(ratios),
        pairs=len(ratios),
        seconds=(median(ours), median(other)),
    )


def _search(folder: Path, rows: int, dimension: int = 512, limit: int = 10) -> tuple[Ratios, Ratios]:
    random = np.random.default_rng(0)
    centres = random.normal(size=(500, dimension)).astype(np.float32)
    vectors = centres[random.integers(0, 500, rows)] + random.normal(size=(rows, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[random.integers(0, rows, 256)] + 0.02 * random.normal(size=(256, dimension)).astype(np.float32)
    queries = np.ascontiguousarray(queries / np.linalg.norm(queries, axis=1, keepdims=True), np.float32)

    with closing(SegmentedStore(FaissSegments(folder), EncoderIdentity("bench"), dimension)) as store:
        store.stage([Entry(_bench_case(number), vectors[number : number + 1]) for number in range(rows)])
        store.publish()
        (stored,) = folder.glob("segments/*/vectors-frontal.faiss")
        raw = faiss.read_index(str(stored))
        one = iter(np.tile(np.arange(256), 8))
        ask: list[int] = [0]

        def next_query() -> None:
            ask[0] = int(next(one))

        def ours_single() -> object:
            next_query()
            return store.nearest(queries[ask[0] : ask[0] + 1], limit)

        def raw_single() -> object:
            next_query()
            return raw.search(queries[ask[0] : ask[0] + 1], limit)

        mine, theirs = _paired(ours_single, raw_single, 60)
        single = _ratios(mine, theirs, mine, theirs)
        mine, theirs = _paired(lambda: store.nearest(queries[:64], limit), lambda: raw.search(queries[:64], limit), 15)
        return single, _ratios(mine, theirs, mine, theirs)


def _bench_case(number: int) -> Case:
    name = f"bench-{number:06d}"
    return Case(
        case_id=CaseId(name),
        patient_key=PatientKey(name),
        study_instance_uid=StudyUid(name),
        images=(CaseImage(digest=ImageDigest(f"{number:064x}"), view="PA"),),
        report=compose_report(findings="The lungs are clear.", impression="Normal chest."),
        source="bench",
        licence="CC0-1.0",
        content=f"{number:064x}",
    )


def _indexing(folder: Path, files: int) -> tuple[Ratios, Ratios | None]:
    manifest = write_studies(folder, files)
    paths = sorted((folder / "images").glob("*.png"))
    encoder = DescriptorEncoder.fit(np.stack([features(read_pixels(path)) for path in paths]))

    extractor()  # made before the clock starts, as the decoders are

    def bare() -> object:
        rows = np.stack([features(read_pixels(path)) for path in paths])
        return encoder.finish(encoder.run(rows))

    def indexed(reading: Readers) -> object:
        with (
            tempfile.TemporaryDirectory() as index,
            closing(SegmentedStore(FaissSegments(Path(index)), encoder.identity, encoder.dimension)) as store,
        ):
            report, _ = build(manifest, store, encoder, reading, extractor())
            if report.indexed != files:
                raise RuntimeError(f"indexed {report.indexed} of {files}")
            return report

    cores = sorted(os.sched_getaffinity(0))
    try:
        os.sched_setaffinity(0, cores[:1])
        # Decoders start before the clock, as the bare loop's imports do.
        with readers(1) as reading:
            mine, theirs = _paired(lambda: indexed(reading), bare, 3)
        one = _ratios(theirs, mine, mine, theirs)
        if len(cores) < 2:
            return one, None
        os.sched_setaffinity(0, cores[:2])

        def bare_on_one() -> object:
            os.sched_setaffinity(0, cores[:1])
            try:
                return bare()
            finally:
                os.sched_setaffinity(0, cores[:2])

        with readers(2) as reading:
            mine, theirs = _paired(lambda: indexed(reading), bare_on_one, 3)
        return one, _ratios(theirs, mine, mine, theirs)
    finally:
        os.sched_setaffinity(0, cores)
