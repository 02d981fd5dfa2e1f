"""Who writes a draft's words, and how it is asked: a language model with a preset, and the experts it listens to.

Facts and pixels in, one request to a generator out, and afterwards the record of how it was answered. Nothing here
knows where facts come from or what becomes of the text. The same facts and settings make the same request, to the
character: that is what lets a draft be written again.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from generation.decoding.blinding import noised
from generation.decoding.generator import BranchPrompt, Generated, GenerationRequest, Generator, Images, Phrase
from generation.decoding.presets import PRESETS, Preset
from generation.draft import Writing
from generation.experts.expert import Expert
from generation.experts.panel import consult
from prompts.facts import Facts
from prompts.message import Branch
from prompts.render import TEMPLATES, Rendered, image_names, noised_name, render
from retrieval.expert_scores import ExpertScores
from retrieval.ontology.ontology import Ontology
from retrieval.pixels import Pixels
from retrieval.study import ReadStudy

Fallback = Literal["retrieval", "error"]
"""What happens where no language model answers: a draft of similar cases that says so, or the error itself."""
MAX_NEW_TOKENS: Final = 256
"""A long chest report has some 200 tokens."""


@dataclass(frozen=True)
class Writer:
    """A language model and all that decides what it writes, the study aside."""

    generator: Generator
    """The engine with its model."""
    preset: Preset = PRESETS["grounded"]
    """How the branches are mixed."""
    experts: Sequence[Expert] = ()
    """Asked about every study. Without one the anchored branch says that none was asked, and a bias leans nowhere."""
    temperature: float = 0.0
    """0 takes the most likely token."""
    seed: int = 0
    """Of the draws, and of the noise on a blinded image."""
    max_new_tokens: int = MAX_NEW_TOKENS
    """A draft ends here at the latest."""
    fallback: Fallback = "retrieval"
    """What happens where the model does not answer."""

    def consulted(self, read: ReadStudy) -> ExpertScores | None:
        """What the experts say of a study; None without an expert or an image they know."""
        return consult(self.experts, _shown(read), [image.attributes.view for image in read.study.images])

    def asked(self, facts: Facts, read: ReadStudy, ontology: Ontology) -> "Asked":
        """The request for one draft."""
        leaning = phrases_of(facts.experts, ontology) if self.preset.bias != "none" else ()
        return _ask(facts, read, ontology, self, leaning, TEMPLATES)


class Asked(NamedTuple):
    """A request, and what it was made of."""

    request: GenerationRequest
    """With one prompt for each branch of the preset."""
    images: Images
    """By the names that the prompts use."""
    templates: str
    """Version of the prompts' templates."""
    digests: dict[Branch, str]
    """SHA-256 of each branch's messages."""


def asked_again(writing: Writing, facts: Facts, read: ReadStudy, ontology: Ontology, generator: Generator) -> Asked:
    """The request that a recorded draft was written by, from its record alone and the same facts."""
    writer = Writer(
        generator,
        writing.preset,
        temperature=writing.temperature,
        seed=writing.seed,
        max_new_tokens=writing.max_new_tokens,
    )
    return _ask(facts, read, ontology, writer, writing.phrases, writing.templates)


def writing_of(asked: Asked, answer: Generated, generator: Generator, seconds: float) -> Writing:
    """The record of how a draft was written."""
    request = asked.request
    return Writing(
        generator=generator.name,
        language_model=generator.language_model,
        weights=generator.weights,
        preset=request.preset,
        templates=asked.templates,
        prompts=asked.digests,
        # A server may not count them.
        prompt_tokens=dict(zip(request.preset.branches, answer.prompt_tokens, strict=False)),
        phrases=request.phrases,
        temperature=request.temperature,
        seed=request.seed,
        max_new_tokens=request.max_new_tokens,
        token_ids=answer.token_ids,
        finish=answer.finish,
        seconds=seconds,
    )


def phrases_of(experts: ExpertScores | None, ontology: Ontology) -> tuple[Phrase, ...]:
    """Every finding the experts know with its wordings; all of them, so that every study has the same trie."""
    scores = sorted(experts.scores, key=lambda score: score.concept) if experts else []
    concepts = [ontology[score.concept] for score in scores]
    return tuple(
        Phrase(label=concept.name, probability=score.probability, forms=concept.synonyms)
        for concept, score in zip(concepts, scores, strict=True)
    )


def digest_of(prompt: Rendered) -> str:
    """SHA-256 of a prompt's messages as canonical JSON."""
    messages = [message.model_dump(mode="json") for message in prompt.messages]
    return hashlib.sha256(json.dumps(messages, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _ask(
    facts: Facts, read: ReadStudy, ontology: Ontology, writer: Writer, phrases: tuple[Phrase, ...], templates: str
) -> Asked:
    preset = writer.preset
    prompts = [
        render(facts, branch, ontology, blinding=preset.blinding, templates=templates) for branch in preset.branches
    ]
    request = GenerationRequest(
        branches=tuple(BranchPrompt(branch=prompt.branch, messages=prompt.messages) for prompt in prompts),
        preset=preset,
        phrases=phrases,
        max_new_tokens=writer.max_new_tokens,
        temperature=writer.temperature,
        seed=writer.seed,
    )
    named = {name for prompt in request.branches for name in prompt.images}
    images: dict[str, Pixels] = {}
    for number, (name, pixels) in enumerate(zip(image_names(facts.study), _shown(read), strict=True)):
        if name in named:
            images[name] = pixels
        if (twin := noised_name(name)) in named:
            images[twin] = noised(pixels, writer.seed + number)
    return Asked(request, images, templates, {prompt.branch: digest_of(prompt) for prompt in prompts})


def _shown(read: ReadStudy) -> tuple[Pixels, ...]:
    if not read.pixels:
        raise ValueError("experts and language models are shown pixels: read the study with readers that keep them")
    return read.pixels
