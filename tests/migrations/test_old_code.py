"""Old code on the new schema: a part of the store's contract, after a migration that this code doesn't know.

It stands for the next release's migrations, which come while replicas of this release still run.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from stepwell.store.migrate import Migration, load_migrations, migrate
from stepwell.store.migrate_postgres import connected, migrate_postgres
from tests.postgres import Installation, Postgres
from tests.store.conftest import DATABASES, store, worker
from tests.store.database import Database, PostgresDatabase, SQLiteDatabase, migrated

# Pytest finds what this module names: these run here once more, on the database below.
from tests.store.test_commit import *  # noqa: F403
from tests.store.test_ingest import *  # noqa: F403
from tests.unit.engine.making import T0

__all__ = ["store", "worker"]

NEXT = """-- stepwell: expand
alter table run add column priority integer default 0;
alter table event add column source text;
alter table job add column region text not null default 'anywhere';
create index run_priority on run (priority, id);
create index job_region on job (region, due_at) where owner is null;
create table label (run_id text not null, name text not null, primary key (run_id, name));
"""


@pytest.fixture(params=DATABASES[:2])  # one version of each
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_of: Callable[[Installation], Postgres]
) -> AsyncIterator[Database]:
    installation: Installation | None = request.param
    dialect = "sqlite" if installation is None else "postgres"
    known = load_migrations(dialect)
    newer = [*known, Migration(len(known) + 1, "9999_next.sql", NEXT)]
    if installation is None:
        sqlite = SQLiteDatabase(tmp_path)
        with closing(sqlite3.connect(sqlite.path, isolation_level=None)) as db:
            migrate(db, now=T0, migrations=newer)
        database: Database = sqlite
    else:
        server = postgres_of(installation)
        postgres = PostgresDatabase(server, migrated(server))
        async with connected(postgres.url) as connection:
            await migrate_postgres(connection, schema="stepwell", now=T0, migrations=newer)
        database = postgres
    yield database
    await database.close()


def test_the_next_schema_is_there(database: Database) -> None:
    assert database.query("select count(*) from label") == [(0,)]
    assert ("9999_next.sql",) in database.query("select name from schema_migration")
