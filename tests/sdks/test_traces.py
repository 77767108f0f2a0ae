"""Spans that the TypeScript SDK exports by itself (protocol 6.3): they stand under the steps in which they were made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.harness import App, Server, eventually
from tests.sdks.world import node_with

PROGRAM: Final = Path(__file__).parent / "ts" / "traces.mjs"


@pytest.fixture(scope="module", params=["dev", "start"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in each mode that has registered the app."""
    folder = tmp_path_factory.mktemp(f"traces-{request.param}")
    made = Server(folder, request.param, "--retry-interval", "1")
    app = App(folder, [node_with("inngest"), str(PROGRAM), "{port}"], made.app_environment, name="traces")
    made.argv += ["-u", f"{app.url}/api/inngest"]
    try:
        app.start()
        made.start()
        eventually(lambda: made.api("/functions")["items"], what="the app is registered")
        yield made
    finally:
        made.close()
        app.close()


@pytest.mark.parametrize("function", ["a-step-a-call", "all-in-one-call"])
def test_spans_stand_under_their_steps(server: Server, function: str) -> None:
    [event] = server.send({"name": f"test/{function}"})
    [run] = server.ended_runs(event)
    rows = server.api(f"/runs/{run['run_id']}/timeline")["rows"]
    steps = {row["id"]: row["title"] for row in rows}

    def own() -> dict[str, dict[str, Any]]:
        spans = server.api(f"/runs/{run['run_id']}/spans")["items"]
        found = {span["name"]: span for span in spans if span["name"] != "inngest.execution"}
        assert len(found) == 2, spans
        return found

    spans = eventually(own, what="the spans are there")

    assert {name: steps[span["attempt_id"]] for name, span in spans.items()} == {
        "ask the bank": "first",
        "write the book": "second",
    }
    assert all(span["attributes"]["order.id"] == "o1" for span in spans.values())
