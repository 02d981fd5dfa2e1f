"""The HTTP face really served, on loopback, over an index of drawn studies: what every test of a face begins with."""

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cache
from http.client import HTTPResponse
from pathlib import Path
from socket import SHUT_WR, create_connection, create_server
from threading import Thread
from typing import Any

import httpx
import pytest
from pydicom.uid import ExplicitVRLittleEndian

from evaluation.drawings import draw, write_studies
from generation.draft import Draft
from generation.drafter import Drafter
from indexing.__main__ import main as prelim_index
from service.front import Front
from service.http.app import create_app
from service.http.running import http_server
from service.wiring import open_front
from tests.dicom_files import dataset, save

STUDIES = 60
_KEPT: list["tempfile.TemporaryDirectory[str]"] = []


@cache
def collection() -> Path:
    """A folder with drawn studies (`studies`), their index (`index`) and an unseen study (`unseen.png`, `.dcm`)."""
    kept = tempfile.TemporaryDirectory(prefix="prelim-served-")
    _KEPT.append(kept)
    folder = Path(kept.name)
    write_studies(folder / "studies", STUDIES)
    write_studies(folder / "drawn", 1, seed=9105)
    (folder / "drawn/images/009105.png").rename(folder / "unseen.png")
    grey = draw(9105).frontal
    save(folder / "unseen.dcm", dataset(grey, ViewPosition="PA", BodyPartExamined="CHEST"), ExplicitVRLittleEndian)
    assert prelim_index(["build", str(folder / "studies/manifest.jsonl"), "--index", str(folder / "index")]) == 0
    return folder


@contextmanager
def serving(front: Front) -> Iterator[str]:
    """The face in a thread of its own; gives its address."""
    with closing(create_server(("127.0.0.1", 0))) as socket:
        server = http_server(create_app(front))
        thread = Thread(target=lambda: server.run(sockets=[socket]), daemon=True)
        thread.start()
        try:
            address = f"http://127.0.0.1:{socket.getsockname()[1]}"
            httpx.get(f"{address}/health/live", timeout=30).raise_for_status()
            yield address
        finally:
            server.should_exit = True
            thread.join(30)


@contextmanager
def served(**options: Any) -> Iterator[tuple[httpx.Client, Front]]:
    """A client of a service with these options of `open_front`, and what it stands before."""
    folder = collection()
    with (
        open_front(str(folder / "index"), **{"images": folder / "studies", **options}) as front,
        serving(front) as address,
        httpx.Client(base_url=address, timeout=60) as client,
    ):
        yield client, front


def unseen(kind: str = "png") -> list[tuple[str, tuple[str, bytes]]]:
    """The unseen study as parts of a form."""
    return [("images", (f"study.{kind}", (collection() / f"unseen.{kind}").read_bytes()))]


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """What a refusal says; it must be a whole problem with that status and code."""
    told: dict[str, Any] = answer.json()
    assert (answer.status_code, told["code"]) == (status, code), told
    assert answer.headers["content-type"] == "application/problem+json"
    assert told["status"] == status
    assert told["type"] == f"urn:prelim:error:{code.lower().replace('_', '-')}"
    assert told["trace_id"] == answer.headers["x-trace-id"]
    assert told["title"]
    assert told["detail"]
    return told


def raw(client: httpx.Client, request: bytes) -> tuple[int, str]:
    """Send bytes that no client of good manners would, and nothing after them; status and body of the answer."""
    with create_connection(("127.0.0.1", client.base_url.port or 80), timeout=10) as connection:
        connection.sendall(request)
        connection.shutdown(SHUT_WR)
        answer = HTTPResponse(connection)
        answer.begin()
        return answer.status, answer.read().decode()


def awaited_drafts(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Grows by one for each draft from here on: whether the drafter is told that somebody waits for it."""
    told: list[bool] = []
    drafted = Drafter.draft

    def heard(drafter: Drafter, read: Any, tell: Any = None, halt: Any = None) -> Draft:
        told.append(halt.awaited)
        return drafted(drafter, read, tell, halt)

    monkeypatch.setattr(Drafter, "draft", heard)
    return told
