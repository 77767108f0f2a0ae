"""What may be claimed of a partition: its limits, as the function's newest configuration has them."""

from __future__ import annotations

from stepwell.engine.core.model import Function, PauseMode, SingletonMode
from stepwell.engine.core.partition import Partition, Scope, Token, TokenKind, later, parse, slot_key
from stepwell.engine.core.rules import PLAIN, Rules, SlotRule
from stepwell.store.request import SlotLimit, ThrottleLimit, Want

_COUNTED = (TokenKind.STEPS, TokenKind.RUNS, TokenKind.SINGLETON)


def want(partition: str, limit: int, function: Function | None, rules: Rules | None) -> Want | None:
    """Say what to claim of a partition; None where its function is paused. No function: of timers and the like, all."""
    if function is None:
        return Want(partition, limit, partition)
    if is_held(partition, function):
        return None
    parsed = parse(partition)
    rules = rules or PLAIN
    throttles = [token for token in parsed.tokens if token.kind is TokenKind.THROTTLE]
    return Want(
        partition,
        limit,
        later(partition),
        tuple(slot for token in parsed.tokens if (slot := _slot_limit(token, parsed, function, rules)) is not None),
        _throttle_limit(throttles[0], function, rules) if throttles else None,
    )


def is_held(partition: str, function: Function) -> bool:
    """Tell whether nothing of a partition may begin, because its function is paused."""
    pause = function.pause
    if pause is None:
        return False
    if pause.is_stopped:
        return True
    return pause.mode is PauseMode.HOLD and any(token.kind is TokenKind.HELD for token in parse(partition).tokens)


def slot_keys(partition: str, function: Function, rules: Rules | None) -> tuple[str, ...]:
    """Return the keys that the jobs of a partition, or their runs, are counted for.

    Of a rule that the function has no more, the scope is no longer known: all are named, since others may have it still.
    """
    parsed = parse(partition)
    return tuple(
        slot_key(token, parsed.function_id, function.environment, scope)
        for token in parsed.tokens
        if token.kind in _COUNTED
        for scope in _scopes(token, rules or PLAIN)
    )


def _slot_limit(token: Token, parsed: Partition, function: Function, rules: Rules) -> SlotLimit | None:
    """Return the limit of a token, or None where its rule is gone, or limits nothing."""
    if token.kind is TokenKind.SINGLETON:
        rule = rules.singleton
        if rule is None or rule.id != token.rule_id or rule.mode is not SingletonMode.CANCEL:
            return None
        return SlotLimit(slot_key(token, parsed.function_id, function.environment, Scope.FN), 1, True, True)
    found = _rule(token, rules)
    if found is None:
        return None
    key = slot_key(token, parsed.function_id, function.environment, found.scope)
    return SlotLimit(key, found.limit, is_run=token.kind is TokenKind.RUNS)


def _throttle_limit(token: Token, function: Function, rules: Rules) -> ThrottleLimit | None:
    rule = rules.throttle
    if rule is None or rule.id != token.rule_id:
        return None
    return ThrottleLimit(
        slot_key(token, function.id, function.environment, Scope.FN), rule.limit, rule.period_ms, rule.burst
    )


def _scopes(token: Token, rules: Rules) -> tuple[Scope, ...]:
    if token.kind is TokenKind.SINGLETON:
        return (Scope.FN,)
    found = _rule(token, rules)
    return (found.scope,) if found is not None else tuple(Scope)


def _rule(token: Token, rules: Rules) -> SlotRule | None:
    rules_of_kind = {TokenKind.STEPS: rules.steps, TokenKind.RUNS: rules.runs}.get(token.kind, ())
    return next((rule for rule in rules_of_kind if rule.id == token.rule_id), None)
