"""Durations: ``"1h30m"``, seconds or a timedelta, to milliseconds and back."""

from __future__ import annotations

import datetime
import functools
import math
from typing import Final, TypeAlias

import durationpy

from stepwell.errors import DurationError
from stepwell.limits import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

Duration: TypeAlias = str | float | datetime.timedelta
"""A duration as users give it: ``"3d"``, a number of seconds, or a timedelta."""

_SECONDS_CACHED: Final = 4_096
_UNITS: Final = (("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1))


def duration_ms(value: Duration) -> int:
    """Return whole milliseconds, rounded up, so that nothing wakes early.

    Raises ``DurationError`` for text that isn't ``<number><unit>…`` (units ns us ms s m h d w), for negative and for
    infinite durations.
    """
    if isinstance(value, str):
        try:
            seconds = durationpy.from_str(value).total_seconds()
        except (durationpy.DurationError, OverflowError):
            raise DurationError(f"{value!r} is not a duration: write it like 30s, 1h30m or 3d") from None
    elif isinstance(value, datetime.timedelta):
        seconds = value.total_seconds()
    else:
        seconds = value
    if not 0 <= seconds < math.inf:
        raise DurationError(f"a duration can't be negative or infinite: {value!r}")
    return math.ceil(round(seconds * 1000, 3))


def duration_text(ms: int) -> str:
    """Write milliseconds in the protocol's form, largest unit first (``90_000`` → ``1m30s``); zero is ``0s``."""
    parts: list[str] = []
    for unit, size in _UNITS:
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def rough_text(ms: int) -> str:
    """Write milliseconds for people to read, at two places at most: ``45ms``, ``1.2s``, ``12s``, ``3m20s``, ``2d5h``."""
    if ms < SECOND_MS:
        return f"{ms}ms"
    if ms < 10 * SECOND_MS:
        return f"{ms / SECOND_MS:.1f}s".replace(".0s", "s")
    for unit, finest in ((MINUTE_MS, SECOND_MS), (HOUR_MS, SECOND_MS), (DAY_MS, MINUTE_MS)):
        if ms < unit:
            return duration_text(ms - ms % finest)
    hours = ms // HOUR_MS
    return f"{hours // 24}d" + (f"{hours % 24}h" if hours % 24 else "")


def parse_time(text: str) -> int | None:
    """Read an RFC 3339 instant to Unix ms; None when it isn't one. Without an offset it counts as UTC."""
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError:
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.UTC)
    return round(at.timestamp() * 1000)


def time_text(at_ms: int) -> str:
    """Write Unix ms as RFC 3339 in UTC with milliseconds and ``Z``."""
    second, ms = divmod(at_ms, SECOND_MS)
    return f"{_second_text(second)}.{ms:03}Z"


@functools.lru_cache(_SECONDS_CACHED)
def _second_text(second: int) -> str:
    # The thousands of times of one page have few seconds.
    return datetime.datetime.fromtimestamp(second, datetime.UTC).replace(tzinfo=None).isoformat()
