"""What a step was given, as people are shown it: without secrets, and only so much of it.

It is kept with the step for the dashboard alone; nothing of a run depends on it.
"""

from __future__ import annotations

from typing import Final

from stepwell.engine.core.fetch import read_fetch
from stepwell.engine.core.model import Job, JobKind
from stepwell.errors import FetchError
from stepwell.limits import STEP_INPUT_KEPT_BYTES_MAX
from stepwell.protocol.canonical import Json, NotJson, encode
from stepwell.protocol.ops import Op, OpCode

# Of what the server does itself: what the options mean to people. The others are for SDKs and servers among themselves.
_SHOWN: Final = {
    OpCode.SLEEP: ("duration",),
    OpCode.WAIT_FOR_EVENT: ("event", "if", "timeout"),
    OpCode.WAIT_FOR_SIGNAL: ("signal", "timeout", "conflict"),
    OpCode.INVOKE_FUNCTION: ("function_id", "payload", "timeout"),
}
_NAMED_BY: Final = {OpCode.SLEEP: "duration", OpCode.WAIT_FOR_EVENT: "event", OpCode.WAIT_FOR_SIGNAL: "signal"}
_NONE: Final[tuple[Json, ...]] = (None, "", {}, [])


def step_input(op: Op) -> bytes | None:
    """Return what an op says that its step was given, as JSON; None for nothing, and for more than is kept."""
    code = op.code
    shown = _SHOWN.get(code) if code is not None else None
    if shown is None:
        return kept_input(op.option("input"))
    options = {name: value for name in shown if (value := op.option(name)) not in _NONE}
    named = _NAMED_BY.get(code) if code is not None else None
    if named is not None and op.name is not None:  # the protocol has it in either place
        options.setdefault(named, op.name)
    return kept_input(options)


def input_of(job: Job) -> bytes | None:
    """Return what the step of a job was given."""
    if job.kind is not JobKind.FETCH or job.payload is None:
        return job.payload
    if len(job.payload) > STEP_INPUT_KEPT_BYTES_MAX:
        return None
    try:
        request = read_fetch(OpCode(job.op), job.payload)
    except FetchError:  # the step's error says so
        return None
    return kept_input(request.shown())


def kept_input(value: Json, *, bytes_max: int = STEP_INPUT_KEPT_BYTES_MAX) -> bytes | None:
    """Return what a step was given as JSON; None for nothing, and for more than is kept."""
    if value in _NONE:
        return None
    try:
        encoded = encode(value)
    except NotJson:
        return None
    return encoded if len(encoded) <= bytes_max else None
