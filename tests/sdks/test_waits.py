"""Steps that wait for what happens elsewhere: events, signals, other runs, and requests that the server makes."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from tests.e2e.harness import Port, eventually
from tests.sdks.provider import Provider
from tests.sdks.world import World

pytestmark = pytest.mark.needs("waits")

Json = Any


def unique(word: str) -> str:
    return f"{word}-{uuid.uuid4()}"


# -- events -----------------------------------------------------------------------------------------------------------


def test_a_wait_ends_with_the_event_that_meets_its_condition(world: World) -> None:
    order = unique("order")
    event = world.send_one("test/wait-if", {"order": order})
    world.waiting(event, "paid")

    world.send(
        {"name": "test/paid", "data": {"order": order, "cents": 100}},
        {"name": "test/paid", "data": {"order": unique("other"), "cents": 500}},
    )
    paid = world.send_one("test/paid", {"order": order, "cents": 101}, id=unique("payment"))

    stored = world.server.v1(f"/events/{paid}")
    assert world.completed(event)["output"] == {
        "name": "test/paid",
        "data": {"order": order, "cents": 101},
        "id": stored["id"],
        "ts": stored["ts"],
    }


@pytest.mark.only_in("dev")
def test_a_wait_by_match_ends_with_the_event_that_has_the_same_there_in_each_run_that_waits(world: World) -> None:
    order, other = unique("order"), unique("other")
    events = world.send(
        *({"name": "test/wait-match", "data": {"order": name}} for name in (order, order, other)),
    )
    for event in events:
        world.waiting(event, "paid")

    world.send_one("test/paid", {"order": order, "cents": 7})

    assert [world.completed(event)["output"]["data"]["cents"] for event in events[:2]] == [7, 7]
    assert world.server.runs(events[2])[0]["status"] == "Running"
    world.send_one("test/paid", {"order": other, "cents": 8})
    assert world.completed(events[2])["output"]["data"]["cents"] == 8


@pytest.mark.only_in("dev")
def test_a_wait_without_a_condition_takes_the_first_event_of_its_name(world: World) -> None:
    event = world.send_one("test/wait-any")
    world.waiting(event, "paid")

    world.send({"name": "test/paid", "data": {"n": 1}}, {"name": "test/paid", "data": {"n": 2}})

    assert world.completed(event)["output"]["data"] == {"n": 1}


def test_a_wait_whose_time_is_up_gives_nothing(travelling_world: World) -> None:
    world = travelling_world
    event = world.send_one("test/wait-if", {"order": unique("order")})
    world.waiting(event, "paid")

    world.skip("6m")

    assert world.completed(event)["output"] is None


def test_an_event_that_came_before_its_wait_counts_where_the_sdk_looks_back(travelling_world: World) -> None:
    world = travelling_world
    world.skip("6m")  # the sender's clock doesn't move
    event = world.send_one("test/wait-sent", {"order": unique("order")})
    if "looks back" not in world.sdk.has:
        world.waiting(event, "paid")
        world.skip("6m")

    expected = "test/paid" if "looks back" in world.sdk.has else None
    assert world.completed(event)["output"] == expected


@pytest.mark.needs("unchecked")
@pytest.mark.only_in("dev")
@pytest.mark.parametrize(
    ("function", "error"), [("wait-broken", "InvalidExpression"), ("wait-long", "InngestErrTimeoutTooLong")]
)
def test_a_wait_that_can_not_be_opened_fails_its_run_at_once(world: World, function: str, error: str) -> None:
    run = world.failed(world.send_one(f"test/{function}"))

    assert run["output"]["error"]["name"] == error


@pytest.mark.only_in("dev")
def test_a_run_with_a_memo_too_large_for_a_call_waits_and_goes_on(world: World) -> None:
    order = unique("order")
    event = world.send_one("test/wait-heavy", {"order": order, "parts": 3, "chars": 1_500_000})
    world.waiting(event, "paid")

    world.send_one("test/paid", {"order": order, "cents": 5})

    assert world.completed(event)["output"] == {"lengths": [1_500_000] * 3, "cents": 5}


@pytest.mark.only_in("dev")
def test_an_event_that_is_sent_outside_of_a_step_starts_functions(world: World) -> None:
    [sent] = world.completed(world.send_one("test/shout"))["output"]

    assert world.completed(sent)["output"] == 3


# -- runs -------------------------------------------------------------------------------------------------------------


def invoked(world: World, **data: Json) -> str:
    return world.send_one("test/parent", data)


def test_an_invoked_function_gets_the_data_and_its_result_comes_back(world: World) -> None:
    run = world.completed(invoked(world, child="double", data={"n": 21}))

    assert run["output"] == {"result": 42}
    child = world.runs_of("double")[0]
    assert world.counts({"run_id": child["id"]}) == {"inngest/function.invoked": 1}


@pytest.mark.only_in("dev")
def test_invokes_beside_each_other_come_back_each_with_its_own_result(world: World) -> None:
    assert world.completed(world.send_one("test/parents"))["output"] == [2, 4, 6]


def test_the_error_of_an_invoked_function_is_thrown_in_the_one_that_invokes(world: World) -> None:
    assert "boom" in world.completed(invoked(world, child="boom"))["output"]["caught"]


@pytest.mark.only_in("dev")
def test_a_function_of_another_app_is_invoked_by_its_id(world: World) -> None:
    world.turn("first")
    world.server.api("/apps/sync", method="POST", json={"url": world.moving_url})

    assert world.completed(invoked(world, app="moving", child="stays"))["output"] == {"result": "first"}


@pytest.mark.only_in("dev")
def test_a_function_that_does_not_exist_can_not_be_invoked(world: World) -> None:
    run = world.completed(invoked(world, child="nobody"))

    assert run["output"]["caught"] == "could not find function with ID: shop-nobody"


def test_an_invoke_whose_time_is_up_throws(travelling_world: World) -> None:
    world = travelling_world
    event = invoked(world, child="patient", timeout="1m")
    world.waiting(event, "call")

    world.skip("2m")

    assert world.completed(event)["output"]["caught"] == "Timed out waiting for invoked function to complete"


@pytest.mark.only_in("dev")
def test_an_invoked_function_that_is_cancelled_throws(world: World) -> None:
    event = invoked(world, child="patient")
    world.waiting(event, "call")
    child = eventually(lambda: world.runs_of("patient"), what="the child runs")[0]

    world.server.api(f"/runs/{child['id']}/cancel", method="POST")

    assert "cancel" in world.completed(event)["output"]["caught"].lower()


@pytest.mark.only_in("dev")
@pytest.mark.parametrize(("child", "word"), [("rated", "rate limited"), ("lone", "singleton")])
def test_an_invoke_that_flow_control_skips_throws_at_once(world: World, child: str, word: str) -> None:
    key = unique("key")
    first = world.send_one(f"test/{child}", {"key": key, "waits": True})
    if child == "lone":
        world.waiting(first, "never")

    run = world.completed(invoked(world, child=child, data={"key": key}))

    assert word in run["output"]["caught"]


@pytest.mark.only_in("dev")
def test_functions_learn_of_the_ends_of_others(world: World) -> None:
    failed = world.failed(world.send_one("test/boom"))
    patient = world.send_one("test/patient")
    cancelled = world.waiting(patient, "never")
    world.server.api(f"/runs/{cancelled}/cancel", method="POST")

    def told(id: str) -> dict[str, Json]:
        return {entry["step"]: entry["value"] for entry in world.log(id)}

    failure, cancellation = {"finished": "boom", "failed": "boom"}, {"finished": None, "cancelled": None}
    eventually(lambda: told(failed["run_id"]) == failure, what="they learn of the failure")
    eventually(lambda: told(cancelled) == cancellation, what="they learn of the cancellation")


# -- signals ----------------------------------------------------------------------------------------------------------


@pytest.mark.needs("signals")
def test_a_signal_ends_the_wait_of_the_one_run_that_waits_for_it(world: World) -> None:
    signal = unique("approval")
    event = world.send_one("test/signalled", {"signal": signal})
    world.waiting(event, "approval")

    sending = world.completed(world.send_one("test/signal", {"signal": signal, "data": {"by": "ann"}}))

    run = world.completed(event)
    assert run["output"] == {"signal": signal, "data": {"by": "ann"}}
    # The SDK of the version before throws the answer away.
    assert sending["output"] in (None, {"runId": run["run_id"]})


@pytest.mark.needs("signals")
@pytest.mark.only_in("dev")
def test_a_second_run_that_waits_for_a_signal_fails_and_the_first_gets_it(world: World) -> None:
    signal = unique("approval")
    first = world.send_one("test/signalled", {"signal": signal})
    world.waiting(first, "approval")

    second = world.failed(world.send_one("test/signalled", {"signal": signal}))

    assert "Signal conflict" in json.dumps(second["output"])
    world.send_one("test/signal", {"signal": signal, "data": 1})
    assert world.completed(first)["output"] == {"signal": signal, "data": 1}


@pytest.mark.needs("signals")
def test_a_run_that_replaces_another_gets_the_signal_and_the_other_times_out(travelling_world: World) -> None:
    world = travelling_world
    signal = unique("approval")
    first = world.send_one("test/signalled", {"signal": signal})
    world.waiting(first, "approval")
    second = world.send_one("test/signalled", {"signal": signal, "onConflict": "replace"})
    world.waiting(second, "approval")

    world.send_one("test/signal", {"signal": signal, "data": 2})

    assert world.completed(second)["output"] == {"signal": signal, "data": 2}
    assert world.server.runs(first)[0]["status"] == "Running"
    world.skip("6m")
    assert world.completed(first)["output"] is None


# -- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.needs("fetch")
@pytest.mark.only_in("dev")
def test_the_server_makes_a_request_and_any_answer_is_the_result(world: World, provider: Provider) -> None:
    path = f"/{unique('page')}"

    run = world.completed(world.send_one("test/fetching", {"url": provider.url + path}))

    assert run["output"] == {"status": 404, "header": "to a post", "body": "no hello"}
    [asked] = provider.asked_at(path)
    assert asked.body == "hello"
    assert asked.headers["x-order"] == "o1"
    assert asked.headers["content-type"] == "text/plain"


@pytest.mark.needs("fetch")
def test_a_request_that_can_not_be_made_is_tried_again_and_then_throws(travelling_world: World) -> None:
    world = travelling_world
    port = Port()
    event = world.send_one("test/fetching", {"url": f"http://127.0.0.1:{port.number}/"})
    world.skip("10s")

    run = world.completed(event)

    port.release()
    assert run["output"]["caught"].startswith("Error making gateway request")


@pytest.mark.needs("ai")
@pytest.mark.only_in("dev")
def test_the_server_asks_a_model_in_the_app_s_place(world: World, provider: Provider) -> None:
    place = unique("models")

    run = world.completed(world.send_one("test/inferring", {"url": f"{provider.url}/{place}/v1"}))

    assert run["output"] == "small-one says pong to ping"
    [asked] = provider.asked_at(f"/{place}/v1/chat/completions")
    assert asked.headers["authorization"] == "Bearer sk-of-tests"
    assert asked.headers["content-type"].startswith("application/json")


@pytest.mark.needs("ai")
def test_a_model_that_refuses_is_asked_again_and_then_its_answer_is_thrown(
    travelling_world: World, provider: Provider
) -> None:
    world = travelling_world
    place = unique("busy")
    event = world.send_one("test/inferring", {"url": f"{provider.url}/{place}/v1"})
    world.skip("10s")

    run = world.completed(event)

    assert "unsuccessful status code: 429" in run["output"]["caught"]
    assert len(provider.asked_at(f"/{place}/v1/chat/completions")) == 2


@pytest.mark.needs("ai")
@pytest.mark.only_in("start")
def test_in_production_no_request_goes_to_a_private_address(world: World, provider: Provider) -> None:
    place = unique("models")

    run = world.completed(world.send_one("test/inferring", {"url": f"{provider.url}/{place}/v1"}))

    assert "private" in run["output"]["caught"]
    assert provider.asked_at(f"/{place}/v1/chat/completions") == []
