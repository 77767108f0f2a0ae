"""Migrations: numbered ``.sql`` files, forward only, and the runner for SQLite (``migrate_postgres.py`` has the other).

Each database has its own files; the same number means the same. A file runs in one transaction together with its row
in ``schema_migration``, which keeps its checksum: a file that was run is never edited, and a database whose record
disagrees is refused.

The first line of a file says what it is, such as ``-- stepwell: contract`` or ``-- stepwell: expand, no-transaction``:

- **expand**: older code works on with it, since it only adds what that code needn't know (a table, an index, a column
  with a default). So the replicas of a rolling upgrade needn't change at once.
- **contract**: it takes away what older code needs. It comes a release after the code that stopped needing it, and
  older code refuses the database.
- **no-transaction**: for what PostgreSQL refuses in one (``create index concurrently``). Its statements, each ended by
  ``;`` at the end of a line, run one by one. A crash may leave the first ones done and the file unrecorded, so they
  must bear being run again: ``drop index concurrently if exists`` comes first. SQLite has no need of it.

There is no way down: whoever wants an older state restores a backup.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Generator, Iterable, Iterator, Sequence
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Final, NamedTuple

from stepwell.errors import StoreError
from stepwell.store.query import Dialect

_MARKER: Final = re.compile(r"-- stepwell: (expand|contract)(, no-transaction)?")
_STATEMENT_END: Final = re.compile(r"(?<=;)\n")
_COMMENT: Final = re.compile(r"^--.*", re.MULTILINE)
_WAIT_S: Final = 10.0  # for a server that writes to the same file
_RECORD_TABLE: Final = """
create table if not exists schema_migration (
  number integer primary key,
  name text not null,
  checksum text not null,
  kind text not null check (kind in ('expand', 'contract')),
  migrated_at integer not null
) strict, without rowid
"""


class Kind(StrEnum):
    """What a migration means for code that doesn't know it."""

    EXPAND = "expand"
    CONTRACT = "contract"


class Migration(NamedTuple):
    """One file: its number, its name and its text."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def kind(self) -> Kind:
        return Kind(self._marker[1])

    @property
    def has_transaction(self) -> bool:
        return self._marker[2] is None

    @property
    def statements(self) -> list[str]:
        """The parts that run one by one where there is no transaction; none where a database has nothing to do."""
        return [part for part in _STATEMENT_END.split(self.text) if _COMMENT.sub("", part).strip()]

    def record(self, now: int) -> Record:
        """Return the row that says that it was run."""
        return Record(self.number, self.name, self.checksum, self.kind, now)

    @property
    def _marker(self) -> re.Match[str]:
        marker = _MARKER.fullmatch(self.text.partition("\n")[0])
        assert marker is not None, f"{self.name} must say in its first line whether it is expand or contract"
        return marker


class Record(NamedTuple):
    """A row of ``schema_migration``: a migration that was run. ``migrated_at`` is in Unix ms."""

    number: int
    name: str
    checksum: str
    kind: Kind
    migrated_at: int


class Standing(StrEnum):
    """How a migration stands to a database."""

    DONE = "done"
    PENDING = "pending"
    UNKNOWN = "unknown"
    """A newer Stepwell ran it."""
    CHANGED = "changed"
    """It was run, and its file was edited afterwards."""


class Shown(NamedTuple):
    """One line about a database's past or future. ``migrated_at`` is in Unix ms, None for what is pending."""

    number: int
    name: str
    kind: Kind
    standing: Standing
    migrated_at: int | None


def load_migrations(dialect: Dialect) -> list[Migration]:
    """Return the migrations of a database, in order."""
    found = [
        Migration(int(file.name[:4]), file.name, file.read_text())
        for file in files(f"stepwell.store.migrations.{dialect}").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found)


def pending(migrations: Sequence[Migration], records: Iterable[Record]) -> list[Migration]:
    """Return what is still to be run.

    Raises ``StoreError`` for a database that this code can't work on: a newer Stepwell took away what it may need, or
    its past differs from the files.
    """
    done = {record.number: record for record in records}
    known = {migration.number for migration in migrations}
    contracts = [record for record in done.values() if record.number not in known and record.kind is Kind.CONTRACT]
    if contracts:
        newest = max(contracts)
        raise StoreError(
            f"a newer Stepwell has changed the database so that this one can't use it (migration {newest.name}):"
            " upgrade Stepwell, or use another database"
        )
    for migration in migrations:
        record = done.get(migration.number)
        if record is not None and record.checksum != migration.checksum:
            raise StoreError(f"migration {migration.name} was changed after it was run on this database")
    return [migration for migration in migrations if migration.number not in done]


def refuse_pending(migrations: Sequence[Migration], records: Iterable[Record]) -> None:
    """Raise ``StoreError`` unless a database is as this code needs it: for servers that mustn't migrate by themselves."""
    names = [migration.name for migration in pending(migrations, records)]
    if names:
        raise StoreError(
            f"the database isn't migrated ({', '.join(names)} to be run), and this server mustn't do it (--no-migrate):"
            " run `stepwell migrate run` with the same --db"
        )


def shown(migrations: Sequence[Migration], records: Iterable[Record]) -> list[Shown]:
    """Return every migration that the files or the database know, in order. Refuses nothing."""
    done = {record.number: record for record in records}
    known = {migration.number: migration for migration in migrations}
    lines: list[Shown] = []
    for number in sorted(done | known):
        record, migration = done.get(number), known.get(number)
        if record is None:
            assert migration is not None
            lines.append(Shown(number, migration.name, migration.kind, Standing.PENDING, None))
            continue
        standing = Standing.DONE
        if migration is None:
            standing = Standing.UNKNOWN
        elif migration.checksum != record.checksum:
            standing = Standing.CHANGED
        lines.append(Shown(number, record.name, record.kind, standing, record.migrated_at))
    return lines


def failure(migration: Migration, error: Exception) -> StoreError:
    """Return what to raise when a migration failed, and say what became of it."""
    kept = (
        "nothing of it was kept" if migration.has_transaction else "a part of it may have been kept; it can run again"
    )
    return StoreError(f"migration {migration.name} failed, {kept}: {error}")


# -- SQLite -----------------------------------------------------------------------------------------------------


def migrate(db: sqlite3.Connection, *, now: int, migrations: Sequence[Migration] | None = None) -> list[str]:
    """Run what hasn't been run and return its names; the files are those of this code, unless others are given.

    *Atomic* for each file, *idempotent*, and safe beside others that do the same. Raises ``StoreError`` for a database
    that this code can't work on, or when a migration fails.
    """
    known = load_migrations("sqlite") if migrations is None else migrations
    todo = pending(known, read_records(db))
    return [migration.name for migration in todo if _run(db, migration, now)]


def refuse_unmigrated(db: sqlite3.Connection) -> None:
    """Raise ``StoreError`` unless the database is as this code needs it: for servers that mustn't migrate it."""
    refuse_pending(load_migrations("sqlite"), read_records(db))


def show_file(path: Path) -> list[Shown]:
    """Return how each migration stands to the database in a file, which needn't be there and isn't made.

    Raises ``StoreError`` when it can't be read as a database.
    """
    migrations = load_migrations("sqlite")
    if not path.exists():
        return shown(migrations, ())
    with _opened(f"{path.absolute().as_uri()}?mode=ro") as db:
        return shown(migrations, read_records(db))


def migrate_file(path: Path, *, now: int) -> list[str]:
    """Migrate the database in a file, which is made where it is missing. See ``migrate``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"its folder can't be made: {error.strerror}") from error
    with _opened(path.absolute().as_uri()) as db:
        return migrate(db, now=now)


@contextlib.contextmanager
def _opened(uri: str) -> Generator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_WAIT_S, isolation_level=None)) as db:
            yield db
    except sqlite3.Error as error:
        raise StoreError(f"it can't be used as a database: {error}") from error


def read_records(db: sqlite3.Connection) -> list[Record]:
    """Return what was run on a database, which may be new."""
    if not db.execute("select 1 from sqlite_schema where name = 'schema_migration'").fetchall():
        return []
    rows = db.execute("select number, name, checksum, kind, migrated_at from schema_migration")
    return [Record(number, name, checksum, Kind(kind), at) for number, name, checksum, kind, at in rows]


def _run(db: sqlite3.Connection, migration: Migration, now: int) -> bool:
    """Run a migration; False when somebody else did it before we had the lock."""
    try:
        db.execute("begin immediate")
        db.execute(_RECORD_TABLE)
        if any(record.number == migration.number for record in read_records(db)):
            db.execute("rollback")
            return False
        for statement in _complete_statements(migration.text):
            db.execute(statement)
        db.execute("insert into schema_migration values (?, ?, ?, ?, ?)", migration.record(now))
        db.execute("commit")
    except sqlite3.Error as error:
        if db.in_transaction:
            db.execute("rollback")
        raise failure(migration, error) from error
    return True


def _complete_statements(text: str) -> Iterator[str]:
    """Yield a script's statements. ``executescript`` would commit the transaction that they are to be part of."""
    statement = ""
    for line in text.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    if statement.strip():
        yield statement
