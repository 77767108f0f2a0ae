"""A step of our SDK is seen while it runs, on whichever database, and no longer when its app is gone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stepwell.protocol.ids import step_hash
from tests.e2e.harness import App, Server, eventually
from tests.postgres import Postgres

_ARGV = (sys.executable, "-m", "uvicorn", "tests.browser.run_app:app", "--port", "{port}", "--log-level", "warning")


@pytest.fixture(params=["sqlite", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Server, App]]:
    db = None
    if request.param == "postgres":
        postgres: Postgres = request.getfixturevalue("postgres")
        db = postgres.create_database()
    with (
        Server(tmp_path, "dev", "--no-poll", "--retry-interval", "3600", db=db) as server,
        App(tmp_path, _ARGV, server.app_environment) as app,
    ):
        server.api("/apps/sync", method="POST", json={"url": f"{app.url}/api/stepwell"})
        yield server, app


def begin(server: Server, until: Path) -> tuple[str, list[dict[str, Any]]]:
    """Start a run whose second step lasts until a file is there; return the run and its rows while that step runs."""
    [event] = server.api("/events", method="POST", json=[{"name": "way.begun", "data": {"until": str(until)}}])[
        "events"
    ]
    id: str = event["runs"][0]["id"]
    return id, eventually(lambda: at_work(server, id), what="the step is seen to run")


def rows_of(server: Server, id: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = server.api(f"/runs/{id}/timeline")["rows"]
    return rows


def at_work(server: Server, id: str) -> list[dict[str, Any]]:
    rows = rows_of(server, id)
    return rows if any(row["title"] == "walk" and row["status"] == "running" for row in rows) else []


def test_a_step_runs_in_a_row_of_its_own_until_it_is_reported(site: tuple[Server, App], tmp_path: Path) -> None:
    server, _ = site
    flag = tmp_path / "flag"
    id, rows = begin(server, flag)

    shown = [(row["title"], row["status"]) for row in rows]
    assert shown == [(None, "running"), ("pack", "completed"), ("walk", "running")]
    walk = rows[2]
    assert (walk["step_id"], walk["op"], walk["attempt"]) == (step_hash("walk"), "step.run", 0)
    assert walk["started_at"] >= rows[1]["ended_at"]
    assert "step 'walk' has been running since" in server.api(f"/runs/{id}/explain")["summary"]
    [line] = eventually(
        lambda: server.api("/logs", params={"run_id": id, "step_id": walk["step_id"]})["items"],
        what="the line is there",
    )
    assert walk["id"].startswith(f"{line['attempt_id']}.")

    flag.touch()
    eventually(lambda: server.api(f"/runs/{id}")["ended_at"] is not None, what="the run has ended")

    after = rows_of(server, id)
    assert [(row["title"], row["status"]) for row in after] == [
        (None, "completed"),
        ("pack", "completed"),
        ("walk", "completed"),
        ("unpack", "completed"),
    ]
    assert [row["id"] for row in after[:3]] == [row["id"] for row in rows]


def test_a_step_whose_app_was_killed_runs_no_more(site: tuple[Server, App], tmp_path: Path) -> None:
    server, app = site
    id, _ = begin(server, tmp_path / "never")

    app.kill()

    eventually(lambda: not any(row["status"] == "running" for row in rows_of(server, id)), what="nothing runs")
    assert [(row["title"], row["status"]) for row in rows_of(server, id)] == [
        (None, "retrying"),
        ("pack", "completed"),
        (None, "waiting"),
    ]
    assert "walk" not in server.api(f"/runs/{id}/explain")["summary"]
