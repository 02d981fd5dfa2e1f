"""torchxrayvision's DenseNet as an expert: the same scores as the library's own, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from generation.experts.calibration import FILE
from generation.experts.fitting import fit
from retrieval.errors import CalibrationMismatch, MissingWeights, UnsafeWeights
from tests.tiny_experts import PATHOLOGIES, POINTS, need_xrv, tiny_config, tiny_densenet, write_tiny_xrv

for package in ("torch", "safetensors", "huggingface_hub"):
    pytest.importorskip(package, reason="pip install 'prelim[models]'")

from generation.experts.calibration import write_calibration  # noqa: E402
from generation.experts.xrv_densenet import load_xrv, write_folder, xrv_pixels  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_xrv()
    return write_tiny_xrv(tmp_path_factory.mktemp("xrv") / "tiny")


def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(224, 224), (300, 224), (231, 400), (500, 333), (100, 81)]
    smooth = [np.add.outer(np.sin(np.arange(r) / 9), np.cos(np.arange(c) / 14)) / 4 + 0.5 for r, c in shapes]
    return [np.asarray(np.clip(s + rng.normal(0, 0.1, s.shape), 0, 1), np.float32) for s in smooth]


def theirs(pixels: np.ndarray) -> np.ndarray:
    """torchxrayvision's own way, as its documentation has it, from normalising to the forward pass."""
    xrv = need_xrv()
    import torch  # noqa: PLC0415

    network = tiny_densenet(tiny_config())
    network.op_threshs = torch.tensor([np.nan if p is None else p for p in POINTS])
    image = xrv.utils.normalize(pixels, 1.0, reshape=True)
    image = xrv.datasets.XRayResizer(224)(xrv.datasets.XRayCenterCrop()(image))
    with torch.inference_mode():
        return network(torch.from_numpy(image)[None])[0].numpy()


def test_scores_are_those_of_torchxrayvisions_own_transforms_and_forward_pass(folder: Path) -> None:
    expert = load_xrv(folder)
    kept = [n for n, name in enumerate(PATHOLOGIES) if name]
    apart = []
    for pixels in pictures():
        scored = expert.finish(expert.run(expert.prepare(pixels)[None]))[0]
        own = theirs(pixels)[kept]
        np.testing.assert_allclose([s.probability for s in scored.scores], own, atol=2e-6)
        apart.append(own)
    # The random network does tell images apart, on both sides of the operating points, so the comparison can fail.
    spread = np.array(apart)[:, [0, 1, 2, 4]]
    assert np.ptp(spread, axis=0).min() > 0.01
    assert (spread < 0.5).any()
    assert (spread > 0.5).any()


def test_pixels_are_prepared_to_the_bit_as_torchxrayvision_does() -> None:
    xrv = need_xrv()
    for pixels in pictures():
        image = xrv.utils.normalize(pixels, 1.0, reshape=True)
        own = xrv.datasets.XRayResizer(224)(xrv.datasets.XRayCenterCrop()(image))
        np.testing.assert_array_equal(xrv_pixels(pixels, 224), own)


def test_an_untrained_output_is_no_finding_and_one_without_an_operating_point_is_never_settled(folder: Path) -> None:
    expert = load_xrv(folder)
    assert [label.name for label in expert.labels] == [name for name in PATHOLOGIES if name]
    raw = np.array([[-40.0] * 5, [40.0] * 5])
    absent, present = expert.finish(raw)
    assert [s.band for s in absent.scores] == ["absent", "absent", "absent", "uncertain", "absent"]
    assert [s.band for s in present.scores] == ["present", "present", "present", "uncertain", "present"]
    assert absent.expert.endswith("/uncalibrated")


def test_a_calibration_beside_the_weights_is_used_and_named(folder: Path, tmp_path: Path) -> None:
    bare = load_xrv(folder)
    rng = np.random.default_rng(0)
    truth = (rng.random((400, 5)) < 0.4).astype(float)
    raw = truth * 3 + rng.normal(0, 1, truth.shape)
    names = [label.name for label in bare.labels]
    calibration = fit(raw, truth, bare.uncalibrated(raw), labels=names, expert=bare.weights, collection="simulated")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    write_calibration(calibration, tmp_path / FILE)
    expert = load_xrv(tmp_path)
    assert expert.weights == bare.weights
    assert expert.identity == f"{bare.weights}/calibration-{calibration.identity}"
    score = expert.finish(raw)[0].scores[3]
    of_label = calibration.labels["Cardiomegaly"]
    assert score.probability == pytest.approx(1 / (1 + np.exp(-of_label.slope * raw[0, 3] - of_label.intercept)))
    assert (score.absent_below, score.present_above) == (of_label.absent_below, of_label.present_above)
    write_calibration(calibration.model_copy(update={"expert": "another"}), tmp_path / FILE)
    with pytest.raises(CalibrationMismatch, match="another"):
        load_xrv(tmp_path)


def test_a_batch_of_images_is_judged_as_each_of_them_alone(folder: Path) -> None:
    expert = load_xrv(folder)
    prepared = [expert.prepare(pixels) for pixels in pictures()]
    together = expert.run(np.stack(prepared))
    alone = np.concatenate([expert.run(one[None]) for one in prepared])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_a_folder_with_pickles_only_is_refused_before_anything_is_opened(tmp_path: Path) -> None:
    (tmp_path / "densenet121.pt").write_bytes(b"not even a pickle")
    with pytest.raises(UnsafeWeights, match=r"may run untrusted code.*write_folder"):
        load_xrv(tmp_path)


def test_a_folder_whose_weights_do_not_fit_its_configuration_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingWeights):
        load_xrv(tmp_path / "nowhere")
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    load_xrv(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    deeper = config | {"block_config": [1, 1, 2, 2]}
    shallower = config | {"block_config": [1, 1, 2]}
    renamed = config | {"pathologies": ["Edema"], "op_threshs": None}
    for wrong in (deeper, shallower, renamed):
        (tmp_path / "config.json").write_text(json.dumps(wrong))
        with pytest.raises(MissingWeights, match="missing, too many or of another shape"):
            load_xrv(tmp_path)
    for invalid in (config | {"op_threshs": [0.5]}, config | {"run_this": "code"}, config | {"op_threshs": [2.0] * 6}):
        (tmp_path / "config.json").write_text(json.dumps(invalid))
        with pytest.raises(MissingWeights, match="write_folder"):
            load_xrv(tmp_path)
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:1000])
    with pytest.raises(MissingWeights):
        load_xrv(tmp_path)


def test_the_published_network_is_written_with_its_own_labels_and_operating_points(tmp_path: Path) -> None:
    xrv = need_xrv()
    import torch  # noqa: PLC0415

    # What torchxrayvision's loader leaves behind for "densenet121-res224-chex", but for the weights themselves.
    published = xrv.models.model_urls["densenet121-res224-chex"]
    network = xrv.models.DenseNet(weights=None)
    network.pathologies = network.targets = published["labels"]
    network.op_threshs = torch.tensor(published["op_threshs"])
    write_folder(network, tmp_path / "chex")
    expert = load_xrv(tmp_path / "chex")
    assert len(expert.labels) == 11
    pixels = pictures()[2]
    ours = expert.finish(expert.run(expert.prepare(pixels)[None]))[0]
    with torch.inference_mode():
        own = network.eval()(torch.from_numpy(xrv_pixels(pixels, 224))[None])[0].numpy()
    kept = [n for n, name in enumerate(published["labels"]) if name]
    np.testing.assert_allclose([s.probability for s in ours.scores], own[kept], atol=2e-6)


def test_loading_touches_no_network_leaves_no_folder_at_home_and_keeps_warnings_on(
    folder: Path, tmp_path: Path
) -> None:
    script = (
        "import sys, warnings\n"
        "def refuse(event, args):\n"
        "    if event.startswith(('socket.connect', 'socket.getaddrinfo')): raise SystemExit(f'network: {event}')\n"
        "sys.addaudithook(refuse)\n"
        "from pathlib import Path\n"
        "from generation.experts.xrv_densenet import load_xrv\n"
        f"load_xrv(Path({str(folder)!r}))\n"
        "assert ('ignore', None, Warning, None, 0) not in warnings.filters\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parent.parent,
        env={"HOME": str(tmp_path), "PATH": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / ".torchxrayvision").exists()
