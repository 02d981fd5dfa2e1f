"""The expert protocol: images in, for each image the probability of every finding the expert knows.

Three steps, as for encoders: `prepare` is CPU work on one image, `run` is the only step that may touch a device, and
`finish` makes scores of what `run` gave. What `run` gives has one column a label and is what a calibration is fitted
on. An expert judges one image; which images of a study are put to it, and what several experts say together, is
`panel.py`'s. An expert locates nothing, so no score has a side. It refuses to know about files, studies and drafts.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from generation.experts.labels import Label
from retrieval.expert_scores import ExpertScores
from retrieval.pixels import Pixels

Prepared = NDArray[Any]
"""What `prepare` makes of one image; every image of one expert has the same shape."""
Logits = NDArray[np.float64]
"""images x labels: log odds as the network gives them, before any operating point or calibration."""
Probabilities = NDArray[np.float64]
"""images x labels, inside (0, 1)."""


class Expert(Protocol):
    """A classifier of findings on one frontal radiograph."""

    @property
    def identity(self) -> str:
        """Weights and calibration, or that there is none; changes whenever an image would be judged otherwise."""

    @property
    def weights(self) -> str:
        """The identity without the calibration: what a calibration is fitted for."""

    @property
    def labels(self) -> tuple[Label, ...]:
        """The columns of what `run` gives."""

    def prepare(self, pixels: Pixels) -> Prepared:
        """One image to a fixed-shape array; no device."""

    def run(self, batch: Prepared) -> Logits:
        """Stacked prepared images (images first) to log odds; the only step that may use a device."""

    def uncalibrated(self, raw: Logits) -> Probabilities:
        """What the expert says by itself: what a calibration starts from and is measured against."""

    def finish(self, raw: Logits) -> list[ExpertScores]:
        """One record an image, calibrated where a calibration knows the label."""
