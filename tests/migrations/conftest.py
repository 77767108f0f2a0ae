"""The runner's promises are tested on each database that there is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.migrations.database import Database, PostgresDatabase, SQLiteDatabase
from tests.postgres import Installation, Postgres, installations

POSTGRES = [pytest.param(installation, id=installation.name) for installation in installations()]


@pytest.fixture(params=[pytest.param(None, id="sqlite"), *POSTGRES])
async def database(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_of: Callable[[Installation], Postgres]
) -> AsyncIterator[Database]:
    if request.param is None:
        with closing(SQLiteDatabase(tmp_path / "db")) as sqlite:
            yield sqlite
    else:
        server = postgres_of(request.param)
        with server.database() as url:
            async with PostgresDatabase(server, url) as postgres:
                yield postgres


@pytest.fixture(params=POSTGRES)
async def postgres_database(
    request: pytest.FixtureRequest, postgres_of: Callable[[Installation], Postgres]
) -> AsyncIterator[PostgresDatabase]:
    server = postgres_of(request.param)
    with server.database() as url:
        async with PostgresDatabase(server, url) as postgres:
            yield postgres
