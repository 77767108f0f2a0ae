"""The contract runs on each database. PostgreSQL joins by one more class here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from stepwell.store.interface import Store
from tests.store.database import Database, SQLiteDatabase, Worker
from tests.unit.engine.making import function_of


@pytest.fixture(params=["sqlite"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Database]:
    database = SQLiteDatabase(tmp_path)
    yield database
    await database.close()


@pytest.fixture
async def store(database: Database) -> Store:
    return await database.open()


@pytest.fixture
async def worker(store: Store) -> Worker:
    """A replica with one function, ``app-f``, that starts by the event ``a``."""
    return await Worker(store).begin(function_of())
