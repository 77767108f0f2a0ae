"""A PostgreSQL of this suite's own, that tests may break, and a database on it for each test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator

import pytest

from tests.outages.proxy import Proxy, proxied
from tests.outages.standby import REPLICATING
from tests.postgres import Postgres
from tests.store.database import PostgresDatabase, migrated


@pytest.fixture(scope="session")
def breakable() -> Generator[Postgres]:
    """A quick server whose commits survive its processes. Whoever stops or configures it puts it right again."""
    with Postgres(settings=REPLICATING) as server:
        yield server


@pytest.fixture
async def database(breakable: Postgres) -> AsyncGenerator[PostgresDatabase]:
    """A migrated database."""
    made = PostgresDatabase(breakable, migrated(breakable))
    yield made
    await made.close()


@pytest.fixture
def url(database: PostgresDatabase) -> str:
    return database.url


@pytest.fixture
async def proxy(url: str) -> AsyncGenerator[Proxy]:
    async with proxied(url) as made:
        yield made
