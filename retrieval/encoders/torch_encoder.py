"""Trained encoders on torch: frames of bytes in, unit rows out, whichever library the network came from.

The library's module hands in a function from normalised images to rows (and one from texts to rows); batches, devices
and precision are dealt with here. What kind of network it is, where its weights were and what an index is, is not
known.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from retrieval.encoders.encoder import Prepared, Vectors
from retrieval.errors import MissingDependency, RequestError, UnsupportedModel
from retrieval.pixels.framing import Framing
from retrieval.records import EncoderIdentity

Float = NDArray[np.float32]

IMAGES_AT_ONCE: Final = 32
"""Images, or texts, in one forward pass: more gain nothing on a CPU and cost memory everywhere."""
LARGEST_DIFFERENCE: Final = 2.5
"""Grey levels of 255 by which one pixel may differ from the library's own preprocessing. Both round the weights of an
antialiased resize to integers, Pillow (here) and torchvision (transformers) to others: measured up to 2 levels."""
USUAL_DIFFERENCE: Final = 0.25
"""Grey levels by which pixels may differ on average: measured up to .22, at frames of 1,024. Another filter differs by
.29 at frames of 28 and by .44 at 224, a crop one pixel aside by 3.7 and more."""


@dataclass(frozen=True)
class TorchEncoder:
    """A trained encoder of images."""

    kind: str
    """The architecture, as the identity begins: `dinov2`."""
    prepare: Framing
    """Grey to the frame; a value without any network in it, so that decoder processes can be sent it."""
    weights: str
    """SHA-256 over configuration and weights."""
    dimension: int
    """Columns of the vectors."""
    device: str
    """Where the network is."""
    rows_of_images: Callable[[Tensor], Tensor]
    """The network: images x 3 x rows x columns, normalised, to images x dimension."""

    @property
    def identity(self) -> EncoderIdentity:
        """Architecture, preprocessing and weights: `dinov2/1f0c.../93ab...`, wherever the weights are kept."""
        return EncoderIdentity(f"{self.kind}/{self.prepare.identity}/{self.weights[:12]}")

    def run(self, batch: Prepared) -> Float:
        """Frames to raw rows, some at a time."""
        parts = []
        with torch.inference_mode():
            for frames in np.split(batch, range(IMAGES_AT_ONCE, len(batch), IMAGES_AT_ONCE)):
                images = normalised(torch.from_numpy(frames).to(self.device), self.prepare)
                parts.append(in_numpy(self.rows_of_images(images)))
        return np.concatenate(parts)

    def finish(self, raw: Float) -> Vectors:
        """Make every row unit; a row of zeros stays zero and is near nothing."""
        return unit(raw)


@dataclass(frozen=True)
class TorchImageTextEncoder(TorchEncoder):
    """One that places words where it places images."""

    logit_scale: float
    """As in ImageTextEncoder."""
    logit_bias: float
    """As in ImageTextEncoder."""
    rows_of_texts: Callable[[Sequence[str]], Tensor]
    """The tokenizer and the network: texts to texts x dimension."""

    def encode_text(self, texts: Sequence[str]) -> Vectors:
        """Texts to unit rows; what is longer than the text encoder reads is cut."""
        with torch.inference_mode():
            parts = [
                in_numpy(self.rows_of_texts(texts[first : first + IMAGES_AT_ONCE]))
                for first in range(0, len(texts), IMAGES_AT_ONCE)
            ]
        return unit(np.concatenate(parts)) if parts else np.zeros((0, self.dimension), np.float32)


def unit(rows: Float) -> Float:
    """Rows of length 1; zeros stay zeros."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def in_numpy(rows: Tensor) -> Float:
    """What a network gave, in this process's memory."""
    return np.asarray(rows.float().cpu().numpy(), dtype=np.float32)


def normalised(frames: Tensor, framing: Framing) -> Tensor:
    """Bytes, images x rows x columns, to what the network was trained on: images x 3 x rows x columns."""
    mean = torch.tensor(framing.mean, device=frames.device).reshape(1, 3, 1, 1)
    std = torch.tensor(framing.std, device=frames.device).reshape(1, 3, 1, 1)
    return (frames[:, None].float() * framing.scale - mean) / std


def dimension_of(rows_of_images: Callable[[Tensor], Tensor], framing: Framing, device: str, where: str) -> int:
    """Columns of the rows, by asking once; raises UnsupportedModel when the frame does not fit the network."""
    frame = torch.zeros((1, framing.rows, framing.columns), dtype=torch.uint8, device=device)
    try:
        with torch.inference_mode():
            rows = rows_of_images(normalised(frame, framing))
    except (RuntimeError, ValueError, AssertionError) as error:
        raise UnsupportedModel(
            f"the network of {where} does not take the frames that its preprocessing makes",
            fix="copy the encoder's folder again: its configuration and its preprocessing belong together",
        ) from error
    return int(rows.shape[1])


def check_framing(framing: Framing, own: Callable[[NDArray[np.uint8]], Float], where: str) -> None:
    """Refuse preprocessing that is not followed here, by doing it both ways on two drawn images, wide and tall.

    `own` is the library's: rows x columns x 3 bytes to 3 x rows x columns, normalised.
    """
    for rows, columns in ((framing.rows * 7 // 4, framing.columns * 5 // 4 + 9), (framing.rows, framing.columns * 2)):
        y, x = np.mgrid[:rows, :columns]
        grey = (np.sin(x / 7) + np.cos(y / 5) + np.sin(x * y / 900) + 3) / 6
        theirs = own(np.repeat(np.rint(grey * 255).astype(np.uint8)[:, :, None], 3, axis=2))
        ours = in_numpy(normalised(torch.from_numpy(framing(grey.astype(np.float32))[None]), framing))[0]
        if theirs.shape == ours.shape:
            # In grey levels, whatever the channel was divided by.
            apart = np.abs(theirs - ours) * np.reshape(framing.std, (3, 1, 1)) / framing.scale
            if apart.max() <= LARGEST_DIFFERENCE and apart.mean() <= USUAL_DIFFERENCE:
                continue
        raise UnsupportedModel(
            f"the preprocessing that {where} asks for is not followed exactly here",
            fix="name an encoder that resizes, crops and normalises as CLIP, SigLIP, ViT or DINOv2 do",
        )


def check_device(device: str) -> None:
    """Refuse a device that is none, or that torch does not have; raises RequestError and MissingDependency."""
    try:
        named = torch.device(device)
    except RuntimeError as error:
        raise RequestError(f"{device[:50]!r} is no device", fix="name cpu, cuda or cuda:1") from error
    if named.type == "cuda" and (named.index or 0) >= torch.cuda.device_count():
        raise MissingDependency(
            f"torch finds no device {device}", fix="use --device cpu, or install a CUDA build of torch and its driver"
        )
