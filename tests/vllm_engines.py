"""Real vLLM engines for tests, each in a process of its own, since an engine changes much of the one it lives in.

As a program this is the other process: it starts one engine, puts the load to it (evaluation.vllm_load), then what the
load leaves out (structured output, stop strings, broken logits, the generator's own interface), and writes it all down.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from evaluation.vllm_load import Load, drawn, drawn_images
from generation.decoding.generator import BranchPrompt, GenerationRequest
from generation.decoding.presets import PRESETS
from generation.halt import Halt
from prompts.message import Branch
from retrieval.errors import BrokenLogits, Cancelled, PrelimError

if TYPE_CHECKING:  # the tests' own process reads this, too, and needs no vLLM
    from generation.vllm.engine import VllmGenerator

LOADS: Final = {
    "qwen2_vl": Load(architecture="qwen2_vl", groups=64),
    "llava": Load(architecture="llava", groups=12, scheduling="synchronous", blocks=None),
    "gemma3": Load(architecture="gemma3", groups=12, blocks=None),
}
"""The three engines of `make test`."""
BREAKING: Final = 4
"""A token whose embedding is spoilt: whoever reads it has logits that are not numbers."""
REGEX: Final = r"[a-j]{3,6}[k-z]{2,5}"
STOPS: Final = ("e", "ar")


def stopping(requests: Sequence[GenerationRequest]) -> list[GenerationRequest]:
    """Drafts that end at a stop string."""
    return [request.model_copy(update={"stop": STOPS, "max_new_tokens": 40}) for request in requests[:6]]


def fragile(broken: Sequence[int]) -> list[GenerationRequest]:
    """Four drafts of which these hold a prompt with the token that breaks."""

    def prompt(number: int, branch: Branch) -> BranchPrompt:
        tokens = np.random.default_rng(number).integers(60, 250, 40).tolist()
        spoilt = number in broken and branch == "anchored"
        return BranchPrompt(branch=branch, token_ids=tuple([*tokens, BREAKING] if spoilt else tokens))

    return [
        GenerationRequest(
            branches=(prompt(number, "study"), prompt(number, "anchored")), preset=PRESETS["ccd"], max_new_tokens=12
        )
        for number in range(4)
    ]


class Facts:
    """What one engine does beside its load."""

    def __init__(self, load: Load, generator: "VllmGenerator") -> None:
        self.generator, self.engine = generator, generator.engine
        self.requests, self.images = drawn(load), drawn_images(load)

    def all(self) -> dict[str, Any]:
        return {
            "structured": self.structured(),
            "stopped_by_vllm": self.stopped_by_vllm(),
            "generated": self.generated(),
            "cancelled": self.cancelled(),
            "refused": self.refused(),
            "broken": self.broken(),
            "alone": self.alone(),
            "left": len(self.engine.engine_core.engine_core.scheduler.requests),
        }

    def outputs(self) -> dict[str, dict[str, Any]]:
        """What every request said until all have ended."""
        found: dict[str, dict[str, Any]] = defaultdict(lambda: {"tokens": [], "text": ""})
        while self.engine.has_unfinished_requests():
            for output in self.engine.step():
                told = output.outputs[0]
                found[output.request_id]["tokens"] += told.token_ids
                found[output.request_id]["text"] += told.text
                found[output.request_id]["finish"] = told.finish_reason
        return dict(found)

    def submitted(self, name: str, requests: Sequence[GenerationRequest], **more: Any) -> dict[str, dict[str, Any]]:
        for number, request in enumerate(requests):
            for row, one in enumerate(self.generator.prepared(request, self.images)):
                self.generator.submit_member(f"{name}-{number}", request, row, one, **more)
        return self.outputs()

    def structured(self) -> dict[str, dict[str, Any]]:
        from vllm.sampling_params import StructuredOutputsParams  # noqa: PLC0415

        ends = [self.generator.processor.tokenizer.eos_token_id]  # the only end that a grammar knows
        return self.submitted(
            "structured", self.requests[:6], structured_outputs=StructuredOutputsParams(regex=REGEX), max_tokens=30,
            ignore_eos=False, stop_token_ids=ends, detokenize=True,
        )  # fmt: skip

    def stopped_by_vllm(self) -> dict[str, dict[str, Any]]:
        return self.submitted("stop", stopping(self.requests), detokenize=True, stop=["ar"], max_tokens=40)

    def generated(self) -> dict[str, Any]:
        heard: dict[int, str] = defaultdict(str)

        def hear(number: int, text: str) -> None:
            assert text
            heard[number] += text

        drafts = self.generator.generate(stopping(self.requests), self.images, hear)
        return {"drafts": [each.model_dump() for each in drafts], "heard": [heard[n] for n in range(len(drafts))]}

    def cancelled(self) -> dict[str, Any]:
        halt, heard = Halt(), 0

        def hear(number: int, text: str) -> None:
            nonlocal heard
            heard += 1
            halt.cancel()

        scheduler = self.engine.engine_core.engine_core.scheduler
        try:
            self.generator.generate(self.requests[:6], self.images, hear, halt)
        except Cancelled:
            return {"heard": heard, "requests": len(scheduler.requests), "groups": len(scheduler._groups)}
        return {}

    def refused(self) -> dict[str, str]:
        """What a call that holds one faulty request ends with."""
        good, branch = self.requests[0], self.requests[0].preset.branches[0]

        def with_prompt(**form: Any) -> GenerationRequest:
            rest = [each for each in good.branches if each.branch != branch]
            return good.model_copy(update={"branches": (BranchPrompt(branch=branch, **form), *rest)})

        faulty = {
            "too long": with_prompt(token_ids=(60,) * 1020),
            "no image": with_prompt(text=self.generator.processor.image_token, text_images=("nobody's",)),
            "no place": with_prompt(text="words", text_images=("image-0",)),
            "unknown token": with_prompt(token_ids=(10**6,)),
        }
        said = {}
        for name, request in faulty.items():
            try:
                self.generator.generate([good, request], self.images)
            except PrelimError as error:
                said[name] = type(error).__name__
        return said

    def broken(self) -> dict[str, Any]:
        """Two of four drafts have logits that are not numbers; then the engine is mended and writes all four."""
        model = self.engine.model_executor.driver_worker.worker.model_runner.model
        [weight] = [value for name, value in model.named_parameters() if name.endswith("embed_tokens.weight")]
        kept = weight.data[BREAKING].clone()
        weight.data[BREAKING] = float("nan")
        together = self.submitted("broken", fragile((1, 2)))
        try:
            self.generator.generate(fragile((2,))[2:], {})
            raised: tuple[int, ...] = ()
        except BrokenLogits as error:
            raised = error.groups
        weight.data[BREAKING] = kept
        self.engine.reset_prefix_cache()
        mended = self.submitted("mended", fragile((1, 2)))
        return {"together": together, "raised": raised, "mended": mended}

    def alone(self) -> str:
        """A member whose other never comes is ended after a while, and only it."""
        scheduler = self.engine.engine_core.engine_core.scheduler
        scheduler.patience_s = 0.0
        [one, *_] = self.generator.prepared(self.requests[0], self.images)
        self.generator.submit_member("alone", self.requests[0], 0, one)
        [told] = self.outputs().values()
        scheduler.patience_s = 30.0
        return str(told["finish"])


def main(arguments: Sequence[str]) -> None:
    from evaluation.vllm_run import run, started  # noqa: PLC0415

    load = Load.model_validate_json(arguments[0])
    generator = started(load, Path(arguments[1]))
    outcome = run(load, generator).model_dump(mode="json")
    facts = Facts(load, generator).all() if load.scheduling == "synchronous" else {}
    Path(arguments[2]).write_text(json.dumps({"outcome": outcome, "facts": facts}), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
