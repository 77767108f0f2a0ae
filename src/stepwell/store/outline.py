"""Reading plans for the page of one run: its rows without their payloads, a row's payloads, its relatives, its function.

A run may have thousands of rows, and each row megabytes: what a page shows at a glance is read without them.
"""

from __future__ import annotations

from typing import Final

from stepwell.engine.core.model import Event, Job, JobKind, Run, RunStatus
from stepwell.engine.core.sent import sent_ids
from stepwell.engine.core.step_input import input_of
from stepwell.limits import ERROR_SHOWN_BYTES_MAX, LINKS_MAX, MEMO_SHOWN_BYTES_MAX, STEPS_PER_RUN_MAX
from stepwell.protocol.ids import EventId, FunctionId, RunId, StepId
from stepwell.protocol.ops import OpCode
from stepwell.store.begun import BRIEF_COLUMNS, STATUS
from stepwell.store.found import EndedWait, EventLinks, Relative, Relatives, RowPayload, RunDetail, SentEvent, Version
from stepwell.store.query import Statement
from stepwell.store.read import Reading, Text, load_begun
from stepwell.store.rows import read_attempt, read_event, read_job, read_run, read_step

_NEAR_MAX: Final = 200


def load_outline(id: RunId, after: int | None) -> Reading[RunDetail | None]:
    """Return a run's rows that ended since an instant, or haven't yet, without payloads but the short ones of steps."""
    head = yield from _head(id)
    if head is None:
        return None
    run, output_bytes, event, event_bytes = head
    since = after if after is not None else 0
    steps = yield Text(
        "select run_id, id, position, op, title, case when length(memo) <= ? then memo end, started_at, ended_at,"
        " attempt_id, null, event_id, length(coalesce(original, memo)) from step where run_id = ? and ended_at >= ?"
        " order by position",
        (MEMO_SHOWN_BYTES_MAX, id, since),
    )
    attempts = yield Text(
        "select run_id, id, step_id, title, attempt, started_at, ended_at, outcome, substr(error, 1, ?), retry_at,"
        " http_status, sent_bytes, received_bytes from attempt where run_id = ? and ended_at >= ? order by started_at, id",
        (ERROR_SHOWN_BYTES_MAX, id, since),
    )
    jobs = [read_job(row) for row in (yield Statement("job_load", [(id,)]))]
    begun = yield from load_begun(jobs)
    return RunDetail(
        run=run,
        event=event,
        event_bytes=event_bytes,
        output_bytes=output_bytes,
        steps=[read_step((*row[:5], row[5] or b"null", *row[6:11])) for row in steps],
        attempts=[read_attempt(row) for row in attempts],
        jobs=jobs,
        step_bytes={row[1]: row[11] for row in steps},
        begun=begun,
    )


def load_spans(id: RunId) -> Reading[RunDetail | None]:
    """Return when each thing of a run began and ended, and nothing else of it."""
    head = yield from _head(id)
    if head is None:
        return None
    run, output_bytes, event, event_bytes = head
    attempts = yield Text(
        "select run_id, '', step_id, '', attempt, started_at, ended_at, outcome, null, retry_at,"
        " null, null, null from attempt where run_id = ? order by started_at, id",
        (id,),
    )
    # The others were attempts.
    steps = yield Text(
        "select run_id, id, position, op, '', substr(memo, 1, 0), started_at, ended_at, null, null, null from step"
        " where run_id = ? and op not in ('Step', 'StepRun', 'StepFailed') order by position",
        (id,),
    )
    jobs = yield Statement("job_load", [(id,)])
    return RunDetail(
        run=run,
        event=event,
        event_bytes=event_bytes,
        output_bytes=output_bytes,
        steps=[read_step(row) for row in steps],
        attempts=[read_attempt(row) for row in attempts],
        jobs=[read_job(row) for row in jobs],
        step_bytes={},
    )


def _head(id: RunId) -> Reading[tuple[Run, int | None, Event, int] | None]:
    """Return a run and its event without payloads, each with the size of its payload."""
    runs = yield Text(
        f"select {BRIEF_COLUMNS}, length(nullif(run.output, ?)) from run where id = ?",  # noqa: S608
        (b"null", id),
    )
    if not runs:
        return None
    run = read_run(runs[0][:-1])
    events = yield Text(
        "select id, environment, name, event_id, ts, received_at, is_internal, length(coalesce(original, body))"
        " from event where id = ?",
        (run.event_id,),
    )
    [row] = events  # it is kept as long as its runs
    return run, runs[0][-1], read_event((*row[:6], b"", None, row[6])), row[7]


def load_relatives(id: RunId) -> Reading[Relatives]:
    """Return the run that invoked a run, the runs that it invoked, and the events that it sent."""
    parents = yield Text(
        "select parent.id, parent.function_id, parent.status, run.parent_step_id"
        " from run join run as parent on parent.id = run.parent_run_id where run.id = ?",
        (id,),
    )
    children = yield Text(
        f"select id, function_id, {STATUS}, parent_step_id from run where parent_run_id = ?"  # noqa: S608
        " order by id limit ?",
        (id, LINKS_MAX),
    )
    parent: Relative | None = None
    for row in parents:
        titles = yield from _titles(row[0])
        parent = _relative(row, titles)
    titles = (yield from _titles(id)) if children else {}
    sent = yield from _sent_events(id)
    return Relatives(parent, [_relative(row, titles) for row in children], sent)


def _relative(row: tuple[str, str, str, str], titles: dict[str, str]) -> Relative:
    return Relative(RunId(row[0]), FunctionId(row[1]), RunStatus(row[2]), StepId(row[3]), titles.get(row[3]))


def _titles(id: str) -> Reading[dict[str, str]]:
    """Return the names of the steps of a run that invoked something, or do."""
    rows = yield Text(
        "select id, title from step where run_id = ? and op = ?"
        " union all select step_id, title from job where run_id = ? and op = ?",
        (id, OpCode.INVOKE_FUNCTION.value, id, OpCode.INVOKE_FUNCTION.value),
    )
    return {row[0]: row[1] for row in rows}


def _sent_events(id: RunId) -> Reading[list[SentEvent]]:
    """Return the events that a run's steps sent: those whose ids are a step's whole result."""
    rows = yield Text(
        "select id, title, memo from step where run_id = ? and event_id is not null and op <> ?"  # noqa: S608
        f" and length(memo) <= ? order by position limit {STEPS_PER_RUN_MAX:d}",
        (id, OpCode.WAIT_FOR_EVENT.value, MEMO_SHOWN_BYTES_MAX),
    )
    sent = [(event_id, row[0], row[1]) for row in rows for event_id in sent_ids(row[2])][:LINKS_MAX]
    if not sent:
        return []
    found = yield Statement("event_names", sorted({(event_id,) for event_id, _, _ in sent}))
    names = {row[0]: row[1] for row in found}
    return [SentEvent(EventId(id), names[id], StepId(step), title) for id, step, title in sent if id in names]


def load_event_links(id: EventId) -> Reading[EventLinks]:
    """Return the waits that an event ended, and the step that sent it."""
    waits = yield Text(
        "select step.run_id, step.title, run.function_id from step join run on run.id = step.run_id"
        " where step.event_id = ? and step.op = ? order by step.run_id limit ?",
        (id, OpCode.WAIT_FOR_EVENT.value, LINKS_MAX),
    )
    # What one step sends is received together: the step is among those whose first event came shortly before.
    near = yield Text(
        "select run_id, id, title, op, memo from step where event_id is not null and event_id <= ?"  # noqa: S608
        f" and length(memo) <= {MEMO_SHOWN_BYTES_MAX:d} order by event_id desc limit {_NEAR_MAX:d}",
        (id,),
    )
    sender = next((row for row in near if row[3] != OpCode.WAIT_FOR_EVENT.value and id in sent_ids(row[4])), None)
    return EventLinks(
        waits=[EndedWait(RunId(row[0]), FunctionId(row[2]), row[1]) for row in waits],
        sent_by=(RunId(sender[0]), StepId(sender[1]), sender[2]) if sender is not None else None,
    )


def step_title(run_id: RunId, step_id: StepId) -> Reading[str | None]:
    """Return the name of a step that a run knows, or works on."""
    rows = yield Text(
        "select title from step where run_id = ? and id = ?"
        " union all select title from job where run_id = ? and step_id = ?",
        (run_id, step_id, run_id, step_id),
    )
    return rows[0][0] if rows else None


def load_row(id: RunId, row_id: str) -> Reading[RowPayload | None]:
    """Return the payloads of one row of a run: an attempt, a step, a job, or a step that has begun."""
    attempts = yield Text(
        "select step_id, started_at, ended_at, error from attempt where run_id = ? and id = ?", (id, row_id)
    )
    steps = yield Text(_STEP_PAYLOAD, (id, attempts[0][0] if attempts else row_id))
    jobs = [read_job(row) for row in (yield Statement("job_load", [(id,)]))]
    job = next((job for job in jobs if _is_of(job, row_id)), None)
    begun = yield from load_begun(jobs)
    if begun is not None and begun.result_id != row_id:
        begun = None
    given = steps[0][6] if steps else begun.input if begun else _input_in(job, row_id) if job is not None else None
    if attempts:
        _, started_at, ended_at, error = attempts[0]
        own = [step for step in steps if step[5] == row_id]
        step = (OpCode(own[0][0]), own[0][1], own[0][2]) if own else None
        return RowPayload(step=step, error=error, input=given, started_at=started_at, ended_at=ended_at)
    if steps:
        op, memo, original, started_at, ended_at, _, _ = steps[0]
        return RowPayload((OpCode(op), memo, original), None, given, started_at, ended_at)
    if job is not None:
        return RowPayload(None, None, given, job.leased_at, None)
    return RowPayload(None, None, given, begun.started_at, None) if begun is not None else None


def _input_in(job: Job, row_id: str) -> bytes | None:
    """Return what the step of a row was given. A discovery knows it of the step alone that its last attempt failed at."""
    is_last = job.owner is None and row_id in (job.id, f"{job.id}.{job.generation - 1}")  # a retry is a generation
    return input_of(job) if is_last or job.kind is not JobKind.DISCOVER else None


def _is_of(job: Job, row_id: str) -> bool:
    """Tell whether a row is a job, or one of its attempts."""
    return job.id in (row_id, row_id.rpartition(".")[0])


_STEP_PAYLOAD: Final = (
    "select op, memo, original, started_at, ended_at, attempt_id, input from step where run_id = ? and id = ?"
)


def load_version(function_id: FunctionId, version: int) -> Reading[Version | None]:
    """Return a function's configuration at a version."""
    rows = yield Text(
        "select config, created_at from function_version where function_id = ? and version = ?",
        (function_id, version),
    )
    return Version(*rows[0]) if rows else None
