"""Spans and log records as OpenTelemetry's exporters send them, and the spans of a run as they are read."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import time
from typing import Any

import httpx2
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest, ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stepwell.engine.core.model import Reply
from stepwell.engine.core.trace import call_span, run_of, trace_id
from stepwell.engine.transport import OutgoingCall
from stepwell.limits import LOG_BODY_BYTES_MAX
from stepwell.protocol.ids import step_hash
from tests.server.test_checkpoint import checkpoint
from tests.server.world import World, ran, result

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
UNKNOWN = "01KAT3ZF00000000000000000Z"


async def called(world: World, *steps: str) -> tuple[str, dict[str, str]]:
    """Let a run end whose call goes on after each step; return its id, and the call's headers that are about its trace."""
    calls: list[OutgoingCall] = []

    async def answer(call: OutgoingCall) -> Reply:
        calls.append(call)
        for step in steps:
            path, body = checkpoint(call, ran(step))
            assert (await world.client.post(path, content=body)).status_code == 200
        return result(None)

    world.apps.answers["pay"] = answer
    await world.register("pay")
    run = await world.run("pay")
    lines = [line.partition(": ") for line in calls[0].trace.splitlines()]
    return run["id"], {name: value for name, _, value in lines}


def traced(headers: dict[str, str]) -> bytes:
    """Return what an exporter sends of a span in a span, in the trace that the headers say."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer("shop")
    context = TraceContextTextMapPropagator().extract(headers)
    with tracer.start_as_current_span("pay", context=context) as span:
        span.set_attribute("order", 7)
        with pytest.raises(ValueError, match="no stock"), tracer.start_as_current_span("reserve"):
            raise ValueError("no stock")
    return encode_spans(exporter.get_finished_spans()).SerializeToString()


async def post(world: World, path: str, body: bytes, kind: str = PROTOBUF, **headers: str) -> httpx2.Response:
    answer = await world.client.post(path, content=body, headers={"Content-Type": kind, **headers})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith(kind)
    return answer


async def spans(world: World, run_id: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await world.get(f"/api/runs/{run_id}/spans"))["items"]
    return items


def test_a_run_is_a_trace_and_the_other_way_round() -> None:
    assert run_of(trace_id(UNKNOWN)) == UNKNOWN
    assert len(trace_id(UNKNOWN)) == 32
    assert run_of("0" * 32) is run_of("") is run_of("xy") is None
    assert call_span(UNKNOWN, "0.0.1") != call_span(UNKNOWN, "0.0.2")


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_spans_of_a_call_are_nested_and_know_their_attempt(world: World, encoding: str) -> None:
    run_id, headers = await called(world)
    body = traced(headers)

    sent = {"Content-Encoding": encoding} if encoding else {}
    answer = await post(world, "/v1/traces", gzip.compress(body) if encoding else body, **sent)

    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    outer, inner = await spans(world, run_id)
    assert (outer["name"], outer["parent_id"], outer["attempt_id"]) == ("pay", None, "0.0.1")
    assert (inner["name"], inner["parent_id"], inner["attempt_id"]) == ("reserve", outer["id"], "0.0.1")
    assert (outer["status"], inner["status"]) == ("unset", "error")
    assert outer["attributes"]["order"] == 7
    assert inner["attributes"]["exception.message"] == "no stock"
    assert inner["duration_ms"] <= outer["duration_ms"]


async def test_spans_of_no_run_are_said_to_be_rejected(world: World) -> None:
    run_id, _ = await called(world)
    stranger = {"traceparent": f"00-{trace_id(UNKNOWN)}-{'1' * 16}-01"}

    answer = await post(world, "/v1/traces", traced(stranger))
    alone = await post(world, "/v1/traces", traced({}))

    for one in (answer, alone):
        said = ExportTraceServiceResponse.FromString(one.content)
        assert said.partial_success.rejected_spans == 2
        assert "no run of this server" in said.partial_success.error_message
    assert await spans(world, run_id) == []


@pytest.mark.parametrize("known_by", ["inngest.traceparent", "inngest.traceref"])
async def test_spans_of_the_typescript_sdk_are_known_by_what_it_was_called_with(world: World, known_by: str) -> None:
    run_id, headers = await called(world)
    state = dict(part.split("=", 1) for part in headers["tracestate"].split(","))
    value = headers["traceparent"] if known_by == "inngest.traceparent" else state["inngest@traceref"]
    span = {
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "name": "inngest.execution",
        "kind": 1,
        "startTimeUnixNano": "1700000000000000000",
        "endTimeUnixNano": "1700000000250000000",
        "attributes": [{"key": known_by, "value": {"stringValue": value}}],
        "status": {"code": 0},
        "links": [{"traceId": "x"}],
    }
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "inngest"}, "spans": [span]}]}]}

    answer = await post(world, "/v1/traces/userland", json.dumps(body).encode(), JSON)

    assert answer.json() == {}
    [found] = await spans(world, run_id)
    assert (found["id"], found["attempt_id"], found["parent_id"]) == ("cd" * 8, "0.0.1", None)
    assert (found["started_at"], found["duration_ms"]) == ("2023-11-14T22:13:20.000Z", 250.0)


async def test_a_span_that_names_its_step_is_a_part_of_that_in_a_call_that_goes_on(world: World) -> None:
    run_id, headers = await called(world, "first", "second")
    asked = {"key": "inngest.traceparent", "value": {"stringValue": headers["traceparent"]}}
    step = {"key": "inngest.step.hash", "value": {"stringValue": step_hash("second")}}
    whole, part = "cd" * 8, "ef" * 8
    body = exported(
        "ab" * 16,
        {"spanId": whole, "attributes": [asked]},
        {"spanId": part, "parentSpanId": whole, "attributes": [asked, step]},
    )

    await post(world, "/v1/traces/userland", body, JSON)

    outer, inner = await spans(world, run_id)
    assert (outer["id"], outer["attempt_id"], outer["parent_id"]) == (whole, "0.0.1", None)
    assert (inner["id"], inner["attempt_id"], inner["parent_id"]) == (part, "0.0.1.1", None)
    assert outer["attributes"] is None
    assert inner["attributes"] == {"inngest.step.hash": step_hash("second")}


async def test_log_records_are_lines_of_the_attempt_of_their_span(world: World) -> None:
    run_id, headers = await called(world)
    await post(world, "/v1/traces", traced(headers))
    inner = (await spans(world, run_id))[1]
    record: dict[str, Any] = {
        "timeUnixNano": "1000000000",
        "severityNumber": 17,
        "body": {"stringValue": "no stock"},
        "attributes": [
            {"key": "order", "value": {"intValue": "7"}},
            {"key": "tags", "value": {"arrayValue": {"values": [{"boolValue": True}, {"doubleValue": 0.5}]}}},
        ],
        "traceId": trace_id(run_id),
        "spanId": inner["id"],
    }
    mapped = {"kvlistValue": {"values": [{"key": "a", "value": {"bytesValue": "AAE="}}]}}
    records = [record, {**record, "severityNumber": 2, "body": mapped, "attributes": [], "spanId": ""}, {"body": {}}]
    body = {"resourceLogs": [{"scopeLogs": [{"scope": {"name": "shop"}, "logRecords": records}]}]}

    answer = await post(world, "/v1/logs", json.dumps(body).encode(), JSON)

    assert answer.json()["partialSuccess"]["rejectedLogRecords"] == "1"
    line, odd = (await world.get("/api/logs", run_id=run_id))["items"]
    assert (line["message"], line["level"], line["logger"]) == ("no stock", "error", "shop")
    assert (line["attempt_id"], line["fields"]) == ("0.0.1", {"order": 7, "tags": [True, 0.5]})
    assert (odd["message"], odd["level"], odd["attempt_id"]) == ('{"a":"AAE="}', "debug", None)


async def test_log_records_may_be_protobuf_and_many(world: World) -> None:
    run_id, _ = await called(world)
    message: Any = ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    for number in range(2_500):
        record = scope.log_records.add(trace_id=bytes.fromhex(trace_id(run_id)))
        record.body.string_value = str(number)

    answer = await post(world, "/v1/logs", message.SerializeToString())

    assert ExportLogsServiceResponse.FromString(answer.content) == ExportLogsServiceResponse()
    assert (await world.get("/api/logs", limit=1))["items"][0]["message"] == "2499"


@pytest.mark.parametrize("path", ["/v1/traces", "/v1/logs", "/v1/traces/userland"])
@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff", {"Content-Type": PROTOBUF}, 400),
        (b"[", {"Content-Type": JSON}, 400),
        (b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"xy"}]}]}]', {"Content-Type": JSON}, 400),
        (b'{"resourceSpans":1,"resourceLogs":2}', {"Content-Type": JSON}, 400),
        (b"[" * 100_000, {"Content-Type": JSON}, 400),
        (b"{}", {"Content-Type": "text/plain"}, 415),
        (b"{}", {"Content-Type": JSON, "Content-Encoding": "br"}, 415),
        (b"{}", {"Content-Type": JSON, "Content-Encoding": "gzip"}, 400),
        (gzip.compress(b"{}", mtime=0)[:-9], {"Content-Type": JSON, "Content-Encoding": "gzip"}, 400),
        (
            gzip.compress(b" " * (LOG_BODY_BYTES_MAX + 1), mtime=0),
            {"Content-Type": JSON, "Content-Encoding": "gzip"},
            413,
        ),
    ],
)
async def test_what_is_no_export_is_refused(
    world: World, path: str, body: bytes, headers: dict[str, str], status: int
) -> None:
    answer = await world.client.post(path, content=body, headers=headers)

    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


async def test_exports_need_the_signing_key(production: World) -> None:
    answers = await asyncio.gather(
        *(
            production.client.post(path, content=b"", headers={"Authorization": "Bearer x"})
            for path in ("/v1/traces", "/v1/logs")
        )
    )

    assert [answer.status_code for answer in answers] == [401, 401]


async def test_the_spans_of_no_run_are_not_found(world: World) -> None:
    await world.refused(404, "run_not_found", "GET", f"/api/runs/{UNKNOWN}/spans")


def exported(trace: str, *spans: dict[str, Any]) -> bytes:
    """Return spans of one trace as JSON has them."""
    items = [
        {"traceId": trace, "name": "x", "startTimeUnixNano": "1", "endTimeUnixNano": "2", **span} for span in spans
    ]
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": items}]}]}).encode()


@pytest.mark.parametrize(
    "reference", ["[" * 100_000, '{"a":' * 60_000, "%ff%00", '{"run_id": 1, "span_id": 2}', "null"]
)
async def test_a_reference_that_says_nothing_is_passed_over(world: World, reference: str) -> None:
    attribute = {"key": "inngest.traceref", "value": {"stringValue": reference}}

    answer = await post(world, "/v1/traces", exported("1" * 32, {"spanId": "1" * 16, "attributes": [attribute]}), JSON)

    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"


@pytest.mark.parametrize("is_ring", [True, False])
async def test_a_long_chain_of_spans_holds_nothing_up(world: World, is_ring: bool) -> None:
    run_id, _ = await called(world)
    number = 8_000
    names = [f"{at:016x}" for at in range(1, number + 1)]
    chain = [{"spanId": name, "parentSpanId": names[at - 1]} for at, name in enumerate(names) if at or is_ring]
    await post(world, "/v1/traces", exported(trace_id(run_id), *chain), JSON)

    began = time.monotonic()
    shown = await spans(world, run_id)

    assert time.monotonic() - began < 2
    assert len(shown) == len(chain)
    assert {span["attempt_id"] for span in shown} == {None}


async def test_large_exports_leave_the_event_loop_to_others(world: World) -> None:
    run_id, _ = await called(world)
    record = {"traceId": trace_id(run_id), "body": {"stringValue": "x"}, "timeUnixNano": "1"}
    body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record] * 6_000}]}]}).encode()
    threads: set[str] = set()
    is_done = False

    async def look() -> None:
        while not is_done:
            threads.update(thread.name for thread in threading.enumerate())
            await asyncio.sleep(0.002)

    looking = asyncio.create_task(look())
    answers = await asyncio.gather(
        *(world.client.post("/v1/logs", content=body, headers={"Content-Type": JSON}) for _ in range(4))
    )
    is_done = True
    await looking

    assert {answer.status_code for answer in answers} <= {200, 503}
    assert len([name for name in threads if name.startswith(("stepwell-otlp", "asyncio"))]) == 1
