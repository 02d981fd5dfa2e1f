"""torchxrayvision's DenseNet as an expert: up to 18 findings on a frontal radiograph (Cohen et al., MIDL 2022).

torchxrayvision keeps its weights as pickles, which run code when they are read; none is ever opened here, and nothing
is fetched. What is read is a folder with `config.json` (`XrvConfig`) and `model.safetensors`. It is made once, on a
machine that may run untrusted code and has the network, with torchxrayvision's own loader:

    import torchxrayvision as xrv
    from pathlib import Path
    from generation.experts.xrv_densenet import write_folder
    write_folder(xrv.models.DenseNet(weights="densenet121-res224-all"), Path("xrv-all"))

Pixels are prepared as torchxrayvision does it: grey to [-1024, 1024], the middle square, 224 x 224 by scikit-image.
Without a calibration the probability is torchxrayvision's own: piecewise linear around each label's operating point,
which becomes .5. The points are of their authors' validation sets, so the bands are wide: denied below half the
operating point, stated from half way between it and 1.

No real weights have been run: the tests fill the same architecture with random ones and compare with torchxrayvision's
own transforms and forward pass.
"""

import json
import math
import warnings
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy.special import expit
from skimage.transform import resize

from generation.experts.calibration import (
    NEVER,
    Bands,
    Calibration,
    Named,
    calibration_for,
    finish_scores,
    identity_of,
)
from generation.experts.expert import Logits, Prepared, Probabilities
from generation.experts.labels import Label, labels_of
from retrieval.encoders.hub import check_weights, files_digest, ready_torchvision
from retrieval.encoders.torch_encoder import check_device
from retrieval.errors import MissingWeights, UnsafeWeights
from retrieval.expert_scores import ExpertScores
from retrieval.pixels import Pixels
from retrieval.record import Record

CONFIG: Final = "config.json"
WEIGHTS: Final = "model.safetensors"
PREPARATION: Final = "1"
"""Raised whenever the code below changes what the network sees."""
WIDE: Final[Bands] = (0.25, 0.75)
"""Bands of a label with an operating point (at .5) and no calibration."""

Untyped = Any
"""torchxrayvision's network: it is read without its types."""


class XrvConfig(Record):
    """What `config.json` says; the defaults are DenseNet-121's."""

    architecture: Literal["torchxrayvision-densenet"] = "torchxrayvision-densenet"
    """The only one read here."""
    pathologies: tuple[str, ...] = Field(min_length=1)
    """The network's outputs in order; empty where an output was never trained."""
    op_threshs: tuple[float | None, ...] | None = None
    """Each output's operating point as a raw probability; null where there is none."""
    input_resolution: int = Field(default=224, ge=32)
    """Rows and columns the network was trained on."""
    growth_rate: int = 32
    """Channels each layer adds."""
    block_config: tuple[int, ...] = (6, 12, 24, 16)
    """Layers of each dense block."""
    num_init_features: int = 64
    """Channels of the first convolution."""
    bn_size: int = 4
    """Width of the bottlenecks, times `growth_rate`."""

    @model_validator(mode="after")
    def _one_point_each(self) -> "XrvConfig":
        points = self.op_threshs or (None,) * len(self.pathologies)
        if len(points) != len(self.pathologies):
            raise ValueError("op_threshs and pathologies differ in number")
        if not all(point is None or 0 < point < 1 for point in points):
            raise ValueError("an operating point lies outside (0, 1)")
        return self


class XrvDenseNet:
    """One DenseNet with its labels; outputs whose name means no concept are left out."""

    def __init__(self, network: Untyped, config: XrvConfig, weights: str, calibration: Calibration | None) -> None:
        """Take a network that gives logits; `load_xrv` makes one of a folder."""
        self.weights = weights
        self.labels: tuple[Label, ...] = labels_of(config.pathologies)
        self.identity = identity_of(weights, calibration)
        self._network = network
        self._device = next(network.parameters()).device
        self._side = config.input_resolution
        self._calibration = calibration
        kept = {label.name for label in self.labels}
        self._columns = [n for n, name in enumerate(config.pathologies) if name in kept]
        points = config.op_threshs or (None,) * len(config.pathologies)
        self._points = np.array([math.nan if points[n] is None else points[n] for n in self._columns], np.float64)
        self._normed = config.op_threshs is not None
        self._bands: list[Bands] = [NEVER if math.isnan(point) else WIDE for point in self._points]

    def prepare(self, pixels: Pixels) -> Prepared:
        return xrv_pixels(pixels, self._side)

    def run(self, batch: Prepared) -> Logits:
        with torch.inference_mode():
            raw = self._network(torch.from_numpy(batch).to(self._device)).float().cpu().numpy()
        return np.asarray(raw[:, self._columns], np.float64)

    def uncalibrated(self, raw: Logits) -> Probabilities:
        return op_norm(expit(raw), self._points) if self._normed else np.asarray(expit(raw), np.float64)

    def finish(self, raw: Logits) -> list[ExpertScores]:
        own = self.uncalibrated(raw)
        return finish_scores(raw, self.labels, own, self._bands, self.weights, self._calibration)


def load_xrv(folder: Path, *, device: str = "cpu", calibration: Named = "beside") -> XrvDenseNet:
    """Load a folder, with the calibration beside the weights if there is one.

    Raises MissingWeights for a folder without all weights of its configuration, or with more; UnsafeWeights for one
    with pickles only, as torchxrayvision ships them; CalibrationMismatch for a calibration of another expert.
    """
    check_device(device)
    if not folder.is_dir():
        raise MissingWeights(f"{folder} is no folder", fix="name a folder as write_folder makes it")
    if not (folder / WEIGHTS).is_file() and any(folder.glob("*.pt")):
        raise UnsafeWeights(
            f"{folder} has its weights only as a pickle",
            fix="on a machine that may run untrusted code load it with torchxrayvision, and write it as safetensors "
            "with generation.experts.xrv_densenet.write_folder",
        )
    files = check_weights(folder, str(folder), configuration=CONFIG, weights=WEIGHTS)
    try:
        config = XrvConfig.model_validate_json((folder / CONFIG).read_bytes())
        state = load_file(folder / WEIGHTS)
    except (ValidationError, SafetensorError, OSError) as error:
        raise MissingWeights(f"{folder} is not as write_folder makes it", fix="convert the network again") from error
    network = _network(config)
    expected = network.state_dict()
    unlike = sorted(
        (expected.keys() ^ state.keys()) | {n for n in expected.keys() & state if expected[n].shape != state[n].shape}
    )
    if unlike:
        raise MissingWeights(
            f"{len(unlike)} weights of {folder} are missing, too many or of another shape, {unlike[0]} the first",
            fix="convert the network again, or name the folder whose config.json fits its weights",
        )
    network.load_state_dict(state)
    network.to(device).eval()
    weights = f"xrv-densenet-{files_digest(files)[:12]}-{PREPARATION}"
    return XrvDenseNet(network, config, weights, calibration_for(weights, calibration, folder))


def write_folder(network: Untyped, folder: Path, config: XrvConfig | None = None) -> None:
    """Write a DenseNet of torchxrayvision as `load_xrv` reads it; the configuration is DenseNet-121's unless given."""
    state = {name: tensor.contiguous().cpu() for name, tensor in network.state_dict().items() if name != "op_threshs"}
    if config is None:
        points = None if network.op_threshs is None else network.op_threshs.tolist()
        config = XrvConfig(
            pathologies=tuple(network.pathologies),
            op_threshs=points and tuple(None if math.isnan(point) else point for point in points),
        )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def xrv_pixels(pixels: Pixels, side: int) -> Prepared:
    """Display-ready grey as torchxrayvision's networks see it: 1 x side x side, -1024 black to 1024 white."""
    scaled = (2 * pixels.astype(np.float32) - 1) * 1024
    rows, columns = scaled.shape
    square = min(rows, columns)
    top, left = rows // 2 - square // 2, columns // 2 - square // 2
    # A third axis, as torchxrayvision has it: scikit-image filters two and three axes alike, but rounds differently.
    cropped = scaled[None, top : top + square, left : left + square]
    resized = resize(cropped, (1, side, side), mode="constant", preserve_range=True)  # type: ignore[no-untyped-call]
    return np.asarray(resized, np.float32)


def op_norm(probabilities: NDArray[np.float64], points: NDArray[np.float64]) -> Probabilities:
    """Piecewise linear: 0 stays 0, the operating point becomes .5, 1 stays 1; .5 where there is no operating point."""
    above = 1 - (1 - probabilities) / (2 * (1 - points))
    normed = np.where(probabilities < points, probabilities / (2 * points), above)
    return np.where(np.isnan(points), 0.5, normed)


def _network(config: XrvConfig) -> Untyped:
    ready_torchvision()
    with warnings.catch_warnings():
        # Its import would silence every warning of the process.
        warnings.simplefilter("ignore")
        import torchxrayvision  # noqa: PLC0415

    return torchxrayvision.models.DenseNet(
        num_classes=len(config.pathologies),
        growth_rate=config.growth_rate,
        block_config=config.block_config,
        num_init_features=config.num_init_features,
        bn_size=config.bn_size,
        weights=None,
    )
