"""Functions that steps invoke (protocol 2.6, 4.8): the event that starts the child, and what its end means to the parent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from stepwell.engine.core.failure import error_json
from stepwell.engine.core.model import Draft, ErrorBody, Event, Function, Invocation, Resolution, Run, RunStatus
from stepwell.protocol import event as events
from stepwell.protocol.canonical import Json, decode, encode, encode_text
from stepwell.protocol.ids import EnvironmentId, EventId, RunId, StepId

TIMED_OUT: Final = "InngestInvokeTimeoutError"
_REASONS: Final = {
    "rate_limited": "invoked function is rate limited",
    "singleton": "invoked function is a singleton, and another run of it goes on",
    "paused": "invoked function is paused",
    "debounced": "invoked function was debounced: a later event started it",
    "idempotency": "invoked function was started with this idempotency value before, within 24 hours",
}


def correlation_id(run_id: RunId, step_id: StepId) -> str:
    """Name the wait of a step for the function that it invoked."""
    return f"{run_id}.{step_id}"


def invocation_event(
    invocation: Invocation, run: Run, function: Function, *, id: str, environment: EnvironmentId, now: int
) -> Event:
    """Make the event by which a step starts a function. ``function`` is the parent's."""
    data: Json = decode(invocation.data)
    data[events.RESERVED_KEY] = {
        "fn_id": invocation.slug,
        "correlation_id": correlation_id(run.id, invocation.step_id),
        "source_app_id": function.app_id,
        "source_fn_id": function.id,
        "source_fn_v": run.function_version,
        "expire": invocation.expires_at,
        "gid": invocation.step_id,
        "name": invocation.title,
    }
    body = events.event_body(
        name=events.INVOKED, id=id, ts=now, data=encode(data), user=invocation.user, v=invocation.v
    )
    return Event(
        id=EventId(id),
        environment=environment,
        name=events.INVOKED,
        event_id=id,
        ts=now,
        received_at=now,
        body=body,
        is_internal=True,
    )


def parent_of(event: bytes) -> tuple[RunId, StepId] | None:
    """Return the run and the step that wait for the end of what an event starts, if a step has sent it."""
    if _INVOKED not in event:
        return None
    found = _decode_invoked(event)
    run_id, _, step_id = found.data.own.correlation_id.partition(".")
    return (RunId(run_id), StepId(step_id)) if found.name == events.INVOKED and step_id else None


def parents_of(run: Run, bodies: Iterable[bytes]) -> list[tuple[RunId, StepId]]:
    """Return all that wait for the end of a run: several where it has a batch, whose events are ``bodies``."""
    found: dict[tuple[RunId, StepId], None] = {}
    if run.parent_run_id is not None and run.parent_step_id is not None:
        found[run.parent_run_id, run.parent_step_id] = None
    if run.is_batch and run.original_run_id is None:
        found |= {parent: None for body in bodies if (parent := parent_of(body)) is not None}
    return list(found)


class _Own(msgspec.Struct):
    correlation_id: str = ""


class _Data(msgspec.Struct):
    own: _Own = msgspec.field(default_factory=_Own, name=events.RESERVED_KEY)


class _Invoked(msgspec.Struct):
    name: str
    data: _Data


_INVOKED: Final = events.INVOKED.encode()
_decode_invoked: Final = msgspec.json.Decoder(_Invoked).decode


def end_resolution(
    parent: tuple[RunId, StepId], run: Run, error: ErrorBody | None, error_text: str | None
) -> Resolution:
    """Return what a parent of a run that ended gets."""
    if run.status is RunStatus.COMPLETED:
        memo = b'{"data":%b}' % (run.output or b"null")
    elif error is not None:
        memo = b'{"error":%b}' % error_json(error, error_text or f"{error.name}: {error.message}")
    else:
        memo = _failure("Error", f"invoked function was {run.status}")
    return Resolution(*parent, memo)


def skipped_resolution(run_id: RunId, step_id: StepId, reason: str) -> Resolution:
    """Return what a parent gets whose child was not started."""
    return Resolution(
        run_id, step_id, _failure("Error", _REASONS.get(reason, f"invoked function was skipped: {reason}"))
    )


def not_found_memo(slug: str) -> bytes:
    """Return what a step becomes that invokes a function which isn't there."""
    return b'{"error":%b}' % _not_found_error(slug)


def not_found(run: Run, invocation: Invocation) -> Draft:
    """Make the event that tells of the end of what never began: no app has the function (protocol 2.6)."""
    correlation = encode_text(correlation_id(run.id, invocation.step_id))
    error = _not_found_error(invocation.slug)
    return Draft(
        events.FINISHED, b'{"correlation_id":%b,"error":%b,"function_id":"","run_id":""}' % (correlation, error)
    )


def _not_found_error(slug: str) -> bytes:
    message = f"could not find function with ID: {slug}"
    return error_json(ErrorBody(name="Error", message=message), message)


def timed_out_memo() -> bytes:
    """Return what a step becomes whose function didn't end in time."""
    return _failure(TIMED_OUT, "Timed out waiting for invoked function to complete", with_name=True)


def _failure(name: str, message: str, *, with_name: bool = False) -> bytes:
    error = ErrorBody(name=name, message=message)
    return b'{"error":%b}' % error_json(error, f"{name}: {message}" if with_name else message)
