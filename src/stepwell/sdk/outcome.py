"""What one call of user code comes to: the function's result, ops, or a failure; and what each says on the wire."""

from __future__ import annotations

import contextlib
import datetime
import math
import traceback
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Final, TypeAlias, cast

import msgspec

from stepwell.errors import NonRetriableError, RetryAfterError, StepError, StepUsageError, UsageError
from stepwell.limits import RETRY_AFTER_MS_MAX, STEP_OUTPUT_BYTES_MAX
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import StepId
from stepwell.protocol.ops import CLOSES, RACE, Op, OpCode
from stepwell.sdk.serialise import NotSerialisable, encode
from stepwell.sdk.wanted import Wanted

TRACEBACK_CHARS_MAX: Final = 32_768
_OURS: Final = ("stepwell.sdk.", "concurrent.futures.")


class Returned(msgspec.Struct, frozen=True):
    """The function returned; ``body`` is its result in JSON."""

    body: bytes


class Found(msgspec.Struct, frozen=True):
    """The function isn't done: ops to report."""

    ops: list[Op]
    error: BaseException | None = None
    """Why the one step failed that the ops report, for the retry headers and the log."""


class Failed(msgspec.Struct, frozen=True):
    """The function raised, or couldn't be called."""

    error: BaseException
    code: str | None = None


Outcome: TypeAlias = Returned | Found | Failed


def returned(value: object, function_id: str) -> Outcome:
    """Return the end of a run; a result that JSON can't hold fails it for good."""
    try:
        body = encode(value)
    except NotSerialisable as error:
        return Failed(
            StepUsageError(
                f"the result of function {function_id!r} can't be written as JSON: {error};"
                " return plain data (dicts, lists, dataclasses, pydantic models), an id, or nothing"
            )
        )
    if len(body) > STEP_OUTPUT_BYTES_MAX:
        return Failed(StepUsageError(f"the result of function {function_id!r} {_too_large(body)}"))
    return Returned(body)


def planned(id: StepId, wanted: Wanted) -> Op:
    """Return the op that reports a step without running it."""
    asked = wanted.asked
    if asked is None:
        return Op(id=id, op=OpCode.STEP_PLANNED, name=wanted.name, display_name=wanted.name, opts=_opts(wanted))
    return Op(id=id, op=asked.op, name=asked.name or wanted.name, display_name=wanted.name, opts=_opts(wanted))


def ran(id: StepId, wanted: Wanted, value: object, function_id: str) -> Found:
    """Return the report of a step that ran; a result that JSON can't hold fails the step for good."""
    try:
        data = encode(value)
    except NotSerialisable as error:
        return failed(
            id,
            wanted,
            StepUsageError(
                f"the result of step {wanted.name!r} in function {function_id!r} can't be written as JSON: {error};"
                " return plain data (dicts, lists, dataclasses, pydantic models) from it, or an id to load it by"
            ),
            is_last=True,
        )
    if len(data) > STEP_OUTPUT_BYTES_MAX:
        error = StepUsageError(f"the result of step {wanted.name!r} in function {function_id!r} {_too_large(data)}")
        return failed(id, wanted, error, is_last=True)
    op = Op(
        id=id,
        op=OpCode.STEP_RUN,
        name=wanted.name,
        display_name=wanted.name,
        opts=_opts(wanted),
        data=msgspec.Raw(data),
    )
    return Found([op])


def failed(id: StepId, wanted: Wanted, error: BaseException, *, is_last: bool) -> Found:
    """Return the report of a step that raised: ``StepFailed`` when it won't be tried again, else ``StepError``."""
    code = OpCode.STEP_FAILED if is_last or is_final(error) else OpCode.STEP_ERROR
    op = Op(
        id=id,
        op=code,
        name=wanted.name,
        display_name=wanted.name,
        opts=_opts(wanted),
        error=describe(error),
    )
    return Found([op], error)


def closing(outcome: Outcome, lost: Sequence[StepId]) -> Outcome:
    """Add to the first op which steps have lost their race."""
    if not lost or not isinstance(outcome, Found) or not outcome.ops:
        return outcome
    first, *others = outcome.ops
    opts: dict[str, Json] = {**(first.opts or {}), CLOSES: list(lost)}
    return Found([msgspec.structs.replace(first, opts=opts), *others], outcome.error)


def is_final(error: BaseException) -> bool:
    """Tell whether trying again can't help: non-retriable errors, uncaught step errors, and wrong use of steps."""
    leaves = list(_leaves(error))
    return all(isinstance(leaf, (NonRetriableError, StepError, UsageError)) for leaf in leaves)


def retry_after(error: BaseException) -> str | None:
    """Return the ``Retry-After`` value that an error asks for: whole seconds, or an RFC 3339 time; None for none."""
    for leaf in _leaves(error):
        if isinstance(leaf, RetryAfterError):
            match leaf.retry_after:
                case datetime.datetime() as at:
                    # A time without a zone counts as UTC, as the error's docstring says.
                    at = at.replace(tzinfo=datetime.UTC) if at.tzinfo is None else at
                    return time_text(round(at.timestamp() * 1000))
                case datetime.timedelta() as delta:
                    seconds = delta.total_seconds()
                case seconds:
                    pass
            return str(math.ceil(max(0.0, min(seconds, RETRY_AFTER_MS_MAX / 1000))))
    return None


def describe(error: BaseException) -> dict[str, Json]:
    """Return an error as the wire carries it: the original name, message and traceback."""
    if isinstance(error, StepError):
        return {"name": error.name, "message": error.message, "stack": error.traceback or _traceback(error)}
    return {"name": type(error).__name__, "message": _message(error), "stack": _traceback(error)}


def code_of(error: BaseException) -> str:
    """Return the stable code of an error: that of our own classes, ``unknown`` for users' exceptions."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) else "unknown"


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors that a TaskGroup wrapped, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _message(error: BaseException) -> str:
    # A user's __str__ may itself raise.
    with contextlib.suppress(Exception):
        return str(error)
    return ""


def exc_info(error: BaseException) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """Return an error with the traceback that users know: without our own frames, and our threads', at its top."""
    at = error.__traceback__
    while at is not None and at.tb_next is not None and at.tb_frame.f_globals.get("__name__", "").startswith(_OURS):
        at = at.tb_next
    return type(error), error, at


def _traceback(error: BaseException) -> str:
    """Format the traceback; of an overlong one keep the end, which says most."""
    text = "".join(traceback.format_exception(*exc_info(error)))
    return text if len(text) <= TRACEBACK_CHARS_MAX else f"…{text[-TRACEBACK_CHARS_MAX:]}"


def _opts(wanted: Wanted) -> Json:
    opts: dict[str, Json] = {}
    if wanted.asked is not None and wanted.asked.opts is not None:
        opts |= wanted.asked.opts
    if wanted.given is not None:
        opts["input"] = wanted.given
    if wanted.type is not None:
        opts["type"] = wanted.type
    if wanted.is_raced:
        opts["parallelMode"] = RACE
    return opts or None


def _too_large(body: bytes) -> str:
    return (
        f"has {len(body)} bytes; the limit is {STEP_OUTPUT_BYTES_MAX}: store the data elsewhere and return where it is"
    )
