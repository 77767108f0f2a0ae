"""``stepwell account reset`` on SQLite, beside a server that goes on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stepwell.cli.commands import app
from stepwell.engine.clock import Clock
from stepwell.protocol.ids import ReplicaId
from stepwell.server.access import Access
from stepwell.store.sqlite import SQLiteStore

NO_ENV = {name: "" for name in os.environ if name.startswith(("STEPWELL_", "INNGEST_"))}


def reset(*words: str) -> Result:
    return CliRunner().invoke(app, ["account", "reset", *words], env=NO_ENV)


async def test_a_reset_beside_a_server_gives_a_link_that_the_server_takes(tmp_path: Path) -> None:
    db = tmp_path / "stepwell.db"
    store = SQLiteStore(db, ReplicaId("server"), is_durable=False)
    await store.start(now=0)
    access = Access(store, Clock())
    link = await access.make_setup_link()
    assert link is not None
    session = await access.set_up(link.partition("#")[2], "a password of ten", "")

    done = await asyncio.to_thread(reset, "--db", str(db), "--url", "https://jobs.example.com/")

    first, shown = done.stdout.splitlines()
    address, _, token = shown.strip().partition("#")
    assert done.exit_code == 0, done.output
    assert "within 24 hours" in first
    assert address == "https://jobs.example.com/setup"
    assert await access.needs_setup()
    assert not await Access(store, Clock()).is_session(session)
    assert await access.set_up(token, "another password", "")
    await store.stop()


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [(("--db", "missing.db"), 1, "no such file"), (("--db-schema", "x"), 2, "--db-schema is for PostgreSQL")],
)
def test_what_can_not_be_reset_is_one_line(
    words: tuple[str, ...], status: int, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    refused = reset(*words)

    assert (refused.exit_code, refused.stdout) == (status, "")
    assert message in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
