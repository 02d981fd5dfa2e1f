"""Trained encoders by name, and such an encoder as an index keeps it: centred on the index's own images.

    open_clip:HUB_ID_OR_FOLDER       BiomedCLIP and others in open_clip's format
    transformers:HUB_ID_OR_FOLDER    RAD-DINO, MedSigLIP and others in transformers' format

A trained encoder gives any two radiographs much the same vector: a cosine of .8 may say nothing. An index therefore
takes the mean of its images off every vector, after which 0 is two arbitrary images, as everywhere else here. No axis
is scaled: what a trained encoder finds important is left to it. torch is imported only when an encoder is loaded, and
one that an index keeps is loaded only when it is first asked to encode: describing, erasing and rolling back an index
need no weights.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.encoders.encoder import Encoder, ImageTextEncoder, Prepared, Vectors
from retrieval.errors import EncoderMismatch, MissingDependency, UnsupportedModel
from retrieval.pixels import Pixels
from retrieval.records import EncoderIdentity

Float = NDArray[np.float32]

FRAMES_AT_ONCE: Final = 256
"""Prepared images stacked together while the mean is taken."""


DESCRIPTOR: Final = "descriptor"
"""The name of the embedded encoder, which has no weights to load."""


@dataclass(frozen=True)
class Loading:
    """How an index's encoder is loaded; nothing of it changes a vector, so none of it is kept."""

    name: str = ""
    """Which encoder. For an index that has one, another name of the same, such as the folder its weights have moved to.
    Empty takes what the index keeps, and the embedded one for a new index."""
    device: str = "cpu"
    """Where a trained encoder runs: `cpu`, `cuda` or `cuda:1`."""
    network: Literal["off", "on"] = "off"
    """Whether a hub may be asked for what its local cache does not hold."""


LOCALLY: Final = Loading()
"""On the CPU, from this machine's files."""


def load(name: str, *, device: str = "cpu", network: Literal["off", "on"] = "off") -> Encoder:
    """Load a trained encoder; one that also reads words is an ImageTextEncoder.

    Raises MissingWeights, UnsafeWeights, UnsupportedModel, and MissingDependency without the extra `models`.
    """
    library, _, where = name.partition(":")
    if library not in ("open_clip", "transformers") or not where:
        raise UnsupportedModel(
            f"{name!r} names no encoder",
            fix="write descriptor, open_clip:FOLDER or transformers:FOLDER, or a hub id in place of the folder",
        )
    try:
        if library == "open_clip":
            from retrieval.encoders import open_clip_encoder  # noqa: PLC0415

            return open_clip_encoder.load(where, device=device, network=network)
        from retrieval.encoders import transformers_vision  # noqa: PLC0415

        return transformers_vision.load(where, device=device, network=network)
    except ModuleNotFoundError as error:
        raise MissingDependency(
            f"encoders of {library} need {error.name}, which is not installed", fix="pip install 'prelim[models]'"
        ) from error


@dataclass(frozen=True, eq=False)
class CentredEncoder:
    """A trained encoder with the mean of one index's images taken off."""

    name: str
    """As it was named, a folder with its full path."""
    identity: EncoderIdentity
    """The trained encoder's, with the mean's: `dinov2/1f0c.../93ab.../77e0...`."""
    dimension: int
    """Columns of the vectors."""
    mean: Float
    """Of the unit rows of the images it was fitted on."""
    loading: Loading = LOCALLY
    """How the weights are loaded when they are needed."""

    @classmethod
    def fit(
        cls, name: str, trained: Encoder, images: Sequence[Prepared], loading: Loading = LOCALLY
    ) -> "CentredEncoder":
        """Take the mean of prepared images."""
        total = np.zeros(trained.dimension, np.float64)
        for first in range(0, len(images), FRAMES_AT_ONCE):
            rows = trained.finish(trained.run(np.stack(images[first : first + FRAMES_AT_ONCE])))
            total += rows.sum(0, dtype=np.float64)
        mean = (total / len(images)).astype(np.float32)
        fitted = cls(_whole_path(name), _identity(trained, mean), trained.dimension, mean, loading)
        fitted.__dict__["trained"] = trained  # it need not be loaded again
        return fitted

    @cached_property
    def trained(self) -> Encoder:
        """The encoder with its weights; raises what `load` raises, and EncoderMismatch when they are others."""
        name = self.loading.name or self.name
        trained = load(name, device=self.loading.device, network=self.loading.network)
        if _identity(trained, self.mean) != self.identity:
            raise EncoderMismatch(
                f"the index was built with encoder {self.identity}; {name} makes {_identity(trained, self.mean)} of it",
                fix="bring back the weights and preprocessing it was built with, or build into a new folder",
            )
        return trained

    @property
    def prepare(self) -> Callable[[Pixels], Prepared]:
        """The trained encoder's own, picklable without the network."""
        return self.trained.prepare

    def run(self, batch: Prepared) -> Float:
        """The trained encoder's own rows."""
        return self.trained.run(batch)

    def finish(self, raw: Float) -> Vectors:
        """Raw rows to unit rows around the mean."""
        rows = self.trained.finish(raw) - self.mean
        return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)

    @property
    def encode_text(self) -> Callable[[Sequence[str]], Vectors] | None:
        """Texts to unit rows; None for an encoder of images alone.

        A text and a vector of the index make more than 0 where that image is nearer to the text than the mean is.
        """
        return self.trained.encode_text if isinstance(self.trained, ImageTextEncoder) else None


def _identity(trained: Encoder, mean: Float) -> EncoderIdentity:
    digest = hashlib.sha256(np.ascontiguousarray(mean, "<f4").tobytes()).hexdigest()[:12]
    return EncoderIdentity(f"{trained.identity}/{digest}")


def _whole_path(name: str) -> str:
    """A folder named from here is found from anywhere else."""
    library, _, where = name.partition(":")
    return f"{library}:{Path(where).resolve()}" if Path(where).is_dir() else name
