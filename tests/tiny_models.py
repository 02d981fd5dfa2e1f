"""Tiny checkpoints for the generators' tests, made once per run, and requests that put everything to them at once."""

import importlib.util
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from generation.decoding.generator import (
    BranchPrompt,
    Generated,
    GenerationRequest,
    OnText,
    Phrase,
)
from generation.decoding.presets import PRESETS, Preset, PresetName
from prompts.message import Branch, ImageRef, Message
from retrieval.pixels import Pixels
from tests.conftest import skip_or_fail

if TYPE_CHECKING:
    from evaluation.random_models import Architecture
    from generation.decoding.hf_models import HfModel

ARCHITECTURES: Final[tuple["Architecture", ...]] = ("qwen2_vl", "qwen2_5_vl", "gemma3", "llava", "qwen2")
EYES: Final = ARCHITECTURES[:-1]
WORDS: Final = ("heart", "lungs", "clear", "effusion", "mild", "cardiomegaly", "pleural", "lower", "absent", "acute")
PHRASES: Final = (
    Phrase(label="pleural effusion", probability=0.97, forms=("effusion",)),
    Phrase(label="pneumothorax", probability=0.02),
    Phrase(label="consolidation", probability=0.8),
)
FOUR: Final = Preset(
    name="grounded",
    branches=("anchored", "study", "evidence", "blind"),
    constant=(0.9, 0.5, 0.1, -0.5),
    plausible=PRESETS["grounded"].plausible,
    bias="phrases",
    bias_weight=0.5,
    blinding="no_image",
    source="every branch at once, for tests",
)


def need_models() -> None:
    """Skip, by name, where the packages of the extra `models` are not installed."""
    for package in ("torch", "transformers", "torchvision"):
        if importlib.util.find_spec(package) is None:
            skip_or_fail("models", f"{package} is not installed (extra `models`)")


@cache
def checkpoint(architecture: "Architecture") -> Path:
    """The folder of a checkpoint with random weights; it goes when the interpreter does."""
    from evaluation.random_models import write_random_model  # noqa: PLC0415

    folder = tempfile.TemporaryDirectory(prefix=f"prelim-{architecture}-")
    _KEPT.append(folder)
    return write_random_model(Path(folder.name), architecture)


def without_end(folder: Path) -> Path:
    """Make a model of untied weights write on: the token that ends a draft scores 0, which is never the highest."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415

    file = folder / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"][json.loads((folder / "config.json").read_text())["text_config"]["eos_token_id"]] = 0
    save_file(weights, file, metadata={"format": "pt"})
    return folder


@cache
def tiny(architecture: "Architecture") -> "HfModel":
    """The checkpoint, loaded as any other model is; on one thread, since other work shares the machine."""
    import torch  # noqa: PLC0415

    from generation.decoding.hf_models import load_model  # noqa: PLC0415

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    return load_model(str(checkpoint(architecture)))


def pictures(seed: int, number: int = 4) -> dict[str, Pixels]:
    """Grey noise of several shapes under the names image-0, image-1, ..., and a spoilt twin of each."""
    rng = np.random.default_rng(seed)
    shapes = [(56, 56), (84, 56), (112, 84), (57, 113)]
    found: dict[str, Pixels] = {}
    for n in range(number):
        found[f"image-{n}"] = rng.random(shapes[n % 4], dtype=np.float32)
        found[f"spoilt-{n}"] = (found[f"image-{n}"] * 0.5 + rng.random(shapes[n % 4], dtype=np.float32) * 0.5).clip(
            0, 1
        )
    return found


def words(rng: np.random.Generator, number: int) -> str:
    return " ".join(rng.choice(WORDS, number))


def prompt(branch: Branch, text: str, images: Sequence[str] = ()) -> BranchPrompt:
    """A user's message: images, then text."""
    content = (*(ImageRef(name=name) for name in images), text)
    return BranchPrompt(branch=branch, messages=(Message(role="user", content=content),))


def drawn_request(
    seed: int,
    *,
    sees: bool,
    preset: Preset | PresetName,
    most_words: int = 60,
    temperature: float = 0.0,
    max_new_tokens: int = 16,
    stop: tuple[str, ...] = (),
) -> GenerationRequest:
    """One draft: lengths, images and words drawn; the blind branch sees nothing or a spoilt image."""
    rng = np.random.default_rng(seed)
    image = f"image-{seed % 4}"
    study = [image] if sees and seed % 5 else []
    blind = [f"spoilt-{seed % 4}"] if study and seed % 2 else []
    evidence = [*study, f"image-{(seed + 1) % 4}"] if study and seed % 3 == 0 else study

    def text() -> str:
        return words(rng, int(rng.integers(1, most_words + 1)))

    return GenerationRequest(
        branches=(
            prompt("evidence", text(), evidence),
            prompt("study", text(), study),
            prompt("anchored", text(), study),
            prompt("blind", text(), blind),
        ),
        preset=PRESETS[preset] if isinstance(preset, str) else preset,
        phrases=PHRASES,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        stop=stop,
    )


def tokens_request(lengths: Sequence[int], *, seed: int = 0, max_new_tokens: int = 8) -> GenerationRequest:
    """Branches of exactly these many tokens, text only, mixed evenly."""
    rng = np.random.default_rng(seed)
    names: tuple[Branch, ...] = ("study", "anchored", "evidence")[: len(lengths)]
    return GenerationRequest(
        branches=tuple(
            BranchPrompt(branch=name, token_ids=tuple(int(t) for t in rng.integers(20, 256, length)))
            for name, length in zip(names, lengths, strict=True)
        ),
        preset=Preset(name="grounded", branches=names, constant=(1 / len(names),) * len(names), source="for tests"),
        max_new_tokens=max_new_tokens,
        seed=seed,
    )


def reference(
    model: "HfModel", requests: Sequence[GenerationRequest], images: Mapping[str, Pixels], on_text: OnText | None = None
) -> list[Generated]:
    from generation.decoding.reference import ReferenceGenerator  # noqa: PLC0415

    return ReferenceGenerator(model).generate(requests, images, on_text)


def batched(
    model: "HfModel",
    requests: Sequence[GenerationRequest],
    images: Mapping[str, Pixels],
    on_text: OnText | None = None,
    **limits: int,
) -> list[Generated]:
    from generation.decoding.batched import BatchedGenerator  # noqa: PLC0415

    return BatchedGenerator(model, **limits).generate(requests, images, on_text)


_KEPT: list["tempfile.TemporaryDirectory[str]"] = []
