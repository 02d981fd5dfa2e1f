"""The HTTP face as a running server on a socket that somebody else has opened."""

import signal
import socket
from contextlib import suppress

import uvicorn
from fastapi import FastAPI

from service.front import Front
from service.http.app import create_app


def http_server(app: FastAPI) -> uvicorn.Server:
    """The server that runs the application: quiet, since its lines hold paths, and paths hold ids of cases."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=30,
            h11_max_incomplete_event_size=64 * 1024,
        )
    )


def run(front: Front, listening: socket.socket) -> None:
    """Serve until interrupted or told to end; then what was begun is ended in order."""
    # The server hands the signal on once it has ended, and then it must not end this process before jobs are given
    # back and files are gone.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with suppress(KeyboardInterrupt):
            http_server(create_app(front)).run(sockets=[listening])
    finally:
        signal.signal(signal.SIGTERM, before)
