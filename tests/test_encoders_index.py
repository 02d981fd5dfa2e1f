"""An index made with a trained encoder: built by the command, reopened, searched by image and in words, and refused."""

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evaluation.drawings import write_studies
from indexing.__main__ import main as prelim_index
from retrieval.encoders.descriptor import DescriptorEncoder
from retrieval.encoders.encoder import encode
from retrieval.encoders.named import CentredEncoder, Loading, load
from retrieval.errors import EncoderMismatch, MissingWeights, PrelimError
from retrieval.index import ENCODER, open_index, shelf_at, verify_index
from retrieval.pixels.read import read_pixels
from retrieval.records import CaseId, SimilarCases
from retrieval.retriever import Query, Retriever
from retrieval.stores.documents import seal, unseal
from service.__main__ import main as prelim
from tests.tiny_encoders import need_encoders, write_tiny

need_encoders()

STUDIES = 12
OLD_FIELDS = ("identity", "state")


def build(folder: Path, *options: str) -> int:
    return prelim_index(
        ["build", str(folder / "manifest.jsonl"), "--index", str(folder / "index"), "--workers", "1", *options]
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with drawn studies, a tiny SigLIP and the index that `prelim-index` makes of them."""
    folder = tmp_path_factory.mktemp("trained")
    write_studies(folder, STUDIES)
    (folder / "siglip").mkdir()
    write_tiny(folder / "siglip", "siglip")
    assert build(folder, "--encoder", f"transformers:{folder / 'siglip'}") == 0
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """The same with its weights elsewhere, so that they may be changed: the index still names the first place."""
    return Path(shutil.copytree(made, tmp_path / "copy"))


@pytest.fixture
def without_weights(made: Path) -> Iterator[Path]:
    away = (made / "siglip").rename(made / "away")
    yield made
    away.rename(made / "siglip")


def image(folder: Path, number: int) -> Path:
    return folder / "images" / f"{number:06d}.png"


def test_vectors_in_the_index_are_the_encoders_own_around_their_mean(made: Path) -> None:
    trained = load(f"transformers:{made / 'siglip'}")
    rows = encode(trained, [read_pixels(image(made, number)) for number in range(STUDIES)])
    centred = rows - rows.mean(0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    with closing(open_index(str(made / "index"))) as index:
        entries = index.store.entries([CaseId(f"drawn-{number:06d}") for number in range(STUDIES)])
        kept = np.concatenate([entry.vectors for entry in entries])
        assert index.encoder.dimension == trained.dimension
        assert index.encoder.identity.startswith(f"{trained.identity}/")
        assert index.verify() == []
    np.testing.assert_allclose(kept, centred, atol=1e-4)
    # What the centring is for: two arbitrary images of the trained encoder are alike, those of the index are not.
    off_diagonal = ~np.eye(STUDIES, dtype=bool)
    assert (rows @ rows.T)[off_diagonal].mean() > 0.5
    assert abs((kept @ kept.T)[off_diagonal].mean()) < 0.2


def test_a_reopened_index_finds_each_image_first_with_an_encoder_that_was_loaded_again(made: Path) -> None:
    with closing(open_index(str(made / "index"))) as index:
        vectors = encode(index.encoder, [read_pixels(image(made, number)) for number in range(STUDIES)])
        for number, hits in enumerate(index.store.nearest(vectors, 1)):
            assert hits[0].case_id == f"drawn-{number:06d}"
            assert hits[0].similarity == pytest.approx(1, abs=1e-5)


def test_building_again_encodes_nothing_and_needs_no_name(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert build(made, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["unchanged"], report["images"]) == (STUDIES, 0)


def test_a_study_added_later_is_prepared_for_the_same_encoder(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.parent)
    folder = Path(shutil.copytree(made / "images", tmp_path / "images")).parent
    write_studies(folder, 8)
    # A folder named from here is found from elsewhere as well.
    assert build(folder, "--encoder", f"transformers:{made.name}/siglip") == 0
    write_studies(folder, 9)
    monkeypatch.chdir(tmp_path)
    assert build(folder) == 0
    with closing(open_index(str(folder / "index"))) as index:
        (entry,) = index.store.entries([CaseId("drawn-000008")])
        np.testing.assert_allclose(entry.vectors, encode(index.encoder, [read_pixels(image(folder, 8))]), atol=1e-5)


def test_a_study_is_searched_through_decoder_processes_that_prepare_for_the_trained_encoder(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = shutil.copy(image(made, 3), tmp_path / "study.png")
    (tmp_path / "study.png").write_bytes(Path(study).read_bytes() + b"\0")  # the same pixels in another file
    options = ["--index", str(made / "index"), "--view", "PA", "--legs", "image", "--json"]
    capsys.readouterr()
    assert prelim(["search", str(study), *options]) == 0
    found = SimilarCases.model_validate_json(capsys.readouterr().out)
    assert found.evidence.cases[0].case.case_id == "drawn-000003"
    assert found.evidence.cases[0].similarity == pytest.approx(1, abs=1e-3)


def test_the_image_leg_can_be_asked_in_words(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    words = "Large left pleural effusion"
    assert prelim(["search", "--text", words, "--legs", "image", "--index", str(made / "index"), "--json"]) == 0
    found = SimilarCases.model_validate_json(capsys.readouterr().out)
    with closing(open_index(str(made / "index"))) as index:
        assert index.encode_text is not None
        asked = index.encode_text([" ".join(words.split())])
        retriever = Retriever(index.store, index.encoder.identity, index.encode_text)
        evidence = retriever.find(5, Query(legs=("image",), words=words))
        (hits,) = index.store.nearest(asked, 5)
    assert [case.case.case_id for case in evidence.cases] == [hit.case_id for hit in hits]
    assert evidence.cases[0].matched == ()
    assert found.evidence.legs == ("image",)
    assert found.evidence.cases


def test_without_naming_the_image_leg_words_ask_reports_alone(made: Path) -> None:
    with closing(open_index(str(made / "index"))) as index:
        retriever = Retriever(index.store, index.encoder.identity, index.encode_text)
        assert retriever.find(5, Query(words="effusion")).legs == ("text",)


def test_describing_verifying_and_erasing_need_no_weights(
    without_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = str(shutil.copytree(without_weights / "index", tmp_path / "index"))
    assert prelim_index(["describe", "--index", index]) == 0
    assert prelim_index(["verify", "--index", index]) == 0
    assert prelim_index(["erase", "drawn-000001", "--index", index]) == 0
    assert "erased 1" in capsys.readouterr().out
    assert verify_index(index) == []


def test_an_encoder_whose_folder_is_gone_is_missing_when_it_is_asked(
    without_weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_index(str(without_weights / "index"))) as index, pytest.raises(MissingWeights, match="siglip"):
        encode(index.encoder, [np.zeros((8, 8), np.float32)])
    capsys.readouterr()
    assert build(without_weights) == MissingWeights.exit_status
    assert "siglip" in capsys.readouterr().err


def test_weights_that_have_moved_are_found_by_another_name(without_weights: Path) -> None:
    loading = Loading(name=f"transformers:{without_weights / 'away'}")
    with closing(open_index(str(without_weights / "index"), loading=loading)) as index:
        assert encode(index.encoder, [np.zeros((8, 8), np.float32)]).shape == (1, 32)
    assert build(without_weights, "--encoder", loading.name) == 0


@pytest.mark.parametrize("change", ["weights", "preprocessing"])
def test_another_encoder_under_the_same_name_is_refused(copy: Path, change: str) -> None:
    folder = copy / "siglip"
    if change == "weights":
        write_tiny(folder, "siglip", seed=1)
    else:
        file = folder / "preprocessor_config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"resample": 3}))
    loading = Loading(name=f"transformers:{folder}")
    with closing(open_index(str(copy / "index"), loading=loading)) as index, pytest.raises(EncoderMismatch) as raised:
        encode(index.encoder, [np.zeros((8, 8), np.float32)])
    assert index.encoder.identity in str(raised.value)
    assert build(copy, "--encoder", loading.name) == EncoderMismatch.exit_status


def test_an_index_with_a_trained_encoder_is_not_gone_on_with_the_descriptor(copy: Path) -> None:
    assert build(copy, "--encoder", "descriptor") == EncoderMismatch.exit_status


def test_a_name_that_cannot_be_loaded_leaves_no_index_behind(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "images", tmp_path / "images")
    shutil.copy(made / "manifest.jsonl", tmp_path)
    for name in ("resnet:50", "transformers:nobody/nothing"):
        assert build(tmp_path, "--encoder", name) == 78
    with pytest.raises(PrelimError, match="no index"):
        open_index(str(tmp_path / "index"))


@pytest.fixture(scope="module")
def embedded(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same studies in an index of the embedded descriptor."""
    folder = tmp_path_factory.mktemp("embedded")
    shutil.copytree(made / "images", folder / "images")
    shutil.copy(made / "manifest.jsonl", folder)
    assert build(folder, "--encoder", "descriptor") == 0
    return folder


def test_an_index_kept_before_encoders_had_names_opens_with_the_descriptor(embedded: Path) -> None:
    from retrieval.record import Record  # noqa: PLC0415

    class EncoderStateThen(Record):
        identity: str
        state: str

    with closing(shelf_at(str(embedded / "index"))) as shelf:
        file = embedded / "index" / f"{ENCODER}.json"
        now = file.read_bytes()
        body = json.loads(now)["body"]
        file.write_bytes(seal(EncoderStateThen(**{name: body[name] for name in OLD_FIELDS})))
        assert b"descriptor-1" in file.read_bytes()
        assert unseal(EncoderStateThen, ENCODER, shelf.read(ENCODER)).identity == body["identity"]
    with closing(open_index(str(embedded / "index"))) as index:
        assert isinstance(index.encoder, DescriptorEncoder)
        assert index.encode_text is None
    assert verify_index(str(embedded / "index")) == []


def test_the_descriptors_index_is_not_gone_on_with_a_trained_encoder(embedded: Path, made: Path) -> None:
    assert build(embedded, "--encoder", f"transformers:{made / 'siglip'}") == EncoderMismatch.exit_status


def test_an_index_whose_encoder_reads_no_words_says_so(embedded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prelim(["search", "--text", "effusion", "--legs", "image", "--index", str(embedded / "index")]) == 65
    assert "reads no words" in capsys.readouterr().err


def test_an_encoder_of_images_alone_makes_an_index_that_is_not_asked_in_words(made: Path, tmp_path: Path) -> None:
    write_tiny(tmp_path, "dinov2")
    images = [read_pixels(image(made, number)) for number in range(STUDIES)]
    trained = load(f"transformers:{tmp_path}")
    fitted = CentredEncoder.fit(f"transformers:{tmp_path}", trained, [trained.prepare(pixels) for pixels in images])
    assert fitted.encode_text is None
    assert base64.b64encode(fitted.mean.tobytes())
    np.testing.assert_allclose(np.linalg.norm(encode(fitted, images), axis=1), 1, atol=1e-5)
