"""The engine's time, which never goes backwards. Signatures use real time; due times, retries and schedules use this.

Where replicas share a database its time counts: as last read, and carried on by a clock that nobody sets. Otherwise it
is the machine's. On top comes an offset that only time travel moves.
"""

from __future__ import annotations

import time
from collections.abc import Callable


def real_ms() -> int:
    """Return Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def elapsed_s() -> float:
    """Return seconds from an unknown start, by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(_CLOCK)


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock:
    """Gives the engine its ``now``. ``source`` is real time, or a simulation's, and so is ``elapsed`` (seconds)."""

    def __init__(
        self, source: Callable[[], int] = real_ms, offset_ms: int = 0, elapsed: Callable[[], float] = elapsed_s
    ) -> None:
        self.elapsed = elapsed
        self.offset_ms = offset_ms
        self._source = source
        self._latest = 0
        self._behind: tuple[int, float] | None = None
        """What ``now`` was when time was set back, and when that was."""
        self._set: tuple[int, float] | None = None

    def set(self, now: int, at_s: float) -> None:
        """Take the database's time, ``now``, as it was when ``elapsed`` was ``at_s``; from now on it is the source.

        What the machine's own clock showed before counts no more: it may be days ahead.
        """
        if self._set is None:
            self._latest, self._behind = 0, None
        self._set = (now, at_s)

    def _given(self) -> int:
        if self._set is None:
            return self._source() + self.offset_ms
        now, at_s = self._set
        return now + int((self.elapsed() - at_s) * 1000) + self.offset_ms

    def now(self) -> int:
        """Return Unix ms; not less than what was returned before.

        Where time was set back, it goes on at half its speed until the given time has caught up: standing still would
        hold everything up for as long as it was set back.
        """
        given = self._given()
        if given >= self._latest:
            self._latest, self._behind = given, None
        else:
            if self._behind is None:
                self._behind = (self._latest, self.elapsed())
            was, since_s = self._behind
            self._latest = max(self._latest, was + int((self.elapsed() - since_s) * 500))
        return self._latest

    def until(self, at_ms: int) -> int:
        """Return how many ms it takes, at least, until ``now`` is ``at_ms``."""
        return max(0, at_ms - self.now())
