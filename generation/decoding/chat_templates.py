"""Chat templates for checkpoints that bring none, in the formats that the model families were published with.

Kinds of models in, the text of a Jinja template out; who renders it knows images and tokenizers. A checkpoint's own
template is always better. A family's format is offered only where the tokenizer has its marks as tokens: spelled out
in letters they would tell the model nothing. Where no format is known to fit there is none, and no guess.
"""

from collections.abc import Container
from functools import cache
from importlib.resources import files
from typing import Final, Literal

Format = Literal["chatml", "gemma", "vicuna", "plain"]
"""How a conversation is written: a file of chat_templates_data."""

FORMATS: Final[dict[tuple[str, str], Format]] = {
    ("qwen2", "qwen2"): "chatml",
    ("qwen2_vl", "qwen2_vl_text"): "chatml",
    ("qwen2_5_vl", "qwen2_5_vl_text"): "chatml",
    ("gemma", "gemma"): "gemma",
    ("gemma2", "gemma2"): "gemma",
    ("gemma3", "gemma3_text"): "gemma",
    ("gemma3_text", "gemma3_text"): "gemma",
    ("llava", "llama"): "vicuna",
}
"""By model type and by the type of the language model inside, which for a text model is the same."""
MARKS: Final[dict[Format, tuple[str, ...]]] = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "gemma": ("<start_of_turn>", "<end_of_turn>"),
    "vicuna": (),
    "plain": (),
}
"""What a tokenizer must know for a format to mean anything."""
OPENINGS: Final[dict[Format, str]] = {
    "chatml": "<|im_start|>assistant\n",
    "gemma": "<start_of_turn>model\n",
    "vicuna": "ASSISTANT:",
    "plain": "DRAFT\n",
}
"""What a prompt ends in, and a draft goes on from."""


def chat_format(model_type: str, language_type: str, vocabulary: Container[str]) -> Format | None:
    """The format of a model by the types its configuration names; None where no format is known to fit."""
    known = FORMATS.get((model_type, language_type))
    if known is not None and all(mark in vocabulary for mark in MARKS[known]):
        return known
    # A model that only reads text goes on from any text.
    return "plain" if model_type == language_type else None


@cache
def chat_template(name: Format) -> str:
    """The Jinja template of a format, for `apply_chat_template`."""
    return files("generation.decoding").joinpath("chat_templates_data", f"{name}.jinja").read_text("utf-8").strip()
