"""The primary is one no more: the store finds the new one, and what was acknowledged is there if it was replicated."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import asyncpg
import pytest
from structlog.testing import capture_logs

from stepwell.errors import StoreUnavailable
from stepwell.protocol.ids import RunId
from stepwell.store.postgres_link import Hosts
from stepwell.store.request import SettingRequest
from tests.outages.proxy import Proxy, proxied
from tests.outages.site import QUICK, Site, account, lines, running, store_at, until
from tests.outages.standby import REPLICATING, Standby
from tests.postgres import Postgres
from tests.store.database import PostgresDatabase, migrated
from tests.unit.engine.making import T0


def joined(*urls: str) -> str:
    """Return the URL of several hosts for the same database."""
    first = urlsplit(urls[0])
    user, _, _ = first.netloc.rpartition("@")
    places = ",".join(urlsplit(url).netloc.rpartition("@")[2] for url in urls)
    return f"postgresql://{user}@{places}{first.path}"


# -- a primary that takes no more writes --------------------------------------------------------------------------------


async def test_a_database_that_became_read_only_is_an_outage_until_it_is_writable(
    breakable: Postgres, url: str
) -> None:
    site = Site(store_at(url))
    async with running(site):
        await site.start()
        with capture_logs() as logs:
            await asyncio.to_thread(breakable.configure, default_transaction_read_only="on")
            try:
                await until(lambda: site.engine.unready() is not None, "the outage is noticed")
                with pytest.raises(StoreUnavailable, match="PostgreSQL can't be used now"):
                    await site.store.submit(SettingRequest("key", "value"))
            finally:
                await asyncio.to_thread(breakable.configure, default_transaction_read_only="off")
            await until(lambda: site.engine.unready() is None, "the end is noticed")
            run = await site.send_one()
            await site.ended(run)

        await account(site, [run])
        assert len(lines(logs, "database.unavailable")) == len(lines(logs, "database.available")) == 1


async def test_connections_to_what_became_read_only_are_made_anew(
    breakable: Postgres, database: PostgresDatabase
) -> None:
    """They may lead to a primary of yesterday: who only reads there, or listens, would never be told."""
    store = store_at(database.url)
    await store.start(now=T0)

    def sessions() -> set[str]:
        return set(breakable.psql("select pid from pg_stat_activity where application_name = 'stepwell'"))

    async def use_all() -> None:
        await store.submit(SettingRequest("key", "value"))
        await store.load_setting("key")
        await store.add_environment("other", now=T0)  # pyright: ignore[reportArgumentType]

    try:
        await use_all()
        await until(lambda: store.is_heard, "it listens")
        before = await asyncio.to_thread(sessions)
        await asyncio.to_thread(breakable.configure, default_transaction_read_only="on")
        with pytest.raises(StoreUnavailable, match="read-only"):
            await store.submit(SettingRequest("key", "value"))
        await asyncio.to_thread(breakable.configure, default_transaction_read_only="off")

        await use_all()
        await until(lambda: store.is_heard, "it listens again")

        assert before.isdisjoint(await asyncio.to_thread(sessions))
        assert store.outage is None
    finally:
        await store.stop()
        await asyncio.to_thread(breakable.configure, default_transaction_read_only="off")


# -- several hosts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["refuses", "is silent"])
async def test_a_first_host_that_is_gone_keeps_nobody_from_the_second(url: str, proxy: Proxy, fault: str) -> None:
    proxy.is_refusing, proxy.is_silent = fault == "refuses", fault == "is silent"
    store = store_at(joined(proxy.url, url))

    await store.start(now=T0)
    try:
        await store.submit(SettingRequest("key", "value"))

        assert await store.load_setting("key") == "value"
    finally:
        await store.stop()


@pytest.mark.parametrize("fault", ["cut", "is silent"])
async def test_a_replica_goes_on_at_whichever_host_is_there(url: str, proxy: Proxy, fault: str) -> None:
    async with proxied(url) as other:
        site = Site(store_at(joined(proxy.url, other.url), patience=QUICK._replace(connect_s=0.4)))
        async with running(site):
            await site.start()
            for gone, there in ((proxy, other), (other, proxy)):
                there.is_refusing = there.is_silent = False
                gone.is_refusing, gone.is_silent = fault == "cut", fault == "is silent"
                if fault == "cut":
                    gone.cut()
                opened = there.opened
                run = await site.send_one(opened)

                await site.ended(run)
                await account(site, [run])
                assert there.opened > opened
                await until(lambda: site.engine.unready() is None, "it is ready")


async def test_the_host_that_answered_last_is_asked_first(url: str, proxy: Proxy) -> None:
    proxy.is_silent = True
    hosts = Hosts(joined(proxy.url, url))
    first = await hosts.connect(timeout=0.3)
    opened = proxy.opened

    second = await hosts.connect(timeout=0.3)

    assert proxy.opened == opened == 1
    for connection in (first, second):
        await connection.close(timeout=1)


async def test_of_the_hosts_faults_the_most_telling_is_said(breakable: Postgres, url: str) -> None:
    """That a standby is none but a standby says less than that the primary knows another password."""
    wrong = url.replace(str(urlsplit(url).password), "wrong")
    hosts = Hosts(wrong)
    with pytest.raises(asyncpg.InvalidPasswordError):
        await hosts.connect(timeout=1, target_session_attrs="standby")
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await Hosts(url).connect(timeout=1, target_session_attrs="standby")


# -- a real one -----------------------------------------------------------------------------------------------------


async def test_after_a_fail_over_to_a_synchronous_standby_nothing_is_lost() -> None:
    with Postgres(settings=REPLICATING) as primary:
        database = await asyncio.to_thread(lambda: PostgresDatabase(primary, migrated(primary)))
        with await asyncio.to_thread(Standby, primary) as standby:
            await asyncio.to_thread(primary.configure, synchronous_standby_names="*")
            site = Site(store_at(joined(database.url, standby.url_of(database.url))))
            accepted: list[RunId] = []
            is_over = asyncio.Event()

            async def send() -> None:
                for number in range(10_000):
                    if is_over.is_set():
                        return
                    accepted.append(await site.send_one(number))

            async with running(site):
                await site.start()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(send())
                    await until(lambda: len(accepted) >= 10, "some events are accepted")
                    await asyncio.to_thread(primary.kill)
                    await asyncio.to_thread(standby.promote)
                    before = len(accepted)
                    await until(lambda: len(accepted) >= before + 10, "more are accepted")
                    is_over.set()

                await site.ended(*accepted)
                await account(site, accepted)
                await until(lambda: site.engine.unready() is None, "it is ready")


async def test_a_commit_that_no_synchronous_standby_has_is_not_acknowledged(breakable: Postgres, url: str) -> None:
    """It is visible already, but would be gone with the primary."""
    store = store_at(url)
    await store.start(now=T0)
    try:
        await store.submit(SettingRequest("key", "before"))
        await asyncio.to_thread(breakable.configure, synchronous_standby_names="nobody")
        with pytest.raises(StoreUnavailable, match="no answer in time"):
            await store.submit(SettingRequest("key", "after"))
        assert store.outage is not None
        await asyncio.to_thread(breakable.configure, synchronous_standby_names="")

        await store.submit(SettingRequest("key", "again"))

        assert await store.load_setting("key") == "again"
        assert store.outage is None
    finally:
        await store.stop()
        await asyncio.to_thread(breakable.configure, synchronous_standby_names="")
