"""``/api/runs/stats``: how many runs ended, when and how."""

from __future__ import annotations

import pytest

from tests.server.world import World, error, ops, sleep


async def test_runs_are_counted_by_when_and_how_they_ended(world: World) -> None:
    await world.register("f", "g", "asleep")
    world.apps.answers["g"] = lambda _call: error("no")
    world.apps.answers["asleep"] = lambda _call: ops(sleep("wait", "3d"))
    await world.run("f")
    await world.run("f")
    await world.post("/api/skip", {"duration": "30m"})
    await world.run("g")
    await world.send("asleep.go")
    await world.quiet()

    stats = await world.get(
        "/api/runs/stats", **{"from": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00Z", "buckets": 2}
    )

    assert (stats["from"], stats["until"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T01:00:00.000Z")
    assert stats["bucket_ms"] == 1_800_000
    assert [(one["at"], one["completed"], one["failed"]) for one in stats["buckets"]] == [
        ("2026-01-01T00:00:00.000Z", 2, 0),
        ("2026-01-01T00:30:00.000Z", 0, 1),
    ]
    assert stats["totals"] == {"completed": 2, "failed": 1, "cancelled": 0, "skipped": 0, "queued": 0, "running": 1}
    assert stats["counted_from"] is None


async def test_only_the_runs_of_a_function_or_an_app_are_counted(either: World) -> None:
    await either.register("f", "g")
    await either.register("h", app="other")
    for slug in ("f", "g", "h"):
        await either.run(slug)

    async def completed(**query: str) -> int:
        return (await either.get("/api/runs/stats", **query))["totals"]["completed"]

    assert await completed() == 3
    assert await completed(function="f") == 1
    assert await completed(app="shop") == 2
    assert await completed(app="other", function="f") == 0


async def test_what_was_not_counted_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.counts.RUNS_COUNTED_MAX", 2)
    await world.register("f")
    for _ in range(3):
        await world.run("f")
        await world.post("/api/skip", {"duration": "1m"})

    stats = await world.get("/api/runs/stats")

    assert stats["totals"]["completed"] == 1
    assert stats["counted_from"] == "2026-01-01T00:01:00.001Z"


async def test_a_range_that_cannot_be_counted_is_refused(world: World) -> None:
    stats = "/api/runs/stats"
    past = {"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert "$.from" in await world.refused(400, "invalid_query", "GET", stats, params=past)
    await world.refused(400, "invalid_query", "GET", stats, params={"buckets": 501})
    await world.refused(404, "function_not_found", "GET", stats, params={"function": "nope"})
    await world.refused(404, "app_not_found", "GET", stats, params={"app": "nope"})
