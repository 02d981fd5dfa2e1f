"""Where a model's files are: a folder, or a hub id in the local cache; refused unless its weights are safetensors.

What goes in is a name, what comes out a folder and the digest of what stands in it. Nothing is fetched unless
`network="on"` says so and HF_HUB_OFFLINE does not forbid it; nothing of another's code is run. What kind of model it
is, is not known here.
"""

import hashlib
import importlib
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from safetensors import SafetensorError

from retrieval.errors import MissingWeights, UnsafeWeights, UnsupportedModel

Network = Literal["off", "on"]

_WANTED: Final = ("*.json", "*.safetensors", "*.model", "*.jinja", "*.txt", "*.tiktoken")
"""What is fetched from a hub: never a pickle, never code."""
_PICKLES: Final = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".msgpack", ".h5")


def ready_torchvision() -> None:
    """Make torchvision importable beside a torch without CUDA, which transformers' image processors need.

    Called before anything of transformers that imports torchvision, which it does lazily. The package index has
    torchvision only as a CUDA build. Beside CPU torch its compiled operators do not load and its
    import ends with "operator torchvision::nms does not exist". Only there are the schemas of the two operators that
    its Python code names defined here; neither is ever called, since nothing here detects boxes.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        for operator in ("nms", "qnms"):
            torch.library.define(
                f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
            )
        importlib.import_module("torchvision")


def model_folder(where: str, *, revision: str | None, network: Network) -> Path:
    """The folder of a model named by path or hub id; fetched only where `network` and HF_HUB_OFFLINE allow it."""
    if Path(where).is_dir():
        return Path(where)
    offline = network == "off" or os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    try:
        return Path(snapshot_download(where, revision=revision, local_files_only=offline, allow_patterns=list(_WANTED)))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        fix = "copy the model to a folder and name that"
        if offline:
            fix += ", or check the spelling and fetch it once with the network on and HF_HUB_OFFLINE unset"
        raise MissingWeights(f"{where!r} is neither a folder nor a model in the local hub cache", fix=fix) from error
    except (HfHubHTTPError, OSError) as error:
        raise MissingWeights(
            f"{where!r} could not be fetched from the hub", fix="check the id and whether you have accepted its terms"
        ) from error


def folder_digest(folder: Path) -> str:
    """`files_digest` of everything that a model is loaded from."""
    return files_digest(found for pattern in _WANTED for found in folder.glob(pattern))


def words_of(folder: Path) -> list[Path]:
    """The files that a tokenizer is made of: with others the same text gets other vectors."""
    names = ("tokenizer*", "vocab*", "merges.txt", "*.model", "special_tokens_map.json", "added_tokens.json")
    return sorted({file for name in names for file in folder.glob(name) if file.is_file()})


def files_digest(files: Iterable[Path]) -> str:
    """SHA-256 over the names and bytes of files, in the order of their names; about a second for two gigabytes."""
    digest = hashlib.sha256()
    for file in sorted(files):
        with file.open("rb") as opened:
            digest.update(f"{file.name} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


def check_transformers(folder: Path, where: str) -> list[Path]:
    """`check_weights` for a folder in transformers' format."""
    return check_weights(folder, where, configuration="config.json", weights="model.safetensors")


def check_weights(folder: Path, where: str, *, configuration: str, weights: str) -> list[Path]:
    """The files with the configuration and the weights, which are looked for and not opened.

    Raises MissingWeights without a configuration or when a shard that the index names is not there, UnsafeWeights when
    there are only pickles.
    """
    if not (folder / configuration).is_file():
        raise MissingWeights(f"{where} has no {configuration}", fix="name a model's folder in the format asked for")
    if (folder / weights).is_file():
        return [folder / configuration, folder / weights]
    index = folder / f"{weights}.index.json"
    if index.is_file():
        try:
            named: Mapping[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        except (ValueError, KeyError, TypeError) as error:
            raise MissingWeights(f"{index.name} of {where} cannot be read", fix="copy the model again") from error
        shards = sorted(set(named.values()))
        if absent := [shard for shard in shards if not (folder / shard).is_file()]:
            raise MissingWeights(f"{where} lacks {absent[0]} ({len(absent)} in all)", fix="copy the model again")
        return [folder / configuration, *(folder / shard for shard in shards)]
    if any(file.suffix in _PICKLES for file in folder.iterdir()):
        raise UnsafeWeights(
            f"{where} has its weights only in formats that are not read here, such as pickles",
            fix="convert them to safetensors on a machine that may run untrusted code",
        )
    raise MissingWeights(f"{where} has no {weights}", fix="copy the model again, with its weights")


def check_whole(where: str, missing: Iterable[str]) -> None:
    """Refuse a network with weights that no file gave: they would be random numbers. Raises MissingWeights."""
    if names := sorted(missing):
        raise MissingWeights(
            f"{len(names)} weights of {where} are not in its files, {names[0]} the first of them",
            fix="copy the model's folder again, or name the checkpoint that fits its config.json",
        )


@contextmanager
def loading(where: str, library: str, fix: str) -> Iterator[None]:
    """Turn what a library raises while it loads a model into MissingWeights and UnsupportedModel."""
    try:
        yield
    except (SafetensorError, RuntimeError) as error:
        raise MissingWeights(f"the weights of {where} cannot be read", fix="copy the model's folder again") from error
    except (OSError, ValueError, KeyError, ImportError, TypeError, AttributeError) as error:
        raise UnsupportedModel(f"{library} cannot load {where} with its own code", fix=fix) from error
