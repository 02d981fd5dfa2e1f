"""Encoders in transformers' format: DINOv2 (RAD-DINO) and ViT for images; SigLIP (MedSigLIP) and CLIP for words too.

A folder or hub id in, a `TorchEncoder` out. What stands for an image is what the architecture was trained to say of
the whole: the CLS token after the last layer norm, or the pooled image features that are compared with text. Only
architectures whose code transformers brings itself are loaded, and only from safetensors.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor

from retrieval.encoders.hub import (
    Network,
    check_transformers,
    check_whole,
    files_digest,
    loading,
    model_folder,
    ready_torchvision,
    words_of,
)
from retrieval.encoders.torch_encoder import (
    TorchEncoder,
    TorchImageTextEncoder,
    check_device,
    check_framing,
    dimension_of,
)
from retrieval.errors import UnsupportedModel
from retrieval.pixels.framing import Framing, Interpolation

Untyped = Any
"""What transformers makes: it is read without its types."""

IMAGE_ONLY: Final = ("dinov2", "dinov2_with_registers", "vit")
"""Architectures whose CLS token stands for the image. A pooler on top of it, which some have, is often untrained."""
IMAGE_TEXT: Final = ("siglip", "clip")
"""Architectures with pooled features of image and text in one space."""
_FILTERS: Final[dict[int, Interpolation]] = {
    0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"
}  # fmt: skip
"""Pillow's numbers, as image processors write them."""
_SAFELY: Final[dict[str, Any]] = {"trust_remote_code": False, "local_files_only": True}


def load(where: str, *, device: str = "cpu", network: Network = "off") -> TorchEncoder:
    """Load an encoder from a folder, or by hub id from the local cache; one that reads words is TorchImageTextEncoder.

    Raises MissingWeights, UnsafeWeights, UnsupportedModel, MissingDependency.
    """
    # 1. Where it is, and whether it may be read.
    ready_torchvision()
    check_device(device)
    folder = model_folder(where, revision=None, network=network)
    files = check_transformers(folder, where)
    # 2. What it is, how images are prepared for it, and its weights.
    with loading(
        where,
        f"transformers {transformers.__version__}",
        fix=f"name an encoder of images ({', '.join((*IMAGE_ONLY, *IMAGE_TEXT))}) with its preprocessor_config.json",
    ):
        config = transformers.AutoConfig.from_pretrained(folder, **_SAFELY)
        kind: str = config.model_type
        if kind not in IMAGE_ONLY + IMAGE_TEXT:
            raise UnsupportedModel(
                f"{where} is of the architecture {kind!r}, which is not known here as an encoder of images",
                fix=f"name one of {', '.join((*IMAGE_ONLY, *IMAGE_TEXT))}",
            )
        processor = transformers.AutoImageProcessor.from_pretrained(folder, **_SAFELY)
        framing = framing_of(processor)
        more = {"add_pooling_layer": False} if kind == "vit" else {}
        loaded, info = transformers.AutoModel.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            output_loading_info=True,
            **more,
            **_SAFELY,
        )
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **_SAFELY) if kind in IMAGE_TEXT else None
    check_whole(where, info["missing_keys"])
    check_framing(framing, lambda image: _processed(processor, image), where)
    loaded.to(device).eval().requires_grad_(False)
    # 3. What stands for an image, and for a text.
    of_images = _cls_token(loaded) if tokenizer is None else _pooled(loaded)
    dimension, weights = (
        dimension_of(of_images, framing, device, where),
        files_digest([*files, *words_of(folder)] if tokenizer else files),
    )
    if tokenizer is None:
        return TorchEncoder(kind, framing, weights, dimension, device, of_images)
    return TorchImageTextEncoder(
        kind, framing, weights, dimension, device, of_images,
        logit_scale=float(loaded.logit_scale.detach().exp()),
        logit_bias=float(loaded.logit_bias.detach()) if kind == "siglip" else 0.0,
        rows_of_texts=_pooled_text(loaded, tokenizer),
    )  # fmt: skip


def _cls_token(loaded: Untyped) -> Callable[[Tensor], Tensor]:
    def rows(images: Tensor) -> Tensor:
        tokens: Tensor = loaded(pixel_values=images).last_hidden_state
        return tokens[:, 0]

    return rows


def _pooled(loaded: Untyped) -> Callable[[Tensor], Tensor]:
    def rows(images: Tensor) -> Tensor:
        features: Tensor = loaded.get_image_features(pixel_values=images).pooler_output
        return features

    return rows


def _pooled_text(loaded: Untyped, tokenizer: Untyped) -> Callable[[Sequence[str]], Tensor]:
    # SigLIP was trained on texts filled up to the full length, and reads what they are filled with; CLIP masks it.
    filled = loaded.config.model_type == "siglip"
    reads = ("input_ids",) if filled else ("input_ids", "attention_mask")

    def rows(texts: Sequence[str]) -> Tensor:
        tokens = tokenizer(
            list(texts),
            padding="max_length" if filled else True,
            truncation=True,
            max_length=loaded.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(loaded.device)
        features: Tensor = loaded.get_text_features(**{name: tokens[name] for name in reads}).pooler_output
        return features

    return rows


def framing_of(processor: Untyped) -> Framing:
    """What an image processor does, its defaults included; raises ValueError for what cannot be said as a framing."""
    size: Untyped = processor.size
    cuts: Untyped = processor.crop_size if getattr(processor, "do_center_crop", None) else None
    shared: dict[str, Any] = {
        "interpolation": _FILTERS[int(processor.resample)],
        "scale": processor.rescale_factor if processor.do_rescale else 1.0,
        "mean": tuple(processor.image_mean) if processor.do_normalize else (0.0, 0.0, 0.0),
        "std": tuple(processor.image_std) if processor.do_normalize else (1.0, 1.0, 1.0),
    }
    if processor.do_resize and size.height and size.width and cuts is None:
        return Framing(rows=size.height, columns=size.width, resize="squash", **shared)
    if processor.do_resize and size.shortest_edge and not size.longest_edge and cuts is not None:
        return Framing(rows=cuts.height, columns=cuts.width, resize="shortest", edge=size.shortest_edge, **shared)
    raise ValueError("the image processor neither squashes images to a square nor cuts a square out of them")


def _processed(processor: Untyped, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    rows = processor(images=[image], input_data_format="channels_last", return_tensors="np")["pixel_values"]
    return np.asarray(rows[0], dtype=np.float32)
