"""The reading verbs, as plans without I/O: they yield statements, are sent the rows, and return what they mean.

Lists with filters and cursors have texts put together from fixed pieces, by which filters are set; values are always
parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

import msgspec

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import (
    App,
    BegunStep,
    Event,
    Function,
    Gathering,
    GatherKind,
    Job,
    JobKind,
    Run,
    RunStatus,
    Step,
)
from stepwell.engine.core.rules import ThrottleRule
from stepwell.engine.core.standing import Limiting, Standing, Used
from stepwell.engine.core.state import RunState
from stepwell.limits import (
    FAULT_AGE_MS,
    LINE_COUNTED_MAX,
    LOG_LINES_PER_RUN_MAX,
    PAGE_ROWS_MAX,
    SIGNAL_KEPT_MS,
    SPANS_PER_RUN_MAX,
)
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, JobId, ReplicaId, RunId
from stepwell.store.begun import SHOWN_COLUMNS
from stepwell.store.found import (
    Aftermath,
    Aged,
    Checked,
    DueSchedule,
    EventKey,
    Fault,
    Lease,
    Minute,
    RunDetail,
    Schedule,
    Walk,
)
from stepwell.store.query import Statement
from stepwell.store.rows import (
    EVENT_COLUMNS,
    Row,
    read_app,
    read_attempt,
    read_begun,
    read_event,
    read_function,
    read_gathering,
    read_job,
    read_run,
    read_step,
    read_wait,
)

T = TypeVar("T")


class Text(NamedTuple):
    """A statement whose text was put together, with ``?`` for each value."""

    text: str
    values: Sequence[Any]


Reading: TypeAlias = Generator[Statement | Text, Sequence[Row], T]
"""Yields statements; is sent their rows; returns what was asked for."""

_USERS_SHOWN: Final = 6  # of a key: five, and the run itself
_EVENT_FIELDS: Final = ", ".join(f"event.{column.strip()}" for column in EVENT_COLUMNS.split(","))


def load_functions(environment: EnvironmentId) -> Reading[tuple[int, list[Function]]]:
    rows = yield Statement("environment_revision", parameters={"id": environment})
    functions = yield Statement("function_load", parameters={"environment": environment})
    return rows[0][0], [read_function(row) for row in functions]


def is_awaited(environment: EnvironmentId, name: str) -> Reading[bool]:
    rows = yield Statement("wait_exists", parameters={"environment": environment, "name": name})
    return bool(rows[0][0])


def load_apps(environment: EnvironmentId) -> Reading[list[App]]:
    rows = yield Statement("app_load", parameters={"environment": environment})
    return [read_app(row, environment) for row in rows]


def load_runs(ids: Sequence[RunId]) -> Reading[dict[RunId, RunState]]:
    keys = [(id,) for id in sorted(set(ids))]
    steps: dict[str, list[Step]] = {}
    for row in (yield Statement("step_load", keys)):
        steps.setdefault(row[0], []).append(read_step(row))
    jobs: dict[str, list[Job]] = {}
    for row in (yield Statement("job_load", keys)):
        jobs.setdefault(row[0], []).append(read_job(row))
    rows = yield Statement("run_load", keys)
    runs = [(read_run(row), row[19]) for row in rows]
    batches = sorted((run.id,) for run, _ in runs if run.is_batch)
    events: dict[str, list[bytes]] = {}
    if batches:
        for run_id, _, body in (yield Statement("gathered_load", batches)):
            events.setdefault(run_id, []).append(body)
    return {
        run.id: RunState(run, event, steps.get(run.id, ()), jobs.get(run.id, ()), events.get(run.id, ()))
        for run, event in runs
    }


def ended_runs(ids: Sequence[RunId]) -> Reading[list[RunId]]:
    rows = yield Statement("run_versions", [(id,) for id in sorted(set(ids))])
    return [RunId(row[0]) for row in rows if RunStatus(row[2]).is_final]


def has_sweeps() -> Reading[bool]:
    rows = yield Statement("sweep_exists")
    return bool(rows[0][0])


def due_gatherings(now: int, limit: int) -> Reading[list[tuple[Gathering, list[Event]]]]:
    rows = yield Statement("gathering_due", parameters={"now": now, "limit": limit})
    gatherings = [read_gathering(row) for row in rows]
    found: list[tuple[Gathering, list[Event]]] = []
    for gathering in gatherings:
        order = "" if gathering.kind is GatherKind.BATCH else "desc limit 1"
        events = yield Text(
            f"select {_EVENT_FIELDS} from gathered join event on event.id = gathered.event_id"  # noqa: S608
            f" where gathered.run_id = ? order by gathered.event_id {order}",
            (gathering.run_id,),
        )
        found.append((gathering, [read_event(row) for row in events]))
    return found


def next_gathering_due() -> Reading[int | None]:
    rows = yield Statement("gathering_next_due")
    return rows[0][0]


def leases(replica_id: ReplicaId) -> Reading[list[Lease]]:
    rows = yield Statement("job_leases", parameters={"owner": replica_id})
    return [Lease(RunId(row[0]), JobId(row[1]), row[2]) for row in rows]


def partitions() -> Reading[list[str]]:
    rows = yield Statement("job_partitions")
    return [row[0] for row in rows]


def backlog(now: int, partitions_max: int, count_max: int) -> Reading[list[tuple[str, int]]]:
    parameters = {"now": now, "partitions_max": partitions_max, "count_max": count_max}
    rows = yield Statement("job_backlog", parameters=parameters)
    return [(row[0], row[1]) for row in rows]


def next_due(names: Sequence[str]) -> Reading[list[tuple[str, int | None]]]:
    rows = yield Statement("job_next_due", [(name,) for name in names])
    return [(row[0], row[1]) for row in rows]


def due_schedules(now: int, limit: int) -> Reading[list[DueSchedule]]:
    rows = yield Statement("schedule_due", parameters={"now": now, "limit": limit})
    return [DueSchedule(*row) for row in rows]


def next_schedule_due() -> Reading[int | None]:
    rows = yield Statement("schedule_next_due")
    return rows[0][0]


def load_schedules(environment: EnvironmentId) -> Reading[list[Schedule]]:
    rows = yield Statement("schedule_load", parameters={"environment": environment})
    return [Schedule(*row) for row in rows]


def load_setting(key: str) -> Reading[str | None]:
    rows = yield Statement("setting_get", parameters={"key": key})
    return rows[0][0] if rows else None


def load_event(id: EventId) -> Reading[Event | None]:
    """Return one event by its internal id."""
    rows = yield Text(f"select {EVENT_COLUMNS} from event where id = ?", (id,))  # noqa: S608
    return read_event(rows[0]) if rows else None


def event_names(ids: Sequence[EventId]) -> Reading[dict[EventId, str]]:
    rows = yield Statement("event_names", [(id,) for id in sorted(set(ids))])
    return {EventId(row[0]): row[1] for row in rows}


def find_run(id: RunId) -> Reading[Run | None]:
    """Return a run alone."""
    rows = yield Text(f"select {SHOWN_COLUMNS} from run where id = ?", (id,))  # noqa: S608 - fixed pieces
    return read_run(rows[0]) if rows else None


def load_run(id: RunId) -> Reading[RunDetail | None]:
    """Return all that is known of a run."""
    run = yield from find_run(id)
    if run is None:
        return None
    event = yield from load_event(run.event_id)
    assert event is not None, "an event is kept as long as its runs"
    steps = yield Statement("step_load", [(id,)])
    attempts = yield Statement("attempt_load", parameters={"run_id": id})
    jobs = [read_job(row) for row in (yield Statement("job_load", [(id,)]))]
    begun = yield from load_begun(jobs)
    return RunDetail(
        run=run,
        event=event,
        event_bytes=len(event.original or event.body),
        output_bytes=len(run.output) if run.output not in (None, b"null") else None,
        steps=[read_step(row) for row in steps],
        attempts=[read_attempt(row) for row in attempts],
        jobs=jobs,
        begun=begun,
    )


def load_begun(jobs: Sequence[Job]) -> Reading[BegunStep | None]:
    """Return the step that a run's discovery under way is at, where that is known; ``jobs`` are all that the run has."""
    calls = {attempt_id(job): job for job in jobs if job.kind is JobKind.DISCOVER and job.leased_at is not None}
    if not calls:
        return None
    run_id = jobs[0].run_id
    for row in (yield Statement("begun_load", parameters={"run_id": run_id})):
        begun = read_begun(run_id, row)
        call = calls.get(begun.attempt_id)
        if call is not None:
            return msgspec.structs.replace(begun, started_at=max(begun.started_at, call.leased_at or 0))
    return None


def load_aftermath(id: EventId, limit: int) -> Reading[Aftermath]:
    """Return what became of an event."""
    rows = yield Text(
        f"select {SHOWN_COLUMNS} from run where event_id = ? order by id limit {limit:d}",  # noqa: S608
        (id,),
    )
    which = {"event_id": id, "limit": limit}
    gatherings = yield Statement("gathering_of_event", parameters=which)
    gathered = yield Text(
        f"select {SHOWN_COLUMNS} from gathered join run on run.id = gathered.run_id"  # noqa: S608 - fixed pieces
        f" where gathered.event_id = ? order by run.id limit {limit:d}",
        (id,),
    )
    return Aftermath(
        runs=[read_run(row) for row in rows],
        gatherings=[read_gathering(row) for row in gatherings],
        gathered=[read_run(row) for row in gathered],
    )


def load_standing(id: RunId, limitings: Callable[[str], Sequence[Limiting]], now: int) -> Reading[Standing | None]:
    """Return what a run waits for, and who has what it waits for."""
    run = yield from find_run(id)
    if run is None:
        return None
    event = yield from load_event(run.event_id)
    assert event is not None, "an event is kept as long as its runs"
    found = yield Statement("job_load", [(id,)])
    jobs = [read_job(row) for row in found]
    if run.status.is_final or not jobs:
        return Standing(run, event.body)
    begun = yield from load_begun(jobs)
    waits = yield Statement("standing_waits", parameters={"run_id": id})
    failures = yield Statement("standing_failures", parameters={"run_id": id, "limit": PAGE_ROWS_MAX})
    children = yield Text(
        f"select {SHOWN_COLUMNS} from run where parent_run_id = ? order by id desc limit ?",  # noqa: S608 - fixed pieces
        (id, PAGE_ROWS_MAX),
    )
    due = [job for job in jobs if job.owner is None and job.due_at <= now and job.kind.is_call][:PAGE_ROWS_MAX]
    before: dict[str, int] = {}
    used: dict[str, Used] = {}
    throttles: dict[str, bytes] = {}
    if due:
        counted = yield Statement(
            "standing_before",
            [(job.id, job.partition, job.due_at) for job in due],
            {"limit": LINE_COUNTED_MAX + 1},
        )
        before = {row[0]: row[1] for row in counted}
        limits = [limiting for partition in sorted({job.partition for job in due}) for limiting in limitings(partition)]
        keys = sorted({(limiting.key,) for limiting in limits if not isinstance(limiting.rule, ThrottleRule)})
        if keys:
            for key, number in (yield Statement("slot_count", keys)):
                users = yield Statement("standing_users", parameters={"key": key, "limit": _USERS_SHOWN})
                used[key] = Used(number, tuple(dict.fromkeys(RunId(row[0]) for row in users)))
        states = sorted({(limiting.key,) for limiting in limits if isinstance(limiting.rule, ThrottleRule)})
        if states:
            throttles = {row[0]: row[1] for row in (yield Statement("flow_load", states))}
    return Standing(
        run=run,
        event=event.body,
        jobs=jobs,
        waits=[read_wait(row) for row in waits],
        failures=[read_attempt(row) for row in failures],
        children=[read_run(row) for row in children],
        before=before,
        used=used,
        throttles=throttles,
        begun=begun,
    )


def walk_runs(
    function_id: FunctionId, after: str, ended_before: int, limit: int, count_max: int
) -> Reading[list[Aged]]:
    """Return the oldest runs after an id; those that have expired are weighed."""
    rows = yield Statement("run_walk", parameters={"function_id": function_id, "after": after, "limit": limit})
    expired = [(row[0],) for row in rows if row[1] is not None and row[1] <= ended_before]
    weighed: dict[str, Aged] = {}
    if expired:
        found = yield Statement("run_weight", expired, {"count_max": count_max})
        for id, attempts, attempt_bytes, steps, step_bytes, events, lines, spans, log_bytes, other_bytes in found:
            logged = min(lines or 0, LOG_LINES_PER_RUN_MAX) + min(spans or 0, SPANS_PER_RUN_MAX)
            row_count = attempts + steps + events + logged + 2
            weighed[id] = Aged(id, row_count, attempt_bytes + step_bytes + (log_bytes or 0) + other_bytes)
    return [weighed.get(row[0]) or Aged(row[0]) for row in rows]


def walk_events(environment: EnvironmentId, after: str, received_before: int, limit: int) -> Reading[list[Aged]]:
    """Return the oldest events after an id."""
    rows = yield Statement(
        "event_walk",
        parameters={"environment": environment, "after": after, "received_before": received_before, "limit": limit},
    )
    return [Aged(row[0], 1, row[2]) if row[1] else Aged(row[0]) for row in rows]


_WALKED: Final[dict[Walk, tuple[str, tuple[str, ...]]]] = {
    Walk.RUNS: ("check_runs", ("after",)),
    Walk.JOBS: ("check_jobs", ("after", "after_job")),
    Walk.WAITS: ("check_waits", ("after", "after_job")),
    Walk.SLOTS: ("check_slots", ("after", "after_run", "after_job")),
    Walk.FLOW: ("check_flow", ("after",)),
    Walk.SIGNALS: ("check_signals", ("after", "after_name", "after_id")),
    Walk.GATHERINGS: ("check_gatherings", ("after",)),
}
"""The query of each walk, and the parameters that its key is."""


def check(walk: Walk, after: tuple[str, ...], now: int, limit: int) -> Reading[list[Checked]]:
    """Look at the next rows of a walk; an empty ``after`` is its beginning."""
    name, parts = _WALKED[walk]
    place = dict(zip(parts, after or ("",) * len(parts), strict=True))
    times = {"now": now, "before": now - FAULT_AGE_MS, "sent_before": now - SIGNAL_KEPT_MS}
    rows = yield Statement(name, parameters={**place, **times, "limit": limit})
    return [Checked(tuple(row[:-1]), Fault(row[-1]) if row[-1] is not None else None) for row in rows]


def walk_samples(function_id: FunctionId, after: int, until: int, limit: int) -> Reading[list[Minute]]:
    """Return the minutes of a function of which a sample is kept."""
    parameters = {"function_id": function_id, "after": after, "until": until, "limit": limit}
    rows = yield Statement("sample_walk", parameters=parameters)
    return [Minute(function_id, row[0]) for row in rows]


def walk_event_keys(after: tuple[str, str], limit: int) -> Reading[list[EventKey]]:
    """Return the windows of event ids after one."""
    rows = yield Statement("event_key_walk", parameters={"function_id": after[0], "event_id": after[1], "limit": limit})
    return [EventKey(FunctionId(row[0]), row[1], row[2]) for row in rows]
