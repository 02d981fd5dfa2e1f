"""Models and tokenizers of Hugging Face, loaded without running anybody's code, and prompts turned into their tensors.

Weights are read from safetensors only, and a model whose weights are not all there is refused instead of filled up with
random numbers. Nothing is fetched from a hub unless `network="on"` says so and HF_HUB_OFFLINE does not forbid it.
What is chosen from the logits is not known here.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import transformers
from torch import Tensor

from generation.decoding.generator import BranchPrompt, GenerationRequest, Images
from generation.decoding.hf_prompts import SAFELY, HfPrompts, end_tokens, image_tokens, read_processor
from generation.decoding.tokenizer import HuggingFaceTokenizer
from retrieval.encoders.hub import check_transformers, check_whole, folder_digest, loading, model_folder
from retrieval.encoders.hub import ready_torchvision as ready_torchvision
from retrieval.encoders.torch_encoder import check_device
from retrieval.errors import InvalidPrompt, PromptTooLong

Precision = Literal["float32", "bfloat16"]
"""float16 is not offered: several models overflow in it."""


@dataclass(frozen=True)
class Inputs:
    """One prompt, or several side by side, as the arguments of a model's forward pass."""

    tokens: dict[str, Tensor]
    """By argument name, integers of [rows, length]: `input_ids`, `attention_mask` and the kinds of tokens."""
    pictures: dict[str, Tensor]
    """By argument name, arrays that run over all images (or patches) of all rows in order; empty without images."""

    @property
    def length(self) -> int:
        """Tokens of the longest prompt, the places of images included."""
        return int(self.tokens["input_ids"].shape[1])


@dataclass(frozen=True)
class HfModel:
    """A language model, with or without eyes, and what turns words and images into its inputs."""

    name: str
    """The folder or hub id it was loaded from."""
    network: Any
    """transformers' model, in evaluation mode."""
    processor: Any
    """Processor of a vision-language model; the tokenizer itself where the model reads text only."""
    tokenizer: Any
    """transformers' tokenizer."""
    end_ids: frozenset[int]
    """Tokens that end a draft."""
    image_ids: frozenset[int]
    """Tokens that stand for images in a prompt. Written by the model they would be places without an image."""
    weights: str
    """SHA-256 over configuration, tokenizer and weights: the same digest writes the same drafts."""
    longest: int | None
    """How many positions the model knows; None where its configuration does not say."""

    @property
    def sees(self) -> bool:
        """Whether it takes images."""
        return self.processor is not self.tokenizer

    @property
    def words(self) -> HuggingFaceTokenizer:
        """The tokenizer as the bias asks it: plain text to tokens and back."""
        return HuggingFaceTokenizer(self.tokenizer)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        device: torch.device = self.network.device
        return device

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of these tokens, without special ones and with every space as written."""
        return self.words.decode(token_ids)

    def encode(self, request: GenerationRequest, images: Images) -> list[Inputs]:
        """The inputs of each branch the preset mixes, on the model's device; every fault of a prompt shows here."""
        inputs = [self._encode(prompt, images) for prompt in request.mixed]
        for prompt, one in zip(request.mixed, inputs, strict=True):
            if self.longest is not None and one.length + request.max_new_tokens > self.longest:
                raise PromptTooLong(
                    f"branch {prompt.branch} has {one.length} tokens, which with {request.max_new_tokens} new ones "
                    f"exceed the {self.longest} positions of {self.name}",
                    fix="give fewer or shorter similar cases, or lower max_new_tokens",
                )
        return inputs

    def positions(self, inputs: Inputs) -> Tensor:
        """Positions of prompts padded on the left: [rows, length], or [3, rows, length] where images have a plane.

        Qwen's vision-language models place image tokens in time, height and width; a text that follows goes on from
        the largest of the three, which is less than the number of tokens before it.
        """
        mask = inputs.tokens["attention_mask"]
        place = getattr(self.network.base_model, "get_rope_index", None)
        if place is None or "image_grid_thw" not in inputs.pictures:
            return (mask.cumsum(-1) - 1).clamp(min=0)
        positions: Tensor = place(
            inputs.tokens["input_ids"],
            mm_token_type_ids=inputs.tokens["mm_token_type_ids"],
            image_grid_thw=inputs.pictures["image_grid_thw"],
            attention_mask=mask,
        )[0]
        return positions

    def _encode(self, prompt: BranchPrompt, images: Images) -> Inputs:
        text, pictures, token_ids = self._prompts.finished(prompt, images)
        if token_ids:
            ids = torch.tensor([token_ids])
            encoded = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        elif pictures:
            encoded = self.processor(
                text=[text], images=[pictures], add_special_tokens=False, return_tensors="pt",
                input_data_format="channels_last",
            )  # fmt: skip
        else:
            encoded = self.tokenizer([text], add_special_tokens=False, return_tensors="pt")
        known = inspect.signature(self.network.forward).parameters
        shape = encoded["input_ids"].shape
        if not shape[1]:
            raise InvalidPrompt(f"the prompt of branch {prompt.branch} has no tokens")
        tokens: dict[str, Tensor] = {}
        arrays: dict[str, Tensor] = {}
        for name, value in encoded.items():
            if name in known:
                (tokens if value.shape == shape else arrays)[name] = value.to(self.device)
        return Inputs(tokens, {name: self._in_precision(value) for name, value in arrays.items()})

    @property
    def _prompts(self) -> HfPrompts:
        vocabulary = self.network.get_input_embeddings().num_embeddings
        return HfPrompts(self.name, self.processor, self.tokenizer, self.image_ids, vocabulary)

    def _in_precision(self, value: Tensor) -> Tensor:
        return value.to(self.network.dtype) if value.is_floating_point() else value


def stack(prompts: Sequence[Inputs], fill: int) -> Inputs:
    """Several prompts side by side as [rows, longest], padded on the left with the token `fill`, which is masked."""
    width = max(one.length for one in prompts)
    names = {name for one in prompts for name in one.tokens}
    tokens = {}
    for name in sorted(names):
        rows = []
        for one in prompts:
            # A prompt without images may lack the kinds of its tokens: all text, which is 0.
            row = one.tokens.get(name, torch.zeros_like(one.tokens["input_ids"]))
            value = fill if name == "input_ids" else 0
            rows.append(torch.nn.functional.pad(row, (width - one.length, 0), value=value))
        tokens[name] = torch.cat(rows)
    seen = {name for one in prompts for name in one.pictures}
    return Inputs(
        tokens,
        {name: torch.cat([one.pictures[name] for one in prompts if name in one.pictures]) for name in sorted(seen)},
    )


def load_model(
    where: str,
    *,
    revision: str | None = None,
    network: Literal["off", "on"] = "off",
    device: str = "cpu",
    precision: Precision = "float32",
) -> HfModel:
    """Load a vision-language or a text model from a folder, or by hub id from the local cache (or the hub itself)."""
    check_device(device)
    ready_torchvision()
    folder = model_folder(where, revision=revision, network=network)
    check_transformers(folder, where)
    with loading(
        where,
        f"transformers {transformers.__version__}",
        fix="name a folder with tokenizer and image processor, of an architecture that transformers knows",
    ):
        config = transformers.AutoConfig.from_pretrained(folder, **SAFELY)
        processor, tokenizer = read_processor(folder, config, where)
        eyes = processor is not tokenizer
        auto = transformers.AutoModelForImageTextToText if eyes else transformers.AutoModelForCausalLM
        loaded, info = auto.from_pretrained(
            folder, config=config, dtype=getattr(torch, precision), use_safetensors=True, output_loading_info=True,
            **SAFELY,
        )  # fmt: skip
    check_whole(where, info["missing_keys"])
    loaded.to(device).eval()
    return HfModel(
        name=where,
        network=loaded,
        processor=processor,
        tokenizer=tokenizer,
        end_ids=end_tokens(loaded.generation_config.eos_token_id, tokenizer.eos_token_id),
        image_ids=image_tokens(config),
        weights=folder_digest(folder),
        longest=getattr(config.get_text_config(), "max_position_embeddings", None),
    )
