"""What is asked of a language model, what it answers, and the one interface every engine stands behind.

In: for each draft one prompt per branch, a preset that says how the branches are mixed, and where to stop.
Out: the tokens, the text and why it ended. Nothing here knows an engine: `reference`, `batched` and any other take the
same records, ask the same `DraftText` whether to go on, and so end a draft at the same token.
Pixels never live in records: a prompt names its images and the arrays are handed in beside it.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Literal, Protocol

from pydantic import Field, model_validator

from generation.decoding.bias import PhraseBias, PhraseTrie, log_odds, published_bias, repeated_ngrams
from generation.decoding.presets import Preset
from generation.decoding.tokenizer import Tokenizer
from generation.halt import Halt
from prompts.message import Branch, ImageRef, Message
from retrieval.pixels import Pixels
from retrieval.record import Record

Images = Mapping[str, Pixels]
"""Display-ready grey images (float32 in [0, 1], [rows, columns]) by the name prompts use for them."""
OnText = Callable[[int, str], None]
"""Called with the number of the request and the text that has just become certain; never with an empty text."""
Bias = Callable[[Sequence[int]], dict[int, float]]
"""What is added to which token's score, given the tokens written so far; minus infinity forbids."""
Finish = Literal["end", "stop", "length"]
"""Why a draft ended: the model said so, a stop string came, or `max_new_tokens` were written."""


class BranchPrompt(Record):
    """The prompt of one branch, in exactly one of three forms."""

    branch: Branch
    """Which branch of the preset it is the prompt of."""
    messages: tuple[Message, ...] = ()
    """Rendered by the model's chat template. Empty in the other two forms."""
    text: str = ""
    """The finished prompt with all its markup, tokenised as it stands: nothing is put before or after it."""
    token_ids: tuple[int, ...] = ()
    """The finished prompt as tokens; without images only, since engines expand an image's place differently."""
    text_images: tuple[str, ...] = ()
    """The images whose places stand in `text`, in order. Messages carry their own."""

    @property
    def images(self) -> tuple[str, ...]:
        """The names of this branch's images, in the order in which they stand in the prompt."""
        named = (part.name for message in self.messages for part in message.content if isinstance(part, ImageRef))
        return (*self.text_images, *named)

    @model_validator(mode="after")
    def _one_form(self) -> "BranchPrompt":
        if sum(map(bool, (self.messages, self.text, self.token_ids))) != 1:
            raise ValueError("a prompt has exactly one of messages, text and token_ids")
        if self.text_images and not self.text:
            raise ValueError("text_images belong to text")
        return self


class Phrase(Record):
    """A finding that a preset with a bias leans towards or away from."""

    label: str
    """As it is written inside a sentence."""
    probability: float = Field(ge=0, le=1)
    """The experts' calibrated probability that it is there; .5 leans nowhere, and keeps its words from other labels."""
    forms: tuple[str, ...] = ()
    """Other wordings of the same finding."""


class GenerationRequest(Record):
    """One draft to write."""

    branches: tuple[BranchPrompt, ...] = Field(min_length=1)
    """One prompt per branch, in any order; those the preset does not mix are not run."""
    preset: Preset
    """How the branches are mixed."""
    phrases: tuple[Phrase, ...] = ()
    """Read only by a preset that has a bias."""
    max_new_tokens: int = Field(default=256, ge=1)
    """A draft ends here at the latest; a prompt that leaves no room for it is refused."""
    temperature: float = Field(default=0.0, ge=0.0)
    """0 takes the most likely token."""
    seed: int = Field(default=0, ge=0)
    """The same request and seed draw the same tokens on every engine."""
    stop: tuple[str, ...] = ()
    """Texts at whose first appearance the draft ends; they are not part of it."""

    @property
    def mixed(self) -> tuple[BranchPrompt, ...]:
        """The prompts of the branches the preset mixes, in its order."""
        given = {prompt.branch: prompt for prompt in self.branches}
        return tuple(given[branch] for branch in self.preset.branches)

    @model_validator(mode="after")
    def _branches_fit(self) -> "GenerationRequest":
        given = [prompt.branch for prompt in self.branches]
        if len(set(given)) != len(given):
            raise ValueError("a branch has two prompts")
        if missing := [branch for branch in self.preset.branches if branch not in given]:
            raise ValueError(f"preset {self.preset.name} mixes branches without a prompt: {', '.join(missing)}")
        if not all(self.stop):
            raise ValueError("an empty stop string would end every draft at once")
        return self


class Generated(Record):
    """What one request gave."""

    token_ids: tuple[int, ...]
    """What was written, without the end token; with the tokens of a stop string, which `text` lacks."""
    text: str
    """The tokens as text, without what ended it."""
    finish: Finish
    """Why it ended."""
    margins: tuple[float, ...] = ()
    """Per step, how far the best score led the second; where it is tiny another engine may choose otherwise. Empty
    where the engine keeps its scores to itself."""
    prompt_tokens: tuple[int, ...]
    """The length of each mixed branch's prompt, images included: what the draft cost before its first token."""


class Generator(Protocol):
    """An engine that writes drafts."""

    @property
    def name(self) -> str:
        """The engine: reference, transformers, vllm, openai."""
        ...

    @property
    def language_model(self) -> str:
        """The folder or hub id of the model that writes."""
        ...

    @property
    def weights(self) -> str:
        """Digest of the model's files as far as this machine has them; empty where a server keeps them."""
        ...

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        """Write one draft per request, in the order of the requests; every fault of a request comes before any work.

        Raises Cancelled or DeadlineExceeded soon after `halt` says so, with nothing left running.
        """
        ...

    def close(self) -> None:
        """Let go of whatever is held open; nothing is written afterwards."""
        ...


class Biases:
    """The bias of each request for one tokenizer; requests that bring the same phrases share their trie."""

    def __init__(self, tokenizer: Tokenizer, never: Collection[int]) -> None:
        """`never` are tokens that no draft may hold: those that stand for images."""
        self._tokenizer = tokenizer
        self._bans = dict.fromkeys(sorted(never), -math.inf)
        self._trie = lru_cache(maxsize=4)(lambda forms: PhraseTrie(tokenizer, dict(forms)))

    def of(self, preset: Preset, phrases: Sequence[Phrase]) -> Bias:
        """What is added to which token's score, given the tokens written so far."""
        bans = self._bans
        leaning = self._leaning(preset, phrases)
        if not preset.no_repeat:
            return lambda written: leaning(written) | bans
        return lambda written: leaning(written) | repeated_ngrams(written, preset.no_repeat) | bans

    def _leaning(self, preset: Preset, phrases: Sequence[Phrase]) -> Bias:
        probabilities = {each.label: each.probability for each in phrases}
        if preset.bias == "none":
            return lambda _: {}
        if preset.bias == "published":
            always = preset.scaled(published_bias(self._tokenizer, probabilities, gamma=preset.gamma))
            return lambda _: always
        trie = self._trie(tuple((each.label, (each.label, *each.forms)) for each in phrases))
        odds = {label: log_odds(probability) for label, probability in probabilities.items()}
        leant = PhraseBias(trie, odds, gamma=preset.gamma)
        return lambda written: preset.scaled(leant.at(written))


class DraftText:
    """One draft while it is written: takes token after token, knows the text so far and whether it has ended."""

    def __init__(
        self, request: GenerationRequest, end_ids: frozenset[int], decode: Callable[[Sequence[int]], str]
    ) -> None:
        self._request = request
        self._end_ids = end_ids
        self._decode = decode
        self._shown = 0
        self._margins: list[float] = []
        self._text = ""
        self.token_ids: list[int] = []
        """What was written so far, without the end token."""
        self.finish: Finish | None = None
        """None while the draft goes on."""

    @property
    def step(self) -> int:
        """Number of the token that comes next, from 0."""
        return len(self._margins)

    def add(self, token: int, margin: float) -> str:
        """Take the next token; returns the text that can be shown now because no later token can change it."""
        self._margins.append(margin)
        if token in self._end_ids:
            self.finish = "end"
        else:
            self.token_ids.append(token)
            # Decoded as a whole each time: a token may be half a character, and some put no space before a first word.
            self._text = self._decode(self.token_ids)
            found = [at for at in map(self._text.find, self._request.stop) if at >= 0]
            if found:
                self._text = self._text[: min(found)]
                self.finish = "stop"
            elif len(self.token_ids) == self._request.max_new_tokens:
                self.finish = "length"
        ready = len(self._text) if self.finish else self._certain()
        shown, self._shown = self._text[self._shown : ready], max(self._shown, ready)
        return shown

    def result(self, prompt_tokens: Sequence[int]) -> Generated:
        """The ended draft."""
        if self.finish is None:
            raise RuntimeError("the draft has not ended")
        return Generated(
            token_ids=tuple(self.token_ids),
            text=self._text,
            finish=self.finish,
            margins=tuple(self._margins),
            prompt_tokens=tuple(prompt_tokens),
        )

    def _certain(self) -> int:
        """How much of the text cannot change: not half a character, nor what may be the head of a stop string."""
        text = self._text.rstrip("\ufffd")
        heads = (stop[:length] for stop in self._request.stop for length in range(1, len(stop)))
        return len(text) - max((len(head) for head in heads if text.endswith(head)), default=0)
