"""Registration: an app tells the server its functions (protocol 3)."""

from __future__ import annotations

from typing import Final, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec

from stepwell.limits import RETRIES_DEFAULT


class Trigger(msgspec.Struct, frozen=True, omit_defaults=True):
    """What starts a function: an event (with an optional CEL condition) or a cron schedule."""

    event: str | None = None
    expression: str | None = None
    cron: str | None = None
    jitter: str | None = None


class Runtime(msgspec.Struct, frozen=True):
    """How the one ``step`` of a function is reached. ``type`` is always written: servers have no default for it."""

    url: str
    type: str = "http"


class Retries(msgspec.Struct, frozen=True, omit_defaults=True):
    """The number of retries: total attempts are one more."""

    attempts: int | None = None


class StepConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """The only entry of ``steps`` in a function's configuration."""

    id: str
    runtime: Runtime
    name: str | None = None
    retries: Retries | None = None


class ConcurrencyConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """How many calls are in progress at a time, for each value of ``key``. 0 is no limit.

    Or the newer form of it: ``fn`` counts whole runs, ``step`` calls.
    """

    limit: int | None = None
    key: str | None = None
    scope: str | int | None = None
    """``fn``, ``env`` or ``account``; or 0, 1, 2."""
    fn: list[ConcurrencyConfig] | None = None
    step: list[ConcurrencyConfig] | None = None


ConcurrencyForm: TypeAlias = int | ConcurrencyConfig | list[ConcurrencyConfig] | None


class ThrottleConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """Starts are spread: ``limit`` in each ``period`` (a duration), and ``burst`` at once."""

    limit: int
    period: str
    burst: int | None = None
    key: str | None = None


class RateLimitConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """Starts beyond ``limit`` in a ``period`` (a duration) are skipped."""

    limit: int
    period: str
    key: str | None = None


class DebounceConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """A start waits until no event came for ``period``, but no longer than ``timeout`` (both durations)."""

    period: str
    key: str | None = None
    timeout: str | None = None


class BatchConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One run for up to ``max_size`` events, or for those that came within ``timeout`` (a duration) of the first."""

    max_size: int
    timeout: str
    key: str | None = None
    condition: str | None = msgspec.field(default=None, name="if")


class PriorityConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """``run``: an expression for the seconds by which a run goes before others of its function."""

    run: str | None = None


class CancelConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event that cancels a run, until ``timeout`` (a duration) after the run was made."""

    event: str
    condition: str | None = msgspec.field(default=None, name="if")
    timeout: str | None = None


class TimeoutsConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """Durations after which a run that has not started, or not ended, is cancelled."""

    start: str | None = None
    finish: str | None = None


class SingletonConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """One unfinished run for each value of ``key``. ``mode`` is ``skip`` or ``cancel``; or 0, 1."""

    mode: str | int
    key: str | None = None


class FunctionConfig(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A function as it is registered (protocol 3.4). Unknown and unused fields are kept by the server as they came.

    Flow control is here as it is written; ``engine/core/rules.py`` checks and reads it.
    """

    id: str
    steps: dict[str, StepConfig]
    name: str | None = None
    triggers: list[Trigger] = []
    retries: int | None = None
    concurrency: ConcurrencyForm = None
    run_concurrency: ConcurrencyForm = None
    """Ours: how many runs are between their first call and their end at a time."""
    throttle: ThrottleConfig | None = None
    rate_limit: RateLimitConfig | None = None
    debounce: DebounceConfig | None = None
    batch_events: BatchConfig | None = None
    priority: PriorityConfig | None = None
    idempotency: str | None = None
    cancel: list[CancelConfig] | None = None
    timeouts: TimeoutsConfig | None = None
    singleton: SingletonConfig | None = None

    @property
    def url(self) -> str:
        """The URL that the server calls, with the query's ``fnId``."""
        return self.steps["step"].runtime.url

    @property
    def max_attempts(self) -> int:
        """Total attempts of each call: one more than the retries, which are 4 where nothing is said."""
        step = self.steps["step"]
        retries = self.retries
        if step.retries is not None and step.retries.attempts is not None:
            retries = step.retries.attempts
        return 1 + (RETRIES_DEFAULT if retries is None else retries)


class SyncBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of ``POST /fn/register``, or the answer to an in-band PUT, its names folded to lower case."""

    url: str
    appname: str
    functions: list[msgspec.Raw]
    deploytype: str = "ping"
    framework: str | None = None
    sdk: str | None = None
    appversion: str | None = None


_decode_fields: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_body: Final = msgspec.json.Decoder(SyncBody).decode
decode_function: Final = msgspec.json.Decoder(FunctionConfig).decode
"""Read a function's configuration. Raises ``msgspec.DecodeError`` for what is none."""


def read_sync(raw: bytes) -> SyncBody:
    """Read a registration, out-of-band or in-band, whatever the case of its top-level names (protocol 3.1, 3.2).

    Raises ``msgspec.ValidationError`` or ``msgspec.DecodeError`` for anything that isn't one.
    """
    fields: dict[str, msgspec.Raw] = {key.lower().replace("_", ""): value for key, value in _decode_fields(raw).items()}
    fields = {key: value for key, value in fields.items() if bytes(value) != b"null"}
    if "appid" in fields:
        fields.setdefault("appname", fields["appid"])
    if "sdk" not in fields and "sdklanguage" in fields and "sdkversion" in fields:
        language, version = (msgspec.json.decode(fields[key], type=str) for key in ("sdklanguage", "sdkversion"))
        fields["sdk"] = msgspec.Raw(msgspec.json.encode(f"{language}:v{version}"))
    known = {key: fields[key] for key in SyncBody.__struct_fields__ if key in fields}
    return _decode_body(msgspec.json.encode(known))


def plain_url(url: str) -> str:
    """Return a serve URL without its query, and with ``localhost`` for the ways to write it, to compare apps by it."""
    return plain_host(url).partition("?")[0].partition("#")[0]


def plain_host(url: str) -> str:
    """Return a URL with ``localhost`` for the ways to write it: an SDK takes its own host from whoever asks it."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in ("127.0.0.1", "0.0.0.0", "::1"):  # noqa: S104 - compared, not bound
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit(parts._replace(netloc=host + port))
