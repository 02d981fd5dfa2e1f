"""The key-value cache of all branches of all drafts in one batch: one row each, padded on the left, room on the right.

transformers' own dynamic cache copies itself whole at every token; here a token's keys and values are written in place.
Layers with a sliding window keep everything too: the model's mask hides what lies outside, and rows can be padded and
dropped alike. It knows nothing of drafts or tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

from retrieval.errors import UnsupportedModel


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is read without its types
    """One attention layer's keys and values in buffers of [rows, heads, room, features], filled up to `length`."""

    def __init__(self, keys: Tensor, values: Tensor, length: int) -> None:
        super().__init__()
        self._keys, self._values, self._length = keys, values, length
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self._look()

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Write the new columns behind the others; returns all that are filled."""
        start, self._length = self._length, self._length + key_states.shape[-2]
        self._keys[..., start : self._length, :] = key_states
        self._values[..., start : self._length, :] = value_states
        self._look()
        return self.keys, self.values

    def keep(self, rows: Tensor, skip: int) -> None:
        """Keep only these rows, without their first `skip` columns."""
        self._keys = self._keys[rows, :, skip:]
        self._values = self._values[rows, :, skip:]
        self._length -= skip
        self._look()

    def _look(self) -> None:
        self.keys = self._keys[..., : self._length, :]
        self.values = self._values[..., : self._length, :]


class RowsCache(DynamicCache):  # type: ignore[misc]  # transformers is read without its types
    """The caches of several prefills side by side, ready to be decoded as one batch."""

    def __init__(self, parts: Sequence[DynamicCache], width: int, room: int) -> None:
        """Take the prefilled `parts` over, each padded on the left to `width` columns, with `room` more behind."""
        super().__init__()
        self.layers = []
        for number, first in enumerate(parts[0].layers):
            if type(first) is not DynamicLayer:
                raise UnsupportedModel(
                    f"layer {number} caches {type(first).__name__}, not plain keys and values",
                    fix="use the reference generator for this model",
                )
            pieces = [part.layers[number] for part in parts]
            keys = _beside([piece.keys for piece in pieces], width, room)
            values = _beside([piece.values for piece in pieces], width, room)
            for piece in pieces:  # given back layer by layer, so that prompts are never held twice as a whole
                piece.keys = piece.values = None
            self.layers.append(RoomyLayer(keys, values, width))

    def keep(self, rows: Tensor, skip: int) -> None:
        """Keep only these rows in every layer, without their first `skip` columns."""
        for layer in self.layers:
            layer.keep(rows, skip)


def _beside(pieces: Sequence[Tensor], width: int, room: int) -> Tensor:
    """[rows, heads, width + room, features] from pieces of [some rows, heads, up to width, features]."""
    rows = sum(piece.shape[0] for piece in pieces)
    _, heads, _, features = pieces[0].shape
    # Zeros and not uninitialised memory: a hidden column still takes part as 0 * value, and 0 * NaN is NaN.
    whole = torch.zeros((rows, heads, width + room, features), dtype=pieces[0].dtype, device=pieces[0].device)
    row = 0
    for piece in pieces:
        whole[row : row + piece.shape[0], :, width - piece.shape[2] : width] = piece
        row += piece.shape[0]
    return whole
