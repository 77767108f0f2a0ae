"""A page that is open at one replica hears of what changes at another one, on one PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from stepwell.engine.core.model import LogLine, Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.ids import LogId, ReplicaId, RunId, step_hash
from stepwell.server.live.changes import Told, read_topics
from stepwell.server.live.hub import Page
from stepwell.store.postgres import PostgresStore
from tests.postgres import Postgres
from tests.server.test_live_steps import call_id
from tests.server.world import World, ops, result, running, sleep
from tests.store.database import migrated

WAIT_S = 10.0


class Pair(NamedTuple):
    """Two replicas: pages are open here, and things happen there."""

    here: World
    there: World


@pytest.fixture
async def pair(tmp_path: Path, postgres: Postgres) -> AsyncGenerator[Pair]:
    url = postgres.create_database(template=migrated(postgres))
    async with AsyncExitStack() as stack:
        here, there = [
            await stack.enter_async_context(
                running(tmp_path, store=PostgresStore(url, ReplicaId(id), is_migrating=False))
            )
            for id in ("replica-1", "replica-2")
        ]
        yield Pair(here, there)
    await asyncio.to_thread(postgres.drop_database, url)


async def changes(page: Page) -> Told:
    async with asyncio.timeout(WAIT_S):
        heard = await page.next()
    assert heard is not None
    assert heard.told is not None
    return heard.told


async def opened(pair: Pair, topics: str) -> Page:
    """Open a page here, of which the replica there knows."""
    page = pair.here.context.hub.join(read_topics(topics))
    while not (await changes(page)).is_partial:
        pass
    return page


async def test_a_page_hears_of_events_and_runs_of_another_replica(pair: Pair) -> None:
    await pair.there.register("f")
    page = await opened(pair, "runs,events")

    event = await pair.there.send("f.go")
    run_id = event["runs"][0]["id"]

    events: set[str] = set()
    news: dict[str, bool] = {}
    while not (event["id"] in events and news.get(run_id)):
        heard = await changes(page)
        events.update(heard.events)
        for id, is_new in heard.runs.items():
            news[id] = news.get(id, False) or is_new
    await pair.there.ended(run_id)


async def test_a_page_of_one_run_hears_of_that_run_alone(pair: Pair) -> None:
    await pair.there.register("f", "g")
    pair.there.apps.answers["f"] = lambda _call: ops(sleep("wait", "1d"))
    pair.here.apps.answers["f"] = lambda _call: ops(sleep("wait", "1d"))
    run_id = (await pair.there.send("f.go"))["runs"][0]["id"]
    page = await opened(pair, f"run:{run_id}")

    other = await pair.there.send("g.go")
    await pair.there.ended(other["runs"][0]["id"])
    await pair.there.engine.cancel(RunId(run_id))

    heard: list[str] = []
    while run_id not in heard or not (await pair.here.get(f"/api/runs/{run_id}"))["ended_at"]:
        heard += (await changes(page)).runs
    assert set(heard) == {run_id}


async def test_a_page_hears_that_another_replica_paused_a_function(pair: Pair) -> None:
    await pair.there.register("f")
    page = await opened(pair, "functions")
    await pair.there.post("/api/functions/f/pause", {})

    while not (await pair.here.get("/api/functions/f"))["pause"]:
        assert (await changes(page)).has_functions


async def test_a_page_hears_the_lines_that_another_replica_stored(pair: Pair) -> None:
    await pair.there.register("f")
    run_id = RunId((await pair.there.run("f"))["id"])
    page, of_all = await opened(pair, f"logs:{run_id}"), await opened(pair, "logs")

    for message in ("one", "two"):
        line = LogLine(id=LogId(""), run_id=run_id, at=0, level=20, logger="app", message=message)
        await pair.there.engine.logbook.write([line])
        for each in (page, of_all):
            lines = (await changes(each)).lines
            while not lines:
                lines = (await changes(each)).lines
            assert [(line.run_id, line.message) for line in lines] == [(run_id, message)]


async def test_a_page_hears_that_a_step_has_begun_of_which_another_replica_was_told(pair: Pair) -> None:
    calls: asyncio.Queue[OutgoingCall] = asyncio.Queue()
    gate = asyncio.Event()

    async def held(call: OutgoingCall) -> Reply:
        calls.put_nowait(call)
        await gate.wait()
        return result(1)

    await pair.there.register("f")
    pair.here.apps.answers["f"] = pair.there.apps.answers["f"] = held
    run_id = (await pair.there.send("f.go"))["runs"][0]["id"]
    call = await asyncio.wait_for(calls.get(), WAIT_S)
    page = await opened(pair, f"run:{run_id}")

    begun = {"run_id": run_id, "attempt_id": call_id(call), "step_id": step_hash("pay"), "step": "pay", "ran_ms": 1}
    await pair.there.post("/v1/runs/logs", {"lines": [], "begun": [begun]})

    while run_id not in (await changes(page)).runs:
        pass
    rows = (await pair.here.get(f"/api/runs/{run_id}/timeline"))["rows"]
    assert [(row["title"], row["status"]) for row in rows] == [(None, "running"), ("pay", "running")]
    gate.set()
