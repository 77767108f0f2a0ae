"""The disk is full: nothing that was accepted is lost, reading goes on, and once there is room so does the rest."""

from __future__ import annotations

import asyncio
import base64
import random
import sqlite3
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from structlog.testing import capture_logs

from stepwell.engine import engine
from stepwell.engine.core.model import Outcome, Reply, RunStatus
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import StoreUnavailable
from stepwell.protocol.ids import ReplicaId
from stepwell.store import group_commit
from stepwell.store.found import EventFilter
from stepwell.store.interface import Store
from stepwell.store.request import SettingRequest
from stepwell.store.sqlite import SQLiteStore
from tests.outages.disk import mounted
from tests.outages.site import Site, eventually, lines, running, store_at, two_steps, until
from tests.postgres import Postgres, _account, _name_of
from tests.store.database import migrated
from tests.unit.engine.making import T0, event_of, op, ops

LARGE = base64.b64encode(random.Random(1).randbytes(400_000)).decode()
"""A step's result that no free page has room for, nor can be made small."""


class Place(NamedTuple):
    """A database whose disk a test can fill."""

    open: Callable[[], Store]
    fill: Callable[[], object]
    free: Callable[[], object]


@contextmanager
def postgres_place(server: Postgres) -> Generator[Place]:
    """Give a database whose tables, but not the log, are on a small disk."""
    name = "on_small_disk"
    with mounted(server._folder / "small", size_mib=24, owner=_account().get("user", 0)) as disk:
        template = migrated(server)
        server.psql(f"create tablespace small location '{disk.folder}'")
        try:
            server.psql(
                f"create database {name} owner stepwell template {_name_of(template)} tablespace small strategy file_copy"
            )
            url = template.replace(f"/{_name_of(template)}", f"/{name}")
            yield Place(lambda: store_at(url), disk.fill, disk.free)
        finally:
            disk.free()
            server.psql(f"drop database if exists {name} with (force)")
            server.psql("checkpoint")  # until then the files of what was dropped are there
            server.psql("drop tablespace small")


@contextmanager
def sqlite_place(folder: Path) -> Generator[Place]:
    with mounted(folder / "small", size_mib=4) as disk:
        path = disk.folder / "stepwell.db"
        yield Place(lambda: SQLiteStore(path, ReplicaId("replica-1")), disk.fill, disk.free)


@contextmanager
def limited_place(folder: Path) -> Generator[Place]:
    """Give a file of SQLite that may not grow: this needs no rights."""
    stores: list[SQLiteStore] = []

    def open_store() -> Store:
        stores.append(SQLiteStore(folder / "stepwell.db", ReplicaId("replica-1")))
        return stores[-1]

    def limit(pages: int) -> None:
        stores[-1]._writer.execute(f"pragma max_page_count = {pages}").fetchall()

    yield Place(open_store, lambda: limit(1), lambda: limit(1 << 30))


@pytest.fixture(params=["postgres", "sqlite", "sqlite, limited"])
async def place(request: pytest.FixtureRequest, breakable: Postgres, tmp_path: Path) -> AsyncGenerator[Place]:
    places = {
        "postgres": lambda: postgres_place(breakable),
        "sqlite": lambda: sqlite_place(tmp_path),
        "sqlite, limited": lambda: limited_place(tmp_path),
    }
    with places[request.param]() as made:
        yield made


async def test_what_an_app_answered_is_kept_until_there_is_room(place: Place) -> None:
    site = Site(place.open())
    is_called, may_answer = asyncio.Event(), asyncio.Event()

    async def answer(call: OutgoingCall) -> Reply:
        if is_called.is_set():
            return await two_steps(call)
        is_called.set()
        await may_answer.wait()
        return ops(op("StepRun", "a", data=LARGE))

    site.answer = answer
    async with running(site):
        await site.start()
        run = await site.send_one()
        await is_called.wait()
        with capture_logs() as logs:
            await asyncio.to_thread(place.fill)
            may_answer.set()
            await until(lambda: site.store.outage is not None, "the outage is noticed")
            assert site.engine.unready() is not None
            detail = await site.store.load_run(run)
            assert detail is not None
            assert detail.run.status is RunStatus.RUNNING

            await asyncio.to_thread(place.free)
            await site.ended(run)

        detail = await site.store.load_run(run)
        assert detail is not None
        assert detail.run.status is RunStatus.COMPLETED
        assert LARGE.encode() in detail.steps[0].memo
        assert [attempt.outcome for attempt in detail.attempts] == [Outcome.OK] * 3
        assert len(site.calls) == 3
        assert site.engine.unready() is None
        [unavailable] = lines(logs, "database.unavailable")
        assert "o space left" in unavailable["error"] or "disk is full" in unavailable["error"]
        assert len(lines(logs, "database.available")) == 1


async def test_events_are_refused_until_there_is_room_and_those_accepted_stay(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_INGEST_PATIENCE_S", 0.2)
    monkeypatch.setattr(group_commit, "_QUIET_S", 0.2)
    monkeypatch.setattr(group_commit, "_PROBE_S", 0.3)
    site = Site(place.open())
    async with running(site):
        await site.start()
        first = await site.send_one(1)
        await site.ended(first)
        await asyncio.to_thread(place.fill)
        with pytest.raises(StoreUnavailable):
            await site.engine.ingest([event_of(2, data=LARGE)])
        assert site.engine.unready() is not None
        assert [event.id for event in await site.store.list_events(EventFilter(site.engine.environment))] == [
            event_of(1).id
        ]

        await asyncio.to_thread(place.free)
        await until(lambda: site.engine.unready() is None, "it notices, though nobody sends anything")
        second = (await site.engine.ingest([event_of(2, data=LARGE)])).intakes[0].runs[0].id
        await site.ended(second)

    again = Site(place.open())
    async with running(again):
        await again.engine.start()
        states = await again.store.load_runs([first, second])
        assert [state.run.status for state in states.values()] == [RunStatus.COMPLETED] * 2


async def test_a_log_that_was_copied_back_takes_no_more_of_a_full_disk(tmp_path: Path) -> None:
    """SQLite's log grows from one copying back to the next; when there is no room for more of it, it is copied at once."""
    with sqlite_place(tmp_path) as place:
        store = place.open()
        await store.start(now=T0)
        try:
            await store.submit(SettingRequest("key", "before"))
            other = sqlite3.connect(tmp_path / "small" / "stepwell.db")
            other.execute("pragma wal_checkpoint(truncate)").fetchall()
            other.close()
            await store.submit(SettingRequest("key", "again"))
            place.fill()
            written = 0

            async def write() -> bool:
                nonlocal written
                try:
                    await store.submit(SettingRequest("key", str(written)))
                    written += 1
                except StoreUnavailable:
                    assert written < 20
                return written == 20

            await eventually(write, "the log begins anew, again and again")
            assert await store.load_setting("key") == "19"
        finally:
            await store.stop()
