"""The command `prelim serve`: the HTTP face over one index, and with it whatever was asked for.

    prelim serve --index index/ --port 8470
    prelim serve --index index/ --grpc 127.0.0.1:8471
    prelim serve --index index/ --language-model FOLDER --preset grounded --jobs jobs.sqlite --images images/

It listens to this machine only. Other addresses need a file of keys (`prelim key`), because whoever reaches the port
can ask for patients' cases.
"""

import argparse
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.console import Console

from retrieval.errors import MissingDependency, RequestError
from retrieval.terminal import add_index_argument, count
from service.keys import SCOPES, is_loopback, new_key
from service.model_options import add_model_arguments, in_batches, writer_options
from service.wiring import open_front

if TYPE_CHECKING:
    from service.grpc.running import GrpcFace

PORT: Final = 8470


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim serve` takes."""
    add_index_argument(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen to (default: this machine only)")
    parser.add_argument("--port", type=_port, default=PORT, help=f"default: {PORT}; 0 for any that is free")
    grpc = "also serve gRPC there, with the same keys (default: not; HOST: this machine only)"
    parser.add_argument("--grpc", type=_address, metavar="[HOST:]PORT", help=grpc)
    parser.add_argument("--keys", type=Path, metavar="FILE", help="API keys, as `prelim key` prints them")
    jobs = "where drafts for later are kept: a file, or a database URL (default: no jobs)"
    parser.add_argument("--jobs", metavar="FILE|URL", help=jobs)
    spool = "folder for the images of jobs (default: beside the file of jobs)"
    parser.add_argument("--spool", type=Path, metavar="FOLDER", help=spool)
    images = "folder that the manifest's image paths are relative to, to show the images of cases"
    parser.add_argument("--images", type=Path, metavar="FOLDER", help=images)
    parser.add_argument(
        "--decoders", type=count, default=2, metavar="N", help="processes that decode images; as many again for jobs"
    )
    parser.add_argument(
        "--at-once", type=count, default=4, metavar="N", help="drafts and searches at once; jobs get half of it"
    )
    parser.add_argument("--waiting", type=count, default=64, metavar="N", help="how many more may wait")
    log = "how a line for each request looks, on standard error: plain, json, or none (default: plain)"
    parser.add_argument("--log", choices=("plain", "json", "none"), default="plain", help=log)
    add_model_arguments(parser)


def serve(options: argparse.Namespace, notes: Console) -> int:
    """Serve until interrupted; raises RequestError for a combination that must not be, or an address that is taken."""
    # 1. What can be refused at once.
    for host in (options.host, *(options.grpc or ())[:1]):
        if options.keys is None and not is_loopback(host):
            raise RequestError(
                f"{host} can be reached from elsewhere, and no keys are asked for",
                fix="give --keys FILE (see `prelim key`), or listen to 127.0.0.1",
            )
    writer = writer_options(options)
    # The web framework and OpenTelemetry's SDK are loaded for this command alone.
    from service.http.running import run  # noqa: PLC0415
    from service.observe.logs import lines  # noqa: PLC0415
    from service.observe.traces import tracing  # noqa: PLC0415

    with (
        lines(options.log),
        tracing(),
        closing(_listening(options.host, options.port)) as listening,
        _grpc_face(options.grpc) as face,
        # 2. Everything is loaded before the first request is taken: until then callers wait at the socket.
        open_front(
            options.index,
            writer=None if writer is None else in_batches(writer, options.at_once),
            keys=options.keys,
            jobs=options.jobs,
            spool=options.spool,
            images=options.images,
            decoders=options.decoders,
            at_once=options.at_once,
            waiting=options.waiting,
        ) as front,
        nullcontext() if face is None else face.serving(front),
    ):
        host, port = listening.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        also = "" if face is None else f", gRPC on {face.address}"
        notes.print(
            f"serving on http://{address}:{port} (OpenAPI at /openapi.json){also}; stop with Ctrl-C", soft_wrap=True
        )
        run(front, listening, ending=None if face is None else face.leave)
    return 0


def _port(text: str) -> int:
    """A port of TCP; for argparse."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _address(text: str) -> tuple[str, int]:
    """A host and a port, of this machine alone where no host is named; for argparse."""
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", _port(port)


@contextmanager
def _grpc_face(address: tuple[str, int] | None) -> "Iterator[GrpcFace | None]":
    if address is None:
        yield None
        return
    try:
        from service.grpc.running import GrpcFace  # noqa: PLC0415  loaded only where it is asked for
    except ModuleNotFoundError as error:
        raise MissingDependency("gRPC is not installed", fix="pip install 'prelim[service]'") from error
    with closing(GrpcFace(*address)) as face:
        yield face


def _listening(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        raise RequestError(
            f"cannot listen to {host} at port {port}: {getattr(error, 'strerror', None) or type(error).__name__}",
            fix="choose another --port, or another --host",
        ) from None


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim key` takes."""
    parser.add_argument("name", help="who will hold it, in small letters; not a person's name")
    parser.add_argument(
        "--scope", action="append", choices=SCOPES, default=[], help="what it is for (repeatable; default: everything)"
    )


def make_key(options: argparse.Namespace, console: Console, notes: Console) -> int:
    """Print the entry for the file of keys, and, apart, the key itself, which is shown this once."""
    secret, entry = new_key(options.name, frozenset(options.scope or SCOPES))
    console.print_json(entry.model_dump_json())
    notes.print(f"the key, shown once: {secret}", soft_wrap=True)
    return 0
