"""The connection breaks at COMMIT: whether the server has carried it out, nobody can know, and nothing is lost or doubled."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.engine.core.model import Outcome, RunStatus
from stepwell.errors import StoreUnavailable
from stepwell.store.found import EventFilter, RunFilter
from stepwell.store.request import SettingRequest
from tests.outages.proxy import Cut, Proxy
from tests.outages.site import Site, account, eventually, running, store_at, until
from tests.store.database import PostgresDatabase
from tests.unit.engine.making import DEV, T0, event_of, function_of

pytestmark = pytest.mark.parametrize("cut", ["before", "after"])


def stores_an_event(sql: str) -> bool:
    return "insert into event " in sql


def stores_a_step(sql: str) -> bool:
    return "insert into step " in sql


def ends_a_run(sql: str) -> bool:
    return "delete from job\nwhere run_id" in sql


def claims(sql: str) -> bool:
    return "for update skip locked" in sql and "limit" in sql


def beats(sql: str) -> bool:
    return "update replica" in sql


async def test_an_event_is_stored_once_and_its_sender_hears_of_its_run(proxy: Proxy, cut: Cut) -> None:
    site = Site(store_at(proxy.url))
    async with running(site):
        await site.start()
        proxy.cut_at_commit(cut, stores_an_event)

        run = await site.send_one()

        assert proxy.was_cut.is_set()
        await site.ended(run)
        assert [run.id for run in await site.store.list_runs(RunFilter(DEV))] == [run]
        assert len(await site.store.list_events(EventFilter(DEV))) == 1
        await account(site, [run])
        await until(lambda: site.is_quiet, "every slot is given back")


async def test_of_many_events_that_are_stored_together_each_starts_one_run(proxy: Proxy, cut: Cut) -> None:
    site = Site(store_at(proxy.url))
    async with running(site):
        await site.start()
        proxy.cut_at_commit(cut, stores_an_event)

        accepted = await asyncio.gather(*(site.send_one(number) for number in range(20)))

        await site.ended(*accepted)
        assert {run.id for run in await site.store.list_runs(RunFilter(DEV, limit=100))} == set(accepted)
        await account(site, accepted)
        await until(lambda: site.is_quiet, "every slot is given back")


@pytest.mark.parametrize("which", [stores_a_step, ends_a_run])
async def test_a_reply_is_recorded_once_and_the_run_goes_on(proxy: Proxy, cut: Cut, which) -> None:
    """What follows a commit that went through unheard is leased to a replica that doesn't know: it is an orphan."""
    site = Site(store_at(proxy.url))
    async with running(site):
        await site.start()
        proxy.cut_at_commit(cut, which)

        run = await site.send_one()
        await site.ended(run)

        assert proxy.was_cut.is_set()
        await account(site, [run])
        detail = await site.store.load_run(run)
        assert detail is not None
        outcomes = [attempt.outcome for attempt in detail.attempts]
        assert outcomes == [Outcome.OK] * 3
        assert len(site.calls) == 3
        await until(lambda: site.is_quiet, "every slot is given back")


async def test_a_claim_that_nobody_heard_of_is_made_good(proxy: Proxy, cut: Cut) -> None:
    site = Site(store_at(proxy.url))
    async with running(site):
        await site.start()
        later = site.engine.clock.now() + 300
        accepted = await site.engine.ingest([event_of(1, ts=later)])
        run = accepted.intakes[0].runs[0].id
        proxy.cut_at_commit(cut, claims)

        await site.ended(run)

        assert proxy.was_cut.is_set()
        await account(site, [run])
        assert len(site.calls) == 3
        await until(lambda: site.is_quiet, "every slot is given back")


async def test_a_tick_fires_once(database: PostgresDatabase, proxy: Proxy, cut: Cut) -> None:
    site = Site(store_at(proxy.url))
    async with running(site):
        await site.start(function_of(triggers=()))
        database.execute("insert into schedule values (?, '0 0 1 1 *', ?)", "id-of-app-f", T0)
        proxy.cut_at_commit(cut, lambda sql: "update schedule" in sql)
        await site.engine._scheduler.reload_schedules()

        async def has_one_run() -> bool:
            return [run.status for run in await site.store.list_runs(RunFilter(DEV))] == [RunStatus.COMPLETED]

        await eventually(has_one_run, "the tick's run has completed")
        assert proxy.was_cut.is_set()
        [(next_at,)] = database.query("select next_at from schedule")
        assert next_at > T0


async def test_a_beat_whose_answer_is_lost_does_no_harm(proxy: Proxy, cut: Cut) -> None:
    site = Site(store_at(proxy.url))
    async with running(site):
        await site.start()
        proxy.cut_at_commit(cut, beats)

        await asyncio.wait_for(proxy.was_cut.wait(), 5)
        await until(lambda: site.store.outage is not None, "it is noticed")
        await until(lambda: site.engine.unready() is None, "the next beat goes through")
        run = await site.send_one()

        await site.ended(run)
        await account(site, [run])


async def test_who_waits_for_a_commit_is_told_that_its_outcome_is_not_known(
    database: PostgresDatabase, proxy: Proxy, cut: Cut
) -> None:
    store = store_at(proxy.url)
    await store.start(now=T0)
    try:
        proxy.cut_at_commit(cut, lambda sql: "insert into setting" in sql)

        with pytest.raises(StoreUnavailable, match="PostgreSQL can't be used now"):
            await store.submit(SettingRequest("key", "value"))

        assert database.query("select value from setting") == ([("value",)] if cut == "after" else [])
    finally:
        await store.stop()
