"""`prelim serve` as users start it, with what can be seen of it from outside: its lines, its figures, its traces."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.parser import text_string_to_metric_families

from tests.http_serving import collection
from tests.misbehaving_server import Body, Handler

WRITTEN = ("FINDINGS: ", "There is a left ", "pleural effusion. ", "The heart is ", "normal in size.")
"""What the language model of `writes` says, in tokens."""


class Collector(ThreadingHTTPServer):
    """A collector of OTLP over HTTP on loopback that keeps what it is sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Collect)
        self.bodies: list[bytes] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def spans(self) -> list[Span]:
        """Every span received."""
        return [
            span
            for body in self.bodies
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def spans_of(self, trace_id: str) -> dict[str, Span]:
        """The spans of one trace by name; a trace in which a name comes twice has the last one."""
        return {span.name: span for span in self.spans() if span.trace_id.hex() == trace_id}


class _Collect(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        assert self.path == "/v1/traces"
        assert self.headers["content-type"] == "application/x-protobuf"
        self.server.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@contextmanager
def collecting() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def writes(handler: Handler, _: Body) -> None:
    """A server of a language model that sees an effusion."""
    chat = handler.path.endswith("chat/completions")
    handler.begin()
    for token, text in enumerate(WRITTEN, 1):
        end = {"finish_reason": "stop"} if token == len(WRITTEN) else {}
        handler.say(handler.piece(token, **({"delta": {"content": text}} if chat else {"text": text}), **end))
    handler.say({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": len(WRITTEN)}})
    handler.say(b"[DONE]")


@contextmanager
def command(folder: Path, *more: str, **settings: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """`prelim serve` and its address; what it prints goes to `folder/err`, its temporary files below `folder`."""
    index = str(collection() / "index")
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--index", index, "--port", "0", *more],
            stdout=err, stderr=err, text=True, cwd=Path(__file__).parent.parent,
            env={**os.environ, "TMPDIR": str(folder), **settings},
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


def ended(process: "subprocess.Popen[str]") -> int:
    """Tell the command to end; its exit status."""
    process.terminate()
    return process.wait(40)


def facts(span: Span) -> dict[str, Any]:
    """A span's attributes."""
    return {each.key: getattr(each.value, str(each.value.WhichOneof("value"))) for each in span.attributes}


Figures = Mapping[tuple[str, frozenset[tuple[str, str]]], float]


def figures(exposition: str) -> Figures:
    """Every sample of `/metrics` by name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def figure(of: Figures, name: str, **labels: str) -> float:
    """One sample; 0 where it is not there yet."""
    return of.get((name, frozenset(labels.items())), 0.0)
