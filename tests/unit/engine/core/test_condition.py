"""Conditions of waits and cancel rules: what is decided at once, what an index finds, and what is left."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from stepwell.engine.core.condition import (
    Condition,
    check_cancel_condition,
    failing_term,
    holds,
    prepare,
    value_at,
)
from stepwell.errors import ExpressionError
from stepwell.limits import WAIT_PATH_BYTES_MAX, WAIT_VALUE_BYTES_MAX
from stepwell.protocol.canonical import canonical

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
TRIGGER: dict[str, Any] = {
    "name": "shop/ordered",
    "id": "01J",
    "ts": NOW_MS,
    "data": {
        "order": "o-1",
        "n": 12,
        "whole": 12.0,
        "big": 2**53 + 1,
        "yes": True,
        "nil": None,
        "skus": ["a", "b"],
        "address": {"city": "Ulm", "zip": "89073"},
        "secret": "not read",
        "long": "x" * WAIT_VALUE_BYTES_MAX,
    },
}


def incoming(**data: Any) -> dict[str, Any]:
    return {"name": "shop/paid", "id": "01K", "ts": NOW_MS, "data": data}


def body(event: dict[str, Any]) -> bytes:
    """Return an event as it is stored."""
    return canonical(msgspec.json.encode(event)).encoded


def matches(condition: Condition, event: dict[str, Any]) -> bool:
    """Tell whether an event resolves a wait, as the store does: by the index first."""
    found = not condition.is_never and value_at(body(event), condition.path) == condition.value
    return found and holds(condition.rest, event, now_ms=NOW_MS)


@pytest.mark.parametrize("text", [None, "", "  "])
def test_no_condition_is_always_true(text: str | None) -> None:
    condition = prepare(text, TRIGGER)

    assert condition == Condition(path="", value="", rest=None, is_never=False)
    assert matches(condition, incoming())


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("event.data.order == async.data.order", '["data","order"]', '"o-1"'),
        ("async.data.order == event.data.order", '["data","order"]', '"o-1"'),
        ('async.data["order"] == event["data"]["order"]', '["data","order"]', '"o-1"'),
        ("async.data.n == event.data.n", '["data","n"]', "12"),
        ("async.data.n == event.data.whole", '["data","n"]', "12"),
        ("async.data.n == 12.0", '["data","n"]', "12"),
        ("async.data.ok == event.data.yes", '["data","ok"]', "true"),
        ("async.data.x == event.data.nil", '["data","x"]', "null"),
        ("async.data.x == event.data.missing.deeper", '["data","x"]', "null"),
        ("async.id == event.data.order + '-' + event.data.n", '["id"]', '"o-1-12"'),
        ("async.data.city == event.data.address.city", '["data","city"]', '"Ulm"'),
        ("async.data.sku == event.data.skus[1]", '["data","sku"]', '"b"'),
        ("async.data['a.b'] == 'x'", '["data","a.b"]', '"x"'),
        ("async.data.a.b == 'x'", '["data","a","b"]', '"x"'),
        ("async.data['a\"b'] == 'it\\'s'", '["data","a\\"b"]', '"it\'s"'),
    ],
)
def test_an_equality_becomes_a_path_and_a_value_with_nothing_left(text: str, path: str, value: str) -> None:
    assert prepare(text, TRIGGER) == Condition(path=path, value=value, rest=None, is_never=False)


@pytest.mark.parametrize(
    "text",
    [
        "async.data.n > event.data.n",
        "async.data.order != event.data.order",
        "async.data.order == async.data.other",
        "async == event.data.order",
        "async.data.skus[0] == event.data.order",
        "async.data.skus == event.data.skus",
        "async.data.address == event.data.address",
        "async.data.at == date(event.ts)",
        "async.data.n == 1.0 / 0.0",
        "async.ts == now_plus('1h')",
        "async.data.order == event.data.order || async.data.done",
        "async.data.done",
        f"async.data.x == '{'x' * (WAIT_VALUE_BYTES_MAX - 1)}'",
        f"async.data.{'x' * WAIT_PATH_BYTES_MAX} == 'x'",
    ],
)
def test_what_is_no_equality_with_a_scalar_is_left_whole(text: str) -> None:
    condition = prepare(text, TRIGGER)

    assert (condition.path, condition.value, condition.is_never) == ("", "", False)
    assert condition.rest is not None


def test_the_longest_path_and_value_are_indexed() -> None:
    name = "x" * (WAIT_PATH_BYTES_MAX - 4)
    text = "y" * (WAIT_VALUE_BYTES_MAX - 2)

    condition = prepare(f"async.{name} == '{text}'", TRIGGER)

    assert condition.rest is None
    assert len(condition.path) == WAIT_PATH_BYTES_MAX
    assert len(condition.value) == WAIT_VALUE_BYTES_MAX
    assert matches(condition, {name: text})
    assert not matches(condition, {name: text + "y"})


@pytest.mark.parametrize(
    "text",
    [
        "async.data.status == 'paid' && async.data.order == event.data.order",
        "async.data.order == event.data.order && async.data.status == 'paid'",
        "async.data.ok == event.data.yes && async.data.order == event.data.order",
        "async.data.x == event.data.missing && async.data.order == event.data.order",
        "(async.data.ok == true && async.data.status == 'paid') && event.data.order == async.data.order",
    ],
)
def test_the_index_is_the_equality_that_tells_runs_apart(text: str) -> None:
    assert prepare(text, TRIGGER).path == '["data","order"]'


def test_a_constant_is_a_better_index_than_null() -> None:
    condition = prepare("async.data.a == null && async.data.status == 'paid' && async.data.b == true", TRIGGER)

    assert (condition.path, condition.value) == ('["data","status"]', '"paid"')


def test_what_is_left_is_evaluated_with_the_values_of_the_runs_own_event() -> None:
    condition = prepare(
        "event.data.order == async.data.order && async.data.n > event.data.n && event.data.yes"
        " && async.data.skus.exists(sku, sku in event.data.skus)",
        TRIGGER,
    )

    assert matches(condition, incoming(order="o-1", n=13, skus=["b"]))
    assert not matches(condition, incoming(order="o-1", n=12, skus=["b"]))
    assert not matches(condition, incoming(order="o-1", n=13, skus=["c"]))
    assert not matches(condition, incoming(order="o-2", n=13, skus=["b"]))


def test_the_rest_holds_no_more_of_the_event_than_it_reads() -> None:
    text = (
        "event.data.order == async.data.order && async.data.n > event.data.n && event.data.secret != ''"
        " && (async.data.zip == event.data.address.zip || has(event.data.address) || event.data.missing == async.id)"
    )
    condition = prepare(text, TRIGGER)

    assert condition.rest is not None
    assert json.loads(condition.rest) == {
        "if": text,
        "terms": [1, 3],
        "event": {"data": {"n": 12, "address": {"city": "Ulm", "zip": "89073"}}},
    }


def test_a_condition_on_the_whole_event_holds_all_of_it() -> None:
    condition = prepare("event == async.data.copy || event.data.n == async.data.n", TRIGGER)

    assert matches(condition, incoming(copy=TRIGGER))
    assert matches(condition, incoming(n=12))
    assert not matches(condition, incoming(copy={}))


def test_a_macros_variable_is_not_the_event_of_that_name() -> None:
    condition = prepare(
        "async.data.list.exists(event, event.secret == 1) && event.data.list.exists(async, async == 1)",
        {"secret": 2, "data": {"list": [1]}},
    )

    assert condition.rest is not None
    assert json.loads(condition.rest)["terms"] == [0]
    assert json.loads(condition.rest)["event"] == {}
    assert matches(condition, incoming(list=[{"secret": 1}]))


@pytest.mark.parametrize(
    "text",
    [
        "false",
        "event.data.n > 100",
        "event.data.missing",
        "event.data.n > 100 && async.data.order == event.data.order",
        "async.data.order == event.data.order && event.data.n > 100",
        "event.data.n / 0 == 1",
        "event.data.order.size() + event.data.nil == async.data.n",
        "async.data.n > 1 && size(event.data.n) == 1",
    ],
)
def test_a_condition_that_no_event_can_make_true_is_never(text: str) -> None:
    assert prepare(text, TRIGGER) == Condition(path="", value="", rest=None, is_never=True)


def test_a_condition_that_is_true_of_the_runs_own_event_matches_everything() -> None:
    assert prepare("event.data.n < 100 && event.name == 'shop/ordered'", TRIGGER) == Condition()


@pytest.mark.parametrize("text", ["event.data.n / 0 == 1 || async.data.done", "async.data.n % event.data.n == 0"])
def test_an_error_counts_as_false_when_an_event_comes(text: str) -> None:
    condition = prepare(text, TRIGGER)

    assert matches(condition, incoming(done=True, n=24))
    assert not matches(condition, incoming(done=False, n="x"))


def test_the_time_is_that_at_which_the_event_comes() -> None:
    condition = prepare("date(event.ts) > now_minus('1h') && async.data.ok == true", TRIGGER)

    assert holds(condition.rest, incoming(ok=True), now_ms=NOW_MS + 3_599_999)
    assert not holds(condition.rest, incoming(ok=True), now_ms=NOW_MS + 3_600_000)


def test_numbers_that_canonical_json_rounds_are_compared_exactly() -> None:
    condition = prepare("async.data.big == event.data.big", TRIGGER)

    assert condition.value == value_at(body(incoming(big=2**53)), condition.path) == "9007199254740992"
    assert matches(condition, incoming(big=2**53 + 1))
    assert not matches(condition, incoming(big=2**53))


@pytest.mark.parametrize("text", ["async.data.order ==", "evnt.data.x == 1", "async.data.x == foo(1)", "a" * 10_001])
def test_a_text_that_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(ExpressionError):
        prepare(text, TRIGGER)


def test_a_rest_that_this_version_cannot_compile_is_false() -> None:
    assert holds('{"if":"from_the_future(async)","terms":[0],"event":{}}', incoming(), now_ms=NOW_MS) is False


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ('["data","order"]', '"o-1"'),
        ('["data","n"]', "12"),
        ('["data","whole"]', "12"),
        ('["data","yes"]', "true"),
        ('["data","nil"]', "null"),
        ('["data","missing"]', "null"),
        ('["data","order","deeper"]', "null"),
        ('["data","skus","0"]', "null"),
        ('["data","skus"]', ""),
        ('["data","address"]', ""),
        ('["name"]', '"shop/ordered"'),
        ('["data","a field","b"]', "null"),
        ('["data","long"]', ""),
        ("", ""),
    ],
)
def test_an_event_has_a_value_at_each_path(path: str, value: str) -> None:
    assert value_at(body(TRIGGER), path) == value


def test_a_cancel_rule_may_compare_the_two_events() -> None:
    check_cancel_condition("event.data.order == async.data.order && int(async.data.n) in [1, 2]")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("async.data.id.startsWith('a')", "line 1, column 25: startsWith() is not allowed here"),
        ("async.data.n + 1 == 2", "line 1, column 14: + is not allowed here"),
        ("other.data.n == 1", "line 1, column 1: unknown variable 'other': here there are event and async"),
    ],
)
def test_a_cancel_rule_that_uses_more_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        check_cancel_condition(text)

    assert problem in str(raised.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("event.data.n > 100", "event.data.n > 100 (event.data.n is 12)"),
        ("event.data.yes && (event.data.n>100 && true)", "event.data.n > 100 (event.data.n is 12)"),
        ("event.data.order == 'o-2'", "event.data.order == 'o-2' (event.data.order is \"o-1\")"),
        ("event.data.missing && event.data.nil", "event.data.missing (event.data.missing is missing)"),
        ("event.data.nil != null", "event.data.nil != null (event.data.nil is null)"),
        ("event.data['a b'] == 1", "event.data['a b'] == 1 (event.data[\"a b\"] is missing)"),
        ("true && event.data['a b'] == 'x'", 'event.data["a b"] == "x" (event.data["a b"] is missing)'),
        ("false", "false"),
        (
            "event.data.n < event.ts - event.ts",
            "event.data.n < event.ts - event.ts (event.data.n is 12, event.ts is 1767225600000)",
        ),
        ("event.data.n / 0 == 1", "/: division by zero (in 'event.data.n / 0 == 1')"),
        ("event.data.n / 0 == 1 && event.data.n < 1", "event.data.n < 1 (event.data.n is 12)"),
        ("event.data.yes && size(event.data.n) == 1", "size(): needs a string, a list or a map, not int"),
        ("async.data.x == 1", "line 1, column 1: unknown variable 'async': here there is only event"),
        ("date(event.ts) > now_plus('1h')", "date(event.ts) > now_plus('1h') (event.ts is 1767225600000)"),
    ],
)
def test_a_false_expression_names_the_term_and_what_it_saw(text: str, reason: str) -> None:
    found = failing_term(text, {"event": TRIGGER}, NOW_MS)

    assert found is not None
    assert found.startswith(reason)


def test_a_true_expression_has_no_failing_term() -> None:
    assert failing_term("event.data.n > 10 && event.data.skus", {"event": TRIGGER}, NOW_MS) is None


def test_only_a_few_short_values_are_told() -> None:
    text = "event.a == 1 && [event.a, event.b, event.c, event.d, event.e] == []"

    found = failing_term(text, {"event": {"a": 1, "b": "x" * 10_000}}, NOW_MS)

    assert found is not None
    assert "event.d is missing" in found
    assert "event.e is" not in found
    assert "xxx…" in found
    assert len(found) < 300
