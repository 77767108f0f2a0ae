"""The reading verbs behind the API on SQLite: lists with filters and cursors, and a run in full.

The texts are put together from fixed pieces, by which filters are set; values are always parameters.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from stepwell.engine.core.model import UNFINISHED, Event, Run, RunStatus
from stepwell.protocol.ids import EventId, RunId
from stepwell.store.interface import EventFilter, RunDetail, RunFilter
from stepwell.store.rows import (
    EVENT_COLUMNS,
    RUN_COLUMNS,
    read_attempt,
    read_event,
    read_job,
    read_run,
    read_step,
)
from stepwell.store.sqlite_batch import Statements

_RARE_EVENTS_MAX: Final = 500


def list_runs(db: sqlite3.Connection, which: RunFilter) -> list[Run]:
    """Return a page of runs, newest first, by an index for each filter.

    No index follows the status. Unfinished runs are found by their jobs, of which each has one, from the newest job on;
    those that went wrong have indexes of their own, which SQLite takes only when the status is written out.
    """
    source, group = "run", ""
    where: list[str] = ["environment = ?"]
    values: list[str | int] = [which.environment]
    if which.function_id is not None:
        where.append("function_id = ?")
        values.append(which.function_id)
    if which.event_id is not None:
        where.append("event_id = ?")
        values.append(which.event_id)
    if which.event_name is not None:
        where.append(_triggered_by(db, which.environment, which.event_name, values))
    if which.status is not None:
        where.append(f"status = '{RunStatus(which.status).value}'")
        if which.status in UNFINISHED:
            source, group = "job cross join run on run.id = job.run_id", "group by job.run_id"
    if which.queued_from is not None:
        where.append("queued_at >= ?")
        values.append(which.queued_from)
    if which.queued_until is not None:
        where.append("queued_at < ?")
        values.append(which.queued_until)
    key = "job.run_id" if group else "run.id"
    if which.before is not None:
        where.append(f"{key} < ?")
        values.append(which.before)
    columns = ", ".join(f"run.{column.strip()}" for column in RUN_COLUMNS.split(","))
    rows = db.execute(
        f"select {columns} from {source} where {' and '.join(where)} {group}"  # noqa: S608
        f" order by {key} desc limit {which.limit:d}",
        values,
    )
    return [read_run(row) for row in rows]


def _triggered_by(db: sqlite3.Connection, environment: str, name: str, values: list[str | int]) -> str:
    """Return the condition for an event's name, in the form that is quick for a rare one or for a common one.

    The runs of few events are found by their ids; those of many come soon when the newest runs are gone through.
    """
    ids = db.execute(
        "select id from event where environment = ? and name = ? order by id desc limit ?",
        (environment, name, _RARE_EVENTS_MAX + 1),
    ).fetchall()
    if len(ids) > _RARE_EVENTS_MAX:
        values.append(name)
        return "exists (select 1 from event where event.id = run.event_id and event.name = ?)"
    values += [row[0] for row in ids]
    return f"event_id in ({','.join('?' * len(ids))})"


def list_events(db: sqlite3.Connection, which: EventFilter) -> list[Event]:
    """Return a page of events, newest first."""
    where: list[str] = ["environment = ?"]
    values: list[str | int] = [which.environment]
    if which.name is not None:
        where.append("name = ?")
        values.append(which.name)
    if not which.with_internal:
        where.append("is_internal = 0")
    if which.received_from is not None:
        where.append("received_at >= ?")
        values.append(which.received_from)
    if which.received_until is not None:
        where.append("received_at < ?")
        values.append(which.received_until)
    if which.before is not None:
        where.append("id < ?")
        values.append(which.before)
    rows = db.execute(
        f"select {EVENT_COLUMNS} from event where {' and '.join(where)} order by id desc limit {which.limit:d}",  # noqa: S608
        values,
    )
    return [read_event(row) for row in rows]


def load_event(db: sqlite3.Connection, id: EventId) -> Event | None:
    """Return one event by its internal id."""
    row = db.execute(f"select {EVENT_COLUMNS} from event where id = ?", (id,)).fetchone()  # noqa: S608
    return read_event(row) if row is not None else None


def load_run(db: sqlite3.Connection, sql: Statements, id: RunId) -> RunDetail | None:
    """Return all that is known of a run."""
    row = db.execute(f"select {RUN_COLUMNS} from run where id = ?", (id,)).fetchone()  # noqa: S608
    if row is None:
        return None
    run = read_run(row)
    event = load_event(db, run.event_id)
    assert event is not None, "an event is kept as long as its runs"
    return RunDetail(
        run=run,
        event=event,
        steps=[read_step(step) for step in sql.many("step_load", [(id,)])],
        attempts=[read_attempt(attempt) for attempt in sql.one("attempt_load", run_id=id)],
        jobs=[read_job(job) for job in sql.many("job_load", [(id,)])],
    )
