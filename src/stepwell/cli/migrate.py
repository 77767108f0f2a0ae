"""``stepwell migrate``: the database's migrations, for whoever runs them apart from the server's start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from stepwell.cli.client import fail
from stepwell.cli.database import Db, DbPooled, DbSchema, database

if TYPE_CHECKING:
    from stepwell.server.settings import Settings
    from stepwell.store.migrate import Shown

app = typer.Typer(help="Show and run the database's migrations.", no_args_is_help=True)


@app.command("show")
def show(db: Db = None, db_schema: DbSchema = None, db_pooled: DbPooled = False) -> None:
    """List migrations: done, pending, or unknown to this version. Nothing is changed."""
    from stepwell.cli.screen import table
    from stepwell.errors import StoreError
    from stepwell.protocol.duration import time_text
    from stepwell.store.migrate import Standing

    settings = _settings(db, db_schema, db_pooled)
    try:
        lines = asyncio.run(_show(settings))
    except StoreError as error:
        fail(f"{settings.shown_db}: {error}")
    rows = [
        (line.name, line.kind, line.standing, "" if line.migrated_at is None else time_text(line.migrated_at))
        for line in lines
    ]
    table(("migration", "kind", "state", "at"), rows, empty="no migrations")
    count = sum(line.standing is Standing.PENDING for line in lines)
    if count:
        print(f"{count} pending on {settings.shown_db}: `stepwell migrate run`, or the server's next start, runs them")


@app.command("run")
def run(db: Db = None, db_schema: DbSchema = None, db_pooled: DbPooled = False) -> None:
    """Run what is pending. Servers may go on meanwhile, and others that migrate."""
    from stepwell.errors import StoreError

    settings = _settings(db, db_schema, db_pooled)
    try:
        names = asyncio.run(_migrate(settings))
    except StoreError as error:
        fail(f"{settings.shown_db}: {error}")
    for name in names:
        print(f"{name} is done")
    if not names:
        print(f"nothing is pending on {settings.shown_db}")


def _settings(db: str | None, schema: str | None, is_pooled: bool) -> Settings:
    from stepwell.errors import ConfigError
    from stepwell.server.settings import Settings, checked

    try:
        # A server needs keys; who has the database needs none to migrate it.
        return checked(Settings(is_dev=True, **database(db, schema=schema, is_pooled=is_pooled)))
    except ConfigError as error:
        fail(str(error), status=2)


async def _show(settings: Settings) -> list[Shown]:
    from stepwell.store.migrate import show_file

    if not isinstance(settings.db, str):
        assert settings.db is not None
        return show_file(settings.db)
    from stepwell.store.migrate_postgres import connected, show_postgres

    async with connected(settings.db) as connection:
        return await show_postgres(connection, schema=settings.db_schema)


async def _migrate(settings: Settings) -> list[str]:
    from stepwell.engine.clock import real_ms
    from stepwell.store.migrate import migrate_file

    if not isinstance(settings.db, str):
        assert settings.db is not None
        return migrate_file(settings.db, now=real_ms())
    from stepwell.store.migrate_postgres import connected, migrate_postgres

    async with connected(settings.db) as connection:
        return await migrate_postgres(
            connection, schema=settings.db_schema, now=real_ms(), is_pooled=settings.is_db_pooled
        )
