"""Puts a load to a real vLLM engine and writes down what came of it: a program, since an engine changes its process.

    python -m evaluation.vllm_run LOAD_AS_JSON MODEL_FOLDER OUTCOME_FILE

What comes is drawn in `vllm_load`, which the oracle's process reads, too, and which knows no vLLM.
"""

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.vllm_load import ENDS, Load, Outcome, drawn, drawn_images, has_twin, twice
from generation.vllm.engine import VllmGenerator, VllmSettings


def started(load: Load, folder: Path) -> VllmGenerator:
    """The engine of a load, in this process."""
    more: dict[str, Any] = {} if load.blocks is None else {"num_gpu_blocks_override": load.blocks}
    if load.scheduler != "groups":
        more["scheduler_cls"] = None
    more["scheduling_policy"] = "priority"  # as servers have it
    generator = VllmGenerator(
        str(folder),
        VllmSettings(
            rows=load.rows, longest=1024, cache_gb=0.25, step_tokens=load.step_tokens, scheduling=load.scheduling
        ),
        more=more,
    )
    generator.end_ids |= ENDS
    return generator


def run(load: Load, generator: VllmGenerator) -> Outcome:
    """Put the load to its engine, and everything that came of it together."""
    requests, images = drawn(load), drawn_images(load)
    random = np.random.default_rng((load.seed, 1))
    engine = generator.engine
    written: dict[str, list[int]] = defaultdict(list)
    cached: dict[str, int] = {}

    def step() -> None:
        for output in engine.step():
            written[output.request_id] += output.outputs[0].token_ids
            cached[output.request_id] = output.num_cached_tokens or 0

    def arrive(turn: str, numbers: Sequence[int]) -> None:
        most = {"one by one": 2, "together": 1}[load.arrival]
        inputs = {n: generator.prepared(requests[n], images) for n in numbers}
        members = [(n, m) for n in numbers for m in range(len(requests[n].mixed))]
        # Near one another, but other requests come between.
        for at in np.argsort([n + 4 * random.random() for n, _ in members]):
            n, m = members[at]
            if turn == "first" and m == 0 and has_twin(n):
                generator.submit_ordinary(f"ordinary-{n}", inputs[n][0], requests[n].max_new_tokens)
            # Those of which nobody waits for the answer are held in the middle for those of which somebody does.
            generator.submit_member(f"{turn}-{n}", requests[n], m, inputs[n][m], priority=int(n % 3 > 0))
            for _ in range(int(random.integers(0, most))):
                step()
        while engine.has_unfinished_requests():
            step()

    arrive("first", range(len(requests)))
    for n in twice(requests):
        arrive("warm", [n])
        arrive("again", [n])

    def members_of(turn: str, n: int) -> list[str]:
        return [f"{turn}-{n}-{prompt.branch}" for prompt in requests[n].mixed]

    scheduler = engine.engine_core.engine_core.scheduler
    return Outcome(
        drafts=tuple(tuple(tuple(written[name]) for name in members_of("first", n)) for n in range(len(requests))),
        ordinary={n: tuple(written[f"ordinary-{n}"]) for n in range(len(requests)) if has_twin(n)},
        again={n: tuple(tuple(written[name]) for name in members_of("again", n)) for n in twice(requests)},
        cached={n: tuple(cached[name] for name in members_of("again", n)) for n in twice(requests)},
        counts=asdict(scheduler.counts) if load.scheduler == "groups" else {},
        left=len(scheduler.requests) + (len(scheduler._groups) if load.scheduler == "groups" else 0),
    )


def main(arguments: Sequence[str]) -> None:
    """Run one load in this process."""
    load = Load.model_validate_json(arguments[0])
    outcome = run(load, started(load, Path(arguments[1])))
    Path(arguments[2]).write_text(outcome.model_dump_json(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
