"""Traces as a collector gets them from `prelim serve`: the steps of a draft, and whose trace it is a part of."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from generation.steps import STEPS
from tests.http_serving import problem, unseen
from tests.misbehaving_server import MisbehavingServer, serving
from tests.observed_serving import WRITTEN, Collector, collecting, command, ended, facts, writes

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"
TOKENS = len(WRITTEN) - 1
"""The end token is no part of a draft."""
SOON = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
Served = tuple[httpx.Client, Collector, MisbehavingServer, Path]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("traced")
    with collecting() as collector, serving(writes) as model:
        written = ["--generator", "vllm-http", "--server", model.url, "--language-model", "tiny", "--log", "json"]
        with command(folder, *written, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **SOON) as (process, address):
            with httpx.Client(base_url=address, timeout=60) as client:
                yield client, collector, model, folder
            assert ended(process) == 0


def draft(client: httpx.Client, traceparent: str = "", **asked: Any) -> httpx.Response:
    headers = {"traceparent": traceparent} if traceparent else {}
    return client.post("/v1/drafts", files=unseen(), data={"request": json.dumps(asked)}, headers=headers)


def spans(collector: Collector, trace_id: str, root: str) -> dict[str, Any]:
    """The spans of a trace, when the one that ends last is there."""
    until = time.monotonic() + 10
    while root not in (found := collector.spans_of(trace_id)):
        assert time.monotonic() < until, sorted(found)
        time.sleep(0.02)
    return found


def test_a_draft_of_a_language_model_is_one_trace_of_all_its_steps(service: Served) -> None:
    client, collector, _, _ = service
    answer = draft(client)
    assert answer.json()["status"] == "drafted", answer.text
    found = spans(collector, answer.headers["x-trace-id"], "POST /v1/drafts")
    assert set(found) == {"POST /v1/drafts", *STEPS}
    assert found["draft"].parent_span_id == found["POST /v1/drafts"].span_id
    for name in set(STEPS) - {"draft"}:
        assert found[name].parent_span_id == found["draft"].span_id, name
    order = ["wait", "read", "gate", "experts", "retrieve", "concepts", "prompts", "write", "check"]
    begun = [found[name].start_time_unix_nano for name in order]
    assert begun == sorted(begun)
    inside = sum(found[name].end_time_unix_nano - found[name].start_time_unix_nano for name in order)
    whole = found["draft"].end_time_unix_nano - found["draft"].start_time_unix_nano
    assert 0.6 * whole < inside <= whole
    written = facts(found["write"])
    assert (written["prelim.preset"], written["prelim.branches"], written["prelim.tokens"]) == ("grounded", 3, TOKENS)
    assert (written["prelim.finish"], written["prelim.generator"]) == ("end", "vllm-http")
    told = facts(found["draft"])
    assert told["prelim.snapshot"] == answer.json()["evidence"]["index_snapshot"]
    assert told["prelim.sentences"] == len(answer.json()["sentences"])
    assert told["prelim.cases"] == len(answer.json()["evidence"]["cases"])


def test_a_draft_of_similar_cases_has_no_step_that_nobody_took(service: Served) -> None:
    client, collector, _, _ = service
    answer = draft(client, written_by="similar_cases")
    found = spans(collector, answer.headers["x-trace-id"], "POST /v1/drafts")
    assert set(found) == {"POST /v1/drafts", *STEPS} - {"experts", "concepts", "prompts"}
    assert facts(found["write"])["prelim.generator"] == "similar-cases"


def test_a_valid_traceparent_is_joined_and_handed_to_the_language_model_s_servers_and_nothing_else_is(
    service: Served,
) -> None:
    client, collector, model, _ = service
    before = len(model.seen)
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "hospital=CANARY", "baggage": "patient=CANARY"}
    answer = client.post("/v1/drafts", files=unseen(), headers=headers)
    assert answer.headers["x-trace-id"] == TRACE
    found = spans(collector, TRACE, "POST /v1/drafts")
    assert found["POST /v1/drafts"].parent_span_id.hex() == PARENT
    assert not any(span.trace_state for span in found.values())
    asked = [headers for _, headers, _, _ in model.seen[before:]]
    assert len(asked) == 3
    assert {each["traceparent"] for each in asked} == {f"00-{TRACE}-{found['write'].span_id.hex()}-01"}
    assert not any({"tracestate", "baggage"} & set(each) for each in asked)


@pytest.mark.parametrize(
    "traceparent",
    ["", "x", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"ff-{TRACE}-{PARENT}-01",
     f"00-{TRACE.upper()}-{PARENT}-01", f"00-{TRACE}-{PARENT}-01-CANARY", f"00-{TRACE}-{PARENT}-1"],
)  # fmt: skip
def test_what_is_no_traceparent_begins_a_new_trace(service: Served, traceparent: str) -> None:
    answer = service[0].get("/v1/capabilities", headers={"traceparent": traceparent})
    trace_id = answer.headers["x-trace-id"]
    assert re.fullmatch("[0-9a-f]{32}", trace_id)
    assert trace_id != TRACE
    assert "GET /v1/capabilities" in spans(service[1], trace_id, "GET /v1/capabilities")


def test_a_problem_names_its_trace_and_its_spans_have_the_code_alone(service: Served) -> None:
    client, collector, _, folder = service
    answer = client.post("/v1/drafts", files={"images": ("x", b"CANARY, no image")})
    told = problem(answer, 422, "UNREADABLE_IMAGE")
    found = spans(collector, told["trace_id"], "POST /v1/drafts")
    for name in ("POST /v1/drafts", "draft", "read"):
        assert found[name].status.message == facts(found[name])["error.type"] == "UNREADABLE_IMAGE"
        assert found[name].status.code == found[name].status.STATUS_CODE_ERROR
        assert not found[name].events
    [line] = [each for each in (folder / "err").read_text().splitlines() if told["trace_id"] in each]
    said = json.loads(line)
    assert (said["event"], said["route"], said["status"], said["code"]) == (
        "request", "/v1/drafts", "422", "UNREADABLE_IMAGE",
    )  # fmt: skip


def test_the_line_of_a_draft_has_its_counts(service: Served) -> None:
    client, _, _, folder = service
    answer = draft(client)
    until = time.monotonic() + 5
    while not (
        said := [each for each in (folder / "err").read_text().splitlines() if answer.headers["x-trace-id"] in each]
    ):
        assert time.monotonic() < until
        time.sleep(0.02)
    line = json.loads(said[0])
    assert len(said) == 1
    assert (line["sentences"], line["images"], line["tokens"]) == (len(answer.json()["sentences"]), 1, TOKENS)
    assert (line["status"], line["draft"]) == ("200", "drafted")
    assert line["seconds"] > 0
    assert set(line) == {
        "time", "level", "event", "trace_id", "face", "method", "route", "status", "seconds", "draft", "snapshot",
        "images", "cases", "sentences", "flags", "dropped", "tokens",
    } | ({"reason"} & set(line))  # fmt: skip


def test_a_trace_that_its_caller_does_not_sample_is_not_exported_and_still_counted(service: Served) -> None:
    client, collector, _, _ = service
    unsampled = "5bf92f3577b34da6a3ce929d0e0e4736"
    count = 'prelim_step_seconds_count{step="draft"}'
    before = client.get("/metrics").text
    assert draft(client, f"00-{unsampled}-{PARENT}-00").headers["x-trace-id"] == unsampled
    last = draft(client)
    spans(collector, last.headers["x-trace-id"], "POST /v1/drafts")
    assert not collector.spans_of(unsampled)
    after = client.get("/metrics").text
    assert [float(re.search(re.escape(count) + r" (\S+)", text)[1]) for text in (before, after)] == pytest.approx(
        [(now := float(re.search(re.escape(count) + r" (\S+)", before)[1])), now + 2]
    )


def test_a_collector_that_is_down_holds_nobody_up(tmp_path: Path) -> None:
    nowhere = "http://127.0.0.1:9"
    with command(tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=nowhere, **SOON) as (process, address):
        httpx.post(address + "/v1/drafts", files=unseen(), timeout=60)  # the first one loads what it needs
        began = time.monotonic()
        assert httpx.post(address + "/v1/drafts", files=unseen(), timeout=60).status_code == 200
        assert time.monotonic() - began < 5
        began = time.monotonic()
        assert ended(process) == 0
        assert time.monotonic() - began < 10
    assert "Traceback" not in (tmp_path / "err").read_text()
