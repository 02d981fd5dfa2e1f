"""Tiny experts for tests: a torchxrayvision DenseNet with random weights, written and loaded as a real one is."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from generation.experts.calibration import Bands
from generation.experts.expert import Logits, Prepared, Probabilities
from generation.experts.labels import Label
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.pixels import Pixels
from tests.conftest import skip_or_fail
from tests.tiny_models import need_models

if TYPE_CHECKING:
    from generation.experts.xrv_densenet import XrvConfig

PATHOLOGIES = ("Atelectasis", "", "Effusion", "Pneumothorax", "Cardiomegaly", "Pleural_Thickening")
POINTS = (0.2, None, 0.27, 0.05, None, 0.6)


def need_xrv() -> Any:
    """torchxrayvision itself, to compare with; skips, by name, where it is not installed."""
    need_models()
    from retrieval.encoders.hub import ready_torchvision  # noqa: PLC0415

    ready_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import torchxrayvision  # noqa: PLC0415
        except ModuleNotFoundError:
            skip_or_fail("models", "torchxrayvision is not installed (extra `models`)")
    return torchxrayvision


def tiny_config(pathologies: tuple[str, ...] = PATHOLOGIES, points: Any = POINTS) -> "XrvConfig":
    from generation.experts.xrv_densenet import XrvConfig  # noqa: PLC0415

    return XrvConfig(
        pathologies=pathologies,
        op_threshs=points,
        growth_rate=4,
        block_config=(1, 1, 2, 1),
        num_init_features=8,
        bn_size=2,
    )


def tiny_densenet(config: "XrvConfig", seed: int = 0) -> Any:
    """torchxrayvision's own network; its outputs differ between images, which untrained ones hardly do."""
    xrv = need_xrv()
    import torch  # noqa: PLC0415

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = xrv.models.DenseNet(
            num_classes=len(config.pathologies),
            growth_rate=config.growth_rate,
            block_config=config.block_config,
            num_init_features=config.num_init_features,
            bn_size=config.bn_size,
            weights=None,
        )
        network.features.norm0.running_var.fill_(1e4)
        torch.nn.init.normal_(network.classifier.weight, std=2.0)
        torch.nn.init.normal_(network.classifier.bias)
    return network.eval()


def write_tiny_xrv(folder: Path, config: "XrvConfig | None" = None) -> Path:
    """A folder as `write_folder` makes it."""
    from generation.experts.xrv_densenet import write_folder  # noqa: PLC0415

    config = config or tiny_config()
    write_folder(tiny_densenet(config), folder, config)
    return folder


def write_tiny_siglip(folder: Path) -> Path:
    """A SigLIP with random weights in transformers' format; its words are those of the zero-shot prompts."""
    need_models()
    import torch  # noqa: PLC0415
    import transformers  # noqa: PLC0415
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers  # noqa: PLC0415

    from generation.experts.zero_shot import ABSENT, LABELS, PRESENT  # noqa: PLC0415
    from retrieval.encoders.hub import ready_torchvision  # noqa: PLC0415

    ready_torchvision()
    words = sorted({word for text in (PRESENT, ABSENT, *LABELS) for word in text.lower().split()})
    known = {word: n for n, word in enumerate(["<pad>", "</s>", "<unk>", *words])}
    spelling = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    spelling.normalizer = normalizers.Lowercase()
    spelling.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=spelling, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    shared = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.SiglipConfig(
        text_config=shared | {"vocab_size": len(known), "max_position_embeddings": 12, "projection_size": 32},
        vision_config=shared | {"image_size": 32, "patch_size": 8},
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = transformers.SiglipModel(config)
        with torch.no_grad():
            network.logit_scale.fill_(float(np.log(40.0)))
            network.logit_bias.fill_(-7.0)
            for weight in network.parameters():
                if weight.dim() > 1:
                    weight.add_(torch.randn(weight.shape) * 0.1)
    network.save_pretrained(folder)
    transformers.SiglipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


class Oracle:
    """An expert that reads its log odds off the corner of the image, one pixel a label: .5 is 0."""

    def __init__(self, name: str, labels: tuple[Label, ...], bands: Bands = (0.3, 0.7)) -> None:
        self.weights = self.identity = name
        self.labels = labels
        self._bands = bands

    def prepare(self, pixels: Pixels) -> Prepared:
        return pixels[0, : len(self.labels)]

    def run(self, batch: Prepared) -> Logits:
        return (np.asarray(batch, np.float64) - 0.5) * 8

    def uncalibrated(self, raw: Logits) -> Probabilities:
        return np.asarray(1 / (1 + np.exp(-raw)))

    def finish(self, raw: Logits) -> list[ExpertScores]:
        low, high = self._bands
        return [
            ExpertScores(
                expert=self.identity,
                scores=tuple(
                    ExpertScore(concept=label.concept, probability=float(p), absent_below=low, present_above=high)
                    for label, p in zip(self.labels, row, strict=True)
                ),
            )
            for row in self.uncalibrated(raw)
        ]
