"""`GET /metrics`: what is counted, for whom it is, and that nothing sent makes a new figure."""

import json
import random
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from opentelemetry import trace

from generation.steps import STEPS, named, step
from service.front import Front
from service.keys import new_key
from service.observe import metrics as observed
from service.observe.traces import start
from tests.http_serving import problem, raw, served, unseen
from tests.misbehaving_server import serving
from tests.observed_serving import WRITTEN, Figures, figure, figures, writes
from tests.test_http_drafts import until

Served = tuple[httpx.Client, Front]
DROPPED = {"prelim.dropped_by": ("SIDE", "SIDE", "INTERNAL"), "prelim.sentences": 2}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    start()
    with served(jobs=str(tmp_path_factory.mktemp("jobs") / "jobs.sqlite")) as both:
        yield both


def now(client: httpx.Client) -> Figures:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return figures(answer.text)


def grown(before: Figures, after: Figures, name: str, **labels: str) -> float:
    return figure(after, name, **labels) - figure(before, name, **labels)


def test_a_draft_counts_once_with_each_of_its_steps(service: Served) -> None:
    client, _ = service
    before = now(client)
    draft = client.post("/v1/drafts", files=unseen()).json()
    after = now(client)
    for name in STEPS:
        taken = name not in ("experts", "concepts", "prompts")
        assert grown(before, after, "prelim_step_seconds_count", step=name) == taken, name
    whole, *parts = (grown(before, after, "prelim_step_seconds_sum", step=name) for name in STEPS)
    assert 0 < sum(parts) <= whole
    assert grown(before, after, "prelim_drafts_total", status="drafted", reason="", fallback="") == 1
    assert grown(before, after, "prelim_sentences_total") == len(draft["sentences"])
    ended = {"face": "http", "route": "/v1/drafts", "method": "POST", "status": "200", "code": ""}
    assert grown(before, after, "prelim_requests_total", **ended) == 1
    assert grown(before, after, "prelim_request_seconds_count", face="http", route="/v1/drafts") == 1


def test_a_draft_that_fails_is_counted_by_the_code_of_its_error(service: Served) -> None:
    client, _ = service
    before = now(client)
    problem(client.post("/v1/drafts", files={"images": ("x", b"none")}), 422, "UNREADABLE_IMAGE")
    streamed = client.post("/v1/drafts", files={"images": ("x", b"none")}, headers={"Accept": "text/event-stream"})
    assert streamed.status_code == 200
    after = now(client)
    assert grown(before, after, "prelim_drafts_total", status="failed", reason="UNREADABLE_IMAGE", fallback="") == 2
    ended = {"face": "http", "route": "/v1/drafts", "method": "POST", "code": "UNREADABLE_IMAGE"}
    assert grown(before, after, "prelim_requests_total", status="422", **ended) == 1
    assert grown(before, after, "prelim_requests_total", status="200", **ended) == 1


def test_a_draft_of_a_job_is_counted_and_the_job_by_its_state(service: Served) -> None:
    client, _ = service
    before = now(client)
    location = client.post("/v1/jobs", files=unseen()).headers["location"]
    until(lambda: client.get(location).json()["state"] == "succeeded", 60)
    after = now(client)
    assert grown(before, after, "prelim_jobs", state="succeeded") == 1
    assert figure(after, "prelim_jobs", state="failed") == 0
    assert grown(before, after, "prelim_drafts_total", status="drafted", reason="", fallback="") == 1
    assert grown(before, after, "prelim_step_seconds_count", step="wait") == 1


def test_what_waits_what_is_worked_on_and_what_is_refused_is_shown_by_room(service: Served) -> None:
    with served(at_once=1, waiting=1) as (client, front):
        free = threading.Event()
        front.room.submit(lambda: free.wait(20))
        until(lambda: front.room.working("interactive") == 1)
        front.room.submit(lambda: None)
        problem(client.post("/v1/drafts", files=unseen()), 429, "OVERLOADED")
        shown, at = now(client), {"room": "drafts", "urgency": "interactive"}
        free.set()
    assert figure(shown, "prelim_working", **at) == 1
    assert figure(shown, "prelim_waiting", **at) == 1
    assert figure(shown, "prelim_refused_total", **at) == 1
    assert figure(shown, "prelim_working", room="brief", urgency="interactive") == 0


def test_tokens_and_drafts_that_stand_in_for_a_language_model_are_counted(service: Served) -> None:
    from service.__main__ import _parser  # noqa: PLC0415
    from service.model_options import writer_options  # noqa: PLC0415

    for answers in (True, False):
        with serving(writes) as model:
            url = model.url if answers else "http://127.0.0.1:9"
            remote = ["--generator", "vllm-http", "--server", url, "--language-model", "tiny"]
            with served(writer=writer_options(_parser().parse_args(["serve", *remote]))) as (client, _):
                before = now(client)
                client.post("/v1/drafts", files=unseen()).raise_for_status()
                after = now(client)
        tokens = grown(before, after, "prelim_tokens_total", generator="vllm-http", preset="grounded")
        code = "" if answers else "GENERATOR_UNAVAILABLE"
        assert tokens == (len(WRITTEN) - 1 if answers else 0)
        assert grown(before, after, "prelim_drafts_total", status="drafted", reason="", fallback=code) == 1
        # What failed to write took its time, too.
        assert grown(before, after, "prelim_step_seconds_count", step="write") == (1 if answers else 2)


def test_sentences_left_out_are_counted_by_the_check_that_did_it(service: Served) -> None:
    before = now(service[0])
    with step("check") as span:
        span.set_attributes(DROPPED)
    after = now(service[0])
    assert grown(before, after, "prelim_sentences_dropped_total", code="SIDE") == 2
    assert grown(before, after, "prelim_sentences_dropped_total", code="INTERNAL") == 1
    assert grown(before, after, "prelim_sentences_total") == 2


def test_spans_of_others_are_not_counted(service: Served) -> None:
    before = now(service[0])
    with trace.get_tracer("somebody").start_as_current_span("draft"):
        pass
    with trace.get_tracer("prelim").start_as_current_span("another step"):
        pass
    after = now(service[0])
    assert grown(before, after, "prelim_step_seconds_count", step="draft") == 0


def test_nothing_that_is_sent_makes_a_new_series(service: Served) -> None:
    client, _ = service

    def ask(number: int) -> None:
        drawn = random.Random(number).randbytes(6).hex()
        client.get(f"/{drawn}")
        client.get(f"/v1/cases/{drawn}")
        client.get(f"/v1/jobs/{drawn}")
        client.get(f"/page/{drawn}")
        client.request("DELETE", f"/v1/cases/{drawn}")
        client.request("PROPFIND", f"/v1/cases/{drawn}")
        client.get(f"/v1/cases/x/images/0?bits={drawn}")
        client.post("/v1/similar-cases", json={"text": drawn, drawn: drawn})
        raw(client, f"{drawn} /{drawn} HTTP/1.1\r\nHost: {drawn}\r\n{drawn}: {drawn}\r\n\r\n".encode())
        now(client)

    ask(0)
    first = set(now(client))
    for number in range(1, 12):
        ask(number)
    assert set(now(client)) == first
    asked = {labels for name, labels in first if name == "prelim_requests_total"}
    assert ("route", "unknown") in {pair for labels in asked for pair in labels}
    assert ("method", "other") in {pair for labels in asked for pair in labels}
    assert ("route", "/v1/cases/{case_id}") in {pair for labels in asked for pair in labels}


def test_figures_are_for_this_machine_or_for_a_key_that_is_for_them(service: Served, tmp_path: Path) -> None:
    problem(service[0].get("/metrics", headers={"Host": "evil.example"}), 421, "MISDIRECTED")
    secret, entry = new_key("prometheus", frozenset(["metrics"]))
    other, another = new_key("ward", frozenset(["draft"]))
    (tmp_path / "keys.json").write_text(json.dumps([each.model_dump(mode="json") for each in (entry, another)]))
    with served(keys=tmp_path / "keys.json") as (client, _):
        problem(client.get("/metrics"), 401, "UNAUTHENTICATED")
        problem(client.get("/metrics", headers={"Authorization": f"Bearer {other}"}), 403, "FORBIDDEN")
        assert client.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).status_code == 200
        problem(client.post("/v1/drafts", headers={"Authorization": f"Bearer {secret}"}), 403, "FORBIDDEN")


def test_figures_are_shown_while_the_database_of_jobs_is_away(tmp_path: Path) -> None:
    database = tmp_path / "jobs.sqlite"
    with served(jobs=str(database)) as (client, front):
        assert figure(now(client), "prelim_jobs", state="queued") == 0
        assert ("prelim_jobs", frozenset([("state", "queued")])) in now(client)
        assert front.jobs is not None
        front.jobs.store.close()
        for file in (path for path in tmp_path.glob("jobs.sqlite*") if path.is_file()):
            file.write_bytes(b"no database" * 1000)
        assert ("prelim_jobs", frozenset([("state", "queued")])) not in now(client)


def test_every_figure_is_in_the_table_and_the_table_has_no_other(service: Served) -> None:
    table = str(observed.__doc__).split("\n\n")[1]
    named_there = set(re.findall(r"\bprelim_[a-z_]+", table))
    shown = service[0].get("/metrics").text
    assert set(re.findall(r"^# TYPE (prelim_\w+) ", shown, re.MULTILINE)) - created(shown) == named_there
    for default in ("process_resident_memory_bytes", "process_cpu_seconds_total", "python_info"):
        assert default in shown


def created(shown: str) -> set[str]:
    """When a counter began, which the client library adds to each."""
    return set(re.findall(r"^# TYPE (\w+_created) ", shown, re.MULTILINE))


def test_what_is_counted_costs_a_draft_less_than_a_millisecond() -> None:
    start()

    def nine() -> None:
        with step("draft", files=1) as draft:
            draft.set_attributes(named({"draft": "drafted"}))
            for name in STEPS[1:]:
                with step(name, images=1) as span:
                    span.set_attributes(named({"cases": 40}))

    took = []
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(10):
            nine()
        took.append((time.perf_counter() - began) / 10)
    assert min(took) < 1e-3
