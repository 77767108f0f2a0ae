"""Reading plans that count: over the index of ended runs, which has all that they need, and only so far back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from stepwell.engine.core.model import Run, RunStatus
from stepwell.limits import (
    DURATIONS_READ_MAX,
    EXAMPLE_BYTES_MAX,
    FAILURES_READ_MAX,
    FAILURES_SCANNED_MAX,
    LIMITS_SHOWN_MAX,
    MINUTE_MS,
    NAMES_SCANNED_MAX,
    OPEN_COUNTED_MAX,
    RUNS_COUNTED_MAX,
)
from stepwell.protocol.ids import EnvironmentId, FunctionId, ulid_ms
from stepwell.store.begun import STATUS_OF_MANY
from stepwell.store.found import EndedCount, EndedRun, FunctionCount, NamedEvent, RunCounts, RunFilter, Sample
from stepwell.store.lists import brief_runs, find_runs
from stepwell.store.query import Statement
from stepwell.store.read import Reading, Text

_LAST: Final = "\U0010ffff"  # after all characters that a key has


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
    counted_from = yield from _floor(environment, start, end)
    rows = yield Text(
        "select (ended_at - ?) / ? as bucket, status, count(*) from run"  # noqa: S608 - fixed pieces
        f" where environment = ? and ended_at >= ? and ended_at < ? and ended_at is not null{among}"
        " group by bucket, status",
        (start, bucket_ms, environment, max(start, counted_from or start), end, *values),
    )
    unfinished = yield Text(
        f"select found.status, count(*) from (select {STATUS_OF_MANY} as status from run"  # noqa: S608 - fixed pieces
        f" where environment = ? and ended_at is null{among} limit {OPEN_COUNTED_MAX:d}) as found group by found.status",
        (environment, *values),
    )
    return RunCounts(
        ended=[EndedCount(row[0], RunStatus(row[1]), row[2]) for row in rows],
        unfinished={RunStatus(row[0]): row[1] for row in unfinished},
        counted_from=counted_from,
    )


def _floor(environment: EnvironmentId, start: int, end: int) -> Reading[int | None]:
    """Return from when on runs that ended are counted, where there are too many."""
    rows = yield Text(
        "select ended_at from run where environment = ? and ended_at >= ? and ended_at < ? and ended_at is not null"  # noqa: S608
        f" order by ended_at desc limit 1 offset {RUNS_COUNTED_MAX - 1:d}",
        (environment, start, end),
    )
    # What ended in the same millisecond as the last that is counted is left out whole.
    return rows[0][0] + 1 if rows else None


def read_durations(
    environment: EnvironmentId, function_id: FunctionId | None, *, start: int, end: int
) -> Reading[list[EndedRun]]:
    """Return the newest runs that completed, with how long they took, ``DURATIONS_READ_MAX`` at most."""
    among, values = _among(None if function_id is None else [function_id])
    floor = yield from _floor(environment, start, end)
    rows = yield Text(
        "select function_id, ended_at, ended_at - started_at from run"  # noqa: S608 - fixed pieces
        f" where environment = ? and ended_at >= ? and ended_at < ? and ended_at is not null{among}"
        " and status = 'completed' and started_at is not null"
        f" order by ended_at desc limit {DURATIONS_READ_MAX:d}",
        (environment, max(start, floor or start), end, *values),
    )
    return [EndedRun(FunctionId(row[0]), row[1], max(0, row[2])) for row in rows]


def count_by_function(
    environment: EnvironmentId, *, start: int, end: int, bucket_ms: int
) -> Reading[tuple[list[FunctionCount], int | None]]:
    """Count the runs of each function by the time at which they ended."""
    counted_from = yield from _floor(environment, start, end)
    rows = yield Text(
        "select function_id, (ended_at - ?) / ? as bucket, status, count(*) from run"
        " where environment = ? and ended_at >= ? and ended_at < ? and ended_at is not null"
        " group by function_id, bucket, status",
        (start, bucket_ms, environment, max(start, counted_from or start), end),
    )
    counts = [FunctionCount(FunctionId(row[0]), EndedCount(row[1], RunStatus(row[2]), row[3])) for row in rows]
    return counts, counted_from


def last_failures(environment: EnvironmentId) -> Reading[list[Run]]:
    """Return the last failed run of each function that has one among the newest ``FAILURES_SCANNED_MAX``."""
    rows = yield Text(
        "select max(failed.id) from (select id, function_id from run where status = 'failed' and environment = ?"  # noqa: S608
        f" order by id desc limit {FAILURES_SCANNED_MAX:d}) as failed group by failed.function_id",
        (environment,),
    )
    return (yield from brief_runs([row[0] for row in rows]))


def failures_of(environment: EnvironmentId, function_id: FunctionId) -> Reading[tuple[list[Run], int | None]]:
    """Return a function's newest failed runs, and from when on all are there if that isn't all of them."""
    which = RunFilter(environment, (function_id,), frozenset([RunStatus.FAILED]), limit=FAILURES_READ_MAX + 1)
    found = yield from find_runs(which)
    runs = list(found.runs[:FAILURES_READ_MAX])
    if len(found.runs) > FAILURES_READ_MAX:
        return runs, runs[-1].queued_at
    return runs, ulid_ms(found.searched_to) if found.searched_to is not None else None


def calls_in_progress() -> Reading[list[tuple[str, int]]]:
    """Return how many jobs of each partition are being worked on."""
    rows = yield Text("select partition, count(*) from job where owner is not null group by partition", ())
    return [(row[0], row[1]) for row in rows]


def slot_counts(keys: Sequence[str]) -> Reading[dict[str, int]]:
    """Return by how many each of some concurrency keys is used."""
    rows = yield Statement("slot_count", [(key,) for key in sorted(set(keys))])
    return dict(rows)


def samples(function_id: FunctionId, *, start: int, end: int, bucket_ms: int) -> Reading[list[Sample]]:
    """Return the most that was seen of a function in each bucket in which anything was; served by the primary key."""
    rows = yield Text(
        "select min(at), max(backlog), max(running), max(runs_running) from sample"
        " where function_id = ? and at >= ? and at < ? group by (at - ?) / ?",
        (function_id, start - MINUTE_MS // 2, end, start - MINUTE_MS // 2, bucket_ms),
    )
    return [Sample(function_id, *row) for row in rows]


def slots_used(prefixes: Sequence[str]) -> Reading[dict[str, list[tuple[str, int]]]]:
    """Return, for each beginning of concurrency keys, the keys that are used most, and by how many."""
    found: dict[str, list[tuple[str, int]]] = {}
    for prefix in prefixes:
        rows = yield Text(
            "select slot.key, count(*) as used from slot where slot.key >= ? and slot.key < ?"  # noqa: S608
            f" group by slot.key order by used desc, slot.key limit {LIMITS_SHOWN_MAX:d}",
            (prefix, prefix + _LAST),
        )
        found[prefix] = [(row[0], row[1]) for row in rows]
    return found


def recent_names(environment: EnvironmentId, limit: int) -> Reading[list[NamedEvent]]:
    """Return the names of the newest events, each with its last event, the newest first."""
    rows = yield Text(
        "select max(recent.id) as last_id from (select id, name, is_internal from event where environment = ?"  # noqa: S608
        f" order by id desc limit {NAMES_SCANNED_MAX:d}) as recent where recent.is_internal = 0"
        " group by recent.name order by last_id desc limit ?",
        (environment, limit),
    )
    ids = [row[0] for row in rows]
    if not ids:
        return []
    events = yield Text(
        "select name, received_at, case when length(body) <= ? then body end,"  # noqa: S608 - fixed pieces
        " case when length(body) <= ? then original end"
        f" from event where id in ({','.join('?' * len(ids))}) order by id desc",
        (EXAMPLE_BYTES_MAX, EXAMPLE_BYTES_MAX, *ids),
    )
    return [NamedEvent(*row) for row in events]


def _among(function_ids: Sequence[FunctionId] | None) -> tuple[str, tuple[str, ...]]:
    if function_ids is None:
        return "", ()
    if not function_ids:
        return " and 1 = 0", ()
    return f" and function_id in ({','.join('?' * len(function_ids))})", tuple(function_ids)
