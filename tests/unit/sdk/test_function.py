"""Decorating handlers: ids, triggers, parameters, and what the server is told."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import stepwell
from stepwell import (
    Event,
    Failure,
    FunctionConfigError,
    Run,
    Step,
    Stepwell,
    SyncStep,
    cron,
    trigger,
)
from stepwell.protocol.sync import FunctionConfig
from stepwell.sdk import app
from tests.unit.sdk.pretend import PretendRun, new_app


def nothing() -> None:
    pass


async def test_a_handler_asks_by_name_for_what_it_needs() -> None:
    sw = new_app()
    given: dict[str, Any] = {}

    @sw.function("f", on="test/event")
    async def f(event, events, step, run, attempt, logger) -> None:
        given.update(locals())

    await PretendRun(sw, "f").call(attempt=2)

    assert given["event"] == Event("test/event", {}, "e1", 1_700_000_000_000)
    assert given["events"] == [given["event"]]
    assert isinstance(given["step"], Step)
    assert given["run"] == Run("01JABCDEFGHJKMNPQRSTVWXYZ0", "acme-f", 2, 3)
    assert given["run"].is_last_attempt
    assert given["attempt"] == 2
    assert isinstance(given["logger"], logging.LoggerAdapter)


async def test_a_handler_asks_by_type_for_what_it_needs() -> None:
    sw = new_app()
    given: dict[str, Any] = {}

    @sw.function("f", on="test/event")
    def f(
        signup: Event,
        batch: list[stepwell.Event],
        tools: SyncStep,
        this: Run,
        log: logging.LoggerAdapter[logging.Logger],
        /,
        plain_log: logging.Logger,
        limit: int = 3,
        *args: object,
        **kwargs: object,
    ) -> None:
        given.update(locals())

    await PretendRun(sw, "f").call()

    assert given["signup"].name == "test/event"
    assert given["batch"] == [given["signup"]]
    assert isinstance(given["tools"], SyncStep)
    assert given["this"].function_id == "acme-f"
    assert given["log"] is given["plain_log"]
    assert (given["limit"], given["args"], given["kwargs"]) == (3, (), {})


async def test_types_that_exist_for_type_checkers_alone_are_known_by_their_text() -> None:
    sw = new_app()
    given: dict[str, Any] = {}

    @sw.function("f", on="test/event")
    def f(signup: stepwell.Event, log: logging.LoggerAdapter[Any], other: Unimported | None = None) -> None:  # noqa: F821 # pyright: ignore[reportUndefinedVariable]
        given.update(locals())

    await PretendRun(sw, "f").call()

    assert given["signup"].name == "test/event"
    assert given["other"] is None
    assert isinstance(given["log"], logging.LoggerAdapter)


class Greeter:
    async def __call__(self, step: Step) -> str:
        return await step.run("a", lambda: "hello")

    async def method(self, step: Step) -> str:
        return await step.run("a", lambda: "hello")


async def with_argument(greeting: str, step: Step) -> str:
    return await step.run("a", lambda: greeting)


@pytest.mark.parametrize("handler", [Greeter(), Greeter().method, functools.partial(with_argument, "hello")])
async def test_any_callable_can_be_a_handler(handler: Callable[..., Any]) -> None:
    sw = new_app()
    sw.function("f", on="test/event")(handler)

    assert (await PretendRun(sw, "f").end()).body == "hello"


def test_the_decorated_handler_can_be_called_as_it_was() -> None:
    @new_app().function("f", on="test/event")
    def double(event: Event) -> int:
        """Double it."""
        return event.data["n"] * 2

    assert double(Event("x", {"n": 2})) == 4
    assert double.__doc__ == "Double it."
    assert repr(double) == "<Function acme-f>"


async def unknown_parameter(event: Event, database: str) -> None: ...
async def error_outside_on_failure(error: Failure) -> None: ...
async def sync_tools_in_async(step: SyncStep) -> None: ...
def async_tools_in_sync(step: Step) -> None: ...
def generator() -> Any:
    yield 1


async def async_generator() -> Any:
    yield 1


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (
            unknown_parameter,
            "asks for 'database', which isn't known. A handler may ask, by name or by type, for: event,",
        ),
        (error_outside_on_failure, "asks for 'error'"),
        (sync_tools_in_async, "is async def, so 'step' is a Step, not a SyncStep"),
        (async_tools_in_sync, "is plain def, so 'step' is a SyncStep, not a Step"),
        (generator, "is a generator"),
        (async_generator, "is a generator"),
    ],
)
def test_a_handler_that_cannot_be_called_is_refused_when_it_is_decorated(
    handler: Callable[..., Any], message: str
) -> None:
    with pytest.raises(FunctionConfigError) as caught:
        new_app().function("my-fn", on="test/event")(handler)

    assert message in str(caught.value)
    assert "function 'my-fn'" in str(caught.value)


@pytest.mark.parametrize(
    ("on", "message"),
    [
        (7, "7 is neither an event nor a schedule"),
        (["a", None], "None is neither an event nor a schedule"),
        ("", "an event's name has 1 to 255 characters"),
        ("x" * 256, "an event's name has 1 to 255 characters"),
        (["a", "a"], "has the same trigger twice"),
        ([f"e{n}" for n in range(11)], "has 11 triggers; 10 are allowed"),
    ],
)
def test_an_unknown_trigger_is_refused_with_the_name_of_the_function(on: Any, message: str) -> None:
    with pytest.raises(FunctionConfigError) as caught:
        new_app().function("my-fn", on=on)(nothing)

    assert message in str(caught.value)
    assert "function 'my-fn'" in str(caught.value)


@pytest.mark.parametrize("schedule", ["", "* * * *", "0 0 9 * * *", "TZ=Europe/Paris 9 * * *"])
def test_a_schedule_without_five_fields_is_refused(schedule: str) -> None:
    with pytest.raises(FunctionConfigError, match="is no cron schedule"):
        cron(schedule)


@pytest.mark.parametrize("if_", ["", "x" * 10_001])
def test_a_condition_that_is_empty_or_overlong_is_refused(if_: str) -> None:
    with pytest.raises(FunctionConfigError, match="if_ has 1 to 10000 characters"):
        trigger("a", if_=if_)


@pytest.mark.parametrize("id", ["", "a b", "it's", "a/b", "-a", "a" + "\n", 5])
def test_an_id_that_cannot_stand_in_a_url_is_refused(id: Any) -> None:
    with pytest.raises(FunctionConfigError, match="can't be the id of a function"):
        new_app().function(id, on="a")(nothing)
    with pytest.raises(FunctionConfigError, match="can't be the id of an app"):
        Stepwell(id, is_dev=True)


def test_an_id_used_twice_is_refused() -> None:
    sw = new_app()
    sw.function("f", on="a", on_failure=nothing)(nothing)

    with pytest.raises(FunctionConfigError, match="function 'f' is registered twice in app 'acme'"):
        sw.function("f", on="b")(nothing)
    with pytest.raises(FunctionConfigError, match="function 'f-failure' is registered twice"):
        sw.function("f-failure", on="b")(nothing)


def test_an_app_has_no_more_functions_than_servers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "FUNCTIONS_PER_APP_MAX", 2)
    sw = new_app()
    sw.function("a", on="a")(nothing)
    sw.function("b", on="a")(nothing)

    with pytest.raises(FunctionConfigError, match="app 'acme' has 2 functions, the most that it may"):
        sw.function("c", on="a")(nothing)


@pytest.mark.parametrize("retries", [-1, 21])
def test_retries_out_of_range_are_refused(retries: int) -> None:
    with pytest.raises(FunctionConfigError, match=f"retries is {retries}; it goes from 0 to 20"):
        new_app().function("f", on="a", retries=retries)(nothing)


def test_a_function_is_registered_as_the_protocol_has_it() -> None:
    function = new_app().function(
        "f",
        name="My function",
        on=["a/*", trigger("b", if_="event.data.total > 100"), cron("TZ=Europe/Paris 0 9 * * *")],
        retries=7,
    )(nothing)

    config = msgspec.json.decode(msgspec.json.encode(function.config("http://app.test/x")))

    assert config == {
        "id": "acme-f",
        "name": "My function",
        "triggers": [
            {"event": "a/*"},
            {"event": "b", "expression": "event.data.total > 100"},
            {"cron": "TZ=Europe/Paris 0 9 * * *"},
        ],
        "steps": {
            "step": {
                "id": "step",
                "name": "step",
                "runtime": {"type": "http", "url": "http://app.test/x?fnId=acme-f&stepId=step"},
                "retries": {"attempts": 7},
            }
        },
    }
    assert msgspec.convert(config, FunctionConfig).max_attempts == 8


def test_a_failure_handler_is_registered_as_a_function_of_its_own() -> None:
    function = new_app().function("f", on="a", on_failure=nothing)(nothing)
    assert function.on_failure is not None

    config = function.on_failure.config("http://app.test/x")

    assert config.id == "acme-f-failure"
    assert config.name == "f (failure)"
    assert config.triggers[0].event == "inngest/function.failed"
    assert config.triggers[0].expression == "event.data.function_id == 'acme-f'"
    assert config.url == "http://app.test/x?fnId=acme-f-failure&stepId=step"
    assert config.max_attempts == 2


FAILED_EVENT = {
    "name": "inngest/function.failed",
    "id": "01KAT3ZF",
    "ts": 1_763_985_612_345,
    "data": {
        "function_id": "acme-f",
        "run_id": "01KAT3ZF",
        "event": {"name": "shop/order.placed", "data": {"order": "o1"}, "id": "order-o1", "ts": 5, "user": None},
        "events": [{"name": "shop/order.placed", "data": {"order": "o1"}, "id": "order-o1", "ts": 5}],
        "error": {"name": "ValueError", "message": "boom", "stack": "Traceback", "error": "NonRetriableError"},
    },
}


async def test_a_failure_handler_gets_the_original_event_and_the_error() -> None:
    sw = new_app()

    async def failed(event: Event, why: Failure, error: Failure, step: Step) -> Any:
        return await step.run("report", lambda: [event.name, event.data, why is error, msgspec.to_builtins(error)])

    sw.function("f", on="shop/order.placed", on_failure=failed)(nothing)

    answer = await PretendRun(sw, "f-failure", event=FAILED_EVENT).end()

    assert answer.body == [
        "shop/order.placed",
        {"order": "o1"},
        True,
        {
            "name": "ValueError",
            "message": "boom",
            "traceback": "Traceback",
            "run_id": "01KAT3ZF",
            "function_id": "acme-f",
        },
    ]


async def test_a_failure_handler_gets_along_with_an_event_that_lacks_everything() -> None:
    sw = new_app()
    sw.function("f", on="a", on_failure=lambda event, error: [event.name, error.name, error.message])(nothing)

    answer = await PretendRun(sw, "f-failure", event={"name": "inngest/function.failed", "data": None}).end()

    assert answer.body == ["", "Error", ""]
