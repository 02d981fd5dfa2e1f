"""What the gate looks at in one image: whether two lungs are found, and what its outline is like.

Computed in the decoding process, because it needs pixels; judged by `gate`, which has none. The lung fit needs no
index and no data: a drawn outline is registered to the image. The outline is judged by how much of it the main axes of
the index's own images explain, one set of axes for each view.
"""

import base64
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from skimage.feature import hog

from retrieval.encoders.lung_box import coarse_contrast, lung_fit, shrink
from retrieval.pixels import Pixels
from retrieval.pixels.preprocess import Preprocessing
from retrieval.records import Record

Float = NDArray[np.float32]

TURNS = 4
"""Lung fits at the front of a look: upright, then turned by 90, 180 and 270 degrees counter-clockwise."""
OUTLINE = 32 * 32 + 7 * 7 * 4 * 9
"""Numbers in an outline: local contrast, and HOG of 7 x 7 blocks of 2 x 2 cells with 9 directions."""
AXES = 80
"""Main axes kept of a view, beside its mean; measured flat from 60 to 120."""
LEAST_IMAGES = 200
"""Fewer images of a view than this say too little about what is ordinary."""
MOST_DEMANDED = 0.8
"""Highest bound on a share: a collection of images all alike must not refuse what is merely different."""
_SQUARE = Preprocessing()


def look(pixels: Pixels) -> Float:
    """Describe one image: TURNS lung fits, then its outline; about 15 ms."""
    square = _SQUARE.apply(pixels)
    contrast = coarse_contrast(square)
    fits = [lung_fit(np.ascontiguousarray(np.rot90(contrast, quarter))) for quarter in range(TURNS)]
    return np.concatenate([np.array(fits, np.float32), _outline(square, contrast)])


def fits_of(looked: Float) -> tuple[float, ...]:
    """The lung fits of a look."""
    return tuple(float(fit) for fit in looked[:TURNS])


class ViewScope(Record):
    """What is ordinary for one view in an index."""

    images: int
    """How many images it was learned from."""
    least_share: float
    """The share of an outline that the axes must explain; a low quantile of images held out by patient, capped."""
    axes: str
    """Orthonormal rows, (AXES + 1) x outline, float32 in base64: the mean's direction and the main axes."""

    @classmethod
    def learn(
        cls, looks: Sequence[Float], patients: Sequence[str], *, refused: float, margin: float = 0.0
    ) -> "ViewScope | None":
        """Learn from looks with their patients' pseudonyms; None when there are too few.

        The bound is what `refused` of the index's own held-out images fall below, less `margin`, capped.
        """
        if len(looks) < LEAST_IMAGES:
            return None
        outlines = np.stack([looked[TURNS:] for looked in looks])
        _, patient = np.unique(np.array(patients), return_inverse=True)
        fold = patient % 5
        held = np.zeros(len(outlines), np.float32)
        for number in range(5):
            held[fold == number] = _share(_axes(outlines[fold != number]), outlines[fold == number])
        axes = base64.b64encode(_axes(outlines).tobytes()).decode()
        bound = min(float(np.quantile(held, refused)) - margin, MOST_DEMANDED)
        return cls(images=len(outlines), least_share=bound, axes=axes)

    @cached_property
    def rows(self) -> Float:
        """The axes as numbers, decoded once."""
        flat = np.frombuffer(base64.b64decode(self.axes), np.float32)
        return flat.reshape(-1, OUTLINE)

    def share(self, looked: Float) -> float:
        """How much of an image's outline is like this view: 0 nothing, 1 all."""
        return float(_share(self.rows, looked[None, TURNS:])[0])


class Scope(Record):
    """What is ordinary in an index; learned once, with the encoder, from the same sample of images."""

    frontal: ViewScope | None
    """None when there are too few frontal images."""
    lateral: ViewScope | None
    """None when there are too few lateral images."""


def _outline(square: Float, contrast: Float) -> Float:
    """Where light and dark lie (32 x 32 local contrast), beside which way edges run (unit HOG at 128)."""
    light = contrast - contrast.mean()
    light = light / np.sqrt((light * light).mean() + 1e-3)
    small = shrink(square, square.shape[0] // 128)
    edges = hog((small - small.mean()) / max(float(small.std()), 0.02), 9, (16, 16), (2, 2), block_norm="L2-Hys")
    edges = 0.7 * edges / max(float(np.linalg.norm(edges)), 0.3)
    outline: NDArray[np.float32] = np.concatenate([shrink(light, 2).ravel() / 32, edges]).astype(np.float32)
    return outline


def _axes(outlines: Float) -> Float:
    mean = outlines.mean(0)
    main = np.linalg.svd(outlines - mean, full_matrices=False)[2][:AXES]
    return np.ascontiguousarray(np.linalg.qr(np.vstack([mean, main]).T)[0].T, np.float32)


def _share(axes: Float, outlines: Float) -> Float:
    # An outline of hardly any contrast is like nothing: hence the floor under the division.
    whole = np.maximum((outlines**2).sum(1), 0.4)
    return np.asarray(((outlines @ axes.T) ** 2).sum(1) / whole, np.float32)
