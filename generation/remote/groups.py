"""Many groups of calls at once, each on exactly one server, with places, deadlines between tokens, and retries.

In: per draft, how to make its calls for a group of a given id. Out: the answers of all its members, which have written
the same. What the calls say is not known here.
"""

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from pydantic import Field, SecretStr

from generation.decoding.generator import OnText
from generation.halt import Halt
from generation.remote.background import Background
from generation.remote.servers import NotBegun, Server, Servers
from generation.remote.stream import Answer, Call, OtherEnded, open_client, stream
from generation.steps import carried
from retrieval.errors import GeneratorUnavailable, Overloaded, PromptTooLong, RequestError
from retrieval.record import Record

CallsOf = Callable[[str], Sequence[Call]]
"""The calls of one draft, given the id of its group; the first one's text is told while it comes."""
Tell = Callable[[str], None]

LONGEST_PAUSE_S: Final = 10.0
"""A server that wants to be left alone for longer is not waited for."""
FIRST_PAUSE_S: Final = 0.1
"""Before a server that took no connection is asked again; twice as long each time."""
LAST_WORDS_S: Final = 0.2
"""How long the members of a group that has ended may still say why."""
_USUAL_S: Final = 5.0
"""What a draft is taken to last until some have been written."""


class Limits(Record):
    """How much a client asks of its servers at once, and how long it waits for them."""

    groups: int = Field(default=16, ge=1)
    """Drafts written at the same time, over all servers."""
    waiting: int = Field(default=64, ge=0)
    """Drafts that may wait for a place; a call that comes when as many wait is refused with Overloaded."""
    first_token_s: float = Field(default=60.0, gt=0)
    """The longest wait for a first token: the server's queue, and reading the prompts."""
    next_token_s: float = Field(default=15.0, gt=0)
    """The longest wait for any further token."""
    tries: int = Field(default=3, ge=1)
    """How often a draft that no server has begun is brought to one; each time as a new group."""


class Groups:
    """A client of the servers of one language model; safe to use from several threads."""

    def __init__(self, urls: Sequence[str], *, key: SecretStr | None = None, limits: Limits | None = None) -> None:
        """Starts a thread, and asks no server for anything yet; raises RequestError for no address and no key."""
        if key is not None and not key.get_secret_value().isascii():
            raise RequestError(
                "the servers' key holds letters that no header can carry", fix="correct PRELIM_GENERATOR_KEY"
            )
        self._servers = Servers(urls, time.monotonic)
        self._key = key
        self._limits = limits or Limits()
        self._waiting = 0
        self._usual_s = _USUAL_S
        self._background = Background(self._connected)

    def write(
        self, drafts: Sequence[CallsOf], on_text: OnText | None = None, halt: Halt | None = None
    ) -> list[list[Answer]]:
        """The answers of each draft's calls; raises the first error, or what `halt` says, with nothing left running."""

        def hear(piece: tuple[int, str]) -> None:
            if on_text is not None:
                on_text(*piece)

        trace = carried()  # here, since the background's thread is in no trace

        def traced(calls_of: CallsOf) -> CallsOf:
            return lambda group: [replace(call, headers={**call.headers, **trace}) for call in calls_of(group)]

        asked = [traced(calls_of) for calls_of in drafts]
        return self._background.run(lambda tell: self._all(asked, tell), hear, halt)

    def close(self) -> None:
        """Stop everything that runs, and the thread."""
        self._background.close()

    # All that follows runs on the background's loop, so nothing needs a lock.

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        self._places = asyncio.Semaphore(self._limits.groups)
        async with open_client(self._key.get_secret_value() if self._key else None) as self._client:
            yield

    async def _all(self, drafts: Sequence[CallsOf], tell: Callable[[tuple[int, str]], None]) -> list[list[Answer]]:
        if self._waiting >= self._limits.waiting and self._places.locked():
            raise Overloaded(
                f"{self._waiting} drafts wait for the language model already",
                retry_after_s=round(self._usual_s * (self._waiting + 1) / self._limits.groups, 1),
            )

        def to(number: int) -> Tell:
            return lambda text: tell((number, text))

        waiting = len(drafts)
        self._waiting += waiting  # before anything is begun, so that whoever comes next sees them

        def seated() -> None:
            nonlocal waiting
            waiting -= 1
            self._waiting -= 1

        tasks = [asyncio.create_task(self._draft(calls_of, to(n), seated)) for n, calls_of in enumerate(drafts)]
        try:
            return await asyncio.gather(*tasks)
        finally:
            await _stopped(tasks)
            self._waiting -= waiting  # those that never got a place

    async def _draft(self, calls_of: CallsOf, tell: Tell, seated: Callable[[], None]) -> list[Answer]:
        await self._places.acquire()
        seated()
        try:
            begun = time.monotonic()
            answers = await self._brought_to_a_server(calls_of, tell)
            self._usual_s += 0.2 * (time.monotonic() - begun - self._usual_s)
            return answers
        finally:
            self._places.release()

    async def _brought_to_a_server(self, calls_of: CallsOf, tell: Tell) -> list[Answer]:
        asked: set[Server] = set()
        for attempt in range(self._limits.tries):
            # 1. Wait only where no server is left that works, is not busy and was not asked.
            best = self._servers.best(asked)
            pause = max(best.busy_for, FIRST_PAUSE_S * 2**attempt if best in asked else 0.0)
            if pause > LONGEST_PAUSE_S:
                break
            # Longer by chance, or all who wait would come back at once.
            await asyncio.sleep(pause * random.uniform(1.0, 1.5))
            # 2. As a new group each time, since a server may still hold members of the last. Making its calls takes
            #    time (images), so it happens beside the loop; the server is chosen when they are ready.
            calls = await asyncio.to_thread(calls_of, secrets.token_hex(16))
            server = self._servers.best(asked)
            try:
                with server.group():
                    return await self._group(server, calls, tell)
            except NotBegun as refused:
                if refused.error is not None and attempt + 1 == self._limits.tries:
                    raise refused.error from refused
                asked.add(server)
        busy = self._servers.best(()).busy_for
        raise Overloaded("the language model servers take up no more", retry_after_s=round(max(busy, 1.0), 1))

    async def _group(self, server: Server, calls: Sequence[Call], tell: Tell) -> list[Answer]:
        """All members on this server, until all have ended or one has failed, which ends the others."""
        now, begun = asyncio.get_running_loop().time, False
        first_token_s, next_token_s = (
            calls[0].patience * usual_s for usual_s in (self._limits.first_token_s, self._limits.next_token_s)
        )

        def alive(_: str) -> None:
            nonlocal begun
            begun = True
            patience.reschedule(now() + next_token_s)

        def first(text: str) -> None:
            alive(text)
            if text:
                tell(text)

        hearers = [first, *[alive] * (len(calls) - 1)]
        tasks = [
            asyncio.create_task(stream(self._client, server.url, call, hear))
            for call, hear in zip(calls, hearers, strict=True)
        ]
        try:
            async with asyncio.timeout(first_token_s) as patience:
                answers = await _answered(tasks)
        except TimeoutError as error:
            waited = next_token_s if begun else first_token_s
            raise GeneratorUnavailable(
                f"the server sent nothing for {waited:g} s", fix="look at its load and its log, or allow more time"
            ) from error
        except NotBegun as refused:
            if begun:  # a part of the draft may have been told already
                raise GeneratorUnavailable("the server refused a member of a group that it had begun") from refused
            raise
        finally:
            await _stopped(tasks)
        if any((answer.token_ids, answer.finish) != (answers[0].token_ids, answers[0].finish) for answer in answers):
            raise GeneratorUnavailable(
                "the members of a group wrote different drafts",
                fix="start the server with `prelim vllm-serve`, so that it has the plugin",
            )
        if answers[0].finish == "length" and 0 < len(answers[0].token_ids) < calls[0].most_tokens:
            # vLLM takes such a request and writes as far as it can; other generators refuse it.
            written = f"{len(answers[0].token_ids)} of {calls[0].most_tokens} tokens were written"
            raise PromptTooLong(
                f"prompt and draft together exceed the positions the served model knows: {written}",
                fix="give fewer or shorter similar cases, or lower max_new_tokens",
            )
        return answers


async def _answered(tasks: Sequence["asyncio.Task[Answer]"]) -> list[Answer]:
    """What the members have written; raises why the first of them failed that knows why."""
    try:
        return await asyncio.gather(*tasks)
    except OtherEnded as followed:
        await asyncio.wait(tasks, timeout=LAST_WORDS_S)
        told = [task.exception() for task in tasks if task.done() and not task.cancelled()]
        raise next((why for why in told if why and not isinstance(why, OtherEnded)), followed) from None


async def _stopped(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
