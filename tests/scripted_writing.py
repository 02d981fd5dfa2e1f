"""A generator that writes what a test says and an expert that thinks what a test says, behind the real protocols."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from generation.decoding.generator import Finish, Generated, GenerationRequest, Images, OnText
from generation.experts.expert import Logits, Prepared, Probabilities
from generation.experts.labels import Label
from generation.halt import Halt
from retrieval.expert_scores import ExpertScore, ExpertScores
from retrieval.ontology.ontology import load
from retrieval.pixels import Pixels


class Says:
    """Writes one text, a few characters a token; keeps what it was asked and when it was heard."""

    name: ClassVar[str] = "scripted"
    language_model = "invented"
    weights = "0" * 64

    def __init__(
        self, text: str, *, finish: Finish = "end", error: Exception | None = None, cancels_after: int | None = None
    ) -> None:
        """`error` is raised once the text is written, `cancels_after` so many tokens the caller hangs up."""
        self.text = text
        self.requests: list[GenerationRequest] = []
        self.images: Images = {}
        self.written = 0
        self._finish: Finish = finish
        self._error = error
        self._cancels_after = cancels_after

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        (request,) = requests
        self.requests.append(request)
        self.images = images
        assert {name for prompt in request.mixed for name in prompt.images} == images.keys()
        for token, start in enumerate(range(0, len(self.text), 4)):
            self.written = start
            if halt is not None:
                if token == self._cancels_after:
                    halt.cancel()
                halt.check()
            if on_text is not None:
                on_text(0, self.text[start : start + 4])
        self.written = len(self.text)
        if self._error is not None:
            raise self._error
        return [
            Generated(
                token_ids=tuple(self.text.encode("utf-8", "replace")),
                text=self.text,
                finish=self._finish,
                prompt_tokens=(7,) * len(request.preset.branches),
            )
        ]

    def said(self, branch: str) -> str:
        """The words of a branch's prompt."""
        (prompt,) = (prompt for prompt in self.requests[-1].branches if prompt.branch == branch)
        return "\n".join(part for message in prompt.messages for part in message.content if isinstance(part, str))


class Thinks:
    """An expert with one opinion of every image: probabilities by slug, settled below .2 and from .8."""

    def __init__(self, **probabilities: float) -> None:
        ontology = load()
        self.identity = self.weights = "an-expert"
        self.labels = tuple(Label(name=slug, concept=ontology[slug].id) for slug in probabilities)
        self.asked: list[Any] = []
        self._probabilities = probabilities

    def prepare(self, pixels: Pixels) -> Prepared:
        self.asked.append(pixels.shape)
        return np.zeros(1)

    def run(self, batch: Prepared) -> Logits:
        return np.tile(np.array([*self._probabilities.values()], np.float64), (len(batch), 1))

    def uncalibrated(self, raw: Logits) -> Probabilities:
        return raw

    def finish(self, raw: Logits) -> list[ExpertScores]:
        return [
            ExpertScores(
                expert=self.identity,
                scores=tuple(
                    ExpertScore(concept=label.concept, probability=float(p), absent_below=0.2, present_above=0.8)
                    for label, p in zip(self.labels, row, strict=True)
                ),
            )
            for row in raw
        ]
