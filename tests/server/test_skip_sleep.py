"""Skipping a sleep, on a dev server."""

from __future__ import annotations

from typing import Any

from tests.server.world import World, error, ops, result, sleep


async def asleep(world: World) -> tuple[str, dict[str, Any]]:
    """Start a run that sleeps for an hour, and return its id and the row of the sleep."""
    await world.register("f")
    world.apps.answers["f"] = lambda call: ops(sleep("nap", "1h")) if len(world.apps.calls) == 1 else result(1)
    run_id = (await world.send("f.go"))["runs"][0]["id"]
    await world.quiet()
    [row] = [row for row in (await world.get(f"/api/runs/{run_id}/timeline"))["rows"] if row["kind"] == "sleep"]
    assert row["status"] == "sleeping"
    return run_id, row


async def test_a_run_goes_on_when_its_sleep_is_skipped(either: World) -> None:
    run_id, row = await asleep(either)

    shown = await either.post(f"/api/runs/{run_id}/jobs/{row['id']}/skip")

    assert shown["id"] == run_id
    ended = await either.ended(run_id)
    assert (ended["status"], ended["output"]) == ("completed", 1)


async def test_a_sleep_that_is_over_can_not_be_skipped(world: World) -> None:
    run_id, row = await asleep(world)
    await world.post(f"/api/runs/{run_id}/jobs/{row['id']}/skip")
    await world.ended(run_id)

    await world.refused(409, "not_sleeping", "POST", f"/api/runs/{run_id}/jobs/{row['id']}/skip")


async def test_what_is_no_sleep_can_not_be_skipped(world: World) -> None:
    """A retry that waits is no sleep."""
    await world.register("f", f={"retries": 1})
    world.apps.answers["f"] = lambda _call: error("no")
    run_id = (await world.send("f.go"))["runs"][0]["id"]
    await world.quiet()
    rows = (await world.get(f"/api/runs/{run_id}/timeline"))["rows"]

    for row in rows:
        await world.refused(409, "not_sleeping", "POST", f"/api/runs/{run_id}/jobs/{row['id']}/skip")
    await world.refused(404, "run_not_found", "POST", f"/api/runs/nope/jobs/{rows[0]['id']}/skip")
    assert len(world.apps.calls) == 1


async def test_in_production_a_sleep_is_a_sleep(production: World) -> None:
    run_id, row = await asleep(production)

    await production.refused(403, "dev_only", "POST", f"/api/runs/{run_id}/jobs/{row['id']}/skip")
