"""Between structs and rows, in the order of columns that the queries declare."""

from __future__ import annotations

from typing import Any, TypeAlias

from stepwell.engine.core.model import App, Attempt, Event, Function, Job, JobKind, Outcome, Run, RunStatus, Step
from stepwell.protocol.ids import (
    AppId,
    AttemptId,
    EnvironmentId,
    EventId,
    FunctionId,
    JobId,
    ReplicaId,
    RunId,
    StepId,
)
from stepwell.protocol.ops import OpCode
from stepwell.protocol.sync import decode_function

Row: TypeAlias = tuple[Any, ...]
"""A row as a driver takes and gives it."""

EVENT_COLUMNS = "id, environment, name, event_id, ts, received_at, body, original, is_internal"
RUN_COLUMNS = (
    "id, environment, function_id, function_version, event_id, queued_at, status, version, request_version,"
    " is_plan_forced, started_at, ended_at, output, reason, original_run_id"
)


def event_row(event: Event) -> Row:
    return (
        event.id,
        event.environment,
        event.name,
        event.event_id,
        event.ts,
        event.received_at,
        int(event.is_internal),
        event.body,
        event.original,
    )


def read_event(row: Row) -> Event:
    return Event(
        id=EventId(row[0]),
        environment=EnvironmentId(row[1]),
        name=row[2],
        event_id=row[3],
        ts=row[4],
        received_at=row[5],
        body=row[6],
        original=row[7],
        is_internal=bool(row[8]),
    )


def new_run_row(run: Run) -> Row:
    return (
        run.id,
        run.environment,
        run.function_id,
        run.function_version,
        run.event_id,
        run.status.value,
        run.queued_at,
        run.ended_at,
        run.reason,
        run.original_run_id,
    )


def changed_run_row(run: Run) -> Row:
    return (
        run.id,
        run.version,
        run.status.value,
        run.request_version,
        int(run.is_plan_forced),
        run.started_at,
        run.ended_at,
        run.output,
        run.reason,
    )


def read_run(row: Row) -> Run:
    return Run(
        id=RunId(row[0]),
        environment=EnvironmentId(row[1]),
        function_id=FunctionId(row[2]),
        function_version=row[3],
        event_id=EventId(row[4]),
        queued_at=row[5],
        status=RunStatus(row[6]),
        version=row[7],
        request_version=row[8],
        is_plan_forced=bool(row[9]),
        started_at=row[10],
        ended_at=row[11],
        output=row[12],
        reason=row[13],
        original_run_id=RunId(row[14]) if row[14] is not None else None,
    )


def step_row(step: Step) -> Row:
    return (
        step.run_id,
        step.id,
        step.position,
        step.op.value,
        step.title,
        step.memo,
        step.original,
        step.started_at,
        step.ended_at,
        step.attempt_id,
    )


def read_step(row: Row) -> Step:
    return Step(
        run_id=RunId(row[0]),
        id=StepId(row[1]),
        position=row[2],
        op=OpCode(row[3]),
        title=row[4],
        memo=row[5],
        started_at=row[6],
        ended_at=row[7],
        attempt_id=AttemptId(row[8]) if row[8] is not None else None,
        original=row[9],
    )


def attempt_row(attempt: Attempt) -> Row:
    return (
        attempt.run_id,
        attempt.id,
        attempt.step_id,
        attempt.title,
        attempt.attempt,
        attempt.started_at,
        attempt.ended_at,
        attempt.outcome.value,
        attempt.error,
        attempt.retry_at,
    )


def read_attempt(row: Row) -> Attempt:
    return Attempt(
        run_id=RunId(row[0]),
        id=AttemptId(row[1]),
        step_id=row[2],
        title=row[3],
        attempt=row[4],
        started_at=row[5],
        ended_at=row[6],
        outcome=Outcome(row[7]),
        error=row[8],
        retry_at=row[9],
    )


def job_row(job: Job) -> Row:
    return (
        job.run_id,
        job.id,
        job.partition,
        job.kind.value,
        job.step_id,
        job.title,
        job.op,
        job.attempt,
        job.max_attempts,
        job.stack_current,
        int(job.is_joined),
        job.lost_count,
        job.due_at,
        job.created_at,
        job.owner,
        job.generation,
        job.leased_at,
    )


def read_job(row: Row) -> Job:
    return Job(
        run_id=RunId(row[0]),
        id=JobId(row[1]),
        partition=row[2],
        kind=JobKind(row[3]),
        step_id=row[4],
        due_at=row[5],
        created_at=row[6],
        max_attempts=row[7],
        attempt=row[8],
        title=row[9],
        op=row[10],
        stack_current=row[11],
        is_joined=bool(row[12]),
        lost_count=row[13],
        generation=row[14],
        owner=ReplicaId(row[15]) if row[15] is not None else None,
        leased_at=row[16],
    )


def read_function(row: Row) -> Function:
    config = decode_function(row[5])
    return Function(
        id=FunctionId(row[0]),
        app_id=AppId(row[1]),
        environment=EnvironmentId(row[2]),
        slug=row[3],
        version=row[4],
        config=config,
        max_attempts=config.max_attempts,
        is_archived=row[6] is not None,
        registered=row[5],
    )


def read_app(row: Row, environment: EnvironmentId) -> App:
    return App(
        id=AppId(row[0]),
        environment=environment,
        name=row[1],
        transport=row[2],
        url=row[3],
        sdk=row[4],
        framework=row[5],
        version=row[6],
        checksum=row[7],
        synced_at=row[8],
        archived_at=row[9],
    )
