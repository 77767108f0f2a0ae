"""Flow control, as users write it at a function: how many at a time, how often, in which order, until when.

Each class checks what it is given when it is made, and raises ``FunctionConfigError``; ``flow_fields`` checks what can't
go together. Durations are ``"90s"``, seconds or a timedelta. Keys and conditions are CEL expressions on the ``event``: with a
``key`` each of its values has a count of its own. What they do is in protocol 11.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias

import msgspec

from stepwell.errors import DurationError, ExpressionError, FunctionConfigError
from stepwell.limits import (
    BATCH_SIZE_MAX,
    BATCH_SIZE_MIN,
    BATCH_TIMEOUT_MS_MAX,
    CANCEL_RULES_MAX,
    CONCURRENCY_RULES_MAX,
    DEBOUNCE_PERIOD_MS_MAX,
    FLOW_COUNT_MAX,
    FLOW_PERIOD_MS_MIN,
    RATE_PERIOD_MS_MAX,
    RUN_TIMEOUT_MS_MAX,
    THROTTLE_PERIOD_MS_MAX,
    TRIGGER_EVENT_CHARS_MAX,
)
from stepwell.protocol.duration import Duration, duration_ms, duration_text
from stepwell.protocol.sync import (
    BatchConfig,
    CancelConfig,
    ConcurrencyConfig,
    DebounceConfig,
    PriorityConfig,
    RateLimitConfig,
    SingletonConfig,
    ThrottleConfig,
    TimeoutsConfig,
)
from stepwell.sdk.condition import check_expression, condition

Scope: TypeAlias = Literal["fn", "env", "account"]
_SCOPES: Final = ("fn", "env", "account")
_MODES: Final = ("skip", "cancel")
_UNBATCHED: Final = ("cancel", "debounce", "priority", "singleton")  # protocol 3.4


class Concurrency(msgspec.Struct, frozen=True):
    """At most ``limit`` at a time: of calls as ``concurrency=``, of whole runs as ``run_concurrency=``.

    ``scope`` says who shares the count: the runs of this function (``fn``), or all functions of the environment (``env``)
    or of the server (``account``) that have the same ``key``, which these two need.
    """

    limit: int
    key: str | None = None
    scope: Scope = "fn"

    def __post_init__(self) -> None:
        _check_count("Concurrency", "limit", self.limit)
        _check_key("Concurrency", self.key)
        if self.scope not in _SCOPES:
            raise FunctionConfigError(f"Concurrency: scope is one of {', '.join(_SCOPES)}: {self.scope!r}")
        if self.scope != "fn" and self.key is None:
            raise FunctionConfigError(
                f"Concurrency: the scope {self.scope!r} needs a key: functions with the same one share the count"
            )

    def config(self) -> ConcurrencyConfig:
        """Return it as it is registered."""
        return ConcurrencyConfig(self.limit, self.key, None if self.scope == "fn" else self.scope)


class Throttle(msgspec.Struct, frozen=True):
    """Start at most ``limit`` runs in each ``period`` (1 s to 7 d), spread evenly, and ``burst`` of them at once.

    The others wait for their turn; none is dropped.
    """

    limit: int
    period: Duration
    burst: int = 1
    key: str | None = None

    def __post_init__(self) -> None:
        _check_count("Throttle", "limit", self.limit)
        _check_count("Throttle", "burst", self.burst)
        _check_key("Throttle", self.key)
        self.config()

    def config(self) -> ThrottleConfig:
        """Return it as it is registered."""
        period = _period("Throttle", "period", self.period, THROTTLE_PERIOD_MS_MAX)
        return ThrottleConfig(self.limit, period, None if self.burst == 1 else self.burst, self.key)


class RateLimit(msgspec.Struct, frozen=True):
    """Start at most ``limit`` runs in any ``period`` (1 s to 24 h); skip the others."""

    limit: int
    period: Duration
    key: str | None = None

    def __post_init__(self) -> None:
        _check_count("RateLimit", "limit", self.limit)
        _check_key("RateLimit", self.key)
        self.config()

    def config(self) -> RateLimitConfig:
        """Return it as it is registered."""
        return RateLimitConfig(self.limit, _period("RateLimit", "period", self.period, RATE_PERIOD_MS_MAX), self.key)


class Debounce(msgspec.Struct, frozen=True):
    """Start one run, with the last event, when no other came for ``period`` (1 s to 7 d), ``timeout`` after the first at most."""

    period: Duration
    key: str | None = None
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        _check_key("Debounce", self.key)
        self.config()

    def config(self) -> DebounceConfig:
        """Return it as it is registered."""
        return DebounceConfig(
            _period("Debounce", "period", self.period, DEBOUNCE_PERIOD_MS_MAX),
            self.key,
            _optional("Debounce", "timeout", self.timeout, RUN_TIMEOUT_MS_MAX),
        )


class Batch(msgspec.Struct, frozen=True):
    """Start one run for up to ``size_max`` events (2 to 100), or for those within ``timeout`` (1 s to 10 min) of the first.

    The handler asks for ``events``. An event for which ``if_`` is false starts a run alone.
    """

    size_max: int
    timeout: Duration
    key: str | None = None
    if_: str | None = None

    def __post_init__(self) -> None:
        _check_count("Batch", "size_max", self.size_max, min=BATCH_SIZE_MIN, max=BATCH_SIZE_MAX)
        _check_key("Batch", self.key)
        _check_key("Batch", self.if_, what="if_")
        self.config()

    def config(self) -> BatchConfig:
        """Return it as it is registered."""
        timeout = _period("Batch", "timeout", self.timeout, BATCH_TIMEOUT_MS_MAX)
        return BatchConfig(self.size_max, timeout, self.key, self.if_)


class CancelOn(msgspec.Struct, frozen=True):
    """Cancel a run on an event, until ``timeout`` after the run was made (its end unless given).

    ``match="data.orderId"`` takes only one that has the same value there as the run's own event; ``if_`` is a CEL
    expression on both, ``event`` and ``async``, of comparisons alone.
    """

    event: str
    match: str | None = None
    if_: str | None = None
    timeout: Duration | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.event, str) or not 0 < len(self.event) <= TRIGGER_EVENT_CHARS_MAX:  # pyright: ignore[reportUnnecessaryIsInstance] - users' input
            raise FunctionConfigError(
                f"CancelOn: an event's name has 1 to {TRIGGER_EVENT_CHARS_MAX} characters: {self.event!r}"
            )
        self.config()

    def config(self) -> CancelConfig:
        """Return it as it is registered."""
        try:
            expression = condition(self.match, self.if_)
        except ExpressionError as error:
            raise FunctionConfigError(f"CancelOn: {error}") from None
        return CancelConfig(self.event, expression, _optional("CancelOn", "timeout", self.timeout, RUN_TIMEOUT_MS_MAX))


class Timeouts(msgspec.Struct, frozen=True):
    """Cancel a run that hasn't begun ``start`` after it was made, or hasn't ended ``finish`` after it began."""

    start: Duration | None = None
    finish: Duration | None = None

    def __post_init__(self) -> None:
        if self.start is None and self.finish is None:
            raise FunctionConfigError("Timeouts: give start, finish or both")
        self.config()

    def config(self) -> TimeoutsConfig:
        """Return it as it is registered."""
        return TimeoutsConfig(
            _optional("Timeouts", "start", self.start, RUN_TIMEOUT_MS_MAX),
            _optional("Timeouts", "finish", self.finish, RUN_TIMEOUT_MS_MAX),
        )


class Singleton(msgspec.Struct, frozen=True):
    """At most one run that hasn't ended: a second is skipped, or, in the mode ``cancel``, takes the place of the first."""

    key: str | None = None
    mode: Literal["skip", "cancel"] = "skip"

    def __post_init__(self) -> None:
        _check_key("Singleton", self.key)
        if self.mode not in _MODES:
            raise FunctionConfigError(f"Singleton: mode is 'skip' or 'cancel': {self.mode!r}")

    def config(self) -> SingletonConfig:
        """Return it as it is registered."""
        return SingletonConfig(self.mode, self.key)


AtATime: TypeAlias = int | Concurrency | Iterable[int | Concurrency]
"""What ``concurrency=`` and ``run_concurrency=`` take."""

Cancels: TypeAlias = CancelOn | Iterable[CancelOn]
"""What ``cancel=`` takes."""


def flow_fields(
    function_id: str,
    *,
    concurrency: AtATime | None,
    run_concurrency: AtATime | None,
    throttle: Throttle | None,
    rate_limit: RateLimit | None,
    debounce: Debounce | None,
    batch: Batch | None,
    priority: str | None,
    idempotency: str | None,
    cancel: Cancels | None,
    timeouts: Timeouts | None,
    singleton: Singleton | None,
) -> dict[str, Any]:
    """Return the fields of ``FunctionConfig`` for a function's flow control (protocol 3.4).

    Raises ``FunctionConfigError`` with the function's id for what is none, for too many rules, and for a batch with what it
    can't be with.
    """
    try:
        cancels = _cancels(cancel)
        found = {
            "concurrency": _at_a_time("concurrency", concurrency),
            "run_concurrency": _at_a_time("run_concurrency", run_concurrency),
            "throttle": _config("throttle", throttle, Throttle),
            "rate_limit": _config("rate_limit", rate_limit, RateLimit),
            "debounce": _config("debounce", debounce, Debounce),
            "batch_events": _config("batch", batch, Batch),
            "priority": None if priority is None else PriorityConfig(_expression("priority", priority)),
            "idempotency": None if idempotency is None else _expression("idempotency", idempotency),
            "cancel": cancels,
            "timeouts": _config("timeouts", timeouts, Timeouts),
            "singleton": _config("singleton", singleton, Singleton),
        }
        if batch is not None:
            refused = [name for name in _UNBATCHED if found[name] is not None]
            if refused:
                raise FunctionConfigError(
                    f"batch can't be together with {' and '.join(refused)}: these are about one event's run"
                )
    except FunctionConfigError as error:
        raise FunctionConfigError(f"function {function_id!r}: {error}") from None
    return {name: value for name, value in found.items() if value is not None}


def _config(name: str, given: Any, kind: type[Any]) -> Any:
    if given is None:
        return None
    if not isinstance(given, kind):
        raise FunctionConfigError(f"{name} takes {kind.__name__}(…): {given!r}")
    return given.config()


def _at_a_time(name: str, given: AtATime | None) -> list[ConcurrencyConfig] | None:
    if given is None:
        return None
    takes = f"{name} takes a number, Concurrency(…), or a list of up to {CONCURRENCY_RULES_MAX} of them"
    try:
        rules = [given] if isinstance(given, (int, Concurrency)) else list(given)
    except TypeError:
        raise FunctionConfigError(f"{takes}: {given!r}") from None
    if not 0 < len(rules) <= CONCURRENCY_RULES_MAX:
        raise FunctionConfigError(f"{takes}: these are {len(rules)}")
    return [_rule(rule, takes).config() for rule in rules]


def _rule(rule: object, takes: str) -> Concurrency:
    match rule:
        case Concurrency():
            return rule
        case int():
            return Concurrency(rule)
        case _:
            raise FunctionConfigError(f"{takes}: {rule!r}")


def _cancels(given: Cancels | None) -> list[CancelConfig] | None:
    if given is None:
        return None
    takes = f"cancel takes CancelOn(…), or a list of up to {CANCEL_RULES_MAX} of them"
    try:
        rules = [given] if isinstance(given, CancelOn) else list(given)
    except TypeError:
        raise FunctionConfigError(f"{takes}: {given!r}") from None
    if not 0 < len(rules) <= CANCEL_RULES_MAX:
        raise FunctionConfigError(f"{takes}: these are {len(rules)}")
    return [_config("cancel", rule, CancelOn) for rule in rules]


def _check_count(where: str, name: str, count: int, *, min: int = 1, max: int = FLOW_COUNT_MAX) -> None:  # noqa: A002 - what they are
    if not isinstance(count, int) or isinstance(count, bool) or not min <= count <= max:  # pyright: ignore[reportUnnecessaryIsInstance] - users' input
        raise FunctionConfigError(f"{where}: {name} goes from {min} to {max}: {count!r}")


def _check_key(where: str, key: str | None, *, what: str = "key") -> None:
    if key is not None:
        try:
            check_expression(what, key)
        except ExpressionError as error:
            raise FunctionConfigError(f"{where}: {error}") from None


def _expression(name: str, text: str) -> str:
    try:
        check_expression(name, text)
    except ExpressionError as error:
        raise FunctionConfigError(str(error)) from None
    return text


def _period(where: str, name: str, duration: Duration, ms_max: int) -> str:
    """Return a duration in the protocol's form; raise ``FunctionConfigError`` for one out of range."""
    try:
        ms = duration_ms(duration)
    except (DurationError, TypeError) as error:
        raise FunctionConfigError(f"{where}: {name}: {error}") from None
    if not FLOW_PERIOD_MS_MIN <= ms <= ms_max:
        least, most = duration_text(FLOW_PERIOD_MS_MIN), duration_text(ms_max)
        raise FunctionConfigError(f"{where}: {name} goes from {least} to {most}: {duration!r}")
    return duration_text(ms)


def _optional(where: str, name: str, duration: Duration | None, ms_max: int) -> str | None:
    return None if duration is None else _period(where, name, duration, ms_max)
