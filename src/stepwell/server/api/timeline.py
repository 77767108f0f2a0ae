"""A run's timeline: each attempt its own row, and beside them what is asleep, in progress or waiting.

attempt   one call of the app: ended (completed, retrying, failed, lost), or running
          what a call reports while it goes on has attempts of its own, beside that of the call; so has the step that it
          is at, as soon as the app has told of it
step      a further result of an attempt that brought several
sleep     sleeping, or completed
job       a call that is still to be made, with the reason why it isn't yet
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import msgspec

from stepwell.engine.core.condition import condition_text
from stepwell.engine.core.endpoint import is_at_work
from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import Attempt, Job, JobKind, Outcome, Run, RunStatus, Step, Wait, WaitKind
from stepwell.engine.core.standing import Standing, Surroundings, why_waiting
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import DISCOVER
from stepwell.protocol.ops import OpCode
from stepwell.server.failure import error_line
from stepwell.store.found import Relative, Relatives, RowPayload, RunDetail, SentEvent

RowKind: TypeAlias = Literal["attempt", "step", "sleep", "job"]
RowStatus: TypeAlias = Literal["completed", "retrying", "failed", "lost", "running", "waiting", "sleeping"]

_OF_OUTCOME: dict[Outcome, RowStatus] = {
    Outcome.OK: "completed",
    Outcome.ERROR: "retrying",
    Outcome.FAILED: "failed",
    Outcome.LOST: "lost",
}


_OPS: Final[dict[OpCode, str]] = {
    OpCode.STEP: "step.run",
    OpCode.STEP_RUN: "step.run",
    OpCode.STEP_ERROR: "step.run",
    OpCode.STEP_FAILED: "step.run",
    OpCode.STEP_PLANNED: "step.run",
    OpCode.SLEEP: "step.sleep",
    OpCode.WAIT_FOR_EVENT: "step.waitForEvent",
    OpCode.WAIT_FOR_SIGNAL: "step.waitForSignal",
    OpCode.INVOKE_FUNCTION: "step.invoke",
    OpCode.GATEWAY: "step.fetch",
    OpCode.AI_GATEWAY: "step.ai.infer",
}
_WRAP_BYTES: Final = len(b'{"data":}')


class Links(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a row is connected with: only what is known is there."""

    run_id: str | None = None
    """Of the run that a step invoked."""
    function: str | None = None
    event_id: str | None = None
    """Of the event that a wait got, or the first that a step sent."""
    event_name: str | None = None
    expression: str | None = None
    """The condition of a wait that goes on."""
    signal: str | None = None
    until: str | None = None
    """When a sleep, or a wait that goes on, ends by itself."""


class HttpFacts(msgspec.Struct, frozen=True):
    """What the HTTP call of an attempt was, beside its content."""

    status: int
    request_id: str
    """As the app had it in ``X-Request-ID``."""
    sent_bytes: int
    received_bytes: int


class TimelineRow(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened in a run, is happening, or is to happen."""

    kind: RowKind
    id: str
    status: RowStatus
    op: str | None
    """Such as ``step.run``, ``step.sleep``, ``step.waitForEvent``; null for a call that only asks the function what is
    next."""
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
    output_bytes: int | None
    error: msgspec.Raw | None
    error_line: str | None
    """The error as one line: ``Name: message``."""
    waiting: str | None
    """Why it isn't running, in words."""
    links: Links | None
    http: HttpFacts | None
    """Of an attempt that was a call of its own, and got an answer."""


class _Memo(msgspec.Struct, frozen=True):
    # Not None where they are missing: msgspec takes Raw in no other union.
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def timeline(
    detail: RunDetail, standing: Standing, around: Surroundings, relatives: Relatives, *, now: int
) -> list[TimelineRow]:
    """Return the rows of a run in the order in which they began; what hasn't begun comes last, by its due time."""
    rows = [(_began(row), row) for row in _Rows(detail, standing, around, relatives, now).all()]
    rows.sort(key=lambda pair: pair[0])
    return [row for _, row in rows]


def payloads(row: RowPayload, run: Run) -> tuple[msgspec.Raw | None, msgspec.Raw | None]:
    """Return the output and the error of one row."""
    if row.error is not None:
        return None, msgspec.Raw(row.error)
    if row.step is None:
        is_end = run.status is RunStatus.COMPLETED and row.ended_at is not None and row.ended_at == run.ended_at
        return msgspec.Raw(run.output) if is_end and run.output is not None else None, None
    op, memo, original = row.step
    return _results(op, memo, original)


def _began(row: TimelineRow) -> tuple[bool, str]:
    return row.started_at is None, row.started_at or row.due_at or ""


class _Rows:
    """The rows of one run."""

    def __init__(
        self, detail: RunDetail, standing: Standing, around: Surroundings, relatives: Relatives, now: int
    ) -> None:
        self.detail, self.standing, self.around, self.now = detail, standing, around, now
        self.has_payloads = detail.step_bytes is None
        self.steps: dict[str, Step] = {step.id: step for step in detail.steps}
        self.children: dict[str, Relative] = {child.step_id: child for child in relatives.children}
        self.sent: dict[str, SentEvent] = {event.step_id: event for event in reversed(relatives.sent)}
        self.waits: dict[str, Wait] = {wait.job_id: wait for wait in standing.waits}
        self.ops: dict[str, str] = {job.step_id: job.op for job in detail.jobs if job.op}

    def all(self) -> Iterator[TimelineRow]:
        shown: set[str] = set()
        ending = _ending_attempt(self.detail)
        for attempt in self.detail.attempts:
            step = self.steps.get(attempt.step_id) if attempt.outcome is not Outcome.LOST else None
            if step is not None and step.attempt_id == attempt.id:
                shown.add(step.id)
            else:
                step = None
            yield self._attempt(attempt, step, is_ending=attempt is ending)
        for step in self.detail.steps:
            if step.id not in shown:
                yield self._step(step)
        for job in self.detail.jobs:
            if not job.kind.is_guard:
                yield from self._open(job)

    def _attempt(self, attempt: Attempt, step: Step | None, *, is_ending: bool) -> TimelineRow:
        output, output_bytes = self._output(step)
        if step is None and is_ending and self.has_payloads:
            output = msgspec.Raw(self.detail.run.output or b"null")
            output_bytes = len(output)
        return TimelineRow(
            kind="attempt",
            id=attempt.id,
            status=_OF_OUTCOME[attempt.outcome],
            op=self._op(attempt.step_id),
            step_id=attempt.step_id if attempt.step_id != DISCOVER else None,
            title=attempt.title or None,
            attempt=attempt.attempt,
            started_at=time_text(attempt.started_at),
            ended_at=time_text(attempt.ended_at),
            due_at=None,
            retry_at=time_text(attempt.retry_at) if attempt.retry_at is not None else None,
            output=output,
            output_bytes=output_bytes,
            error=msgspec.Raw(attempt.error) if attempt.error is not None and self.has_payloads else None,
            error_line=error_line(attempt.error) if attempt.error is not None else None,
            waiting=None,
            links=self._links(step) if step is not None else None,
            http=_http(attempt),
        )

    def _step(self, step: Step) -> TimelineRow:
        is_sleep = step.op is OpCode.SLEEP
        error = None if is_sleep else _results(step.op, step.memo, None)[1]
        output, output_bytes = (None, None) if is_sleep else self._output(step)
        return TimelineRow(
            kind="sleep" if is_sleep else "step",
            id=step.id,
            status="failed" if error is not None else "completed",
            op=self._op(step.id),
            step_id=step.id,
            title=step.title,
            attempt=None,
            started_at=time_text(step.started_at),
            ended_at=time_text(step.ended_at),
            due_at=None,
            retry_at=None,
            output=output,
            output_bytes=output_bytes,
            error=error if self.has_payloads else None,
            error_line=error_line(bytes(error)) if error is not None else None,
            waiting=None,
            links=self._links(step),
            http=None,
        )

    def _open(self, job: Job) -> Iterator[TimelineRow]:
        row, begun = self._job(job), self.detail.begun
        if begun is None or begun.attempt_id != row.id:
            yield row
        elif begun.ends_call:
            yield msgspec.structs.replace(row, op="step.run", step_id=begun.step_id, title=begun.title)
        else:
            yield row
            yield msgspec.structs.replace(
                row,
                id=begun.result_id,
                op="step.run",
                step_id=begun.step_id,
                title=begun.title,
                started_at=time_text(begun.started_at),
            )

    def _job(self, job: Job) -> TimelineRow:
        is_timer = job.kind is JobKind.TIMER
        is_in_app = is_at_work(job, now=self.now)
        is_running = (job.leased_at is not None or is_in_app) and not is_timer
        is_open = job.kind is JobKind.WAIT or is_timer
        kind: RowKind = "sleep" if is_timer else "attempt" if is_running else "job"
        started_at = job.created_at if is_open or is_in_app else job.leased_at
        return TimelineRow(
            kind=kind,
            id=attempt_id(job) if is_running else job.id,
            status="sleeping" if is_timer else "running" if is_running else "waiting",
            op=self._op(job.step_id),
            step_id=job.step_id if job.step_id != DISCOVER else None,
            title=job.title or None,
            attempt=None if is_open else job.attempt,
            started_at=time_text(started_at) if started_at is not None else None,
            ended_at=None,
            due_at=None if is_running else time_text(job.due_at),
            retry_at=None,
            output=None,
            output_bytes=None,
            error=None,
            error_line=None,
            waiting=why_waiting(job, self.standing, self.around, now=self.now),
            links=self._job_links(job),
            http=None,
        )

    def _op(self, step_id: str) -> str | None:
        if step_id == DISCOVER:
            return None
        if step_id in self.sent:
            return "step.sendEvent"
        step = self.steps.get(step_id)
        code = step.op if step is not None else self.ops.get(step_id)
        return _OPS.get(OpCode(code), "step.run") if code else "step.run"

    def _output(self, step: Step | None) -> tuple[msgspec.Raw | None, int | None]:
        """Return what a step gave, and its size."""
        if step is None:
            return None, None
        sizes = self.detail.step_bytes
        if sizes is not None:
            return None, max(0, sizes[step.id] - (0 if step.op is OpCode.STEP else _WRAP_BYTES))
        output = _results(step.op, step.memo, step.original)[0]
        return output, len(output) if output is not None else None

    def _links(self, step: Step) -> Links | None:
        if step.id in self.children:
            return self._child(step.id)
        if step.id in self.sent:
            sent = self.sent[step.id]
            return Links(event_id=sent.id, event_name=sent.name)
        if step.op is OpCode.SLEEP:
            return Links(until=time_text(step.ended_at))
        if step.op is OpCode.WAIT_FOR_EVENT and step.memo != b"null":
            got = msgspec.json.decode(step.memo, type=_Got)
            return Links(event_id=step.event_id, event_name=got.name)
        return None

    def _job_links(self, job: Job) -> Links | None:
        until = time_text(job.due_at)
        if job.kind is JobKind.TIMER:
            return Links(until=until)
        wait = self.waits.get(job.id)
        if wait is not None and wait.kind is WaitKind.SIGNAL:
            return Links(signal=wait.name, until=until)
        if wait is not None:
            text = condition_text(wait.path, wait.value, wait.condition)
            return Links(event_name=wait.name, expression=text, until=until)
        if job.step_id in self.children:
            return msgspec.structs.replace(self._child(job.step_id), until=until)
        return None

    def _child(self, step_id: str) -> Links:
        child = self.children[step_id]
        return Links(run_id=child.id, function=self.around.names.get(child.function_id, child.function_id))


class _Got(msgspec.Struct, frozen=True):
    name: str


def _http(attempt: Attempt) -> HttpFacts | None:
    if attempt.exchange is None:
        return None
    status, sent_bytes, received_bytes = attempt.exchange
    return HttpFacts(status, f"{attempt.run_id}.{attempt.id}", sent_bytes, received_bytes)


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


def _results(op: OpCode, memo: bytes, original: bytes | None) -> tuple[msgspec.Raw | None, msgspec.Raw | None]:
    """Return a step's output, as the app sent it where the canonical form had to round a number, and its error."""
    if op is OpCode.STEP:
        return msgspec.Raw(original if original is not None else memo), None
    if original is not None:
        return msgspec.Raw(original), None
    try:
        found = msgspec.json.decode(memo, type=_Memo)
    except msgspec.ValidationError:  # of a wait that timed out, the memo is null
        return msgspec.Raw(memo), None
    return _given(found.data), _given(found.error)


def _given(member: msgspec.Raw | msgspec.UnsetType) -> msgspec.Raw | None:
    return None if member is msgspec.UNSET else member
