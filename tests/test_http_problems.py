"""Refusals over HTTP: each is a whole problem with a stable code, and none repeats what was sent."""

import json
import logging
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.front import Front
from service.keys import SCOPES, new_key
from tests.dicom_files import dataset, ramp, save
from tests.http_serving import problem, raw, served, unseen

Served = tuple[httpx.Client, Front]
CANARY = "CANARY7KQ9"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(jobs=str(tmp_path_factory.mktemp("jobs") / "jobs.sqlite")) as both:
        yield both


@pytest.fixture(scope="module")
def client(service: Served) -> httpx.Client:
    return service[0]


def test_what_is_not_here_and_methods_that_are_not_offered(client: httpx.Client) -> None:
    for path in ("/v1", "/v2/drafts", "/docs", "/redoc", "/v1/cases"):
        problem(client.get(path), 404, "NOT_FOUND")
    answer = client.get("/v1/drafts")
    problem(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"
    problem(client.request("TRACE", "/v1/capabilities"), 405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize(
    ("path", "content", "kind", "status", "code"),
    [
        ("/v1/drafts", b"{}", "application/json", 415, "UNSUPPORTED_MEDIA"),
        ("/v1/drafts", b"images=1", "application/x-www-form-urlencoded", 415, "UNSUPPORTED_MEDIA"),
        ("/v1/drafts", b"", "", 415, "UNSUPPORTED_MEDIA"),
        ("/v1/checks", b"report", "text/plain", 415, "UNSUPPORTED_MEDIA"),
        ("/v1/checks", b"<report/>", "application/xml", 415, "UNSUPPORTED_MEDIA"),
        ("/v1/checks", b"{", "application/json", 422, "INVALID_REQUEST"),
        ("/v1/checks", b"[" * 100_000, "application/json", 400, "MALFORMED"),
        ("/v1/checks", b"\xff\xfe", "application/json", 422, "INVALID_REQUEST"),
        ("/v1/checks", b'{"report": "\xff"}', "application/json", 400, "MALFORMED"),
        ("/v1/checks", b"[1]", "application/json", 422, "INVALID_REQUEST"),
        ("/v1/checks", b"", "application/json", 422, "INVALID_REQUEST"),
        ("/v1/drafts", b"garbage", "multipart/form-data; boundary=x", 400, "MALFORMED"),
        ("/v1/drafts", b"garbage", "multipart/form-data", 400, "MALFORMED"),
        ("/v1/drafts", b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\nabc',
         "multipart/form-data; boundary=x", 400, "MALFORMED"),
        ("/v1/drafts", b"--x--\r\n", "multipart/form-data; boundary=x", 422, "INVALID_REQUEST"),
    ],
)  # fmt: skip
def test_bodies_that_cannot_be_read(
    client: httpx.Client, path: str, content: bytes, kind: str, status: int, code: str
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    problem(client.post(path, content=content, headers=headers), status, code)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ("no json", "body.request"),
        ('{"seed": -1}', "body.request.seed"),
        ('{"seed": "x"}', "body.request.seed"),
        ('{"priors": ["a", "b", 3]}', "body.request.priors.2"),
        ('{"secret": 1}', "body.request.(unknown)"),
        ('{"view": "SIDEWAYS"}', "body.request.view"),
        ('{"temperature": NaN}', "body.request.temperature"),
        ("[]", "body.request"),
    ],
)
def test_a_wrong_request_is_told_field_by_field(client: httpx.Client, asked: str, field: str) -> None:
    told = problem(client.post("/v1/drafts", files=unseen(), data={"request": asked}), 422, "INVALID_REQUEST")
    assert [each["field"] for each in told["errors"]] == [field]


def test_too_much_is_refused_by_what_it_says_and_by_what_it_is(client: httpx.Client) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(6):
            yield b" " * 2**20

    headers = {"Content-Type": "application/json"}
    problem(client.post("/v1/checks", content=b" " * (5 * 2**20), headers=headers), 413, "TOO_LARGE")
    problem(client.post("/v1/checks", content=endless(), headers=headers), 413, "TOO_LARGE")
    said = b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 1000000000000"
    status, text = raw(client, b"POST /v1/drafts HTTP/1.1\r\nHost: localhost\r\n" + said + b"\r\n\r\n")
    assert (status, json.loads(text)["code"]) == (413, "TOO_LARGE")
    many = [("images", (f"{n}", b"x")) for n in range(65)]
    problem(client.post("/v1/drafts", files=many), 422, "INVALID_STUDY")
    problem(client.post("/v1/drafts", files=[*many, many[0]]), 400, "MALFORMED")


def test_files_that_are_no_images_are_refused_by_name(client: httpx.Client) -> None:
    for content, status, code in (
        (b"", 422, "UNREADABLE_IMAGE"),
        (b"text", 422, "UNREADABLE_IMAGE"),
        (b"PK\x03\x04" + bytes(100), 415, "UNSUPPORTED_IMAGE"),
        (b"\x1f\x8b" + bytes(100), 415, "UNSUPPORTED_IMAGE"),
    ):
        for path, part in (("/v1/drafts", "images"), ("/v1/similar-cases/of-study", "images"), ("/v1/images", "image")):
            problem(client.post(path, files={part: ("../../etc/passwd", content)}), status, code)


@pytest.fixture
def full() -> Iterator[None]:
    """A disk that takes no file of more than 64 KB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [2**17, 2**21], ids=["while it is copied", "while the form comes in"])
def test_a_disk_that_is_full_is_told_as_such_wherever_it_fills(client: httpx.Client, full: None, size: int) -> None:
    for path, part in (("/v1/drafts", "images"), ("/v1/similar-cases/of-study", "images"), ("/v1/images", "image")):
        problem(client.post(path, files={part: ("a", bytes(size))}), 507, "STORE_FULL")


def test_a_disk_that_takes_no_folder_is_told_as_full(service: Served, tmp_path: Path) -> None:
    client, front = service
    spool = front.kept_jobs.spool
    away = spool.rename(tmp_path / "away")
    try:
        problem(client.post("/v1/jobs", files=unseen()), 507, "STORE_FULL")
    finally:
        away.rename(spool)


def canaries(tmp_path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests with the canary in every place there is, most of them refused somewhere."""
    text = {keyword: CANARY for keyword in (
        "PatientName", "PatientID", "AccessionNumber", "ReferringPhysicianName", "InstitutionName",
        "StudyDescription", "SeriesDescription", "ProtocolName", "ImageComments", "PatientComments",
    )}  # fmt: skip
    good = save(tmp_path / "good.dcm", dataset(ramp(12, 64, 64), 12, **text)).read_bytes()
    odd = save(
        tmp_path / "odd.dcm", dataset(ramp(12), 12, **{**text, "PhotometricInterpretation": CANARY[:16]})
    ).read_bytes()
    header = {
        "X-Request-Id": CANARY,
        "User-Agent": CANARY,
        "Cookie": f"a={CANARY}",
        "Authorization": f"Bearer {CANARY}",
    }
    for content in (good, odd, good[:-300], CANARY.encode(), good + CANARY.encode()):
        name = f"../{CANARY}/../{CANARY}.dcm"
        for asked in ({"indication": CANARY, "priors": [CANARY], "patient_key": CANARY}, {CANARY: CANARY},
                      {"view": CANARY}, {"preset": CANARY}, {"preset": "vcd", "indication": CANARY}):  # fmt: skip
            form = {"files": {"images": (name, content)}, "data": {"request": json.dumps(asked), CANARY: CANARY}}
            yield "POST", "/v1/drafts", {**form, "headers": {**header, "Accept": "text/event-stream"}}
            yield "POST", "/v1/drafts", {**form, "headers": header}
        yield "POST", "/v1/jobs", {**form, "headers": {**header, "Idempotency-Key": CANARY}}
        yield "POST", "/v1/similar-cases/of-study", {**form, "headers": header}
        yield "POST", "/v1/images", {"files": {"image": (name, content)}, "headers": header}
    for search in ({"text": CANARY}, {"findings": [CANARY]}, {"findings": ["effusion", "no effusion", CANARY]},
                   {"anatomy": CANARY, "text": "effusion"}, {"like": CANARY}, {"age_bands": [CANARY], "text": "a"},
                   {"legs": [CANARY]}, {CANARY: 1},
                   {"text": "effusion", "sources": [CANARY]}, {"sex": CANARY}):  # fmt: skip
        yield "POST", "/v1/similar-cases", {"json": search, "headers": header}
    for check in ({"report": f"{CANARY} {CANARY}."}, {"report": 5, "context": {CANARY: CANARY}},
                  {"report": "Clear.", "context": {"supports": {CANARY: [CANARY]}, "devices": [CANARY]}},
                  {"report": "Clear.", "context": {"experts": {"expert": CANARY, "scores": [
                      {"concept": CANARY, "probability": .5, "absent_below": .9, "present_above": .1}]}}}):  # fmt: skip
        yield "POST", "/v1/checks", {"json": check, "headers": header}
    yield "POST", "/v1/checks", {"content": f'{{"report": "{CANARY}'.encode(), "headers": header}
    for path in (f"/v1/cases/{CANARY}", f"/v1/cases/{CANARY}/images/0", f"/v1/cases/drawn-000005/images/{CANARY}",
                 f"/v1/jobs/{CANARY}", f"/{CANARY}", f"/v1/capabilities?{CANARY}={CANARY}",
                 f"/v1/cases/drawn-000005/images/0?longest={CANARY}&bits={CANARY}"):  # fmt: skip
        yield "GET", path, {"headers": header}
        yield "DELETE", path, {"headers": header}
        yield "PATCH", path, {"headers": header}


def test_nothing_that_was_sent_is_in_a_problem_a_metric_or_a_log(
    service: Served, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    client, _ = service
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="uvicorn.error")
    # Of the server's own log too. Its list of requests is switched off, and this test's handlers would switch it on
    # again: that nothing is printed in truth shows in test_http_serve.
    refused = answered = 0
    for method, path, request in canaries(tmp_path):
        caplog.clear()
        told = client.request(method, path, **request)
        ours = [record for record in caplog.records if record.name.split(".")[0] not in ("httpx", "httpcore")]
        ours = [record for record in ours if record.name != "uvicorn.access"]
        assert CANARY not in "\n".join(record.getMessage() + str(record.exc_info) for record in ours).lower()
        assert told.status_code < 500, (method, path, told.text)
        if told.status_code >= 400:
            refused += 1
            assert CANARY.lower() not in told.text.lower(), (method, path, told.text)
            problem(told, told.status_code, told.json()["code"])
        else:
            answered += 1
        assert CANARY.lower() not in str(told.headers).lower()
    assert refused > 50
    assert answered > 3
    assert CANARY.lower() not in client.get("/metrics").text.lower()
    assert CANARY.lower() not in "".join(capfd.readouterr()).lower()


def test_an_error_that_nobody_foresaw_is_told_and_logged_without_its_text(
    service: Served, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, front = service

    def broken(*_: object) -> None:
        raise KeyError(CANARY)

    monkeypatch.setattr(type(front.desk.retriever), "case", broken)
    told = problem(client.get("/v1/cases/x"), 500, "UNFORESEEN")
    assert CANARY not in json.dumps(told)
    assert CANARY not in caplog.text
    assert told["trace_id"] in caplog.text
    assert "KeyError" in caplog.text


def test_only_a_known_key_with_the_scope_is_let_in_before_anything_is_read(tmp_path: Path) -> None:
    secrets, entries = {}, []
    for scope in SCOPES:
        secrets[scope], entry = new_key(f"only-{scope}", frozenset([scope]))
        entries.append(entry.model_dump(mode="json"))
    (tmp_path / "keys.json").write_text(json.dumps(entries))
    asks = {
        "draft": ("POST", "/v1/drafts"), "search": ("POST", "/v1/similar-cases"), "cases": ("GET", "/v1/cases/x"),
        "check": ("POST", "/v1/checks"), "jobs": ("GET", "/v1/jobs/x"),
    }  # fmt: skip
    with served(keys=tmp_path / "keys.json", jobs=str(tmp_path / "jobs.sqlite")) as (client, _):
        for scope, (method, path) in asks.items():
            for header in ({}, {"Authorization": "Bearer prelim_x"}, {"Authorization": f"Basic {secrets[scope]}"},
                           {"Authorization": f"Bearer {secrets[scope]}x"}):  # fmt: skip
                answer = client.request(method, path, headers=header)
                problem(answer, 401, "UNAUTHENTICATED")
                assert answer.headers["www-authenticate"] == "Bearer"
            for other in SCOPES:
                answer = client.request(method, path, headers={"Authorization": f"Bearer {secrets[other]}"})
                if other == scope:
                    assert answer.status_code in (404, 415)
                else:
                    problem(answer, 403, "FORBIDDEN")
        assert client.get("/v1/capabilities").status_code == 200
        # With keys the service may be reached by any name.
        assert client.get("/v1/capabilities", headers={"Host": "prelim.example"}).status_code == 200


def test_without_keys_a_page_from_elsewhere_cannot_ask_through_a_browser(client: httpx.Client) -> None:
    problem(client.get("/v1/capabilities", headers={"Host": "evil.example"}), 421, "MISDIRECTED")
    problem(client.get("/v1/capabilities", headers={"Origin": "https://evil.example"}), 403, "FORBIDDEN")
    problem(client.get("/v1/capabilities", headers={"Origin": "null"}), 403, "FORBIDDEN")
    here = str(client.base_url).rstrip("/")
    assert client.get("/v1/capabilities", headers={"Origin": here}).status_code == 200
    assert client.get("/v1/capabilities", headers={"Host": f"localhost:{client.base_url.port}"}).status_code == 200
