"""A server for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from stepwell.protocol.ids import ReplicaId
from stepwell.store.postgres import PostgresStore
from tests.postgres import Postgres
from tests.server.world import PRODUCTION, World, running
from tests.store.database import migrated


@pytest.fixture
async def world(tmp_path: Path) -> AsyncGenerator[World]:
    """A dev server."""
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
async def production(tmp_path: Path) -> AsyncGenerator[World]:
    """A production server, whose client has an API token."""
    async with running(tmp_path, PRODUCTION) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[World]:
    """A dev server on each of the two databases."""
    if request.param == "sqlite":
        async with running(tmp_path) as made:
            made.database_url = str(tmp_path / "stepwell.db")
            yield made
        return
    server: Postgres = request.getfixturevalue("postgres")
    url = server.create_database(template=migrated(server))
    async with running(tmp_path, store=PostgresStore(url, ReplicaId("replica-1"), is_migrating=False)) as made:
        made.database_url = url
        yield made
    await asyncio.to_thread(server.drop_database, url)
