"""The run machine: ``advance(state, job, reply) -> Transition``.

Everything that changes a run is computed here and nowhere else, without I/O, clock or chance: the time and a random
number come in as arguments. The rules are those of the protocol, sections 4.8 to 4.11.

    queued ──▶ running ──▶ completed | failed | cancelled
       └────────────────────▶ failed | cancelled

What each op does is in ``change.py``, which job follows which in ``jobs.py``; an op that isn't known fails the run.

- An inline step result, and a targeted one outside a group, is followed by a discovery.
- In a group (request version 2: several ops in one reply) the jobs are *joined*: only the last one to end is followed
  by a discovery. With versions 0 and 1 each is.
- A run has one discovery at a time: two would run the same new step inline, both. One that waits, or waits for its
  retry, serves for all completions before it. One that was under way while steps completed is followed by another.
- A run that isn't finished keeps at least one job: whatever a reply says, ``advance`` never leaves none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

import msgspec

from stepwell.engine.core.change import STEP_ID, Answered, Change, Policy, RunFails
from stepwell.engine.core.end import end_run
from stepwell.engine.core.failure import server_error_body
from stepwell.engine.core.fetch import Fetched, FetchFailed, FetchResult
from stepwell.engine.core.invoke import timed_out_memo
from stepwell.engine.core.jobs import START, attempt_id, discovery, wants_discovery
from stepwell.engine.core.model import (
    Attempt,
    ErrorBody,
    ErrorReply,
    Function,
    Job,
    JobKind,
    OpsReply,
    Outcome,
    ResultReply,
    RunStatus,
    Step,
    Transition,
    reported_id,
)
from stepwell.engine.core.state import RunState
from stepwell.limits import (
    LOST_ATTEMPTS_MAX,
)
from stepwell.protocol.ids import StepId
from stepwell.protocol.ops import Op, OpCode


def advance(state: RunState, job: Job, answered: Answered, function: Function, policy: Policy) -> Transition:
    """Compute what a reply changes. ``state`` isn't touched; ``job`` is the leased job that made the call."""
    assert not state.run.status.is_final, "a final run has no replies"
    change = Change(state, job, function, answered, policy)
    try:
        match answered.reply:
            case OpsReply() as reply:
                change.take_ops(reply)
            case ResultReply(output):
                change.finish(output)
            case ErrorReply() as reply:
                change.take_error(reply)
            case _:
                assert_never(answered.reply)
    except RunFails as failure:
        change.fail_by_server(failure.name, str(failure))
    return change.transition()


def checkpoint(
    state: RunState, job: Job, ops: Sequence[Op], *, started_at: int, at: int, function: Function, policy: Policy
) -> Transition | None:
    """Compute what steps change that a call reports while it goes on (protocol 7.2); None where all are known.

    The call's retries count anew from here. A report that breaks a limit fails the run. Steps began when their ops say so,
    else at ``started_at``.
    """
    answered = Answered(OpsReply(ops=ops), started_at=started_at, ended_at=at, chance=0.0, stack_seen=0)
    change = Change(state, job, function, answered, policy)
    try:
        for op in ops:
            change.close_losers(op)
            if op.code in (OpCode.STEP, OpCode.STEP_RUN):
                if STEP_ID.match(op.id) is None:
                    raise RunFails("InvalidOp", f"the app reported a step id that isn't one: {op.id[:80]!r}")
                change.take_result(op, OpsReply(ops=ops), False)
    except RunFails as failure:
        change.fail_by_server(failure.name, str(failure))
        return change.transition()
    if not (change.steps or change.closed):
        return None
    ran_ms = {op.id: op.ran_ms for op in ops}
    steps = [
        step if ran_ms[step.id] is None else msgspec.structs.replace(step, started_at=at - (ran_ms[step.id] or 0))
        for step in change.steps
    ]
    attempts = tuple(
        Attempt(
            run_id=state.run.id,
            id=reported_id(attempt_id(job), step.position),
            step_id=step.id,
            title=step.title,
            attempt=job.attempt if number == 0 else 0,
            started_at=step.started_at,
            ended_at=step.ended_at,
            outcome=Outcome.OK,
        )
        for number, step in enumerate(steps)
    )
    recorded = tuple(
        msgspec.structs.replace(step, attempt_id=attempt.id) for step, attempt in zip(steps, attempts, strict=True)
    )
    return Transition(
        run=change.run,
        at=at,
        kept=job,
        steps=recorded,
        attempts=attempts,
        jobs=change.guards(),
        closed=tuple(change.closed.values()),
    )


def fire(state: RunState, job: Job, *, at: int) -> Transition:
    """End a sleep or a wait: its step gets its memo, and a discovery follows when the rules of its group say so."""
    assert job.kind in (JobKind.TIMER, JobKind.WAIT) and not state.run.status.is_final
    steps: tuple[Step, ...] = ()
    if job.step_id not in state.memo:  # an app that reports its sleep as run has had its say
        op = OpCode(job.op)
        steps = (
            Step(
                run_id=state.run.id,
                id=StepId(job.step_id),
                position=len(state.stack),
                op=op,
                title=job.title,
                memo=job.memo if job.memo is not None else _timed_out(op),
                started_at=job.created_at,
                ended_at=at,
                event_id=job.resolved_by,
                input=job.payload,
            ),
        )
    run = msgspec.structs.replace(state.run, version=state.run.version + 1)
    jobs: tuple[Job, ...] = ()
    if wants_discovery(state, job):
        run, jobs = discovery(state, run, job, at=at, stack_length=len(state.stack) + len(steps), number=0)
    return Transition(run=run, at=at, job=job, steps=steps, jobs=jobs)


def _timed_out(op: OpCode) -> bytes:
    return timed_out_memo() if op is OpCode.INVOKE_FUNCTION else b"null"


def guard(state: RunState, job: Job, function: Function, *, at: int) -> Transition:
    """Do what a guard is for: cancel the run, unless it has started in time."""
    if job.kind is JobKind.CANCEL:
        return end_run(state, function, job, RunStatus.CANCELLED, at=at, output=b"{}", reason=job.title)
    if job.title == START and _has_begun(state):
        return Transition(run=msgspec.structs.replace(state.run, version=state.run.version + 1), at=at, job=job)
    return end_run(state, function, job, RunStatus.CANCELLED, at=at, output=b"{}", reason=f"{job.title}_timeout")


def _has_begun(state: RunState) -> bool:
    """Tell whether a run's first call is under way, or was."""
    return state.run.status is not RunStatus.QUEUED or any(
        job.owner is not None or job.lost_count for job in state.jobs.values() if job.kind.is_call
    )


def settle_fetch(
    state: RunState, job: Job, result: FetchResult, answered: Answered, function: Function, policy: Policy
) -> Transition:
    """Compute what the request of a step changes that the server made: it is done, or failed, or tried again."""
    change = Change(state, job, function, answered, policy)
    op = Op(id=job.step_id, op=job.op, display_name=job.title)
    try:
        match result:
            case Fetched(memo, original):
                change.take_memo(op, memo, original)
            case FetchFailed() as failed:
                change.take_fetch_failed(op, failed)
            case _:
                assert_never(result)
        change.settle()
    except RunFails as failure:
        change.fail_by_server(failure.name, str(failure))
    return change.transition()


def cancel(state: RunState, function: Function, *, at: int, reason: str) -> Transition:
    """Cancel a run that isn't finished. Calls in progress go on, but their replies change nothing."""
    return end_run(state, function, None, RunStatus.CANCELLED, at=at, output=b"{}", reason=reason)


def fail_lost(state: RunState, job: Job, function: Function, *, at: int) -> Transition:
    """Fail a run whose attempts got lost ``LOST_ATTEMPTS_MAX`` times in a row: its code probably kills the process."""
    error = ErrorBody(
        name="AttemptsLost",
        message=f"{job.lost_count} attempts in a row never came back (limit {LOST_ATTEMPTS_MAX}):"
        " the server stopped while each was under way",
    )
    return end_run(
        state,
        function,
        job,
        RunStatus.FAILED,
        at=at,
        output=server_error_body(error),
        reason="attempts_lost",
        error=error,
    )
