"""Time travel, in dev only: in production this endpoint doesn't exist."""

from __future__ import annotations

import msgspec

from stepwell.errors import DurationError
from stepwell.limits import DAY_MS, SLEEP_MS_MAX
from stepwell.protocol.duration import duration_ms, time_text
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.context import ApiError


class Skip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How far to move the clock: ``"3d"``, ``"1h30m"``."""

    duration: str


class Moved(msgspec.Struct, frozen=True):
    """Where the clock is now."""

    now: str
    skipped_ms: int


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoint that moves the clock."""
    return [Endpoint("POST", "/api/skip", "Move the clock ahead", Moved, skip, query=Nothing, body=Skip)]


async def skip(call: Call[Nothing, Skip]) -> Moved:
    """Move the clock from due time to due time; what falls due on the way has run when this answers."""
    try:
        duration = duration_ms(call.body.duration)
    except DurationError as error:
        raise ApiError(400, error.code, str(error), path="$.duration") from None
    if duration > SLEEP_MS_MAX:
        raise ApiError(400, DurationError.code, f"one skip may have {SLEEP_MS_MAX // DAY_MS} days", path="$.duration")
    return Moved(time_text(await call.context.engine.skip(duration)), duration)
