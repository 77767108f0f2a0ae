"""What a sync changes (protocol 3.3, 3.4): an app's functions are checked, compared with the known ones, and planned."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from stepwell.engine.core.cron import parse_cron
from stepwell.engine.core.expression import compile_expression
from stepwell.engine.core.model import App, Function, FunctionChange
from stepwell.engine.core.rules import rules_of
from stepwell.engine.core.trigger import Registry
from stepwell.errors import CronError, DurationError, ExpressionError, FunctionConfigError
from stepwell.limits import (
    FUNCTIONS_PER_APP_MAX,
    JITTER_MS_MAX,
    JITTER_MS_MIN,
    RETRIES_MAX,
    TRIGGER_EVENT_CHARS_MAX,
    TRIGGERS_PER_FUNCTION_MAX,
)
from stepwell.protocol.canonical import NotJson, canonical, encode_text
from stepwell.protocol.duration import duration_ms, duration_text
from stepwell.protocol.ids import AppId, EnvironmentId, FunctionId, named_uuid
from stepwell.protocol.sync import FunctionConfig, SyncBody, Trigger, decode_function, plain_host, plain_url

_SLUG_CHARS_MAX: Final = 255
_APP_NAME_CHARS_MAX: Final = 255  # it is an index key


class SyncPlan(NamedTuple):
    """An app as it will be, and the changes to its functions."""

    app: App
    changes: tuple[FunctionChange, ...]
    archived: tuple[FunctionId, ...]
    is_modified: bool
    warnings: tuple[str, ...]


def app_id(environment: EnvironmentId, name: str) -> AppId:
    """Name an app's id: the same for each sync and replica."""
    return AppId(named_uuid("app", environment, name))


def plan_sync(body: SyncBody, registry: Registry, apps: Sequence[App], *, now: int) -> SyncPlan:
    """Check a registration and say what it changes.

    Raises ``FunctionConfigError`` naming the function and the field: one invalid function refuses the whole sync.
    """
    environment = registry.environment
    if not body.appname:
        raise FunctionConfigError("the app has no name")
    if len(body.appname) > _APP_NAME_CHARS_MAX:
        raise FunctionConfigError(f"the app's name has more than {_APP_NAME_CHARS_MAX} characters, which is the limit")
    for text in (body.appname, body.url, body.sdk, body.framework, body.appversion):
        _refuse_nul(text, f"app {body.appname!r}")
    if len(body.functions) > FUNCTIONS_PER_APP_MAX:
        raise FunctionConfigError(f"the app has {len(body.functions)} functions; the limit is {FUNCTIONS_PER_APP_MAX}")
    id = app_id(environment, body.appname)
    url = _app_url(body.url)
    known = next((app for app in apps if app.id == id), None)
    changes: list[FunctionChange] = []
    warnings: list[str] = []
    seen: set[FunctionId] = set()
    for index, raw in enumerate(body.functions):
        change = _change(bytes(raw), index, id, registry, now, warnings)
        if change.function.id in seen:
            raise FunctionConfigError(f"two functions have the id {change.function.slug!r}: give one of them another")
        seen.add(change.function.id)
        changes.append(change)
    archived = tuple(
        function.id
        for function in registry.by_id.values()
        if function.app_id == id and not function.is_archived and function.id not in seen
    )
    checksum = _checksum(body, url, changes)
    app = App(
        id=id,
        environment=environment,
        name=body.appname,
        transport="connect" if body.deploytype == "connect" else "http",
        url=url,
        sdk=body.sdk or "",
        framework=body.framework or "",
        version=body.appversion or "",
        checksum=checksum,
        synced_at=now,
    )
    is_modified = known is None or known.archived_at is not None or known.checksum != checksum or bool(archived)
    return SyncPlan(app, tuple(changes), archived, is_modified, tuple(warnings))


def _change(raw: bytes, index: int, app: AppId, registry: Registry, now: int, warnings: list[str]) -> FunctionChange:
    try:
        config = decode_function(raw)
        encoded = canonical(raw).encoded
    except (msgspec.DecodeError, UnicodeDecodeError, NotJson, RecursionError) as error:
        raise FunctionConfigError(f"$.functions[{index}]: {error}") from None
    warnings += _check(config)
    id = FunctionId(named_uuid("function", registry.environment, config.id))
    known = registry.by_id.get(id)
    if known is not None and known.app_id != app and not known.is_archived:
        raise FunctionConfigError(f"another app has a function {config.id!r}: give this one another id")
    is_changed = known is None or _comparable(known.registered, known.config.url) != _comparable(encoded, config.url)
    version = 1 if known is None else known.version + is_changed
    function = Function(
        id=id,
        app_id=app,
        environment=registry.environment,
        slug=config.id,
        version=version,
        config=config,
        max_attempts=config.max_attempts,
        registered=encoded,
    )
    crons = {trigger.cron for trigger in config.triggers if trigger.cron is not None}
    return FunctionChange(
        function=function,
        name=config.name or config.id,
        config=encoded,
        is_changed=is_changed,
        crons=tuple((cron, parse_cron(cron).next_after(now)) for cron in sorted(crons)),
    )


def _check(config: FunctionConfig) -> list[str]:
    """Check a function's configuration, and return warnings. Raises ``FunctionConfigError``."""
    where = f"function {config.id!r}"
    if not config.id or len(config.id) > _SLUG_CHARS_MAX:
        raise FunctionConfigError(f"a function's id must have 1 to {_SLUG_CHARS_MAX} characters: {config.id[:80]!r}")
    _refuse_nul(config.id, where)
    _refuse_nul(config.name, where)
    if list(config.steps) != ["step"]:
        raise FunctionConfigError(f"{where} must have exactly one step, named 'step'")
    if not _is_callable(config.url):
        raise FunctionConfigError(f"{where} has a URL that can't be called: {config.url[:200]!r}")
    if not 0 <= config.max_attempts - 1 <= RETRIES_MAX:
        raise FunctionConfigError(f"{where} has {config.max_attempts - 1} retries; the limits are 0 and {RETRIES_MAX}")
    if len(config.triggers) > TRIGGERS_PER_FUNCTION_MAX:
        raise FunctionConfigError(
            f"{where} has {len(config.triggers)} triggers; the limit is {TRIGGERS_PER_FUNCTION_MAX}"
        )
    if len(set(config.triggers)) != len(config.triggers):
        raise FunctionConfigError(f"{where} has the same trigger twice")
    for trigger in config.triggers:
        _check_trigger(trigger, where)
    try:
        rules = rules_of(config)
    except FunctionConfigError as error:
        raise FunctionConfigError(f"{where}: {error}") from None
    return [
        f"{where} is cancelled by events named {rule.event!r} alone: a cancel rule has no wildcards"
        for rule in rules.cancel
        if "*" in rule.event
    ]


def _refuse_nul(text: str | None, where: str) -> None:
    """Refuse what PostgreSQL couldn't store, whatever the database is."""
    if text is not None and "\0" in text:
        raise FunctionConfigError(f"{where} has the character U+0000 in a text: {text[:80]!r}")


def _is_callable(url: str) -> bool:
    try:
        plain = urlsplit(plain_url(url))
    except ValueError:
        return False
    return plain.scheme in ("http", "https", "ws", "wss") and bool(plain.hostname)


def _check_trigger(trigger: Trigger, where: str) -> None:
    if (trigger.event is None) == (trigger.cron is None):
        raise FunctionConfigError(f"{where} has a trigger that is neither an event nor a cron schedule (or both)")
    try:
        if trigger.cron is not None:
            parse_cron(trigger.cron)
        if trigger.jitter is not None:
            _check_jitter(trigger.jitter)
        if trigger.expression is not None:
            compile_expression(trigger.expression)
    except (CronError, DurationError, ExpressionError) as error:
        raise FunctionConfigError(f"{where}: {error}") from None
    if trigger.event is None:
        return
    _refuse_nul(trigger.event, where)
    if not 0 < len(trigger.event) <= TRIGGER_EVENT_CHARS_MAX:
        raise FunctionConfigError(f"{where}: an event name must have 1 to {TRIGGER_EVENT_CHARS_MAX} characters")
    if "*" in trigger.event[:-1] or (trigger.event.endswith("*") and trigger.event[-2:] not in ("/*", ".*")):
        raise FunctionConfigError(
            f"{where}: {trigger.event!r} is no event name: a wildcard stands at the end, behind a '/' or a '.'"
        )


def _check_jitter(jitter: str) -> None:
    if not JITTER_MS_MIN <= duration_ms(jitter) <= JITTER_MS_MAX:
        allowed = f"{duration_text(JITTER_MS_MIN)} to {duration_text(JITTER_MS_MAX)}"
        raise DurationError(f"the jitter of a schedule must be {allowed}, not {jitter!r}")


def _comparable(registered: bytes, url: str) -> bytes:
    """Write a configuration so that two ways to write its host are one: an app answers with the host it was asked by."""
    return registered.replace(encode_text(url), encode_text(plain_host(url)))


def _app_url(url: str) -> str:
    try:
        return plain_url(url)
    except ValueError as error:
        raise FunctionConfigError(f"the app's URL can't be called: {url[:200]!r} ({error})") from None


def _checksum(body: SyncBody, url: str, changes: Sequence[FunctionChange]) -> str:
    """Sum up a registration by its meaning: in-band and out-of-band, SDKs write the same functions in different bytes."""
    app = (body.appname, url, body.deploytype, body.framework, body.sdk, body.appversion)
    digest = hashlib.sha256(msgspec.json.encode(app))
    for change in changes:
        digest.update(_comparable(change.config, change.function.config.url))
    return digest.hexdigest()
