"""The migration runner: forward only, each file once, and never a file that was changed afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.errors import StoreError
from stepwell.store.migrate import Migration, load_migrations, migrate

NOW = 1_767_225_600_000
ONE = Migration(1, "0001_one.sql", "create table one (id integer);\ncreate table also (id integer);")
TWO = Migration(2, "0002_two.sql", "alter table one add column name text;\ninsert into one (id) values (2);")
BROKEN = Migration(3, "0003_broken.sql", "insert into one (id) values (3);\ninsert into nowhere values (1);")


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(tmp_path / "db", isolation_level=None)
    yield db
    db.close()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a function that sets which migrations there are."""

    def set_migrations(*migrations: Migration) -> None:
        monkeypatch.setattr("stepwell.store.migrate.load_migrations", lambda _: list(migrations))

    return set_migrations


def schema(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    return db.execute("select type, name, tbl_name, sql from sqlite_schema order by type, name").fetchall()


def test_the_files_are_numbered_without_gaps() -> None:
    migrations = load_migrations("sqlite")

    assert [migration.number for migration in migrations] == list(range(1, len(migrations) + 1))


def test_a_new_database_gets_every_migration_once(db: sqlite3.Connection) -> None:
    names = [migration.name for migration in load_migrations("sqlite")]

    assert migrate(db, now=NOW) == names
    assert migrate(db, now=NOW + 1) == []
    assert db.execute("select name, migrated_at from schema_migration order by number").fetchall() == [
        (name, NOW) for name in names
    ]


def test_a_fresh_database_equals_one_that_was_migrated_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = load_migrations("sqlite")
    fresh = sqlite3.connect(tmp_path / "fresh", isolation_level=None)
    migrate(fresh, now=NOW)
    stepwise = sqlite3.connect(tmp_path / "stepwise", isolation_level=None)
    for count in range(1, len(migrations) + 1):
        monkeypatch.setattr("stepwell.store.migrate.load_migrations", lambda _, count=count: migrations[:count])
        migrate(stepwise, now=NOW + count)

    assert schema(stepwise) == schema(fresh)
    fresh.close()
    stepwise.close()


def test_only_what_is_new_is_run(db: sqlite3.Connection, use) -> None:
    use(ONE)
    assert migrate(db, now=NOW) == [ONE.name]

    use(ONE, TWO)
    assert migrate(db, now=NOW) == [TWO.name]
    assert db.execute("select id, name from one").fetchall() == [(2, None)]


def test_an_edited_file_is_refused(db: sqlite3.Connection, use) -> None:
    use(ONE)
    migrate(db, now=NOW)

    use(ONE._replace(text=ONE.text + " "))
    with pytest.raises(StoreError, match=r"0001_one.sql was changed"):
        migrate(db, now=NOW)


def test_a_database_of_a_newer_version_is_refused(db: sqlite3.Connection, use) -> None:
    use(ONE, TWO)
    migrate(db, now=NOW)
    before = schema(db)

    use(ONE)
    with pytest.raises(StoreError, match=r"newer Stepwell \(migration 2\)"):
        migrate(db, now=NOW)
    assert schema(db) == before


def test_a_migration_that_fails_leaves_nothing_behind(db: sqlite3.Connection, use) -> None:
    use(ONE, TWO, BROKEN)

    with pytest.raises(StoreError, match=r"0003_broken.sql failed"):
        migrate(db, now=NOW)

    assert not db.in_transaction
    assert db.execute("select id from one").fetchall() == [(2,)]
    assert db.execute("select number from schema_migration").fetchall() == [(1,), (2,)]

    use(ONE, TWO)
    assert migrate(db, now=NOW) == []


def test_the_schema_checks_itself(db: sqlite3.Connection) -> None:
    migrate(db, now=NOW)
    run = "insert into run values ('01R00000000000000000000001','dev','f',1,'e',?,0,-1,0,1,null,?,?,null,null)"

    for status, ended_at, output in [
        ("completed", None, b"1"),
        ("completed", 1, None),
        ("queued", 1, None),
        ("queued", None, b"1"),
        ("unheard of", None, None),
        ("skipped", 1, b"1"),
    ]:
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(run, (status, ended_at, output))
    db.execute(run, ("completed", 1, b"1"))
