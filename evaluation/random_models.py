"""Checkpoints with random weights, in the architectures that Prelim loads, for tests and for measuring speed.

They are made on the spot, with a tokenizer trained on a few phrases, saved and loaded like any other model. What they
write is noise; how fast they write it, and whether two generators write the same, is not.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from retrieval.encoders.hub import ready_torchvision

Architecture = Literal["qwen2_vl", "qwen2_5_vl", "gemma3", "llava", "qwen2"]
"""The last one reads text only."""

Untyped = Any
"""What transformers makes: it is read without its types."""

_PHRASES: Final = (
    "The heart size is normal. The lungs are clear. No pleural effusion or pneumothorax.",
    "Mild cardiomegaly with small bilateral pleural effusions. Findings: Impression: Indication:",
    "Bibasilar atelectasis. Consolidation in the right lower lobe suggests pneumonia.",
    "Endotracheal tube above the carina. Edema present, fracture absent. Describe the image.",
)
_ROLES: Final = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
_CHAT: Final = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}"
    "{% endif %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPREAD: Final = 1.5
"""How far random weights are spread: with the usual small ones all tokens would be nearly as likely."""


@dataclass(frozen=True)
class Size:
    """How large the language model is; eyes stay small."""

    hidden: int = 64
    layers: int = 2
    vocabulary: int = 512
    positions: int = 2048
    heads: int = 2


def write_random_model(folder: Path, architecture: Architecture, size: Size | None = None, seed: int = 0) -> Path:
    """Write a checkpoint with its tokenizer and image processor, as a hub would serve it; returns its folder."""
    make = {
        "qwen2_vl": _qwen_vl, "qwen2_5_vl": _qwen_vl, "gemma3": _gemma, "llava": _llava, "qwen2": _qwen_text,
    }[architecture]  # fmt: skip
    ready_torchvision()
    torch.manual_seed(seed)
    network, processor = make(architecture, size or Size())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in network.parameters():
            if weight.dim() >= 2:
                fan_in = weight[0].numel()
                weight.copy_(torch.randn(weight.shape, generator=generator) * (_SPREAD / fan_in**0.5))
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    if architecture in ("gemma3", "llava"):
        _name_as_released(folder / "model.safetensors")
    return folder


def _name_as_released(file: Path) -> None:
    """Call the eyes' weights what released checkpoints call them: vLLM knows only those names, transformers both."""
    weights = {
        name.replace("vision_tower.", "vision_tower.vision_model.", 1): weight
        for name, weight in load_file(file).items()
    }
    save_file(weights, file, metadata={"format": "pt"})


def _tokenizer(vocabulary: int, marks: Sequence[str], spaces: Literal["bytes", "blanks"], chat: str = _CHAT) -> Untyped:
    """A tokenizer of a family: a space as a byte of the word after it (Qwen), or as a blank mark (Llama, Gemma)."""
    special = ["<pad>", "<s>", "</s>", "<unk>", *_ROLES, *marks]
    raw = Tokenizer(models.BPE(unk_token="<unk>"))
    alphabet = [chr(code) for code in range(33, 127)] + ["\n", "\u2581"]
    if spaces == "bytes":
        raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        raw.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    else:
        raw.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
        raw.decoder = decoders.Metaspace(prepend_scheme="never")
    raw.train_from_iterator(
        [" ".join(_PHRASES)] * 4,
        trainers.BpeTrainer(
            vocab_size=vocabulary, min_frequency=1, special_tokens=special, initial_alphabet=alphabet,
            show_progress=False,
        ),
    )  # fmt: skip
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        additional_special_tokens=special[4:], model_max_length=100_000,
    )  # fmt: skip
    made.chat_template = chat
    return made


def _text_config(tokenizer: Untyped, size: Size) -> dict[str, Any]:
    """What all the language models here share. Rows of the vocabulary that no token has are never chosen by name."""
    return {
        "vocab_size": max(size.vocabulary, len(tokenizer)),
        "hidden_size": size.hidden,
        "intermediate_size": 2 * size.hidden,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": max(1, size.heads // 2),
        "max_position_embeddings": size.positions,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _qwen_vl(architecture: Architecture, size: Size) -> tuple[Untyped, Untyped]:
    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = _tokenizer(
        size.vocabulary, marks, "bytes", _CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
    )
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(marks))
    eyes: dict[str, object] = {
        "depth": 2, "num_heads": 2, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2,
    }  # fmt: skip
    if architecture == "qwen2_vl":
        name = "Qwen2VL"
        eyes |= {"embed_dim": 32, "hidden_size": size.hidden, "mlp_ratio": 2}
    else:
        name = "Qwen2_5_VL"
        eyes |= {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": size.hidden}
        eyes |= {"window_size": 56, "fullatt_block_indexes": [1]}
    half = size.hidden // size.heads // 2  # of a head's rotary pairs: time, height, width
    planes = [half // 4, (half - half // 4) // 2]
    config = getattr(transformers, f"{name}Config")(
        text_config=_text_config(tokenizer, size)
        | {"rope_parameters": {
            "rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [*planes, half - sum(planes)],
        }},
        vision_config=eyes,
        image_token_id=image, video_token_id=video, vision_start_token_id=start, vision_end_token_id=end,
        tie_word_embeddings=False,
    )  # fmt: skip
    tokenizer.image_token, tokenizer.video_token = "<|image_pad|>", "<|video_pad|>"
    processor = getattr(transformers, f"{name}Processor")(
        image_processor=transformers.Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 112 * 112}),
        tokenizer=tokenizer,
        video_processor=transformers.Qwen2VLVideoProcessor(),
        chat_template=tokenizer.chat_template,
    )
    return getattr(transformers, f"{name}ForConditionalGeneration")(config), processor


def _gemma(_: Architecture, size: Size) -> tuple[Untyped, Untyped]:
    marks = ("<start_of_image>", "<end_of_image>", "<image_soft_token>", "\n", "\n\n", "\n\n\n", "\n\n\n\n")
    tokenizer = _tokenizer(size.vocabulary, marks, "blanks", _CHAT.replace("IMAGE", "<start_of_image>"))
    start, end, image = tokenizer.convert_tokens_to_ids(list(marks[:3]))
    named = {"boi_token": marks[0], "eoi_token": marks[1], "image_token": marks[2]}
    for name, mark in named.items():
        setattr(tokenizer, name, mark)
        setattr(tokenizer, f"{name}_id", tokenizer.convert_tokens_to_ids(mark))
    tokenizer.init_kwargs.update(named)
    head = size.hidden // size.heads
    config = transformers.Gemma3Config(
        text_config=_text_config(tokenizer, size) | {
            # A window shorter than the prompts, so that it matters where padding lies.
            "head_dim": head, "query_pre_attn_scalar": head, "sliding_window": 64, "tie_word_embeddings": False,
            "layer_types": ["full_attention" if n % 2 else "sliding_attention" for n in range(size.layers)],
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2,
            "image_size": 56, "patch_size": 14, "vision_use_head": False,
        },
        tie_word_embeddings=False, mm_tokens_per_image=4,
        boi_token_index=start, eoi_token_index=end, image_token_index=image,
    )  # fmt: skip
    processor = transformers.Gemma3Processor(
        image_processor=transformers.Gemma3ImageProcessor(size={"height": 56, "width": 56}),
        tokenizer=tokenizer, chat_template=tokenizer.chat_template, image_seq_length=4,
    )  # fmt: skip
    return transformers.Gemma3ForConditionalGeneration(config), processor


def _llava(_: Architecture, size: Size) -> tuple[Untyped, Untyped]:
    tokenizer = _tokenizer(size.vocabulary, ("<image>",), "blanks", _CHAT.replace("IMAGE", "<image>"))
    image = tokenizer.convert_tokens_to_ids("<image>")
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(
            hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56,
            patch_size=14, projection_dim=32,
        ),
        text_config=transformers.LlamaConfig(**_text_config(tokenizer, size)),
        image_token_id=image, image_token_index=image, vision_feature_layer=-2, image_seq_length=16,
        vision_feature_select_strategy="default", tie_word_embeddings=False,
    )  # fmt: skip
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(
            size={"shortest_edge": 56}, crop_size={"height": 56, "width": 56}
        ),
        tokenizer=tokenizer, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return transformers.LlavaForConditionalGeneration(config), processor


def _qwen_text(_: Architecture, size: Size) -> tuple[Untyped, Untyped]:
    tokenizer = _tokenizer(size.vocabulary, (), "bytes")
    config = transformers.Qwen2Config(**_text_config(tokenizer, size), tie_word_embeddings=False)
    return transformers.Qwen2ForCausalLM(config), tokenizer
