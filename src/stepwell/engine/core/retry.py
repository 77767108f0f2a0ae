"""When a failed attempt is made again. Chance and time are arguments."""

from __future__ import annotations

import datetime
import re
from email.utils import parsedate_to_datetime
from typing import Final

from stepwell.limits import HOUR_MS, MINUTE_MS, RETRY_AFTER_MS_MAX, RETRY_AFTER_MS_MIN, SECOND_MS
from stepwell.protocol.duration import parse_time

BACKOFF_MS: Final = (
    15 * SECOND_MS,
    30 * SECOND_MS,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS,
    10 * MINUTE_MS,
    20 * MINUTE_MS,
    40 * MINUTE_MS,
    HOUR_MS,
    2 * HOUR_MS,
)
"""By the attempt that failed, from 0; the last one holds for all further attempts (protocol 4.9.2)."""

JITTER_MS: Final = 30 * SECOND_MS

_RETRY_AFTER_CHARS_MAX: Final = 64
_SECONDS: Final = re.compile(r"[0-9]{1,7}")
_RFC_3339: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ].+")


def retry_delay_ms(attempt: int, chance: float, constant_ms: int | None = None) -> int:
    """Return how long to wait after attempt number ``attempt`` (from 0) has failed (protocol 4.9.2).

    ``chance``, in [0, 1), places the jitter of 0-30 s. ``constant_ms`` (``--retry-interval``) replaces it all.
    """
    assert attempt >= 0
    assert 0 <= chance < 1
    if constant_ms is not None:
        return constant_ms
    return BACKOFF_MS[min(attempt, len(BACKOFF_MS) - 1)] + int(chance * JITTER_MS)


def parse_retry_after(text: str, now_ms: int) -> int | None:
    """Read a ``Retry-After`` header to a delay in ms, clipped to 1 s … 24 h (protocol 4.6, 4.9.2).

    It holds seconds (up to seven digits), an RFC 3339 time (without an offset: UTC), or an HTTP date. None for
    anything else.
    """
    text = text.strip()
    if len(text) > _RETRY_AFTER_CHARS_MAX:
        return None
    if _SECONDS.fullmatch(text):
        delay_ms = int(text) * SECOND_MS
    else:
        at_ms = parse_time(text.upper()) if _RFC_3339.fullmatch(text) else _parse_http_date(text)
        if at_ms is None:
            return None
        delay_ms = at_ms - now_ms
    return min(max(delay_ms, RETRY_AFTER_MS_MIN), RETRY_AFTER_MS_MAX)


def _parse_http_date(text: str) -> int | None:
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=datetime.UTC)
    return int(at.timestamp()) * SECOND_MS
