"""``stepwell migrate`` on SQLite, and where it is told which database that is."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stepwell.cli.commands import app
from stepwell.store.migrate import load_migrations

NO_ENV = {name: "" for name in os.environ if name.startswith(("STEPWELL_", "INNGEST_"))}
NAMES = [migration.name for migration in load_migrations("sqlite")]


def migrate(*words: str, **env: str) -> Result:
    return CliRunner().invoke(app, ["migrate", *words], env=NO_ENV | env)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "stepwell.db"


def test_a_file_is_migrated_and_says_so(db: Path) -> None:
    assert migrate("run", "--db", str(db)).stdout.splitlines() == [f"{name} is done" for name in NAMES]
    assert migrate("run", "--db", str(db)).stdout == f"nothing is pending on {db}\n"


def test_what_is_pending_is_shown_and_nothing_made(db: Path) -> None:
    lines = migrate("show", "--db", str(db)).stdout.splitlines()

    assert lines[0].split() == ["migration", "kind", "state", "at"]
    assert [line.split() for line in lines[1:-1]] == [[name, "expand", "pending"] for name in NAMES]
    assert lines[-1].startswith(f"{len(NAMES)} pending on {db}: `stepwell migrate run`")
    assert not db.parent.exists()


def test_what_is_done_is_shown_with_its_date_and_what_is_unknown(db: Path) -> None:
    migrate("run", STEPWELL_DB=str(db))
    connection = sqlite3.connect(db)
    connection.execute("update schema_migration set migrated_at = 1767225600000")
    connection.execute("insert into schema_migration values (99, '0099_later.sql', 'x', 'contract', 1767225600001)")
    connection.commit()
    connection.close()

    result = migrate("show", STEPWELL_DB=str(db))

    assert [line.split() for line in result.stdout.splitlines()[1:]] == [
        *([name, "expand", "done", "2026-01-01T00:00:00.000Z"] for name in NAMES),
        ["0099_later.sql", "contract", "unknown", "2026-01-01T00:00:00.001Z"],
    ]
    refused = migrate("run", STEPWELL_DB=str(db))
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "newer Stepwell" in refused.stderr


@pytest.mark.parametrize("command", ["show", "run"])
def test_what_is_no_database_is_said(db: Path, command: str) -> None:
    db.parent.mkdir()
    db.write_text("a letter to my grandmother " * 100)

    result = migrate(command, "--db", str(db))

    assert result.exit_code == 1
    assert result.stderr == f"stepwell: {db}: it can't be used as a database: file is not a database\n"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    result = migrate("run", "--db", str(tmp_path / "file" / "folder" / "x.db"))

    assert result.exit_code == 1
    assert result.stderr.endswith("its folder can't be made: Not a directory\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--db", "mysql://u:secret@h/db"], "--db must be a file or like postgresql://"),
        (["--db", "x.db", "--db-schema", "blue"], "--db-schema is for PostgreSQL"),
        (["--db", "postgresql://h/db", "--db-schema", "Blue"], "--db-schema must be"),
    ],
)
@pytest.mark.parametrize("command", ["show", "run"])
def test_a_wrong_setting_is_one_line_and_status_2(command: str, words: list[str], message: str) -> None:
    result = migrate(command, *words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1
    assert "secret" not in result.stderr
