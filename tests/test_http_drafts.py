"""Drafts over HTTP, really served: the whole, the events, and what happens to those who do not wait."""

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from generation.draft import Draft, DraftEvent
from service import temporary
from service.__main__ import main as prelim
from service.front import Front
from tests.dicom_files import dataset, ramp, save
from tests.http_serving import collection, problem, served, unseen

Served = tuple[httpx.Client, Front]


@pytest.fixture(scope="module", autouse=True)
def _uploads_of_these_tests_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("uploads")))
        temporary._own.cache_clear()  # an earlier test's may be elsewhere, where nobody would look
        yield


@pytest.fixture(scope="module")
def service() -> Iterator[Served]:
    with served() as both:
        yield both


def events(text: str) -> list[tuple[str, Any]]:
    """Name and content of each event."""
    blocks = [dict(line.split(": ", 1) for line in block.split("\n")) for block in text.split("\n\n") if block]
    return [(block["event"], json.loads(block["data"])) for block in blocks]


def until(condition: Any, seconds: float = 5.0) -> float:
    """Wait until something holds; returns how long that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it never came true"
        time.sleep(0.005)
    return time.monotonic() - began


def left_behind() -> list[Path]:
    return [*Path(tempfile.gettempdir()).glob("prelim-uploads-*/*")]


def test_one_dicom_gets_the_same_draft_from_the_command_and_over_http(
    service: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = collection()
    capsys.readouterr()
    arguments = ["--indication", "Effusion?", "--patient-key", "p-1", "--index", str(folder / "index"), "--json"]
    assert prelim(["draft", str(folder / "unseen.dcm"), *arguments]) == 0
    printed = capsys.readouterr().out
    asked = {"indication": "Effusion?", "patient_key": "p-1"}
    answer = service[0].post("/v1/drafts", files=unseen("dcm"), data={"request": json.dumps(asked)})
    assert answer.status_code == 200
    assert Draft.model_validate_json(answer.text).status == "drafted"
    # All but the line breaks: the order of the fields and every digit of every number.
    assert answer.text == json.dumps(json.loads(printed), ensure_ascii=False, separators=(",", ":"))


def test_events_tell_each_sentence_and_end_with_the_draft(service: Served) -> None:
    whole = service[0].post("/v1/drafts", files=unseen()).json()
    answer = service[0].post("/v1/drafts", files=unseen(), headers={"Accept": "text/event-stream"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert [name for name, _ in told] == ["sentence"] * len(whole["sentences"]) + ["draft"]
    assert [DraftEvent.model_validate(each).sentence.model_dump(mode="json") for _, each in told[:-1]] == whole[
        "sentences"
    ]
    assert told[-1][1] == whole


def test_out_of_scope_is_an_answer(service: Served, tmp_path: Path) -> None:
    hand = save(tmp_path / "hand.dcm", dataset(ramp(12, 64, 64), 12, BodyPartExamined="HAND"))
    answer = service[0].post("/v1/drafts", files={"images": ("x", hand.read_bytes())})
    draft = Draft.model_validate_json(answer.text)
    assert (answer.status_code, draft.status, draft.reason) == (200, "abstained", "OUT_OF_SCOPE_BODY_PART")


def test_several_views_are_one_study_and_two_patients_are_none(service: Served, tmp_path: Path) -> None:
    both = [*unseen("dcm"), *unseen("png")]
    assert service[0].post("/v1/drafts", files=both).status_code == 200
    other = save(tmp_path / "other.dcm", dataset(ramp(12, 64, 64), 12, StudyInstanceUID="1.2.3"))
    answer = service[0].post("/v1/drafts", files=[*unseen("dcm"), ("images", ("y", other.read_bytes()))])
    problem(answer, 422, "INVALID_STUDY")


@pytest.mark.parametrize("asked", [{"written_by": "language_model"}, {"preset": "vcd"}])
def test_a_language_model_that_is_not_here_is_said_to_be_not_here(service: Served, asked: dict[str, str]) -> None:
    told = problem(service[0].post("/v1/drafts", files=unseen(), data={"request": json.dumps(asked)}), 422, "REQUEST")
    assert "no language model" in told["detail"]


def test_whoever_waits_behind_others_is_told_at_the_deadline_not_when_their_turn_comes(service: Served) -> None:
    client, front = service
    free = threading.Event()
    held = [front.room.submit(lambda: free.wait(20)) for _ in range(4)]
    try:
        began = time.monotonic()
        asked = {"request": json.dumps({"deadline_s": 0.3})}
        problem(client.post("/v1/drafts", files=unseen(), data=asked), 504, "DEADLINE_EXCEEDED")
        answer = client.post("/v1/drafts", files=unseen(), data=asked, headers={"Accept": "text/event-stream"})
        assert [(name, told["code"]) for name, told in events(answer.text)] == [("error", "DEADLINE_EXCEEDED")]
        assert time.monotonic() - began < 5
        assert until(lambda: not left_behind()) < 2
    finally:
        free.set()
    assert all(each.result(5) for each in held)


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_who_goes_away_while_waiting_gives_up_the_place_and_leaves_no_file(service: Served, accept: str) -> None:
    client, front = service
    free = threading.Event()
    held = [front.room.submit(lambda: free.wait(20)) for _ in range(4)]
    try:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{client.base_url}/v1/drafts", files=unseen(), headers={"Accept": accept}, timeout=0.5)
        assert until(lambda: not left_behind()) < 2
        assert front.room.working("interactive") == 4
    finally:
        free.set()
    assert all(each.result(5) for each in held)
    until(lambda: front.room.working("interactive") == 0)


def test_too_many_are_told_when_to_come_again_and_find_a_place_then() -> None:
    with served(at_once=1, waiting=1) as (client, front):
        free = threading.Event()
        front.room.submit(lambda: free.wait(20))
        until(lambda: front.room.working("interactive") == 1)
        front.room.submit(lambda: None)
        answer = client.post("/v1/drafts", files=unseen())
        problem(answer, 429, "OVERLOADED")
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        streamed = client.post("/v1/drafts", files=unseen(), headers={"Accept": "text/event-stream"})
        problem(streamed, 429, "OVERLOADED")
        assert client.get("/health/ready").status_code == 503
        # Short work does not wait behind drafts.
        assert client.post("/v1/similar-cases", json={"text": "effusion"}).status_code == 200
        free.set()
        until(lambda: client.get("/health/ready").status_code == 200)
        assert client.post("/v1/drafts", files=unseen()).status_code == 200
        assert not left_behind()


def test_many_at_once_get_what_each_asked_for(service: Served) -> None:
    client, _ = service
    alone = client.post("/v1/drafts", files=unseen()).text
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.post("/v1/drafts", files=unseen()).text))
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [alone] * 12
