"""Lines of user code, from an app to whoever reads the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from stepwell.engine.core.trace import call_span, trace_id
from stepwell.protocol.ids import step_hash
from tests.e2e.gated_app import GatedApp
from tests.e2e.harness import SIGNING_KEY, Server, eventually


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Server, GatedApp]]:
    server = Server(tmp_path, "start")
    with server, GatedApp(server) as app:
        app.register()
        yield server, app


def lines(server: Server, run_id: str, count: int) -> list[dict[str, Any]]:
    """Wait until a run has so many lines; return them."""

    def look() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = server.api("/logs", params={"run_id": run_id})["items"]
        assert len(found) >= count, found
        return found

    return eventually(look, what=f"run {run_id} has {count} lines")


def test_a_line_is_read_while_its_step_still_runs(site: tuple[Server, GatedApp]) -> None:
    server, app = site
    [event] = server.send({"name": "test/held", "data": {"n": 7}})
    [body] = app.began(7)

    [line] = lines(server, body.run, 1)

    assert body.ended_at is None
    assert (line["message"], line["logger"], line["level"]) == ("held begins", "gated", "warning")
    assert (line["step"], line["step_id"], line["attempt"]) == ("held", step_hash("held"), 0)
    call = server.api(f"/runs/{body.run}/timeline")["rows"][0]
    assert (call["status"], call["id"]) == ("running", line["attempt_id"])
    assert line["fields"] == {"n": 7}
    app.open(body)
    server.ended_runs(event)
    assert [one["step"] for one in lines(server, body.run, 2)] == ["held", "after"]


def test_spans_of_the_usual_exporter_are_spans_of_the_run(site: tuple[Server, GatedApp]) -> None:
    server, _ = site
    [event] = server.send({"name": "test/quick", "data": {"n": 1}})
    [run] = server.ended_runs(event)
    run_id = run["run_id"]
    headers = {"Authorization": f"Bearer {SIGNING_KEY}"}
    exporter = OTLPSpanExporter(endpoint=f"{server.url}/v1/traces", headers=headers)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    parent = {"traceparent": f"00-{trace_id(run_id)}-{call_span(run_id, '0.0.1')}-01"}

    with provider.get_tracer("shop").start_as_current_span("pay", TraceContextTextMapPropagator().extract(parent)):
        pass
    provider.shutdown()

    [span] = server.api(f"/runs/{run_id}/spans")["items"]
    assert (span["name"], span["attempt_id"], span["parent_id"]) == ("pay", "0.0.1", None)
