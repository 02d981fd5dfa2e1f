"""Zero-shot experts: the softmax over a pair of prompts as transformers itself computes it, and what is refused."""

from pathlib import Path

import numpy as np
import pytest

from generation.experts.calibration import FILE, write_calibration
from generation.experts.fitting import fit
from generation.experts.named import load_expert
from generation.experts.panel import consult
from generation.experts.zero_shot import ABSENT, LABELS, PRESENT
from retrieval.errors import CalibrationMismatch, MissingWeights, UnsupportedModel
from tests.tiny_experts import need_xrv, tiny_config, write_tiny_siglip, write_tiny_xrv
from tests.tiny_models import need_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_siglip(tmp_path_factory.mktemp("siglip") / "tiny")


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.random(shape, dtype=np.float32) for shape in ((32, 32), (48, 40), (33, 90))]


def test_probabilities_are_the_softmax_over_the_pair_of_logits_that_transformers_gives(folder: Path) -> None:
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415

    expert = load_expert(f"zero-shot:transformers:{folder}")
    network = transformers.SiglipModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    names = [label.name for label in expert.labels]
    texts = [prompt.format(name.lower()) for name in names for prompt in (PRESENT, ABSENT)]
    tokens = tokenizer(texts, padding="max_length", max_length=12, return_tensors="pt")["input_ids"]
    spread = []
    for pixels in pictures():
        grey = np.repeat(np.rint(pixels * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        image = processor(images=[grey], return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            logits = network(input_ids=tokens, pixel_values=image).logits_per_image[0]
        own = logits.reshape(len(names), 2).softmax(1)[:, 0].numpy()
        scored = expert.finish(expert.run(expert.prepare(pixels)[None]))[0]
        # Bytes may differ by one where torchvision and Pillow round apart; a swapped pair or scale is far beyond.
        np.testing.assert_allclose([s.probability for s in scored.scores], own, atol=5e-3)
        spread.append(own)
    assert np.ptp(np.array(spread)) > 0.1


def test_the_labels_are_chexperts_without_those_that_mean_no_concept(folder: Path) -> None:
    expert = load_expert(f"zero-shot:transformers:{folder}")
    assert tuple(label.name for label in expert.labels) == LABELS
    assert len(set(label.concept for label in expert.labels)) == 12


def test_without_a_calibration_nothing_is_settled_however_sure_the_encoder_is(folder: Path) -> None:
    expert = load_expert(f"zero-shot:transformers:{folder}")
    assert expert.identity == f"{expert.weights}/uncalibrated"
    for scored in expert.finish(np.array([[-500.0] * 12, [500.0] * 12])):
        assert {s.band for s in scored.scores} == {"uncertain"}


def test_a_calibration_beside_the_encoder_settles_and_does_not_change_what_the_encoder_is(
    folder: Path, tmp_path: Path
) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    bare = load_expert(f"zero-shot:transformers:{tmp_path}")
    rng = np.random.default_rng(0)
    truth = (rng.random((600, 12)) < 0.4).astype(float)
    raw = truth * 2 + rng.normal(0, 1, truth.shape)
    calibration = fit(raw, truth, bare.uncalibrated(raw), labels=LABELS, expert=bare.weights, collection="simulated")
    write_calibration(calibration, tmp_path / FILE)
    expert = load_expert(f"zero-shot:transformers:{tmp_path}")
    assert expert.weights == bare.weights
    assert expert.identity != bare.identity
    bands = {s.band for scored in expert.finish(raw) for s in scored.scores}
    assert bands == {"present", "uncertain", "absent"}
    assert load_expert(f"zero-shot:transformers:{tmp_path}", calibration="none").identity == bare.identity
    elsewhere = load_expert(f"zero-shot:transformers:{folder}", calibration=tmp_path / FILE)
    assert elsewhere.identity == expert.identity
    write_calibration(calibration.model_copy(update={"expert": "another"}), tmp_path / FILE)
    with pytest.raises(CalibrationMismatch):
        load_expert(f"zero-shot:transformers:{tmp_path}")


def test_two_kinds_of_expert_answer_together_for_every_concept_that_either_knows(folder: Path, tmp_path: Path) -> None:
    need_xrv()
    config = tiny_config(("Effusion", "Emphysema"), (0.2, 0.3))
    xrv = load_expert(f"xrv:{write_tiny_xrv(tmp_path / 'xrv', config)}")
    zero_shot = load_expert(f"zero-shot:transformers:{folder}")
    together = consult([xrv, zero_shot], pictures(), ["PA", "AP", "LL"])
    assert together is not None
    assert together.expert == f"{xrv.identity} + {zero_shot.identity}"
    concepts = [s.concept for s in together.scores]
    assert set(concepts) == {label.concept for label in (*xrv.labels, *zero_shot.labels)}
    assert len(concepts) == len(set(concepts)) == 13
    # Effusion is known to both, and the uncalibrated zero-shot expert settles nothing.
    assert together.scores[0].band == "uncertain"


@pytest.mark.parametrize("name", ["", "xrv", "xrv:", "zero-shot:", "densenet:folder", "zero-shot:clip"])
def test_a_name_that_names_no_expert_is_refused_with_the_names_that_do(name: str) -> None:
    with pytest.raises(UnsupportedModel, match="write "):
        load_expert(name)


def test_an_expert_that_is_not_here_is_refused_without_asking_the_network(tmp_path: Path) -> None:
    need_models()
    with pytest.raises(MissingWeights):
        load_expert(f"xrv:{tmp_path / 'nowhere'}")
    with pytest.raises(MissingWeights):
        load_expert("zero-shot:transformers:nobody/nothing-of-this-name")
