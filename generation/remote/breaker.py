"""A circuit breaker: after failures in a row a server is left alone for a while, then tried with one request.

In: when something begins with a server, and how it ended. Out: whether the server may be asked now. The clock is
handed in; nothing here knows what is asked, or how. Not for use from several threads.
"""

from collections.abc import Callable
from typing import Literal

Outcome = Literal["success", "failure", "neither"]
"""`neither` for what says nothing about the server: cancelled by the caller, or refused because the server is busy."""
State = Literal["closed", "open", "half-open"]
"""Asked freely; left alone; asked once, to see."""


class Breaker:
    """Whether one server may be asked."""

    def __init__(
        self,
        clock: Callable[[], float],
        *,
        failures: int = 3,
        rest_s: float = 1.0,
        longest_rest_s: float = 60.0,
    ) -> None:
        """Open after `failures` in a row, first for `rest_s`, and for twice as long after each trial that fails."""
        if failures < 1 or not 0 < rest_s <= longest_rest_s:
            raise ValueError("a breaker needs at least one failure, and a rest that is not longer than the longest")
        self._clock = clock
        self._failures = failures
        self._first_rest = rest_s
        self._longest_rest = longest_rest_s
        self._rest = rest_s
        self._in_a_row = 0
        self._opened_at: float | None = None
        self._period = 0
        self._trial = False

    @property
    def state(self) -> State:
        """What holds now; an open breaker becomes half-open by the passing of time alone."""
        if self._opened_at is None:
            return "closed"
        return "open" if self.rest_left > 0 else "half-open"

    @property
    def rest_left(self) -> float:
        """Seconds until the server may be tried; 0 when it may be asked."""
        return 0.0 if self._opened_at is None else max(0.0, self._opened_at + self._rest - self._clock())

    @property
    def admits(self) -> bool:
        """Whether something may begin now."""
        return self.state == "closed" or (self.state == "half-open" and not self._trial)

    def begin(self) -> int:
        """Something begins; returns what `end` must be told."""
        if not self.admits:
            raise RuntimeError("the breaker admits nothing now")
        self._trial = self.state == "half-open"
        return self._period

    def end(self, begun: int, outcome: Outcome) -> None:
        """What `begun` stands for ended so. What began before the breaker last opened or closed no longer counts."""
        if begun != self._period:
            return
        self._trial = False
        if outcome == "success":
            if self._opened_at is not None:
                self._period += 1
            self._opened_at, self._in_a_row, self._rest = None, 0, self._first_rest
        elif outcome == "failure":
            if self._opened_at is not None:
                self._rest = min(2 * self._rest, self._longest_rest)
                self._open()
            else:
                self._in_a_row += 1
                if self._in_a_row >= self._failures:
                    self._open()

    def _open(self) -> None:
        self._opened_at = self._clock()
        self._period += 1
