"""Prompts as a model of Hugging Face reads them: text in its own markup and images as bytes, before any tensor is made.

Messages go through the model's chat template and can never become markup of their own; a grey image becomes the three
equal channels that every image processor takes. The weights are not known here, so that an engine that has its own
code for them (`vllm`) is given the same prompts as transformers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import transformers
from jinja2 import TemplateError

from generation.decoding.chat_templates import chat_format, chat_template
from generation.decoding.generator import BranchPrompt, Images
from generation.decoding.tokenizer import HuggingFaceTokenizer
from prompts.message import ImageRef, Message
from retrieval.errors import ImagesNotSupported, InvalidPrompt, UnsupportedModel

SAFELY: Final = {"trust_remote_code": False, "local_files_only": True}
"""How anything of a model is read from its folder."""

Picture = np.ndarray[Any, np.dtype[np.uint8]]
"""[rows, columns, 3], all three the same."""


class Finished(NamedTuple):
    """A prompt that only has to be tokenised: either text with a picture for each place, or tokens."""

    text: str
    pictures: list[Picture]
    token_ids: tuple[int, ...]


@dataclass(frozen=True)
class HfPrompts:
    """What a model's folder says about its words, without its weights."""

    name: str
    """The folder or hub id it was loaded from."""
    processor: Any
    """Processor of a vision-language model; the tokenizer itself where the model reads text only."""
    tokenizer: Any
    """transformers' tokenizer."""
    image_ids: frozenset[int]
    """Tokens that stand for images in a prompt."""
    vocabulary: int
    """How many tokens the model knows, those without a name among them."""

    @property
    def sees(self) -> bool:
        """Whether the model takes images."""
        return self.processor is not self.tokenizer

    @property
    def words(self) -> HuggingFaceTokenizer:
        """The tokenizer as the bias asks it: plain text to tokens and back."""
        return HuggingFaceTokenizer(self.tokenizer)

    def finished(self, prompt: BranchPrompt, images: Images) -> Finished:
        """The prompt with its markup and its pictures; every fault but its length shows here."""
        if prompt.images and not self.sees:
            raise ImagesNotSupported(
                f"branch {prompt.branch} has an image, and {self.name} reads text only",
                fix="name a vision-language model, or leave the images out",
            )
        if prompt.token_ids:
            if max(prompt.token_ids) >= self.vocabulary or min(prompt.token_ids) < 0:
                raise InvalidPrompt(f"branch {prompt.branch} has token ids outside of the vocabulary of {self.name}")
            if self.image_ids.intersection(prompt.token_ids):
                raise InvalidPrompt(
                    f"the token ids of branch {prompt.branch} hold a place for an image",
                    fix="hand prompts with images in as messages or text",
                )
            return Finished("", [], prompt.token_ids)
        pictures = [_picture(name, prompt, images) for name in prompt.images]
        text = prompt.text or self._rendered(prompt)
        if self.sees and text.count(mark := self.processor.image_token) != len(pictures):
            raise InvalidPrompt(
                f"the prompt of branch {prompt.branch} has {text.count(mark)} places for {len(pictures)} images",
                fix=f"its text must hold {mark} once for each image",
            )
        return Finished(text, pictures, ())

    def _rendered(self, prompt: BranchPrompt) -> str:
        """The messages in the model's own chat template, with the start of its answer."""
        if not self.processor.chat_template:
            raise InvalidPrompt(
                f"{self.name} has no chat template, so messages cannot be rendered", fix="hand the prompt in as text"
            )
        for message in prompt.messages:
            self._refuse_markup(message, prompt)
        turns = [{"role": message.role, "content": self._content(message)} for message in prompt.messages]
        try:
            rendered: str = self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        except TemplateError as error:
            raise InvalidPrompt(
                f"the chat template of {self.name} refuses such a conversation, for example a system turn",
                fix="name a language model that takes one, or give the checkpoint another chat template",
            ) from error
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


def _picture(name: str, prompt: BranchPrompt, images: Images) -> Picture:
    """The image as bytes, as the models' own processors expect them."""
    if name not in images:
        raise InvalidPrompt(
            f"branch {prompt.branch} names an image that was not handed in", fix="hand in one array for each name"
        )
    grey = np.asarray(images[name])
    if grey.ndim != 2 or not grey.size or not np.isfinite(grey).all():
        raise InvalidPrompt(f"an image of branch {prompt.branch} is not a grey image of finite numbers")
    bytes_ = np.rint(grey.clip(0, 1) * 255).astype(np.uint8)
    return np.repeat(bytes_[:, :, None], 3, axis=2)


def read_processor(folder: Path, config: Any, name: str) -> tuple[Any, Any]:  # noqa: ANN401 - transformers has no types
    """The processor and the tokenizer in a model's folder; one and the same where the model reads text only.

    A folder without a chat template is given its family's published one, where there is one (`chat_templates`).
    """
    if type(config) in transformers.AutoModelForImageTextToText._model_mapping:
        processor = transformers.AutoProcessor.from_pretrained(folder, **SAFELY)
        tokenizer = processor.tokenizer
    elif type(config) in transformers.AutoModelForCausalLM._model_mapping:
        processor = tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **SAFELY)
    else:
        raise UnsupportedModel(f"{name} is of a kind that writes no text ({type(config).__name__})")
    processor.chat_template = processor.chat_template or tokenizer.chat_template
    if not processor.chat_template:
        family = chat_format(config.model_type, config.get_text_config().model_type, tokenizer.get_vocab())
        processor.chat_template = chat_template(family) if family else None
    return processor, tokenizer


def image_tokens(config: object) -> frozenset[int]:
    """Tokens that stand for images, by a model's configuration. Written by the model they are places without one."""
    named = (getattr(config, name, None) for name in ("image_token_id", "video_token_id"))
    return frozenset(token for token in named if token is not None)


def end_tokens(*named: int | Sequence[int] | None) -> frozenset[int]:
    """Everything a checkpoint calls an end: chat models end a turn with another token than a text."""
    each = ([one] if isinstance(one, int) else one for one in named if one is not None)
    return frozenset(token for tokens in each for token in tokens)
