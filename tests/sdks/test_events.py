"""Which functions an event starts, and what they see of it."""

from __future__ import annotations

import uuid

from tests.sdks.world import World


def test_an_event_starts_every_function_that_subscribes_to_it(world: World) -> None:
    event = world.started("test/fan")

    assert world.functions_of(event, count=3) == ["shop-fan-a", "shop-fan-b", "shop-fan-c"]


def test_functions_of_one_event_have_each_their_own_retries(world: World) -> None:
    runs = world.server.ended_runs(world.started("test/fan"), 3)

    attempts = {run["output"]: world.attempts(run, "work") for run in runs}

    assert attempts == {"fan-a": [0], "fan-b": [0, 1], "fan-c": [0]}


def test_a_trigger_with_a_condition_starts_only_what_fulfils_it(world: World) -> None:
    small, large = world.send(
        {"name": "test/amount", "data": {"amount": 100}}, {"name": "test/amount", "data": {"amount": 101}}
    )

    assert world.completed(large)["output"] == 101
    # The two came in one request, so the small one has been looked at, too.
    assert world.server.runs(small) == []


def test_a_wildcard_takes_events_below_its_name(world: World) -> None:
    below, deeper, beside = world.send(
        {"name": "test/wild.one"}, {"name": "test/wild.one.two"}, {"name": "test/wilder"}
    )

    assert world.completed(below)["output"] == "test/wild.one"
    assert world.completed(deeper)["output"] == "test/wild.one.two"
    assert world.server.runs(beside) == []


def test_each_of_several_triggers_starts_the_function(world: World) -> None:
    this, that = world.send({"name": "test/this"}, {"name": "test/that"})

    assert world.completed(this)["output"] == "test/this"
    assert world.completed(that)["output"] == "test/that"


def test_an_event_id_starts_a_function_once(world: World) -> None:
    id = f"order-{uuid.uuid4()}"

    first = world.send_one("test/told", {"n": 1}, id=id)
    second = world.send_one("test/told", {"n": 2}, id=id)
    other = world.send_one("test/told", {"n": 3}, id=f"{id}-other")

    assert second != first
    assert world.completed(other)["output"] == 3
    assert world.completed(first)["output"] == 1
    assert world.server.runs(second) == []


def test_data_arrives_as_it_was_sent_and_comes_back_as_it_was_returned(world: World) -> None:
    data = {
        "text": 'é 漢字 😀 "quoted" \\ / \u2028 \x7f \t',
        "numbers": [0, -1, 1.5, 1e21, 1e-7, 9007199254740991, 0.1],
        "odd keys": {"": 1, "😀": 2, "é": 3, "\ue000": 4, "a.b": 5, "1": 6},
        "nothing": None,
        "nested": [[[], {}], {"deep": [True, False, None]}],
    }

    run = world.completed(world.send_one("test/echo", data))

    assert run["output"] == data
    [copy] = world.log(run["run_id"])
    assert copy["value"] == data


def test_an_event_sent_from_a_step_starts_functions_once(world: World) -> None:
    sent = world.completed(world.send_one("test/tell"))["output"]

    assert len(sent) == 2
    assert [world.completed(event)["output"] for event in sent] == [1, 2]


def test_the_api_starts_a_function_whatever_its_triggers_say(world: World) -> None:
    run = world.server.api("/functions/shop-told/invoke", method="POST", json={"data": {"n": 5}})

    assert world.completed(run["event_id"])["output"] == 5
