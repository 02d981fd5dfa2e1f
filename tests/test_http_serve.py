"""`prelim serve` and `prelim key` as processes: what they print, what they refuse, and how they end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import create_connection, create_server

import httpx
import pytest

from service.__main__ import main as prelim
from service.keys import Key
from tests.http_serving import collection, served, unseen


@contextmanager
def command(folder: Path, *more: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """The command, and the address that it says it serves at; what it prints goes to `folder/err`."""
    index = str(collection() / "index")
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--index", index, "--port", "0", *more],
            stdout=err, stderr=err, text=True, cwd=Path(__file__).parent.parent,
            env={**os.environ, "TMPDIR": str(folder)},
        )  # fmt: skip
    try:
        until = time.monotonic() + 120
        while not (said := re.search(r"serving on (\S+)", (folder / "err").read_text())):
            assert process.poll() is None, (folder / "err").read_text()
            assert time.monotonic() < until
            time.sleep(0.05)
        yield process, said[1]
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_command_serves_from_the_first_request_says_nothing_of_what_was_sent_and_ends_in_order(
    tmp_path: Path, how: signal.Signals
) -> None:
    with command(tmp_path, "--jobs", str(tmp_path / "jobs.sqlite")) as (process, address):
        with httpx.Client(base_url=address, timeout=60) as client:
            assert client.post("/v1/drafts", files=unseen()).json()["status"] == "drafted"
            assert client.get("/v1/cases/CANARY", params={"CANARY": "CANARY"}).status_code == 404
            assert client.get("/CANARY", headers={"X": "CANARY"}).status_code == 404
            job = client.post("/v1/jobs", files=unseen())
        assert job.status_code == 202
        process.send_signal(how)
        assert process.wait(40) == 0
    said = (tmp_path / "err").read_text()
    assert "CANARY" not in said
    first, *lines = said.splitlines()
    assert "serving on" in first
    assert sum(" info request " in line for line in lines) == 4
    assert not [line for line in lines if not re.search(" info (request|draft) ", line)]
    assert not [*tmp_path.glob("prelim-uploads-*/*")]
    # The job is there still, and the next process makes it.
    with command(tmp_path, "--jobs", str(tmp_path / "jobs.sqlite")) as (_, address):
        until = time.monotonic() + 60
        while httpx.get(address + job.headers["location"], timeout=60).json()["state"] != "succeeded":
            assert time.monotonic() < until
            time.sleep(0.1)


def test_another_address_than_this_machine_s_needs_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("0.0.0.0", "::", "prelim.example"):
        assert prelim(["serve", "--host", host, "--index", "nowhere"]) == 65
        assert "no keys are asked for" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--preset", "plain"], "--preset is for a language model"),
        (["--jobs", "postgresql://somewhere/jobs"], "name one with --spool"),
        (["--images", "/nowhere"], "folder of images is not there"),
        (["--keys", "/nowhere"], "is not a file of API keys"),
        (["--port", "TAKEN"], "cannot listen"),
        ([], "NO_INDEX"),
    ],
)
def test_what_cannot_be_served_is_said_at_once(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        more = [each.replace("TAKEN", str(taken.getsockname()[1])) for each in more]
        assert prelim(["serve", "--index", str(tmp_path / "none"), "--port", "0", *more]) == 65
    assert said in capsys.readouterr().err


def test_a_key_is_shown_once_and_its_entry_does_not_hold_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prelim(["key", "ward-7", "--scope", "draft"]) == 0
    out, err = capsys.readouterr()
    entry = Key.model_validate_json(out)
    assert (entry.name, entry.scopes) == ("ward-7", frozenset(["draft"]))
    secret = err.split()[-1]
    assert secret.startswith("prelim_")
    assert secret not in out
    assert prelim(["key", "Frau Muster"]) == 65
    for wrong in ("[]", "{}", json.dumps([json.loads(out)] * 2), '[{"name": "x"}]'):
        (tmp_path / "keys.json").write_text(wrong)
        arguments = ["serve", "--keys", str(tmp_path / "keys.json"), "--index", "nowhere", "--port", "0"]
        assert prelim(arguments) == 65


def test_a_head_that_does_not_end_is_refused_before_it_fills_the_memory() -> None:
    with served() as (client, _), create_connection((client.base_url.host, client.base_url.port or 80)) as connection:
        assert client.get("/nothing", headers={"X-Long": "x" * 60 * 1024}).status_code == 404
        connection.settimeout(10)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Endless: ")
        with suppress(OSError):
            for _ in range(40):
                connection.sendall(b"x" * 64 * 1024)
        with suppress(ConnectionResetError):
            assert connection.recv(64).startswith(b"HTTP/1.1 400")
