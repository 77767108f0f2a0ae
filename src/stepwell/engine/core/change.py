"""The transition of one reply while it is being computed: what each op does to a run (protocol 4.8 to 4.11).

The table at the end names the ops; one of the protocol that isn't in it fails the run and says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

import msgspec

from stepwell.engine.core.condition import Condition, prepare
from stepwell.engine.core.end import end_run
from stepwell.engine.core.failure import error_json, server_error_body, standard_error
from stepwell.engine.core.fetch import FetchFailed
from stepwell.engine.core.jobs import FINISH, attempt_id, discovery, place_in_line, timeout_job, wants_discovery
from stepwell.engine.core.model import (
    Attempt,
    ErrorBody,
    ErrorReply,
    Function,
    Invocation,
    Job,
    JobKind,
    OpsReply,
    Outcome,
    Reply,
    RunStatus,
    Step,
    Transition,
    Wait,
    WaitKind,
)
from stepwell.engine.core.partition import FETCHES, TIMERS, later
from stepwell.engine.core.retry import retry_delay_ms
from stepwell.engine.core.sent import first_sent
from stepwell.engine.core.state import RunState, member_bytes
from stepwell.engine.core.step_input import input_of, step_input
from stepwell.errors import DurationError, ExpressionError
from stepwell.limits import (
    SLEEP_MS_MAX,
    STATE_BYTES_MAX,
    STEP_OUTPUT_BYTES_MAX,
    STEPS_PER_RUN_MAX,
)
from stepwell.protocol.canonical import Json, NotJson, canonical, encode
from stepwell.protocol.duration import duration_ms, parse_time
from stepwell.protocol.ids import COMPLETE, JobId, StepId
from stepwell.protocol.ops import CLOSES, RACE, Op, OpCode

STEP_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_GROUPING: Final = frozenset(
    (
        OpCode.STEP_PLANNED,
        OpCode.SLEEP,
        OpCode.WAIT_FOR_EVENT,
        OpCode.INVOKE_FUNCTION,
        OpCode.WAIT_FOR_SIGNAL,
        OpCode.GATEWAY,
        OpCode.AI_GATEWAY,
    )
)
_SINCE_RUN_START: Final = "run_start"
_IGNORED: Final = frozenset((OpCode.NONE,))


class Policy(NamedTuple):
    """Settings of the server that the rules need."""

    steps_max: int = STEPS_PER_RUN_MAX
    state_bytes_max: int = STATE_BYTES_MAX
    retry_constant_ms: int | None = None
    conflicting: frozenset[str] = frozenset()
    """Signals that another run waits for, as the database has said."""


class Answered(NamedTuple):
    """A reply with the circumstances of its call."""

    reply: Reply
    started_at: int
    ended_at: int
    chance: float
    """A random number in [0, 1), for the jitter of a retry."""
    stack_seen: int
    """How many steps the call's memo held: more by now means that the app hasn't seen them."""


class RunFails(Exception):
    """The run ends now, with an error that the server makes (protocol 4.9.5)."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name


class Change:
    """The transition of one reply while it is being computed."""

    def __init__(self, state: RunState, job: Job, function: Function, answered: Answered, policy: Policy) -> None:
        # A call that reported steps meanwhile has its retries unused. Another lease of the job is none of this one's.
        held = state.jobs.get(job.id)
        job = held if held is not None and held.generation == job.generation else job
        self.state, self.job, self.function, self.policy = state, job, function, policy
        self.answered = answered
        self.at = answered.ended_at
        run = state.run
        self.run = msgspec.structs.replace(
            run,
            version=run.version + 1,
            status=RunStatus.RUNNING,
            started_at=run.started_at if run.started_at is not None else answered.started_at,
        )
        self.steps: list[Step] = []
        self.jobs: list[Job] = []
        self.waits: list[Wait] = []
        self.invocations: list[Invocation] = []
        self.closed: dict[JobId, Job] = {}
        self.started_at = answered.started_at
        self.outcome, self.error, self.retry_at = Outcome.OK, None, None
        self.step_id, self.title = job.step_id, job.title
        self.size_bytes = state.size_bytes
        self.done: set[str] = set()
        """Steps that got their result in this reply."""
        self.planned: set[str] = set()
        """Steps that got a job of their own in this reply."""
        self.counted: set[str] = set()
        """Steps that the run didn't have before this reply."""
        self.is_joined = False
        """Whether the ops of this reply are a group, after which one discovery follows."""
        self.is_retried = False
        self.needs_discovery = False
        self.final: Transition | None = None

    # -- ops ----------------------------------------------------------------------------------------------------

    def take_ops(self, reply: OpsReply) -> None:
        if self.run.request_version == -1:
            self.run = msgspec.structs.replace(self.run, request_version=reply.request_version)
        ops = [(op, code) for op in reply.ops if (code := op.code) not in _IGNORED]
        if len(ops) == 1 and ops[0][1] in _RESULTS and STEP_ID.match(ops[0][0].id):
            self.step_id, self.title = ops[0][0].id, ops[0][0].title
            self.started_at = self._began_at(ops[0][0])
        is_group = len(ops) > 1 and any(code in _GROUPING for _, code in ops)
        if is_group:
            self.run = msgspec.structs.replace(self.run, is_plan_forced=True)
        is_joined = self.is_joined = is_group and self.run.request_version >= 2
        for op, code in ops:
            if self.final is not None:
                break
            handler = _HANDLERS.get(code) if code is not None else None
            if handler is None:
                raise RunFails("UnsupportedOp", f"the app answered with the op {op.op!r}, which this server can't do")
            if STEP_ID.match(op.id) is None:
                raise RunFails("InvalidOp", f"the app answered with a step id that isn't one: {op.id[:80]!r}")
            self.close_losers(op)
            handler(self, op, reply, is_joined)
        if self.final is None:
            self.settle(had_ops=bool(ops))

    def take_result(self, op: Op, _reply: OpsReply, _joined: bool) -> None:
        if self._is_done(op.id):
            # The call reported it while it went on, and wasn't told that this had arrived.
            self.needs_discovery |= self.job.id in self.state.checkpointed
            return
        if op.code is OpCode.STEP:
            output, original = _payload(op.data)
            memo = output
        else:
            output, original = _payload(op.data)
            memo = b'{"data":%b}' % output
        if len(output) > STEP_OUTPUT_BYTES_MAX:
            raise RunFails(
                "output_too_large",
                f"the output of step {op.title!r} has {len(output)} bytes; the limit is {STEP_OUTPUT_BYTES_MAX}:"
                " store it elsewhere and return a reference",
            )
        self._record(op, memo, original)

    def take_failed(self, op: Op, _reply: OpsReply, _joined: bool) -> None:
        if self._is_done(op.id):
            return
        error = standard_error(op.error, fallback=f"step {op.title!r} failed")
        self.outcome, self.error = Outcome.FAILED, error_json(error)
        self._record(op, b'{"error":%b}' % error_json(error), None)

    def take_step_error(self, op: Op, reply: OpsReply, joined: bool) -> None:
        if op.id == COMPLETE:
            error = standard_error(op.error, fallback="the function failed")
            self.take_error(
                ErrorReply(
                    error=error,
                    output=error_json(error),
                    no_retry=reply.no_retry,
                    retry_after_ms=reply.retry_after_ms,
                )
            )
        elif reply.no_retry or self.job.attempt + 1 >= self.job.max_attempts:
            self.take_failed(op, reply, joined)
        elif not self._is_done(op.id):
            error = standard_error(op.error, fallback=f"step {op.title!r} failed")
            self._retry(error_json(error), reply.retry_after_ms, step_input(op))

    def take_planned(self, op: Op, _reply: OpsReply, joined: bool) -> None:
        if self._is_new(op):
            self._add_job(
                JobKind.STEP,
                step_id=op.id,
                title=op.title,
                op=OpCode.STEP_PLANNED,
                payload=step_input(op),
                is_joined=joined and op.option("parallelMode") != RACE,
            )

    def take_sleep(self, op: Op, _reply: OpsReply, joined: bool) -> None:
        if self._is_new(op):
            self._add_job(
                JobKind.TIMER,
                step_id=op.id,
                title=op.title,
                op=OpCode.SLEEP,
                partition=TIMERS,
                due_at=_wakes_at(op, self.at),
                payload=step_input(op),
                is_joined=joined and op.option("parallelMode") != RACE,
            )

    def take_wait(self, op: Op, _reply: OpsReply, joined: bool) -> None:
        if not self._is_new(op):
            return
        name = op.option("event") or op.name
        if not isinstance(name, str) or not name or "\0" in name:
            raise RunFails("InvalidOp", f"step {op.title!r} waits for an event without a name: {name!r}")
        text = op.option("if")
        try:
            condition = prepare(text if isinstance(text, str) else None, msgspec.json.decode(self.state.event))
        except ExpressionError as error:
            raise RunFails("InvalidExpression", f"step {op.title!r} waits with a bad condition: {error}") from None
        job = self._add_wait(op, _ends_at(op, self.at, default_ms=0), joined)
        if not condition.is_never:
            self._wait(
                job,
                WaitKind.EVENT,
                name,
                condition,
                since=self.run.queued_at if op.option("since") == _SINCE_RUN_START else None,
                passes_over=_texts(op.option("seen")),
            )

    def take_signal(self, op: Op, _reply: OpsReply, joined: bool) -> None:
        if not self._is_new(op):
            return
        name = op.option("signal") or op.name
        if not isinstance(name, str) or not name or "\0" in name:
            raise RunFails("InvalidOp", f"step {op.title!r} waits for a signal without a name: {name!r}")
        if name in self.policy.conflicting:
            raise RunFails("SignalConflict", "Signal conflict; signal wait already exists for another run")
        job = self._add_wait(op, _ends_at(op, self.at, default_ms=0), joined)
        self._wait(
            job,
            WaitKind.SIGNAL,
            name,
            Condition(),
            is_replacing=op.option("conflict") == "replace",
            takes_kept=op.option("keep") is True,
        )

    def take_invoke(self, op: Op, _reply: OpsReply, joined: bool) -> None:
        if not self._is_new(op):
            return
        slug, payload = op.option("function_id"), op.option("payload")
        if not isinstance(slug, str) or not slug:
            raise RunFails("InvalidOp", f"step {op.title!r} invokes a function without an id: {slug!r}")
        given = cast("dict[str, Json]", payload) if isinstance(payload, dict) else {}
        data = given.get("data")
        if data is not None and not isinstance(data, dict):
            raise RunFails("InvalidOp", f"step {op.title!r} invokes {slug!r} with data that is no object")
        v = given.get("v")
        job = self._add_wait(op, _ends_at(op, self.at, default_ms=SLEEP_MS_MAX), joined)
        self.invocations.append(
            Invocation(
                step_id=StepId(op.id),
                slug=slug,
                data=self._encoded(op, data or {}),
                user=self._encoded(op, given.get("user") or {}),
                v=v if isinstance(v, str) else None,
                expires_at=job.due_at,
                title=op.title,
            )
        )

    def take_request(self, op: Op, _reply: OpsReply, joined: bool) -> None:
        if self._is_new(op):
            assert op.code is not None
            self._add_job(
                JobKind.FETCH,
                step_id=op.id,
                title=op.title,
                op=op.code,
                partition=FETCHES,
                payload=self._encoded(op, op.opts),
                is_joined=joined and op.option("parallelMode") != RACE,
            )

    def take_memo(self, op: Op, memo: bytes, original: bytes | None) -> None:
        if not self._is_done(op.id):
            self._record(op, memo, original)

    def take_fetch_failed(self, op: Op, failed: FetchFailed) -> None:
        if self._is_done(op.id):
            return
        error = error_json(failed.error)
        if failed.is_retriable and self.job.attempt + 1 < self.job.max_attempts:
            self._retry(error, failed.retry_after_ms)
        else:
            self.outcome, self.error = Outcome.FAILED, error
            self._record(op, b'{"error":%b}' % error, None)

    def take_complete(self, op: Op, _reply: OpsReply, _joined: bool) -> None:
        self.finish(_payload(op.data)[0])

    def take_discovery_request(self, _op: Op, _reply: OpsReply, _joined: bool) -> None:
        self.needs_discovery = True

    def take_not_found(self, op: Op, reply: OpsReply, _joined: bool) -> None:
        error = ErrorBody(
            name="StepNotFound",
            message=f"the app has no step {op.title!r} at this place of the function: was its code changed meanwhile?",
        )
        self.take_error(ErrorReply(error=error, output=server_error_body(error), retry_after_ms=reply.retry_after_ms))

    # -- ends and errors ----------------------------------------------------------------------------------------

    def finish(self, output: bytes) -> None:
        self.final = end_run(
            self.state,
            self.function,
            self.job,
            RunStatus.COMPLETED,
            at=self.at,
            output=output,
            run=self.run,
            steps=self.steps,
        )

    def take_error(self, reply: ErrorReply) -> None:
        error = error_json(reply.error)
        if reply.no_retry is True or self.job.attempt + 1 >= self.job.max_attempts:
            text = "NonRetriableError" if reply.no_retry else "invalid status code: 500"
            self.outcome, self.error = Outcome.FAILED, error
            self.final = end_run(
                self.state,
                self.function,
                self.job,
                RunStatus.FAILED,
                at=self.at,
                output=reply.output,
                reason=reply.code,
                error=reply.error,
                error_text=text if reply.code == "function_error" else None,
                run=self.run,
                steps=self.steps,
            )
        else:
            self._retry(error, reply.retry_after_ms)

    def fail_by_server(self, name: str, message: str) -> None:
        error = ErrorBody(name=name, message=message)
        self.outcome, self.error = Outcome.FAILED, error_json(error)
        self.final = end_run(
            self.state,
            self.function,
            self.job,
            RunStatus.FAILED,
            at=self.at,
            output=server_error_body(error),
            reason=name,
            error=error,
            run=self.run,
        )

    def transition(self) -> Transition:
        attempt = Attempt(
            run_id=self.run.id,
            id=attempt_id(self.job),
            step_id=self.step_id,
            title=self.title,
            attempt=self.job.attempt,
            started_at=self.started_at,
            ended_at=self.at,
            outcome=self.outcome,
            error=self.error,
            retry_at=self.retry_at,
            exchange=self.answered.reply.exchange,
        )
        if self.final is not None:
            if self.is_retried:  # a step's error in a reply that ends the run all the same
                attempt = msgspec.structs.replace(attempt, outcome=Outcome.FAILED, retry_at=None)
            return msgspec.structs.replace(self.final, attempt=attempt)
        assert self.jobs or self._has_others(), "a run that isn't finished must keep a job"
        return Transition(
            run=self.run,
            at=self.at,
            job=self.job,
            attempt=attempt,
            steps=tuple(self.steps),
            jobs=(*self.jobs, *self.guards()),
            waits=tuple(self.waits),
            closed=tuple(self.closed.values()),
            invocations=tuple(self.invocations),
        )

    def guards(self) -> tuple[Job, ...]:
        """Return the job that cancels a run which goes on for too long: from its first call on."""
        timeouts = self.function.config.timeouts
        if self.state.run.started_at is not None or timeouts is None or not timeouts.finish:
            return ()
        try:
            due_at = self.answered.started_at + duration_ms(timeouts.finish)
        except DurationError:  # a sync refuses it
            return ()
        return (timeout_job(self.run, FINISH, due_at=due_at, at=self.at),)

    def _has_others(self) -> bool:
        """Tell whether other jobs bring the run on. Where others had the job meanwhile, it is none of the run's any more."""
        own = int(self.job.id in self.state.jobs)
        return self.state.driver_count - len(self.closed) > own

    def close_losers(self, op: Op) -> None:
        """Give up steps that have lost a race, as far as nothing of them has begun."""
        lost = op.option(CLOSES)
        if not isinstance(lost, list):
            return
        for job in self.state.jobs.values():
            if job.step_id in lost and job.owner is None and not job.kind.is_guard and job.kind is not JobKind.DISCOVER:
                self.closed[job.id] = job

    # -- pieces -------------------------------------------------------------------------------------------------

    def _is_done(self, step_id: str) -> bool:
        return step_id in self.state.memo or step_id in self.done

    def _is_new(self, op: Op) -> bool:
        """Known ops are reported again while they are pending: they are not begun twice (protocol 4.10.5)."""
        is_pending = self.state.is_pending(op.id) and op.id != self.job.step_id
        if is_pending or op.id in self.planned or self._is_done(op.id):
            return False
        self.planned.add(op.id)
        self._count(op.id)
        return True

    def _count(self, step_id: str) -> None:
        """Count a step, once, against the limit."""
        if not self.state.is_pending(step_id):
            self.counted.add(step_id)
        if self.state.step_count + len(self.counted) > self.policy.steps_max:
            raise RunFails(
                "InngestErrFunctionOverflowed",
                f"the run has more than {self.policy.steps_max} steps, which is the limit",
            )

    def _began_at(self, op: Op) -> int:
        """Return when the one step of a reply began: with its call, unless that has reported others before."""
        if op.ran_ms is None or self.job.id not in self.state.checkpointed:
            return self.answered.started_at
        return max(self.answered.started_at, self.at - op.ran_ms)

    def _record(self, op: Op, memo: bytes, original: bytes | None) -> None:
        self._count(op.id)
        self.size_bytes += member_bytes(op.id, memo)
        if self.size_bytes > self.policy.state_bytes_max:
            raise RunFails(
                "InngestErrStateOverflowed",
                f"event and step results have {self.size_bytes} bytes; the limit is {self.policy.state_bytes_max}",
            )
        assert op.code is not None
        self.done.add(op.id)
        self.steps.append(
            Step(
                run_id=self.run.id,
                id=StepId(op.id),
                position=len(self.state.stack) + len(self.steps),
                op=op.code,
                title=op.title,
                memo=memo,
                original=original,
                started_at=self.started_at,
                ended_at=self.at,
                attempt_id=attempt_id(self.job),
                event_id=first_sent(memo),
                input=step_input(op) or (input_of(self.job) if self.job.step_id == op.id else None),
            )
        )
        if not self.is_joined or op.option("parallelMode") == RACE:
            self.needs_discovery |= wants_discovery(self.state, self.job)

    def _retry(self, error: bytes, retry_after_ms: int | None, given: bytes | None = None) -> None:
        if self.is_retried:
            return
        self.is_retried = True
        delay_ms = retry_after_ms
        if delay_ms is None:
            delay_ms = retry_delay_ms(self.job.attempt, self.answered.chance, self.policy.retry_constant_ms)
        self.outcome, self.error, self.retry_at = Outcome.ERROR, error, self.at + delay_ms
        self.jobs.append(
            msgspec.structs.replace(
                self.job,
                attempt=self.job.attempt + 1,
                due_at=self.at + delay_ms,
                created_at=self.at,
                # A discovery may fail at one step and then at another: it keeps no other's input.
                payload=given if given is not None or self.job.kind is JobKind.DISCOVER else self.job.payload,
                lost_count=0,
                owner=None,
                leased_at=None,
                generation=self.job.generation + 1,
                # Its run has started: what a first call waits for isn't asked again.
                partition=later(self.job.partition),
            )
        )

    def settle(self, *, had_ops: bool = True) -> None:
        """Add the discovery that is due, so that the run goes on and no completion stays unseen."""
        if self.is_retried:
            return
        if self.job.kind in (JobKind.STEP, JobKind.FETCH) and not self.jobs:
            self.needs_discovery |= wants_discovery(self.state, self.job)
        seen = self.answered.stack_seen + self.state.checkpointed.get(self.job.id, 0)
        unseen = self.job.kind is JobKind.DISCOVER and len(self.state.stack) > seen
        has_others = bool(self.jobs) or self._has_others()
        if not (self.needs_discovery or unseen or not has_others):
            return
        if not (self.needs_discovery or unseen) and self.job.kind is JobKind.DISCOVER:
            # The app has seen everything and asks for nothing, though nothing is pending: calling again at once
            # would go on for ever.
            error = ErrorBody(
                name="NothingToDo",
                message="the app asked for no new step and didn't return: was the function's code changed?"
                if had_ops
                else "the app answered with no steps and no result",
            )
            self.take_error(ErrorReply(error=error, output=server_error_body(error), code="nothing_to_do"))
            return
        self.run, jobs = discovery(
            self.state,
            self.run,
            self.job,
            at=self.at,
            stack_length=len(self.state.stack) + len(self.steps),
            number=len(self.jobs),
        )
        self.jobs.extend(jobs)

    def _add_wait(self, op: Op, expires_at: int, joined: bool) -> Job:
        assert op.code is not None
        return self._add_job(
            JobKind.WAIT,
            step_id=op.id,
            title=op.title,
            op=op.code,
            partition=TIMERS,
            due_at=expires_at,
            payload=step_input(op),
            is_joined=joined and op.option("parallelMode") != RACE,
        )

    def _wait(
        self,
        job: Job,
        kind: WaitKind,
        name: str,
        condition: Condition,
        *,
        since: int | None = None,
        passes_over: tuple[str, ...] = (),
        is_replacing: bool = False,
        takes_kept: bool = False,
    ) -> None:
        self.waits.append(
            Wait(
                environment=self.run.environment,
                run_id=self.run.id,
                job_id=job.id,
                kind=kind,
                name=name,
                path=condition.path,
                value=condition.value,
                condition=condition.rest,
                created_at=self.at,
                expires_at=job.due_at,
                since=since,
                trigger_id=self.run.event_id if self.run.original_run_id is None else None,
                passes_over=passes_over,
                is_replacing=is_replacing,
                takes_kept=takes_kept,
            )
        )

    def _encoded(self, op: Op, value: Json) -> bytes:
        try:
            encoded = encode(value)
        except NotJson as error:
            raise RunFails("InvalidOp", f"step {op.title!r} has an input that can't be passed on: {error}") from None
        if len(encoded) > STEP_OUTPUT_BYTES_MAX:
            raise RunFails(
                "input_too_large",
                f"the input of step {op.title!r} has {len(encoded)} bytes; the limit is {STEP_OUTPUT_BYTES_MAX}",
            )
        return encoded

    def _add_job(
        self,
        kind: JobKind,
        *,
        step_id: str,
        title: str,
        op: OpCode,
        is_joined: bool,
        due_at: int | None = None,
        partition: str | None = None,
        payload: bytes | None = None,
    ) -> Job:
        job = Job(
            run_id=self.run.id,
            id=JobId(f"{self.run.version}.{len(self.jobs)}"),
            partition=later(self.run.partition) if partition is None else partition,
            kind=kind,
            step_id=step_id,
            title=title,
            op=op,
            due_at=place_in_line(self.job, self.at) if due_at is None else due_at,
            created_at=self.at,
            max_attempts=self.function.max_attempts,
            stack_current=self.job.stack_current,
            is_joined=is_joined,
            payload=payload,
        )
        self.jobs.append(job)
        return job


_Handler = Callable[[Change, Op, OpsReply, bool], None]

_RESULTS: Final = frozenset((OpCode.STEP, OpCode.STEP_RUN, OpCode.STEP_ERROR, OpCode.STEP_FAILED))

_HANDLERS: Final[Mapping[OpCode, _Handler]] = {
    OpCode.STEP: Change.take_result,
    OpCode.STEP_RUN: Change.take_result,
    OpCode.STEP_ERROR: Change.take_step_error,
    OpCode.STEP_FAILED: Change.take_failed,
    OpCode.STEP_PLANNED: Change.take_planned,
    OpCode.SLEEP: Change.take_sleep,
    OpCode.WAIT_FOR_EVENT: Change.take_wait,
    OpCode.WAIT_FOR_SIGNAL: Change.take_signal,
    OpCode.INVOKE_FUNCTION: Change.take_invoke,
    OpCode.GATEWAY: Change.take_request,
    OpCode.AI_GATEWAY: Change.take_request,
    OpCode.RUN_COMPLETE: Change.take_complete,
    OpCode.DISCOVERY_REQUEST: Change.take_discovery_request,
    OpCode.STEP_NOT_FOUND: Change.take_not_found,
}


def _wakes_at(op: Op, at: int) -> int:
    """Read when a sleep ends: a duration or an instant, in ``opts.duration`` or in the name (protocol 4.8)."""
    text: Json = op.option("duration") or (op.name if op.name is not None else op.option("duration"))
    wakes_at = _instant(text, at)
    if wakes_at is None:
        raise RunFails("InvalidSleep", f"step {op.title!r} sleeps for {text!r}, which is no duration and no time")
    return _checked(op, wakes_at, at)


def _ends_at(op: Op, at: int, *, default_ms: int) -> int:
    """Read when a wait times out: a duration or an instant in ``opts.timeout`` (protocol 4.8)."""
    text: Json = op.option("timeout")
    ends_at = at + default_ms if text is None or text == "" else _instant(text, at)
    if ends_at is None:
        raise RunFails("InvalidTimeout", f"step {op.title!r} waits for {text!r}, which is no duration and no time")
    return _checked(op, ends_at, at)


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(item for item in cast("list[Json]", value) if isinstance(item, str)) if isinstance(value, list) else ()


def _instant(text: Json, at: int) -> int | None:
    if not isinstance(text, str):
        return None
    instant = parse_time(text)
    if instant is not None:
        return instant
    try:
        return at + (duration_ms(text) if text else 0)  # TypeScript 3 writes less than a second as nothing
    except DurationError:
        return None


def _checked(op: Op, ends_at: int, at: int) -> int:
    if ends_at - at > SLEEP_MS_MAX:
        raise RunFails(
            "InngestErrTimeoutTooLong", f"step {op.title!r} waits for more than 366 days, which is the limit"
        )
    return ends_at


def _payload(data: msgspec.Raw) -> tuple[bytes, bytes | None]:
    """Bring a result into canonical form. Raises ``RunFails`` where it can't be passed on."""
    try:
        output, _, original = canonical(bytes(data))
    except NotJson as error:
        raise RunFails("InvalidOutput", f"a result can't be stored: {error}") from None
    return output, original
