"""Drafts written by any OpenAI-compatible server: one prompt, one answer.

In: requests of a preset with one branch and nothing added to the scores (`plain`, `prompt`). Out: text and why it
ended. Refused by name is what such a server cannot do: mixing branches and leaning towards findings. Sampling is the
server's own: `temperature` and `seed` are passed on, and what they give is not what other generators draw from them.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Self

from pydantic import SecretStr

from generation.decoding.generator import Generated, GenerationRequest, Images, OnText
from generation.decoding.presets import PRESETS, Preset
from generation.halt import Halt
from generation.remote.groups import CallsOf, Groups, Limits
from generation.remote.stream import Answer, Call
from generation.remote.wire import body_of, check_prompt
from retrieval.errors import InvalidPrompt, RequestError


class OpenAiGenerator:
    """Writes drafts on any number of equal servers, one request each."""

    name: ClassVar[str] = "openai"

    def __init__(
        self,
        urls: Sequence[str],
        language_model: str,
        *,
        key: SecretStr | None = None,
        limits: Limits | None = None,
    ) -> None:
        """`language_model` as the servers call it."""
        self._language_model = language_model
        self._groups = Groups(urls, key=key, limits=limits)

    @property
    def language_model(self) -> str:
        """What the servers call the model."""
        return self._language_model

    @property
    def weights(self) -> str:
        """Empty: the files are on the servers."""
        return ""

    def generate(
        self,
        requests: Sequence[GenerationRequest],
        images: Images,
        on_text: OnText | None = None,
        halt: Halt | None = None,
    ) -> list[Generated]:
        """Write one draft per request, in the order of the requests.

        `token_ids` and `margins` of the drafts are empty, and so is `prompt_tokens` where the server does not count.
        """
        for request in requests:
            check_preset(request.preset)
            [prompt] = request.mixed
            check_prompt(prompt, images)
            if prompt.token_ids:
                raise InvalidPrompt(
                    "a prompt in tokens means nothing to a server whose vocabulary is not known",
                    fix="hand it in as messages",
                )
        drafts = [self._calls_of(request, images) for request in requests]
        return [_generated(answer) for [answer] in self._groups.write(drafts, on_text, halt)]

    def close(self) -> None:
        """Stop what runs and the client's thread."""
        self._groups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _calls_of(self, request: GenerationRequest, images: Images) -> CallsOf:
        def calls(_: str) -> list[Call]:
            [(path, body)] = body_of(request.mixed, images)
            body |= {
                "model": self._language_model,
                "max_tokens": request.max_new_tokens,
                "temperature": request.temperature,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            if request.stop:
                body["stop"] = list(request.stop)
            if request.temperature:  # greedy needs none, and vLLM on a CPU does not survive one
                body["seed"] = request.seed
            return [Call(path, body, request.max_new_tokens)]

        return calls


def check_preset(preset: Preset) -> None:
    """Raises RequestError for a preset that needs more than one branch's own probabilities."""
    able = " or ".join(name for name, one in PRESETS.items() if _lacks(one) is None)
    if (lack := _lacks(preset)) is not None:
        raise RequestError(
            f"preset {preset.name} {lack}, which an OpenAI-compatible server cannot do",
            fix=f"ask for {able}, or use the generator `vllm-http` with servers that `prelim vllm-serve` starts",
        )


def _lacks(preset: Preset) -> str | None:
    if len(preset.branches) > 1:
        return f"mixes {len(preset.branches)} branches ({', '.join(preset.branches)})"
    if preset.bias != "none":
        return "leans towards findings"
    if preset.no_repeat:
        return "forbids repeats"
    return None


def _generated(answer: Answer) -> Generated:
    assert answer.finish is not None
    return Generated(
        token_ids=(),
        text=answer.text,
        finish=answer.finish,
        prompt_tokens=() if answer.prompt_tokens is None else (answer.prompt_tokens,),
    )
