"""The HTTP face as a running server on a socket that somebody else has opened."""

import math
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.front import Front
from service.http.app import create_app

LONGEST_HEAD: Final = 64 * 1024
"""Bytes."""


def http_server(app: FastAPI) -> "_Server":
    """The server that runs the application: quiet, since its lines hold paths, and paths hold ids of cases."""
    return _Server(
        uvicorn.Config(
            app,
            log_level="warning",
            log_config=None,  # its lines go where all others go
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=30,
            http=_BoundedHead,
        )
    )


class _BoundedHead(HttpToolsProtocol):
    """httptools keeps a request's head without a bound; the other choice, h11, fails where an answer comes early."""

    _head: float = 0
    """Bytes of a head that is not whole."""

    def data_received(self, data: bytes) -> None:
        """What a connection brings; a head that does not end is answered with 400."""
        self._head += len(data)
        super().data_received(data)
        if self._head > LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def on_headers_complete(self) -> None:
        """From here on it is the body."""
        self._head = -math.inf
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The next request's head begins."""
        self._head = 0
        super().on_message_complete()


class _Server(uvicorn.Server):
    """Says that the end has begun before it begins."""

    ending: Callable[[], None] = staticmethod(lambda: None)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to end."""
        self.ending()
        super().handle_exit(sig, frame)


def run(front: Front, listening: socket.socket, *, ending: Callable[[], None] | None = None) -> None:
    """Serve until interrupted or told to end; then what was begun is ended in order.

    `ending` is called first, in the signal's handler.
    """
    server = http_server(create_app(front))
    if ending is not None:
        server.ending = ending
    # The server hands the signal on once it has ended, and then it must not end this process before jobs are given
    # back and files are gone.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with suppress(KeyboardInterrupt):
            server.run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
