"""The migration runner on both databases: forward only, each file once, and never a file that was changed afterwards."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest

from stepwell.errors import StoreError
from stepwell.store.migrate import (
    Kind,
    Migration,
    Record,
    Shown,
    Standing,
    load_migrations,
    refuse_pending,
    refuse_unmigrated,
    shown,
)
from tests.migrations.database import Database, SQLiteDatabase

NOW = 1_767_225_600_000


def migration(number: int, what: str, *statements: str, marker: str = "expand") -> Migration:
    return Migration(number, f"{number:04}_{what}.sql", "\n".join((f"-- stepwell: {marker}", *statements, "")))


ONE = migration(1, "one", "create table one (id integer);", "create table also (id integer);")
TWO = migration(2, "two", "alter table one add column name text;", "insert into one (id)", "values (2);")
BROKEN = migration(3, "broken", "insert into one (id) values (3);", "insert into nowhere values (1);")
FEWER = migration(3, "fewer", "alter table one drop column name;", marker="contract")


# -- the files --------------------------------------------------------------------------------------------------


def test_the_files_are_numbered_without_gaps_and_alike_on_both_databases() -> None:
    sqlite, postgres = load_migrations("sqlite"), load_migrations("postgres")

    assert [migration.number for migration in sqlite] == list(range(1, len(sqlite) + 1))
    assert [(migration.name, migration.kind) for migration in sqlite] == [
        (migration.name, migration.kind) for migration in postgres
    ]
    assert all(migration.has_transaction for migration in sqlite)


@pytest.mark.parametrize(
    ("first", "kind", "has_transaction"),
    [
        ("-- stepwell: expand", Kind.EXPAND, True),
        ("-- stepwell: contract", Kind.CONTRACT, True),
        ("-- stepwell: expand, no-transaction", Kind.EXPAND, False),
    ],
)
def test_the_first_line_says_what_a_file_is(first: str, kind: Kind, has_transaction: bool) -> None:
    found = Migration(1, "0001_x.sql", f"{first}\nselect 1;\n")

    assert (found.kind, found.has_transaction) == (kind, has_transaction)


@pytest.mark.parametrize("first", ["", "-- The schema.", "-- stepwell: no-transaction", "-- stepwell: expand contract"])
def test_a_file_that_does_not_say_it_is_found_out(first: str) -> None:
    with pytest.raises(AssertionError, match=r"0001_x.sql must say in its first line"):
        _ = Migration(1, "0001_x.sql", f"{first}\nselect 1;\n").kind


# -- running them -----------------------------------------------------------------------------------------------


async def test_a_new_database_gets_every_migration_once(database: Database) -> None:
    migrations = load_migrations(database.dialect)
    names = [migration.name for migration in migrations]

    assert await database.migrate(*migrations, now=NOW) == names
    assert await database.migrate(*migrations, now=NOW + 1) == []
    assert await database.query("select name, kind, migrated_at from schema_migration order by number") == [
        (migration.name, migration.kind, NOW) for migration in migrations
    ]


async def test_only_what_is_new_is_run(database: Database) -> None:
    assert await database.migrate(ONE, now=NOW) == [ONE.name]

    assert await database.migrate(ONE, TWO, now=NOW) == [TWO.name]
    assert await database.query("select id, name from one") == [(2, None)]


async def test_one_by_one_is_the_same_as_all_at_once(database: Database) -> None:
    await database.migrate(ONE, TWO, FEWER, now=NOW)
    at_once = await database.schema()
    for table in ("one", "also", "schema_migration"):
        await database.query(f"drop table {table}")

    for count in (1, 2, 3):
        await database.migrate(*(ONE, TWO, FEWER)[:count], now=NOW)

    assert await database.schema() == at_once


async def test_an_edited_file_is_refused(database: Database) -> None:
    await database.migrate(ONE, now=NOW)
    edited = ONE._replace(text=ONE.text + " ")

    with pytest.raises(StoreError, match=r"0001_one.sql was changed"):
        await database.migrate(edited, TWO, now=NOW)
    assert await database.query("select number from schema_migration") == [(1,)]


async def test_a_migration_that_fails_leaves_nothing_behind(database: Database) -> None:
    with pytest.raises(StoreError, match=r"0003_broken.sql failed, nothing of it was kept: .*nowhere"):
        await database.migrate(ONE, TWO, BROKEN, now=NOW)

    assert await database.query("select id from one") == [(2,)]
    assert await database.query("select number from schema_migration order by number") == [(1,), (2,)]
    assert await database.migrate(ONE, TWO, now=NOW) == []


async def test_the_first_migration_that_fails_leaves_nothing_at_all(database: Database) -> None:
    with pytest.raises(StoreError, match=r"0003_broken.sql failed"):
        await database.migrate(BROKEN, now=NOW)

    assert await database.schema() == []


async def test_ten_that_start_together_migrate_once(database: Database) -> None:
    names = await database.migrate_many(10, ONE, TWO, now=NOW)

    assert sorted(name for done in names for name in done) == [ONE.name, TWO.name]
    assert await database.query("select id from one") == [(2,)]


# -- older code on a newer database -----------------------------------------------------------------------------


async def test_older_code_works_on_with_what_was_added(database: Database) -> None:
    await database.migrate(ONE, TWO, now=NOW)

    assert await database.migrate(ONE, now=NOW) == []


async def test_older_code_refuses_what_was_taken_away(database: Database) -> None:
    await database.migrate(ONE, TWO, FEWER, now=NOW)
    before = await database.schema()

    with pytest.raises(StoreError, match=r"a newer Stepwell .*0003_fewer.sql.*upgrade Stepwell"):
        await database.migrate(ONE, TWO, now=NOW)
    assert await database.schema() == before


async def test_what_is_done_pending_and_unknown_is_shown(database: Database) -> None:
    [own] = load_migrations(database.dialect)
    assert await database.show() == [Shown(1, own.name, Kind.EXPAND, Standing.PENDING, None)]

    await database.migrate(own, migration(2, "newer", marker="contract"), now=NOW)

    assert await database.show() == [
        Shown(1, own.name, Kind.EXPAND, Standing.DONE, NOW),
        Shown(2, "0002_newer.sql", Kind.CONTRACT, Standing.UNKNOWN, NOW),
    ]


def test_an_edited_file_is_shown_as_such() -> None:
    record = Record(1, ONE.name, "another", Kind.EXPAND, NOW)

    assert shown([ONE, TWO], [record]) == [
        Shown(1, ONE.name, Kind.EXPAND, Standing.CHANGED, NOW),
        Shown(2, TWO.name, Kind.EXPAND, Standing.PENDING, None),
    ]


def test_a_server_that_must_not_migrate_says_who_does() -> None:
    refuse_pending([ONE], [ONE.record(NOW), TWO.record(NOW)])

    with pytest.raises(StoreError, match=re.escape("0001_one.sql, 0002_two.sql")) as refused:
        refuse_pending([ONE, TWO], [])
    assert "stepwell migrate run" in str(refused.value)
    with pytest.raises(StoreError, match="newer Stepwell"):
        refuse_pending([ONE], [ONE.record(NOW), FEWER.record(NOW)])


async def test_a_server_that_must_not_migrate_refuses_a_new_file(tmp_path: Path) -> None:
    with closing(SQLiteDatabase(tmp_path / "db")) as database:
        with pytest.raises(StoreError, match=r"0001_initial.sql"):
            refuse_unmigrated(database.db)
        assert await database.schema() == []

        await database.migrate(*load_migrations("sqlite"), now=NOW)

        refuse_unmigrated(database.db)
