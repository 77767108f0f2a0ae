"""The migration runner: numbered ``.sql`` files, forward only, each in a transaction of its own.

A file that was run is never edited: its checksum is recorded, and a database whose record disagrees is refused.
"""

from __future__ import annotations

import hashlib
import sqlite3
from importlib.resources import files
from typing import Final, NamedTuple

from stepwell.errors import StoreError

_RECORD: Final = """
create table if not exists schema_migration (
  number integer primary key,
  name text not null,
  checksum text not null,
  migrated_at integer not null
) strict
"""


class Migration(NamedTuple):
    """One file: its number, its name and its text."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def load_migrations(database: str) -> list[Migration]:
    """Return the migrations of ``sqlite`` or ``postgres``, in order."""
    found = [
        Migration(int(file.name[:4]), file.name, file.read_text())
        for file in files(f"stepwell.store.migrations.{database}").iterdir()
        if file.name.endswith(".sql")
    ]
    return sorted(found)


def migrate(db: sqlite3.Connection, *, now: int) -> list[str]:
    """Run what hasn't been run and return its names.

    Raises ``StoreError`` for a database that a newer Stepwell made, or whose past differs from the files.
    """
    db.execute(_RECORD)
    done = {row[0]: row[1:] for row in db.execute("select number, name, checksum from schema_migration")}
    migrations = load_migrations("sqlite")
    unknown = set(done) - {migration.number for migration in migrations}
    if unknown:
        raise StoreError(
            f"the database was made by a newer Stepwell (migration {max(unknown)}): upgrade Stepwell, or use another file"
        )
    names: list[str] = []
    for migration in migrations:
        if migration.number in done:
            if done[migration.number][1] != migration.checksum:
                raise StoreError(f"migration {migration.name} was changed after it was run on this database")
            continue
        record = (migration.number, migration.name, migration.checksum, now)
        try:
            db.executescript(f"begin immediate;\n{migration.text}")
            db.execute("insert into schema_migration values (?, ?, ?, ?)", record)
            db.execute("commit")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("rollback")
            raise StoreError(f"migration {migration.name} failed, nothing of it was kept: {error}") from error
        names.append(migration.name)
    return names
