"""How fast drafts are decoded: the batched generator against the oracle and against the published loop, in one run.

A model of at least 20M parameters with random weights, prompts of 600 tokens with an image, 256 new tokens, eight
drafts of two branches each. Only the batched generator writes all of them. The slow two write SLOW_TOKENS tokens of one
draft from a prompt that is longer by what would already be written, so that their positions lie around the middle of
the 256, where a token costs what it costs on average; they work draft by draft, so eight take eight times as long.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch

from evaluation.random_models import Size, write_random_model
from generation.decoding.batched import BatchedGenerator
from generation.decoding.bias import published_bias, repeated_ngrams
from generation.decoding.generator import BranchPrompt, Generated, GenerationRequest, Images, Phrase
from generation.decoding.hf_models import HfModel, load_model
from generation.decoding.presets import PRESETS
from generation.decoding.reference import ReferenceGenerator
from prompts.message import Branch
from retrieval.record import Record

SIZE: Final = Size(hidden=512, layers=8, vocabulary=4096, positions=2048, heads=8)
PROMPT: Final = 600
NEW: Final = 256
DRAFTS: Final = 8
SLOW_TOKENS: Final = 16
IMAGE: Final = "image"
FINDINGS: Final = (Phrase(label="Effusion", probability=0.9), Phrase(label="Cardiomegaly", probability=0.2))


class SpeedRow(Record):
    """One way to write drafts."""

    tokens: int
    """New tokens that were really written."""
    seconds: float
    """Median over the runs, prompts included."""
    rate: float
    """New tokens per second over all drafts."""
    ratio: float
    """Rate of the batched generator over this one's, the median of the pairs."""


class DecodingSpeed(Record):
    """What `prelim-evaluate decoding` measured."""

    device: str
    """Where it ran."""
    threads: int
    """Of torch."""
    parameters: int
    """Of the model, whose weights are random."""
    prompt_tokens: int
    """Of each branch, the image's places included."""
    new_tokens: int
    """Per draft, for the batched generator."""
    slow_tokens: int
    """Per run, for the two slow ones, at positions around the middle of `new_tokens`."""
    drafts: int
    """Decoded together by the batched generator."""
    branches: int
    """Of each draft."""
    runs: int
    """Pairs of runs behind each median."""
    rows: dict[str, SpeedRow]
    """By name: `transformers`, `transformers, one draft`, `reference`, `published loop`."""
    same_tokens: bool
    """Whether the published loop, its ban counting the draft's runs only, wrote what the batched generator writes."""


def measure_decoding_speed(device: str = "cpu", runs: int = 3) -> DecodingSpeed:
    """Make the model, warm everything up, and time alternating runs; minutes on two cores."""
    with tempfile.TemporaryDirectory() as folder:
        loaded = load_model(str(write_random_model(Path(folder, "model"), "qwen2_vl", SIZE)), device=device)
    model = replace(loaded, end_ids=frozenset())  # every draft is written to its full length
    images: Images = {IMAGE: np.random.default_rng(0).random((112, 112), dtype=np.float32)}
    eight = [_request(model, seed, PROMPT, NEW) for seed in range(DRAFTS)]
    middle = _request(model, 0, PROMPT + (NEW - SLOW_TOKENS) // 2, SLOW_TOKENS)
    batched, oracle = BatchedGenerator(model, drafts_at_once=DRAFTS), ReferenceGenerator(model)
    short = [_request(model, 0, 60, 4)]
    ways: dict[str, Callable[[], Sequence[Generated]]] = {
        "transformers": lambda: batched.generate(eight, images),
        "transformers, one draft": lambda: batched.generate(eight[:1], images),
        "reference": lambda: oracle.generate([middle], images),
        "published loop": lambda: [published_loop(model, middle, images)],
    }
    for warm in (batched.generate(short, images), oracle.generate(short, images)):
        _same_length(warm, 4)
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    tokens: dict[str, int] = {}
    for run in range(runs):
        for name in ways if run % 2 else reversed(ways):
            began = time.perf_counter()
            written = ways[name]()
            seconds[name].append(time.perf_counter() - began)
            _same_length(written, NEW if name.startswith("transformers") else SLOW_TOKENS)
            tokens[name] = sum(len(draft.token_ids) for draft in written)
    rates = {name: [tokens[name] / each for each in seconds[name]] for name in ways}
    return DecodingSpeed(
        device=torch.cuda.get_device_name() if device.startswith("cuda") else device,
        threads=torch.get_num_threads(),
        parameters=sum(weight.numel() for weight in model.network.parameters()),
        prompt_tokens=PROMPT,
        new_tokens=NEW,
        slow_tokens=SLOW_TOKENS,
        drafts=DRAFTS,
        branches=len(middle.mixed),
        runs=runs,
        rows={
            name: SpeedRow(
                tokens=tokens[name],
                seconds=float(np.median(seconds[name])),
                rate=float(np.median(rates[name])),
                ratio=float(np.median([a / b for a, b in zip(rates["transformers"], rates[name], strict=True)])),
            )
            for name in ways
        },
        same_tokens=published_loop(model, short[0], images, runs="draft").token_ids
        == batched.generate(short, images)[0].token_ids,
    )


def published_loop(
    model: HfModel,
    request: GenerationRequest,
    images: Images,
    *,
    runs: Literal["prompt and draft", "draft"] = "prompt and draft",
) -> Generated:
    """CCD's decoding loop (arXiv 2509.23379, code v1.0.0) in our words, one draft at a time.

    Per token two passes over the whole of each prompt and all that was written, with the logits of every position, no
    cache, and the image encoded anew. f = (1 - beta) * W(s) + beta * (s + b), where s mixes the two log-probabilities
    half and half, b is its bias on word heads and W its ban on repeated runs of three; the best token is taken.
    Its ban counts the `runs` of prompt and draft; counting the draft's alone it is preset `ccd`.
    """
    inputs = model.encode(request, images)
    preset = request.preset
    bias = preset.scaled(published_bias(model.words, {each.label: each.probability for each in request.phrases}))
    added = torch.zeros(model.network.get_output_embeddings().out_features, device=model.device)
    for token, value in bias.items():
        added[token] = value
    added[sorted(model.image_ids)] = -torch.inf
    written: list[int] = []
    prompt = inputs[0].tokens["input_ids"][0].tolist()
    while len(written) < request.max_new_tokens:
        branches = []
        for one in inputs:
            more = torch.tensor([written], dtype=torch.long, device=model.device)
            fills = {"input_ids": more, "attention_mask": torch.ones_like(more)}
            tokens = {
                name: torch.cat([value, fills.get(name, torch.zeros_like(more)).to(value.dtype)], dim=1)
                for name, value in one.tokens.items()
            }
            with torch.inference_mode():
                whole = model.network(**tokens, **one.pictures, use_cache=False).logits
            branches.append(torch.log_softmax(whole[0, -1].float(), dim=-1))
        scores = (branches[0] + branches[1]) / 2 + added
        scores[list(repeated_ngrams(prompt + written if runs == "prompt and draft" else written))] = -torch.inf
        written.append(int(scores.argmax()))
    lengths = tuple(one.length for one in inputs)
    margins = (0.0,) * len(written)  # it keeps none
    return Generated(
        token_ids=tuple(written), text=model.decode(written), finish="length", margins=margins, prompt_tokens=lengths
    )


def _same_length(drafts: Sequence[Generated], length: int) -> None:
    """A draft that ends early would be counted as fast."""
    if any(len(draft.token_ids) != length for draft in drafts):
        raise RuntimeError(f"a draft does not have {length} tokens")


def _request(model: HfModel, seed: int, prompt: int, new: int) -> GenerationRequest:
    """Two branches of exactly `prompt` tokens, each with the image, mixed as CCD does and biased as CCD does."""
    place = 16  # a 112 x 112 image is 16 tokens
    random = np.random.default_rng(seed)

    def text(branch: Branch) -> BranchPrompt:
        letters = "".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), 4 * prompt))
        head = f"<|user|><|vision_start|>{model.processor.image_token}<|vision_end|>"
        room = prompt - place - 4  # <|user|>, the two ends of the image, <|assistant|>
        ids = model.tokenizer(letters, add_special_tokens=False)["input_ids"][:room]
        body = model.tokenizer.decode(ids)
        return BranchPrompt(branch=branch, text=f"{head}{body}<|assistant|>", text_images=(IMAGE,))

    return GenerationRequest(
        branches=(text("study"), text("anchored")), preset=PRESETS["ccd"], phrases=FINDINGS, max_new_tokens=new
    )
