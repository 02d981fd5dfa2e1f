"""When to give up on a draft: a deadline, and a switch that the caller may turn at any time from any thread.

It also says whether somebody waits for the draft, since that goes the same way: down to whatever takes long.
"""

import math
import time
from threading import Event

from retrieval.errors import Cancelled, DeadlineExceeded


class Halt:
    """Handed down to whatever takes long; everything long asks `check` at least every 100 ms or at every token."""

    awaited: bool = True
    """Whether somebody waits for the answer; what nobody waits for goes behind, where there is an order."""

    def __init__(self, seconds: float | None = None) -> None:
        """`seconds` from now until the deadline; None for no deadline."""
        self._until = math.inf if seconds is None else time.monotonic() + seconds
        self._seconds = seconds
        self._cancelled = Event()

    def cancel(self) -> None:
        """The answer is no longer wanted; may be called twice, and after the end."""
        self._cancelled.set()

    @property
    def left(self) -> float | None:
        """Seconds until the deadline, 0 when it has passed; None for no deadline."""
        return None if math.isinf(self._until) else max(0.0, self._until - time.monotonic())

    def pause(self) -> None:
        """Asked between the steps of a draft, where one that nobody waits for lets others go first; then `check`."""
        self.check()

    def check(self) -> None:
        """Raises Cancelled or DeadlineExceeded; returns at once while neither is due."""
        if self._cancelled.is_set():
            raise Cancelled("the caller no longer wants the answer")
        if time.monotonic() >= self._until:
            raise DeadlineExceeded(
                f"the answer was not ready within {self._seconds:g} s", fix="allow more time, or try when less is asked"
            )
