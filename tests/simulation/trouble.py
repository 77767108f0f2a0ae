"""The trouble of a world: each second, chance decides what goes wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.simulation.database import SharedStore
from tests.simulation.replica import Replica

if TYPE_CHECKING:
    from tests.simulation.world import World

TROUBLE_S = 180.0
"""How long things go wrong."""


class Trouble:
    """Crashes, pauses and stops replicas, sets clocks, and makes the database fail, be slow, or tell no news."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self) -> None:
        """Let things go wrong, each second, until the trouble is over."""
        world = self._world
        while world.loop.time() < TROUBLE_S:
            await asyncio.sleep(1)
            for replica in list(world.replicas):
                self._process(replica)
            if world.is_shared:
                self._database()
        world.is_troubled = False
        world.tell("the trouble is over")

    def _process(self, replica: Replica) -> None:
        world = self._world
        if world.strikes("clock_step"):
            replica.skew_ms += world.chance.choice([-3_600_000, -500, 1_000, 3_600_000, 86_400_000])
            world.tell("the clock is set", replica=replica.number, skew_ms=replica.skew_ms)
        if world.strikes_now("crash_per_minute", by="process"):
            replica.crash("out of the blue")
        elif not replica.is_paused and world.strikes_now("pause_per_minute", by="process"):
            self.pause(replica)
        elif replica.is_serving and world.strikes_now("stop_per_minute", by="process"):
            grace_s = world.chance.choice([0.0, 0.5, 5.0, 700.0])
            world.look_after(asyncio.create_task(replica.stop(grace_s)))
        elif world.strikes("forgotten_run"):
            warm = replica.engine._executor._warm
            for run_id in list(warm._runs):
                warm.drop(run_id)

    def _database(self) -> None:
        world = self._world
        if world.is_well and world.strikes_now("outage_per_minute", by="database"):
            world.look_after(asyncio.create_task(self.be_down(world.chance.choice([1.0, 5.0, 12.0, 30.0]))))
        if world.is_well and world.strikes_now("slowness_per_minute"):
            world.look_after(asyncio.create_task(self._be_slow()))
        if world.strikes("database_clock_step") and world.may_lose("database"):
            world.database.skew_ms += world.chance.choice([-3_600_000, -2_000, 1_000, 3_600_000, 86_400_000])
            world.database.is_stepped = True
            world.database.note_illness()
            world.tell("the database's clock is set", skew_ms=world.database.skew_ms)
        for replica in world.serving:
            if isinstance(replica.store, SharedStore) and world.strikes_now("deafness_per_minute"):
                world.look_after(asyncio.create_task(self._be_deaf(replica.store)))

    def pause(self, replica: Replica, for_s: float | None = None) -> None:
        """Pause a replica for a while."""
        world = self._world
        replica.pause()
        world.promises.silent(replica)
        world.look_after(asyncio.create_task(self._resume(replica, for_s)))

    async def _resume(self, replica: Replica, after_s: float | None) -> None:
        await asyncio.sleep(self._world.chance.choice([0.5, 3.0, 7.0, 9.0, 12.0, 40.0]) if after_s is None else after_s)
        replica.resume()

    async def be_down(self, for_s: float) -> None:
        world = self._world
        world.tell("the database is down")
        world.database.is_down = True
        world.database.note_illness()
        await asyncio.sleep(for_s)
        world.tell("the database is up")
        world.database.is_down = False
        world.database.note_illness()
        world.database.reconnect_news()

    async def _be_slow(self) -> None:
        world = self._world
        world.tell("the database is slow")
        world.database.is_slow = True
        world.database.note_illness()
        await asyncio.sleep(world.chance.choice([2.0, 10.0, 20.0]))
        world.tell("the database is quick")
        world.database.is_slow = False
        world.database.note_illness(8)  # for what is on its way

    async def _be_deaf(self, store: SharedStore) -> None:
        world = self._world
        store.is_deaf = True
        await asyncio.sleep(world.chance.choice([3.0, 40.0]))
        if store in world.database.stores:
            world.loop.run_as(store.replica, world.loop.call_soon, store.reconnect_news)
