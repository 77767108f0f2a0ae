"""The settings of the database: what goes together, what is refused, and what is shown."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ulid import ULID

from stepwell.engine.transport.fetch import Fetcher
from stepwell.engine.transport.http import HttpTransport
from stepwell.engine.watch import NoWatcher
from stepwell.errors import ConfigError
from stepwell.limits import HOUR_MS, RETENTION_MS
from stepwell.server.main import make_engine
from stepwell.server.settings import Settings, checked

POSTGRES = Settings(is_dev=True, db="postgresql://u:secret@h1:5432,h2:5432/db")


def changed(**changes: Any) -> Settings:
    return msgspec.structs.replace(POSTGRES, **changes)


@pytest.mark.parametrize(
    "settings",
    [
        POSTGRES,
        changed(db_schema="public"),
        changed(db_schema="_" + "x" * 62),
        changed(is_db_pooled=True, db_listen="postgres://u:secret@h1/db"),
        changed(db_connections=3, take_over_s=2.0),
        changed(db_connections=100, take_over_s=600.0),
        Settings(is_dev=True, db=Path("x.db"), is_migrating=False),
        Settings(is_dev=True, db=None),
    ],
)
def test_a_database_can_be_described(settings: Settings) -> None:
    assert checked(settings) is settings


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        (changed(db="mysql://u:secret@h/db"), "--db must be"),
        (changed(db_listen="h:5432"), "--db-listen must be"),
        (changed(db_schema=""), "--db-schema"),
        (changed(db_schema="Blue"), "--db-schema"),
        (changed(db_schema='a"b'), "--db-schema"),
        (changed(db_schema="9lives"), "--db-schema"),
        (changed(db_schema="pg_stepwell"), "--db-schema"),
        (changed(db_schema="x" * 64), "--db-schema"),
        (changed(db_connections=2), "--db-connections"),
        (changed(db_connections=101), "--db-connections"),
        (changed(take_over_s=1.999), "--take-over"),
        (changed(take_over_s=600.1), "--take-over"),
        (changed(take_over_s=float("nan")), "--take-over"),
        (changed(grace_s=-1.0), "--grace"),
        (changed(grace_s=7200.1), "--grace"),
        (changed(grace_s=float("nan")), "--grace"),
        (changed(db=Path("x.db"), db_schema="blue"), "--db-schema is for PostgreSQL, but the database is x.db"),
        (changed(db=Path("x.db"), is_db_pooled=True), "--db-pooled is for PostgreSQL"),
        (changed(db=Path("x.db"), db_listen="postgresql://h/db"), "--db-listen is for PostgreSQL"),
        (changed(db=None, db_connections=7), "--db-connections is for PostgreSQL, but the database is in memory"),
        (changed(db=None, take_over_s=5.0), "--take-over is for PostgreSQL"),
    ],
)
def test_what_makes_no_sense_is_refused_by_its_flag(settings: Settings, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        checked(settings)

    assert named in str(refused.value)
    assert "secret" not in str(refused.value)


def test_without_the_driver_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ConfigError, match=r'pip install "stepwell\[server,postgres\]"'):
        checked(POSTGRES)
    checked(Settings(is_dev=True))


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        (POSTGRES, "postgresql://u:***@h1:5432,h2:5432/db"),
        (changed(db=Path("x.db")), "x.db"),
        (changed(db=None), "in memory"),
    ],
)
def test_the_database_is_shown_without_its_password(settings: Settings, shown: str) -> None:
    assert settings.shown_db == shown


def test_a_server_keeps_history_as_long_as_its_settings_say() -> None:
    settings = Settings(is_dev=True, function_retention_ms=(("app-f", HOUR_MS), ("app-g", None)))

    engine = make_engine(
        checked(settings), Path("unused.db"), HttpTransport(), NoWatcher(), Fetcher(allows_private=True)
    )

    janitor = engine._janitor
    assert janitor is not None
    assert janitor._retention == (RETENTION_MS, {"app-f": HOUR_MS, "app-g": None})


def test_ids_are_made_by_the_databases_time_where_that_is_behind() -> None:
    settings = checked(Settings(is_dev=True))
    engine = make_engine(settings, Path("unused.db"), HttpTransport(), NoWatcher(), Fetcher(allows_private=True))

    now = engine.clock.now() - 2 * HOUR_MS
    engine.clock.set(now, engine.clock.elapsed())

    assert now <= ULID.from_str(engine.ids()).milliseconds < now + HOUR_MS


@pytest.mark.parametrize(
    ("given", "in_dev", "in_start"), [(None, True, False), (True, True, True), (False, False, False)]
)
def test_fetches_may_go_to_private_addresses_in_dev_alone_unless_it_is_said(
    given: bool | None, in_dev: bool, in_start: bool
) -> None:
    assert Settings(is_dev=True, private_fetches=given).allows_private_fetches is in_dev
    assert Settings(is_dev=False, private_fetches=given).allows_private_fetches is in_start


def test_a_retention_is_an_hour_at_least() -> None:
    checked(Settings(is_dev=True, retention_ms=HOUR_MS, function_retention_ms=(("app-f", HOUR_MS),)))

    with pytest.raises(ConfigError, match="--retention must be at least 1h, or off, not 59m59s999ms"):
        checked(Settings(is_dev=True, retention_ms=HOUR_MS - 1))
    with pytest.raises(ConfigError, match="--function-retention app-f must be at least 1h, or off, not 0s"):
        checked(Settings(is_dev=True, function_retention_ms=(("app-f", 0),)))
