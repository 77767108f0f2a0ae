"""The end of a run: its final transition, with the internal events that tell of it (protocol 2.6, 4.11)."""

from __future__ import annotations

import msgspec

from stepwell.engine.core.failure import error_json
from stepwell.engine.core.invoke import correlation_id, end_resolution, parent_of, parents_of
from stepwell.engine.core.model import Draft, ErrorBody, Function, Job, JobKind, Run, RunStatus, Step, Transition
from stepwell.engine.core.state import RunState
from stepwell.protocol import event as events
from stepwell.protocol.canonical import encode_text
from stepwell.protocol.ids import RunId, StepId


def end_run(
    state: RunState,
    function: Function,
    job: Job | None,
    status: RunStatus,
    *,
    at: int,
    output: bytes,
    reason: str | None = None,
    error: ErrorBody | None = None,
    error_text: str | None = None,
    run: Run | None = None,
    steps: list[Step] | None = None,
) -> Transition:
    """End a run in a final status, with the internal events that say so (protocol 2.6)."""
    run = run or msgspec.structs.replace(state.run, version=state.run.version + 1)
    run = msgspec.structs.replace(run, status=status, ended_at=at, output=output, reason=reason)
    return Transition(
        run=run,
        at=at,
        job=job,
        steps=tuple(steps or ()),
        events=_final_events(state, run, function, error, error_text),
        resolutions=tuple(end_resolution(parent, run, error, error_text) for parent in parents_of(run, state.events)),
        has_waits=bool(function.config.cancel) or any(job.kind is JobKind.WAIT for job in state.jobs.values()),
    )


def _final_events(
    state: RunState, run: Run, function: Function, error: ErrorBody | None, error_text: str | None
) -> tuple[Draft, ...]:
    event = state.event
    if _is_about_an_end(event):
        return ()
    assert run.output is not None
    status = b'{"_inngest":{"status":"%b"}' % run.status.value.capitalize().encode()
    reason = b""
    if error is not None:
        reason = b',"error":' + error_json(error, error_text or f"{error.name}: {error.message}")
    members = [
        b',"events":[' + b",".join(state.events) + b"]",
        b'"function_id":' + encode_text(function.slug),
    ]
    if run.status is not RunStatus.CANCELLED:
        members.append(b'"result":' + run.output)
    members.append(b'"run_id":' + encode_text(run.id) + b"}")
    rest = b",".join(members)

    def about(event: bytes, parent: tuple[RunId, StepId] | None) -> bytes:
        correlation = b',"correlation_id":' + encode_text(correlation_id(*parent)) if parent is not None else b""
        return b"".join((status, correlation, reason, b',"event":', event, rest))

    data = about(event, next(iter(parents_of(run, ())), None))
    drafts = [Draft(events.FINISHED, data)]
    if run.is_batch:
        drafts += (
            Draft(events.FINISHED, about(other, parent))
            for other in state.events[1:]
            if (parent := parent_of(other)) is not None
        )
    if run.status is RunStatus.FAILED:
        drafts.append(Draft(events.FAILED, data, run.id))
    elif run.status is RunStatus.CANCELLED:
        drafts.append(Draft(events.CANCELLED, data, run.id))
    return tuple(drafts)


def _is_about_an_end(event: bytes) -> bool:
    """Events of ends lead to none of their own, so that failure handlers can't loop (protocol 2.6)."""
    if events.INTERNAL_PREFIX.encode() not in event:
        return False
    return msgspec.json.decode(event, type=_Named).name in (events.FINISHED, events.FAILED)


class _Named(msgspec.Struct):
    name: str
