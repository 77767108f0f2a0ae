"""Moving the clock while other things happen."""

from __future__ import annotations

import asyncio

import pytest

from tests.server.world import World


async def test_a_skip_right_behind_a_sync_fires_the_schedules_that_it_brought(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Apps are listed once they are stored; the scheduler hears of their schedules a moment later."""
    store = world.engine.store
    read = store.next_schedule_due
    is_late, may_go_on = asyncio.Event(), asyncio.Event()

    async def late() -> int | None:
        if not is_late.is_set():
            is_late.set()
            await may_go_on.wait()
        return await read()

    monkeypatch.setattr(store, "next_schedule_due", late)
    syncing = asyncio.create_task(world.register("tick", tick={"triggers": [{"cron": "* * * * *"}]}))
    await is_late.wait()

    skipping = asyncio.create_task(world.post("/api/skip", {"duration": "3m"}))
    may_go_on.set()
    await syncing
    await skipping

    runs = (await world.get("/api/runs", function="tick"))["items"]
    assert [run["status"] for run in runs] == ["completed"] * 3
