"""What only PostgreSQL asks of the runner: roles, versions, sessions, proxies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from stepwell.errors import StoreError, StoreUnavailable
from stepwell.store.migrate import Migration, load_migrations
from stepwell.store.migrate_postgres import (
    lock_key,
    migrate_postgres,
    refuse_unmigrated_postgres,
    show_postgres,
)
from tests.migrations.database import SCHEMA, PostgresDatabase
from tests.migrations.test_migrate import NOW, ONE, TWO, migration

INDEX = migration(
    3,
    "index",
    "drop index concurrently if exists one_name;",
    "create index concurrently one_name",
    "  on one (name);",
    marker="expand, no-transaction",
)


@pytest.fixture
async def database(postgres_database: PostgresDatabase) -> PostgresDatabase:
    return postgres_database


async def run(database: PostgresDatabase, connection: Any, *migrations: Migration, schema: str = SCHEMA) -> list[str]:
    return await migrate_postgres(connection, schema=schema, now=NOW, migrations=migrations)


# -- files without a transaction --------------------------------------------------------------------------------


async def test_an_index_is_built_without_a_transaction(database: PostgresDatabase) -> None:
    assert await database.migrate(ONE, TWO, INDEX, now=NOW) == [ONE.name, TWO.name, INDEX.name]

    assert await database.query("select indisvalid from pg_index where indexrelid = 'one_name'::regclass") == [(True,)]
    assert await database.migrate(ONE, TWO, INDEX, now=NOW) == []


async def test_ten_that_start_together_build_an_index_once(database: PostgresDatabase) -> None:
    names = await database.migrate_many(10, ONE, TWO, INDEX, now=NOW)

    assert sorted(name for done in names for name in done) == [ONE.name, TWO.name, INDEX.name]


async def test_who_waits_for_its_turn_is_not_waited_for_by_an_index(database: PostgresDatabase) -> None:
    """A session that waited inside a statement would hold a snapshot, which the build of the index waits for."""
    await database.migrate(ONE, TWO, now=NOW)
    first, second, writer = [await database.connect() for _ in range(3)]
    transaction = writer.transaction()
    await transaction.start()
    await writer.execute(f"insert into {SCHEMA}.one default values")

    building = asyncio.create_task(run(database, first, ONE, TWO, INDEX))
    while not await writer.fetchval("select count(*) from pg_locks where not granted"):
        assert not building.done()
    waiting = asyncio.create_task(run(database, second, ONE, TWO, INDEX))
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    await transaction.rollback()

    assert await building == [INDEX.name]
    assert await waiting == []


async def test_what_was_cut_off_without_a_transaction_is_run_again(database: PostgresDatabase) -> None:
    cut = INDEX._replace(text=INDEX.text + "select 1 / 0;\n")
    with pytest.raises(StoreError, match=r"0003_index.sql failed, a part of it may have been kept"):
        await database.migrate(ONE, TWO, cut, now=NOW)

    assert await database.migrate(ONE, TWO, INDEX, now=NOW) == [INDEX.name]
    assert await database.query("select count(*) from pg_locks where locktype = 'advisory'") == [(0,)]


async def test_a_proxy_that_shares_sessions_is_no_place_to_build_an_index(database: PostgresDatabase) -> None:
    with pytest.raises(StoreError, match=r"0003_index.sql can't be run through a .*proxy.*stepwell migrate run"):
        await migrate_postgres(
            database.connection, schema=SCHEMA, now=NOW, is_pooled=True, migrations=(ONE, TWO, INDEX)
        )

    assert await database.query("select number from schema_migration order by number") == [(1,), (2,)]


# -- sessions ---------------------------------------------------------------------------------------------------


async def test_a_transaction_leaves_the_session_as_it_was(database: PostgresDatabase) -> None:
    settings = "select current_setting('search_path'), current_setting('statement_timeout')"
    before = await database.connection.fetchrow(settings)

    await migrate_postgres(database.connection, schema=SCHEMA, now=NOW, is_pooled=True)

    assert await database.connection.fetchrow(settings) == before


async def test_settings_of_the_role_do_not_get_in_the_way(database: PostgresDatabase) -> None:
    slow = migration(1, "slow", "create table one (id integer);", "select pg_sleep(0.1);")
    connection = await database.connect(
        statement_timeout="50", search_path="nowhere", default_transaction_isolation="serializable"
    )

    assert await run(database, connection, slow) == [slow.name]


async def test_whoever_waits_sees_what_was_done_even_where_transactions_are_serializable(
    database: PostgresDatabase,
) -> None:
    connections = [await database.connect(default_transaction_isolation="serializable") for _ in range(5)]

    names = await asyncio.gather(*(run(database, connection, ONE, TWO) for connection in connections))

    assert sorted(name for done in names for name in done) == [ONE.name, TWO.name]


async def test_it_waits_while_another_migrates(database: PostgresDatabase) -> None:
    other = await database.connect()
    transaction = other.transaction()
    await transaction.start()
    await other.execute("select pg_advisory_xact_lock($1)", lock_key(SCHEMA))

    waiting = asyncio.create_task(run(database, database.connection, ONE))
    done, _ = await asyncio.wait([waiting], timeout=0.3)
    assert not done
    # It neither holds a snapshot nor stands in line: others' indexes can be built meanwhile.
    assert await other.fetchval("select count(*) from pg_locks where not granted") == 0
    await transaction.rollback()

    assert await waiting == [ONE.name]


async def test_schemas_of_one_database_are_apart(database: PostgresDatabase) -> None:
    assert await run(database, database.connection, ONE, schema="blue") == [ONE.name]
    assert await run(database, database.connection, ONE, schema='gr"een') == [ONE.name]
    assert lock_key("blue") != lock_key("green")

    assert [row[0] for row in await database.query("select schemaname from pg_tables where tablename = 'one'")] == [
        "blue",
        'gr"een',
    ]


# -- rights -----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def guest_of(database: PostgresDatabase) -> AsyncGenerator[Any]:
    """Connect as ``guest``, a role that owns nothing."""
    database.server.psql("create role guest login password 'let-me-in'")
    try:
        parts = urlsplit(database.url)
        connection = await database.connect(f"postgresql://guest:let-me-in@{parts.hostname}:{parts.port}{parts.path}")
        yield connection
        await connection.close()
    finally:
        database.server.psql("drop owned by guest cascade; drop role guest", database.url)


async def test_a_role_that_may_not_create_schemas_migrates_one_that_is_there(database: PostgresDatabase) -> None:
    async with guest_of(database) as guest:
        await database.connection.execute(f"create schema {SCHEMA}; grant usage, create on schema {SCHEMA} to guest")

        assert await migrate_postgres(guest, schema=SCHEMA, now=NOW) == [
            file.name for file in load_migrations("postgres")
        ]


async def test_a_role_that_may_create_nothing_is_told_what_it_lacks(database: PostgresDatabase) -> None:
    async with guest_of(database) as guest:
        with pytest.raises(StoreError, match=r"lacks a right: permission denied for database .*stepwell migrate run"):
            await run(database, guest, ONE)

        await database.connection.execute(f"create schema {SCHEMA}")
        with pytest.raises(StoreError, match="lacks a right: permission denied for schema stepwell"):
            await run(database, guest, ONE)

        await database.connection.execute(f"grant usage, create on schema {SCHEMA} to guest")
        await run(database, guest, ONE)
        await database.connection.execute(f"revoke create on schema {SCHEMA} from guest")
        with pytest.raises(StoreError, match="lacks a right: permission denied for schema stepwell"):
            await run(database, guest, ONE, migration(2, "more", "create table more (id integer);"))
        assert await run(database, guest, ONE) == []


async def test_a_role_that_may_only_read_sees_what_there_is(database: PostgresDatabase) -> None:
    await database.migrate(*load_migrations("postgres"), now=NOW)
    async with guest_of(database) as guest:
        with pytest.raises(StoreError, match="lacks a right"):
            await show_postgres(guest, schema=SCHEMA)
        await database.connection.execute(f"grant usage on schema {SCHEMA} to guest")
        await database.connection.execute(f"grant select on {SCHEMA}.schema_migration to guest")

        assert await show_postgres(guest, schema=SCHEMA) == await database.show()
        await refuse_unmigrated_postgres(guest, schema=SCHEMA)


# -- servers ----------------------------------------------------------------------------------------------------


async def test_an_old_server_is_refused_in_one_line() -> None:
    class Old:
        def get_server_version(self) -> Any:
            return SimpleNamespace(major=14, minor=9)

    with pytest.raises(StoreError, match=r"^PostgreSQL 15 or later is needed; this one is 14.9$"):
        await migrate_postgres(cast("Any", Old()), schema=SCHEMA, now=NOW)


async def test_a_server_that_must_not_migrate_refuses_what_is_pending(database: PostgresDatabase) -> None:
    with pytest.raises(StoreError, match=r"0001_initial.sql .*stepwell migrate run"):
        await refuse_unmigrated_postgres(database.connection, schema=SCHEMA)
    assert await database.schema() == []

    await database.migrate(*load_migrations("postgres"), now=NOW)

    await refuse_unmigrated_postgres(database.connection, schema=SCHEMA)


async def test_a_standby_and_a_lost_connection_may_get_better(database: PostgresDatabase) -> None:
    standby = await database.connect(default_transaction_read_only="on")
    with pytest.raises(StoreUnavailable, match=r"can't be migrated now: .*read-only"):
        await run(database, standby, ONE)

    await standby.close()
    with pytest.raises(StoreUnavailable, match="connection is closed"):
        await run(database, standby, ONE)


async def test_a_server_that_dies_in_the_middle_is_no_fault_of_the_migration(database: PostgresDatabase) -> None:
    suicidal = migration(
        1, "suicidal", "create table one (id integer);", "select pg_terminate_backend(pg_backend_pid());"
    )
    connection = await database.connect()

    with pytest.raises(StoreUnavailable, match="terminating connection"):
        await run(database, connection, suicidal)
    assert await run(database, database.connection, ONE) == [ONE.name]


async def test_a_table_that_others_hold_is_given_up_on(
    database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else whoever comes after the migration would wait as long as it does."""
    monkeypatch.setattr("stepwell.store.migrate_postgres._LOCK_WAIT", "50ms")
    await database.migrate(ONE, now=NOW)
    other = await database.connect()
    async with other.transaction():
        await other.execute(f"lock table {SCHEMA}.one in access share mode")

        with pytest.raises(StoreError, match=r"0002_two.sql failed, nothing of it was kept: .*lock timeout"):
            await database.migrate(ONE, TWO, now=NOW)

    assert await database.migrate(ONE, TWO, now=NOW) == [TWO.name]
