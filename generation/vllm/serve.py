"""The main module of a vLLM server that decodes groups: `python -m generation.vllm.serve`, with vLLM's own arguments.

`generation.vllm.launch` says which; `prelim vllm-serve` starts it. It exists because vLLM's own command looks for a
distribution called vllm, and because vLLM's processes import the main module again before anything else: so all of them
get a torchvision that can be imported.
"""

import argparse
import importlib
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Final

from generation.vllm.launch import installed_build
from retrieval.encoders.hub import check_transformers, model_folder, ready_torchvision
from retrieval.errors import UnsupportedModel
from retrieval.terminal import run_command

ready_torchvision()

NICE: Final = 10
"""How far a server on a CPU stands back behind other processes, from 0 to 19 as of Unix."""


def main() -> int:
    """Serve until told to stop; returns the exit status, which says what kind of fault it was."""
    return run_command(_serve, after_interrupt="the server has stopped")


def _serve() -> int:
    # 1. What is wrong with the language model's files, while that is quick to find out.
    asked = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    asked.add_argument("--model", required=True)
    asked.add_argument("--revision")
    options, _ = asked.parse_known_args()
    architectures = _architectures(options.model, options.revision)
    # 2. On a CPU it would take the time of those who ask it, too.
    if installed_build() == "cpu":
        _stand_back()
    # 3. vLLM: where all processes write their counters for /metrics of this one is read when it is imported, and
    #    versions that are not known are refused before names in them are missed.
    with tempfile.TemporaryDirectory(prefix="prelim-metrics-") as folder:
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", folder)
        importlib.import_module("generation.vllm.internals")
        _run_server(architectures)
    return 0


def _stand_back() -> None:
    """Leave the cores to whoever else wants them; the processes that vLLM starts inherit it.

    Linux shares them out by session first (sched(7), autogroup), where `nice` says nothing: a decoder of the service
    that needs 25 ms then waited up to 350 ms for its turn. So a session begun for this server stands back whole.
    """
    os.nice(NICE)
    if os.getsid(0) in {os.getpid(), os.getppid()} and not _has_terminal():
        with suppress(OSError):  # another system, or a kernel that does not share so
            Path("/proc/self/autogroup").write_text(str(NICE), encoding="ascii")


def _has_terminal() -> bool:
    """Whether somebody sits at this session, with other things to do in it."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return False
    return True


def _run_server(architectures: list[str]) -> None:
    # Imported late, after the above.
    import uvloop  # noqa: PLC0415
    from vllm import ModelRegistry  # noqa: PLC0415
    from vllm.entrypoints.launchers.api_server.entry import run_server  # noqa: PLC0415
    from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args  # noqa: PLC0415
    from vllm.entrypoints.serve.utils.api_utils import cli_env_setup  # noqa: PLC0415
    from vllm.utils.argparse_utils import FlexibleArgumentParser  # noqa: PLC0415
    from vllm.version import __version__ as vllm_version  # noqa: PLC0415

    from generation.vllm.ready import ready_vllm  # noqa: PLC0415

    cli_env_setup()
    options = make_arg_parser(FlexibleArgumentParser(prog="python -m generation.vllm.serve")).parse_args()
    validate_parsed_serve_args(options)
    if not set(architectures) & set(ModelRegistry.get_supported_archs()):
        raise UnsupportedModel(
            f"vLLM {vllm_version} has no code for {options.model} ({', '.join(architectures)})",
            fix="use the generator `transformers`, which needs no server",
        )
    ready_vllm(architectures)
    uvloop.run(run_server(options))


def _architectures(language_model: str, revision: str | None) -> list[str]:
    """What config.json calls the model's code; refuses a model that is not there or whose weights are pickles."""
    folder = model_folder(language_model, revision=revision, network="off")
    check_transformers(folder, language_model)
    named = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("architectures")
    return [str(name) for name in named or ["no architecture named"]]


if __name__ == "__main__":
    raise SystemExit(main())
