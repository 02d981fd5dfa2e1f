"""Drafts written by vLLM servers that run the plugin: each branch is one request, and the plugin makes them a group.

In: requests of any preset. Out: tokens, text and why each draft ended; scores stay on the server, and so does the
model's digest. How a group is decoded is the plugin's business (`generation.vllm`).
"""

from collections.abc import Sequence
from types import TracebackType
from typing import ClassVar, Final, Self

from pydantic import SecretStr

from generation.decoding.generator import Generated, GenerationRequest, Images, OnText
from generation.halt import Halt
from generation.remote.groups import CallsOf, Groups, Limits
from generation.remote.stream import Answer, Call
from generation.remote.wire import body_of, check_prompt
from generation.vllm.group import Member
from generation.vllm.places import GROUP_HEADER
from retrieval.errors import GeneratorUnavailable

_NEUTRAL: Final = {
    # Said in full, because a server fills what is left out from the model's generation_config.json.
    "temperature": 0.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "add_special_tokens": False,
    "return_token_ids": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}
BEHIND: Final = 1
"""vLLM's priority of a draft that nobody waits for; 0 goes first."""
PATIENCE: Final = 20
"""How many times longer such a draft waits for a token: others may keep a server's places for a while."""


class VllmHttpGenerator:
    """Writes drafts on any number of equal servers; a draft's branches all go to one of them."""

    name: ClassVar[str] = "vllm-http"

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

        What only a server can see (a prompt too long, a model without eyes) ends the call when the server says so; a
        draft that finds no room at its end is refused then. The text is the server's: a half character at its end is
        missing from it.
        """
        for request in requests:
            for prompt in request.mixed:
                check_prompt(prompt, images)
        awaited = halt is None or halt.awaited
        drafts = [self._calls_of(request, images, awaited=awaited) for request in requests]
        answers = self._groups.write(drafts, on_text, halt)
        return [_generated(each) for each in answers]

    def close(self) -> None:
        """Stop what runs and the client's thread."""
        self._groups.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _calls_of(self, request: GenerationRequest, images: Images, *, awaited: bool) -> CallsOf:
        def calls(group: str) -> list[Call]:
            made = []
            for number, (prompt, (path, body)) in enumerate(
                zip(request.mixed, body_of(request.mixed, images), strict=True)
            ):
                member = Member(
                    group=group,
                    branch=prompt.branch,
                    preset=request.preset,
                    phrases=request.phrases,
                    temperature=request.temperature,
                    seed=request.seed,
                )
                body |= _NEUTRAL
                body |= {
                    "priority": 0 if awaited else BEHIND,
                    "model": self._language_model,
                    "max_tokens": request.max_new_tokens,
                    "stop": list(request.stop),
                    "request_id": f"{group}-{prompt.branch}",
                    "vllm_xargs": member.arguments(),
                }
                if number:  # only the first member is listened to while it writes; the others are compared at the end
                    body["stream_interval"] = request.max_new_tokens
                patience = 1 if awaited else PATIENCE
                made.append(Call(path, body, request.max_new_tokens, {GROUP_HEADER: group}, patience))
            return made

        return calls


def _generated(answers: Sequence[Answer]) -> Generated:
    first = answers[0]
    if first.finish is None or not first.token_ids or any(answer.prompt_tokens is None for answer in answers):
        raise GeneratorUnavailable(
            "the server left out the tokens or their number",
            fix="serve with vLLM 0.32; for other servers there is the generator `openai`",
        )
    return Generated(
        # The end token is no part of a draft.
        token_ids=tuple(first.token_ids[:-1] if first.finish == "end" else first.token_ids),
        text=first.text,
        finish=first.finish,
        prompt_tokens=tuple(answer.prompt_tokens or 0 for answer in answers),
    )
