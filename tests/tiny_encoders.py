"""Tiny checkpoints of the encoders' architectures with random weights, as a hub would serve them, made once a run."""

import importlib.util
import json
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pytest

from retrieval.pixels import Pixels

TinyEncoder = Literal["dinov2", "vit", "siglip", "clip", "open_clip", "open_clip_bert"]
TINY: Final[tuple[TinyEncoder, ...]] = ("dinov2", "vit", "siglip", "clip", "open_clip", "open_clip_bert")
READ_WORDS: Final[tuple[TinyEncoder, ...]] = ("siglip", "clip", "open_clip", "open_clip_bert")
TEXTS: Final = (
    "Large left pleural effusion.",
    "No pneumothorax.",
    "The heart is enlarged and the lungs are clear, with no pleural effusion and no pneumothorax on either side.",
)
_SIDE: Final = 28
_KEPT: Final[list[Any]] = []


def need_encoders() -> None:
    """Skip a module that cannot be imported without the packages of the extra `models`."""
    for package in ("torch", "torchvision", "transformers", "open_clip"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"models: {package} is not installed (extra `models`)", allow_module_level=True)


def named(kind: TinyEncoder) -> str:
    """As an operator writes it."""
    return f"{'open_clip' if kind.startswith('open_clip') else 'transformers'}:{checkpoint(kind)}"


@cache
def checkpoint(kind: TinyEncoder) -> Path:
    """The folder of a checkpoint; it goes when the interpreter does."""
    folder = tempfile.TemporaryDirectory(prefix=f"prelim-{kind}-")
    _KEPT.append(folder)
    write_tiny(Path(folder.name), kind)
    return Path(folder.name)


def write_tiny(folder: Path, kind: TinyEncoder, seed: int = 0) -> None:
    """Write the checkpoint; another seed gives other weights of the same shape."""
    import torch  # noqa: PLC0415

    torch.manual_seed(seed)
    if kind.startswith("open_clip"):
        _open_clip(folder, "bert" if kind == "open_clip_bert" else "own")
    else:
        _transformers(folder, kind)


def noise(seed: int, rows: int, columns: int) -> Pixels:
    """Grey with structure of every size."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    waves = np.sin(x / rng.uniform(3, 40)) + np.cos(y / rng.uniform(3, 40))
    return np.clip(0.5 + waves / 5 + rng.normal(0, 0.1, (rows, columns)), 0, 1).astype(np.float32)


def spread(network: Any) -> None:
    """Random weights as far apart as trained ones: the usual small ones give every image the same vector."""
    import torch  # noqa: PLC0415

    with torch.no_grad():
        for name, weight in network.named_parameters():
            if weight.dim() >= 2:
                weight.copy_(torch.randn(weight.shape) * (1.5 / weight[0].numel() ** 0.5))
            elif name == "logit_bias":
                weight.fill_(-10.0)


def _transformers(folder: Path, kind: str) -> None:
    from retrieval.encoders.hub import ready_torchvision  # noqa: PLC0415

    ready_torchvision()
    import transformers as t  # noqa: PLC0415

    tower = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": _SIDE, "patch_size": 7}
    words = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    if kind == "dinov2":
        network = t.Dinov2Model(t.Dinov2Config(**tower))
        # As RAD-DINO: the shortest side, then the middle.
        square = {"height": _SIDE, "width": _SIDE}
        processor = t.BitImageProcessor(
            size={"shortest_edge": _SIDE}, crop_size=square, image_mean=[0.5307] * 3, image_std=[0.2583] * 3
        )
    elif kind == "vit":
        network = t.ViTModel(t.ViTConfig(**tower, intermediate_size=64), add_pooling_layer=False)
        processor = t.ViTImageProcessor(size={"height": _SIDE, "width": _SIDE})
    else:
        tokenizer = _tokenizer(t)
        ids = {name: getattr(tokenizer, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
        words |= {"vocab_size": len(tokenizer), "max_position_embeddings": 16, **ids}
        tower["intermediate_size"] = 64
        if kind == "siglip":
            network = t.SiglipModel(t.SiglipConfig(text_config=words, vision_config=tower))
            processor = t.SiglipImageProcessor(size={"height": _SIDE, "width": _SIDE}, resample=2)
        else:
            network = t.CLIPModel(t.CLIPConfig(text_config=words, vision_config=tower, projection_dim=24))
            processor = t.CLIPImageProcessor(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE})
        tokenizer.save_pretrained(folder)
    spread(network)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)


def _open_clip(folder: Path, text: Literal["own", "bert"]) -> None:
    """As open_clip writes a folder: CLIP's own text encoder, or a BERT that the configuration names (BiomedCLIP)."""
    from retrieval.encoders.hub import ready_torchvision  # noqa: PLC0415

    ready_torchvision()
    import open_clip  # noqa: PLC0415
    import transformers as t  # noqa: PLC0415
    from safetensors.torch import save_file  # noqa: PLC0415

    tower: dict[str, object] = {"image_size": _SIDE, "layers": 2, "width": 32, "head_width": 16, "patch_size": 7}
    words: dict[str, object] = {"context_length": 16, "width": 16, "heads": 2, "layers": 1}
    if text == "bert":
        tokenizer = _tokenizer(t)
        tokenizer.save_pretrained(folder)
        t.BertConfig(
            vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=64, pad_token_id=tokenizer.pad_token_id,
        ).save_pretrained(folder)  # fmt: skip
        words = {
            "hf_model_name": "nobody/tiny-bert", "hf_tokenizer_name": "nobody/tiny-bert", "hf_proj_type": "mlp",
            "hf_pooler_type": "cls_last_hidden_state_pooler", "context_length": 16,
        }  # fmt: skip
    # CLIP's own as trained with a sigmoid, which has a bias; the other with a softmax, which has none.
    bias = {"init_logit_bias": -10.0} if text == "own" else {}
    written = {"embed_dim": 24, "vision_cfg": tower, "text_cfg": words, **bias}
    local = {**words, "hf_model_name": str(folder), "hf_model_pretrained": False} if text == "bert" else words
    kind = open_clip.CustomTextCLIP if text == "bert" else open_clip.CLIP
    network = kind(**{**written, "text_cfg": local})
    spread(network)
    preprocessing = {"mean": [0.48] * 3, "std": [0.27] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": written, "preprocess_cfg": preprocessing}), encoding="utf-8"
    )
    save_file(dict(network.state_dict()), folder / "open_clip_model.safetensors")


def _tokenizer(t: Any) -> Any:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers  # noqa: PLC0415

    raw = Tokenizer(models.WordPiece(unk_token="<unk>"))
    raw.normalizer = normalizers.Lowercase()
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["<pad>", "<unk>", "<s>", "</s>"]  # an end that is 2 would be taken for OpenAI's old configuration
    raw.train_from_iterator(list(TEXTS) * 3, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    raw.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(mark, raw.token_to_id(mark)) for mark in ("<s>", "</s>")]
    )
    return t.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )
