"""Time travel, in dev only: the clock of the server, or the end of one sleep."""

from __future__ import annotations

import msgspec

from stepwell.errors import DurationError
from stepwell.limits import DAY_MS, SLEEP_MS_MAX
from stepwell.protocol.duration import duration_ms, time_text
from stepwell.protocol.ids import JobId, RunId
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.runs import RunView, find_run, run_view
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


def sleep_endpoints() -> list[AnyEndpoint]:
    """Return the endpoint that ends a sleep, which says in production that it may not."""
    path = "/api/runs/{id}/jobs/{job_id}/skip"
    return [Endpoint("POST", path, "Skip the rest of a sleep", RunView, skip_sleep, query=Nothing, body=Nothing)]


async def skip_sleep(call: Call[Nothing, Nothing]) -> RunView:
    """End one sleep of a run now. ``job_id`` is the id of its row in the timeline."""
    context, id = call.context, call.path["id"]
    if not context.settings.is_dev:
        raise ApiError(403, "dev_only", "sleeps can be skipped on a dev server only: here they mean what they say")
    await find_run(context, id)
    job_id = call.path["job_id"]
    if "\0" in job_id or not await context.engine.skip_sleep(RunId(id), JobId(job_id)):
        raise ApiError(409, "not_sleeping", "there is no such sleep any more: it is over, or it never was one")
    return await run_view(context, id)


async def skip(call: Call[Nothing, Skip]) -> Moved:
    """Move the clock from due time to due time; what falls due on the way has run when this answers."""
    try:
        duration = duration_ms(call.body.duration)
    except DurationError as error:
        raise ApiError(400, error.code, str(error), path="$.duration") from None
    if duration > SLEEP_MS_MAX:
        raise ApiError(400, DurationError.code, f"one skip may have {SLEEP_MS_MAX // DAY_MS} days", path="$.duration")
    return Moved(time_text(await call.context.engine.skip(duration)), duration)
