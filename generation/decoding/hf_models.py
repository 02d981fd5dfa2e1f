"""Models and tokenizers of Hugging Face, loaded without running anybody's code, and prompts turned into their inputs.

Weights are read from safetensors only, and a model whose weights are not all there is refused instead of filled up with
random numbers. Nothing is fetched from a hub unless `network="on"` says so and HF_HUB_OFFLINE does not forbid it.
What is chosen from the logits is not known here.
"""

import hashlib
import importlib
import inspect
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError
from torch import Tensor

from generation.decoding.generator import BranchPrompt, GenerationRequest, Images
from generation.decoding.tokenizer import HuggingFaceTokenizer
from prompts.message import ImageRef, Message
from retrieval.errors import (
    ImagesNotSupported,
    InvalidPrompt,
    MissingWeights,
    PromptTooLong,
    UnsafeWeights,
    UnsupportedModel,
)

Precision = Literal["float32", "bfloat16"]
"""float16 is not offered: several models overflow in it."""

_WANTED: Final = ("*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", "*.tiktoken")
"""What is fetched from a hub: never a pickle, never code."""
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")


def ready_torchvision() -> None:
    """Make torchvision importable beside a torch without CUDA, which transformers' image processors need.

    Called before anything of transformers that imports torchvision, which it does lazily. The package index has
    torchvision only as a CUDA build. Beside CPU torch its compiled operators do not load and its
    import ends with "operator torchvision::nms does not exist". Only there are the schemas of the two operators that
    its Python code names defined here; neither is ever called, since nothing here detects boxes.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        importlib.import_module("torchvision")


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
        if prompt.images and not self.sees:
            raise ImagesNotSupported(
                f"branch {prompt.branch} has an image, and {self.name} reads text only",
                fix="name a vision-language model, or leave the images out",
            )
        if prompt.token_ids:
            ids = torch.tensor([prompt.token_ids])
            if int(ids.max()) >= self.network.get_input_embeddings().num_embeddings or int(ids.min()) < 0:
                raise InvalidPrompt(f"branch {prompt.branch} has token ids outside of the vocabulary of {self.name}")
            if self.image_ids.intersection(prompt.token_ids):
                raise InvalidPrompt(
                    f"the token ids of branch {prompt.branch} hold a place for an image",
                    fix="hand prompts with images in as messages or text",
                )
            encoded = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        else:
            arrays = [self._picture(name, prompt, images) for name in prompt.images]
            text = prompt.text or self._rendered(prompt)
            if self.sees and text.count(mark := self.processor.image_token) != len(arrays):
                raise InvalidPrompt(
                    f"the prompt of branch {prompt.branch} has {text.count(mark)} places for {len(arrays)} images",
                    fix=f"its text must hold {mark} once for each image",
                )
            if arrays:
                encoded = self.processor(
                    text=[text], images=[arrays], add_special_tokens=False, return_tensors="pt",
                    input_data_format="channels_last",
                )  # fmt: skip
            else:
                encoded = self.tokenizer([text], add_special_tokens=False, return_tensors="pt")
        known = inspect.signature(self.network.forward).parameters
        shape = encoded["input_ids"].shape
        if not shape[1]:
            raise InvalidPrompt(f"the prompt of branch {prompt.branch} has no tokens")
        tokens: dict[str, Tensor] = {}
        pictures: dict[str, Tensor] = {}
        for name, value in encoded.items():
            if name in known:
                (tokens if value.shape == shape else pictures)[name] = value.to(self.device)
        return Inputs(tokens, {name: self._in_precision(value) for name, value in pictures.items()})

    def _in_precision(self, value: Tensor) -> Tensor:
        return value.to(self.network.dtype) if value.is_floating_point() else value

    def _picture(self, name: str, prompt: BranchPrompt, images: Images) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """The image as [rows, columns, 3] bytes, as the models' own processors expect them."""
        if name not in images:
            raise InvalidPrompt(
                f"branch {prompt.branch} names an image that was not handed in", fix="hand in one array for each name"
            )
        grey = np.asarray(images[name])
        if grey.ndim != 2 or not grey.size or not np.isfinite(grey).all():
            raise InvalidPrompt(f"an image of branch {prompt.branch} is not a grey image of finite numbers")
        bytes_ = np.rint(grey.clip(0, 1) * 255).astype(np.uint8)
        return np.repeat(bytes_[:, :, None], 3, axis=2)

    def _rendered(self, prompt: BranchPrompt) -> str:
        """The messages in the model's own chat template, with the start of its answer."""
        if not self.processor.chat_template:
            raise InvalidPrompt(
                f"{self.name} has no chat template, so messages cannot be rendered", fix="hand the prompt in as text"
            )
        for message in prompt.messages:
            self._refuse_markup(message, prompt)
        turns = [{"role": message.role, "content": self._content(message)} for message in prompt.messages]
        rendered: str = self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return rendered

    def _content(self, message: Message) -> str | list[dict[str, str]]:
        if not self.sees:  # templates of text models join strings
            return "".join(part for part in message.content if isinstance(part, str))
        return [
            {"type": "image"} if isinstance(part, ImageRef) else {"type": "text", "text": part}
            for part in message.content
        ]

    def _refuse_markup(self, message: Message, prompt: BranchPrompt) -> None:
        """Words of a report or a request must never become the model's own control tokens."""
        for added in self.tokenizer.added_tokens_decoder.values():
            mark = added.content
            # Some tokenizers add runs of spaces or ordinary words, too: those are no markup.
            is_markup = mark.strip() and (added.special or re.fullmatch(r"<.+>|\[.+\]", mark))
            if is_markup and any(mark in part for part in message.content if isinstance(part, str)):
                raise InvalidPrompt(
                    f"a {message.role} message of branch {prompt.branch} holds the control token {mark!r}",
                    fix="clean what comes from reports, tags and requests before it enters a prompt",
                )


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
    ready_torchvision()
    folder = model_folder(where, revision=revision, network=network)
    _check_weights(folder, where)
    safely = {"trust_remote_code": False, "local_files_only": True}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **safely)
        if type(config) in transformers.AutoModelForImageTextToText._model_mapping:
            auto = transformers.AutoModelForImageTextToText
            processor = transformers.AutoProcessor.from_pretrained(folder, **safely)
            tokenizer = processor.tokenizer
        elif type(config) in transformers.AutoModelForCausalLM._model_mapping:
            auto = transformers.AutoModelForCausalLM
            processor = tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safely)
        else:
            raise UnsupportedModel(f"{where} is of a kind that writes no text ({type(config).__name__})")
        loaded, info = auto.from_pretrained(
            folder, config=config, dtype=getattr(torch, precision), use_safetensors=True, output_loading_info=True,
            **safely,
        )  # fmt: skip
    except (SafetensorError, RuntimeError) as error:
        raise MissingWeights(f"the weights of {where} cannot be read", fix="copy the model's folder again") from error
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UnsupportedModel(
            f"transformers {transformers.__version__} cannot load {where} with its own code",
            fix="name a folder with tokenizer and image processor, of an architecture that transformers knows",
        ) from error
    if missing := sorted(info["missing_keys"]):
        raise MissingWeights(
            f"{len(missing)} weights of {where} are not in its files, {missing[0]} the first of them",
            fix="copy the model's folder again, or name the checkpoint that fits its config.json",
        )
    loaded.to(device).eval()
    return HfModel(
        name=where,
        network=loaded,
        processor=processor,
        tokenizer=tokenizer,
        end_ids=_end_ids(loaded.generation_config.eos_token_id, tokenizer.eos_token_id),
        image_ids=frozenset(
            token for name in ("image_token_id", "video_token_id") if (token := getattr(config, name, None)) is not None
        ),
        weights=folder_digest(folder),
        longest=getattr(config.get_text_config(), "max_position_embeddings", None),
    )


def model_folder(where: str, *, revision: str | None, network: Literal["off", "on"]) -> Path:
    """The folder of a model named by path or hub id; fetched only where `network` and HF_HUB_OFFLINE allow it."""
    if Path(where).is_dir():
        return Path(where)
    offline = network == "off" or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    try:
        return Path(snapshot_download(where, revision=revision, local_files_only=offline, allow_patterns=list(_WANTED)))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        fix = "copy the model to a folder and name that"
        if offline:
            fix += ", or check the spelling and fetch it once with the network on and HF_HUB_OFFLINE unset"
        raise MissingWeights(f"{where!r} is neither a folder nor a model in the local hub cache", fix=fix) from error
    except (HfHubHTTPError, OSError) as error:
        raise MissingWeights(
            f"{where!r} could not be fetched from the hub", fix="check the id and whether you have accepted its terms"
        ) from error


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and bytes of what a model is loaded from; about a second for two gigabytes."""
    digest = hashlib.sha256()
    for file in sorted(found for pattern in _WANTED for found in folder.glob(pattern)):
        with file.open("rb") as opened:
            digest.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def _check_weights(folder: Path, where: str) -> None:
    """Refuse before anything is opened: no configuration, only pickles, or a shard the index names is not there."""
    if not (folder / "config.json").is_file():
        raise MissingWeights(f"{where} has no config.json", fix="name the folder of a model in transformers' format")
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        named: Mapping[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if absent := sorted(shard for shard in set(named.values()) if not (folder / shard).is_file()):
            raise MissingWeights(f"{where} lacks {absent[0]} ({len(absent)} in all)", fix="copy the model again")
    elif not (folder / "model.safetensors").is_file():
        if any(file.suffix in _PICKLES for file in folder.iterdir()):
            raise UnsafeWeights(
                f"{where} has its weights only in formats that are not read here, such as pickles",
                fix="convert them to safetensors on a machine that may run untrusted code",
            )
        raise MissingWeights(f"{where} has no model.safetensors", fix="copy the model again, with its weights")


def _end_ids(*named: int | Sequence[int] | None) -> frozenset[int]:
    """Everything the checkpoint calls an end: chat models end a turn with another token than a text."""
    each = ([one] if isinstance(one, int) else one for one in named if one is not None)
    return frozenset(token for tokens in each for token in tokens)
