"""Whitening: centre features, keep their main axes, even out how much each axis counts.

Half-power scaling (each axis divided by the square root of its spread, not by the spread) was measured better than
none and than full whitening (ARCHITECTURE.md, Encoder). Fitted once per index on unlabelled images; no label and no
report text is ever used.
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

POWER = 0.5
"""0 is plain principal components, 1 is full whitening."""


@dataclass(frozen=True)
class Whitening:
    """Per block of features: its mean, and its projection on scaled main axes."""

    means: tuple[Float, ...]
    projections: tuple[Float, ...]

    @classmethod
    def fit(cls, rows: Float, blocks: Sequence[int], components: Sequence[int]) -> "Whitening":
        """Fit on images x features, split into `blocks` columns each, keeping at most `components` axes of each.

        Fewer images than components give fewer axes. The same rows give the same result on the same machine.
        """
        means, projections = [], []
        for block, most in zip(_split(rows, blocks), components, strict=True):
            mean = block.mean(0, dtype=np.float64)
            _, sizes, axes = np.linalg.svd((block - mean).astype(np.float64), full_matrices=False)
            keep = max(1, min(most, int((sizes > 1e-6 * sizes[0]).sum())))
            axes, spreads = axes[:keep], np.maximum(sizes[:keep] / len(rows) ** 0.5, 1e-9)
            axes = axes * np.sign(axes[np.arange(keep), np.abs(axes).argmax(1)])[:, None]  # a sign of its own
            means.append(mean.astype(np.float32))
            projections.append((axes / spreads[:, None] ** POWER).T.astype(np.float32))
        return cls(tuple(means), tuple(projections))

    @property
    def dimension(self) -> int:
        """Columns of the result."""
        return sum(projection.shape[1] for projection in self.projections)

    @property
    def identity(self) -> str:
        """Twelve hex digits over every number."""
        digest = hashlib.sha256()
        for array in (*self.means, *self.projections):
            digest.update(str(array.shape).encode() + np.ascontiguousarray(array, "<f4").tobytes())
        return digest.hexdigest()[:12]

    def project(self, rows: Float, weights: Sequence[float]) -> Float:
        """Project images x features; each block is made unit, then weighted by length, then joined."""
        parts = []
        blocks = _split(rows, [len(mean) for mean in self.means])
        for block, mean, projection, weight in zip(blocks, self.means, self.projections, weights, strict=True):
            part = (block - mean) @ projection
            parts.append(part * (weight / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9)))
        return np.asarray(np.concatenate(parts, axis=1), dtype=np.float32)

    def to_bytes(self) -> bytes:
        """Write as NumPy's own archive; read back by `from_bytes`, bit for bit."""
        out = io.BytesIO()
        named = {f"mean{i}": a for i, a in enumerate(self.means)}
        named |= {f"projection{i}": a for i, a in enumerate(self.projections)}
        np.savez(out, allow_pickle=False, **named)
        return out.getvalue()

    @classmethod
    def from_bytes(cls, state: bytes) -> "Whitening":
        """Read what `to_bytes` wrote; never unpickles."""
        with np.load(io.BytesIO(state), allow_pickle=False) as kept:
            blocks = range(len(kept.files) // 2)
            return cls(tuple(kept[f"mean{i}"] for i in blocks), tuple(kept[f"projection{i}"] for i in blocks))


def _split(rows: Float, blocks: Sequence[int]) -> list[Float]:
    return np.split(rows, np.cumsum(blocks)[:-1], axis=1)
