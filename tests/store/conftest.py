"""The contract runs on each database: SQLite, and PostgreSQL in the newest version and the oldest that is here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from stepwell.store.interface import Store
from tests.postgres import Installation, Postgres, installations
from tests.store.database import Database, PostgresDatabase, SQLiteDatabase, Worker, migrated
from tests.unit.engine.making import function_of

DATABASES = [
    pytest.param(None, id="sqlite"),
    *(pytest.param(installation, id=installation.name) for installation in installations()),
]


@pytest.fixture(params=DATABASES)
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_of: Callable[[Installation], Postgres]
) -> AsyncIterator[Database]:
    installation: Installation | None = request.param
    if installation is None:
        database: Database = SQLiteDatabase(tmp_path)
    else:
        server = postgres_of(installation)
        database = PostgresDatabase(server, migrated(server))
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> Store:
    return await database.open()


@pytest.fixture
async def worker(store: Store) -> Worker:
    """A replica with one function, ``app-f``, that starts by the event ``a``."""
    return await Worker(store).begin(function_of())
