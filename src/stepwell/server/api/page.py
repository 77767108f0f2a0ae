"""Pages of lists: the newest first, each named by the id at which the page before ended."""

from __future__ import annotations

import re
from typing import Annotated, Final, TypeAlias

import msgspec

from stepwell.limits import INSTANT_MAX, PAGE_ROWS_MAX
from stepwell.protocol.duration import parse_time
from stepwell.server.context import ApiError

PAGE_ROWS: Final = 20

Limit: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=PAGE_ROWS_MAX, description="How many, at most.")]
Cursor: TypeAlias = Annotated[str | None, msgspec.Meta(description="The ``next_cursor`` of the page before.")]
Instant: TypeAlias = Annotated[str | None, msgspec.Meta(description="An RFC 3339 time.")]

_ULID: Final = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}\Z")


def is_ulid(text: str) -> bool:
    """Tell whether a text can be an id of ours."""
    return _ULID.match(text) is not None


def read_cursor(text: str | None) -> str | None:
    """Check a cursor. Raises ``ApiError`` 400 when it isn't one."""
    if text is not None and not is_ulid(text):
        raise ApiError(400, "invalid_cursor", "the cursor is not one that a page gave", path="$.cursor")
    return text


def read_instant(text: str | None, name: str) -> int | None:
    """Read a filter's time to Unix ms; one before or after all that can be is the first or the last.

    Raises ``ApiError`` 400 when it isn't one.
    """
    if text is None:
        return None
    # A "+" of an offset that wasn't escaped arrives as a space.
    at = parse_time(text.replace(" ", "+") if "T" in text else text)
    if at is None:
        raise ApiError(
            400, "invalid_query", f"not an RFC 3339 time such as 2026-11-24T12:00:00Z: {text[:100]!r}", path=f"$.{name}"
        )
    return max(0, min(at, INSTANT_MAX))
