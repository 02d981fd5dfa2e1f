"""All branches of many drafts in one batch with one cache: the generator for machines without a serving engine.

Every prompt is read once, padded on the left; then each step is one forward pass with one new token per row, and the
rows of a draft always get the same token. Held to `reference` token by token. Scores and choice are `combine`'s, ends
are `DraftText`'s; only rows, padding, positions and the cache are handled here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from generation.decoding.combine import combine_groups, margins, sample_rows
from generation.decoding.generator import Bias, Biases, DraftText, Generated, GenerationRequest, Images, OnText
from generation.decoding.hf_models import HfModel, Inputs, stack
from generation.decoding.presets import Preset
from generation.decoding.rows_cache import RowsCache
from generation.halt import Halt
from retrieval.errors import BrokenLogits


class BatchedGenerator:
    """Writes drafts in batches."""

    name: ClassVar[str] = "transformers"

    def __init__(self, model: HfModel, *, drafts_at_once: int = 8, prefill_tokens: int = 8192) -> None:
        """`drafts_at_once` bounds the memory for the cache, `prefill_tokens` that for reading prompts."""
        self._model = model
        self._biases = Biases(model.words, model.image_ids)
        self._drafts_at_once = drafts_at_once
        self._prefill_tokens = prefill_tokens

    @property
    def language_model(self) -> str:
        """The folder or hub id of the model."""
        return self._model.name

    @property
    def weights(self) -> str:
        """Digest of the model's files."""
        return self._model.weights

    def close(self) -> None:
        """Nothing is held open; the memory goes with the object."""

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        """Write one draft per request, in the order of the requests.

        A draft whose logits are not numbers ends the call with BrokenLogits, whose `groups` are request numbers.
        """
        model, halt = self._model, halt or Halt()
        drafts = [
            _Draft(
                number,
                request,
                inputs=model.encode(request, images),
                bias=self._biases.of(request.preset, request.phrases),
                text=DraftText(request, model.end_ids, model.decode),
            )
            for number, request in enumerate(requests)
        ]
        # Prompts of like length side by side, so that little is padding.
        by_length = sorted(drafts, key=lambda draft: max(one.length for one in draft.inputs))
        for first in range(0, len(by_length), self._drafts_at_once):
            self._write(by_length[first : first + self._drafts_at_once], on_text, halt)
        return [draft.text.result([one.length for one in draft.inputs]) for draft in drafts]

    def _write(self, drafts: list["_Draft"], on_text: OnText | None, halt: Halt) -> None:
        with torch.inference_mode():
            # 1. Every prompt once.
            rows = [one for draft in drafts for one in draft.inputs]
            owners = [draft for draft in drafts for _ in draft.inputs]
            batch, logits = self._read(rows, max(draft.request.max_new_tokens for draft in drafts), halt)
            while True:
                # 2. One token for each draft that goes on; a draft that ended takes no part.
                for alike in _alike(owners):
                    _choose(alike, owners, logits, on_text)
                going = [row for row, owner in enumerate(owners) if owner.text.finish is None]
                if not going:
                    return
                # 3. Rows of ended drafts are dropped once they are half of all: each time the cache is copied.
                if 2 * len(going) <= len(owners):
                    owners = [owners[row] for row in going]
                    batch.keep(going)
                # 4. The same token to all rows of a draft.
                halt.check()
                logits = batch.step(self._model, [owner.token for owner in owners])

    def _read(self, rows: Sequence[Inputs], room: int, halt: Halt) -> tuple["_Batch", Tensor]:
        """Prefill in parts that fit the memory; returns the batch, and the logits [rows, vocab] after each prompt."""
        model, width = self._model, max(one.length for one in rows)
        mask = torch.zeros((len(rows), width + room), dtype=torch.long, device=model.device)
        logits, following, parts = [], [], []
        fill = min(model.end_ids, default=0)  # any token does: it is masked
        for part in _parts(rows, self._prefill_tokens):
            halt.check()
            inputs, cache = stack(part, fill), DynamicCache()
            positions = model.positions(inputs)
            answer = model.network(
                **inputs.tokens,
                **inputs.pictures,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            logits.append(answer.logits[:, -1])
            # The largest of all planes, since after an image they differ; [rows, length] has one plane only.
            following.append(positions.reshape(-1, *positions.shape[-2:]).amax((0, 2)) + 1)
            first = sum(map(len, following[:-1]))
            mask[first : first + len(part), width - inputs.length : width] = inputs.tokens["attention_mask"]
            parts.append(cache)
        mask[:, width:] = 1
        return _Batch(RowsCache(parts, width, room), mask, width, torch.cat(following)), torch.cat(logits)


@dataclass(eq=False)
class _Draft:
    """One request while it is written."""

    number: int
    request: GenerationRequest
    inputs: list[Inputs]
    bias: Bias
    text: DraftText
    token: int = 0
    """The token chosen last; an ended draft repeats it until its rows are dropped."""


@dataclass
class _Batch:
    """The rows of all drafts after `length` columns."""

    cache: RowsCache
    mask: Tensor
    """[rows, columns]: 0 for padding, 1 for tokens and for the room behind them."""
    length: int
    following: Tensor
    """[rows]: the position of the token that comes next."""

    def step(self, model: HfModel, tokens: Sequence[int]) -> Tensor:
        """Give each row its next token; returns the logits [rows, vocab] behind it."""
        self.length += 1
        answer = model.network(
            input_ids=torch.tensor(tokens, device=self.mask.device)[:, None],
            attention_mask=self.mask[:, : self.length],
            position_ids=self.following[:, None],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        )
        self.following = self.following + 1
        logits: Tensor = answer.logits[:, -1]
        return logits

    def keep(self, rows: Sequence[int]) -> None:
        """Drop the other rows, and the columns that are padding in all that stay."""
        kept = torch.tensor(rows, device=self.mask.device)
        padding = int((self.mask[kept] == 0).sum(-1).min())  # nothing but padding on the left is 0
        self.mask, self.following = self.mask[kept, padding:], self.following[kept]
        self.length -= padding
        self.cache.keep(kept, padding)


def _parts(rows: Sequence[Inputs], most_tokens: int) -> Iterator[list[Inputs]]:
    """Neighbouring rows whose padded prompts stay below `most_tokens` and whose images can be put side by side."""
    part: list[Inputs] = []
    for row in rows:
        width = max(one.length for one in (*part, row))
        if part and ((len(part) + 1) * width > most_tokens or not _fit(part, row)):
            yield part
            part = []
        part.append(row)
    yield part


def _fit(part: Sequence[Inputs], row: Inputs) -> bool:
    """Some models cut an image into a number of tiles that depends on its shape; such arrays do not stack."""
    shapes = {name: value.shape[1:] for one in part for name, value in one.pictures.items()}
    return all(shapes.get(name, value.shape[1:]) == value.shape[1:] for name, value in row.pictures.items())


def _alike(owners: Sequence[_Draft]) -> list[list[_Draft]]:
    """The drafts that go on, grouped by preset: one sum is taken for all of a group."""
    groups: dict[Preset, list[_Draft]] = {}
    for owner in dict.fromkeys(owners):
        if owner.text.finish is None:
            groups.setdefault(owner.request.preset, []).append(owner)
    return list(groups.values())


def _choose(drafts: Sequence[_Draft], owners: Sequence[_Draft], logits: Tensor, on_text: OnText | None) -> None:
    """Choose the next token of drafts that share a preset, from the rows that are theirs."""
    preset = drafts[0].request.preset
    rows = torch.tensor([[row for row, owner in enumerate(owners) if owner is draft] for draft in drafts])
    try:
        scores = combine_groups(
            logits[rows.to(logits.device)],
            [preset.weights(draft.text.step) for draft in drafts],
            cut=preset.cut,
            bias=[draft.bias(draft.text.token_ids) for draft in drafts],
        )
    except BrokenLogits as error:
        broken = tuple(drafts[group].number for group in error.groups)
        raise BrokenLogits(error.what, groups=broken, fix=error.fix) from error
    tokens = sample_rows(
        scores,
        [draft.request.temperature for draft in drafts],
        [draft.request.seed for draft in drafts],
        [draft.text.step for draft in drafts],
    )
    for draft, token, margin in zip(drafts, tokens, margins(scores).tolist(), strict=True):
        draft.token = token
        if (shown := draft.text.add(token, margin)) and on_text is not None:
            on_text(draft.number, shown)
