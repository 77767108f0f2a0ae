"""Pausing and resuming a function: what becomes of new runs, of runs under way, and of ticks."""

from __future__ import annotations

import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from tests.server.world import World, ops, ran, result, sleep, steps_done


async def statuses(either: World, slug: str = "f") -> list[str]:
    return [run["status"] for run in (await either.get("/api/runs", function=slug))["items"]]


async def test_new_runs_are_held_until_the_function_goes_on(either: World) -> None:
    await either.register("f", "g")

    paused = await either.post("/api/functions/f/pause", {"mode": "hold"})
    held = [(await either.send("f.go", {"n": n}))["runs"][0]["id"] for n in (1, 2)]
    other = await either.run("g")
    await either.quiet()

    assert paused["pause"] == {"since": paused["pause"]["since"], "mode": "hold", "runs_under_way": "go_on"}
    assert other["status"] == "completed"
    assert await statuses(either) == ["queued", "queued"]

    resumed = await either.post("/api/functions/f/resume")
    ended = [await either.ended(id) for id in held]

    assert resumed["pause"] is None
    assert [run["status"] for run in ended] == ["completed", "completed"]


async def test_new_runs_are_skipped_while_they_are_dropped(either: World) -> None:
    await either.register("f")

    await either.post("/api/functions/f/pause", {"mode": "drop"})
    event = await either.send("f.go")
    invoked = await either.post("/api/functions/f/invoke")
    await either.post("/api/functions/f/resume")
    later = await either.run("f")

    assert event["runs"][0]["is_skipped"]
    skipped = await either.get(f"/api/runs/{event['runs'][0]['id']}")
    assert [(run["status"], run["reason"]) for run in (skipped, invoked)] == [("skipped", "paused")] * 2
    assert later["status"] == "completed"
    assert len(either.apps.calls) == 1


@pytest.mark.parametrize("mode", ["hold", "drop"])
async def test_runs_under_way_go_on(either: World, mode: str) -> None:
    await either.register("f")
    either.apps.answers["f"] = lambda call: result("done") if steps_done(call) else ops(sleep("wait", "1h"))
    run = (await either.send("f.go"))["runs"][0]["id"]
    await either.quiet()

    await either.post("/api/functions/f/pause", {"mode": mode})
    await either.post("/api/skip", {"duration": "2h"})

    assert (await either.ended(run))["output"] == "done"


@pytest.mark.parametrize("mode", ["hold", "drop"])
async def test_runs_under_way_are_stopped_and_go_on_later(either: World, mode: str) -> None:
    await either.register("f")
    either.apps.answers["f"] = lambda call: result("done") if steps_done(call) else ops(sleep("wait", "1h"))
    run = (await either.send("f.go"))["runs"][0]["id"]
    await either.quiet()

    await either.post("/api/functions/f/pause", {"mode": mode, "runs_under_way": "stop"})
    await either.post("/api/skip", {"duration": "2h"})

    assert len(either.apps.calls) == 1
    assert (await either.get(f"/api/runs/{run}"))["status"] == "running"

    await either.post("/api/functions/f/resume")

    assert (await either.ended(run))["output"] == "done"


async def test_a_step_in_progress_is_finished_and_the_next_waits(either: World) -> None:
    await either.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        if steps_done(call):
            return result("done")
        await either.post("/api/functions/f/pause", {"runs_under_way": "stop"})
        return ops(ran("first"))

    either.apps.answers["f"] = answer
    run = (await either.send("f.go"))["runs"][0]["id"]
    await either.signals.until(lambda: any(transition.steps for transition in either.signals.transitions))
    await either.quiet()

    assert len(either.apps.calls) == 1
    assert (await either.get(f"/api/runs/{run}"))["status"] == "running"

    await either.post("/api/functions/f/resume")

    assert (await either.ended(run))["output"] == "done"


@pytest.mark.parametrize(("mode", "status"), [("hold", "queued"), ("drop", "skipped")])
async def test_ticks_of_a_paused_function_are_held_or_skipped(either: World, mode: str, status: str) -> None:
    await either.register("f", f={"triggers": [{"cron": "0 * * * *"}]})

    await either.post("/api/functions/f/pause", {"mode": mode})
    await either.post("/api/skip", {"duration": "2h"})

    assert await statuses(either) == [status, status]

    await either.post("/api/functions/f/resume")
    await either.quiet()

    assert await statuses(either) == ["completed" if mode == "hold" else "skipped"] * 2


async def test_a_pause_outlives_a_sync_and_is_listed(either: World) -> None:
    await either.register("f", "g")

    await either.post("/api/functions/f/pause", {"mode": "drop", "runs_under_way": "stop"})
    await either.register("f", "g", f={"retries": 3})

    f, g = (await either.get("/api/functions"))["items"]
    assert (f["version"], f["pause"]["mode"], f["pause"]["runs_under_way"]) == (2, "drop", "stop")
    assert g["pause"] is None


async def test_pausing_again_changes_how_and_keeps_since_when(either: World) -> None:
    await either.register("f")
    first = await either.post("/api/functions/f/pause", {"mode": "hold"})
    await either.post("/api/skip", {"duration": "1h"})

    second = await either.post("/api/functions/f/pause", {"mode": "drop"})

    assert (second["pause"]["since"], second["pause"]["mode"]) == (first["pause"]["since"], "drop")


async def test_what_is_no_pause_is_refused(either: World) -> None:
    await either.register("f")

    await either.refused(400, "invalid_body", "POST", "/api/functions/f/pause", json={"mode": "nap"})
    await either.refused(400, "invalid_body", "POST", "/api/functions/f/pause", json={"runs_under_way": "x"})
    await either.refused(404, "function_not_found", "POST", "/api/functions/nope/pause")
    await either.refused(404, "function_not_found", "POST", "/api/functions/nope/resume")
    assert (await either.post("/api/functions/f/resume"))["pause"] is None
