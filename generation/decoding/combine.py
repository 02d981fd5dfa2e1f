"""Scores of several branches in, scores to choose from out, and the choice: the arithmetic of contrastive decoding.

    f(v) = sum_k w_k * log p_k(v) + bias(v),    v among the tokens plausible under one branch

Nothing here knows a model, a tokenizer or a prompt, and every generator chooses its tokens through this module, so two
generators that compute the same logits write the same text. Whatever comes in, the sum is taken in float32, branch by
branch in their order, so that a study's tokens do not depend on what else is in its batch.

A token that any branch forbids (minus infinity: a grammar) stays forbidden, whatever the branch's weight; so a mask on
one row holds for its whole group and no infinity is ever subtracted from another. A bias of minus infinity forbids too,
and before the cut, which would otherwise leave nothing where the likeliest tokens are the banned ones.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generation.decoding.presets import Cut
from retrieval.errors import BrokenLogits

__all__ = ["Cut", "SparseBias", "combine", "combine_groups", "margins", "sample", "sample_rows"]

SparseBias = Mapping[int, float]
"""Token id to what is added to its score, in nats; minus infinity forbids the token."""
_WORD: Final = 2**64 - 1
_SLACK: Final = 1e-6  # more than any rounding of a score


def combine(
    log_probs: Tensor,
    weights: Tensor | Sequence[float],
    /,
    *,
    cut: Cut | None = None,
    bias: Tensor | SparseBias | None = None,
) -> Tensor:
    """Scores [vocab] in float32 from one group's [branches, vocab], logits or log-probabilities of any float type.

    `weights` is [branches]; `bias` is [vocab] or sparse. The cut is taken among tokens that neither a branch nor the
    bias forbids, so at least the likeliest of them is left; what the bias adds comes after it.
    """
    if log_probs.dim() != 2:
        raise ValueError(f"expected [branches, vocab], got {tuple(log_probs.shape)}")
    held = torch.as_tensor(weights, dtype=torch.float32, device=log_probs.device)
    dense = bias.unsqueeze(0) if isinstance(bias, Tensor) else None if bias is None else [bias]
    return combine_groups(log_probs.unsqueeze(0), held.unsqueeze(0), cut=cut, bias=dense)[0]


def combine_groups(
    log_probs: Tensor,
    weights: Tensor | Sequence[float] | Sequence[Sequence[float]],
    /,
    *,
    cut: Cut | None = None,
    bias: Tensor | Sequence[SparseBias | None] | None = None,
) -> Tensor:
    """Scores [groups, vocab] in float32 from [groups, branches, vocab]; each row is what `combine` gives alone.

    `weights` is [branches] or, where groups are at different steps, [groups, branches]; `bias` is [groups, vocab] or
    one sparse bias (or None) for each group.
    """
    if log_probs.dim() != 3:
        raise ValueError(f"expected [groups, branches, vocab], got {tuple(log_probs.shape)}")
    groups, branches, vocab = log_probs.shape
    held = torch.as_tensor(weights, dtype=torch.float32, device=log_probs.device)
    if held.shape not in ((branches,), (groups, branches)):
        raise ValueError(f"weights {tuple(held.shape)} do not fit {groups} groups of {branches} branches")
    held = held.expand(groups, branches)
    logits = log_probs.float()
    # 1. Each branch normalised: only differences within a branch mean anything. NaN, +inf and a row of -inf show here.
    normaliser = logits.logsumexp(-1, keepdim=True)
    sound = normaliser.isfinite().all(1).squeeze(-1)
    logs = logits - normaliser
    # 2. Forbidden by one or by the bias, forbidden for all; a finite stand-in keeps the sum free of infinities.
    where, added = _entries(bias, groups, vocab, logits.device)
    forbidden = logs.isneginf().any(1)
    forbidden[where] |= added.isneginf()
    mixed = torch.zeros(groups, vocab, dtype=torch.float32, device=logits.device)
    for k in range(branches):
        mixed = mixed + held[:, k, None] * logs[:, k].masked_fill(forbidden, 0.0)
    # 3. The cut, by the branch's own view.
    if cut is not None:
        if not (0 <= cut.branch < branches and 0 < cut.beta <= 1):
            raise ValueError(f"{cut} is no cut of {branches} branches")
        view = logs[:, cut.branch].masked_fill(forbidden, -math.inf)
        forbidden = forbidden | (view < view.amax(-1, keepdim=True) + math.log(cut.beta))
    # 4. The bias, last.
    mixed[where] += added
    scores = mixed.masked_fill(forbidden, -math.inf)
    sound = sound & scores.amax(-1).isfinite()
    if not bool(sound.all()):
        _refuse(sound)
    return scores


def _entries(
    bias: Tensor | Sequence[SparseBias | None] | None, groups: int, vocab: int, device: torch.device
) -> tuple[tuple[Tensor | slice, ...], Tensor]:
    """Where in [groups, vocab] something is added, and what."""
    if isinstance(bias, Tensor):
        if bias.shape != (groups, vocab):
            raise ValueError(f"bias {tuple(bias.shape)} does not fit {groups} groups and a vocabulary of {vocab}")
        return (slice(None),), bias.to(device=device, dtype=torch.float32)
    if bias is not None and len(bias) != groups:
        raise ValueError(f"{len(bias)} biases for {groups} groups")
    rows = [row for row, each in enumerate(bias or ()) for _ in each or ()]
    tokens = [token for each in bias or () for token in each or ()]
    if tokens and (min(tokens) < 0 or max(tokens) >= vocab):
        raise ValueError(f"the bias names a token outside of the vocabulary of {vocab}")
    # A token occurs once in each row, so nothing is accumulated and the order cannot matter.
    at = torch.tensor([rows, tokens], dtype=torch.long, device=device)
    values = [value for each in bias or () for value in (each or {}).values()]
    return (at[0], at[1]), torch.tensor(values, dtype=torch.float32, device=device)


def _refuse(sound: Tensor) -> None:
    broken = tuple(int(row) for row in (~sound).nonzero().flatten())
    raise BrokenLogits(
        f"{len(broken)} of {len(sound)} groups have logits that are not numbers, or forbid every token",
        groups=broken,
        fix="load the weights in float32 or bfloat16 (float16 overflows on some models), and look for masks that clash",
    )


def sample(scores: Tensor, /, temperature: float, seed: int, position: int) -> int:
    """The token chosen from scores [vocab]: see `sample_rows`."""
    return sample_rows(scores.unsqueeze(0), [temperature], [seed], [position])[0]


def sample_rows(
    scores: Tensor, /, temperatures: Sequence[float], seeds: Sequence[int], positions: Sequence[int]
) -> list[int]:
    """One token for each row of scores [rows, vocab]; ties go to the lowest token id.

    Temperature 0 takes the best. Otherwise the best of scores / temperature + Gumbel noise is taken, which draws from
    softmax(scores / temperature); the noise of a token depends on (seed, position, token) and on nothing else: not on
    the device, the batch, the size of the vocabulary or any global state.
    """
    rows, vocab = scores.shape
    if not len(temperatures) == len(seeds) == len(positions) == rows:
        raise ValueError(f"{rows} rows need as many temperatures, seeds and positions")
    if not all(0 <= t < math.inf for t in temperatures):
        raise ValueError("a temperature is a number from 0")
    best = scores.amax(-1, keepdim=True)
    ids = torch.arange(vocab, device=scores.device)
    # argmax promises no order among ties on every device; the least id does.
    greedy: list[int] = torch.where(scores == best, ids, vocab).amin(-1).tolist()
    sound = best.isfinite().squeeze(-1)
    if not bool(sound.all()):
        _refuse(sound)
    return [
        token if temperature == 0 else _draw(scores[row], temperature, seeds[row], positions[row])
        for row, (token, temperature) in enumerate(zip(greedy, temperatures, strict=True))
    ]


def _draw(scores: Tensor, temperature: float, seed: int, position: int) -> int:
    """The best of one row with noise."""
    values = scores.cpu().numpy()
    # Philox is keyed and its stream is guaranteed by NumPy.
    key = np.array([seed & _WORD, position & _WORD], dtype=np.uint64)
    raw = np.random.Philox(key=key).random_raw(len(values))
    # Only tokens that the highest noise of all would lift above the likeliest one with its own need be looked at.
    likeliest = values.argmax()
    lead = _gumbel(raw[likeliest]) - _gumbel(raw.max())
    tokens = np.flatnonzero(values >= np.float64(values[likeliest]) + temperature * lead - _SLACK)
    return int(tokens[np.argmax(values[tokens].astype(np.float64) / temperature + _gumbel(raw[tokens]))])


def _gumbel(raw: NDArray[np.uint64] | np.uint64) -> NDArray[np.float64]:
    """Noise of a Gumbel distribution from random words; 52 bits and a half lie strictly between 0 and 1."""
    uniform = ((raw >> np.uint64(12)) + 0.5) * 2.0**-52
    noise: NDArray[np.float64] = -np.log(-np.log(uniform))
    return noise


def margins(scores: Tensor, /) -> Tensor:
    """How far the best of each row of scores [..., vocab] leads the second; infinite where only one is left."""
    first = scores.topk(2, dim=-1).values
    return first[..., 0] - first[..., 1]
