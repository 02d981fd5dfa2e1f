"""Canaries in every field of every kind of request to `prelim serve` and `prelim bulk`: none turns up outside.

What is searched: lines, figures, exported spans, every error's body and headers, temporary files, the database of jobs
once they have ended. What may hold them: the language model's prompt, which is the control that they were really in.
A draft's answer holds none either: of the request it has digests alone, and the names of
files that were left out, which over HTTP are numbers. An answer out of scope says the modality or
the body part that the header says, where it is a DICOM code.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.protobuf.message import Message

from generation.vllm.group import member_in
from service.grpc import prelim_v1_pb2 as v1
from service.keys import SCOPES, new_key
from tests.canaries import ASKED, HEADERS, NAME, NUMBER, TEXT, UID, dicom, form, found, found_below
from tests.grpc_serving import method
from tests.http_serving import collection, raw, unseen
from tests.misbehaving_server import Body, Handler, MisbehavingServer, serving
from tests.observed_serving import Collector, collecting, command, ended, writes

SCRIBBLED = (
    b"GET /zqxv HTTP/9.9\r\n\r\n",
    b"ZQXV /v1/drafts HTTP/1.1\r\nHost: zqxv\r\n\r\n",
    b"GET /v1/cases/zqxv\x00 HTTP/1.1\r\nHost: zqxv\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX-Zqxv\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"zqxv" * 30_000 + b"\r\n\r\n",
    b"POST /v1/checks HTTP/1.1\r\nHost: x\r\nContent-Length: zqxv\r\n\r\n",
    b"POST /v1/checks HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzqxv\r\n",
    b"\x16\x03\x01zqxv770770770",
)
"""No HTTP, or not quite."""


def behaves(handler: Handler, body: Body) -> None:
    """A language model's server; asked with the seed 13 it refuses, and quotes the prompt."""
    member = member_in(body["vllm_xargs"])
    if member is not None and member.seed == 13:
        handler.refuse(400, json.dumps({"error": {"message": json.dumps(body["messages"]), "code": 400}}).encode())
    else:
        writes(handler, body)


@dataclass
class Asked:
    """The service that was asked everything, and what it answered."""

    folder: Path
    client: httpx.Client
    collector: Collector
    model: MisbehavingServer
    refused: list[tuple[str, int, str]] = field(default_factory=list)
    """What was asked, the status, head and body of each answer that is an error."""
    answered: dict[str, str] = field(default_factory=dict)
    """Head and body of the others."""
    metrics: str = ""
    trace_ids: list[str] = field(default_factory=list)

    def ask(self, what: str, method: str, path: str, key: str | None = None, **more: Any) -> httpx.Response:
        headers = {**HEADERS, "Authorization": f"Bearer {key or self.key}", **more.pop("headers", {})}
        answer = self.client.request(method, path, headers=headers, **more)
        said = f"{answer.headers}\n{answer.text}"
        self.trace_ids.append(answer.headers["x-trace-id"])
        error = answer.is_error or "event: error" in answer.text
        if error:
            self.refused.append((what, answer.status_code, said))
        else:
            self.answered[what] = said
        return answer

    key: str = ""


def everything(asked: Asked) -> None:
    """One request of each kind, well and ill."""
    image, folder = dicom(asked.folder), asked.folder
    study = ("images", "Zqxvhart_770770770.dcm", image)
    drafts = form(study, asked=ASKED)
    # What goes well.
    assert asked.ask("draft", "POST", "/v1/drafts", **drafts).json()["sentences"]
    asked.ask("copied", "POST", "/v1/drafts", **form(study, asked={**ASKED, "written_by": "similar_cases"}))
    asked.ask("events", "POST", "/v1/drafts", headers={"Accept": "text/event-stream"}, **form(study, asked=ASKED))
    asked.ask("of study", "POST", "/v1/similar-cases/of-study", **form(study, asked={"patient_key": NUMBER}))
    asked.ask("words", "POST", "/v1/similar-cases", json={"text": f"effusion {TEXT}", "patient_key": NUMBER})
    asked.ask("check", "POST", "/v1/checks", json={"report": f"FINDINGS: Left effusion. {TEXT} IMPRESSION: {NAME}."})
    asked.ask("image", "POST", "/v1/images", params={"zqxv": NUMBER}, **form(("image", "zqxv.dcm", image)))
    asked.ask("capabilities", "GET", "/v1/capabilities", params={"patient": NUMBER})
    assert "out of" in asked.ask(
        "scope", "POST", "/v1/drafts", **form(("images", NAME, dicom(folder, BodyPartExamined="HAND")))
    ).text.lower().replace("_", " ")
    # Images that are none, are two patients', or are too many.
    for what, files in {
        "text": [("images", NAME, TEXT.encode())],
        "empty": [("images", NAME, b"")],
        "cut": [("images", NAME, image[:3000])],
        "zip": [("images", "zqxv.zip", b"PK\x03\x04" + TEXT.encode())],
        "two": [study, ("images", "b", dicom(folder, 9106, StudyInstanceUID=f"{UID}.9", PatientID="ZQXV-other"))],
        "spoilt": [("images", NAME, image.replace(b"MONOCHROME2", b"ZQXVCHROME2"))],
        "many": [("images", f"zqxv-{n}", b"zqxv") for n in range(70)],
        "other part": [("zqxv-770770770", NAME, image)],
    }.items():
        asked.ask(f"images: {what}", "POST", "/v1/drafts", **form(*files, asked=ASKED))
        asked.ask(f"job of {what}", "POST", "/v1/jobs", **form(*files, asked=ASKED))
        asked.ask(f"search of {what}", "POST", "/v1/similar-cases/of-study", **form(*files))
    # Requests that are none.
    for what, said in {
        "no JSON": f"{{{TEXT}", "a list": json.dumps([TEXT]), "unknown": json.dumps({"zqxv_770770770": TEXT}),
        "types": json.dumps({"seed": NUMBER, "view": NAME, "priors": TEXT, "preset": NAME, "temperature": NUMBER}),
        "empty prior": json.dumps({**ASKED, "priors": [" "]}), "long": json.dumps({"patient_key": NUMBER * 50}),
        "deep": "[" * 5000 + "zqxv", "refused by the language model": json.dumps({**ASKED, "seed": 13}),
        "late": json.dumps({**ASKED, "deadline_s": 1e-6}),
    }.items():  # fmt: skip
        for accept in ("application/json", "text/event-stream"):
            asked.ask(f"{what}, {accept}", "POST", "/v1/drafts", headers={"Accept": accept}, **form(study, asked=said))
    for what, sent in {
        "finding": {"findings": [TEXT]}, "anatomy": {"anatomy": TEXT[:150]}, "case": {"like": NUMBER},
        "age": {"text": "x", "age_bands": [NUMBER]}, "field": {NUMBER: NAME}, "leg": {"text": "x", "legs": [NAME]},
        "source": {"text": "effusion", "sources": [NAME], "licences": [NAME]}, "sex": {"text": "x", "sex": NAME},
        "contradiction": {"findings": ["left effusion", "no effusion", "zqxvoma"]},
    }.items():  # fmt: skip
        asked.ask(f"search: {what}", "POST", "/v1/similar-cases", json=sent)
    asked.ask("check: context", "POST", "/v1/checks", json={"report": TEXT, "context": {NAME: TEXT}})
    asked.ask("check: concept", "POST", "/v1/checks", json={"report": TEXT, "context": {"devices": [NAME, "ZQXV:1"]}})
    asked.ask("json: none", "POST", "/v1/checks", content=TEXT, headers={"Content-Type": "application/json"})
    asked.ask("json: kind", "POST", "/v1/checks", content=TEXT, headers={"Content-Type": f"text/{NAME}"})
    boundary = {"Content-Type": "multipart/form-data; boundary=zqxv770770770"}
    asked.ask("form: none", "POST", "/v1/drafts", content=TEXT, headers=boundary)
    asked.ask("form: cut", "POST", "/v1/drafts", content=f"--zqxv770770770\r\n{TEXT}", headers=boundary)
    # Ids, paths, methods, keys.
    for path in (
        f"/v1/cases/{NUMBER}", f"/v1/cases/{NUMBER}/images/0", f"/v1/cases/drawn-000005/images/{NUMBER}",
        f"/v1/jobs/{NUMBER}", f"/zqxv/{NUMBER}", f"/page/{NUMBER}", f"/v1/{NAME}", f"/v1/cases/x?patient={NUMBER}",
        f"/v1/cases/drawn-000005/images/0?bits={NAME}&longest={NUMBER}", f"/metrics/{NUMBER}",
    ):  # fmt: skip
        asked.ask(f"GET {path}", "GET", path)
        asked.ask(f"PUT {path}", "PUT", path, content=TEXT)
    for key in (NUMBER, f"prelim_{NAME}", ""):
        asked.ask("key", "GET", f"/v1/cases/{NUMBER}", key=key or "zqxv")
        asked.ask("key", "POST", "/v1/drafts", key=key or "zqxv", **form(study, asked=ASKED))
    asked.ask("basic", "GET", "/v1/cases/x", headers={"Authorization": f"Basic {NUMBER}"})
    for said in SCRIBBLED:
        try:
            status, body = raw(asked.client, said)
        except (OSError, HTTPException):  # it hangs up
            continue
        assert status >= 400
        asked.refused.append(("scribbled", status, body))
    # Jobs: one that goes well, one that fails, one that is cancelled, a key used twice.
    locations = []
    for number, content in enumerate([image, image[:3000], image]):
        headers = {"Idempotency-Key": f"zqxv-{NUMBER}-{number}"}
        job = asked.ask("submit", "POST", "/v1/jobs", headers=headers, **form(("images", NAME, content), asked=ASKED))
        locations.append(job.headers["location"])
    asked.ask("cancel", "DELETE", locations[2])
    asked.ask("key again", "POST", "/v1/jobs", headers=headers, **form(study, asked={"indication": NAME}))
    until = time.monotonic() + 60
    while {asked.ask("job", "GET", each).json()["state"] for each in locations} & {"queued", "running"}:
        assert time.monotonic() < until
        time.sleep(0.2)


def over_grpc(asked: Asked, channel: grpc.Channel) -> None:
    """The same over gRPC, where what is sent beside messages is metadata."""
    image = dicom(asked.folder)
    beside = [
        ("x-patient", NAME), ("x-zqxv", NUMBER), ("x-zqxv-bin", TEXT.encode()), ("baggage", f"patient={NUMBER}"),
        ("tracestate", f"zqxv={NUMBER}"), ("traceparent", f"00-{NUMBER}-zqxv-01"),
    ]  # fmt: skip
    study = {**ASKED, "images": [image]}

    def call(name: str, message: Any, key: str = "") -> None:
        metadata = (("authorization", f"Bearer {key or asked.key}"), *beside)
        try:
            called = method(channel, name)(message, metadata=metadata, timeout=60)
            said = str(called) if isinstance(called, Message) else "".join(map(str, called))
            asked.answered[f"gRPC {name}"] = said
        except grpc.RpcError as error:
            told: Any = error
            said = f'{told.details()} {told.trailing_metadata()} "code":"{told.code().name}"'
            asked.refused.append((f"gRPC {name}", 400, said))

    call("Drafts/Draft", v1.DraftRequest(**study))
    call("Drafts/StreamDraft", v1.DraftRequest(**study))
    call("Drafts/Draft", v1.DraftRequest(**{**study, "images": [image[:3000]]}))
    call("Drafts/Draft", v1.DraftRequest(**{**study, "view": NAME, "preset": NAME, "written_by": NUMBER}))
    call("Drafts/StreamDraft", v1.DraftRequest(**{**study, "images": [TEXT.encode()]}))
    call("Drafts/Draft", v1.DraftRequest(**study), key=NUMBER)
    call(
        "Drafts/Bulk",
        iter(
            [
                v1.BulkRequest(item="1", request=v1.DraftRequest(**study)),
                v1.BulkRequest(item="2", request=v1.DraftRequest(view=NAME, images=[image[:99]])),
            ]
        ),
    )
    call("Cases/Search", v1.SearchRequest(text=f"effusion {TEXT}", patient_key=NUMBER))
    call("Cases/Search", v1.SearchRequest(findings=[TEXT]))
    call("Cases/GetCase", v1.GetCaseRequest(case_id=NUMBER))
    call("Cases/GetImage", v1.GetImageRequest(case_id=NAME))
    for path in (f"/zqxv.{NUMBER}/Draft", "/prelim.v1.Drafts/Zqxv", "/prelim.v1.Drafts/Draft"):
        scribble = channel.unary_unary(path)
        with pytest.raises(grpc.RpcError) as refused:
            scribble(b"\xff" + TEXT.encode(), metadata=(("authorization", f"Bearer {asked.key}"), *beside), timeout=60)
        asked.refused.append((path, 400, str(refused.value)))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder, outside = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("files")
    secret, entry = new_key("ward-7", frozenset(SCOPES))
    (folder / "keys.json").write_text(json.dumps([entry.model_dump(mode="json")]))
    (folder / "images").mkdir()
    options = ["--keys", str(folder / "keys.json"), "--jobs", str(folder / "jobs.sqlite"), "--log", "json"]
    options += ["--images", str(collection() / "studies")]
    with collecting() as collector, serving(behaves) as model:
        options += ["--generator", "vllm-http", "--server", model.url, "--language-model", "tiny"]
        options += ["--grpc", "127.0.0.1:0"]
        with command(folder, *options, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as (process, address):
            with httpx.Client(base_url=address, timeout=60) as client:
                made = Asked(outside, client, collector, model, key=secret)
                everything(made)
                place = re.search(r"gRPC on ([\d.:]+\d)", (folder / "err").read_text())
                with grpc.insecure_channel(place[1] if place else "") as channel:
                    over_grpc(made, channel)
                made.metrics = client.get("/metrics", headers={"Authorization": f"Bearer {secret}"}).text
            assert ended(process) == 0
        made.folder = folder
        yield made


def test_no_line_holds_a_canary_and_every_request_has_its_line(asked: Asked) -> None:
    lines = (asked.folder / "err").read_text()
    assert not found(lines)
    for trace_id in asked.trace_ids:  # the search would find what is there
        assert lines.count(trace_id) >= 1
    said = [json.loads(line) for line in lines.splitlines()[1:]]
    assert {each["event"] for each in said} <= {"request", "draft", "library"}
    alone = [each.get("code", each.get("draft")) for each in said if each["event"] == "draft"]  # the jobs' own
    assert {"drafted", "UNREADABLE_IMAGE"} <= {*alone}
    assert {each["face"] for each in said if each["event"] == "request"} == {"http", "grpc"}
    assert {each["route"] for each in said if each["event"] == "request"} >= {"unknown", "/v1/cases/{case_id}"}


def test_no_figure_and_no_span_holds_a_canary(asked: Asked) -> None:
    assert not found(asked.metrics)
    assert 'prelim_drafts_total{fallback="",reason="UNREADABLE_IMAGE",status="failed"}' in asked.metrics
    sent = b"".join(asked.collector.bodies)
    assert not found(sent)
    known = {span.trace_id.hex() for span in asked.collector.spans()}
    assert known >= set(asked.trace_ids)
    assert not any(span.events for span in asked.collector.spans())


def test_no_error_repeats_a_canary(asked: Asked) -> None:
    assert not [(what, found(said)) for what, _, said in asked.refused if found(said)]
    assert len(asked.refused) > 90
    assert len([what for what, _, _ in asked.refused if "Drafts" in what or "Cases" in what]) >= 8
    codes = {code for _, _, said in asked.refused for code in re.findall(r'"code":"(\w+)"', said)}
    assert codes >= {
        "UNREADABLE_IMAGE", "UNSUPPORTED_IMAGE", "INVALID_STUDY", "INVALID_REQUEST", "REQUEST", "UNKNOWN_CASE",
        "UNKNOWN_JOB", "NOT_FOUND", "METHOD_NOT_ALLOWED", "UNAUTHENTICATED", "UNSUPPORTED_MEDIA", "MALFORMED",
        "KEY_REUSED", "DEADLINE_EXCEEDED", "INVALID_PROMPT",
    }  # fmt: skip


def test_no_answer_repeats_a_canary(asked: Asked) -> None:
    assert not {what: found(said) for what, said in asked.answered.items() if found(said)}
    assert '"text":"There is a left pleural effusion."' in asked.answered["draft"]
    for name in ("Drafts/Draft", "Drafts/StreamDraft", "Drafts/Bulk"):
        assert "There is a left pleural effusion." in asked.answered[f"gRPC {name}"]


def test_the_language_model_was_shown_what_it_has_to_know_and_no_header(asked: Asked) -> None:
    prompts = [json.dumps(body) for _, _, body, _ in asked.model.seen]
    assert any("zqxvoma" in prompt for prompt in prompts)  # the control: the canaries went all the way
    assert not any("Zqxv Clinic" in prompt or "ZQXV VENDOR" in prompt for prompt in prompts)
    assert not [found(json.dumps(headers)) for _, headers, _, _ in asked.model.seen if found(json.dumps(headers))]


def test_nothing_is_left_on_disk_of_jobs_that_have_ended_but_their_drafts(asked: Asked) -> None:
    assert not found_below(asked.folder)
    database = b"".join(file.read_bytes() for file in asked.folder.glob("jobs.sqlite*") if file.is_file())
    assert b"There is a left pleural effusion." in database  # the draft stays for a day, to be fetched
    assert not [*asked.folder.glob("prelim-uploads-*/*")]
    assert not [*(asked.folder / "jobs.sqlite.images").iterdir()]


def test_bulk_says_nothing_of_its_studies_and_writes_of_them_their_names_and_drafts_alone(tmp_path: Path) -> None:
    studies, out = tmp_path / "studies", tmp_path / "out" / "drafts.jsonl"
    studies.mkdir()
    out.parent.mkdir()
    (studies / "a.dcm").write_bytes(dicom(tmp_path))
    for name in ("zqxv.txt", "beside.txt"):
        (studies / name).write_text(TEXT)
    (studies / "plain.png").write_bytes(unseen()[0][1][1])
    lines: list[Any] = [
        {"study": "well", "images": ["a.dcm"], "request": ASKED},
        {"study": "mixed", "images": ["a.dcm", "beside.txt"], "request": ASKED},
        {"study": "unreadable", "images": ["zqxv.txt"], "request": ASKED},
        {"study": "missing", "images": ["Zqxvhart_770770770.dcm"], "request": ASKED},
        {"study": "empty prior", "images": ["plain.png"], "request": {**ASKED, "priors": [""]}},
        {"study": "late", "images": ["plain.png"], "request": {**ASKED, "deadline_s": 1e-6}},
        {"study": "odd", "images": ["a.dcm"], "request": {**ASKED, "zqxv": TEXT}},
        {"study": "odder", "images": ["a.dcm"], NUMBER: NAME, "request": {"view": NAME}},
        [NAME], NAME, {"study": "", "images": []},
    ]  # fmt: skip
    manifest = studies / "manifest.jsonl"
    manifest.write_text("\n".join([*map(json.dumps, lines), f"{{{TEXT}", "[" * 3000 + NAME]))
    ran = subprocess.run(
        [sys.executable, "-m", "service", "bulk", str(manifest), "--out", str(out),
         "--index", str(collection() / "index")],
        capture_output=True, check=False, text=True, cwd=Path(__file__).parent.parent, timeout=120,
        env={**os.environ, "TMPDIR": str(out.parent)},
    )  # fmt: skip
    assert ran.returncode == 75, ran.stderr  # one was late, and one was not there
    assert not found(ran.stderr)
    assert not found(ran.stdout)
    assert "DEADLINE_EXCEEDED" in ran.stdout
    assert not found_below(out.parent)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    assert {each["study"] for each in written} == {
        "well", "mixed", "unreadable", "empty prior", *(f"line {n}" for n in range(7, 14)),
    }  # fmt: skip
