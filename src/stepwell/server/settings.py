"""Every setting of the server, typed and checked. Flags win over the environment; the command line reads both."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final

import msgspec

from stepwell.engine.janitor import Retention
from stepwell.errors import ConfigError
from stepwell.limits import CALLS_PER_APP_MAX, GRACE_S_MAX, RETENTION_MS, RETENTION_MS_MIN, STEPS_PER_RUN_MAX
from stepwell.protocol.duration import duration_text
from stepwell.protocol.headers import SERVER_KIND_CLOUD, SERVER_KIND_DEV
from stepwell.protocol.ids import EnvironmentId
from stepwell.protocol.signature import hashed_key
from stepwell.store.url import check_url, shown_url

DEFAULT_PORT: Final = 8288
DEFAULT_DB: Final = Path(".stepwell/stepwell.db")
_KEY_CHARS_MIN: Final = 8
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_OF_POSTGRES: Final = {
    "--db-schema": "db_schema",
    "--db-pooled": "is_db_pooled",
    "--db-listen": "db_listen",
    "--db-connections": "db_connections",
    "--take-over": "take_over_s",
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a server runs. Made by ``dev_settings`` or ``start_settings``, which check it."""

    is_dev: bool
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    db: Path | str | None = DEFAULT_DB
    """The SQLite file, or the URL of PostgreSQL; None keeps everything in memory, for this process only."""
    db_schema: str = "stepwell"
    """Where the tables are in PostgreSQL."""
    is_db_pooled: bool = False
    """A proxy that hands out connections by the transaction stands before PostgreSQL."""
    db_listen: str | None = None
    """PostgreSQL's own URL, for LISTEN, where ``db`` is that of such a proxy; None polls there."""
    db_connections: int = 6
    """Connections to PostgreSQL, those that write and those that read; one for LISTEN comes on top."""
    take_over_s: float = 10.0
    """How long a replica may be silent before others take over its work; PostgreSQL only."""
    is_migrating: bool = True
    """Migrate the database at start; else refuse one that isn't migrated."""
    sdk_urls: tuple[str, ...] = ()
    is_discovery_on: bool = True
    is_polling_on: bool = True
    poll_interval_s: float = 5.0
    retry_interval_s: float | None = None
    """A constant delay between attempts, instead of the protocol's table."""
    signing_key: str | None = None
    signing_key_fallback: str | None = None
    event_keys: tuple[str, ...] = ()
    api_tokens: tuple[str, ...] = ()
    is_login_insecure: bool = False
    """People may log in over plain http from other machines."""
    calls_per_app_max: int = CALLS_PER_APP_MAX
    steps_per_run_max: int = STEPS_PER_RUN_MAX
    retention_ms: int | None = RETENTION_MS
    """How long ended runs and events are kept; None for ever."""
    function_retention_ms: tuple[tuple[str, int | None], ...] = ()
    """The same for the runs of single functions, by their names."""
    private_fetches: bool | None = None
    """Whether ``step.fetch`` and ``step.ai.infer`` may go to private addresses; None in dev alone."""
    grace_s: float = 10.0
    """How long calls under way may go on after SIGTERM."""
    is_demo: bool = False
    """The built-in demo app runs from the start."""
    is_quiet: bool = False
    """No line for each thing that happens."""

    @property
    def kind(self) -> str:
        """The value of ``X-Inngest-Server-Kind``."""
        return SERVER_KIND_DEV if self.is_dev else SERVER_KIND_CLOUD

    @property
    def environment(self) -> EnvironmentId:
        """The one environment of this server."""
        return EnvironmentId("dev" if self.is_dev else "production")

    @property
    def signing_keys(self) -> tuple[str, ...]:
        """The keys that verify what apps sign, the current one first."""
        return tuple(key for key in (self.signing_key, self.signing_key_fallback) if key is not None)

    @property
    def retention(self) -> Retention:
        """What the janitor goes by."""
        return Retention(self.retention_ms, dict(self.function_retention_ms))

    @property
    def allows_private_fetches(self) -> bool:
        """Whether requests for steps may go to addresses that aren't of the public internet."""
        return self.is_dev if self.private_fetches is None else self.private_fetches

    @property
    def shown_db(self) -> str:
        """The database as logs and messages may have it: without a password."""
        if self.db is None:
            return "in memory"
        return shown_url(self.db) if isinstance(self.db, str) else str(self.db)

    @property
    def url(self) -> str:
        """Where this server is reached from this machine."""
        host = self.host if self.host not in ("0.0.0.0", "::", "") else "127.0.0.1"  # noqa: S104 - compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def checked(settings: Settings) -> Settings:
    """Return settings that can be run with.

    Raises ``ConfigError``: one line that says which setting is wrong and how to mend it.
    """
    if not 0 <= settings.port <= 65_535:
        raise ConfigError(f"--port must be between 0 and 65535, not {settings.port}")
    if settings.retry_interval_s is not None and settings.retry_interval_s < 0:
        raise ConfigError(f"--retry-interval can't be negative: {settings.retry_interval_s}")
    if settings.calls_per_app_max < 1:
        raise ConfigError(f"--calls-per-app must be at least 1, not {settings.calls_per_app_max}")
    if not 1 <= settings.steps_per_run_max <= 100_000:
        raise ConfigError(f"--steps-per-run must be between 1 and 100000, not {settings.steps_per_run_max}")
    if not 0 <= settings.grace_s <= GRACE_S_MAX:
        raise ConfigError(f"--grace must be between 0s and {GRACE_S_MAX}s, not {settings.grace_s:g}s")
    _check_retention(settings)
    for url in settings.sdk_urls:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"--sdk-url must be an http:// or https:// URL, not {url!r}")
    for key in settings.signing_keys:
        hashed_key(key)
    _check_database(settings)
    if not settings.is_dev:
        _check_keys(settings)
    return settings


def _check_retention(settings: Settings) -> None:
    flags = [("--retention", settings.retention_ms)]
    flags += [(f"--function-retention {name}", kept_ms) for name, kept_ms in settings.function_retention_ms]
    for flag, kept_ms in flags:
        if kept_ms is not None and kept_ms < RETENTION_MS_MIN:
            least = duration_text(RETENTION_MS_MIN)
            raise ConfigError(f"{flag} must be at least {least}, or off, not {duration_text(kept_ms)}")


def _check_database(settings: Settings) -> None:
    if not isinstance(settings.db, str):
        usual = Settings(is_dev=settings.is_dev)
        for flag, field in _OF_POSTGRES.items():
            if getattr(settings, field) != getattr(usual, field):
                raise ConfigError(f"{flag} is for PostgreSQL, but the database is {settings.shown_db}")
        return
    check_url("--db", settings.db)
    if settings.db_listen is not None:
        check_url("--db-listen", settings.db_listen)
    if not _SCHEMA.fullmatch(settings.db_schema) or settings.db_schema.startswith("pg_"):
        raise ConfigError(
            "--db-schema must be lower-case letters, digits and _, not begin with a digit or pg_, and have at most 63"
            f" characters, not {settings.db_schema!r}"
        )
    if not 3 <= settings.db_connections <= 100:
        raise ConfigError(f"--db-connections must be between 3 and 100, not {settings.db_connections}")
    if not 2 <= settings.take_over_s <= 600:
        raise ConfigError(f"--take-over must be between 2s and 10m, not {settings.take_over_s:g}s")
    if importlib.util.find_spec("asyncpg") is None:
        raise ConfigError('PostgreSQL needs asyncpg, which is not installed: pip install "stepwell[server,postgres]"')


def _check_keys(settings: Settings) -> None:
    if settings.signing_key is None:
        raise ConfigError(
            "a production server needs a signing key: --signing-key or STEPWELL_SIGNING_KEY"
            " (make one: openssl rand -hex 32)"
        )
    if not settings.event_keys:
        raise ConfigError("a production server needs an event key: --event-key or STEPWELL_EVENT_KEY")
    for flag, values in (("--event-key", settings.event_keys), ("--api-token", settings.api_tokens)):
        if any(len(value) < _KEY_CHARS_MIN for value in values):
            raise ConfigError(f"{flag} must have at least {_KEY_CHARS_MIN} characters: it is a secret")
