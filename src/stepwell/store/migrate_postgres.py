"""The migration runner for PostgreSQL; ``migrate.py`` says what a migration is.

Any number of replicas may start at once. Each migration is run by whoever gets the advisory lock of the schema; the
others try again until it is free, and see that there is nothing left to do. They don't wait in line for it: a session
that waits inside a statement holds a snapshot, the ``create index concurrently`` of whoever has the lock waits for all
older snapshots to end, and neither would go on.

The lock belongs to the migration's transaction, and so do the search path and the time-outs: so this works through a
proxy that hands out connections by the transaction. Only a file without a transaction needs a session of its own.

A role that only uses the tables does, as long as nothing is pending. To migrate, it must be able to create tables in
the schema, and to create the schema if that isn't there.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Any, Final, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] - it has none; what is used of it is declared below

from stepwell.errors import StoreError, StoreUnavailable
from stepwell.store.migrate import (
    Kind,
    Migration,
    Record,
    Shown,
    failure,
    load_migrations,
    pending,
    refuse_pending,
    shown,
)
from stepwell.store.postgres_link import Hosts

MAJOR_MIN: Final = 15  # what the tests run on, and the oldest that its makers still mend for some years
_CONNECT_S: Final = 5.0
_LOCK_TRY_S: Final = 0.1
# A statement that waits for an exclusive lock holds up whoever comes after it, on a table that others work on. Better
# to give up; the next start tries again.
_LOCK_WAIT: Final = "10s"
_OUTAGES: Final = (
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,  # it shuts down, starts, recovers
    asyncpg.exceptions.InsufficientResourcesError,  # no room on the disk, no connection left
    asyncpg.ReadOnlySQLTransactionError,  # a standby
    asyncpg.exceptions.TargetServerAttributeNotMatched,  # none but standbys
    asyncpg.InterfaceError,
    OSError,
)
_RECORD_TABLE: Final = """
create table schema_migration (
  number integer primary key,
  name text not null,
  checksum text not null,
  kind text not null check (kind in ('expand', 'contract')),
  migrated_at bigint not null
)
"""


class Connection(Protocol):
    """What is used of ``asyncpg.Connection``."""

    def get_server_version(self) -> Any: ...
    def get_settings(self) -> Any: ...
    def transaction(self, *, isolation: Any) -> AbstractAsyncContextManager[Any]: ...
    async def execute(self, query: str, *args: Any) -> str: ...
    async def fetch(self, query: str, *args: Any) -> Sequence[Any]: ...
    async def fetchval(self, query: str, *args: Any) -> Any: ...
    async def close(self, *, timeout: float) -> None: ...  # noqa: ASYNC109 - the driver's


# What to do when a connection can't be had.
_HINTS: Final = (
    (asyncpg.TooManyConnectionsError, "raise max_connections there, or give each server fewer with --db-connections"),
    (asyncpg.InvalidPasswordError, "check the user and the password in the address"),
    (asyncpg.InvalidAuthorizationSpecificationError, "check the user in the address, and pg_hba.conf there"),
    (asyncpg.InvalidCatalogNameError, "create it there (createdb), or check the name in the address"),
    (asyncpg.exceptions.TargetServerAttributeNotMatched, "name the primary, or promote a standby"),
    (asyncpg.CannotConnectNowError, "wait until it has started"),
    (OSError, "is PostgreSQL running there, and can it be reached from here?"),
)


@asynccontextmanager
async def connected(url: str, *, connect_s: float = _CONNECT_S) -> AsyncGenerator[Connection]:
    """Open a connection for migrations, to the primary where there are several hosts.

    Raises ``StoreUnavailable`` when no host answers in ``connect_s``, ``StoreError`` when whoever does says no.
    """
    try:
        # No statement is prepared: a transaction-pooling proxy would lose it.
        connection = cast(
            "Connection",
            await Hosts(url).connect(timeout=connect_s, statement_cache_size=0, target_session_attrs="primary"),
        )
    except asyncpg.exceptions.ClientConfigurationError as error:
        raise StoreError(f"the database's URL can't be used: {error}") from error
    except (*_OUTAGES, asyncpg.PostgresError) as error:
        hint = next((f": {hint}" for kind, hint in _HINTS if isinstance(error, kind)), "")
        if isinstance(error, _OUTAGES):
            raise StoreUnavailable(f"the database can't be reached ({_said(error)}){hint}") from error
        raise StoreError(f"the database refuses the connection ({error}){hint}") from error
    try:
        yield connection
    finally:
        await connection.close(timeout=connect_s)


def _said(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, asyncpg.exceptions.TargetServerAttributeNotMatched):
        return "no host is a primary"
    return str(error) or type(error).__name__


async def migrate_postgres(
    connection: Connection,
    *,
    schema: str,
    now: int,
    is_pooled: bool = False,
    migrations: Sequence[Migration] | None = None,
) -> list[str]:
    """Run what hasn't been run and return its names; the files are those of this code, unless others are given.

    *Atomic* for each file that has a transaction, *idempotent*, and safe beside others that do the same, for whom it
    waits as long as they take. The connection is in no transaction, and its caller's own: settings may be changed.
    ``is_pooled``: a transaction-pooling proxy stands between.

    Raises ``StoreUnavailable`` when the database can't be reached or written; ``StoreError`` when it is too old, when
    this code can't work on it, when a right is missing, or when a migration fails.
    """
    known = load_migrations("postgres") if migrations is None else migrations
    names: list[str] = []
    with _explaining(schema):
        for migration in pending(known, await _read_records(connection, schema)):
            if migration.has_transaction:
                is_run = await _run(connection, migration, schema, now)
            elif is_pooled:
                raise StoreError(
                    f"migration {migration.name} can't be run through a transaction-pooling proxy:"
                    " run `stepwell migrate run` with the database's own address"
                )
            else:
                is_run = await _run_without_transaction(connection, migration, schema, now)
            if is_run:
                names.append(migration.name)
    return names


async def refuse_unmigrated_postgres(connection: Connection, *, schema: str) -> None:
    """Raise ``StoreError`` unless the database is as this code needs it: for servers that mustn't migrate it."""
    with _explaining(schema):
        refuse_pending(load_migrations("postgres"), await _read_records(connection, schema))


async def show_postgres(connection: Connection, *, schema: str) -> list[Shown]:
    """Return how each migration stands to the database. It changes nothing, and needs no right but to read."""
    with _explaining(schema):
        return shown(load_migrations("postgres"), await _read_records(connection, schema))


def lock_key(schema: str) -> int:
    """Return the key of the advisory lock for all who migrate a schema of one database."""
    digest = hashlib.sha256(f"stepwell migrate {schema}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


async def _run(connection: Connection, migration: Migration, schema: str, now: int) -> bool:
    """Run a migration in a transaction; False when somebody else did it before we had the lock."""
    while True:
        # Each statement after the lock must see what its last holder committed, whatever the role's default is.
        async with connection.transaction(isolation="read_committed"):
            if await connection.fetchval("select pg_try_advisory_xact_lock($1)", lock_key(schema)):
                if await _is_done(connection, migration, schema):
                    return False
                await _prepare(connection, schema, lock_wait=_LOCK_WAIT, is_local=True)
                if migration.statements:  # the driver can't run nothing
                    await _execute(connection, migration, migration.text)
                await _record(connection, migration, now)
                return True
        await asyncio.sleep(_LOCK_TRY_S)


async def _run_without_transaction(connection: Connection, migration: Migration, schema: str, now: int) -> bool:
    """Run a migration's statements one by one, under a lock of the session."""
    while not await connection.fetchval("select pg_try_advisory_lock($1)", lock_key(schema)):  # noqa: ASYNC110 - others'
        await asyncio.sleep(_LOCK_TRY_S)
    try:
        if await _is_done(connection, migration, schema):
            return False
        # An index that is built concurrently waits for others' transactions, and blocks nobody meanwhile.
        await _prepare(connection, schema, lock_wait="0", is_local=False)
        for statement in migration.statements:
            await _execute(connection, migration, statement)
        await _record(connection, migration, now)
    finally:
        await connection.fetchval("select pg_advisory_unlock($1)", lock_key(schema))
    return True


async def _prepare(connection: Connection, schema: str, *, lock_wait: str, is_local: bool) -> None:
    """Set the session, or with ``is_local`` the transaction; make the schema and the record where they are missing."""
    await connection.fetch(
        "select set_config('search_path', $1, $2), set_config('statement_timeout', '0', $2),"
        " set_config('lock_timeout', $3, $2)",
        _quoted(schema),
        is_local,
        lock_wait,
    )
    # Whether a schema is there comes first: `create schema if not exists` asks for the right to create before it looks.
    if not await connection.fetchval("select 1 from pg_namespace where nspname = $1", schema):
        await connection.execute(f"create schema {_quoted(schema)}")
    if not await _has_record(connection, schema):
        await connection.execute(_RECORD_TABLE)


async def _execute(connection: Connection, migration: Migration, text: str) -> None:
    """Run statements of a migration. Raises ``StoreError`` where the fault is in them."""
    try:
        await connection.execute(text)
    except asyncpg.PostgresError as error:
        if isinstance(error, (*_OUTAGES, asyncpg.InsufficientPrivilegeError)):
            raise
        raise failure(migration, error) from error


async def _is_done(connection: Connection, migration: Migration, schema: str) -> bool:
    return any(record.number == migration.number for record in await _read_records(connection, schema))


async def _read_records(connection: Connection, schema: str) -> list[Record]:
    """Return what was run. Raises ``StoreError`` when the server is too old, or the database has not all characters."""
    version = connection.get_server_version()
    if version.major < MAJOR_MIN:
        raise StoreError(f"PostgreSQL {MAJOR_MIN} or later is needed; this one is {version.major}.{version.minor}")
    encoding = connection.get_settings().server_encoding
    if encoding != "UTF8":
        raise StoreError(f"its encoding is {encoding}, and must be UTF8: create one with encoding 'UTF8'")
    if not await _has_record(connection, schema):
        return []
    rows = await connection.fetch(
        f"select number, name, checksum, kind, migrated_at from {_quoted(schema)}.schema_migration"  # noqa: S608
    )
    return [Record(number, name, checksum, Kind(kind), at) for number, name, checksum, kind, at in rows]


async def _has_record(connection: Connection, schema: str) -> bool:
    found = await connection.fetchval("select to_regclass($1)::text", f"{_quoted(schema)}.schema_migration")
    return found is not None


async def _record(connection: Connection, migration: Migration, now: int) -> None:
    await connection.execute("insert into schema_migration values ($1, $2, $3, $4, $5)", *migration.record(now))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def _explaining(schema: str) -> Generator[None]:
    """Turn what the driver raises into errors of ours."""
    try:
        yield
    except asyncpg.InsufficientPrivilegeError as error:
        raise StoreError(
            f"the database's role lacks a right: {error}. Run `stepwell migrate run` as a role that may create tables in"
            f" the schema {schema!r}, and the schema itself if it isn't there"
        ) from error
    except _OUTAGES as error:
        # The rollback of a connection that is gone says nothing of why it went.
        why = error.__context__ if isinstance(error.__context__, _OUTAGES) else error
        raise StoreUnavailable(f"the database can't be migrated now: {why or type(why).__name__}") from error
    except asyncpg.PostgresError as error:
        raise StoreError(f"the database can't be migrated: {error}") from error
