"""Reading reports again: without an image, without losing a case, and from where a kill interrupted it."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.drawings import write_studies
from indexing.build import build
from indexing.reread import reread
from indexing.wiring import extractor, readers, rereading, writing
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.errors import StoreBusy, UnfinishedBuild
from retrieval.extraction.extractor import Extractor
from retrieval.index import open_index
from retrieval.ontology.ontology import load
from retrieval.records import Case, CaseId
from retrieval.stores import case_postings
from retrieval.stores.faiss_segments import FaissSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.stores.store import Entry, Store
from tests.stores_backends import QDRANT, opened
from tests.stores_drawing import entries, exact_rows, ids
from tests.stores_interruptions import Interrupted, Killed, copy_store

STUDIES = 24


@pytest.fixture(scope="module")
def other() -> Extractor:
    """The embedded extractor with one more synonym: another identity."""
    return Extractor(load(), [(load()["pleural_effusion"].id, "zygomorphic sinus")])


@pytest.fixture(scope="module")
def read_by_other(tmp_path_factory: pytest.TempPathFactory, other: Extractor) -> Path:
    """An index whose reports another extractor has read; to be copied, never changed."""
    folder = tmp_path_factory.mktemp("reread")
    manifest = write_studies(folder, STUDIES)
    with readers(2) as reading, writing(str(folder / "index"), manifest, workers=2) as (index, known):
        build(manifest, index.store, index.encoder, reading, other, known=known)
    return folder


@pytest.fixture
def index(read_by_other: Path, tmp_path: Path) -> Path:
    return copy_store(read_by_other / "index", tmp_path / "index")


def everything(index: Path) -> list[Entry]:
    with closing(open_index(str(index))) as opened_index:
        return opened_index.store.entries(sorted(opened_index.store.contents()))


def without_concepts(case: Case) -> Case:
    return case.model_copy(update={"concepts": None})


def same_but_for_concepts(one: Sequence[Entry], two: Sequence[Entry]) -> bool:
    return all(
        without_concepts(a.case) == without_concepts(b.case) and a.vectors.tobytes() == b.vectors.tobytes()
        for a, b in zip(one, two, strict=True)
    )


def no_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Any:
        raise AssertionError("an image was encoded")

    monkeypatch.setattr(DescriptorEncoder, "run", refuse)


def test_every_report_is_read_again_and_no_image(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_encoding(monkeypatch)
    before, ours = everything(index), extractor()
    with rereading(str(index)) as held:
        done: list[int] = []
        report = reread(held.store, ours, batch_cases=5, on_case=done.append)
        assert (report.cases, report.read, report.resumed, report.unchanged) == (STUDIES, STUDIES, 0, 0)
        assert sum(done) == STUDIES
        again = reread(held.store, ours)
        assert (again.read, again.unchanged, again.snapshot) == (0, STUDIES, report.snapshot)
    after = everything(index)
    assert same_but_for_concepts(before, after)
    assert all(e.case.concepts == ours.read_report(e.case.report) for e in after)
    with closing(open_index(str(index))) as opened_index:
        assert opened_index.verify() == []


def test_building_again_with_another_extractor_encodes_nothing(
    read_by_other: Path, index: Path, monkeypatch: pytest.MonkeyPatch, other: Extractor
) -> None:
    no_encoding(monkeypatch)
    manifest = read_by_other / "manifest.jsonl"
    with readers(1) as reading, writing(str(index), manifest) as (held, known):
        report, _ = build(manifest, held.store, held.encoder, reading, extractor(), known=known)
        assert (report.unchanged, report.images) == (STUDIES, 0)
        assert set(held.store.extractors().values()) == {other.identity}


# Interruptions. A rereading in batches of five changes the shelf five times two (segment, description), then publishes.


@pytest.mark.parametrize(("at", "halfway", "staged"), [(2, False, 5), (7, True, 15), (12, False, STUDIES)])
def test_a_kill_loses_nothing_and_what_was_read_is_not_read_twice(
    index: Path, at: int, halfway: bool, staged: int, other: Extractor
) -> None:
    before, ours = everything(index), extractor()
    killed(index, ours, at, halfway=halfway)
    assert [e.case for e in everything(index)] == [e.case for e in before]  # readers see the concepts of before
    with rereading(str(index)) as held:
        assert set(held.store.extractors().values()) == {other.identity}
        assert set(held.store.extractors("staged").values()) == {ours.identity}
        report = reread(held.store, ours, batch_cases=5)
        assert (report.resumed, report.read) == (staged, STUDIES - staged)
        assert held.verify() == []
        assert held.store.staged() == {}
    after = everything(index)
    assert same_but_for_concepts(before, after)
    assert all(e.case.concepts == ours.read_report(e.case.report) for e in after)


def killed(index: Path, reader: Extractor, at: int, *, halfway: bool = False) -> None:
    """A rereading that dies at that change of the shelf."""
    shelf = FaissSegments(index)
    store = SegmentedStore(Interrupted(shelf, at, halfway=halfway), None, None)
    with pytest.raises(Killed):
        reread(store, reader, batch_cases=5)
    shelf.close()


def test_what_an_unfinished_rereading_of_another_extractor_staged_is_dropped(index: Path, other: Extractor) -> None:
    killed(index, extractor(), 5)
    with rereading(str(index)) as held:
        snapshot = held.store.current()
        report = reread(held.store, other)
        assert (report.unchanged, report.snapshot) == (STUDIES, snapshot and snapshot.snapshot_id)
        assert held.store.staged() == {}


def test_a_build_after_an_unfinished_rereading_keeps_its_work(read_by_other: Path, index: Path) -> None:
    killed(index, extractor(), 5)
    manifest = read_by_other / "manifest.jsonl"
    with readers(1) as reading, writing(str(index), manifest) as (held, known):
        report, _ = build(manifest, held.store, held.encoder, reading, extractor(), known=known)
        assert (report.unchanged, report.resumed, report.images) == (STUDIES, 0, 0)
    with rereading(str(index)) as held:
        assert reread(held.store, extractor()).resumed == 10


def test_an_erased_case_is_in_no_byte_of_an_unfinished_rereading(index: Path) -> None:
    killed(index, extractor(), 12)
    doomed = everything(index)[3].case
    with closing(open_index(str(index))) as held:
        assert doomed.case_id in held.store.staged()
        held.erase([doomed.case_id])
    stored = b"".join(path.read_bytes() for path in index.rglob("*") if path.is_file())
    assert doomed.case_id.encode() not in stored
    with rereading(str(index)) as held:
        assert reread(held.store, extractor()).cases == STUDIES - 1


def test_staged_work_of_a_build_is_not_published_by_a_rereading(index: Path) -> None:
    with rereading(str(index)) as held:
        (one,) = held.store.entries(sorted(held.store.contents())[:1])
        held.store.stage([Entry(one.case.model_copy(update={"case_id": CaseId("new")}), one.vectors)])
        with pytest.raises(UnfinishedBuild):
            reread(held.store, extractor())
        assert list(held.store.staged()) == ["new"]


def test_a_rereading_and_a_build_do_not_run_beside_each_other(read_by_other: Path, index: Path) -> None:
    with (
        writing(str(index), read_by_other / "manifest.jsonl"),
        pytest.raises(StoreBusy),
        rereading(str(index)),
    ):
        pass


# Every store


@pytest.fixture(params=["memory", "faiss", QDRANT])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with opened(request.param, tmp_path) as open_store:
        yield open_store()


def test_any_store_is_read_again_and_answers_as_before(store: Store) -> None:
    for first in (0, 10):
        store.stage(entries(range(first, first + 10)))
        store.publish()
    query = exact_rows(3, 4)
    contents, hits = store.contents(), store.nearest(query, 30)
    vectors = [e.vectors.tobytes() for e in store.entries(ids(range(20)))]
    report = reread(store, extractor(), batch_cases=7)
    assert (report.cases, report.read) == (20, 20)
    assert set(store.extractors().values()) == {extractor().identity}
    assert (store.contents(), store.nearest(query, 30)) == (contents, hits)
    assert [e.vectors.tobytes() for e in store.entries(ids(range(20)))] == vectors
    assert np.dtype(np.float32) == store.entries(ids([1]))[0].vectors.dtype
    assert store.verify() == []
    store.rollback(store.snapshots()[-2].snapshot_id)
    assert reread(store, extractor()).read == 20


@pytest.mark.parametrize("backend", ["faiss", QDRANT])
def test_lists_of_another_form_are_made_again_also_where_they_are_staged(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(backend, tmp_path) as open_store:
        store, ours = open_store(), extractor()
        drawn = entries(range(12))
        read = [
            Entry(e.case.model_copy(update={"concepts": ours.read_report(e.case.report)}), e.vectors) for e in drawn
        ]
        store.stage(read)
        store.publish()
        store.stage(read[:4])  # an unfinished rereading by the version before
        store.close()
        monkeypatch.setattr(case_postings, "FORM", "postings-of-another-version")
        store = open_store()
        assert (store.unlisted(), store.unlisted("staged")) == (frozenset(ids(range(12))), frozenset(ids(range(4))))
        report = reread(store, ours)
        assert (report.read, report.resumed, report.unchanged) == (12, 0, 0)
        assert (store.unlisted(), store.searchable(), store.staged()) == (frozenset(), 12, {})
        after = store.entries(ids(range(12)))
        assert [e.case for e in after] == [e.case for e in read]
        assert [e.vectors.tobytes() for e in after] == [e.vectors.tobytes() for e in drawn]
        assert reread(store, ours).unchanged == 12
        assert store.verify() == []


def test_an_empty_store_has_nothing_to_read(store: Store) -> None:
    report = reread(store, extractor())
    assert (report.cases, report.snapshot) == (0, None)
