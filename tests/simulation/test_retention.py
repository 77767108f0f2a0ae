"""The whole engine for 100 days of virtual time, with its janitor: history is steady, and nobody misses anything."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import pytest

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import Event, Reply
from stepwell.engine.engine import Engine
from stepwell.engine.ids import IdSource
from stepwell.engine.janitor import Retention
from stepwell.engine.transport import OutgoingCall
from stepwell.limits import DAY_MS
from stepwell.protocol.canonical import encode
from stepwell.protocol.event import event_body
from stepwell.protocol.ids import EventId, ReplicaId, RunId
from stepwell.store.sqlite import SQLiteStore
from tests.simulation.loop import SimulatedLoop
from tests.store.database import Worker
from tests.unit.engine.making import DEV, T0, function_of, op, ops, result

DAYS: Final = 100
KEPT: Final = 30  # days
KEPT_DAYS: Final = {"id-of-app-long": KEPT, "id-of-app-short": 7}
BURST: Final = 6  # events that are sent at once, twice a day
HALF_A_DAY_S: Final = 43_200.0
LATE: Final = 2  # days: a hundredth of the time, and a round


class Life:
    """An engine that serves for months, its app, its senders, and what they were told."""

    def __init__(self, path: Path, chance: Random) -> None:
        self.path, self.chance = path, chance
        self._loop = asyncio.get_running_loop()
        clock = Clock(self.now, elapsed=self._loop.time)
        self.ids = IdSource(clock.now, chance)
        self.store = SQLiteStore(path, ReplicaId("replica-1"), is_threaded=False, is_durable=False)
        self.engine = Engine(
            self.store,
            self,
            environment=DEV,
            clock=clock,
            ids=self.ids,
            retention=Retention(KEPT * DAY_MS, {"app-short": 7 * DAY_MS}),
        )
        self.started: dict[str, str] = {}
        """The runs that began, with their functions."""
        self.replied: dict[str, int] = {}
        """When the app returned from each run."""
        self.sizes: list[int] = []

    def now(self) -> int:
        return T0 + round(self._loop.time() * 1000)

    async def call(self, call: OutgoingCall) -> Reply:
        """Be the app: a step, then for a few runs a sleep of weeks, then the end."""
        await asyncio.sleep(self.chance.random())
        memo: dict[str, Any] = msgspec.json.decode(call.body)["steps"]
        if not memo:
            return ops(op("StepRun", "s", data="y" * 500))
        if len(memo) == 1 and int(call.run_id[-4:].encode().hex(), 16) % 25 == 0:
            return ops(op("Sleep", "nap", value="40d"))
        self.replied[call.run_id] = self.now()
        return result()

    async def send(self, name: str, *, id: str | None = None) -> None:
        await asyncio.sleep(self.chance.random())
        internal = EventId(self.ids())
        at = self.now()
        body = event_body(name=name, id=id or internal, ts=at, data=encode("x" * 500))
        event = Event(internal, DEV, name, id or internal, at, at, body, has_own_id=id is not None)
        accepted = await self.engine.ingest([event])
        for run in accepted.intakes[0].runs:
            if run.id not in accepted.result.skipped:
                self.started[run.id] = run.function_id

    async def live(self) -> None:
        worker = Worker(self.store)
        await self.engine.start()
        await worker.sync("app", function_of("app-long"), function_of("app-short"))
        await self.engine.registries.refresh(DEV)
        for half in range(2 * DAYS):
            names = [*"a" * BURST, "nobody listens"]
            await asyncio.gather(*(self.send(name) for name in names), self.send("a", id=f"own-{half % 5}"))
            await asyncio.sleep(HALF_A_DAY_S / 2)
            await self._rerun_an_old_one()
            await asyncio.sleep(HALF_A_DAY_S / 2)
            if half % 4 == 3:
                self.look()
        await self.engine.stop(grace_s=0)

    async def _rerun_an_old_one(self) -> None:
        """Start again what is about to be deleted, or was just now."""
        edge = self.now() - KEPT * DAY_MS
        near = [id for id, at in self.replied.items() if abs(at - edge) < DAY_MS]
        if near:
            run = await self.engine.rerun(RunId(self.chance.choice(near)))
            if run is not None:
                self.started[run.id] = run.function_id

    # -- what is promised -------------------------------------------------------------------------------------------

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.path)
        try:
            return db.execute(sql).fetchall()
        finally:
            db.close()

    def look(self) -> None:
        """Check what is there against what was sent."""
        rows = self.query(
            "select run.id, function_id, status, ended_at, event.id from run left join event on event.id = run.event_id"
        )
        now = self.now()
        for id, function, status, ended_at, event in rows:
            assert event is not None, f"{id} has no event"
            if status not in ("queued", "running"):
                assert now - ended_at <= (KEPT_DAYS[function] + LATE) * DAY_MS, f"{id} of {function} is still there"
        for id in self.started.keys() - {row[0] for row in rows}:
            assert id in self.replied, f"{id} was deleted before it ended"
            assert now - self.replied[id] >= KEPT_DAYS[self.started[id]] * DAY_MS, f"{id} was deleted early"
        for table in ("step", "attempt", "job"):
            assert self.query(f"select 1 from {table} where run_id not in (select id from run) limit 1") == []
        oldest = f"select 1 from event where received_at < {now - (KEPT + LATE) * DAY_MS}"
        assert self.query(f"{oldest} and id not in (select event_id from run) limit 1") == []
        self.sizes.append(self.query("pragma page_count")[0][0])


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_an_engine_that_serves_for_months_has_a_steady_size(tmp_path: Path, seed: int) -> None:
    loop = SimulatedLoop(Random(seed), turns_max=2_000_000)
    life: list[Life] = []

    async def live() -> None:
        life.append(Life(tmp_path / "db", Random(f"{seed}/life")))
        await life[0].live()

    try:
        loop.run_until_complete(live())
    finally:
        loop.close()

    sizes = life[0].sizes
    assert max(sizes[-15:]) <= max(sizes[:-15]) * 1.05
    assert len(life[0].started) > 2 * DAYS * 2 * BURST
