"""Pausing and resuming a function: what becomes of new runs, of runs under way, and of ticks."""

from __future__ import annotations

import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from tests.server.world import World, ops, ran, result, sleep, steps_done


async def statuses(world: World, slug: str = "f") -> list[str]:
    return [run["status"] for run in (await world.get("/api/runs", function=slug))["items"]]


async def test_new_runs_are_held_until_the_function_goes_on(world: World) -> None:
    await world.register("f", "g")

    paused = await world.post("/api/functions/f/pause", {"mode": "hold"})
    held = [(await world.send("f.go", {"n": n}))["runs"][0]["id"] for n in (1, 2)]
    other = await world.run("g")
    await world.quiet()

    assert paused["pause"] == {"since": "2026-01-01T00:00:00.000Z", "mode": "hold", "runs_under_way": "go_on"}
    assert other["status"] == "completed"
    assert await statuses(world) == ["queued", "queued"]

    resumed = await world.post("/api/functions/f/resume")
    ended = [await world.ended(id) for id in held]

    assert resumed["pause"] is None
    assert [run["status"] for run in ended] == ["completed", "completed"]


async def test_new_runs_are_skipped_while_they_are_dropped(world: World) -> None:
    await world.register("f")

    await world.post("/api/functions/f/pause", {"mode": "drop"})
    event = await world.send("f.go")
    invoked = await world.post("/api/functions/f/invoke")
    await world.post("/api/functions/f/resume")
    later = await world.run("f")

    assert event["runs"][0]["is_skipped"]
    skipped = await world.get(f"/api/runs/{event['runs'][0]['id']}")
    assert [(run["status"], run["reason"]) for run in (skipped, invoked)] == [("skipped", "paused")] * 2
    assert later["status"] == "completed"
    assert len(world.apps.calls) == 1


@pytest.mark.parametrize("mode", ["hold", "drop"])
async def test_runs_under_way_go_on(world: World, mode: str) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda call: result("done") if steps_done(call) else ops(sleep("wait", "1h"))
    run = (await world.send("f.go"))["runs"][0]["id"]
    await world.quiet()

    await world.post("/api/functions/f/pause", {"mode": mode})
    await world.post("/api/skip", {"duration": "2h"})

    assert (await world.ended(run))["output"] == "done"


@pytest.mark.parametrize("mode", ["hold", "drop"])
async def test_runs_under_way_are_stopped_and_go_on_later(world: World, mode: str) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda call: result("done") if steps_done(call) else ops(sleep("wait", "1h"))
    run = (await world.send("f.go"))["runs"][0]["id"]
    await world.quiet()

    await world.post("/api/functions/f/pause", {"mode": mode, "runs_under_way": "stop"})
    await world.post("/api/skip", {"duration": "2h"})

    assert len(world.apps.calls) == 1
    assert (await world.get(f"/api/runs/{run}"))["status"] == "running"

    await world.post("/api/functions/f/resume")

    assert (await world.ended(run))["output"] == "done"


async def test_a_step_in_progress_is_finished_and_the_next_waits(world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        if steps_done(call):
            return result("done")
        await world.post("/api/functions/f/pause", {"runs_under_way": "stop"})
        return ops(ran("first"))

    world.apps.answers["f"] = answer
    run = (await world.send("f.go"))["runs"][0]["id"]
    await world.signals.until(lambda: any(transition.steps for transition in world.signals.transitions))
    await world.quiet()

    assert len(world.apps.calls) == 1
    assert (await world.get(f"/api/runs/{run}"))["status"] == "running"

    await world.post("/api/functions/f/resume")

    assert (await world.ended(run))["output"] == "done"


@pytest.mark.parametrize(("mode", "status"), [("hold", "queued"), ("drop", "skipped")])
async def test_ticks_of_a_paused_function_are_held_or_skipped(world: World, mode: str, status: str) -> None:
    await world.register("f", f={"triggers": [{"cron": "0 * * * *"}]})

    await world.post("/api/functions/f/pause", {"mode": mode})
    await world.post("/api/skip", {"duration": "2h"})

    assert await statuses(world) == [status, status]

    await world.post("/api/functions/f/resume")
    await world.quiet()

    assert await statuses(world) == ["completed" if mode == "hold" else "skipped"] * 2


async def test_a_pause_outlives_a_sync_and_is_listed(world: World) -> None:
    await world.register("f", "g")

    await world.post("/api/functions/f/pause", {"mode": "drop", "runs_under_way": "stop"})
    await world.register("f", "g", f={"retries": 3})

    f, g = (await world.get("/api/functions"))["items"]
    assert (f["version"], f["pause"]["mode"], f["pause"]["runs_under_way"]) == (2, "drop", "stop")
    assert g["pause"] is None


async def test_pausing_again_changes_how_and_keeps_since_when(world: World) -> None:
    await world.register("f")
    first = await world.post("/api/functions/f/pause", {"mode": "hold"})
    await world.post("/api/skip", {"duration": "1h"})

    second = await world.post("/api/functions/f/pause", {"mode": "drop"})

    assert (second["pause"]["since"], second["pause"]["mode"]) == (first["pause"]["since"], "drop")


async def test_what_is_no_pause_is_refused(world: World) -> None:
    await world.register("f")

    await world.refused(400, "invalid_body", "POST", "/api/functions/f/pause", json={"mode": "nap"})
    await world.refused(400, "invalid_body", "POST", "/api/functions/f/pause", json={"runs_under_way": "x"})
    await world.refused(404, "function_not_found", "POST", "/api/functions/nope/pause")
    await world.refused(404, "function_not_found", "POST", "/api/functions/nope/resume")
    assert (await world.post("/api/functions/f/resume"))["pause"] is None
