"""What the group scheduler counts, and how it reaches /metrics: counters of prometheus_client, under `prelim_group_`.

The scheduler usually lives in another process than the server that answers /metrics, and what vLLM sends from one to
the other has no place for counts of others. prometheus_client's own way is taken: where PROMETHEUS_MULTIPROC_DIR names
a folder when the server starts (`prelim vllm-serve` sees to it), every process writes its counters there, and vLLM's
/metrics sums them. Without it, and in the server's own process, the counters are in the default registry. Either way
one line of the log says how they stand, at most once a minute.
"""

import dataclasses
import logging
import time
from typing import Final

from prometheus_client import Counter

LOG_EVERY_S: Final = 60.0
"""Between two lines of the log."""
_log = logging.getLogger("vllm.prelim")  # below vLLM's own, so that its handlers and levels hold


@dataclasses.dataclass
class Counts:
    """What happened to groups since the engine started."""

    admitted: int = 0
    """Groups that got places for all members."""
    joint: int = 0
    """Tokens sampled together: one for each group and step."""
    held: int = 0
    """Times that a member waited a step for others."""
    stood_back: int = 0
    """Groups held where they were for more urgent ones, in each step anew."""
    repaired: int = 0
    """Times that only some members were about to sample, so that all gave up their places."""
    preempted: int = 0
    """Times that a group gave up its places, for whatever reason, and had to be computed again."""
    unstuck: int = 0
    """Times that groups held what others needed and the youngest gave way."""
    orphans: int = 0
    """Members ended because another had ended."""
    refused: int = 0
    """Requests or groups that could never be decoded as asked."""
    timed_out: int = 0
    """Groups of which a member never came."""
    broken: int = 0
    """Groups that were ended because their logits were not numbers."""


_COUNTERS: Final = {
    field.name: Counter(f"prelim_group_{field.name}", f"Groups of contrastive decoding: {field.name.replace('_', ' ')}")
    for field in dataclasses.fields(Counts)
}


class Export:
    """Carries one scheduler's counts to the counters of its process."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._published = Counts()
        self._logged = Counts()
        self._logged_at = time.monotonic()

    def publish(self) -> None:
        """Add what happened since the last time."""
        if self._counts == self._published:
            return
        for name, counter in _COUNTERS.items():
            more = getattr(self._counts, name) - getattr(self._published, name)
            if more:
                counter.inc(more)
        self._published = dataclasses.replace(self._counts)
        if time.monotonic() - self._logged_at >= LOG_EVERY_S and self._counts != self._logged:
            self._logged_at, self._logged = time.monotonic(), dataclasses.replace(self._counts)
            _log.info("groups: %s", ", ".join(f"{n} {v}" for n, v in dataclasses.asdict(self._counts).items()))
