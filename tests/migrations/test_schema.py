"""Both databases have the same schema, and it checks itself."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import asyncpg
import pytest

from stepwell.store.migrate import load_migrations
from tests.migrations.database import Database, PostgresDatabase, SQLiteDatabase

NOW = 1_767_225_600_000
INTEGERS = ("bigint", "integer", "smallint")
EMPTY = {"sqlite": "x''", "postgres": "''::bytea"}
TYPES = {"text": ("text",), "blob": ("bytea",), "integer": INTEGERS}


@pytest.fixture
async def database(database: Database) -> Database:
    await database.migrate(*load_migrations(database.dialect), now=NOW)
    return database


@pytest.fixture
async def postgres_database(postgres_database: PostgresDatabase) -> PostgresDatabase:
    await postgres_database.migrate(*load_migrations("postgres"), now=NOW)
    return postgres_database


async def test_both_databases_have_the_same_tables_and_columns(
    tmp_path: Path, postgres_database: PostgresDatabase
) -> None:
    sqlite_database = SQLiteDatabase(tmp_path / "db")
    await sqlite_database.migrate(*load_migrations("sqlite"), now=NOW)
    sqlite, postgres = await sqlite_database.columns(), await postgres_database.columns()
    sqlite_database.close()

    assert set(sqlite) == set(postgres)
    for table, columns in sqlite.items():
        assert list(columns) == list(postgres[table]), table
        for name, declared in columns.items():
            kind, *required = postgres[table][name].split(" ", 1)
            assert kind in TYPES[declared.split(" ")[0]], f"{table}.{name}"
            assert required == declared.split(" ", 1)[1:], f"{table}.{name}"


async def test_each_type_on_postgresql_is_what_its_meaning_asks_for(postgres_database: PostgresDatabase) -> None:
    for table, columns in (await postgres_database.columns()).items():
        for name, declared in columns.items():
            if name.endswith("_at") or name == "ts":
                assert declared.startswith("bigint"), f"{table}.{name}"
            elif name.startswith("is_"):
                assert declared.startswith("smallint"), f"{table}.{name}"
    assert await postgres_database.query(
        "select relname, attname from pg_attribute join pg_class on pg_class.oid = attrelid"
        " where relnamespace = 'stepwell'::regnamespace and relkind = 'r' and relname <> 'schema_migration'"
        " and atttypid = 'text'::regtype and attcollation <> '\"C\"'::regcollation"
    ) == []  # fmt: skip


def test_the_first_schemas_differ_in_types_and_storage_only() -> None:
    [sqlite, *_], [postgres, *_] = load_migrations("sqlite"), load_migrations("postgres")
    theirs = postgres.text.replace('text collate "C"', "text").replace("bytea", "blob")
    theirs = re.sub(r"\b(?:bigint|smallint)\b", "integer", theirs)
    theirs = re.sub(r"\) with \([^;]*\);", ");", theirs)
    theirs = re.sub(r"create function [^;]*;", "", theirs)  # what SQLite has by itself
    ours = re.sub(r"\) strict(?:, without rowid)?;", ");", sqlite.text)

    def words(text: str) -> list[str]:
        return re.sub(r"--.*", "", text).split()

    assert words(theirs) == words(ours)


@pytest.mark.parametrize(
    ("status", "ended_at", "output"),
    [
        ("completed", "null", "{}"),
        ("completed", "1", "null"),
        ("queued", "1", "null"),
        ("queued", "null", "{}"),
        ("unheard of", "null", "null"),
        ("skipped", "1", "{}"),
    ],
)
async def test_the_schema_checks_itself(database: Database, status: str, ended_at: str, output: str) -> None:
    output = output.format(EMPTY[database.dialect])

    def insert(status: str, ended_at: str, output: str) -> str:
        return (
            "insert into run values ('01R00000000000000000000001','dev','f',1,'e',"
            f"'{status}',0,-1,0,1,null,{ended_at},{output},null,null,'f',null,null,0)"
        )

    with pytest.raises((sqlite3.IntegrityError, asyncpg.CheckViolationError)):
        await database.query(insert(status, ended_at, output))
    await database.query(insert("completed", "1", EMPTY[database.dialect]))
