"""Between structs and rows, in the order of columns that the queries declare."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from stepwell.engine.core.model import (
    App,
    Attempt,
    BegunStep,
    Event,
    Exchange,
    Function,
    Gathering,
    GatherKind,
    Job,
    JobKind,
    LogLine,
    Outcome,
    Pause,
    PauseMode,
    Run,
    RunStatus,
    Span,
    SpanStatus,
    Step,
    Wait,
    WaitKind,
)
from stepwell.protocol.ids import (
    AppId,
    AttemptId,
    EnvironmentId,
    EventId,
    FunctionId,
    JobId,
    LogId,
    ReplicaId,
    RunId,
    SpanId,
    StepId,
)
from stepwell.protocol.ops import OpCode
from stepwell.protocol.sync import decode_function

Row: TypeAlias = tuple[Any, ...]
"""A row as a driver takes and gives it."""

EVENT_COLUMNS = "id, environment, name, event_id, ts, received_at, body, original, is_internal"
RUN_COLUMNS = (
    "id, environment, function_id, function_version, event_id, queued_at, status, version, request_version,"
    " is_plan_forced, started_at, ended_at, output, reason, original_run_id, partition, parent_run_id, parent_step_id,"
    " is_batch"
)


LOG_COLUMNS = (
    "log.run_id, log.id, log.attempt_id, log.attempt, log.step_id, log.step, log.at, log.level, log.logger,"
    " log.message, log.fields, log.is_replayed, log.span_id, run.environment, run.function_id"
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
        run.started_at,
        run.ended_at,
        run.reason,
        run.original_run_id,
        run.partition,
        run.parent_run_id,
        run.parent_step_id,
        int(run.is_batch),
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
        partition=row[15],
        parent_run_id=RunId(row[16]) if row[16] is not None else None,
        parent_step_id=StepId(row[17]) if row[17] is not None else None,
        is_batch=bool(row[18]),
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
        step.event_id,
        step.input,
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
        event_id=EventId(row[10]) if row[10] is not None else None,
    )


_NO_EXCHANGE: Final = (None, None, None)


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
        *(attempt.exchange or _NO_EXCHANGE),
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
        exchange=Exchange(row[10], row[11], row[12]) if row[10] is not None else None,
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
        job.payload,
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
        payload=row[17],
        memo=row[18],
        resolved_by=EventId(row[19]) if row[19] is not None else None,
    )


def wait_row(wait: Wait) -> Row:
    return (
        wait.run_id,
        wait.job_id,
        wait.environment,
        wait.kind.value,
        wait.name,
        wait.path,
        wait.value,
        wait.condition,
        wait.created_at,
        wait.expires_at,
    )


def read_wait(row: Row) -> Wait:
    return Wait(
        run_id=RunId(row[0]),
        job_id=JobId(row[1]),
        environment=EnvironmentId(row[2]),
        kind=WaitKind(row[3]),
        name=row[4],
        path=row[5],
        value=row[6],
        condition=row[7],
        created_at=row[8],
        expires_at=row[9],
    )


def gathering_row(gathering: Gathering, *, is_open: bool) -> Row:
    return (
        gathering.run_id,
        gathering.environment,
        gathering.function_id,
        gathering.kind.value,
        gathering.key,
        gathering.version,
        gathering.first_at,
        gathering.due_at,
        gathering.event_count,
        gathering.byte_count,
        int(is_open),
    )


def read_gathering(row: Row) -> Gathering:
    return Gathering(
        run_id=RunId(row[0]),
        environment=EnvironmentId(row[1]),
        function_id=FunctionId(row[2]),
        kind=GatherKind(row[3]),
        key=row[4],
        version=row[5],
        first_at=row[6],
        due_at=row[7],
        event_count=row[8],
        byte_count=row[9],
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
        pause=Pause(row[7], PauseMode(row[8]), bool(row[9])) if row[7] is not None else None,
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


def log_row(line: LogLine) -> Row:
    return (
        line.run_id,
        line.id,
        line.attempt_id,
        line.attempt,
        line.step_id,
        line.step,
        line.at,
        line.level,
        line.logger,
        line.message,
        line.fields,
        int(line.is_replayed),
        line.span_id,
    )


def read_line(row: Row) -> LogLine:
    return LogLine(
        run_id=RunId(row[0]),
        id=LogId(row[1]),
        attempt_id=AttemptId(row[2]) if row[2] is not None else None,
        attempt=row[3],
        step_id=StepId(row[4]) if row[4] is not None else None,
        step=row[5],
        at=row[6],
        level=row[7],
        logger=row[8],
        message=row[9],
        fields=row[10],
        is_replayed=bool(row[11]),
        span_id=SpanId(row[12]) if row[12] is not None else None,
        environment=EnvironmentId(row[13]),
        function_id=FunctionId(row[14]),
    )


def begun_row(begun: BegunStep) -> Row:
    return (begun.attempt_id, begun.step_id, begun.title, begun.started_at, int(begun.ends_call), begun.input)


def read_begun(run_id: RunId, row: Row) -> BegunStep:
    return BegunStep(
        run_id=run_id,
        attempt_id=AttemptId(row[0]),
        step_id=StepId(row[1]),
        title=row[2],
        started_at=row[3],
        ends_call=bool(row[4]),
        input=row[5],
        position=row[6],
    )


def span_row(span: Span) -> Row:
    return (
        span.run_id,
        span.id,
        span.parent_id,
        span.name,
        span.started_at,
        span.duration_us,
        span.status.value,
        span.attributes,
    )


def read_span(row: Row) -> Span:
    return Span(
        run_id=RunId(row[0]),
        id=SpanId(row[1]),
        parent_id=SpanId(row[2]) if row[2] is not None else None,
        name=row[3],
        started_at=row[4],
        duration_us=row[5],
        status=SpanStatus(row[6]),
        attributes=row[7],
    )
