"""Through a proxy that hands out connections by the transaction (``--db-pooled``) all is as without one.

The contract of the store is run through it where statements and transactions matter most. The proxy's connections have
settings that nobody would want, and those of one transaction are none of the next one's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import StoreUnavailable
from stepwell.protocol.ids import ReplicaId
from stepwell.store.interface import Store
from stepwell.store.postgres import PostgresStore
from stepwell.store.request import ReapRequest, SettingRequest
from tests.outages.pooler import bouncing, pooled
from tests.outages.site import Site, account, running, store_at, until
from tests.postgres import Postgres
from tests.store import test_commit, test_ingest, test_queue
from tests.store.conftest import store, worker
from tests.store.database import PostgresDatabase, migrated
from tests.unit.engine.making import T0, event_of

__all__ = ["store", "worker"]  # fixtures of the contract
for module in (test_commit, test_ingest, test_queue):
    for name, member in vars(module).items():
        if name.startswith("test_"):
            globals()[f"test_contract_{name.removeprefix('test_')}"] = member


class PooledDatabase(PostgresDatabase):
    """PostgreSQL behind a proxy."""

    def __init__(self, server: Postgres) -> None:
        super().__init__(server, migrated(server))
        self._stack = AsyncExitStack()
        self._pooled_url: str | None = None

    async def open(self, replica: str = "replica-1") -> Store:
        if self._pooled_url is None:
            self._pooled_url = await self._stack.enter_async_context(pooled(self.url))
        made = PostgresStore(self._pooled_url, ReplicaId(replica), is_migrating=False, is_pooled=True)
        self._open.append(made)
        await made.start(now=T0)
        await made.submit(ReapRequest(-(1 << 60), T0))
        return made

    async def close(self) -> None:
        for made in self._open:
            await made.stop()
        self._open.clear()
        await self._stack.aclose()
        await super().close()


@pytest.fixture
async def database(breakable: Postgres) -> AsyncGenerator[PooledDatabase]:
    made = PooledDatabase(breakable)
    yield made
    await made.close()


@pytest.fixture(params=["ours", "pgbouncer"])
async def pooled_url(request: pytest.FixtureRequest, breakable: Postgres) -> AsyncGenerator[tuple[str, str]]:
    """A migrated database's address at a proxy, and its own."""
    with breakable.database(template=migrated(breakable)) as direct:
        if request.param == "ours":
            async with pooled(direct) as url:
                yield url, direct
        else:
            with bouncing(direct) as url:
                yield url, direct


async def test_an_engine_works_through_a_proxy(pooled_url: tuple[str, str]) -> None:
    url, direct = pooled_url
    site = Site(store_at(url, is_pooled=True, listen_url=direct))
    async with running(site):
        await site.start()
        await until(lambda: site.store.is_heard, "it listens, past the proxy")
        accepted = await asyncio.gather(*(site.send_one(number) for number in range(30)))
        later = await site.engine.ingest([event_of(99, ts=site.engine.clock.now() + 200)])
        accepted.append(later.intakes[0].runs[0].id)

        await site.ended(*accepted)

        await account(site, accepted)
        assert site.engine.unready() is None


async def test_replicas_that_nobody_notifies_look_by_themselves(pooled_url: tuple[str, str]) -> None:
    """One has more work than calls that it may make, and leaves the rest in the queue: the other one finds it."""
    url, _ = pooled_url
    full = Site(store_at(url, "replica-1", is_pooled=True), calls_per_app_max=1)
    other = Site(store_at(url, "replica-2", is_pooled=True))
    is_over = asyncio.Event()

    async def wait(call: OutgoingCall) -> Reply:
        await is_over.wait()
        return await other.answer(call)

    full.answer = wait
    async with running(full, other):
        await full.start()
        await other.start()
        assert not other.store.is_heard
        accepted = [await full.send_one(number) for number in range(3)]

        await other.ended(*accepted[1:])
        is_over.set()
        await full.ended(accepted[0])

        await account(full, accepted)


async def test_a_database_is_migrated_through_a_proxy(breakable: Postgres) -> None:
    schema = "s" * 63
    with breakable.database() as direct:
        async with pooled(direct) as url:
            made = PostgresStore(url, ReplicaId("replica-1"), is_pooled=True, schema=schema)
            await made.start(now=T0)
            try:
                await made.submit(SettingRequest("key", "value"))
                assert await made.load_setting("key") == "value"
            finally:
                await made.stop()
        assert breakable.psql(f"select value from {schema}.setting", direct) == ["value"]


async def test_a_proxy_that_restarts_is_an_outage_and_no_more(breakable: Postgres) -> None:
    with breakable.database(template=migrated(breakable)) as direct:
        async with pooled(direct) as url:
            made = store_at(url, is_pooled=True)
            await made.start(now=T0)
            await made.submit(SettingRequest("key", "value"))
        try:
            with pytest.raises(StoreUnavailable):
                await made.submit(SettingRequest("key", "value"))
        finally:
            await made.stop()


async def test_the_proxy_of_these_tests_keeps_nothing_of_a_session_for_anybody(pooled_url: tuple[str, str]) -> None:
    """Else the tests above would show nothing."""
    url, _ = pooled_url
    first, second = [await asyncpg.connect(url, statement_cache_size=0) for _ in range(2)]
    try:
        statement = await first.prepare("select 1", name="mine")
        await statement.fetch()
        async with second.transaction(), first.transaction():
            with pytest.raises(asyncpg.InvalidSQLStatementNameError):
                await statement.fetch()
    finally:
        first.terminate()
        second.terminate()
