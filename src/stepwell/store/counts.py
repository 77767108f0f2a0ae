"""Reading plans that count: over the index of ended runs, which has all that they need, and only so far back."""

from __future__ import annotations

from collections.abc import Sequence

from stepwell.engine.core.model import RunStatus
from stepwell.limits import OPEN_COUNTED_MAX, RUNS_COUNTED_MAX
from stepwell.protocol.ids import EnvironmentId, FunctionId
from stepwell.store.interface import EndedCount, RunCounts
from stepwell.store.read import Reading, Text


def count_runs(
    environment: EnvironmentId,
    function_ids: Sequence[FunctionId] | None,
    *,
    start: int,
    end: int,
    bucket_ms: int,
) -> Reading[RunCounts]:
    """Count runs by the time at which they ended, and those that haven't."""
    among, values = _among(function_ids)
    floor = yield Text(
        "select ended_at from run where environment = ? and ended_at >= ? and ended_at < ? and ended_at is not null"  # noqa: S608
        f" order by ended_at desc limit 1 offset {RUNS_COUNTED_MAX - 1:d}",
        (environment, start, end),
    )
    # What ended in the same millisecond as the last that is counted is left out whole.
    counted_from: int | None = floor[0][0] + 1 if floor else None
    rows = yield Text(
        "select (ended_at - ?) / ? as bucket, status, count(*) from run"  # noqa: S608 - fixed pieces
        f" where environment = ? and ended_at >= ? and ended_at < ? and ended_at is not null{among}"
        " group by bucket, status",
        (start, bucket_ms, environment, max(start, counted_from or start), end, *values),
    )
    unfinished = yield Text(
        "select found.status, count(*) from (select status from run"  # noqa: S608 - fixed pieces
        f" where environment = ? and ended_at is null{among} limit {OPEN_COUNTED_MAX:d}) as found group by found.status",
        (environment, *values),
    )
    return RunCounts(
        ended=[EndedCount(row[0], RunStatus(row[1]), row[2]) for row in rows],
        unfinished={RunStatus(row[0]): row[1] for row in unfinished},
        counted_from=counted_from,
    )


def _among(function_ids: Sequence[FunctionId] | None) -> tuple[str, tuple[str, ...]]:
    if function_ids is None:
        return "", ()
    if not function_ids:
        return " and 1 = 0", ()
    return f" and function_id in ({','.join('?' * len(function_ids))})", tuple(function_ids)
