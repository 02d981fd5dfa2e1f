"""An event loop on a thread of its own, and callers of other threads who wait for what runs on it.

In: a coroutine that may tell its caller things on the way. Out: what it returns or raises. What is told is heard on the
caller's own thread, so a slow listener holds nobody else up; a caller's `Halt` is asked while it waits. What runs is
not known here.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, Final, Generic, TypeVar

from generation.halt import Halt
from retrieval.errors import Cancelled

Told = TypeVar("Told")
Result = TypeVar("Result")

LISTEN_S: Final = 0.05
"""How often a waiting caller's `Halt` is asked: a fifth of what a cancellation may take."""
LEAVING_S: Final = 2.0
"""How long a caller that gives up waits for what it began to be stopped."""
_CLOSED: Final = "the client of the language model servers is closed"


@dataclass
class _Returned(Generic[Result]):
    result: Result


@dataclass
class _Raised:
    error: BaseException


class Background:
    """Runs coroutines for callers of any thread, until it is closed."""

    def __init__(self, surroundings: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        """`surroundings` are entered on the loop before anything runs there, and left after everything has stopped."""
        self._surroundings = surroundings
        self._ready = Event()
        self._fault: BaseException | None = None
        self._thread = Thread(target=self._begin, name="prelim-remote", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._fault is not None:
            raise self._fault

    def run(
        self,
        work: Callable[[Callable[[Told], None]], Coroutine[Any, Any, Result]],
        hear: Callable[[Told], None],
        halt: Halt | None,
    ) -> Result:
        """What `work(tell)` returns; `hear` is called with all that is told. Ends early when `halt` says so.

        However it ends, what it began has been stopped, or is being stopped.
        """
        if halt is not None:
            halt.check()
        heard: SimpleQueue[Told | _Returned[Result] | _Raised] = SimpleQueue()
        tasks: list[asyncio.Task[None]] = []

        async def to_the_end() -> None:
            try:
                heard.put(_Returned(await work(heard.put)))
            except Exception as error:  # noqa: BLE001  raised again in the caller's thread
                heard.put(_Raised(error))

        def begin() -> None:
            tasks.append(self._loop.create_task(to_the_end()))
            # A task that is cancelled, even before its first step, has an end as well; after another it is not heard.
            tasks[0].add_done_callback(lambda _: heard.put(_Raised(Cancelled(_CLOSED))))

        self._soon(begin)
        ended = False
        try:
            while True:
                said = self._next(heard, halt)
                ended = isinstance(said, (_Returned, _Raised))
                if isinstance(said, _Raised):
                    raise said.error
                if isinstance(said, _Returned):
                    return said.result
                hear(said)
        finally:
            if not ended:  # the caller gives up, its own `hear` raised, or it was interrupted
                with suppress(Empty, Cancelled):
                    self._soon(lambda: tasks[0].cancel())
                    while not isinstance(heard.get(timeout=LEAVING_S), (_Returned, _Raised)):
                        pass

    def close(self) -> None:
        """Stop everything that runs; callers that wait for it get Cancelled. May be called twice."""
        with suppress(Cancelled):
            self._soon(self._closing.set)
        self._thread.join()

    def _soon(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError as error:  # the loop is closed
            raise Cancelled(_CLOSED) from error

    def _next(
        self, heard: "SimpleQueue[Told | _Returned[Result] | _Raised]", halt: Halt | None
    ) -> "Told | _Returned[Result] | _Raised":
        while True:
            if halt is not None:
                halt.check()
            with suppress(Empty):
                return heard.get(timeout=LISTEN_S)
            if not self._thread.is_alive() and heard.empty():
                raise Cancelled(_CLOSED)

    def _begin(self) -> None:
        try:
            asyncio.run(self._stay())
        except BaseException as error:
            if self._ready.is_set():
                raise
            self._fault = error  # of the surroundings: raised where it was asked for
            self._ready.set()

    async def _stay(self) -> None:
        self._loop, self._closing = asyncio.get_running_loop(), asyncio.Event()
        async with self._surroundings():
            self._ready.set()
            await self._closing.wait()
            running = asyncio.all_tasks() - {asyncio.current_task()}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
