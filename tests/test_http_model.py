"""A language model behind HTTP: tiny, with random weights, through `transformers`, so that what it says is noise."""

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_connection

import httpx
import pytest

from generation.draft import Draft
from service.front import Front
from service.model_options import writer_options
from tests.http_serving import served, unseen
from tests.test_http_drafts import events, until
from tests.tiny_models import need_models, without_end

Served = tuple[httpx.Client, Front]
AT_ONCE = 2
HALTED_S = 0.25
"""How soon whoever drafts has stopped, on a machine that does nothing else."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    need_models()
    from evaluation.random_models import Size, write_random_model  # noqa: PLC0415
    from service.__main__ import _parser  # noqa: PLC0415

    # The tiny vocabulary knows few words, so that prompts are four times as long as a real model's.
    folder = write_random_model(tmp_path_factory.mktemp("models") / "model", "qwen2_vl", Size(positions=16384))
    without_end(folder)  # so that what is to be stopped is still being written then
    options = _parser().parse_args(["serve", "--language-model", str(folder), "--preset", "plain"])
    with served(writer=writer_options(options), at_once=AT_ONCE) as both:
        yield both


def asked(**fields: object) -> dict[str, str]:
    return {"request": json.dumps({"temperature": 1, "max_new_tokens": 16, **fields})}


def tokens(answer: httpx.Response) -> tuple[int, ...]:
    assert answer.status_code == 200, answer.text
    writing = Draft.model_validate_json(answer.text).writing
    assert writing is not None
    return writing.token_ids


def test_preset_seed_and_length_are_those_of_the_request(service: Served) -> None:
    client, _ = service
    draft = Draft.model_validate_json(
        client.post("/v1/drafts", files=unseen(), data=asked(preset="vcd", seed=7, max_new_tokens=9)).text
    )
    assert draft.writing is not None
    assert (draft.writing.preset.name, draft.writing.seed, len(draft.writing.token_ids)) == ("vcd", 7, 9)
    plain = client.post("/v1/drafts", files=unseen(), data=asked())
    assert tokens(plain) == tokens(client.post("/v1/drafts", files=unseen(), data=asked()))
    assert tokens(plain) != tokens(client.post("/v1/drafts", files=unseen(), data=asked(seed=8)))
    copied = client.post("/v1/drafts", files=unseen(), data=asked(written_by="similar_cases")).json()
    assert copied["writing"] is None
    assert copied["status"] == "drafted"


def test_events_end_with_the_draft_that_a_whole_answer_is(service: Served) -> None:
    client, _ = service
    whole = client.post("/v1/drafts", files=unseen(), data=asked(max_new_tokens=64, seed=3))
    told = events(
        client.post(
            "/v1/drafts", files=unseen(), data=asked(max_new_tokens=64, seed=3), headers={"Accept": "text/event-stream"}
        ).text
    )
    name, draft = told[-1]
    assert name == "draft"
    assert draft["writing"]["token_ids"] == list(tokens(whole))
    standing = {each["number"]: each["sentence"]["text"] for name, each in told if name == "sentence"}
    for name, each in told:
        if name == "withdrawn":
            standing.pop(each["number"])
    assert set(standing.values()) >= {sentence["text"] for sentence in draft["sentences"]}


def test_drafts_written_at_once_are_those_written_alone(service: Served) -> None:
    client, _ = service
    alone = [tokens(client.post("/v1/drafts", files=unseen(), data=asked(seed=seed))) for seed in range(4)]
    together: dict[int, tuple[int, ...]] = {}

    def ask(seed: int) -> None:
        together[seed] = tokens(client.post("/v1/drafts", files=unseen(), data=asked(seed=seed)))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[seed] for seed in range(4)] == alone


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_the_language_model_stops_soon_after_the_caller_has_gone(service: Served, accept: str) -> None:
    client, front = service
    form = client.build_request("POST", "/v1/drafts", files=unseen(), data=asked(max_new_tokens=4096, temperature=0))
    body = form.read()
    head = [f"POST /v1/drafts HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nContent-Length: {len(body)}"]
    head.append(f"Content-Type: {form.headers['content-type']}\r\n\r\n")
    with create_connection(("127.0.0.1", client.base_url.port or 80)) as connection:
        connection.sendall("\r\n".join(head).encode() + body)
        until(lambda: front.room.working("interactive") == 1, 30)
        time.sleep(0.8)  # read, searched, and being written
        assert front.room.working("interactive") == 1
    took = until(lambda: front.room.working("interactive") == 0, 10)
    assert took < 5 * HALTED_S  # the machine may be busy with other tests


def test_a_deadline_ends_a_draft_that_is_being_written(service: Served) -> None:
    client, front = service
    began = time.monotonic()
    answer = client.post("/v1/drafts", files=unseen(), data=asked(max_new_tokens=4096, temperature=0, deadline_s=2))
    assert (answer.status_code, answer.json()["code"]) == (504, "DEADLINE_EXCEEDED")
    assert time.monotonic() - began < 4
    until(lambda: front.room.working("interactive") == 0, 5)


def test_the_service_names_its_language_model(service: Served) -> None:
    told = service[0].get("/v1/capabilities").json()
    assert Path(told["language_model"]).name == "model"
    assert "grounded" in told["presets"]


def test_a_server_that_does_not_answer_gets_a_draft_that_says_so(tmp_path: Path) -> None:
    from service.__main__ import _parser  # noqa: PLC0415

    nobody = ["--generator", "openai", "--server", "http://127.0.0.1:9", "--language-model", "x", "--preset", "plain"]
    for fallback in ("retrieval", "error"):
        options = _parser().parse_args(["serve", *nobody, "--fallback", fallback])
        with served(writer=writer_options(options)) as (client, _):
            answer = client.post("/v1/drafts", files=unseen())
            if fallback == "retrieval":
                draft = Draft.model_validate_json(answer.text)
                assert (draft.status, draft.fallback, draft.writing) == ("drafted", "GENERATOR_UNAVAILABLE", None)
            else:
                assert (answer.status_code, answer.json()["code"]) == (503, "GENERATOR_UNAVAILABLE")
