"""Lines of user code, from an app to whoever reads the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.protocol.ids import step_hash
from tests.e2e.gated_app import GatedApp
from tests.e2e.harness import Server, eventually


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
    [running] = [row for row in server.api(f"/runs/{body.run}/timeline")["rows"] if row["status"] == "running"]
    assert line["attempt_id"] == running["id"]
    assert line["fields"] == {"n": 7}
    app.open(body)
    server.ended_runs(event)
    assert [one["step"] for one in lines(server, body.run, 2)] == ["held", "after"]
