"""The waiting room: a bounded number of places to work at, interactive work before bulk.

What goes in is something to do and how urgent it is; what comes out is a future. Somebody who waits at a screen goes
before work that nobody waits for, which leaves its place to them wherever it asks whether it should (`give_way`). When
too many wait already the answer is Overloaded with the time after which to come again: a full queue is an answer, not a
slow death. What the work is, is not known here.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Final, Literal, TypeVar

from generation.halt import Halt
from retrieval.errors import Overloaded

T = TypeVar("T")
Urgency = Literal["interactive", "bulk"]
"""Whether somebody waits for the answer."""
ORDER: Final[tuple[Urgency, ...]] = ("interactive", "bulk")

GIVE_WAY_S: Final = 2.0
"""How long bulk work stands back each time at most: it is slowed by people who wait, and never starved."""
COMING_S: Final = 0.25
"""How long work that was announced is counted on: about what reading a request takes."""
_LOOK_S: Final = 0.1
"""How often work that stands back looks whether it is still wanted."""
_LEAST_WAIT_S: Final = 1.0
"""Nobody is told to come back sooner."""
_FADING: Final = 0.9
"""How much of the average duration of work is kept at each new one."""


class WaitingRoom:
    """Threads that take the most urgent piece of work, oldest first."""

    def __init__(self, places: int, *, interactive: int = 64, bulk: int = 8) -> None:
        """`places` pieces of work at once; at most `interactive` and `bulk` more may wait."""
        self._seats: dict[Urgency, int] = {"interactive": interactive, "bulk": bulk}
        self._waiting: dict[Urgency, deque[tuple[Future[Any], Callable[[], None]]]] = {
            urgency: deque() for urgency in ORDER
        }
        self._change = threading.Condition()
        self._closed = False
        self._took = 0.0
        """Average seconds a piece of work took, 0 before the first."""
        self._working: dict[Urgency, int] = dict.fromkeys(ORDER, 0)
        self.bulk_places: Final = max(1, places // 2)
        """Of bulk work at once: half, so that who waits at a screen meets few steps that must end first."""
        self._places = places
        self._coming_until = 0.0
        """On the monotonic clock: interactive work that was announced is expected so long."""
        self._standing_back = 0
        """Bulk work that was begun and has left its place."""
        self._refused: dict[Urgency, int] = dict.fromkeys(ORDER, 0)
        self._threads = [
            threading.Thread(target=self._work, name=f"prelim-work-{n}", daemon=True)
            for n in range(places + self.bulk_places)  # work that stands back keeps its thread
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Callable[[], T], urgency: Urgency = "interactive") -> Future[T]:
        """Let `work` be done; a future that is cancelled before its turn is never begun. Raises Overloaded."""
        future: Future[T] = Future()
        context = copy_context()  # such as the trace that the work is a part of

        def run() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(context.run(work))
            except BaseException as error:  # noqa: BLE001  it belongs to whoever asks the future
                future.set_exception(error)

        with self._change:
            if self._closed:
                raise Overloaded("the service is shutting down", retry_after_s=_LEAST_WAIT_S)
            # Those who have gone meanwhile hold no seat.
            self._waiting[urgency] = deque(each for each in self._waiting[urgency] if not each[0].cancelled())
            if self.full(urgency):
                self._refused[urgency] += 1
                raise Overloaded(
                    f"{len(self._waiting[urgency])} {urgency} requests are waiting already",
                    retry_after_s=self._wait_of(urgency),
                )
            self._waiting[urgency].append((future, run))
            self._change.notify_all()
        return future

    def announce(self) -> None:
        """Somebody's request is being read: bulk work under way leaves its place already."""
        self._coming_until = time.monotonic() + COMING_S

    def give_way(self, halt: Halt) -> None:
        """Asked by bulk work under way: leave the place to those who wait at a screen, for GIVE_WAY_S at most.

        Work with a deadline gives an eighth of what is left of it. Raises what `halt` says.
        """
        halt.check()
        with self._change:
            if not self._somebody_waits():
                return
            until = time.monotonic() + (GIVE_WAY_S if halt.left is None else min(GIVE_WAY_S, halt.left / 8))
            self._working["bulk"] -= 1
            self._standing_back += 1
            self._change.notify_all()
            try:
                while self._somebody_waits() and (left := until - time.monotonic()) > 0:
                    self._change.wait(min(left, _LOOK_S))
                    halt.check()
            finally:
                self._standing_back -= 1
                self._working["bulk"] += 1

    def waiting(self, urgency: Urgency) -> int:
        """How many wait."""
        return len(self._waiting[urgency])

    def working(self, urgency: Urgency) -> int:
        """How many are being worked on."""
        return self._working[urgency]

    def refused(self, urgency: Urgency) -> int:
        """How many have been refused because too many waited."""
        return self._refused[urgency]

    def full(self, urgency: Urgency) -> bool:
        """Whether another one would be refused."""
        return len(self._waiting[urgency]) >= self._seats[urgency]

    def close(self, seconds: float = 30.0) -> None:
        """Take nothing new, let what was taken end for at most `seconds`; what still waits is cancelled."""
        with self._change:
            self._closed = True
            left = [future for queue in self._waiting.values() for future, _ in queue]
            for queue in self._waiting.values():
                queue.clear()
            self._change.notify_all()
        for future in left:
            future.cancel()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _wait_of(self, urgency: Urgency) -> float:
        before = sum(len(self._waiting[each]) for each in ORDER[: ORDER.index(urgency) + 1])
        return max(_LEAST_WAIT_S, round(self._took * before / self._places, 1))

    def _somebody_waits(self) -> bool:
        there = bool(self._waiting["interactive"]) or self._working["interactive"] > 0
        return there or time.monotonic() < self._coming_until

    def _next(self) -> Urgency | None:
        """What a free thread takes: interactive work, else bulk work while that leaves a place free."""
        if sum(self._working.values()) >= self._places:
            return None
        if self._waiting["interactive"]:
            return "interactive"
        free = self._working["bulk"] + self._standing_back < self.bulk_places
        return "bulk" if self._waiting["bulk"] and free else None

    def _work(self) -> None:
        while True:
            with self._change:
                while (urgency := self._next()) is None:
                    if self._closed and not any(self._waiting.values()):
                        return
                    self._change.wait()
                _, run = self._waiting[urgency].popleft()
                self._working[urgency] += 1
            began = time.monotonic()
            run()
            with self._change:
                self._working[urgency] -= 1
                self._change.notify_all()  # a place for bulk work may be free
                took = time.monotonic() - began
                self._took = took if not self._took else _FADING * self._took + (1 - _FADING) * took
