"""An index as a whole: opened by location, damaged, of another encoder, and on another shelf."""

import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.drawings import write_studies
from generation.drafter import Drafter
from generation.summary import IndexSummary, keep_summary, summary_of
from indexing.__main__ import main as prelim_index
from indexing.build import build
from indexing.fit import fit
from indexing.wiring import extractor, writing
from retrieval.encoders.descriptor import DescriptorEncoder, features
from retrieval.errors import EncoderMismatch, InvalidLocation, NoIndex, StoreCorrupt, StoreUnavailable
from retrieval.gate import Gate
from retrieval.index import ENCODER, SUMMARY, EncoderState, Index, keep_fitted, open_index, shelf_at, verify_index
from retrieval.look import look
from retrieval.pixels.sandbox import Readers
from retrieval.records import CaseId
from retrieval.retriever import Retriever
from retrieval.stores.documents import seal, unseal
from retrieval.stores.qdrant_segments import QdrantSegments
from retrieval.stores.segmented import SegmentedStore
from retrieval.study import read_study


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("collection")
    manifest = write_studies(folder, 24)
    assert prelim_index(["build", str(manifest), "--index", str(folder / "index")]) == 0
    return folder


@pytest.fixture
def index(collection: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(collection / "index", tmp_path / "index"))


def use_everything(index: Path) -> None:
    with closing(open_index(str(index))) as opened:
        summary_of(opened)
        if faults := opened.verify():  # the ledger speaks only when something was erased
            raise StoreCorrupt("; ".join(faults))


DAMAGES = {
    "flipped": lambda content: content[:100] + bytes([content[100] ^ 4]) + content[101:],
    "cut": lambda content: content[:100],
    "emptied": lambda content: b"",
}


@pytest.mark.parametrize("name", ["encoder", "scope", "current", "ledger"])
@pytest.mark.parametrize("place", [0.0, 0.3, 0.6, 0.99])
def test_a_flipped_bit_in_any_document_is_named_and_never_served(index: Path, name: str, place: float) -> None:
    file = index / f"{name}.json"
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 4
    file.write_bytes(content)
    with pytest.raises(StoreCorrupt, match=name):
        use_everything(index)


@pytest.mark.parametrize("name", ["encoder", "scope"])
def test_a_document_cut_short_is_named(index: Path, name: str) -> None:
    file = index / f"{name}.json"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(StoreCorrupt, match=name):
        use_everything(index)


@pytest.mark.parametrize("name", ["encoder", "scope", "summary", "current", "ledger"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_verify_names_a_damaged_document_whichever_it_is(index: Path, name: str, damage: str) -> None:
    file = index / f"{name}.json"
    file.write_bytes(DAMAGES[damage](file.read_bytes()))
    assert [fault for fault in verify_index(str(index)) if name in fault]


@pytest.mark.parametrize("name", ["encoder", "scope", "current", "ledger"])
def test_verify_names_a_lost_document(index: Path, name: str) -> None:
    assert verify_index(str(index)) == []
    (index / f"{name}.json").unlink()
    assert f"document {name!r} is missing" in verify_index(str(index))


def test_verify_names_every_damaged_document_and_not_the_first_only(index: Path) -> None:
    names = ("encoder", "scope", "summary", "current", "ledger")
    for name in names:
        (index / f"{name}.json").write_bytes(b"")
    faults = verify_index(str(index))
    assert [name for name in names if not any(name in fault for fault in faults)] == []


def test_verify_tells_an_encoder_of_another_index_from_the_one_that_made_the_vectors(index: Path) -> None:
    with closing(shelf_at(str(index))) as shelf:
        kept = unseal(EncoderState, ENCODER, shelf.read(ENCODER))
        shelf.write(ENCODER, seal(kept.model_copy(update={"identity": "descriptor-0/other"})))
    assert verify_index(str(index)) == [
        f"document 'encoder' is of descriptor-0/other, the vectors are of {kept.identity}"
    ]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_summary_is_made_anew_and_what_it_says_is_right(index: Path, damage: str) -> None:
    file = index / f"{SUMMARY}.json"
    whole = file.read_bytes()
    file.write_bytes(DAMAGES[damage](whole))
    assert any(SUMMARY in fault for fault in verify_index(str(index)))
    with closing(open_index(str(index))) as opened:
        made = summary_of(opened)
        assert made == unseal(IndexSummary, SUMMARY, whole)
        keep_summary(opened)
    assert file.read_bytes() == whole
    assert verify_index(str(index)) == []


def test_a_draft_is_the_same_over_a_damaged_summary(index: Path, tmp_path: Path) -> None:
    unseen = write_studies(tmp_path / "unseen", 1, seed=9105).parent / "images"
    drafts: list[Any] = []
    for damage in (bytes, DAMAGES["flipped"]):
        file = index / f"{SUMMARY}.json"
        file.write_bytes(damage(file.read_bytes()))
        with closing(open_index(str(index))) as opened, Readers(features, look=look, workers=1) as readers:
            retriever = Retriever(opened.store, opened.encoder.identity)
            drafter = Drafter(opened.encoder, retriever, Gate(opened.scope), summary_of(opened).statements)
            draft = drafter.draft(read_study([unseen], readers, view="PA"))
            drafts.append((draft.status, [(s.text, s.support) for s in draft.sentences]))
    assert drafts[0] == drafts[1]
    assert drafts[0][0] == "drafted"


def test_a_damaged_summary_stops_no_rollback(index: Path) -> None:
    (index / f"{SUMMARY}.json").write_bytes(b"")
    (name,) = [path.stem for path in (index / "snapshots").glob("*.json")]
    assert prelim_index(["describe", "--index", str(index)]) == 0
    assert prelim_index(["rollback", name, "--index", str(index)]) == 0
    assert verify_index(str(index)) == []


@pytest.mark.parametrize("left", ["current.json", "segments", "snapshots"])
def test_no_new_encoder_is_fitted_beside_the_vectors_of_a_lost_one(collection: Path, index: Path, left: str) -> None:
    for path in list(index.iterdir()):
        if path.name != left:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    with (
        pytest.raises(StoreCorrupt, match=r"encoder.*restore encoder\.json from a backup"),
        writing(str(index), collection / "manifest.jsonl", workers=1),
    ):
        pass
    with pytest.raises(StoreCorrupt, match="encoder"):
        open_index(str(index))
    assert not (index / "encoder.json").exists()


def test_verify_prints_what_is_damaged_and_exits_with_1(index: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vectors,) = index.glob("segments/*/vectors-frontal.faiss")
    content = bytearray(vectors.read_bytes())
    content[-3] ^= 1
    vectors.write_bytes(content)
    capsys.readouterr()
    assert prelim_index(["verify", "--index", str(index)]) == 1
    assert "vectors-frontal.faiss" in capsys.readouterr().out


def test_an_index_of_another_version_says_which_encoder_it_has(index: Path) -> None:
    with closing(shelf_at(str(index))) as shelf:
        kept = unseal(EncoderState, ENCODER, shelf.read(ENCODER))
        other = kept.model_copy(update={"identity": "descriptor-0/000000000000/000000000000"})
        shelf.write(ENCODER, seal(other))
    with pytest.raises(EncoderMismatch, match="descriptor-0/000000000000") as raised:
        open_index(str(index))
    assert "build the index again" in raised.value.fix


def test_vectors_of_another_encoder_are_refused(index: Path) -> None:
    with closing(shelf_at(str(index))) as shelf, pytest.raises(EncoderMismatch, match="another"):
        SegmentedStore(shelf, "another", 24)  # type: ignore[arg-type]


def test_a_folder_that_is_no_index_is_not_made_one(tmp_path: Path) -> None:
    for opening in (open_index, verify_index):
        with pytest.raises(NoIndex, match="no index"):
            opening(str(tmp_path / "nowhere"))
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("below", ["", "below", "below/it"])
def test_a_file_where_the_folder_should_be_is_for_the_user_to_fix(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("not an index")
    for opening in (open_index, verify_index, shelf_at):
        with pytest.raises(NoIndex, match="file is no folder"):
            opening(str(tmp_path / "file" / below))


@pytest.mark.parametrize(
    "location",
    [
        "", "htps://h/x", "ftp://h/x", "http:/h/x", "://h/x", "http://127.0.0.1:1", "http://h/", "http:///x",
        "http://[bad/x", "http://h:99999/x", "http://h:0/x", "http://h:port/x", "http://h/x y", "http://h/ä",
        "http://h/x?y=z", "http://h/x#y", "http://h?q/x", "http://a b/x",
    ],
)  # fmt: skip
def test_a_location_that_is_neither_a_folder_nor_a_servers_url_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for opening in (shelf_at, open_index, verify_index):
        with pytest.raises(InvalidLocation):
            opening(location)
    with pytest.raises(InvalidLocation), writing(location, tmp_path / "manifest.jsonl", workers=1):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_password_in_a_location_is_refused_and_not_repeated() -> None:
    with pytest.raises(InvalidLocation) as raised:
        shelf_at("http://user:secret@h/x")
    assert "secret" not in str(raised.value)


@pytest.mark.qdrant
@pytest.mark.parametrize(
    "location", ["http://h/x", "HTTPS://h:6333/x-1_Y", "http://[::1]:6333/x", "http://127.0.0.1/some/path/x"]
)
def test_a_servers_url_with_a_name_opens_nothing_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    monkeypatch.chdir(tmp_path)
    shelf_at(location).close()
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer_is_a_named_error() -> None:
    with pytest.raises(StoreUnavailable):
        open_index("http://127.0.0.1:9/prelim")


def test_a_missing_or_old_summary_is_made_again_in_memory(index: Path) -> None:
    with closing(open_index(str(index))) as opened:
        kept = opened.summary(IndexSummary)
        assert kept is not None
        opened.keep_summary(kept.model_copy(update={"snapshot": "another"}))
        assert summary_of(opened) == kept
        (index / f"{SUMMARY}.json").unlink()
        assert summary_of(opened) == kept
        keep_summary(opened)
        assert opened.summary(IndexSummary) == kept


def test_an_erased_case_leaves_the_summary_at_once(index: Path) -> None:
    with closing(open_index(str(index))) as opened:
        before = summary_of(opened).statements.cases
        opened.erase([CaseId("drawn-000001")])
        assert opened.summary(IndexSummary) is None
        assert summary_of(opened).statements.cases == before - 1


@pytest.mark.qdrant
def test_the_main_job_runs_on_qdrant_and_drafts_the_same(collection: Path, tmp_path: Path) -> None:
    manifest = collection / "manifest.jsonl"
    unseen = write_studies(tmp_path, 1, seed=9105).parent / "images"
    with Readers(features, look=look, workers=2) as readers:
        fitted = fit(manifest, readers)
        drafts: list[Any] = []
        for shelf in (QdrantSegments(":memory:", "prelim"), shelf_at(str(tmp_path / "files"))):
            shelf.lock()
            keep_fitted(shelf, fitted.encoder, fitted.scope)
            store = SegmentedStore(shelf, fitted.encoder.identity, fitted.encoder.dimension)
            with closing(Index(shelf, store, fitted.encoder, fitted.scope)) as opened:
                report, _ = build(manifest, store, fitted.encoder, readers, extractor(), known=fitted.known)
                keep_summary(opened)
                assert report.indexed == 24
                assert opened.verify() == []
                retriever = Retriever(store, fitted.encoder.identity)
                drafter = Drafter(fitted.encoder, retriever, Gate(fitted.scope), summary_of(opened).statements)
                draft = drafter.draft(read_study([unseen], readers, view="PA"))
                assert draft.status == "drafted"
                drafts.append([(s.text, s.support) for s in draft.sentences])
    assert drafts[0] == drafts[1]


def test_an_encoder_kept_in_an_index_gives_the_vectors_it_was_built_with(collection: Path) -> None:
    with closing(open_index(str(collection / "index"))) as opened:
        image = np.random.default_rng(0).random((64, 64)).astype(np.float32)
        assert isinstance(opened.encoder, DescriptorEncoder)
        assert opened.encoder.run(features(image)[None]).shape == (1, opened.encoder.dimension)
