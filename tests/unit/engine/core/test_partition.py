"""Names of partitions, and of what is counted for them."""

from __future__ import annotations

import pytest

from stepwell.engine.core.partition import (
    FETCHES,
    HELD,
    TIMERS,
    Partition,
    Scope,
    Token,
    TokenKind,
    later,
    parse,
    partition_text,
    rule_id,
    slot_key,
    value_hash,
)
from stepwell.protocol.ids import EnvironmentId, FunctionId

F = FunctionId("0d4c2a38-7d5e-5c0f-9f7a-6f7f2f0f9d11")
DEV = EnvironmentId("dev")
STEPS = Token(TokenKind.STEPS, "aaaaaaaa", value_hash("x"))
UNKEYED = Token(TokenKind.STEPS, "bbbbbbbb")
RUNS = Token(TokenKind.RUNS, "cccccccc", value_hash("x"))
SINGLETON = Token(TokenKind.SINGLETON, "dddddddd", value_hash("y"))
THROTTLE = Token(TokenKind.THROTTLE, "eeeeeeee")
ALL = (STEPS, UNKEYED, RUNS, SINGLETON, THROTTLE, HELD)


def test_tokens_stand_in_one_order_however_they_come() -> None:
    text = partition_text(F, reversed((*ALL, STEPS)))

    x, y = value_hash("x"), value_hash("y")
    assert text == f"{F}|c.aaaaaaaa.{x}|c.bbbbbbbb.|r.cccccccc.{x}|s.dddddddd.{y}|t.eeeeeeee.|h"
    assert parse(text) == Partition(F, ALL)


def test_later_calls_are_limited_by_concurrency_of_calls_alone() -> None:
    first = partition_text(F, ALL)

    assert later(first) == partition_text(F, (STEPS, UNKEYED))
    assert later(later(first)) == later(first)


@pytest.mark.parametrize("partition", [F, TIMERS, FETCHES])
def test_a_partition_without_tokens_stays_as_it_is(partition: str) -> None:
    assert parse(partition) == Partition(FunctionId(partition))
    assert later(partition) == partition


def test_a_rule_is_named_by_what_it_counts() -> None:
    names = {
        rule_id(kind, scope, key)
        for kind in (TokenKind.STEPS, TokenKind.RUNS)
        for scope in Scope
        for key in ("", "event.data.a", "event.data.b")
    }

    assert len(names) == 18
    assert all(len(name) == 8 for name in names)
    assert rule_id(TokenKind.STEPS, Scope.ENV, "event.data.a") in names


def test_a_count_is_shared_as_far_as_its_scope_says() -> None:
    other_function, other_environment = FunctionId("g"), EnvironmentId("prod")

    assert slot_key(STEPS, F, DEV, Scope.FN) != slot_key(STEPS, other_function, DEV, Scope.FN)
    assert slot_key(STEPS, F, DEV, Scope.ENV) == slot_key(STEPS, other_function, DEV, Scope.ENV)
    assert slot_key(STEPS, F, DEV, Scope.ENV) != slot_key(STEPS, F, other_environment, Scope.ENV)
    assert slot_key(STEPS, F, DEV, Scope.ACCOUNT) == slot_key(STEPS, other_function, other_environment, Scope.ACCOUNT)
    assert slot_key(STEPS, F, DEV, Scope.FN) != slot_key(RUNS, F, DEV, Scope.FN)


def test_a_value_of_any_length_and_content_has_a_short_hash() -> None:
    values = ["", "null", "a" * 1_000_000, "a|b.c", "\ud800"]

    assert {len(value_hash(value)) for value in values} == {16}
    assert len({value_hash(value) for value in values}) == len(values)
