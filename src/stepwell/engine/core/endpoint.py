"""Runs of durable endpoints (protocol 7.4): they begin in the app, which reports what it does while it does it.

    the app works ──▶ reports ──▶ … ──▶ reports the end
          │ asks for what only the server can do, or is silent for ENDPOINT_SILENCE_MS
          ▼
    the server calls the endpoint, as it calls any function

While the app works, the run's job is its *watch*: a discovery that nobody has, due when the app has been silent for too
long. Each report ends the watch and leaves another or, where the app asks the server for something, what is to be done.
Once the watch is claimed, the run is the server's. What the app reports late is kept as far as it is a result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import msgspec

from stepwell.engine.core.change import Answered, Policy
from stepwell.engine.core.end import end_run
from stepwell.engine.core.model import Function, Intake, Job, JobKind, OpsReply, Run, RunStatus, Start, Transition
from stepwell.engine.core.run import advance, checkpoint
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trigger import Registry, internal_event, new_run, start
from stepwell.limits import ENDPOINT_SILENCE_MS
from stepwell.protocol.canonical import NotJson, canonical, encode
from stepwell.protocol.endpoint import ENDPOINT, HTTP_REQUEST, HttpRequest, decode_called, decode_request
from stepwell.protocol.event import RESERVED_KEY
from stepwell.protocol.ids import COMPLETE, DISCOVER, JobId, RunId
from stepwell.protocol.ops import Op, OpCode

_WATCH: Final = ".watch"
_LATE: Final = JobId("late")
_RESULTS: Final = (OpCode.STEP_RUN, OpCode.STEP, OpCode.NONE)
"""After these alone the app goes on by itself."""


def is_endpoint(function: Function) -> bool:
    """Tell whether a function is a durable endpoint."""
    return function.config.steps["step"].runtime.type == ENDPOINT


def endpoint_slug(request: HttpRequest) -> str:
    """Name the function of a request: unique among all apps, as functions' ids are."""
    return f"{request.domain}-{request.name}"


def endpoint_config(request: HttpRequest, retries: int) -> dict[str, Any]:
    """Return the configuration of a request's function, as an app would register it. No event starts it."""
    runtime = {"type": ENDPOINT, "url": request.domain + request.path}
    step = {"id": "step", "name": "step", "runtime": runtime, "retries": {"attempts": retries}}
    return {"id": endpoint_slug(request), "name": request.name, "triggers": [], "steps": {"step": step}}


def called_request(event: bytes, function: Function) -> HttpRequest:
    """Return the request to call a function with: that of the run's event or, of a run that was invoked, its URL alone.

    Only what an app has said when the run began counts: data of other events comes from anybody.
    """
    called = decode_called(event)
    if called.name == HTTP_REQUEST:
        return decode_request(bytes(called.data))
    return HttpRequest(domain=function.config.url, path="")


def request_data(raw: bytes) -> bytes:
    """Return the data of the event that a run begins with, in canonical form. Raises ``NotJson``.

    What only the server may set isn't taken from the app.
    """
    encoded, value, _ = canonical(raw)
    if isinstance(value, dict) and RESERVED_KEY in value:
        fields = cast("dict[str, Any]", value)
        return encode({key: member for key, member in fields.items() if key != RESERVED_KEY})
    return encoded


def begin(
    run_id: RunId, data: bytes, function: Function, registry: Registry, *, now: int, new_id: Callable[[], str]
) -> Intake:
    """Make a run that has begun in the app: it is running. Its event starts other functions that it triggers, too.

    The event has the run's id: so it begins once, whoever says so again.
    """
    event = internal_event(HTTP_REQUEST, data, id=run_id, environment=registry.environment, now=now)
    run = msgspec.structs.replace(
        new_run(event, function, now=now, run_id=run_id, partition=function.id),
        status=RunStatus.RUNNING,
        started_at=now,
    )
    others = start(event, registry, now=now, new_id=new_id)
    return Intake(event, (Start(run, _watch(run, function, at=now)), *others.starts))


def report(
    state: RunState,
    ops: Sequence[Op],
    *,
    request_version: int,
    at: int,
    chance: float,
    function: Function,
    policy: Policy,
) -> Transition | None:
    """Compute what a report of the app changes; None where it says nothing new.

    ``chance`` is in [0, 1), for the jitter of a retry.
    """
    assert not state.run.status.is_final, "a final run has no reports"
    ops = [_spelt(op) for op in ops]
    watch = next((job for job in state.jobs.values() if is_watch(job)), None)
    if watch is None:
        return _late(state, ops, at=at, function=function, policy=policy)
    if all(op.code in _RESULTS for op in ops):
        transition = checkpoint(state, watch, ops, started_at=at, at=at, function=function, policy=policy)
        if transition is None or transition.is_final:
            return transition
        run = transition.run
        if run.request_version == -1:
            run = msgspec.structs.replace(run, request_version=request_version)
        jobs = (_watch(run, function, at=at), *transition.jobs)
        return msgspec.structs.replace(transition, run=run, kept=None, job=watch, jobs=jobs)
    is_failed = any(op.id == COMPLETE and op.code is OpCode.STEP_FAILED for op in ops)
    ops = [_as_error(op) for op in ops]
    answered = Answered(
        reply=OpsReply(ops=ops, request_version=request_version, no_retry=is_failed or None),
        started_at=at - max((op.ran_ms or 0 for op in ops), default=0),
        ended_at=at,
        chance=chance,
        stack_seen=len(state.stack),
    )
    return advance(state, watch, answered, function, policy)


def _watch(run: Run, function: Function, *, at: int) -> Job:
    return Job(
        run_id=run.id,
        id=JobId(f"{run.version}{_WATCH}"),
        partition=function.id,
        kind=JobKind.DISCOVER,
        step_id=DISCOVER,
        due_at=at + ENDPOINT_SILENCE_MS,
        created_at=at,
        max_attempts=function.max_attempts,
    )


def is_watch(job: Job) -> bool:
    """Tell whether a job is a watch that nobody has ever had. A retry of it is the server's."""
    return job.id.endswith(_WATCH) and job.owner is None and job.generation == 0


def is_at_work(job: Job, *, now: int) -> bool:
    """Tell whether the app works on a run by itself, as far as is known."""
    return is_watch(job) and job.due_at > now


def _spelt(op: Op) -> Op:
    """Read the end of a run in either spelling."""
    return msgspec.structs.replace(op, op=OpCode.RUN_COMPLETE) if op.code is OpCode.SYNC_RUN_COMPLETE else op


def _as_error(op: Op) -> Op:
    """An error under the id of the run's end is the function's own, not a step's."""
    if op.id == COMPLETE and op.code is OpCode.STEP_FAILED:
        return msgspec.structs.replace(op, op=OpCode.STEP_ERROR)
    return op


def _late(state: RunState, ops: Sequence[Op], *, at: int, function: Function, policy: Policy) -> Transition | None:
    """Keep results that come when the run is the server's already; what the app asks for, it asks again when called."""
    end = next((op for op in ops if op.code is OpCode.RUN_COMPLETE), None)
    if end is not None:
        try:
            output = canonical(bytes(end.data)).encoded
        except NotJson:  # the server's own call shows what is wrong with it
            return None
        return end_run(state, function, None, RunStatus.COMPLETED, at=at, output=output)
    results = [op for op in ops if op.code in _RESULTS]
    job = msgspec.structs.replace(_watch(state.run, function, at=at), id=_LATE)
    transition = checkpoint(state, job, results, started_at=at, at=at, function=function, policy=policy)
    return None if transition is None else msgspec.structs.replace(transition, kept=None, job=None)
