"""An expert without a classifier: any encoder of images and texts, asked whether a label or its denial fits better.

For each label two prompts, "a chest X-ray with {label}" and "a chest X-ray with no {label}", worded as in contrastive
decoding with MedSigLIP (Zhang et al., arXiv 2509.23379). The probability is the softmax over the pair of cosines times
the encoder's scale; a bias that SigLIP adds to both cancels out. The labels are CheXpert's, without those that mean no
concept.

Such a probability orders images and is worth nothing as a probability, and nobody has published operating points: so
without a calibration nothing is ever settled. No real weights have been run (MedSigLIP's are gated); the tests make
tiny encoders of the same architecture.
"""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np

from generation.experts.calibration import NEVER, Calibration, finish_scores, identity_of, probability_of
from generation.experts.expert import Logits, Prepared, Probabilities
from generation.experts.labels import labels_of
from retrieval.encoders.encoder import ImageTextEncoder
from retrieval.expert_scores import ExpertScores
from retrieval.pixels import Pixels

PRESENT: Final = "a chest X-ray with {}"
ABSENT: Final = "a chest X-ray with no {}"
LABELS: Final = (
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Fracture",
    "Support Devices",
)
"""CheXpert's, in its order, without Pleural Other and No Finding (`labels.py` says why)."""


class ZeroShot:
    """Labels judged by how much nearer an image lies to the prompt with them than to the prompt without."""

    def __init__(
        self, encoder: ImageTextEncoder, calibration: Calibration | None = None, names: Sequence[str] = LABELS
    ) -> None:
        """Encode the prompts, once; `named.py` finds the calibration that belongs to the encoder."""
        self.labels = labels_of(names)
        self.weights = weights_of(encoder, names)
        self.identity = identity_of(self.weights, calibration)
        self._encoder = encoder
        self._calibration = calibration
        words = [label.name.lower() for label in self.labels]
        with_it = encoder.encode_text([PRESENT.format(word) for word in words])
        without = encoder.encode_text([ABSENT.format(word) for word in words])
        self._directions = (with_it.astype(np.float64) - without).T * encoder.logit_scale

    def prepare(self, pixels: Pixels) -> Prepared:
        return self._encoder.prepare(pixels)

    def run(self, batch: Prepared) -> Logits:
        images = self._encoder.finish(self._encoder.run(batch))
        return np.asarray(images.astype(np.float64) @ self._directions)

    def uncalibrated(self, raw: Logits) -> Probabilities:
        # The softmax over two is the sigmoid of their difference.
        return probability_of(raw)

    def finish(self, raw: Logits) -> list[ExpertScores]:
        bands = [NEVER] * len(self.labels)
        return finish_scores(raw, self.labels, self.uncalibrated(raw), bands, self.weights, self._calibration)


def weights_of(encoder: ImageTextEncoder, names: Sequence[str] = LABELS) -> str:
    """What a calibration of this encoder is fitted for: the encoder and the wording of the prompts."""
    wording = hashlib.sha256(repr((PRESENT, ABSENT, tuple(names))).encode()).hexdigest()[:8]
    return f"zero-shot-{wording}/{encoder.identity}"
