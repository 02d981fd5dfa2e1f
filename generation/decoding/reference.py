"""The oracle: every token of every draft from whole forward passes, one per branch, without a cache, batch or padding.

Slow and obvious. Positions, masks and images are what the model itself makes of a whole prompt; so a faster engine that
agrees with this one has its cache, padding and positions right.
"""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from generation.decoding.combine import combine, margins, sample
from generation.decoding.generator import Biases, DraftText, Generated, GenerationRequest, Images, OnText
from generation.decoding.hf_models import HfModel, Inputs
from generation.halt import Halt
from retrieval.errors import BrokenLogits


class ReferenceGenerator:
    """Writes drafts one by one, recomputing everything at each token."""

    name: ClassVar[str] = "reference"

    def __init__(self, model: HfModel) -> None:
        self._model = model
        self._biases = Biases(model.words, model.image_ids)

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
        encoded = [self._model.encode(request, images) for request in requests]
        halt = halt or Halt()
        return [
            self._write(number, request, inputs, on_text, halt)
            for number, (request, inputs) in enumerate(zip(requests, encoded, strict=True))
        ]

    def _write(
        self, number: int, request: GenerationRequest, inputs: list[Inputs], on_text: OnText | None, halt: Halt
    ) -> Generated:
        model, preset = self._model, request.preset
        bias = self._biases.of(preset, request.phrases)
        draft = DraftText(request, model.end_ids, model.decode)
        while draft.finish is None:
            # 1. What each branch expects next, from its prompt and all that was written.
            logits = torch.stack([self._last_logits(one, draft.token_ids, halt) for one in inputs])
            # 2. One score for each token.
            try:
                scores = combine(logits, preset.weights(draft.step), cut=preset.cut, bias=bias(draft.token_ids))
            except BrokenLogits as error:
                raise BrokenLogits(error.what, groups=(number,), fix=error.fix) from error
            # 3. The token, the same for all branches.
            token = sample(scores, request.temperature, request.seed, draft.step)
            if (shown := draft.add(token, float(margins(scores)))) and on_text is not None:
                on_text(number, shown)
        return draft.result([one.length for one in inputs])

    def _last_logits(self, prompt: Inputs, written: Sequence[int], halt: Halt) -> Tensor:
        """Logits [vocab] for the token after `prompt` and `written`."""
        halt.check()
        more = torch.tensor([list(written)], dtype=torch.long, device=self._model.device)
        fills = {"input_ids": more, "attention_mask": torch.ones_like(more)}  # anything else is 0: a token of text
        tokens = {
            name: torch.cat([value, fills.get(name, torch.zeros_like(more)).to(value.dtype)], dim=1)
            for name, value in prompt.tokens.items()
        }
        with torch.inference_mode():
            answer = self._model.network(**tokens, **prompt.pictures, use_cache=False, logits_to_keep=1)
        logits: Tensor = answer.logits[0, -1]
        return logits
