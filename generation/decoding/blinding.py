"""An image spoilt for the `blind` branch of VCD: diffusion noise on display-ready grey.

Pixels and a seed in, pixels of the same shape out; no language model or its image processor is known here, so that one
spoilt image goes to every engine. The schedule is VCD's (CVPR 2024, its code): 1,000 variances, a sigmoid over -6 to 6
between 1e-5 and 5e-3, read at index 500. What is noised differs. VCD noises what its encoder is fed: 336 x 336 pixels
less CLIP's mean and over its spread, about -1.8 to 1.9. Here grey is mapped to -1 to 1, noised, mapped back and
clipped: for an encoder that is fed -1 to 1 (SigLIP) the same but for the clipping, for CLIP nearly twice the noise. And
a processor that shrinks the image averages noise away, about by the factor by which it shrinks each side.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from retrieval.pixels import Pixels

STEPS: Final = 501
"""How many variances are gone through: up to and with index 500, as VCD's scripts ask."""
_VARIANCES: Final = (1 / (1 + np.exp(-np.linspace(-6, 6, 1000)))) * (0.5e-2 - 1e-5) + 1e-5
_KEPT: Final = np.concatenate([[1.0], np.cumprod(1 - _VARIANCES)])
_STREAM: Final = 0x626C696E64  # "blind": apart from the positions at which tokens are drawn
_WORD: Final = 2**64 - 1


def noised(pixels: Pixels, seed: int, *, steps: int = STEPS) -> Pixels:
    """The image after `steps` of diffusion, clipped to 0 to 1; none leave it whole, the default 74 % of its variance.

    Depends on the image, the seed and the steps alone. Images of one shape and seed get the same noise.
    """
    if not 0 <= steps < len(_KEPT):
        raise ValueError(f"the schedule has {len(_VARIANCES)} steps, not {steps}")
    kept = _KEPT[steps]
    spoilt = np.sqrt(kept) * (2 * pixels.astype(np.float64) - 1) + np.sqrt(1 - kept) * _normal(pixels.shape, seed)
    clipped: Pixels = np.clip((spoilt + 1) / 2, 0, 1).astype(np.float32)
    return clipped


def _normal(shape: tuple[int, ...], seed: int) -> NDArray[np.float64]:
    """Standard normal numbers by Box and Muller: NumPy promises Philox's bits for ever, its own normal numbers not."""
    number = int(np.prod(shape))
    half = (number + 1) // 2
    key = np.array([seed & _WORD, _STREAM], dtype=np.uint64)
    raw = np.random.Philox(key=key).random_raw(2 * half)
    uniform = ((raw >> np.uint64(12)) + 0.5) * 2.0**-52  # strictly between 0 and 1
    radius, angle = np.sqrt(-2 * np.log(uniform[:half])), 2 * np.pi * uniform[half:]
    both: NDArray[np.float64] = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])
    return both[:number].reshape(shape)
