"""A small real HTTP server that answers as a test tells it: correctly, or in one of the ways in which servers fail.

It speaks the stream of an OpenAI-compatible server with vLLM's token ids, over real sockets on 127.0.0.1, and writes
the tokens 1, 2, 3, ... as "a1 a2 a3 ...".
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from generation.vllm.group import member_in

Body = dict[str, Any]
Behaviour = Callable[["Handler", Body], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "MisbehavingServer"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        member = member_in(body.get("vllm_xargs"))
        with self.server.lock:
            self.server.seen.append(
                (self.path, {name.lower(): value for name, value in self.headers.items()}, body, member)
            )
            self.server.open += 1
        try:
            self.server.behaviour(self, body)
        except (BrokenPipeError, ConnectionResetError):
            self.server.hung_up.append(time.monotonic())
        finally:
            with self.server.lock:
                self.server.open -= 1
        self.close_connection = True

    def refuse(self, status: int, body: bytes = b"{}", **headers: str) -> None:
        self.send_response(status)
        # As it is closed behind every answer, it is said so; else the next request may be sent into the closing door.
        for name, value in {"content-length": str(len(body)), "connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def begin(self, kind: str = "text/event-stream") -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("connection", "close")
        self.end_headers()

    def say(self, event: object) -> None:
        self.raw(b"data: " + (event if isinstance(event, bytes) else json.dumps(event).encode()) + b"\n\n")

    def raw(self, said: bytes) -> None:
        self.wfile.write(said)
        self.wfile.flush()

    def piece(self, token: int, **more: object) -> Body:
        place = (
            {"delta": {"content": f"a{token} "}} if self.path.endswith("chat/completions") else {"text": f"a{token} "}
        )
        return {"choices": [{"index": 0, "token_ids": [token], "finish_reason": None, **place, **more}]}

    def write(
        self, tokens: int, *, pause: float = 0.0, finish: str = "length", done: bool = True, **more: object
    ) -> None:
        """A whole answer, as a good server gives it."""
        self.begin()
        for token in range(1, tokens + 1):
            last = token == tokens
            self.say(self.piece(token, **({"finish_reason": finish, **more} if last else {})))
            time.sleep(pause)
        self.say({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}})
        if done:
            self.say(b"[DONE]")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


class MisbehavingServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviour = behaviour
        self.lock = threading.Lock()
        self.seen: list[tuple[str, dict[str, str], Body, Any]] = []
        self.open = 0
        self.hung_up: list[float] = []
        """When a client was found to have gone while it was written to."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def groups(self) -> list[str]:
        """The groups whose members have come, in order."""
        return list(dict.fromkeys(member.group for *_, member in self.seen if member is not None))

    def handle_error(self, request: object, client_address: object) -> None:
        """A connection that the client closed is no error here."""


@contextmanager
def serving(behaviour: Behaviour) -> Iterator[MisbehavingServer]:
    server = MisbehavingServer(behaviour)
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.02), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def good(tokens: int = 4, *, pause: float = 0.0) -> Behaviour:
    return lambda handler, body: handler.write(min(tokens, body["max_tokens"]), pause=pause)
