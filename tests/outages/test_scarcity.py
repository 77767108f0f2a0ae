"""What PostgreSQL hasn't got for now: time for a statement, a lock, an answer at all, a connection."""

from __future__ import annotations

import asyncio
import time

import asyncpg
import pytest
from structlog.testing import capture_logs

from stepwell.errors import StoreError, StoreUnavailable
from stepwell.store import group_commit
from stepwell.store.postgres_link import Patience, is_outage
from stepwell.store.request import SettingRequest
from tests.outages.proxy import Proxy
from tests.outages.site import QUICK, Site, account, eventually, lines, running, store_at, until
from tests.postgres import Postgres
from tests.unit.engine.making import T0

# -- locks ----------------------------------------------------------------------------------------------------------


async def test_a_lock_that_another_session_holds_is_an_outage_while_beats_go_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(store_at(url, patience=QUICK._replace(statement_s=0.5)))
    holder = await asyncpg.connect(url)
    async with running(site):
        await site.start()
        with capture_logs() as logs:
            lock = holder.transaction()
            await lock.start()
            await holder.execute("lock table stepwell.run in exclusive mode")

            sending = asyncio.create_task(site.send_one())
            await until(lambda: site.store.outage is not None, "the outage is noticed")
            assert "canceling statement due to statement timeout" in str(site.engine.unready())
            beaten_at = site.engine._membership._beaten_at
            await until(lambda: site.engine._membership._beaten_at > beaten_at + 0.5, "beats go through")
            assert site.engine._membership.may_call
            assert site.store.outage is not None  # a beat that goes through doesn't end it

            await lock.rollback()
            run = await sending
            await site.ended(run)
            assert site.engine.unready() is None

        await account(site, [run])
        assert len(lines(logs, "database.unavailable")) == len(lines(logs, "database.available")) == 1
    await holder.close()


async def test_an_outage_that_nobody_tries_any_more_is_ended_by_a_beat(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that says it isn't ready is sent nothing: it must find out by itself."""
    monkeypatch.setattr(group_commit, "_QUIET_S", 0.5)
    site = Site(store_at(url, patience=QUICK._replace(statement_s=0.2)))
    holder = await asyncpg.connect(url)
    async with running(site):
        await site.start()
        async with holder.transaction():
            await holder.execute("lock table stepwell.setting in exclusive mode")
            with pytest.raises(StoreUnavailable, match="statement timeout"):
                await site.store.submit(SettingRequest("key", "value"))
            assert site.engine.unready() is not None

        await until(lambda: site.engine.unready() is None, "it is ready")
    await holder.close()


async def test_two_that_lock_each_other_out_both_go_through(breakable: Postgres, url: str) -> None:
    """The one that PostgreSQL breaks off is tried again."""
    store = store_at(url, patience=Patience(statement_s=5))
    await store.start(now=T0)
    other = await asyncpg.connect(breakable.admin_url(url), server_settings={"search_path": "stepwell"})
    try:
        for key in ("a", "b"):
            await store.submit(SettingRequest(key, "before"))
        async with other.transaction():
            await other.execute("set local deadlock_timeout = '10s'")  # so that the store is the one to give way
            await other.execute("update setting set value = 'other' where key = 'b'")
            both = [store.submit(SettingRequest(key, "ours")) for key in ("a", "b")]

            async def is_waiting() -> bool:
                return await other.fetchval("select count(*) from pg_locks where not granted") > 0

            await eventually(is_waiting, "the store waits for the other")
            await other.execute("update setting set value = 'other' where key = 'a'")
        await asyncio.gather(*both)

        assert [await store.load_setting(key) for key in ("a", "b")] == ["ours", "ours"]
        assert store.outage is None
    finally:
        await other.close()
        await store.stop()


async def test_a_migration_of_another_replica_makes_no_statement_fail(breakable: Postgres, url: str) -> None:
    """A statement that was prepared before a column changed is refused by PostgreSQL, once."""
    store = store_at(url)
    await store.start(now=T0)
    try:
        await store.submit(SettingRequest("key", "value"))
        assert await store.load_setting("key") == "value"
        await asyncio.to_thread(breakable.psql, "alter table stepwell.setting alter value type varchar(9)", url)

        assert await store.load_setting("key") == "value"
        await store.submit(SettingRequest("key", "another"))
        assert store.outage is None
    finally:
        await store.stop()


# -- a server that doesn't answer ---------------------------------------------------------------------------------------


async def test_a_server_that_stands_still_holds_up_nobody_for_long(breakable: Postgres, url: str) -> None:
    site = Site(store_at(url, patience=Patience(connect_s=0.3, statement_s=0.3)))
    async with running(site):
        await site.start()
        await site.store.load_setting("key")
        await asyncio.to_thread(breakable.pause)
        try:
            before = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await site.store.submit(SettingRequest("key", "value"))
            with pytest.raises(StoreUnavailable):
                await site.store.load_setting("key")
            assert time.monotonic() - before < 5
            await until(lambda: not site.engine._membership.may_call, "it calls nobody any more")
            assert site.engine.unready() is not None
        finally:
            await asyncio.to_thread(breakable.resume)

        await until(lambda: site.engine.unready() is None, "it is ready again")
        run = await site.send_one()
        await site.ended(run)
        await account(site, [run])
        await until(lambda: site.store.is_heard, "it listens again")


async def test_many_who_ask_a_silent_server_wait_no_longer_than_one(url: str, proxy: Proxy) -> None:
    store = store_at(proxy.url, patience=Patience(connect_s=0.3, statement_s=0.3))
    await store.start(now=T0)
    try:
        await store.load_setting("key")
        proxy.is_silent = True
        before = time.monotonic()

        found = await asyncio.gather(*(store.load_setting("key") for _ in range(50)), return_exceptions=True)

        assert all(isinstance(one, StoreUnavailable) for one in found)
        assert time.monotonic() - before < 3
        proxy.is_silent = False

        async def answers() -> bool:
            try:
                return await store.load_setting("key") is None
            except StoreUnavailable:
                return False

        await eventually(answers, "it answers again")
    finally:
        await store.stop()


async def test_a_store_is_closed_soon_though_the_server_stands_still(
    breakable: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_STOP_S", 0.2)
    store = store_at(url, patience=Patience(connect_s=0.2, statement_s=30))
    await store.start(now=T0)
    await store.submit(SettingRequest("key", "before"))
    holder = await asyncpg.connect(url)
    await holder.execute("begin; lock table stepwell.setting in exclusive mode")
    under_way = [store.submit(SettingRequest("key", str(number))) for number in range(5)]
    await until(lambda: not store._commits._waiting, "they are being written")
    waiting = [store.submit(SettingRequest("key", str(number))) for number in range(5)]
    before = time.monotonic()

    await store.stop()

    assert time.monotonic() - before < 3
    for future in (*under_way, *waiting):
        assert isinstance(future.exception(), StoreError)
    await holder.close()


# -- connections ----------------------------------------------------------------------------------------------------


async def test_when_no_more_connections_are_to_be_had_those_that_are_there_do_the_work(
    breakable: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "_REST_S", 0.1)
    store = store_at(url)
    await store.start(now=T0)
    try:
        await store.submit(SettingRequest("key", "value"))
        await store.load_setting("key")
        await until(lambda: store.is_heard, "it listens")
        [count] = await asyncio.to_thread(
            breakable.psql, "select count(*) from pg_stat_activity where usename = 'stepwell'"
        )
        await asyncio.to_thread(breakable.psql, f"alter role stepwell connection limit {count}")
        with capture_logs() as logs:
            writes = [store.submit(SettingRequest(f"key-{number}", "x")) for number in range(50)]
            for _ in range(20):
                writes.append(store.submit(SettingRequest("key", "value")))
                await asyncio.sleep(0)
            reads = [store.load_setting("key") for _ in range(20)]

            await asyncio.gather(*writes, *reads)

        assert [line for line in logs if line["log_level"] != "debug"] == []
        assert store.outage is None
    finally:
        await asyncio.to_thread(breakable.psql, "alter role stepwell connection limit -1")
        await store.stop()


async def test_when_no_connection_at_all_is_to_be_had_it_is_an_outage(
    breakable: Postgres, url: str, proxy: Proxy
) -> None:
    store = store_at(proxy.url)
    await store.start(now=T0)
    try:
        await store.submit(SettingRequest("key", "value"))
        await asyncio.to_thread(breakable.psql, "alter role stepwell connection limit 0")
        proxy.cut()
        with pytest.raises(StoreUnavailable, match="too many connections"):
            await asyncio.gather(*(store.submit(SettingRequest("key", "value")) for _ in range(10)))
        with pytest.raises(StoreUnavailable, match="too many connections"):
            await store.load_setting("key")
    finally:
        await asyncio.to_thread(breakable.psql, "alter role stepwell connection limit -1")
        await store.stop()


# -- what is whose fault ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "is_mended_by_waiting"),
    [
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.ConnectionDoesNotExistError("x"), True),
        (asyncpg.AdminShutdownError("x"), True),
        (asyncpg.CannotConnectNowError("x"), True),
        (asyncpg.QueryCanceledError("x"), True),
        (asyncpg.DiskFullError("x"), True),
        (asyncpg.OutOfMemoryError("x"), True),
        (asyncpg.PostgresIOError("x"), True),
        (asyncpg.ReadOnlySQLTransactionError("x"), True),
        (asyncpg.IdleInTransactionSessionTimeoutError("x"), True),
        (asyncpg.LockNotAvailableError("x"), True),
        (asyncpg.InvalidPasswordError("x"), True),
        (asyncpg.UndefinedTableError("x"), True),
        (asyncpg.InsufficientPrivilegeError("x"), True),
        (asyncpg.TargetServerAttributeNotMatched("x"), True),
        (asyncpg.InternalServerError("x"), True),
        (asyncpg.exceptions._base.DataError("an integer out of range"), False),
        (asyncpg.CharacterNotInRepertoireError("x"), False),
        (asyncpg.UniqueViolationError("x"), False),
        (asyncpg.CheckViolationError("x"), False),
        (asyncpg.ProgramLimitExceededError("x"), False),
        (asyncpg.DataCorruptedError("x"), False),
        (ValueError(), False),
        (AssertionError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_outage_is_what_is_mended_by_waiting(error: Exception, is_mended_by_waiting: bool) -> None:
    assert is_outage(error) is is_mended_by_waiting


@pytest.mark.parametrize("value", ["a\0b", "a\ud800b"], ids=["what the server refuses", "what the driver refuses"])
async def test_what_can_never_be_stored_fails_alone_and_is_no_outage(url: str, value: str) -> None:
    store = store_at(url)
    await store.start(now=T0)
    try:
        found = await asyncio.gather(
            *(store.submit(SettingRequest(key, text)) for key, text in (("a", "x"), ("b", value), ("c", "x"))),
            return_exceptions=True,
        )

        assert [isinstance(one, StoreError) for one in found] == [False, True, False]
        assert not isinstance(found[1], StoreUnavailable)
        assert store.outage is None
        with pytest.raises(StoreError, match="can't be read") as refused:
            await store.load_setting(value)
        assert not isinstance(refused.value, StoreUnavailable)
    finally:
        await store.stop()
