"""A run's timeline: each attempt its own row, and beside them what is asleep, in progress or waiting.

attempt   one call of the app: ended (completed, retrying, failed, lost), or running
step      a further result of an attempt that brought several
sleep     sleeping, or completed
job       a call that is still to be made, with the reason why it isn't yet
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

import msgspec

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import Attempt, Job, JobKind, Outcome, RunStatus, Step
from stepwell.engine.core.standing import Standing, Surroundings, why_waiting
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import DISCOVER
from stepwell.protocol.ops import OpCode
from stepwell.store.interface import RunDetail

RowKind: TypeAlias = Literal["attempt", "step", "sleep", "job"]
RowStatus: TypeAlias = Literal["completed", "retrying", "failed", "lost", "running", "waiting", "sleeping"]

_OF_OUTCOME: dict[Outcome, RowStatus] = {
    Outcome.OK: "completed",
    Outcome.ERROR: "retrying",
    Outcome.FAILED: "failed",
    Outcome.LOST: "lost",
}


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a run, is happening, or is to happen."""

    kind: RowKind
    id: str
    status: RowStatus
    step_id: str | None
    """The hash of the step's name; null for a call that only asks the function what is next."""
    title: str | None
    attempt: int | None
    """0 for the first."""
    started_at: str | None
    ended_at: str | None
    due_at: str | None
    """When a job becomes due, or a sleep ends."""
    retry_at: str | None
    output: msgspec.Raw | None
    error: msgspec.Raw | None
    waiting: str | None
    """Why it isn't running, in words."""


class _Memo(msgspec.Struct, frozen=True):
    # Not None where they are missing: msgspec takes Raw in no other union.
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def timeline(detail: RunDetail, standing: Standing, around: Surroundings, *, now: int) -> list[TimelineRow]:
    """Return the rows of a run in the order in which they began; what hasn't begun comes last, by its due time."""
    rows = [(_began(row), row) for row in _rows(detail, standing, around, now)]
    rows.sort(key=lambda pair: pair[0])
    return [row for _, row in rows]


def _began(row: TimelineRow) -> tuple[bool, str]:
    return row.started_at is None, row.started_at or row.due_at or ""


def _rows(detail: RunDetail, standing: Standing, around: Surroundings, now: int) -> Iterator[TimelineRow]:
    steps = {step.id: step for step in detail.steps}
    shown: set[str] = set()
    ending = _ending_attempt(detail)
    for attempt in detail.attempts:
        step = steps.get(attempt.step_id) if attempt.outcome is not Outcome.LOST else None  # type: ignore[call-overload]
        if step is not None and step.attempt_id == attempt.id:
            shown.add(step.id)
            output = _output(step)
        else:
            output = msgspec.Raw(detail.run.output or b"null") if attempt is ending else None
        yield _attempt_row(attempt, output)
    for step in detail.steps:
        if step.id not in shown:
            yield _step_row(step)
    for job in detail.jobs:
        if not job.kind.is_guard:
            yield _job_row(job, why_waiting(job, standing, around, now=now))


def _ending_attempt(detail: RunDetail) -> Attempt | None:
    """Find the attempt whose result is the run's: the last to end well, when the run did."""
    run = detail.run
    if run.status is not RunStatus.COMPLETED:
        return None
    of_steps = {step.attempt_id for step in detail.steps}
    good = [
        a for a in detail.attempts if a.outcome is Outcome.OK and a.ended_at == run.ended_at and a.id not in of_steps
    ]
    return good[-1] if good else None


def _attempt_row(attempt: Attempt, output: msgspec.Raw | None) -> TimelineRow:
    return TimelineRow(
        kind="attempt",
        id=attempt.id,
        status=_OF_OUTCOME[attempt.outcome],
        step_id=attempt.step_id if attempt.step_id != DISCOVER else None,
        title=attempt.title or None,
        attempt=attempt.attempt,
        started_at=time_text(attempt.started_at),
        ended_at=time_text(attempt.ended_at),
        due_at=None,
        retry_at=time_text(attempt.retry_at) if attempt.retry_at is not None else None,
        output=output,
        error=msgspec.Raw(attempt.error) if attempt.error is not None else None,
        waiting=None,
    )


def _step_row(step: Step) -> TimelineRow:
    is_sleep = step.op is OpCode.SLEEP
    error = _given(_memo(step).error) if step.op is not OpCode.STEP and not is_sleep else None
    return TimelineRow(
        kind="sleep" if is_sleep else "step",
        id=step.id,
        status="failed" if error is not None else "completed",
        step_id=step.id,
        title=step.title,
        attempt=None,
        started_at=time_text(step.started_at),
        ended_at=time_text(step.ended_at),
        due_at=None,
        retry_at=None,
        output=None if is_sleep else _output(step),
        error=error,
        waiting=None,
    )


def _job_row(job: Job, waiting: str | None) -> TimelineRow:
    is_timer = job.kind is JobKind.TIMER
    is_running = job.leased_at is not None and not is_timer
    kind: RowKind = "sleep" if is_timer else "attempt" if is_running else "job"
    started_at = job.created_at if is_timer else job.leased_at
    return TimelineRow(
        kind=kind,
        id=attempt_id(job) if is_running else job.id,
        status="sleeping" if is_timer else "running" if is_running else "waiting",
        step_id=job.step_id if job.step_id != DISCOVER else None,
        title=job.title or None,
        attempt=None if is_timer else job.attempt,
        started_at=time_text(started_at) if started_at is not None else None,
        ended_at=None,
        due_at=None if is_running else time_text(job.due_at),
        retry_at=None,
        output=None,
        error=None,
        waiting=waiting,
    )


def _output(step: Step) -> msgspec.Raw | None:
    """Return a step's result, as the app sent it where the canonical form had to round a number."""
    if step.original is not None:
        return msgspec.Raw(step.original)
    return msgspec.Raw(step.memo) if step.op is OpCode.STEP else _given(_memo(step).data)


def _given(member: msgspec.Raw | msgspec.UnsetType) -> msgspec.Raw | None:
    return None if member is msgspec.UNSET else member


def _memo(step: Step) -> _Memo:
    return msgspec.json.decode(step.memo, type=_Memo)
