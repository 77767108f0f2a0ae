"""``stepwell account``: what to do when the dashboard's password is forgotten, or known to others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import typer

from stepwell.cli.client import DEFAULT_URL, UrlOption, fail
from stepwell.cli.database import Db, DbPooled, DbSchema, database

if TYPE_CHECKING:
    from stepwell.protocol.ids import ReplicaId
    from stepwell.server.settings import Settings
    from stepwell.store.interface import Store

app = typer.Typer(help="The account of the dashboard.", no_args_is_help=True)


@app.callback()
def account() -> None:
    """Look after the account of the dashboard."""


@app.command("reset")
def reset(db: Db = None, db_schema: DbSchema = None, db_pooled: DbPooled = False, url: UrlOption = None) -> None:
    """Remove the password, log out everywhere, and print a new set-up link.

    It works on the database, which servers may use meanwhile. API tokens stay.
    """
    from stepwell.errors import ConfigError, StoreError
    from stepwell.server.settings import Settings, checked

    try:
        # A server needs keys; who has the database needs none.
        settings = checked(Settings(is_dev=True, **database(db, schema=db_schema, is_pooled=db_pooled)))
    except ConfigError as error:
        fail(str(error), status=2)
    try:
        path = asyncio.run(_reset(settings))
    except StoreError as error:
        fail(f"{settings.shown_db}: {error}")
    print("the account was removed, and its sessions have ended; this link makes a new one, once, within 24 hours:")
    print(f"  {(url or DEFAULT_URL).rstrip('/')}{path}")


async def _reset(settings: Settings) -> str:
    from stepwell.engine.clock import Clock
    from stepwell.engine.ids import IdSource
    from stepwell.protocol.ids import ReplicaId
    from stepwell.server.access import reset_account
    from stepwell.store.request import LeaveRequest

    clock = Clock()
    # It takes part as one more replica, so that it does what a server would; on SQLite, too, beside the one there is.
    store = _store(settings, ReplicaId(IdSource(clock.now)()))
    try:
        await store.start(now=clock.now())
        path = await reset_account(store, now=clock.now())
        await store.submit(LeaveRequest(clock.now()))
        return path
    finally:
        await store.stop()


def _store(settings: Settings, replica_id: ReplicaId) -> Store:
    from stepwell.errors import StoreError

    if isinstance(settings.db, str):
        from stepwell.store.postgres import PostgresStore

        return PostgresStore(
            settings.db,
            replica_id,
            schema=settings.db_schema,
            is_pooled=settings.is_db_pooled,
            connection_count=3,
            is_migrating=False,
        )
    from stepwell.store.sqlite import SQLiteStore

    assert settings.db is not None
    if not settings.db.exists():
        raise StoreError("there is no such file: name the server's database with --db")
    return SQLiteStore(settings.db, replica_id, is_shared=True, is_migrating=False)
