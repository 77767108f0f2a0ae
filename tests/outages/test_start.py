"""A server that can't have its database says so in one line, with what to do, and ends."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.postgres import Postgres

FLAGS = (
    "--signing-key",
    "5e" * 32,
    "--event-key",
    "event-key",
    "--api-token",
    "api-token",
    "--port",
    "0",
    "--take-over",
    "2s",
)


async def start(url: str, folder: Path, *flags: str) -> tuple[int, str]:
    """Run ``stepwell start`` until it ends by itself; return its status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "stepwell.cli.main", "start", *FLAGS, "--db", url, *flags),
        cwd=folder,
        env={key: value for key, value in os.environ.items() if not key.startswith(("STEPWELL_", "INNGEST_", "PG"))},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 30)
    except TimeoutError:
        process.kill()
        raise
    assert process.returncode is not None
    return process.returncode, said.decode()


@pytest.mark.parametrize(
    ("address", "flags", "why", "hint"),
    [
        ("{user}:wrong@{host}/{name}", (), "password authentication failed", "check the user and the password"),
        ("{user}:{password}@{host}/missing", (), 'database "missing" does not exist', "create it there (createdb)"),
        ("{user}:{password}@127.0.0.1:1/{name}", (), "", "is PostgreSQL running there"),
        ("{user}:{password}@{host}/{name}", ("--no-migrate", "--db-schema", "empty"), "", "stepwell migrate run"),
    ],
    ids=["password", "database", "address", "schema"],
)
async def test_what_is_wrong_and_what_to_do_is_one_line(
    url: str, tmp_path: Path, address: str, flags: tuple[str, ...], why: str, hint: str
) -> None:
    parts = urlsplit(url)
    place = {"user": parts.username, "password": parts.password, "host": f"{parts.hostname}:{parts.port}"}
    address = f"postgresql://{address.format(**place, name=parts.path[1:])}"

    status, said = await start(address, tmp_path, *flags)

    assert status == 1, said
    assert said.count("\n") == 1
    assert said.startswith("stepwell: postgresql://stepwell:***@")
    assert why in said
    assert hint in said
    assert str(parts.password) not in said


async def test_a_server_for_which_no_connection_is_left_says_so(breakable: Postgres, url: str, tmp_path: Path) -> None:
    await asyncio.to_thread(breakable.psql, "alter role stepwell connection limit 1")
    try:
        holder = await asyncpg.connect(url)
        status, said = await start(url, tmp_path)
        await holder.close()
    finally:
        await asyncio.to_thread(breakable.psql, "alter role stepwell connection limit -1")

    assert (status, said.count("\n")) == (1, 1), said
    assert 'too many connections for role "stepwell"' in said
    assert "raise max_connections there, or give each server fewer with --db-connections" in said


async def test_a_database_of_another_encoding_is_refused(breakable: Postgres, tmp_path: Path) -> None:
    """It would take some texts and not others, and a run could be stuck because of its event's name."""
    await asyncio.to_thread(breakable.psql, "create database latin owner stepwell encoding 'LATIN1' template template0")
    url = breakable.create_database()
    status, said = await start(url.replace(urlsplit(url).path, "/latin"), tmp_path)
    await asyncio.to_thread(breakable.psql, "drop database latin")
    await asyncio.to_thread(breakable.drop_database, url)

    assert (status, said.count("\n")) == (1, 1), said
    assert "its encoding is LATIN1, and must be UTF8: create one with encoding 'UTF8'" in said
