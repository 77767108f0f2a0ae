"""Lines that user code wrote: of one run in their order, or of all from the newest on. And the spans of a run."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from stepwell.engine.core.model import LogLine, Span, SpanStatus
from stepwell.engine.core.trace import call_span
from stepwell.engine.ids import ulid_text
from stepwell.limits import LOG_LINES_PER_RUN_MAX, LOG_PAGE_ROWS_MAX, LOG_TEXT_CHARS_MAX
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import AttemptId, FunctionId, RunId, SpanId, StepId
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.page import Instant, is_ulid, read_instant
from stepwell.server.context import ApiError, Context
from stepwell.store.found import LogFilter

Level: TypeAlias = Literal["debug", "info", "warning", "error", "critical"]

_LEVELS: Final[dict[Level, int]] = {"debug": 0, "info": 20, "warning": 30, "error": 40, "critical": 50}
_NO_ENTROPY: Final = bytes(10)
_AFTER_ALL_ULIDS_MS: Final = 1 << 48


class LogLineView(msgspec.Struct, frozen=True, kw_only=True):
    """A line."""

    id: str
    at: str
    """When the app wrote it."""
    run_id: str
    function: str
    step_id: str | None
    """The step that wrote it; null for the code between steps."""
    step: str | None
    """That step's name."""
    attempt_id: str | None
    attempt: int | None
    """0 for the first."""
    level: Level
    logger: str
    message: str
    fields: msgspec.Raw | None
    """A JSON object: what the line says besides."""
    is_replayed: bool
    """Code between steps wrote it, which an earlier call has run before."""


class LogPage(msgspec.Struct, frozen=True):
    """Lines, those of one run in their order, those of all the newest first."""

    items: list[LogLineView]
    next_cursor: str | None
    """What to go on from, as ``after`` or ``before``, whichever way this page went. A search may find nothing in it."""
    dropped: int
    """Of one run: how many lines were too many, and weren't kept."""


LineId: TypeAlias = Annotated[str | None, msgspec.Meta(description="The id of a line.")]


class LogsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which lines to list."""

    run_id: str | None = None
    attempt_id: str | None = None
    step_id: Annotated[str | None, msgspec.Meta(description="The hash of the step's name.")] = None
    function: Annotated[str | None, msgspec.Meta(description="The function's id, such as app-name.")] = None
    level: Annotated[Level | None, msgspec.Meta(description="This level and those above.")] = None
    text: Annotated[
        Annotated[str, msgspec.Meta(max_length=LOG_TEXT_CHARS_MAX)] | None,
        msgspec.Meta(description="Part of the message, in any case of A to Z."),
    ] = None
    replayed: Annotated[bool, msgspec.Meta(description="With what replays wrote again.")] = False
    after: LineId = None
    before: LineId = None
    from_: Annotated[Instant, msgspec.Meta(description="When the server got it, an RFC 3339 time.")] = msgspec.field(
        default=None, name="from"
    )
    until: Annotated[Instant, msgspec.Meta(description="When the server got it, an RFC 3339 time.")] = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=LOG_PAGE_ROWS_MAX, description="How many, at most.")] = 100


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints about lines."""
    return [
        Endpoint("GET", "/api/logs", "List lines that functions wrote", LogPage, list_logs, LogsQuery, Nothing),
        Endpoint("GET", "/api/runs/{id}/spans", "List spans of a run", SpanList, list_spans, Nothing, Nothing),
    ]


async def list_logs(call: Call[LogsQuery, Nothing]) -> LogPage:
    """List lines."""
    query, engine = call.query, call.context.engine
    run_id = await _run_id(call.context, query.run_id) if query.run_id is not None else None
    page = await engine.store.list_lines(
        LogFilter(
            environment=engine.environment,
            run_id=run_id,
            function_id=_function_id(call.context, query.function) if query.function is not None else None,
            attempt_id=_call_of(query.attempt_id) if query.attempt_id is not None else None,
            step_id=StepId(query.step_id) if query.step_id is not None else None,
            level_min=_LEVELS[query.level] if query.level is not None else 0,
            text=query.text or None,
            with_replayed=query.replayed,
            after=_line_id(query.after, "after"),
            before=_line_id(query.before, "before"),
            taken_from=_least_id(query.from_, "from"),
            taken_until=_least_id(query.until, "until"),
            limit=query.limit,
        )
    )
    count = await engine.store.count_lines(run_id) if run_id is not None else 0
    lines = page.lines if run_id is None else await _with_attempts(call.context, run_id, page.lines)
    return LogPage(
        items=[line_view(call.context, line) for line in lines],
        next_cursor=page.next,
        dropped=max(0, count - LOG_LINES_PER_RUN_MAX),
    )


async def _with_attempts(context: Context, run_id: RunId, lines: Sequence[LogLine]) -> Sequence[LogLine]:
    """Find the attempts of lines that know their spans alone."""
    if not any(line.span_id is not None and line.attempt_id is None for line in lines):
        return lines
    spans, attempts = await context.engine.store.load_spans(run_id)
    belonging = attempts_of(run_id, spans, attempts)
    return [
        msgspec.structs.replace(line, attempt_id=belonging.get(line.span_id))
        if line.span_id is not None and line.attempt_id is None
        else line
        for line in lines
    ]


def line_view(context: Context, line: LogLine) -> LogLineView:
    """Show a line."""
    function = context.engine.registry.by_id.get(line.function_id)
    return LogLineView(
        id=line.id,
        at=time_text(line.at),
        run_id=line.run_id,
        function=function.slug if function is not None else "",
        step_id=line.step_id,
        step=line.step or None,
        attempt_id=line.attempt_id,
        attempt=line.attempt,
        level=_level(line.level),
        logger=line.logger,
        message=line.message,
        fields=msgspec.Raw(line.fields) if line.fields is not None else None,
        is_replayed=line.is_replayed,
    )


def _level(number: int) -> Level:
    return next(level for level, least in reversed(_LEVELS.items()) if number >= least)


class SpanView(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of time in the work on a run, as the app measured it."""

    id: str
    parent_id: str | None
    """The span that it is a part of; null for the outermost of its attempt."""
    attempt_id: str | None
    """The attempt whose call it is a part of; null where a span between them is missing."""
    name: str
    started_at: str
    ended_at: str
    duration_ms: float
    status: SpanStatus
    attributes: msgspec.Raw | None
    """A JSON object."""


class SpanList(msgspec.Struct, frozen=True):
    """The spans of a run, the first to begin first."""

    items: list[SpanView]


async def list_spans(call: Call[Nothing, Nothing]) -> SpanList:
    """List the spans of a run."""
    run_id = await _run_id(call.context, call.path["id"], path=None)
    spans, attempts = await call.context.engine.store.load_spans(run_id)
    belonging = attempts_of(run_id, spans, attempts)
    known = {span.id for span in spans}
    return SpanList([_span_view(span, belonging, known) for span in spans])


class _StepOf(msgspec.Struct, frozen=True):
    """What the TypeScript SDK says of the step in which a span was made."""

    hash: str | None = msgspec.field(name="inngest.step.hash", default=None)


def attempts_of(run_id: RunId, spans: Sequence[Span], attempts: Mapping[AttemptId, str]) -> dict[SpanId, AttemptId]:
    """Return the attempt that each span is a part of: it, or what it is a part of, has the call as its parent.

    ``attempts`` have the ids of their steps. Where the call went on after its steps, a span that names its step is a part
    of that.
    """
    found = _calls_of(run_id, spans, attempts)
    steps = {(_call_of(id), step_id): id for id, step_id in attempts.items() if _call_of(id) != id}
    if steps:
        for span in spans:
            call, step_id = found.get(span.id), _step_of(span)
            if call is not None and step_id is not None:
                found[span.id] = steps.get((call, step_id), call)
    return found


def _step_of(span: Span) -> str | None:
    try:
        return msgspec.json.decode(span.attributes, type=_StepOf).hash if span.attributes is not None else None
    except msgspec.DecodeError:
        return None


def _calls_of(run_id: RunId, spans: Sequence[Span], attempts: Iterable[AttemptId]) -> dict[SpanId, AttemptId]:
    calls: dict[SpanId, AttemptId] = {call_span(run_id, id): id for id in attempts}
    parents = {span.id: span.parent_id for span in spans}
    found: dict[SpanId, AttemptId | None] = {}
    for id in parents:
        way: list[SpanId] = []
        at: SpanId | None = id
        while at is not None and at not in calls and at not in found and at in parents:
            found[at] = None  # so that no span is gone through twice, not even one that is a part of itself
            way.append(at)
            at = parents[at]
        if at is not None:
            found.update(dict.fromkeys(way, calls.get(at) or found.get(at)))
    return calls | {id: attempt for id, attempt in found.items() if attempt is not None}


def _span_view(span: Span, belonging: Mapping[SpanId, AttemptId], known: Collection[SpanId]) -> SpanView:
    attempt_id = belonging.get(span.id)
    parent_id = span.parent_id
    if parent_id not in known or (parent_id is not None and belonging.get(parent_id) != attempt_id):
        parent_id = None
    return SpanView(
        id=span.id,
        parent_id=parent_id,
        attempt_id=attempt_id,
        name=span.name,
        started_at=time_text(span.started_at),
        ended_at=time_text(span.started_at + span.duration_us // 1_000),
        duration_ms=span.duration_us / 1_000,
        status=span.status,
        attributes=msgspec.Raw(span.attributes) if span.attributes is not None else None,
    )


def _call_of(attempt_id: str) -> AttemptId:
    """Return the call of an attempt: a call that goes on after its steps has an attempt for each, and lines know the call."""
    return AttemptId(".".join(attempt_id.split(".")[:3]))


async def _run_id(context: Context, id: str, *, path: str | None = "$.run_id") -> RunId:
    run = await context.engine.store.find_run(RunId(id)) if is_ulid(id) else None
    if run is None or run.environment != context.engine.environment:
        raise ApiError(404, "run_not_found", f"there is no run with the id {id[:100]!r}", path=path)
    return run.id


def _function_id(context: Context, slug: str) -> FunctionId:
    for function in context.engine.registry.by_id.values():
        if function.slug == slug:
            return function.id
    raise ApiError(404, "function_not_found", f"there is no function {slug[:300]!r}", path="$.function")


def _line_id(text: str | None, name: str) -> str | None:
    if text is not None and not is_ulid(text):
        raise ApiError(400, "invalid_query", f"{text[:100]!r} is no line's id", path=f"$.{name}")
    return text


def _least_id(time: str | None, name: str) -> str | None:
    at = read_instant(time or None, name)
    return ulid_text(max(0, min(at, _AFTER_ALL_ULIDS_MS - 1)), _NO_ENTROPY) if at is not None else None
