"""The engine's time: real time plus an offset that only time travel moves, never backwards.

Signatures and leases use real time; due times, retries and schedules use this.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def real_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class Clock:
    """Gives the engine its ``now``. ``source`` is real time, or a simulation's."""

    def __init__(self, source: Callable[[], int] = real_ms, offset_ms: int = 0) -> None:
        self._source = source
        self._latest = 0
        self.offset_ms = offset_ms

    def now(self) -> int:
        """Return Unix ms; not less than what was returned before."""
        self._latest = max(self._latest, self._source() + self.offset_ms)
        return self._latest

    def until(self, at_ms: int) -> int:
        """Return how many ms it takes until ``at_ms``; where real time was set back, it has to catch up first."""
        return max(0, at_ms - self._source() - self.offset_ms) if at_ms > self.now() else 0
