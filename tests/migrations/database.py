"""A database to migrate, and a look at what became of it; both databases alike."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any, Protocol, Self

import asyncpg

from stepwell.store.migrate import Migration, Shown, load_migrations, migrate, read_records, shown
from stepwell.store.migrate_postgres import migrate_postgres, show_postgres
from stepwell.store.query import Dialect
from tests.postgres import Postgres

SCHEMA = "stepwell"


class Database(Protocol):
    """One database, at first empty."""

    dialect: Dialect

    async def migrate(self, *migrations: Migration, now: int) -> list[str]:
        """Migrate as a Stepwell with these files would."""
        ...

    async def migrate_many(self, count: int, *migrations: Migration, now: int) -> list[list[str]]:
        """Migrate as so many Stepwells would that start at once."""
        ...

    async def show(self) -> list[Shown]: ...

    async def query(self, sql: str) -> list[tuple[Any, ...]]: ...

    async def columns(self) -> dict[str, dict[str, str]]:
        """Return the tables with their columns, each with what it is."""
        ...

    async def schema(self) -> list[tuple[Any, ...]]:
        """Return all that defines the tables, in order."""
        ...


class SQLiteDatabase:
    """SQLite in a file."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = self.connect()

    def connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)

    def close(self) -> None:
        self.db.close()

    async def migrate(self, *migrations: Migration, now: int) -> list[str]:
        return migrate(self.db, now=now, migrations=migrations)

    async def migrate_many(self, count: int, *migrations: Migration, now: int) -> list[list[str]]:
        connections = [self.connect() for _ in range(count)]
        try:
            return await asyncio.gather(
                *(asyncio.to_thread(migrate, db, now=now, migrations=migrations) for db in connections)
            )
        finally:
            for db in connections:
                db.close()

    async def show(self) -> list[Shown]:
        return shown(load_migrations("sqlite"), read_records(self.db))

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        return self.db.execute(sql).fetchall()

    async def columns(self) -> dict[str, dict[str, str]]:
        tables = [row[0] for row in self.db.execute("select name from sqlite_schema where type = 'table'")]
        return {
            table: {
                name: f"{kind.lower()}{' not null' if is_required else ''}"
                for _, name, kind, is_required, _, _ in self.db.execute(f"pragma table_info({table})")
            }
            for table in tables
        }

    async def schema(self) -> list[tuple[Any, ...]]:
        return self.db.execute("select type, name, tbl_name, sql from sqlite_schema order by type, name").fetchall()


class PostgresDatabase:
    """PostgreSQL; a connection is open within ``async with``."""

    dialect: Dialect = "postgres"

    def __init__(self, server: Postgres, url: str) -> None:
        self.server, self.url = server, url
        self._connections: list[Any] = []

    async def __aenter__(self) -> Self:
        self.connection = await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        for connection in self._connections:
            await connection.close()

    async def connect(self, url: str | None = None, **settings: str) -> Any:
        connection = await asyncpg.connect(url or self.url, server_settings=settings)
        self._connections.append(connection)
        return connection

    async def migrate(self, *migrations: Migration, now: int) -> list[str]:
        return await migrate_postgres(self.connection, schema=SCHEMA, now=now, migrations=migrations)

    async def migrate_many(self, count: int, *migrations: Migration, now: int) -> list[list[str]]:
        connections = [await self.connect() for _ in range(count)]
        return await asyncio.gather(
            *(migrate_postgres(connection, schema=SCHEMA, now=now, migrations=migrations) for connection in connections)
        )

    async def show(self) -> list[Shown]:
        return await show_postgres(self.connection, schema=SCHEMA)

    async def query(self, sql: str) -> list[tuple[Any, ...]]:
        async with self.connection.transaction():
            await self.connection.execute(f"set local search_path to {SCHEMA}")
            return [tuple(row) for row in await self.connection.fetch(sql)]

    async def columns(self) -> dict[str, dict[str, str]]:
        tables: dict[str, dict[str, str]] = {}
        for table, name, kind, is_required in await self.query(
            "select relname, attname, format_type(atttypid, atttypmod), attnotnull from pg_attribute"
            " join pg_class on pg_class.oid = attrelid join pg_namespace on pg_namespace.oid = relnamespace"
            f" where nspname = '{SCHEMA}' and relkind = 'r' and attnum > 0 and not attisdropped"
            " order by relname, attnum"
        ):
            tables.setdefault(table, {})[name] = f"{kind}{' not null' if is_required else ''}"
        return tables

    async def schema(self) -> list[tuple[Any, ...]]:
        constraints = await self.query(
            "select conrelid::regclass::text, conname::text, pg_get_constraintdef(pg_constraint.oid) from pg_constraint"
            f" join pg_namespace on pg_namespace.oid = connamespace where nspname = '{SCHEMA}' order by 1, 2"
        )
        indexes = await self.query(
            f"select tablename::text, indexname::text, indexdef from pg_indexes where schemaname = '{SCHEMA}'"
            " order by 1, 2"
        )
        return [
            *sorted((table, str(columns)) for table, columns in (await self.columns()).items()),
            *constraints,
            *indexes,
        ]
