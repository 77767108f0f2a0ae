"""How many runs ended, when and how: what the charts show."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stepwell.engine.core.model import RunStatus
from stepwell.limits import BUCKETS_MAX, DAY_MS
from stepwell.protocol.duration import time_text
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.filters import function_ids
from stepwell.server.api.page import Instant, read_instant
from stepwell.server.api.runs import app_names
from stepwell.server.context import ApiError

BUCKETS: int = 60


class RunsBucket(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that ended from ``at`` on, up to the next bucket."""

    at: str
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0


class RunsTotals(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that ended in the whole time, and those that are open now; of these up to 10,000 are counted."""

    completed: int
    failed: int
    cancelled: int
    skipped: int
    queued: int
    running: int


class RunsStats(msgspec.Struct, frozen=True, kw_only=True, rename={"start": "from"}):
    """Runs over time, by the time at which they ended."""

    start: str
    until: str
    bucket_ms: int
    buckets: list[RunsBucket]
    totals: RunsTotals
    counted_from: str | None
    """Set where there were more than may be counted: runs that ended before weren't."""


class RunsStatsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"start": "from"}):
    """Which runs to count, and into how many buckets; without times, those of the last 24 hours."""

    start: Instant = None
    until: Instant = None
    buckets: Annotated[int, msgspec.Meta(ge=1, le=BUCKETS_MAX)] = BUCKETS
    function: str | None = None
    app: str | None = None


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints that count runs."""
    return [
        Endpoint(
            "GET",
            "/api/runs/stats",
            "Count runs over time",
            RunsStats,
            count_runs,
            query=RunsStatsQuery,
            body=Nothing,
        )
    ]


async def count_runs(call: Call[RunsStatsQuery, Nothing]) -> RunsStats:
    """Count runs by when and how they ended."""
    query, context = call.query, call.context
    engine = context.engine
    until = read_instant(query.until, "until")
    until = until if until is not None else engine.clock.now() + 1
    start = read_instant(query.start, "from")
    start = start if start is not None else until - DAY_MS
    if start >= until:
        raise ApiError(400, "invalid_query", "the time range is empty: from must be before until", path="$.from")
    functions = function_ids(context, await app_names(context), function=query.function, app=query.app)
    bucket_ms = max(1, -(-(until - start) // query.buckets))
    counts = await engine.store.insight.count_runs(
        engine.environment, functions, start=start, end=until, bucket_ms=bucket_ms
    )
    number = -(-(until - start) // bucket_ms)
    by_bucket: list[dict[str, int]] = [{} for _ in range(number)]
    totals = dict.fromkeys((status.value for status in RunStatus), 0)
    for found in counts.ended:
        by_bucket[found.bucket][found.status.value] = found.number
        totals[found.status.value] += found.number
    for status, count in counts.unfinished.items():
        totals[status.value] = count
    counted_from = counts.counted_from
    return RunsStats(
        start=time_text(start),
        until=time_text(until),
        bucket_ms=bucket_ms,
        buckets=[RunsBucket(at=time_text(start + at * bucket_ms), **counted) for at, counted in enumerate(by_bucket)],
        totals=RunsTotals(**totals),
        counted_from=time_text(counted_from) if counted_from is not None else None,
    )
