"""What is traced in an attempt is a part of the server's call."""

from __future__ import annotations

import msgspec
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from stepwell import Step, SyncStep
from stepwell.sdk.http import Request, Response
from tests.unit.sdk.pretend import PretendRun, new_app

TRACE, SPAN = "0189f7ea" * 4, "00f067aa0ba902b7"


@pytest.mark.parametrize("is_sync", [False, True])
async def test_spans_in_steps_are_children_of_the_call(is_sync: bool) -> None:
    sw = new_app()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("shop")
    found: list[trace.SpanContext | None] = []

    def body() -> None:
        with tracer.start_as_current_span("pay") as span:
            found.append(getattr(span, "parent", None))

    if is_sync:

        @sw.function("f", on="test/event")
        def plain(step: SyncStep) -> None:
            step.run("a", body)
    else:

        @sw.function("f", on="test/event")
        async def handler(step: Step) -> None:
            await step.run("a", body)

    async def respond(request: Request) -> Response:
        request = msgspec.structs.replace(request, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        return sw.handler.handle_sync(request) if is_sync else await sw.handler.handle(request)

    await PretendRun(sw, "f", respond=respond).end()

    [parent] = found
    assert parent is not None
    assert (f"{parent.trace_id:032x}", f"{parent.span_id:016x}") == (TRACE, SPAN)
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_span_that_is_there_already_stays_the_parent() -> None:
    sw = new_app()
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("web")
    found: list[int] = []

    @sw.function("f", on="test/event")
    async def f() -> None:
        found.append(trace.get_current_span().get_span_context().span_id)

    async def respond(request: Request) -> Response:
        request = msgspec.structs.replace(request, headers={"traceparent": f"00-{TRACE}-{SPAN}-01"})
        return await sw.handler.handle(request)

    with tracer.start_as_current_span("POST /api/stepwell") as span:
        await PretendRun(sw, "f", respond=respond).end()

    assert found == [span.get_span_context().span_id]
