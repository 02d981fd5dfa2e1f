"""Encoders in open_clip's format, such as BiomedCLIP: a folder with open_clip_config.json and its safetensors.

A folder or hub id in, a `TorchImageTextEncoder` out. open_clip would fetch whatever a configuration names; here every
folder is found first, by the same rule as all others, and open_clip is handed folders only.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import transformers
from numpy.typing import NDArray
from torch import Tensor

from retrieval.encoders.hub import Network, check_weights, files_digest, loading, model_folder, ready_torchvision
from retrieval.encoders.torch_encoder import TorchImageTextEncoder, check_device, check_framing, dimension_of
from retrieval.errors import MissingWeights
from retrieval.pixels.framing import Framing

ready_torchvision()  # open_clip imports torchvision
import open_clip  # noqa: E402
from open_clip.tokenizer import HFTokenizer  # noqa: E402
from open_clip.transform import PreprocessCfg, image_transform_v2  # noqa: E402
from torchvision.transforms.functional import to_pil_image  # noqa: E402

CONFIGURATION: Final = "open_clip_config.json"
"""What the architecture and the preprocessing are read from."""
WEIGHTS: Final = "open_clip_model.safetensors"
"""What open_clip itself writes them to."""
HUB: Final = "hf-hub:"
"""How open_clip marks a hub id; it may be left out."""

Untyped = Any
"""What open_clip makes: it is read without its types."""


def load(where: str, *, device: str = "cpu", network: Network = "off") -> TorchImageTextEncoder:
    """Load an image-text encoder from a folder, or by hub id from the local cache.

    Raises MissingWeights, UnsafeWeights, UnsupportedModel, MissingDependency.
    """
    # 1. Where it is, and whether it may be read.
    check_device(device)
    folder = model_folder(where.removeprefix(HUB), revision=None, network=network)
    files = check_weights(folder, where, configuration=CONFIGURATION, weights=WEIGHTS)
    # 2. Its weights, its tokenizer, and how images are prepared for it.
    with loading(where, f"open_clip {open_clip.__version__}", fix="name a folder that open_clip has written"):
        text = json.loads((folder / CONFIGURATION).read_text(encoding="utf-8"))["model_cfg"]["text_cfg"]
        loaded = open_clip.create_model(
            f"local-dir:{folder}", device=device, pretrained_text=False, require_pretrained=True, weights_only=True,
            text_cfg=_local_text(text, folder, network),
        )  # fmt: skip
        tokenizer = _tokenizer(text, folder, network)
        cfg = PreprocessCfg(**loaded.visual.preprocess_cfg)
        framing, transform = framing_of(cfg), image_transform_v2(cfg, is_train=False)
    check_framing(framing, lambda image: _transformed(transform, image), where)
    loaded.eval().requires_grad_(False)

    # 3. What stands for an image, and for a text.
    def of_images(images: Tensor) -> Tensor:
        features: Tensor = loaded.encode_image(images)
        return features

    def of_texts(texts: Sequence[str]) -> Tensor:
        features: Tensor = loaded.encode_text(tokenizer(list(texts)).to(device))
        return features

    return TorchImageTextEncoder(
        kind="open_clip",
        prepare=framing,
        weights=files_digest(files),
        dimension=dimension_of(of_images, framing, device, where),
        device=device,
        rows_of_images=of_images,
        logit_scale=float(loaded.logit_scale.exp()),
        logit_bias=0.0 if loaded.logit_bias is None else float(loaded.logit_bias),
        rows_of_texts=of_texts,
    )


def framing_of(cfg: Untyped) -> Framing:
    """What open_clip's preprocessing does; raises ValueError for what cannot be said as a framing."""
    rows, columns = (cfg.size, cfg.size) if isinstance(cfg.size, int) else cfg.size
    if cfg.resize_mode == "shortest" and rows != columns:
        raise ValueError("cutting an oblong out of images is not known here")
    return Framing(
        rows=rows,
        columns=columns,
        resize=cfg.resize_mode,
        edge=rows if cfg.resize_mode == "shortest" else 0,
        interpolation=cfg.interpolation,
        middle="even",
        fill=cfg.fill_color,
        mean=tuple(cfg.mean),
        std=tuple(cfg.std),
    )


def _local_text(text: dict[str, Any], folder: Path, network: Network) -> dict[str, Any]:
    """The text encoder's configuration with a folder in place of the hub id that some name (BiomedCLIP's BERT)."""
    if not text.get("hf_model_name"):
        return text
    named = _holding(("config.json",), folder, text["hf_model_name"], network)
    # open_clip would ask whoever sits at the terminal whether code of that folder may be run.
    transformers.AutoConfig.from_pretrained(named, trust_remote_code=False, local_files_only=True)
    return {**text, "hf_model_name": str(named), "hf_model_pretrained": False}


def _tokenizer(text: dict[str, Any], folder: Path, network: Network) -> Callable[[list[str]], Tensor]:
    """CLIP's own tokenizer, which open_clip brings, or the one the configuration names."""
    if not text.get("hf_tokenizer_name"):
        own: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(f"local-dir:{folder}")
        return own
    files = ("tokenizer.json", "tokenizer_config.json", "vocab.txt")
    named: Callable[[list[str]], Tensor] = HFTokenizer(
        str(_holding(files, folder, text["hf_tokenizer_name"], network)),
        context_length=text.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH),
        tokenizer_mode=text.get("tokenizer_mode"),
        trust_remote_code=False,
        local_files_only=True,
        **text.get("tokenizer_kwargs", {}),
    )
    return named


def _holding(files: Sequence[str], folder: Path, hub_id: str, network: Network) -> Path:
    """The encoder's own folder where it holds one of the files, else the folder of the model it names."""

    def holds(place: Path) -> bool:
        return any((place / file).is_file() for file in files)

    if holds(folder):
        return folder
    named = model_folder(hub_id, revision=None, network=network)
    if holds(named):
        return named
    raise MissingWeights(f"{hub_id!r}, which {folder.name} names, has no {files[0]}", fix=f"put one into {folder}")


def _transformed(transform: Untyped, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.asarray(transform(to_pil_image(image)).numpy(), dtype=np.float32)
