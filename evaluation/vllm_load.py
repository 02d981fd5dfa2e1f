"""What a real vLLM engine is given to show that its groups write what the oracle writes, and what came of it.

In: how large an engine is and how many drafts come; everything else is drawn from the seed, so that the oracle in one
process and the engine in another (`vllm_run`) see the same. Members arrive one by one between steps, ordinary requests
among them, and some drafts come again alone, when every block of their prompts is in the prefix cache. vLLM is not
known here.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from evaluation.random_models import Architecture
from generation.decoding.generator import BranchPrompt, GenerationRequest, Images, Phrase
from generation.decoding.presets import PRESETS, Preset
from prompts.message import Branch, ImageRef, Message
from retrieval.pixels import Pixels
from retrieval.record import Record

FOUR: Final = Preset(
    name="grounded",
    branches=("anchored", "study", "evidence", "blind"),
    constant=(0.9, 0.5, 0.1, -0.5),
    plausible=PRESETS["grounded"].plausible,
    bias="phrases",
    bias_weight=0.5,
    blinding="no_image",
    source="every branch at once, for measuring",
)
UNBIASED: Final = FOUR.model_copy(update={"bias": "none", "bias_weight": 0.0, "no_repeat": 4})
BY_MEMBERS: Final[Mapping[int, tuple[Preset, ...]]] = {
    2: tuple(PRESETS[name] for name in ("vcd", "ccd", "cad", "m3id", "icd")),
    3: (PRESETS["grounded"],),
    4: (FOUR, UNBIASED),
}
"""Presets by their number of branches."""
FINDINGS: Final = (
    Phrase(label="pleural effusion", probability=0.97, forms=("effusion",)),
    Phrase(label="pneumothorax", probability=0.02),
    Phrase(label="consolidation", probability=0.8),
)
ENDS: Final = frozenset({40, 41})
"""Tokens that end a draft here beside the model's own, which random weights hardly ever write."""
LENGTHS: Final = (5, 17, 32, 33, 33, 64, 65, 65, 129, 900)
"""Of prompts that come as tokens: around blocks of 32, and the extremes."""
MOST_TWICE: Final = 8
SHAPES: Final = ((56, 56), (84, 56), (112, 84), (57, 113))
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Tiny models gain nothing from more, and threads bound to a core wait for whatever else runs there."""
_WORDS: Final = ("heart", "lungs", "clear", "effusion", "mild", "cardiomegaly", "pleural", "lower", "absent", "acute")
_BRANCHES: Final[tuple[Branch, ...]] = ("study", "anchored", "evidence", "blind")


class Load(Record):
    """One engine, and what comes to it."""

    architecture: Architecture
    """Of the model, whose weights are random."""
    groups: int = 64
    """Drafts, in turn of 2, 3 and 4 branches."""
    scheduling: Literal["synchronous", "asynchronous"] = "asynchronous"
    """Whether a step is planned while the one before is still being computed."""
    scheduler: Literal["groups", "vLLM's own"] = "groups"
    """Without the group scheduler the processors see a group only when its members happen to meet."""
    rows: int = 48
    """Requests decoded at once."""
    step_tokens: int = 128
    """Of one step: longer prompts are read in parts."""
    blocks: int | None = 128
    """Of 32 tokens, for keys and values: few, so that groups are preempted. None for plenty."""
    arrival: Literal["one by one", "together"] = "one by one"
    """Members with steps between them, or all before the first step."""
    new_tokens: int = 80
    """Of the longest draft; others have as few as 8, and some end before."""
    most_words: int = 180
    """Of prompts with words and images."""
    seed: int = 0
    """Of everything that is drawn."""


class Outcome(Record):
    """What one engine made of its load."""

    drafts: tuple[tuple[tuple[int, ...], ...], ...]
    """Per draft what each member wrote, the end token included."""
    ordinary: dict[int, tuple[int, ...]]
    """What ordinary requests wrote, by the draft whose first prompt they share."""
    again: dict[int, tuple[tuple[int, ...], ...]]
    """What the members wrote of drafts whose prompts were in the prefix cache, by draft."""
    cached: dict[int, tuple[int, ...]]
    """How many prompt tokens of those came from the prefix cache, by draft and member."""
    counts: dict[str, int]
    """The group scheduler's; empty without it."""
    left: int
    """Requests and groups that the engine still held at the end; must be 0."""


def drawn(load: Load) -> list[GenerationRequest]:
    """The drafts of a load."""
    return [_draft(load, number) for number in range(load.groups)]


def drawn_images(load: Load) -> Images:
    """Grey noise of several shapes under the names image-0, image-1, ..., and a spoilt twin of each."""
    random = np.random.default_rng(load.seed)
    found: dict[str, Pixels] = {}
    for n, shape in enumerate(SHAPES):
        clear, noise = random.random(shape, dtype=np.float32), random.random(shape, dtype=np.float32)
        found[f"image-{n}"], found[f"spoilt-{n}"] = clear, ((clear + noise) / 2).astype(np.float32)
    return found


def _draft(load: Load, number: int) -> GenerationRequest:
    random = np.random.default_rng((load.seed, number))
    sees = load.architecture != "qwen2"
    presets = BY_MEMBERS[2 + number % 3]
    image = f"image-{number % 4}"
    study = [image] if sees and number % 5 else []
    seen: dict[Branch, list[str]] = {
        "study": study,
        "anchored": study,
        "evidence": [*study, f"image-{(number + 1) % 4}"] if study and number % 2 else study,
        "blind": [f"spoilt-{number % 4}"] if study and number % 2 else [],
    }

    def prompt(branch: Branch) -> BranchPrompt:
        if not seen[branch] and random.random() < 0.5:
            length = int(random.choice(LENGTHS))
            return BranchPrompt(branch=branch, token_ids=tuple(int(t) for t in random.integers(20, 256, length)))
        words = " ".join(random.choice(_WORDS, int(load.most_words ** random.random())))
        content = (*(ImageRef(name=name) for name in seen[branch]), words)
        return BranchPrompt(branch=branch, messages=(Message(role="user", content=content),))

    return GenerationRequest(
        branches=tuple(prompt(branch) for branch in _BRANCHES),
        preset=presets[number // 3 % len(presets)],
        phrases=FINDINGS,
        max_new_tokens=int(random.integers(8, load.new_tokens + 1)),
        temperature=0.8 * (number // 3 % 2),
        seed=number,
    )


def plain_twin(request: GenerationRequest) -> GenerationRequest:
    """The first mixed prompt of a draft alone, greedy: what an ordinary request beside it asks."""
    [*first] = request.mixed[:1]
    plain = PRESETS["plain"].model_copy(update={"branches": (first[0].branch,)})
    return GenerationRequest(branches=tuple(first), preset=plain, max_new_tokens=request.max_new_tokens)


def has_twin(number: int) -> bool:
    """Every fourth draft has an ordinary request beside it."""
    return number % 4 == 1


def twice(requests: Sequence[GenerationRequest]) -> list[int]:
    """The drafts that come again and again: those with a prompt that is one token longer than whole blocks."""
    lengths = [[len(prompt.token_ids) % 32 for prompt in request.mixed if prompt.token_ids] for request in requests]
    return [number for number, each in enumerate(lengths) if 1 in each][:MOST_TWICE]


def begin(load: Load, folder: Path, to: Path, program: str = "evaluation.vllm_run") -> "subprocess.Popen[bytes]":
    """Start an engine with its load in a process of its own; its outcome will stand in the file."""
    arguments = [sys.executable, "-m", program, load.model_dump_json(), str(folder), str(to)]
    with to.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(arguments, stdout=log, stderr=log, env={**os.environ, **_ONE_THREAD})


def ended(process: "subprocess.Popen[bytes]", to: Path) -> dict[str, Any]:
    """The outcome's fields, once the process has ended; its log where it failed."""
    if process.wait() != 0:
        log = to.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
        raise RuntimeError(f"the engine's process failed:\n{log[-4000:]}")
    found: dict[str, Any] = json.loads(to.read_text(encoding="utf-8"))
    return found
