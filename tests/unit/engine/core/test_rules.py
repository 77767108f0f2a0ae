"""Flow control as apps write it (protocol 3.4), and what it says of an event (protocol 10, 11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import Admission, Gather, GatherKind, RateLimit, SingletonMode
from stepwell.engine.core.partition import HELD, Scope, Token, TokenKind, parse, rule_id, value_hash
from stepwell.engine.core.rules import CancelRule, Rules, rules_of
from stepwell.errors import FunctionConfigError
from stepwell.protocol.ids import FunctionId
from stepwell.protocol.sync import FunctionConfig, decode_function
from tests.unit.engine.making import T0

F = FunctionId("f")
KEY = "event.data.k"


def config_of(**fields: Any) -> FunctionConfig:
    step = {"id": "step", "runtime": {"type": "http", "url": "http://localhost:3000"}}
    return decode_function(msgspec.json.encode({"id": "f", "steps": {"step": step}, **fields}))


def rules(**fields: Any) -> Rules:
    return rules_of(config_of(**fields))


def variables(**data: Any) -> dict[str, Any]:
    return {"event": {"name": "a", "data": data}}


def partition(found: Rules, *, is_held: bool = False, **data: Any) -> str:
    return found.partition_of(F, variables(**data), is_held=is_held, now_ms=T0)


def admission(found: Rules, **data: Any) -> Admission:
    asked = found.admission(variables(**data), now_ms=T0, is_paused=False)
    assert asked is not None
    return asked


def limits(found: Rules) -> tuple[list[tuple[int, str, str]], list[tuple[int, str, str]]]:
    steps, runs = ([(rule.limit, rule.scope.value, rule.text) for rule in kind] for kind in (found.steps, found.runs))
    return sorted(steps), sorted(runs)


@pytest.mark.parametrize(
    ("fields", "steps", "runs"),
    [
        ({"concurrency": 5}, [(5, "fn", "")], []),
        ({"concurrency": {"limit": 5}}, [(5, "fn", "")], []),
        ({"concurrency": [{"limit": 5}]}, [(5, "fn", "")], []),
        ({"concurrency": []}, [], []),
        ({"concurrency": 0}, [], []),
        ({"concurrency": [{"limit": 0}, {"limit": 2, "key": KEY, "scope": "env"}]}, [(2, "env", KEY)], []),
        (
            {"concurrency": [{"limit": 5}, {"limit": 1, "key": KEY, "scope": "account"}]},
            [(1, "account", KEY), (5, "fn", "")],
            [],
        ),
        ({"concurrency": {"limit": 5, "key": None, "scope": None}}, [(5, "fn", "")], []),
        ({"concurrency": {"limit": 5, "key": "", "scope": ""}}, [(5, "fn", "")], []),
        ({"concurrency": {"limit": 5, "key": KEY, "scope": 0}}, [(5, "fn", KEY)], []),
        ({"concurrency": {"limit": 5, "key": KEY, "scope": 1}}, [(5, "env", KEY)], []),
        ({"concurrency": {"limit": 5, "key": KEY, "scope": 2}}, [(5, "account", KEY)], []),
        ({"concurrency": {"limit": 5, "key": KEY, "scope": "Account"}}, [(5, "account", KEY)], []),
        ({"concurrency": {"fn": [{"limit": 1}], "step": [{"limit": 5}]}}, [(5, "fn", "")], [(1, "fn", "")]),
        ({"concurrency": {"fn": [{"limit": 1}], "step": None}}, [], [(1, "fn", "")]),
        ({"concurrency": {"step": [{"limit": 1}]}}, [(1, "fn", "")], []),
        ({"runConcurrency": 3}, [], [(3, "fn", "")]),
        ({"runConcurrency": [{"limit": 3, "key": KEY}]}, [], [(3, "fn", KEY)]),
        ({"runConcurrency": 3, "concurrency": 4}, [(4, "fn", "")], [(3, "fn", "")]),
        # Two that count the same are one: the lower limit.
        ({"concurrency": [{"limit": 5}, {"limit": 3}]}, [(3, "fn", "")], []),
        ({"runConcurrency": 2, "concurrency": {"fn": [{"limit": 3}]}}, [], [(2, "fn", "")]),
    ],
)
def test_concurrency_is_read_in_all_its_forms(
    fields: dict[str, Any], steps: list[tuple[int, str, str]], runs: list[tuple[int, str, str]]
) -> None:
    assert limits(rules(**fields)) == (steps, runs)


def test_everything_else_is_read() -> None:
    found = rules(
        throttle={"limit": 10, "period": "1m", "burst": 2, "key": KEY},
        rateLimit={"limit": 1, "period": "4h", "key": KEY},
        debounce={"period": "30s", "key": KEY, "timeout": "10m"},
        priority={"run": "event.data.p"},
        idempotency="event.data.order",
        cancel=[{"event": "b", "if": "event.data.o == async.data.o", "timeout": "1d"}, {"event": "c", "if": None}],
        timeouts={"start": "10m", "finish": "1h"},
        singleton={"key": KEY, "mode": "skip"},
        checkpoint={"batch_steps": 10},
    )

    assert found.throttle is not None
    assert found.throttle[1:4] == (10, 60_000, 2)
    assert found.rate is not None
    assert found.rate[1:3] == (1, 14_400_000)
    assert found.debounce is not None
    assert (found.debounce.period_ms, found.debounce.timeout_ms) == (30_000, 600_000)
    assert found.cancel == (CancelRule("b", "event.data.o == async.data.o", 86_400_000), CancelRule("c", None, None))
    assert (found.start_timeout_ms, found.finish_timeout_ms) == (600_000, 3_600_000)
    assert found.singleton is not None
    assert found.singleton.mode is SingletonMode.SKIP
    assert not found.is_plain
    assert found.reads_event


def test_a_batch_is_read() -> None:
    batch = rules(batchEvents={"maxSize": 50, "timeout": "10s", "key": KEY, "if": "event.data.ok == true"}).batch

    assert batch is not None
    assert (batch.size_max, batch.timeout_ms) == (50, 10_000)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        dict.fromkeys(
            (
                "concurrency",
                "runConcurrency",
                "throttle",
                "rateLimit",
                "debounce",
                "batchEvents",
                "priority",
                "idempotency",
                "cancel",
                "timeouts",
                "singleton",
            )
        ),
        {"concurrency": [], "cancel": [], "timeouts": {}, "priority": {"run": None}, "idempotency": ""},
        {"concurrency": 0, "timeouts": {"start": None, "finish": "0s"}},
    ],
)
def test_what_says_nothing_is_plain(fields: dict[str, Any]) -> None:
    found = rules(**fields)

    assert found.is_plain
    assert not found.reads_event
    assert partition(found, k=1) == F
    assert found.admission(variables(), now_ms=T0, is_paused=False) is None
    assert found.priority_ms(variables(), now_ms=T0) == 0


@pytest.mark.parametrize(("mode", "expected"), [(0, "skip"), (1, "cancel"), ("Cancel", "cancel"), ("skip", "skip")])
def test_a_singleton_s_mode_is_read_in_all_its_forms(mode: str | int, expected: str) -> None:
    singleton = rules(singleton={"mode": mode}).singleton

    assert singleton is not None
    assert singleton.mode == expected


BATCH = {"maxSize": 2, "timeout": "1s"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"concurrency": -1}, "concurrency.limit must be 0 to 1,000,000,000, not -1"),
        ({"concurrency": {"key": KEY}}, "concurrency.limit is missing"),
        ({"concurrency": [{"limit": 1}, {"limit": 1, "scope": "env"}]}, "concurrency[1] has the scope env, and no key"),
        (
            {"concurrency": {"limit": 1, "key": KEY, "scope": "planet"}},
            "concurrency.scope must be fn, env or account, not 'planet'",
        ),
        ({"concurrency": {"limit": 1, "key": KEY, "scope": 3}}, "must be fn, env or account, not 3"),
        ({"concurrency": [{"limit": 1}] * 3}, "concurrency has 3 rules; the limit is 2"),
        (
            {"runConcurrency": [{"limit": 1}] * 2, "concurrency": {"fn": [{"limit": 1}]}},
            "concurrency of runs has 3 rules; the limit is 2",
        ),
        ({"concurrency": {"step": [{"limit": 1, "key": "event."}]}}, "concurrency.step[0].key: "),
        ({"runConcurrency": {"limit": 1, "key": "nothing.here"}}, "runConcurrency.key: "),
        ({"throttle": {"limit": 0, "period": "1s"}}, "throttle.limit must be 1 to 1,000,000,000, not 0"),
        ({"throttle": {"limit": 1, "period": "999ms"}}, "throttle.period must be 1s to 1w, not '999ms'"),
        ({"throttle": {"limit": 1, "period": "604801s"}}, "throttle.period must be 1s to 1w"),
        ({"throttle": {"limit": 1, "period": "soon"}}, "throttle.period: 'soon' is not a duration"),
        ({"throttle": {"limit": 1, "period": "1s", "burst": -1}}, "throttle.burst must be 0 to"),
        ({"rateLimit": {"limit": 0, "period": "1s"}}, "rateLimit.limit must be 1 to"),
        ({"rateLimit": {"limit": 1, "period": "24h1s"}}, "rateLimit.period must be 1s to 1d"),
        ({"debounce": {"period": "8d"}}, "debounce.period must be 1s to 1w"),
        ({"debounce": {"period": "1s", "timeout": "367d"}}, "debounce.timeout must be at most"),
        ({"batchEvents": {**BATCH, "maxSize": 1}}, "batchEvents.maxSize must be 2 to 100, not 1"),
        ({"batchEvents": {**BATCH, "maxSize": 101}}, "batchEvents.maxSize must be 2 to 100, not 101"),
        ({"batchEvents": {**BATCH, "timeout": "10m1s"}}, "batchEvents.timeout must be 1s to 10m"),
        ({"batchEvents": {**BATCH, "if": "=="}}, "batchEvents.if: "),
        ({"batchEvents": BATCH, "cancel": [{"event": "b"}]}, "batchEvents can't be combined with cancel"),
        ({"batchEvents": BATCH, "debounce": {"period": "1s"}}, "batchEvents can't be combined with debounce"),
        ({"batchEvents": BATCH, "singleton": {"mode": "skip"}}, "batchEvents can't be combined with singleton"),
        ({"batchEvents": BATCH, "priority": {"run": "1"}}, "batchEvents can't be combined with priority"),
        ({"priority": {"run": "1 +"}}, "priority.run: "),
        ({"idempotency": "x y"}, "idempotency: "),
        ({"cancel": [{"event": "b"}] * 6}, "cancel has 6 rules; the limit is 5"),
        ({"cancel": [{"event": ""}]}, "cancel[0].event must be an event's name of 1 to 255 characters"),
        ({"cancel": [{"event": "b"}, {"event": "x" * 256}]}, "cancel[1].event must be"),
        ({"cancel": [{"event": "b", "if": "(("}]}, "cancel[0].if: "),
        ({"cancel": [{"event": "b", "if": "size(async.data.o) == 1"}]}, "cancel[0].if: line 1, column 5: size()"),
        ({"cancel": [{"event": "b", "timeout": "tomorrow"}]}, "cancel[0].timeout: 'tomorrow' is not a duration"),
        ({"timeouts": {"start": "367d"}}, "timeouts.start must be at most"),
        ({"timeouts": {"finish": "x"}}, "timeouts.finish: 'x' is not a duration"),
        ({"singleton": {"mode": "queue"}}, "singleton.mode must be skip or cancel, not 'queue'"),
        ({"singleton": {"mode": 2}}, "singleton.mode must be skip or cancel, not 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_field(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(FunctionConfigError) as error:
        rules(**fields)

    assert message in str(error.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"throttle": {"limit": 1, "period": "1s", "burst": 0}},
        {"throttle": {"limit": 1_000_000_000, "period": "7d", "burst": None}},
        {"rateLimit": {"limit": 1, "period": "24h"}},
        {"debounce": {"period": "7d", "timeout": "366d"}},
        {"batchEvents": {"maxSize": 100, "timeout": "10m"}, "throttle": {"limit": 1, "period": "1s"}},
        {"batchEvents": BATCH, "cancel": [], "priority": {"run": None}},
        {"cancel": [{"event": "x" * 255}] * 5},
    ],
)
def test_the_limits_themselves_are_allowed(fields: dict[str, Any]) -> None:
    assert not rules(**fields).is_plain


def test_a_burst_that_is_0_or_not_said_is_1() -> None:
    for burst in ({}, {"burst": 0}, {"burst": None}):
        throttle = rules(throttle={"limit": 1, "period": "1s", **burst}).throttle
        assert throttle is not None
        assert throttle.burst == 1


def test_the_first_call_s_partition_has_all_that_holds_for_it() -> None:
    found = rules(
        concurrency=[{"limit": 5}, {"limit": 1, "key": KEY, "scope": "env"}],
        runConcurrency=3,
        throttle={"limit": 1, "period": "1s", "key": KEY},
        singleton={"mode": "cancel", "key": "event.data.s"},
    )

    function_id, tokens = parse(partition(found, is_held=True, k="x", s="y"))

    assert function_id == F
    assert set(tokens) == {
        Token(TokenKind.STEPS, rule_id("c", Scope.FN, "")),
        Token(TokenKind.STEPS, rule_id("c", Scope.ENV, KEY), value_hash("x")),
        Token(TokenKind.RUNS, rule_id("r", Scope.FN, "")),
        Token(TokenKind.SINGLETON, rule_id("s", Scope.FN, "event.data.s"), value_hash("y")),
        Token(TokenKind.THROTTLE, rule_id("t", Scope.FN, KEY), value_hash("x")),
        HELD,
    }


def test_the_order_in_which_rules_are_written_is_no_difference() -> None:
    first, second = {"limit": 5}, {"limit": 1, "key": KEY}

    assert partition(rules(concurrency=[first, second]), k=1) == partition(rules(concurrency=[second, first]), k=1)


def test_a_changed_limit_leaves_runs_in_their_partition() -> None:
    assert partition(rules(concurrency=5)) == partition(rules(concurrency=6))


def test_limits_that_are_not_of_starts_are_in_no_partition() -> None:
    found = rules(rateLimit={"limit": 1, "period": "1s"}, debounce={"period": "1s"}, idempotency=KEY)

    assert partition(found, k=1) == F


@pytest.mark.parametrize(
    ("value", "text"),
    [("x", "x"), ("", ""), (1, "1"), (1.5, "1.5"), (True, "true"), (False, "false"), (None, "null"), ([1], "[1]")],
)
def test_a_key_s_value_is_a_text(value: Any, text: str) -> None:
    found = rules(concurrency={"limit": 1, "key": KEY})

    assert parse(partition(found, k=value)).tokens[0].value_hash == value_hash(text)


def test_events_for_which_a_key_has_no_value_are_a_group_of_their_own() -> None:
    found = rules(
        concurrency={"limit": 1, "key": "b64decode(event.data.k)"},
        throttle={"limit": 1, "period": "1s", "key": "b64decode(event.data.k)"},
    )

    assert partition(found, k=1) == partition(found, k="%")
    assert partition(found, k=1) != partition(found, k="")
    assert partition(found, k=1) != partition(found, k="aGk=")


def test_a_batch_and_a_debounce_collect_by_key() -> None:
    batch = rules(batchEvents={"maxSize": 3, "timeout": "2s", "key": KEY})
    debounce = rules(debounce={"period": "3s", "timeout": "9s", "key": KEY})

    assert admission(batch, k=1).gather == Gather(
        GatherKind.BATCH, f"{rule_id('batch', Scope.FN, KEY)}.{value_hash('1')}", 2_000, size_max=3
    )
    assert admission(debounce, k=1).gather == Gather(
        GatherKind.DEBOUNCE, f"{rule_id('debounce', Scope.FN, KEY)}.{value_hash('1')}", 3_000, delay_max_ms=9_000
    )


@pytest.mark.parametrize(("data", "is_gathered"), [({"ok": True}, True), ({"ok": False}, False), ({}, False)])
def test_an_event_that_a_batch_does_not_want_starts_alone(data: dict[str, Any], is_gathered: bool) -> None:
    found = rules(batchEvents={"maxSize": 3, "timeout": "2s", "if": "event.data.ok == true"})

    asked = found.admission(variables(**data), now_ms=T0, is_paused=False)

    assert (asked is not None) == is_gathered
    assert found.reads_event


@pytest.mark.parametrize("key", ["event.data.k", "int(event.data.text)"])
def test_a_key_that_is_false_or_has_no_value_switches_some_rules_off(key: str) -> None:
    found = rules(
        rateLimit={"limit": 1, "period": "1s", "key": key},
        singleton={"mode": "cancel", "key": key},
        idempotency=key,
    )

    assert found.admission(variables(k=False, text="x"), now_ms=T0, is_paused=False) is None
    assert partition(found, k=False, text="x") == F
    assert admission(found, k=0, text="0").rate == RateLimit(
        f"{rule_id('rate', Scope.FN, key)}.{value_hash('0')}", 1, 1_000
    )


@pytest.mark.parametrize("mode", ["skip", "cancel"])
def test_a_singleton_s_key_is_its_token(mode: str) -> None:
    found = rules(singleton={"mode": mode, "key": KEY})

    singleton = admission(found, k="x").singleton
    assert singleton is not None
    assert partition(found, k="x") == f"{F}|{singleton.key}"


def test_idempotency_is_by_value() -> None:
    found = rules(idempotency=KEY)

    assert admission(found, k=1).idempotency == admission(found, k="1").idempotency
    assert admission(found, k=1).idempotency != admission(found, k=2).idempotency


def test_of_a_paused_function_nothing_else_is_asked() -> None:
    found = rules(idempotency=KEY, debounce={"period": "1s"})

    asked = found.admission(variables(k=1), now_ms=T0, is_paused=True)

    assert asked == Admission(skip_reason="paused")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0),
        (120, 120_000),
        (-120, -120_000),
        (600, 600_000),
        (601, 600_000),
        (-601, -600_000),
        (10**15, 600_000),
        (1.5, 0),
        (True, 0),
        ("120", 0),
        (None, 0),
    ],
)
def test_priority_is_seconds_within_its_range(value: Any, expected: int) -> None:
    assert rules(priority={"run": "event.data.p"}).priority_ms(variables(p=value), now_ms=T0) == expected


def test_priority_that_has_no_value_is_none() -> None:
    assert rules(priority={"run": "1 / 0"}).priority_ms(variables(), now_ms=T0) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"throttle": {"period": "1s"}},
        {"throttle": {"limit": "1", "period": "1s"}},
        {"rateLimit": {"limit": 1}},
        {"concurrency": "5"},
        {"concurrency": {"limit": 1.5}},
        {"cancel": {"event": "b"}},
        {"singleton": {}},
    ],
)
def test_what_has_another_shape_is_no_configuration(fields: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        config_of(**fields)


def test_a_configuration_is_written_as_it_was_read() -> None:
    fields = {
        "concurrency": [{"limit": 5, "key": KEY, "scope": "env"}],
        "runConcurrency": 2,
        "rateLimit": {"limit": 1, "period": "1s"},
        "batchEvents": {"maxSize": 2, "timeout": "1s", "if": "true"},
        "cancel": [{"event": "b", "if": "true"}],
    }

    written = msgspec.json.decode(msgspec.json.encode(config_of(**fields)))

    assert {key: written[key] for key in fields} == fields
