"""OpenTelemetry's spans and log records, as exporters send them over HTTP (OTLP): protobuf or JSON, gzipped or not.

They find their run by their trace, since each call carries its run's as ``traceparent``. The TypeScript SDK exports spans of
traces of their own, and says in an attribute what it was called with (protocol 6.3). What is of no known run isn't
stored, and counted as rejected.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote

import msgspec
from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from starlette.requests import Request
from starlette.responses import Response

from stepwell.engine.core.model import LogLine, Span, SpanStatus
from stepwell.engine.core.trace import run_of
from stepwell.limits import LOG_BODY_BYTES_MAX, LOG_NAME_CHARS_MAX, LOG_WAITING_MAX
from stepwell.protocol.ids import LogId, RunId, SpanId
from stepwell.server.api.page import is_ulid
from stepwell.server.context import JSON_TYPE, ApiError, Context, read_body
from stepwell.server.logs import bounded, clean, cut

PROTOBUF_TYPE: Final = "application/x-protobuf"

_OFF_LOOP_BYTES: Final = 64 * 1024
_DECODING: Final = ThreadPoolExecutor(1, "stepwell-otlp")
"""One large request at a time: several threads at once would leave the event loop little of the interpreter."""
_WINDOW_GZIP: Final = 16 + zlib.MAX_WBITS
_NS_PER_MS: Final = 1_000_000
_US_MAX: Final = (1 << 53) - 1
_MS_MAX: Final = 1 << 48
_STATUSES: Final[Mapping[int, SpanStatus]] = {1: SpanStatus.OK, 2: SpanStatus.ERROR}
_IDS: Final = ("traceId", "spanId", "parentSpanId")
_PARENT: Final = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}\Z")
_CALLED_WITH: Final = "inngest.traceparent"
_TRACE_REF: Final = "inngest.traceref"
# What the TypeScript SDK says with each span about the run that it belongs to, and nothing of it.
_OF_PLACES: Final = (
    *(_CALLED_WITH, _TRACE_REF, "inngest.step.parentSpanId"),
    *("sdk.run.id", "sdk.app.id", "sys.app.id", "sys.function.id"),
)

# google.protobuf gives the members of messages no types.
_Any: TypeAlias = Any


class _Found(NamedTuple):
    """What a request holds of runs, and how much else."""

    items: list[Any]
    stranger_count: int


class _Place(NamedTuple):
    """Where a span belongs: its run, and the span of the call where that is known."""

    run_id: RunId
    call: SpanId | None = None


async def post_spans(context: Context, request: Request) -> Response:
    """Store spans of runs."""
    is_json, body = await _read(request)
    found = await _decoded(body, ExportTraceServiceRequest, is_json, _spans)
    spans: list[Span] = found.items
    noted = await context.engine.logbook.write((), spans) if spans else None
    answer: _Any = ExportTraceServiceResponse()
    rejected = found.stranger_count + ((noted.unknown_spans + noted.dropped_spans) if noted is not None else 0)
    if rejected:
        answer.partial_success.rejected_spans = rejected
        answer.partial_success.error_message = f"{rejected} spans are of no run of this server, or too many of one"
    return _answer(answer, is_json=is_json)


async def post_records(context: Context, request: Request) -> Response:
    """Store log records of runs as lines."""
    is_json, body = await _read(request)
    found = await _decoded(body, ExportLogsServiceRequest, is_json, _lines)
    lines: list[LogLine] = found.items
    noted = await context.engine.logbook.write(lines) if lines else None
    answer: _Any = ExportLogsServiceResponse()
    rejected = found.stranger_count + ((noted.unknown_lines + noted.dropped_lines) if noted is not None else 0)
    if rejected:
        answer.partial_success.rejected_log_records = rejected
        answer.partial_success.error_message = f"{rejected} records are of no run of this server, or too many of one"
    return _answer(answer, is_json=is_json)


# -- what came ----------------------------------------------------------------------------------------------------


async def _read(request: Request) -> tuple[bool, bytes]:
    """Return whether a request is JSON, and its body."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (PROTOBUF_TYPE, JSON_TYPE):
        raise ApiError(415, "unsupported_media_type", f"send {PROTOBUF_TYPE} or {JSON_TYPE}, not {kind[:100]!r}")
    body = await read_body(request, LOG_BODY_BYTES_MAX)
    match request.headers.get("content-encoding", "").strip().lower():
        case "" | "identity":
            return kind == JSON_TYPE, body
        case "gzip":
            return kind == JSON_TYPE, _inflated(body)
        case other:
            raise ApiError(415, "unsupported_media_type", f"the content encoding may be gzip, not {other[:100]!r}")


def _inflated(body: bytes) -> bytes:
    """Inflate, up to the limit: a small body may hold gigabytes."""
    inflater = zlib.decompressobj(_WINDOW_GZIP)
    try:
        whole = inflater.decompress(body, LOG_BODY_BYTES_MAX + 1)
    except zlib.error:
        raise ApiError(400, "invalid_body", "the body isn't gzip, which its headers say") from None
    if len(whole) > LOG_BODY_BYTES_MAX:
        raise ApiError(413, "body_too_large", f"the body has more than {LOG_BODY_BYTES_MAX} bytes, which is the limit")
    if not inflater.eof:
        raise ApiError(400, "invalid_body", "the body is cut off")
    return whole


async def _decoded(body: bytes, kind: type[Message], is_json: bool, read: Any) -> _Found:
    def work() -> _Found:
        message = kind()
        try:
            if is_json:
                value = msgspec.json.decode(body)
                _make_ids_base64(value)
                json_format.ParseDict(value, message, ignore_unknown_fields=True)
            else:
                message.ParseFromString(body)
        except RecursionError:
            raise ApiError(400, "invalid_body", "the body is nested too deeply") from None
        except (DecodeError, json_format.Error, msgspec.DecodeError, ValueError, TypeError, AttributeError) as error:
            raise ApiError(400, "invalid_body", f"the body is no {kind.__name__}: {str(error)[:500]}") from None
        found: _Found = read(message)
        if len(found.items) > LOG_WAITING_MAX:
            raise ApiError(413, "body_too_large", f"{len(found.items)} items; the limit is {LOG_WAITING_MAX}")
        return found

    if len(body) <= _OFF_LOOP_BYTES:
        return work()
    return await asyncio.get_running_loop().run_in_executor(_DECODING, work)


def _make_ids_base64(value: Any) -> None:
    """Write ids as protobuf's JSON has bytes: OTLP's has hexadecimal digits."""
    resources = [*value.get("resourceSpans", ()), *value.get("resourceLogs", ())]
    scopes = [scope for one in resources for scope in (*one.get("scopeSpans", ()), *one.get("scopeLogs", ()))]
    for scope in scopes:
        for item in (*scope.get("spans", ()), *scope.get("logRecords", ())):
            item.pop("links", None)
            for name in _IDS:
                if item.get(name):
                    item[name] = base64.b64encode(bytes.fromhex(item[name])).decode()


def _answer(message: Message, *, is_json: bool) -> Response:
    if is_json:
        return Response(json_format.MessageToJson(message, indent=None), media_type=JSON_TYPE)
    return Response(message.SerializeToString(), media_type=PROTOBUF_TYPE)


# -- spans --------------------------------------------------------------------------------------------------------


def _spans(message: _Any) -> _Found:
    spans: list[Span] = []
    strangers = 0
    for resource in message.resource_spans:
        for scope in resource.scope_spans:
            for item in scope.spans:
                span = _span(item)
                if span is None:
                    strangers += 1
                else:
                    spans.append(span)
    return _Found(spans, strangers)


def _span(item: _Any) -> Span | None:
    attributes = _values(item.attributes)
    place = _place(item.trace_id.hex(), attributes)
    if place is None or len(item.span_id) != 8:
        return None
    for name in _OF_PLACES:
        attributes.pop(name, None)
    parent = SpanId(item.parent_span_id.hex()) if len(item.parent_span_id) == 8 else place.call
    if item.status.message:
        attributes["status.message"] = item.status.message
    for event in item.events:
        if event.name == "exception":
            attributes |= _values(event.attributes)
    began_ms = item.start_time_unix_nano // _NS_PER_MS
    lasted_us = (item.end_time_unix_nano - item.start_time_unix_nano) // 1_000
    return Span(
        run_id=place.run_id,
        id=SpanId(item.span_id.hex()),
        parent_id=parent,
        name=clean(item.name)[:LOG_NAME_CHARS_MAX],
        started_at=min(began_ms, _MS_MAX),
        duration_us=max(0, min(lasted_us, _US_MAX)),
        status=_STATUSES.get(item.status.code, SpanStatus.UNSET),
        attributes=_encoded(attributes),
    )


def _place(trace_id: str, attributes: Mapping[str, Any]) -> _Place | None:
    """Find the run: by what the SDK was called with, where it says so, else by the trace."""
    called_with = _PARENT.match(str(attributes.get(_CALLED_WITH, "")))
    if called_with is not None and (run_id := run_of(called_with[1])) is not None:
        return _Place(run_id, SpanId(called_with[2]))
    try:
        told = json.loads(unquote(str(attributes.get(_TRACE_REF, ""))))
        if is_ulid(told["run_id"]) and re.fullmatch(r"[0-9a-f]{16}", told["span_id"]):
            return _Place(RunId(told["run_id"]), SpanId(told["span_id"]))
    except (ValueError, TypeError, KeyError, RecursionError):
        pass  # a reference of another server's
    run_id = run_of(trace_id)
    return _Place(run_id) if run_id is not None else None


# -- log records --------------------------------------------------------------------------------------------------


def _lines(message: _Any) -> _Found:
    lines: list[LogLine] = []
    strangers = 0
    for resource in message.resource_logs:
        for scope in resource.scope_logs:
            for record in scope.log_records:
                run_id = run_of(record.trace_id.hex())
                if run_id is None:
                    strangers += 1
                else:
                    lines.append(_line(record, run_id, scope.scope.name))
    return _Found(lines, strangers)


def _line(record: _Any, run_id: RunId, logger: str) -> LogLine:
    body = _value(record.body)
    at_ns = record.time_unix_nano or record.observed_time_unix_nano
    return LogLine(
        id=LogId(""),
        run_id=run_id,
        at=min(at_ns // _NS_PER_MS, _MS_MAX),
        level=_level(record.severity_number),
        logger=clean(logger)[:LOG_NAME_CHARS_MAX],
        message=cut(clean(body if isinstance(body, str) else msgspec.json.encode(body).decode())),
        fields=_encoded(_values(record.attributes)),
        span_id=SpanId(record.span_id.hex()) if len(record.span_id) == 8 else None,
    )


def _level(severity: int) -> int:
    """Return the level of OpenTelemetry's severity: 1 to 4 trace, 5 to 8 debug, then info, warn, error, fatal."""
    return 20 if severity <= 0 else 10 * max(1, min((severity - 1) // 4, 5)) if severity > 4 else 5


# -- values -------------------------------------------------------------------------------------------------------


def _values(pairs: Iterable[_Any]) -> dict[str, Any]:
    return {clean(pair.key): _value(pair.value) for pair in pairs}


def _value(value: _Any) -> Any:
    match value.WhichOneof("value"):
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _values(value.kvlist_value.values)
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
        case name:
            return getattr(value, name)


def _encoded(attributes: Mapping[str, Any]) -> bytes | None:
    return bounded(msgspec.json.encode(attributes)) if attributes else None
