"""PostgreSQL stops and starts: who was idle doesn't notice, who was busy goes on, and nothing accepted is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from stepwell.engine import engine
from stepwell.engine.clock import elapsed_s
from stepwell.errors import StoreUnavailable
from stepwell.protocol.ids import RunId
from stepwell.store.request import SettingRequest
from tests.outages.site import Site, account, lines, running, store_at, until
from tests.postgres import Postgres
from tests.unit.engine.making import T0, event_of

STOPS: dict[str, Callable[[Postgres], None]] = {
    "fast": lambda server: server.stop("fast"),
    "immediate": lambda server: server.stop("immediate"),
    "killed": lambda server: server.kill(),
}


@pytest.fixture(params=STOPS.values(), ids=list(STOPS))
def stop(request: pytest.FixtureRequest) -> Callable[[Postgres], None]:
    return request.param


async def test_after_a_restart_while_idle_every_connection_is_made_anew(breakable: Postgres, url: str, stop) -> None:
    store = store_at(url)
    await store.start(now=T0)

    async def use_all() -> None:
        writes = [store.submit(SettingRequest(f"key-{number}", "x")) for number in range(3)]
        reads = [store.load_setting("key") for _ in range(3)]
        await asyncio.gather(*writes, *reads)

    try:
        await use_all()
        with capture_logs() as logs:
            await asyncio.to_thread(stop, breakable)
            await asyncio.to_thread(breakable.start)

            await use_all()

        assert store.outage is None
        assert [line for line in logs if line["log_level"] != "debug"] == []
        await until(lambda: store.is_heard, "it listens again")
    finally:
        await store.stop()


async def test_under_load_all_that_was_accepted_ends_once(breakable: Postgres, url: str, stop) -> None:
    site = Site(store_at(url))
    accepted: list[RunId] = []
    is_over = asyncio.Event()

    async def send(first: int) -> None:
        number = first
        while not is_over.is_set():
            number += 10
            try:
                accepted.append(await site.send_one(number))
            except StoreUnavailable:
                await asyncio.sleep(0.1)

    async with running(site):
        await site.start()
        with capture_logs() as logs:
            async with asyncio.TaskGroup() as senders:
                for first in range(3):
                    senders.create_task(send(first))
                await until(lambda: len(accepted) >= 20, "some events are accepted")
                await asyncio.to_thread(stop, breakable)
                await until(lambda: site.engine.unready() is not None, "it says that it isn't ready")
                before = len(accepted)
                await asyncio.to_thread(breakable.start)
                await until(lambda: len(accepted) >= before + 20, "more events are accepted")
                is_over.set()

            await site.ended(*accepted)
            await until(lambda: site.is_quiet, "every slot is given back")

        await account(site, accepted)
        assert len(lines(logs, "database.unavailable")) == 1
        assert len(lines(logs, "database.available")) == 1
        assert site.engine.unready() is None
        assert site.store.outage is None


async def test_an_idle_replica_notices_an_outage_and_its_end(breakable: Postgres, url: str) -> None:
    site = Site(store_at(url))
    async with running(site):
        await site.start()
        assert site.engine.unready() is None
        with capture_logs() as logs:
            await asyncio.to_thread(breakable.stop)
            await until(lambda: site.store.outage is not None, "the outage is noticed")
            assert site.engine.unready() == site.store.outage

            await asyncio.to_thread(breakable.start)
            await until(lambda: site.engine.unready() is None, "the end is noticed")

        assert site.store.outage is None
        [unavailable] = lines(logs, "database.unavailable")
        [available] = lines(logs, "database.available")
        assert "PostgreSQL can't be used now: " in unavailable["error"]
        assert available["after_s"] >= 0


async def test_an_outage_longer_than_the_silence_makes_no_replica_declare_another_dead(
    breakable: Postgres, url: str
) -> None:
    """When the database comes back, all have been silent for too long; the first to beat must not reap the rest."""
    sites = [Site(store_at(url, f"replica-{number}")) for number in range(3)]
    async with running(*sites):
        for site in sites:
            await site.start()
        with capture_logs() as logs:
            await asyncio.to_thread(breakable.stop)
            for member in (site.engine._membership for site in sites):
                await until(
                    lambda member=member: (elapsed_s() - member._beaten_at) * 1000 > member._silent_ms + 100,
                    "it was silent for too long",
                )
            await asyncio.to_thread(breakable.start)
            run = await sites[0].send_one()
            await sites[0].ended(run)
            for site in sites:
                await until(lambda site=site: site.engine.unready() is None, "it is ready again")

        assert lines(logs, "replicas.reaped") == []
        assert lines(logs, "replica.fenced") == []


async def test_a_replica_can_be_stopped_in_an_outage(breakable: Postgres, url: str) -> None:
    site = Site(store_at(url))
    await site.start()
    await asyncio.to_thread(breakable.stop)
    try:
        with capture_logs() as logs:
            await asyncio.wait_for(site.engine.stop(grace_s=0), 5)
    finally:
        await asyncio.to_thread(breakable.start)

    assert len(lines(logs, "replica.not_left")) == 1


async def test_events_that_come_in_an_outage_are_refused_after_a_while(
    breakable: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_INGEST_PATIENCE_S", 0.3)
    site = Site(store_at(url))
    async with running(site):
        await site.start()
        await asyncio.to_thread(breakable.stop)
        try:
            with pytest.raises(StoreUnavailable, match="PostgreSQL can't be used now"):
                await site.engine.ingest([event_of(1)])
            with pytest.raises(StoreUnavailable, match="PostgreSQL can't be used now"):
                await site.store.load_setting("key")
        finally:
            await asyncio.to_thread(breakable.start)
