"""`prelim serve --grpc` as a process: where it may listen, what it prints, and how it ends."""

import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.__main__ import main as prelim
from service.client.grpc import GrpcClient
from service.grpc import prelim_v1_pb2 as v1
from tests.grpc_serving import image, method
from tests.test_http_serve import command

Status = health_pb2.HealthCheckResponse


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_command_says_that_it_ends_lets_what_was_begun_end_and_prints_nothing_of_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    with command(tmp_path, "--grpc", "0", "--log", "none") as (process, _):
        said = re.search(r"gRPC on (127\.0\.0\.1:\d+)", (tmp_path / "err").read_text())
        assert said
        with grpc.insecure_channel(said[1]) as channel, GrpcClient(said[1]) as client:
            assert client.draft([image()]).status == "drafted"
            told = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="prelim.v1.Drafts"))
            assert next(told).status == Status.SERVING
            ending = threading.Event()

            def slowly() -> Iterator[v1.BulkRequest]:  # a stream that is still being sent when the end begins
                for n in range(4):
                    yield v1.BulkRequest(item=str(n), request=v1.DraftRequest(images=[image()]))
                    ending.wait(20)
                    time.sleep(0.1)

            replies = method(channel, "Drafts/Bulk")(slowly())
            outcomes = [next(replies)]
            process.send_signal(how)
            assert next(told).status == Status.NOT_SERVING
            ending.set()
            outcomes += replies
            assert sorted((reply.item, reply.WhichOneof("outcome")) for reply in outcomes) == [
                (str(n), "draft") for n in range(4)
            ]
        assert process.wait(40) == 0
    assert (tmp_path / "err").read_text().count("\n") == 1
    assert not [*tmp_path.glob("prelim-uploads-*/*")]


def test_another_address_than_this_machine_s_needs_keys(capsys: pytest.CaptureFixture[str]) -> None:
    for address in ("0.0.0.0:8471", "[::]:8471", "prelim.example:8471"):
        assert prelim(["serve", "--grpc", address, "--port", "0", "--index", "nowhere"]) == 65
        assert "no keys are asked for" in capsys.readouterr().err


def test_an_address_that_is_taken_is_told_at_once_in_one_line(tmp_path: Path) -> None:
    with create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, "-m", "service", "serve", "--grpc", address, "--port", "0", "--index", str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent.parent)
    assert ended.returncode == 65
    assert ended.stderr.count("\n") == 1
    assert "for gRPC" in ended.stderr


@pytest.mark.parametrize("wrong", ["127.0.0.1", "127.0.0.1:", "127.0.0.1:99999", "x:y"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(SystemExit):
        prelim(["serve", "--grpc", wrong, "--index", "nowhere"])
