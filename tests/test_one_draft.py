"""One study through every face: HTTP, gRPC (whole, in sentences, of many) and `prelim bulk` give the same draft."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from generation.draft import Draft
from service.__main__ import main as prelim
from service.bulk import BulkLine
from service.grpc import prelim_v1_pb2 as v1
from service.model_options import writer_options
from service.request import DraftRequest
from tests.grpc_serving import Both, grpc_served, image, method
from tests.http_serving import awaited_drafts, collection
from tests.test_http_drafts import events
from tests.tiny_models import need_models

TIMES = {"writing": {"seconds"}}
"""What may differ: how long a language model took."""
ASKED = DraftRequest(indication="Effusion?", patient_key="p-1", priors=("Small left effusion.",), view="PA")


@pytest.fixture(scope="module")
def service() -> Iterator[Both]:
    with grpc_served() as both:
        yield both


def through_http(client: httpx.Client, kind: str, asked: DraftRequest) -> dict[str, bytes]:
    form: dict[str, Any] = {"files": {"images": ("x", image(kind))}, "data": {"request": asked.model_dump_json()}}
    whole = client.post("/v1/drafts", **form)
    told = client.post("/v1/drafts", **form, headers={"Accept": "text/event-stream"})
    name, last = events(told.text)[-1]
    assert name == "draft"
    return {
        "http": whole.content,
        "http events": json.dumps(last, ensure_ascii=False, separators=(",", ":")).encode(),
    }


def through_grpc(channel: grpc.Channel, kind: str, asked: DraftRequest) -> dict[str, bytes]:
    request = v1.DraftRequest(images=[image(kind)], **asked.model_dump(exclude_defaults=True))
    *_, last = method(channel, "Drafts/StreamDraft")(request)
    (reply,) = method(channel, "Drafts/Bulk")(iter([v1.BulkRequest(item="x", request=request)]))
    return {
        "grpc": method(channel, "Drafts/Draft")(request).record_json,
        "grpc events": last.draft.record_json,
        "grpc bulk": reply.draft.record_json,
    }


def through_bulk(folder: Path, kind: str, asked: DraftRequest, *more: str) -> dict[str, bytes]:
    study = {"study": "x", "images": [str(collection() / f"unseen.{kind}")], "request": asked.model_dump(mode="json")}
    (folder / "studies.jsonl").write_text(json.dumps(study))
    index, out = str(collection() / "index"), folder / "drafts.jsonl"
    assert prelim(["bulk", str(folder / "studies.jsonl"), "--out", str(out), "--index", index, *more]) == 0
    draft = BulkLine.model_validate_json(out.read_text()).draft
    assert draft is not None
    return {"bulk": draft.model_dump_json().encode()}


@pytest.mark.parametrize("kind", ["dcm", "png"])
@pytest.mark.parametrize("asked", [DraftRequest(), ASKED])
def test_one_study_gets_one_draft_to_the_byte_through_every_face(
    service: Both, tmp_path: Path, kind: str, asked: DraftRequest
) -> None:
    channel, client, _ = service
    drafts = {
        **through_http(client, kind, asked),
        **through_grpc(channel, kind, asked),
        **through_bulk(tmp_path, kind, asked),
    }
    assert Draft.model_validate_json(drafts["http"]).status == "drafted"
    assert {face: draft == drafts["http"] for face, draft in drafts.items()} == dict.fromkeys(drafts, True)


@pytest.mark.slow
def test_one_study_gets_one_draft_of_a_language_model_through_every_face_but_for_the_time_it_took(
    tmp_path: Path,
) -> None:
    need_models()
    from evaluation.random_models import Size, write_random_model  # noqa: PLC0415
    from service.__main__ import _parser  # noqa: PLC0415

    folder = write_random_model(tmp_path / "model", "qwen2_vl", Size(positions=16384))
    named = ["--language-model", str(folder), "--preset", "plain"]
    asked = ASKED.model_copy(update={"max_new_tokens": 24, "temperature": 1.0, "seed": 3})
    with grpc_served(writer=writer_options(_parser().parse_args(["serve", *named])), at_once=2) as (channel, client, _):
        drafts = {**through_http(client, "dcm", asked), **through_grpc(channel, "dcm", asked)}
    drafts |= through_bulk(tmp_path, "dcm", asked, *named)
    told = {face: Draft.model_validate_json(draft) for face, draft in drafts.items()}
    assert told["http"].writing is not None
    assert len(told["http"].writing.token_ids) > 5
    whole = told["http"].model_dump(exclude=TIMES)
    assert {face: draft.model_dump(exclude=TIMES) == whole for face, draft in told.items()} == dict.fromkeys(told, True)


def test_every_face_says_whether_somebody_waits_for_the_draft(
    service: Both, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel, client, _ = service
    told = awaited_drafts(monkeypatch)
    through_http(client, "png", DraftRequest())
    assert told == [True, True]
    through_grpc(channel, "png", DraftRequest())
    assert told[2:] == [True, False, True]  # in a stream, in bulk, whole
    through_bulk(tmp_path, "png", DraftRequest())
    assert told[5:] == [False]
