"""``stepwell migrate`` on PostgreSQL."""

from __future__ import annotations

import asyncio
import os
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner, Result

from stepwell.cli.commands import app
from stepwell.store.migrate import load_migrations
from tests.migrations.database import PostgresDatabase

NO_ENV = {name: "" for name in os.environ if name.startswith(("STEPWELL_", "INNGEST_"))}
NAMES = [migration.name for migration in load_migrations("postgres")]


@pytest.fixture
async def database(postgres_database: PostgresDatabase) -> PostgresDatabase:
    return postgres_database


async def migrate(*words: str, **env: str) -> Result:
    """Run the command in a thread, since it has a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["migrate", *words], env=NO_ENV | env)


async def test_a_database_is_migrated_and_shown(database: PostgresDatabase) -> None:
    assert "pending on postgresql://" in (await migrate("show", "--db", database.url)).stdout

    result = await migrate("run", STEPWELL_DB=database.url)
    assert result.stdout.splitlines() == [f"{name} is done" for name in NAMES]

    again = await migrate("run", STEPWELL_DB=database.url)
    assert again.stdout.startswith("nothing is pending on postgresql://stepwell:***@127.0.0.1:")
    lines = (await migrate("show", "--db", database.url)).stdout.splitlines()[1:]
    assert [line.split()[:3] for line in lines] == [[name, "expand", "done"] for name in NAMES]


async def test_a_schema_can_be_named(database: PostgresDatabase) -> None:
    await migrate("run", "--db", database.url, "--db-schema", "blue", "--db-pooled")

    assert await database.query("select distinct schemaname from pg_tables where tablename = 'job'") == [("blue",)]
    assert "pending" in (await migrate("show", "--db", database.url)).stdout


@pytest.mark.parametrize("command", ["show", "run"])
async def test_a_database_that_lets_nobody_in_is_one_line_without_a_password(
    database: PostgresDatabase, command: str
) -> None:
    parts = urlsplit(database.url)
    address = f"{parts.hostname}:{parts.port}"
    for url, why in [
        (f"postgresql://stepwell:hunter2@{address}{parts.path}", "password authentication failed"),
        (f"postgresql://stepwell:{parts.password}@{address}/nowhere", 'database "nowhere" does not exist'),
        ("postgresql://stepwell:hunter2@127.0.0.1:1/db", "can't be reached"),
        (f"{database.url}?sslmode=sometimes", "`sslmode` parameter must be"),
    ]:
        result = await migrate(command, "--db", url)

        assert (result.exit_code, result.stdout) == (1, "")
        assert why in result.stderr
        assert result.stderr.count("\n") == 1
        assert "hunter2" not in result.stderr
        assert str(parts.password) not in result.stderr
