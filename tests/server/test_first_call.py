"""While a run's first call is in progress, it is running, wherever one looks: its reply may be ten minutes away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NamedTuple

import pytest

from tests.server.world import World, result


class Line(NamedTuple):
    """A world in which one run is called, and one waits until it has ended."""

    world: World
    called: Any
    waiting: Any
    """The events that started them."""

    @property
    def ids(self) -> tuple[str, str]:
        return self.called["runs"][0]["id"], self.waiting["runs"][0]["id"]


@pytest.fixture
async def line(either: World) -> AsyncGenerator[Line]:
    began, may_end = asyncio.Event(), asyncio.Event()

    async def answer(_call: Any) -> Any:
        began.set()
        await may_end.wait()
        return result("done")

    either.apps.answers["f"] = answer
    await either.register("f", f={"concurrency": {"limit": 1}})
    called = await either.send("f.go")
    await began.wait()
    yield Line(either, called, await either.send("f.go"))
    may_end.set()
    await either.quiet()


async def test_lists_and_their_filters_have_it_among_the_running(line: Line) -> None:
    world, (called, waiting) = line.world, line.ids

    async def found(**query: Any) -> list[str]:
        return [run["id"] for run in (await world.get("/api/runs", **query))["items"]]

    [second, first] = (await world.get("/api/runs"))["items"]
    assert (first["status"], second["status"]) == ("running", "queued")
    assert (second["started_at"], second["duration_ms"]) == (None, None)
    assert first["started_at"] >= first["queued_at"]
    for more in ({}, {"where": "run.status != 'failed'"}, {"function": "f"}):
        assert await found(status="running", **more) == [called]
        assert await found(status="queued", **more) == [waiting]
        assert await found(status="queued,running", **more) == [waiting, called]
    assert await found(where="run.status == 'running'") == [called]
    assert await found(where="run.status == 'queued'") == [waiting]


async def test_it_is_counted_among_the_running(line: Line) -> None:
    totals = (await line.world.get("/api/runs/stats"))["totals"]
    of_function = (await line.world.get("/api/runs/stats", function="f"))["totals"]

    assert (totals["queued"], totals["running"]) == (of_function["queued"], of_function["running"]) == (1, 1)


async def test_its_page_says_since_when_it_is_called(line: Line) -> None:
    world, (called, waiting) = line.world, line.ids

    run = await world.get(f"/api/runs/{called}")
    timeline = await world.get(f"/api/runs/{called}/timeline", payloads="false")
    other = (await world.get(f"/api/runs/{waiting}/timeline"))["run"]

    [row] = timeline["rows"]
    assert (
        (run["status"], run["waiting"]) == (timeline["run"]["status"], timeline["run"]["waiting"]) == ("running", None)
    )
    assert run["started_at"] == timeline["run"]["started_at"] == row["started_at"]
    assert row["status"] == "running"
    assert (other["status"], other["started_at"]) == ("queued", None)
    assert other["waiting"] is not None


async def test_explanations_call_it_running(line: Line) -> None:
    world, (called, waiting) = line.world, line.ids

    said = [(await world.get(f"/api/runs/{id}/explain"))["status"] for id in (called, waiting)]
    [outcome] = (await world.get(f"/api/events/{line.called['id']}/explain"))["functions"]
    events = (await world.get("/api/events"))["items"]

    assert said == ["running", "queued"]
    assert (outcome["status"], outcome["text"]) == ("running", f"it started run {called}, which is running")
    assert [[run["status"] for run in event["runs"]] for event in events] == [["queued"], ["running"]]
