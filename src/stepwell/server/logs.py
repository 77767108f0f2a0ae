"""Takes in what our SDK tells while user code runs: lines, and the steps that have begun.

What can't be kept is cut or passed over, never an error.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from stepwell.engine.core.model import BegunStep, LogLine
from stepwell.engine.core.step_input import kept_input
from stepwell.limits import (
    LOG_BEGUN_INPUT_BYTES_MAX,
    LOG_BEGUN_PER_REQUEST_MAX,
    LOG_BODY_BYTES_MAX,
    LOG_LINE_BYTES_MAX,
    LOG_LINES_PER_REQUEST_MAX,
    LOG_NAME_CHARS_MAX,
)
from stepwell.protocol.ids import AttemptId, LogId, RunId, StepId
from stepwell.protocol.logs import Begun, Line, Lines, decode_lines, left_out
from stepwell.server.api.page import is_ulid
from stepwell.server.context import ApiError, Context, json_response, read_body

_LEVEL_MAX: Final = 100
_ATTEMPT_MAX: Final = 1_000
_AT_MAX: Final = 1 << 53
_CALL: Final = re.compile(r"[\w.:-]{1,80}\.\d{1,9}\Z", re.ASCII)
_ID: Final = re.compile(r"[\w.:-]{1,80}\Z", re.ASCII)
_NUL: Final = "\u2400"  # the picture of U+0000, which texts in PostgreSQL can't hold


async def post_lines(context: Context, request: Request) -> Response:
    """Store lines. Says how many were of no known run, and how many were more than is kept of one."""
    sent = _decode(await read_body(request, LOG_BODY_BYTES_MAX))
    lines, begun = sent.lines, sent.begun
    if len(lines) > LOG_LINES_PER_REQUEST_MAX:
        raise ApiError(413, "too_many_lines", f"{len(lines)} lines; the limit is {LOG_LINES_PER_REQUEST_MAX}")
    if len(begun) > LOG_BEGUN_PER_REQUEST_MAX:
        raise ApiError(413, "too_many_steps", f"{len(begun)} steps; the limit is {LOG_BEGUN_PER_REQUEST_MAX}")
    known = [line for line in lines if is_ulid(line.run_id)]
    now = context.engine.clock.now()
    steps = [as_begun(step, now=now) for step in begun if is_ulid(step.run_id) and _is_named(step)]
    noted = await context.engine.logbook.write([as_line(line) for line in known], begun=steps)
    return json_response(
        {"unknown": len(lines) - len(known) + noted.unknown_lines, "dropped": noted.dropped_lines},
    )


def _decode(body: bytes) -> Lines:
    try:
        return decode_lines(body)
    except RecursionError:
        raise ApiError(400, "invalid_json", "the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, "invalid_body", f"the body holds no lines: {error}") from None


def as_line(line: Line) -> LogLine:
    """Bring a line into bounds."""
    fields = None if line.fields is msgspec.UNSET else bytes(line.fields).strip()
    return LogLine(
        id=LogId(""),
        run_id=RunId(line.run_id),
        at=max(0, min(line.at, _AT_MAX)),
        level=max(0, min(line.level, _LEVEL_MAX)),
        logger=clean(line.logger)[:LOG_NAME_CHARS_MAX],
        message=cut(clean(line.message)),
        attempt_id=AttemptId(line.attempt_id) if line.attempt_id and _ID.match(line.attempt_id) else None,
        attempt=line.attempt if line.attempt is not None and 0 <= line.attempt <= _ATTEMPT_MAX else None,
        step_id=StepId(line.step_id) if line.step_id and _ID.match(line.step_id) else None,
        step=clean(line.step)[:LOG_NAME_CHARS_MAX],
        fields=bounded(fields),
        is_replayed=line.is_replayed,
    )


def as_begun(begun: Begun, *, now: int) -> BegunStep:
    """Bring a step that has begun into bounds."""
    return BegunStep(
        run_id=RunId(begun.run_id),
        attempt_id=AttemptId(begun.attempt_id),
        step_id=StepId(begun.step_id),
        title=clean(begun.step)[:LOG_NAME_CHARS_MAX],
        started_at=now - max(0, min(begun.ran_ms, now)),
        ends_call=begun.ends_call,
        input=kept_input(begun.input, bytes_max=LOG_BEGUN_INPUT_BYTES_MAX),
    )


def _is_named(begun: Begun) -> bool:
    return _CALL.match(begun.attempt_id) is not None and _ID.match(begun.step_id) is not None


def clean(text: str) -> str:
    """Replace what a database can't hold: U+0000, and halves of surrogate pairs."""
    return text.encode(errors="replace").decode().replace("\0", _NUL)


def cut(text: str) -> str:
    """Cut a message that is too long, and say so."""
    raw = text.encode()
    if len(raw) <= LOG_LINE_BYTES_MAX:
        return text
    kept = raw[:LOG_LINE_BYTES_MAX].decode(errors="ignore")
    return f"{kept}… ({len(raw) - LOG_LINE_BYTES_MAX} more bytes)"


def bounded(fields: bytes | None) -> bytes | None:
    """Return the fields of a line; those that are too long are left out, which is said."""
    if not fields or not fields.startswith(b"{") or fields == b"{}":
        return None
    if len(fields) > LOG_LINE_BYTES_MAX:
        return left_out(len(fields))
    return fields
