"""A function's flow control: what is registered, and what is refused when it is written."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from stepwell import (
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    Event,
    FunctionConfigError,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
    cron,
)
from stepwell.protocol.sync import decode_function
from stepwell.sdk.handler import Handler
from stepwell.sdk.http import Request
from tests.unit.sdk.pretend import SERVE_URL, new_app, respond_by


def nothing() -> None:
    pass


def registered(**options: Any) -> dict[str, Any]:
    """Return what a function with these options is registered with, beside what all have."""
    function = new_app().function("f", on="a", **options)(nothing)
    encoded = msgspec.json.encode(function.config("http://app.test/x"))
    assert decode_function(encoded) == function.config("http://app.test/x")
    return {
        name: value
        for name, value in msgspec.json.decode(encoded).items()
        if name not in ("id", "name", "triggers", "steps")
    }


CUSTOMER = "event.data.customer"

OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"concurrency": 5}, {"concurrency": [{"limit": 5}]}),
    (
        {"concurrency": [5, Concurrency(1, CUSTOMER, "env")]},
        {"concurrency": [{"limit": 5}, {"limit": 1, "key": CUSTOMER, "scope": "env"}]},
    ),
    (
        {"concurrency": 5, "run_concurrency": Concurrency(limit=1, key=CUSTOMER)},
        {"concurrency": [{"limit": 5}], "runConcurrency": [{"limit": 1, "key": CUSTOMER}]},
    ),
    (
        {"run_concurrency": (2, Concurrency(3, "'all'", scope="account"))},
        {"runConcurrency": [{"limit": 2}, {"limit": 3, "key": "'all'", "scope": "account"}]},
    ),
    ({"throttle": Throttle(10, "1m")}, {"throttle": {"limit": 10, "period": "1m"}}),
    (
        {"throttle": Throttle(limit=10, period=datetime.timedelta(days=7), burst=2, key=CUSTOMER)},
        {"throttle": {"limit": 10, "period": "1w", "burst": 2, "key": CUSTOMER}},
    ),
    ({"rate_limit": RateLimit(1, "4h")}, {"rateLimit": {"limit": 1, "period": "4h"}}),
    (
        {"rate_limit": RateLimit(1, 86_400, CUSTOMER)},
        {"rateLimit": {"limit": 1, "period": "1d", "key": CUSTOMER}},
    ),
    ({"debounce": Debounce("30s")}, {"debounce": {"period": "30s"}}),
    (
        {"debounce": Debounce(1.5, key=CUSTOMER, timeout="10m")},
        {"debounce": {"period": "1s500ms", "key": CUSTOMER, "timeout": "10m"}},
    ),
    ({"batch": Batch(50, "10s")}, {"batchEvents": {"maxSize": 50, "timeout": "10s"}}),
    (
        {"batch": Batch(size_max=100, timeout="60s", key=CUSTOMER, if_="event.data.ok == true")},
        {"batchEvents": {"maxSize": 100, "timeout": "1m", "key": CUSTOMER, "if": "event.data.ok == true"}},
    ),
    (
        {"priority": "event.data.plan == 'pro' ? 120 : 0"},
        {"priority": {"run": "event.data.plan == 'pro' ? 120 : 0"}},
    ),
    ({"idempotency": "event.data.order"}, {"idempotency": "event.data.order"}),
    ({"cancel": CancelOn("gone")}, {"cancel": [{"event": "gone"}]}),
    (
        {"cancel": [CancelOn("gone", match="data.order", timeout="1d"), CancelOn("all", if_="async.data.all")]},
        {
            "cancel": [
                {"event": "gone", "if": "event.data.order == async.data.order", "timeout": "1d"},
                {"event": "all", "if": "async.data.all"},
            ]
        },
    ),
    ({"timeouts": Timeouts(start="10m")}, {"timeouts": {"start": "10m"}}),
    ({"timeouts": Timeouts("10m", "1h")}, {"timeouts": {"start": "10m", "finish": "1h"}}),
    ({"singleton": Singleton()}, {"singleton": {"mode": "skip"}}),
    ({"singleton": Singleton(CUSTOMER, "cancel")}, {"singleton": {"mode": "cancel", "key": CUSTOMER}}),
]


@pytest.mark.parametrize(("options", "fields"), OPTIONS)
def test_flow_control_is_registered_as_the_protocol_has_it(options: dict[str, Any], fields: dict[str, Any]) -> None:
    assert registered(**options) == fields


def test_a_failure_handler_has_no_flow_control() -> None:
    function = new_app().function("f", on="a", on_failure=nothing, concurrency=1, batch=Batch(2, "1s"))(nothing)

    assert function.on_failure is not None
    config = function.on_failure.config("")
    assert config.concurrency is None
    assert config.batch_events is None


WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: Concurrency(0), "Concurrency: limit goes from 1 to 1000000000: 0"),
    (lambda: Concurrency(True), "Concurrency: limit goes from 1"),
    (lambda: Concurrency("5"), "Concurrency: limit goes from 1 to 1000000000: '5'"),  # pyright: ignore[reportArgumentType]
    (lambda: Concurrency(1, ""), "Concurrency: key is a CEL expression of 1 to 10000 characters"),
    (lambda: Concurrency(1, "x" * 10_001), "Concurrency: key is a CEL expression"),
    (lambda: Concurrency(1, scope="env"), "the scope 'env' needs a key"),
    (lambda: Concurrency(1, "k", "app"), "scope is one of fn, env, account: 'app'"),  # pyright: ignore[reportArgumentType]
    (lambda: Throttle(0, "1m"), "Throttle: limit goes from 1"),
    (lambda: Throttle(1, "1m", burst=0), "Throttle: burst goes from 1"),
    (lambda: Throttle(1, "999ms"), "Throttle: period goes from 1s to 1w: '999ms'"),
    (lambda: Throttle(1, "169h"), "Throttle: period goes from 1s to 1w: '169h'"),
    (lambda: Throttle(1, "often"), "Throttle: period: 'often' is not a duration"),
    (lambda: Throttle(1, None), "Throttle: period:"),  # pyright: ignore[reportArgumentType]
    (lambda: RateLimit(1, "25h"), "RateLimit: period goes from 1s to 1d: '25h'"),
    (lambda: RateLimit(-1, "1h"), "RateLimit: limit goes from 1"),
    (lambda: Debounce(0), "Debounce: period goes from 1s to 1w: 0"),
    (lambda: Debounce("1s", timeout="0s"), "Debounce: timeout goes from 1s"),
    (lambda: Batch(1, "1s"), "Batch: size_max goes from 2 to 100: 1"),
    (lambda: Batch(101, "1s"), "Batch: size_max goes from 2 to 100: 101"),
    (lambda: Batch(2, "11m"), "Batch: timeout goes from 1s to 10m: '11m'"),
    (lambda: Batch(2, "1s", if_=""), "Batch: if_ is a CEL expression"),
    (lambda: CancelOn(""), "CancelOn: an event's name has 1 to 255 characters"),
    (lambda: CancelOn("a", match="data.x", if_="true"), "CancelOn: give either match or if_"),
    (lambda: CancelOn("a", match="async.data.x"), "CancelOn: match is a path"),
    (lambda: CancelOn("a", timeout="367d"), "CancelOn: timeout goes from 1s to"),
    (Timeouts, "Timeouts: give start, finish or both"),
    (lambda: Timeouts(start="0s"), "Timeouts: start goes from 1s"),
    (lambda: Singleton(mode="replace"), "Singleton: mode is 'skip' or 'cancel': 'replace'"),  # pyright: ignore[reportArgumentType]
    (lambda: cron("* * * * *", jitter="999ms"), "a schedule's jitter goes from 1s to 5m: '999ms'"),
    (lambda: cron("* * * * *", jitter="301s"), "a schedule's jitter goes from 1s to 5m: '301s'"),
    (lambda: cron("* * * * *", jitter="some"), "jitter: 'some' is not a duration"),
]


@pytest.mark.parametrize(("make", "message"), WRONG)
def test_what_cannot_be_is_refused_when_it_is_written(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(FunctionConfigError) as caught:
        make()

    assert message in str(caught.value)


WRONG_OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"concurrency": []}, "concurrency takes a number, Concurrency(…), or a list of up to 2 of them: these are 0"),
    ({"concurrency": [1, 2, 3]}, "these are 3"),
    ({"run_concurrency": 0}, "Concurrency: limit goes from 1"),
    ({"run_concurrency": 1.5}, "run_concurrency takes a number"),
    ({"concurrency": ["5"]}, "concurrency takes a number, Concurrency(…), or a list of up to 2 of them: '5'"),
    ({"throttle": RateLimit(1, "1m")}, "throttle takes Throttle(…): RateLimit("),
    ({"batch": 5}, "batch takes Batch(…): 5"),
    ({"priority": ""}, "priority is a CEL expression"),
    ({"priority": 100}, "priority is a CEL expression of 1 to 10000 characters: 100"),
    ({"idempotency": ""}, "idempotency is a CEL expression"),
    ({"cancel": "order.cancelled"}, "cancel takes CancelOn(…)"),
    ({"cancel": 5}, "cancel takes CancelOn(…), or a list of up to 5 of them: 5"),
    ({"cancel": [CancelOn(f"e{n}") for n in range(6)]}, "these are 6"),
    ({"batch": Batch(2, "1s"), "cancel": CancelOn("a")}, "batch can't be together with cancel"),
    ({"batch": Batch(2, "1s"), "debounce": Debounce("1s")}, "batch can't be together with debounce"),
    (
        {"batch": Batch(2, "1s"), "singleton": Singleton(), "priority": "1"},
        "batch can't be together with priority and singleton",
    ),
]


@pytest.mark.parametrize(("options", "message"), WRONG_OPTIONS)
def test_options_that_cannot_be_are_refused_with_the_name_of_the_function(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(FunctionConfigError) as caught:
        new_app().function("my-fn", on="a", **options)

    assert message in str(caught.value)
    assert "function 'my-fn'" in str(caught.value)


def test_a_schedule_may_have_jitter() -> None:
    trigger = cron("0 9 * * *", jitter=datetime.timedelta(seconds=90))

    assert msgspec.to_builtins(trigger) == {"cron": "0 9 * * *", "jitter": "1m30s"}


@pytest.mark.parametrize("is_sync", [False, True], ids=["asgi", "wsgi"])
async def test_a_handler_gets_all_events_of_its_batch(is_sync: bool) -> None:
    sw = new_app()
    given: list[list[Event]] = []

    @sw.function("f", on="a", batch=Batch(10, "5s"))
    def f(event: Event, events: list[Event]) -> None:
        given.extend([[event], events])

    events = [{"name": "a", "id": f"e{n}", "ts": n, "data": {"n": n}} for n in range(3)]
    body = {"event": events[0], "events": events, "steps": {}, "use_api": False, "ctx": {"run_id": "r", "attempt": 0}}
    request = Request("POST", f"{SERVE_URL}?fnId=acme-f&stepId=step", {}, msgspec.json.encode(body), "test")

    response = await respond_by(Handler(sw), request, is_sync=is_sync)

    assert response.status == 200
    assert [event.data["n"] for event in given[1]] == [0, 1, 2]
    assert given[0] == given[1][:1]
