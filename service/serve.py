"""The command `prelim serve`: the HTTP face over one index, and with it whatever was asked for.

    prelim serve --index index/ --port 8470
    prelim serve --index index/ --language-model FOLDER --preset grounded --jobs jobs.sqlite --images images/

It listens to this machine only. Other addresses need a file of keys (`prelim key`), because whoever reaches the port
can ask for patients' cases.
"""

import argparse
import socket
from contextlib import closing
from pathlib import Path
from typing import Final

from rich.console import Console

from retrieval.errors import RequestError
from retrieval.terminal import add_index_argument, count
from service.keys import SCOPES, is_loopback, new_key
from service.model_options import add_model_arguments, in_batches, writer_options
from service.wiring import open_front

PORT: Final = 8470


def add_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim serve` takes."""
    add_index_argument(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen to (default: this machine only)")
    parser.add_argument("--port", type=_port, default=PORT, help=f"default: {PORT}; 0 for any that is free")
    parser.add_argument("--keys", type=Path, metavar="FILE", help="API keys, as `prelim key` prints them")
    jobs = "where drafts for later are kept: a file, or a database URL (default: no jobs)"
    parser.add_argument("--jobs", metavar="FILE|URL", help=jobs)
    spool = "folder for the images of jobs (default: beside the file of jobs)"
    parser.add_argument("--spool", type=Path, metavar="FOLDER", help=spool)
    images = "folder that the manifest's image paths are relative to, to show the images of cases"
    parser.add_argument("--images", type=Path, metavar="FOLDER", help=images)
    parser.add_argument("--decoders", type=count, default=2, metavar="N", help="processes that decode images")
    parser.add_argument("--at-once", type=count, default=4, metavar="N", help="drafts and searches worked on at once")
    parser.add_argument("--waiting", type=count, default=64, metavar="N", help="how many more may wait")
    add_model_arguments(parser)


def serve(options: argparse.Namespace, notes: Console) -> int:
    """Serve until interrupted; raises RequestError for a combination that must not be, or an address that is taken."""
    # 1. What can be refused at once.
    if options.keys is None and not is_loopback(options.host):
        raise RequestError(
            f"{options.host} can be reached from elsewhere, and no keys are asked for",
            fix="give --keys FILE (see `prelim key`), or listen to 127.0.0.1",
        )
    writer = writer_options(options)
    from service.http.running import run  # noqa: PLC0415  the web framework is loaded for this command alone

    with (
        closing(_listening(options.host, options.port)) as listening,
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
    ):
        host, port = listening.getsockname()[:2]
        address = f"[{host}]" if ":" in host else host
        notes.print(f"serving on http://{address}:{port} (OpenAPI at /openapi.json); stop with Ctrl-C", soft_wrap=True)
        run(front, listening)
    return 0


def _port(text: str) -> int:
    """A port of TCP; for argparse."""
    if not (text.isascii() and text.isdigit() and int(text) < 2**16):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


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
