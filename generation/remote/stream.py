"""One request to one server, streamed: from status and lines to an answer, or to a named error.

The only module that knows httpx. What a server says in words is never repeated: it may hold the prompt. Leaving early,
by cancellation or error, closes the connection, which is how a server learns that the answer is no longer wanted.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import httpx

from generation.decoding.generator import Finish
from generation.remote.servers import NotBegun
from generation.vllm.groups import ENDED, REFUSED, TIMED_OUT
from retrieval.errors import GeneratorUnavailable, ImagesNotSupported, InvalidPrompt, PromptTooLong, RequestError

OnPiece = Callable[[str], None]
"""Called with each piece of text as it comes; with an empty one for a sign of life without text."""

CONNECT_S: Final = 5.0
"""A server that does not take a connection in this time is down."""
SEND_S: Final = 30.0
"""A server that takes no further byte of a request for so long is down."""
IDLE_S: Final = 2.0
"""An idle connection is not used again after this time; vLLM closes them after 5 s, and must not do so under us."""
LONGEST_LINE: Final = 4 * 2**20
"""Bytes; several times what the longest prompt's tokens take in a first event."""
RETRY_AFTER_S: Final = 1.0
"""When a busy server is asked again if it does not say when."""
_TOO_LONG: Final = ("maximum context length", "max_model_len", "context_length_exceeded", "longer than the maximum")
_NO_EYES: Final = (
    "not a multimodal model",
    "At most 0 image",
    "does not support image",
    "image input is not supported",
)


class OtherEnded(GeneratorUnavailable):
    """A member ended without a reason of its own; another of its group may know it."""


@dataclass(frozen=True)
class Call:
    """One request as it goes out."""

    path: str
    body: dict[str, object]
    most_tokens: int
    """An answer with more is not one to this request."""
    headers: Mapping[str, str] = field(default_factory=dict)
    patience: int = 1
    """How many times the usual a server may take for a token; more for what goes behind others."""


@dataclass
class Answer:
    """What has come back so far."""

    token_ids: list[int] = field(default_factory=list)
    """All that were written, an end token included; empty where the server does not say."""
    text: str = ""
    pieces: int = 0
    """How many events brought text: never more than tokens."""
    finish: Finish | None = None
    prompt_tokens: int | None = None
    """None where the server does not say."""


def open_client(key: str | None) -> httpx.AsyncClient:
    """A client for `stream`; proxies of the environment are not used, since prompts hold patients' data."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(None, connect=CONNECT_S, write=SEND_S),
        # As many connections as there are members: a member that waited for one would hold its whole group up.
        limits=httpx.Limits(max_connections=None, keepalive_expiry=IDLE_S),
        headers={"Authorization": f"Bearer {key}"} if key else {},
        follow_redirects=False,
        trust_env=False,
    )


async def stream(client: httpx.AsyncClient, server: str, call: Call, on_piece: OnPiece) -> Answer:
    """Send one request and read its answer to the end.

    Raises NotBegun where no server has begun to work on it; RequestError for what a server would refuse again;
    GeneratorUnavailable for everything else. Waits without limit between pieces: the caller knows how long is too long.
    """
    try:
        async with client.stream("POST", server + call.path, json=call.body, headers=call.headers) as response:
            if response.status_code != httpx.codes.OK:
                raise _refusal(response.status_code, response.headers, await _start_of(response))
            answer, whole = Answer(), False
            async for event in _events(response):
                if event is None:
                    whole = True
                else:
                    _take(event, answer, call, on_piece)
            if answer.finish is not None:
                return answer
            if whole and not answer.token_ids and not answer.text:
                # vLLM has no line for a request that it ends before its first token, so its reason is lost.
                raise OtherEnded(
                    "the server ended the group before its first token",
                    fix="a member came too late, or there can never be room for all; ask again, or look at its log",
                )
            raise GeneratorUnavailable("the server broke its answer off", fix="look at the server's log")
    except (httpx.ConnectError, httpx.ConnectTimeout) as error:
        raise NotBegun(
            GeneratorUnavailable("the server takes no connection", fix="start it, or correct its address")
        ) from error
    except (httpx.HTTPError, httpx.StreamError) as error:
        raise GeneratorUnavailable(
            f"the connection to the server was lost ({type(error).__name__})", fix="look at the server's log"
        ) from error


async def _events(response: httpx.Response) -> AsyncIterator[Mapping[str, object] | None]:
    """The JSON objects of a stream of server-sent events, and None for its end mark."""
    kind = response.headers.get("content-type", "")
    if not kind.startswith("text/event-stream"):
        raise _nonsense("no stream of events")
    held = b""
    async for chunk in response.aiter_bytes():
        *lines, held = (held + chunk).split(b"\n")
        if len(held) > LONGEST_LINE:
            raise _nonsense(f"a line of more than {LONGEST_LINE} bytes")
        for line in lines:
            if not line.startswith(b"data:"):
                continue  # a comment that keeps the connection alive, a blank line, another field
            said = line.removeprefix(b"data:").strip()
            if said == b"[DONE]":
                yield None
                return
            try:
                event = json.loads(said)
            except (ValueError, RecursionError) as error:
                raise _nonsense("an event that is no JSON") from error
            if not isinstance(event, dict):
                raise _nonsense("an event that is no object")
            yield event


def _take(event: Mapping[str, object], answer: Answer, call: Call, on_piece: OnPiece) -> None:
    """Add one event to the answer."""
    if (error := event.get("error")) is not None:
        raise _said_in_stream(error)
    if isinstance(usage := event.get("usage"), dict) and isinstance(count := usage.get("prompt_tokens"), int):
        answer.prompt_tokens = count
    choices = event.get("choices")
    if choices == []:
        return
    if not isinstance(choices, list) or not isinstance(choice := choices[0], dict):
        raise _nonsense("an event without a choice")
    delta = choice.get("delta")
    piece = (delta.get("content") if isinstance(delta, dict) else choice.get("text")) or ""
    tokens = choice.get("token_ids") or []
    if not isinstance(piece, str) or not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise _nonsense("a choice of the wrong kind")
    if answer.finish is not None and (piece or tokens):
        raise _nonsense("text after the end")
    answer.token_ids += tokens
    answer.text += piece
    answer.pieces += bool(piece)
    if max(len(answer.token_ids), answer.pieces) > call.most_tokens:
        raise _nonsense("more tokens than were asked for")
    if (reason := choice.get("finish_reason")) is not None:
        answer.finish = _finish(reason, choice.get("stop_reason"))
    on_piece(piece)


def _finish(reason: object, stop: object) -> Finish:
    if reason == "length":
        return "length"
    if reason == "stop":
        return "stop" if isinstance(stop, str) else "end"
    if reason == "abort":
        raise _given_up(stop if isinstance(stop, str) else "")
    raise _nonsense("an end for no known reason")


def _given_up(stop: str) -> Exception:
    """What the plugin says when it ends a request before its draft has ended; its words hold nothing of a prompt."""
    if stop.startswith(REFUSED):
        why = stop.removeprefix(REFUSED).removeprefix(": ")[:200]
        kind = PromptTooLong if "KV cache" in why else InvalidPrompt
        return kind(f"the server refused the group: {why}", fix="ask for less, or give the server more room")
    if stop == TIMED_OUT:
        return GeneratorUnavailable(
            "a member of the group never came to the server", fix="look at the network; ask again"
        )
    if stop == ENDED:
        return OtherEnded("another member of the group was ended", fix="look at the server's log")
    return GeneratorUnavailable("the server gave the draft up", fix="look at the server's log; ask again")


def _refusal(status: int, headers: Mapping[str, str], body: bytes) -> Exception:
    """What a status other than 200 means to the caller."""
    if status in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
        return NotBegun(None, retry_after_s=_seconds(headers.get("retry-after")))
    if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
        return GeneratorUnavailable(
            f"the server does not let us in (HTTP {status})", fix="set PRELIM_GENERATOR_KEY to the key it was given"
        )
    if status == httpx.codes.NOT_FOUND:
        return GeneratorUnavailable(
            "the server does not serve this language model (HTTP 404)", fix="name it as GET /v1/models does"
        )
    if status in {
        httpx.codes.BAD_REQUEST,
        httpx.codes.REQUEST_ENTITY_TOO_LARGE,
        httpx.codes.UNPROCESSABLE_ENTITY,
    }:
        return _fault(body.decode("utf-8", "replace"), status)
    return GeneratorUnavailable(f"the server failed (HTTP {status})", fix="look at the server's log")


def _said_in_stream(error: object) -> Exception:
    code = error.get("code") if isinstance(error, dict) else None
    if code in {400, 422}:
        return _fault(json.dumps(error), 400)
    return GeneratorUnavailable("the server failed while it wrote", fix="look at the server's log")


def _fault(said: str, status: int) -> RequestError:
    if any(mark in said for mark in _TOO_LONG):
        return PromptTooLong(
            "prompt and draft together exceed the positions the served model knows",
            fix="give fewer or shorter similar cases, or lower max_new_tokens",
        )
    if any(mark in said for mark in _NO_EYES):
        return ImagesNotSupported(
            "an image was put to a served model that takes none, or not so many",
            fix="serve a vision-language model, with a limit on images that fits (--limit-mm-per-prompt)",
        )
    return InvalidPrompt(
        f"the server refused the prompt or its arguments (HTTP {status})",
        fix="its log says why; a server without the plugin needs the generator `openai`",
    )


def _nonsense(what: str) -> GeneratorUnavailable:
    return GeneratorUnavailable(
        f"the server answered with what is no draft: {what}", fix="check that its address is a language model server's"
    )


async def _start_of(response: httpx.Response) -> bytes:
    """Enough of an error's body to tell its kind."""
    start = b""
    async for chunk in response.aiter_bytes():
        start += chunk
        if len(start) > 2**16:
            break
    return start


def _seconds(said: str | None) -> float:
    try:
        return min(max(0.0, float(said or RETRY_AFTER_S)), 86_400.0)
    except ValueError:  # a date: not worth trusting two clocks for
        return RETRY_AFTER_S
