"""One token for each group of rows in a batch, written so that the engine's own argmax takes it for every member.

In: the logits of a batch, and which of its rows are which branches of which drafts. The scores, the bias and the draw
are `combine`'s and `Biases`', as in every other generator. Neither of vLLM's model runners is known here, and rows of
ordinary requests are not looked at.
"""

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
import transformers
from torch import Tensor

from generation.decoding.combine import Cut, combine_groups, sample_rows
from generation.decoding.generator import Bias, Biases
from generation.decoding.hf_prompts import SAFELY, end_tokens, image_tokens
from generation.decoding.tokenizer import HuggingFaceTokenizer
from generation.vllm.group import Member
from retrieval.errors import BrokenLogits, UnsupportedEngine

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True)
class Seat:
    """One row of a batch that belongs to a group."""

    row: int
    """Its place among the rows of logits."""
    member: Member
    """What its request says."""
    written: Sequence[int]
    """The draft's tokens up to now; may be a list that the engine goes on writing to."""


@dataclass(frozen=True)
class Alike:
    """Whole groups whose scores are taken in one go: as many branches, and the same cut."""

    members: tuple[Member, ...]
    """One of each group; all of a group say the same but for their branch."""
    written: tuple[Sequence[int], ...]
    """The tokens of each draft."""
    biases: tuple[Bias, ...]
    """What is added for each group."""
    rows: Tensor
    """[groups, branches], the branches in the order of their preset."""
    cut: Cut | None
    """Of all of them."""


class Choice:
    """Chooses for the groups of one engine."""

    def __init__(self, vllm_config: Any, device: torch.device) -> None:  # noqa: ANN401 - vLLM is not imported here
        """Reads the tokenizer that the engine was started with, from its folder or the local cache."""
        if vllm_config.speculative_config is not None:
            raise UnsupportedEngine("groups cannot be decoded speculatively", fix="start vLLM without a draft model")
        said = vllm_config.model_config
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            said.tokenizer, revision=said.tokenizer_revision, **SAFELY
        )
        never = image_tokens(said.hf_config)
        self._device = device
        self._biases = Biases(HuggingFaceTokenizer(tokenizer), never)
        self._held: dict[str, Bias] = {}
        self._mark = broken_mark(said.hf_config)
        self._end = min(end_tokens(tokenizer.eos_token_id), default=0)

    def plan(self, seats: Iterable[Seat]) -> list[Alike]:
        """The groups that are whole in this batch; a member without its others is left to the scheduler."""
        groups: dict[str, dict[int, Seat]] = {}
        for seat in seats:
            groups.setdefault(seat.member.group, {})[seat.member.row] = seat
        self._held = {group: bias for group, bias in self._held.items() if group in groups}
        alike: dict[tuple[int, Cut | None], list[dict[int, Seat]]] = {}
        for group in groups.values():
            preset = group[min(group)].member.preset
            if len(group) == len(preset.branches):
                alike.setdefault((len(group), preset.cut), []).append(group)
        return [self._alike(cut, found) for (_, cut), found in alike.items()]

    def _alike(self, cut: Cut | None, groups: Sequence[dict[int, Seat]]) -> Alike:
        members = tuple(group[0].member for group in groups)
        for member in members:
            if member.group not in self._held:
                self._held[member.group] = self._biases.of(member.preset, member.phrases)
        rows = [[group[branch].row for branch in sorted(group)] for group in groups]
        return Alike(
            members=members,
            written=tuple(group[0].written for group in groups),
            biases=tuple(self._held[member.group] for member in members),
            rows=torch.tensor(rows, device=self._device),
            cut=cut,
        )

    def choose(self, logits: Tensor, alike: Alike) -> list[int]:
        """One token for each group, written to its rows in place: 0 for the token, minus infinity for all others."""
        tokens = self._tokens(logits[alike.rows], alike)
        chosen = torch.tensor(tokens, device=self._device)[:, None].expand_as(alike.rows)
        logits[alike.rows] = -math.inf
        logits[alike.rows, chosen] = 0.0
        return tokens

    def _tokens(self, logits: Tensor, alike: Alike) -> list[int]:
        members, written = alike.members, alike.written
        steps = [len(tokens) for tokens in written]
        bias = [at(tokens) for at, tokens in zip(alike.biases, written, strict=True)]
        weights = [member.preset.weights(step) for member, step in zip(members, steps, strict=True)]
        whole = list(range(len(members)))
        while whole:
            try:
                scores = combine_groups(
                    logits[whole] if len(whole) < len(members) else logits,
                    [weights[i] for i in whole],
                    cut=alike.cut,
                    bias=[bias[i] for i in whole],
                )
                found = sample_rows(
                    scores,
                    [members[i].temperature for i in whole],
                    [members[i].seed for i in whole],
                    [steps[i] for i in whole],
                )
            except BrokenLogits as error:
                # One draft's logits must end neither the engine nor the other drafts.
                _LOG.error("%s", error)
                whole = [i for at, i in enumerate(whole) if at not in error.groups]
            else:
                chosen = dict(zip(whole, found, strict=True))
                return [chosen[i] if i in chosen else self._ending(written[i]) for i in range(len(members))]
        return [self._ending(tokens) for tokens in written]

    def _ending(self, written: Sequence[int]) -> int:
        """What a broken draft gets: first the mark, then, where nobody ended it for that, the end token."""
        return self._end if self._mark is None or (written and written[-1] == self._mark) else self._mark


def broken_mark(hf_config: object) -> int | None:
    """The token by which the processors tell the scheduler that a draft's logits were broken: a place for an image.

    No draft can hold one otherwise. The scheduler ends the draft as an error. None for a model that reads text only:
    there a broken draft ends as if the model had ended it.
    """
    return min(image_tokens(hf_config), default=None)
