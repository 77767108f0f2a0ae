"""Rules: a function's flow control, checked and compiled, and what it says of one event (protocol 3.4, 10, 11).

``rules_of`` reads a configuration once. A ``Rules`` then evaluates its keys for an event: which partition the run's
first call is in, what is asked before the run starts, how far it may go ahead of others. What the answers do is in
``flow.py`` and in the store.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from stepwell.engine.core.condition import check_cancel_condition
from stepwell.engine.core.expression import Expression, compile_expression, to_key
from stepwell.engine.core.model import Admission, Gather, GatherKind, RateLimit, Singleton, SingletonMode
from stepwell.engine.core.partition import HELD, Scope, Token, TokenKind, partition_text, rule_id, value_hash
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
    PRIORITY_MS_MAX,
    RATE_PERIOD_MS_MAX,
    RUN_TIMEOUT_MS_MAX,
    SECOND_MS,
    THROTTLE_PERIOD_MS_MAX,
    TRIGGER_EVENT_CHARS_MAX,
)
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import duration_ms, duration_text
from stepwell.protocol.ids import FunctionId
from stepwell.protocol.sync import (
    BatchConfig,
    CancelConfig,
    ConcurrencyConfig,
    ConcurrencyForm,
    DebounceConfig,
    FunctionConfig,
    RateLimitConfig,
    SingletonConfig,
    ThrottleConfig,
)

_UNKEYED: Final = "\0"
"""What stands for the value of a key that can't be evaluated: such events are a group of their own."""

_SCOPES: Final[Mapping[str | int | None, Scope]] = {
    None: Scope.FN,
    "": Scope.FN,
    **{scope.value: scope for scope in Scope},
    **dict(enumerate(Scope)),
}
_MODES: Final[Mapping[str | int, SingletonMode]] = {
    **{mode.value: mode for mode in SingletonMode},
    **dict(enumerate(SingletonMode)),
}


class SlotRule(NamedTuple):
    """Up to ``limit`` of what is counted, for each value of ``key``."""

    id: str
    limit: int
    scope: Scope
    key: Expression | None

    @property
    def text(self) -> str:
        """The key as the app wrote it; empty without one."""
        return self.key.text if self.key is not None else ""


class ThrottleRule(NamedTuple):
    """Starts are spread evenly, ``burst`` of them at once."""

    id: str
    limit: int
    period_ms: int
    burst: int
    key: Expression | None


class RateRule(NamedTuple):
    """Starts beyond ``limit`` in any ``period_ms`` are skipped."""

    id: str
    limit: int
    period_ms: int
    key: Expression | None


class DebounceRule(NamedTuple):
    """A start waits for ``period_ms`` without an event, but no longer than ``timeout_ms``."""

    id: str
    period_ms: int
    key: Expression | None
    timeout_ms: int | None


class BatchRule(NamedTuple):
    """Events are collected; those for which ``condition`` is false start alone."""

    id: str
    size_max: int
    timeout_ms: int
    key: Expression | None
    condition: Expression | None


class SingletonRule(NamedTuple):
    """One unfinished run for each value of ``key``."""

    id: str
    mode: SingletonMode
    key: Expression | None


class CancelRule(NamedTuple):
    """An event cancels the run if ``condition`` is true of it, until ``timeout_ms`` after the run was made."""

    event: str
    condition: str | None
    timeout_ms: int | None


class Rules(NamedTuple):
    """All flow control of a function. Where nothing is said, nothing is limited."""

    steps: tuple[SlotRule, ...] = ()
    """Of calls in progress."""
    runs: tuple[SlotRule, ...] = ()
    """Of runs between their first call and their end."""
    throttle: ThrottleRule | None = None
    rate: RateRule | None = None
    debounce: DebounceRule | None = None
    batch: BatchRule | None = None
    priority: Expression | None = None
    idempotency: Expression | None = None
    singleton: SingletonRule | None = None
    cancel: tuple[CancelRule, ...] = ()
    start_timeout_ms: int | None = None
    finish_timeout_ms: int | None = None

    @property
    def is_plain(self) -> bool:
        """Tell whether there is no flow control at all."""
        return self == PLAIN

    @property
    def reads_event(self) -> bool:
        """Tell whether the event has to be decoded: an expression is evaluated when it comes."""
        keyed = (*self.steps, *self.runs, self.throttle, self.rate, self.debounce, self.batch, self.singleton)
        alone = (self.priority, self.idempotency, self.batch and self.batch.condition)
        return any(rule.key is not None for rule in keyed if rule) or any(alone)

    def partition_of(
        self, function_id: FunctionId, variables: Mapping[str, Json], *, is_held: bool, now_ms: int
    ) -> str:
        """Return the partition of the first call of a run for an event. ``variables`` are ``{"event": …}``.

        Never raises: events for which a key can't be evaluated are a group of their own.
        """
        tokens: list[Token] = [HELD] if is_held else []
        for kind, rules in ((TokenKind.STEPS, self.steps), (TokenKind.RUNS, self.runs)):
            tokens += (Token(kind, rule.id, _hashed(rule.key, variables, now_ms)) for rule in rules)
        singleton = self._singleton_token(variables, now_ms)
        if singleton is not None:
            tokens.append(singleton)
        if self.throttle is not None:
            value = _hashed(self.throttle.key, variables, now_ms)
            tokens.append(Token(TokenKind.THROTTLE, self.throttle.id, value))
        return partition_text(function_id, tokens)

    def admission(self, variables: Mapping[str, Json], *, now_ms: int, is_paused: bool) -> Admission | None:
        """Return what is asked before a run for an event starts; None: nothing. Never raises.

        Keys are ``<rule>.<value>``, hashed; that of a singleton is its token's text (``partition.py``).
        """
        if is_paused:
            return Admission(skip_reason="paused")
        admission = Admission(
            idempotency=self._idempotency(variables, now_ms),
            rate=self._rate(variables, now_ms),
            gather=self._gather(variables, now_ms),
            singleton=self._singleton(variables, now_ms),
        )
        return admission if admission != _FREE else None

    def priority_ms(self, variables: Mapping[str, Json], *, now_ms: int) -> int:
        """Return by how much a run goes before others of its function: 0 where the expression gives no integer."""
        if self.priority is None:
            return 0
        try:
            value = self.priority.evaluate(variables, now_ms)
        except ExpressionError:
            return 0
        if not isinstance(value, int) or isinstance(value, bool):
            return 0
        return max(-PRIORITY_MS_MAX, min(value * SECOND_MS, PRIORITY_MS_MAX))

    def _idempotency(self, variables: Mapping[str, Json], now_ms: int) -> str | None:
        if self.idempotency is None:
            return None
        value = _switching(self.idempotency, variables, now_ms)
        return f"{_id('idempotency', self.idempotency)}.{value}" if value is not None else None

    def _rate(self, variables: Mapping[str, Json], now_ms: int) -> RateLimit | None:
        rule = self.rate
        if rule is None:
            return None
        value = _switching(rule.key, variables, now_ms)
        return RateLimit(f"{rule.id}.{value}", rule.limit, rule.period_ms) if value is not None else None

    def _gather(self, variables: Mapping[str, Json], now_ms: int) -> Gather | None:
        if self.batch is not None:
            rule = self.batch
            if rule.condition is not None and not rule.condition.test(variables, now_ms):
                return None
            key = f"{rule.id}.{_hashed(rule.key, variables, now_ms)}"
            return Gather(GatherKind.BATCH, key, rule.timeout_ms, size_max=rule.size_max)
        if self.debounce is not None:
            rule = self.debounce
            key = f"{rule.id}.{_hashed(rule.key, variables, now_ms)}"
            return Gather(GatherKind.DEBOUNCE, key, rule.period_ms, delay_max_ms=rule.timeout_ms)
        return None

    def _singleton(self, variables: Mapping[str, Json], now_ms: int) -> Singleton | None:
        token = self._singleton_token(variables, now_ms)
        return Singleton(token.text, self.singleton.mode) if self.singleton is not None and token is not None else None

    def _singleton_token(self, variables: Mapping[str, Json], now_ms: int) -> Token | None:
        if self.singleton is None:
            return None
        value = _switching(self.singleton.key, variables, now_ms)
        return Token(TokenKind.SINGLETON, self.singleton.id, value) if value is not None else None


PLAIN: Final = Rules()
"""No flow control."""
_FREE: Final = Admission()


def rules_of(config: FunctionConfig) -> Rules:
    """Check and compile a function's flow control.

    Raises ``FunctionConfigError`` that names the field, and says what is allowed.
    """
    rules = Rules(
        steps=_slot_rules("concurrency", TokenKind.STEPS, *_steps_of(config)),
        runs=_slot_rules("concurrency of runs", TokenKind.RUNS, *_runs_of(config)),
        throttle=_throttle(config.throttle),
        rate=_rate_limit(config.rate_limit),
        debounce=_debounce(config.debounce),
        batch=_batch(config.batch_events),
        priority=_compiled("priority.run", config.priority.run) if config.priority is not None else None,
        idempotency=_compiled("idempotency", config.idempotency),
        singleton=_singleton(config.singleton),
        cancel=_cancel_rules(config.cancel or []),
        start_timeout_ms=_timeout("timeouts.start", config.timeouts.start) if config.timeouts is not None else None,
        finish_timeout_ms=_timeout("timeouts.finish", config.timeouts.finish) if config.timeouts is not None else None,
    )
    if rules.batch is not None:
        others = (
            ("cancel", rules.cancel),
            ("debounce", rules.debounce),
            ("singleton", rules.singleton),
            ("priority", rules.priority),
        )
        for name, rule in others:
            if rule:
                raise FunctionConfigError(f"batchEvents can't be combined with {name}: leave out one of them")
    return rules


def _steps_of(config: FunctionConfig) -> list[tuple[str, ConcurrencyConfig]]:
    form = config.concurrency
    if isinstance(form, ConcurrencyConfig) and _is_split(form):
        return _listed("concurrency.step", form.step)
    return _listed("concurrency", form)


def _runs_of(config: FunctionConfig) -> list[tuple[str, ConcurrencyConfig]]:
    form = config.concurrency
    found = _listed("runConcurrency", config.run_concurrency)
    if isinstance(form, ConcurrencyConfig) and _is_split(form):
        found = _listed("concurrency.fn", form.fn) + found
    return found


def _is_split(form: ConcurrencyConfig) -> bool:
    return form.fn is not None or form.step is not None


def _listed(field: str, form: ConcurrencyForm) -> list[tuple[str, ConcurrencyConfig]]:
    """Return the rules of any form, each with its place in the configuration."""
    if form is None:
        return []
    if isinstance(form, int):
        return [(field, ConcurrencyConfig(limit=form))]
    if isinstance(form, ConcurrencyConfig):
        return [(field, form)]
    return [(f"{field}[{index}]", rule) for index, rule in enumerate(form)]


def _slot_rules(what: str, kind: TokenKind, *listed: tuple[str, ConcurrencyConfig]) -> tuple[SlotRule, ...]:
    """Read concurrency rules. Of two that count the same, the lower limit holds."""
    if len(listed) > CONCURRENCY_RULES_MAX:
        raise FunctionConfigError(f"{what} has {len(listed)} rules; the limit is {CONCURRENCY_RULES_MAX}")
    found: dict[str, SlotRule] = {}
    for field, config in listed:
        rule = _slot_rule(field, kind, config)
        if rule is not None and (rule.id not in found or rule.limit < found[rule.id].limit):
            found[rule.id] = rule
    return tuple(found[id] for id in sorted(found))


def _slot_rule(field: str, kind: TokenKind, config: ConcurrencyConfig) -> SlotRule | None:
    if config.limit is None:
        raise FunctionConfigError(f"{field}.limit is missing")
    limit = _count(f"{field}.limit", config.limit, least=0)
    scope = _SCOPES.get(config.scope.lower() if isinstance(config.scope, str) else config.scope)
    if scope is None:
        raise FunctionConfigError(f"{field}.scope must be fn, env or account, not {config.scope!r}")
    key = _compiled(f"{field}.key", config.key)
    if key is None and scope is not Scope.FN:
        raise FunctionConfigError(f"{field} has the scope {scope}, and no key: name what functions share by one")
    if limit == 0:
        return None
    return SlotRule(_id(kind, key, scope), limit, scope, key)


def _throttle(config: ThrottleConfig | None) -> ThrottleRule | None:
    if config is None:
        return None
    key = _compiled("throttle.key", config.key)
    return ThrottleRule(
        id=_id(TokenKind.THROTTLE, key),
        limit=_count("throttle.limit", config.limit),
        period_ms=_period("throttle.period", config.period, THROTTLE_PERIOD_MS_MAX),
        burst=_count("throttle.burst", config.burst or 0, least=0) or 1,
        key=key,
    )


def _rate_limit(config: RateLimitConfig | None) -> RateRule | None:
    if config is None:
        return None
    key = _compiled("rateLimit.key", config.key)
    return RateRule(
        id=_id("rate", key),
        limit=_count("rateLimit.limit", config.limit),
        period_ms=_period("rateLimit.period", config.period, RATE_PERIOD_MS_MAX),
        key=key,
    )


def _debounce(config: DebounceConfig | None) -> DebounceRule | None:
    if config is None:
        return None
    key = _compiled("debounce.key", config.key)
    return DebounceRule(
        id=_id("debounce", key),
        period_ms=_period("debounce.period", config.period, DEBOUNCE_PERIOD_MS_MAX),
        key=key,
        timeout_ms=_timeout("debounce.timeout", config.timeout),
    )


def _batch(config: BatchConfig | None) -> BatchRule | None:
    if config is None:
        return None
    key = _compiled("batchEvents.key", config.key)
    return BatchRule(
        id=_id("batch", key),
        size_max=_count("batchEvents.maxSize", config.max_size, least=BATCH_SIZE_MIN, most=BATCH_SIZE_MAX),
        timeout_ms=_period("batchEvents.timeout", config.timeout, BATCH_TIMEOUT_MS_MAX),
        key=key,
        condition=_compiled("batchEvents.if", config.condition),
    )


def _singleton(config: SingletonConfig | None) -> SingletonRule | None:
    if config is None:
        return None
    mode = _MODES.get(config.mode.lower() if isinstance(config.mode, str) else config.mode)
    if mode is None:
        raise FunctionConfigError(f"singleton.mode must be skip or cancel, not {config.mode!r}")
    key = _compiled("singleton.key", config.key)
    return SingletonRule(_id(TokenKind.SINGLETON, key), mode, key)


def _cancel_rules(configs: list[CancelConfig]) -> tuple[CancelRule, ...]:
    if len(configs) > CANCEL_RULES_MAX:
        raise FunctionConfigError(f"cancel has {len(configs)} rules; the limit is {CANCEL_RULES_MAX}")
    return tuple(_cancel_rule(f"cancel[{index}]", config) for index, config in enumerate(configs))


def _cancel_rule(field: str, config: CancelConfig) -> CancelRule:
    if not 0 < len(config.event) <= TRIGGER_EVENT_CHARS_MAX or "\0" in config.event:
        raise FunctionConfigError(f"{field}.event must be an event's name of 1 to {TRIGGER_EVENT_CHARS_MAX} characters")
    if config.condition:
        try:
            check_cancel_condition(config.condition)
        except ExpressionError as error:
            raise FunctionConfigError(f"{field}.if: {error}") from None
    return CancelRule(
        event=config.event,
        condition=config.condition or None,
        timeout_ms=_timeout(f"{field}.timeout", config.timeout),
    )


def _id(kind: str, key: Expression | None, scope: Scope = Scope.FN) -> str:
    return rule_id(kind, scope, key.text if key is not None else "")


def _compiled(field: str, text: str | None) -> Expression | None:
    if not text:
        return None
    try:
        return compile_expression(text)
    except ExpressionError as error:
        raise FunctionConfigError(f"{field}: {error}") from None


def _count(field: str, value: int, *, least: int = 1, most: int = FLOW_COUNT_MAX) -> int:
    if not least <= value <= most:
        raise FunctionConfigError(f"{field} must be {least} to {most:,}, not {value:,}")
    return value


def _period(field: str, text: str, most: int) -> int:
    ms = _duration(field, text)
    if not FLOW_PERIOD_MS_MIN <= ms <= most:
        allowed = f"{duration_text(FLOW_PERIOD_MS_MIN)} to {duration_text(most)}"
        raise FunctionConfigError(f"{field} must be {allowed}, not {text!r}")
    return ms


def _timeout(field: str, text: str | None) -> int | None:
    """Read a duration that may be left out; 0 is none, too."""
    ms = _duration(field, text) if text else 0
    if ms > RUN_TIMEOUT_MS_MAX:
        raise FunctionConfigError(f"{field} must be at most {duration_text(RUN_TIMEOUT_MS_MAX)}, not {text!r}")
    return ms or None


def _duration(field: str, text: str) -> int:
    try:
        return duration_ms(text)
    except DurationError as error:
        raise FunctionConfigError(f"{field}: {error}") from None


def _hashed(key: Expression | None, variables: Mapping[str, Json], now_ms: int) -> str:
    """Hash the value of a key; empty without a key."""
    if key is None:
        return ""
    try:
        return value_hash(to_key(key.evaluate(variables, now_ms)))
    except ExpressionError:
        return value_hash(_UNKEYED)


def _switching(key: Expression | None, variables: Mapping[str, Json], now_ms: int) -> str | None:
    """Hash the value of a key that switches its rule off by being false, or having no value (None)."""
    if key is None:
        return ""
    try:
        value = key.evaluate(variables, now_ms)
        return None if value is False else value_hash(to_key(value))
    except ExpressionError:
        return None
