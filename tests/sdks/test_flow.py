"""Flow control: how many runs may go on, how many start, in which order, and what ends them."""

from __future__ import annotations

import datetime
import uuid
from typing import Any

import pytest

from tests.e2e.harness import eventually
from tests.sdks.world import World

pytestmark = pytest.mark.needs("flow")

Json = Any


@pytest.fixture
def key() -> str:
    """A value of ``event.data.key`` that no other test has."""
    return str(uuid.uuid4())


def send(world: World, function: str, *data: Json) -> list[str]:
    """Send events that start a function, in one request; return their ids."""
    return world.send(*({"name": f"test/{function}", "data": item} for item in data))


def started(world: World, *events: str) -> list[int]:
    """Return the numbers of the events whose runs have done their first step, in the order of that."""
    entries = [entry for event in events for entry in world.log_of_event(event) if entry["step"] == "start"]
    return [entry["value"] for entry in sorted(entries, key=lambda entry: entry["at"])]


def eventually_started(world: World, events: list[str], numbers: list[int]) -> None:
    """Wait until exactly these have started."""
    eventually(lambda: len(started(world, *events)) >= len(numbers), what=f"{len(numbers)} have started")
    assert started(world, *events) == numbers


# -- how many at a time -----------------------------------------------------------------------------------------------


@pytest.mark.only_in("dev")
def test_as_many_calls_go_on_at_a_time_as_the_limit_says(world: World, key: str) -> None:
    reach = send(world, "limited", *[{"room": key, "size": 2, "ms": 10_000}] * 2)
    assert [world.completed(event)["output"] for event in reach] == [2, 2]

    beyond = send(world, "limited", *[{"room": key, "size": 3, "ms": 100}] * 5)

    assert [world.completed(event)["output"] for event in beyond] == [2] * 5


@pytest.mark.only_in("dev")
def test_with_a_key_the_limit_holds_for_each_of_its_values(world: World, key: str) -> None:
    one = {"key": key, "room": key, "size": 2, "ms": 100}
    same = send(world, "keyed", one, one, one)
    assert [world.completed(event)["output"] for event in same] == [1, 1, 1]

    both = [{"key": f"{key} {n}", "room": f"both {key}", "size": 2, "ms": 10_000} for n in range(2)]

    assert [world.completed(event)["output"] for event in send(world, "keyed", *both)] == [2, 2]


def test_functions_that_share_a_limit_are_counted_together(world: World, key: str) -> None:
    data = {"key": key, "room": key, "size": 2, "ms": 100}

    events = world.send(*({"name": f"test/{name}", "data": data} for name in ("shared-a", "shared-b") * 2))

    assert [world.completed(event)["output"] for event in events] == [1] * 4


@pytest.mark.only_in("dev")
def test_of_two_limits_both_hold(world: World, key: str) -> None:
    keys = [{"key": f"{key} {n}", "room": key, "size": 2, "ms": 10_000} for n in range(2)]
    assert [world.completed(event)["output"] for event in send(world, "doubly", *keys)] == [2, 2]

    same = {"key": key, "room": f"same {key}", "size": 2, "ms": 50}
    more = [{"key": f"{key} {n}", "room": key, "size": 3, "ms": 50} for n in range(4)]
    events = send(world, "doubly", same, same, *more)

    assert [world.completed(event)["output"] for event in events] == [1, 1, 2, 2, 2, 2]


@pytest.mark.needs("run concurrency")
def test_a_run_holds_its_slot_from_its_first_call_to_its_end(travelling_world: World, key: str) -> None:
    world = travelling_world
    [first, second] = send(world, "one-run", {"key": key, "n": 1}, {"key": key, "n": 2})
    world.waiting(first, "never")
    assert outcomes(world, second) == ["queued"]

    world.skip("6m")

    assert world.completed(first)["output"] == "waited"
    world.waiting(second, "never")
    assert started(world, first, second) == [1, 2]


# -- how often --------------------------------------------------------------------------------------------------------


def test_a_throttle_spreads_starts_and_drops_none(travelling_world: World, key: str) -> None:
    world = travelling_world
    events = send(world, "throttled", *({"key": key, "n": n} for n in (1, 2, 3)))
    eventually_started(world, events, [1])

    world.skip("61s")
    eventually_started(world, events, [1, 2])

    world.skip("61s")
    assert [world.completed(event)["output"] for event in events] == [1, 2, 3]


def test_what_is_over_a_rate_limit_is_skipped_until_its_period_is_over(travelling_world: World, key: str) -> None:
    world = travelling_world
    events = send(world, "rationed", *({"key": key, "n": n} for n in (1, 2, 3)))
    [other] = send(world, "rationed", {"key": f"{key} other", "n": 4})

    assert [world.completed(event)["output"] for event in (*events[:2], other)] == [1, 2, 4]
    assert outcomes(world, events[2]) == ["skipped"]


def outcomes(world: World, event: str) -> list[str]:
    """Return the statuses of all runs of an event, the skipped ones, too."""
    return [run["status"] for run in world.server.api("/runs", params={"event_id": event})["items"]]


def test_a_debounce_runs_once_for_the_last_event(travelling_world: World, key: str) -> None:
    world = travelling_world
    events = send(world, "debounced", *({"key": key, "n": n} for n in (1, 2)))
    world.skip("40s")
    events += send(world, "debounced", {"key": key, "n": 3})
    world.skip("40s")
    assert started(world, *events) == []

    world.skip("40s")

    eventually_started(world, events, [3])


def test_a_debounce_waits_no_longer_than_its_timeout(travelling_world: World, key: str) -> None:
    world = travelling_world
    events: list[str] = []
    for n in (1, 2, 3):
        assert started(world, *events) == []
        events += send(world, "debounced-at-most", {"key": key, "n": n})
        world.skip("40s")

    eventually_started(world, events, [3])


def test_a_batch_runs_when_it_is_full_or_has_waited_long_enough(travelling_world: World, key: str) -> None:
    world = travelling_world

    full = send(world, "batched", *({"key": key, "n": n} for n in (1, 2, 3)))
    assert [world.completed(event)["output"] for event in full] == [[1, 2, 3]] * 3

    rest = send(world, "batched", *({"key": key, "n": n} for n in (4, 5)))
    assert outcomes(world, rest[0]) == []
    [alone] = send(world, "batched", {"key": key, "n": 100})
    assert world.completed(alone)["output"] == [100]
    world.skip("31s")
    assert world.completed(rest[0])["output"] == [4, 5]


def test_a_run_with_a_higher_priority_starts_before_others_that_wait(travelling_world: World) -> None:
    world = travelling_world
    events = send(world, "ranked", {"n": 1, "rank": 0})
    eventually_started(world, events, [1])
    events += send(world, "ranked", {"n": 2, "rank": 0}, {"n": 3, "rank": -50}, {"n": 4, "rank": 100})

    for numbers in ([1, 4], [1, 4, 2], [1, 4, 2, 3]):
        world.skip("61s")
        eventually_started(world, events, numbers)


def test_a_singleton_that_skips_lets_the_first_run_go_on(travelling_world: World, key: str) -> None:
    world = travelling_world
    [first] = send(world, "single-skip", {"key": key, "n": 1})
    world.waiting(first, "never")

    [second] = send(world, "single-skip", {"key": key, "n": 2})

    assert outcomes(world, second) == ["skipped"]
    world.skip("6m")
    assert world.completed(first)["output"] == "waited"
    [third] = send(world, "single-skip", {"key": key, "n": 3})
    world.waiting(third, "never")


def test_a_singleton_that_cancels_lets_the_last_run_go_on(travelling_world: World, key: str) -> None:
    world = travelling_world
    [first] = send(world, "single-cancel", {"key": key, "n": 1})
    world.waiting(first, "never")

    [second] = send(world, "single-cancel", {"key": key, "n": 2})

    world.cancelled(first)
    world.waiting(second, "never")
    world.skip("6m")
    assert world.completed(second)["output"] == "waited"


@pytest.mark.only_in("dev")
def test_an_idempotent_function_runs_once_for_each_key(world: World, key: str) -> None:
    [first] = send(world, "once", {"key": key, "n": 1})
    [second, other] = send(world, "once", {"key": key, "n": 2}, {"key": f"{key} other", "n": 3})

    assert world.completed(first)["output"] == 1
    assert world.completed(other)["output"] == 3
    assert outcomes(world, second) == ["skipped"]


# -- until when -------------------------------------------------------------------------------------------------------


@pytest.mark.only_in("dev")
@pytest.mark.parametrize("function", ["stopped-if", "stopped-match"])
def test_an_event_cancels_the_runs_that_it_matches(world: World, key: str, function: str) -> None:
    [stopped, other] = send(world, function, {"key": key, "n": 1}, {"key": f"{key} other", "n": 2})
    world.waiting(stopped, "never")
    world.waiting(other, "never")

    world.send_one("test/stop", {"key": key})

    world.cancelled(stopped)
    assert outcomes(world, other) == ["running"]


def test_an_event_cancels_nothing_when_the_rule_s_time_is_up(travelling_world: World, key: str) -> None:
    world = travelling_world
    [event] = send(world, "stopped-if", {"key": key, "n": 1})
    world.waiting(event, "never")
    world.skip("3m")

    world.send_one("test/stop", {"key": key})

    world.skip("3m")
    assert world.completed(event)["output"] == "waited"


def test_a_run_that_does_not_start_in_time_is_cancelled(travelling_world: World, key: str) -> None:
    world = travelling_world
    [first, second] = send(world, "late", {"key": key, "n": 1}, {"key": key, "n": 2})
    assert world.completed(first)["output"] == 1

    world.skip("2m")

    world.cancelled(second)
    assert started(world, second) == []


def test_a_run_that_does_not_end_in_time_is_cancelled(travelling_world: World) -> None:
    world = travelling_world
    [event] = send(world, "long", {"n": 1})
    world.waiting(event, "never")

    world.skip("2m")

    world.cancelled(event)


# -- when -------------------------------------------------------------------------------------------------------------


def test_an_event_that_is_dated_ahead_starts_its_runs_then(travelling_world: World, key: str) -> None:
    world = travelling_world
    ahead = world.skip("1s") + datetime.timedelta(minutes=2)
    event = world.send_one("test/once", {"key": key, "n": 1}, ts=round(ahead.timestamp() * 1000))
    world.skip("1m")
    assert started(world, event) == []

    world.skip("61s")

    assert world.completed(event)["output"] == 1


@pytest.mark.needs("jitter")
def test_a_schedule_with_jitter_ticks_once_each_time(travelling_world: World) -> None:
    world = travelling_world

    world.skip("5m")

    def ticks() -> list[datetime.datetime]:
        runs = world.runs_of("jittered")
        assert len(runs) >= 2
        assert {run["status"] for run in runs} == {"completed"}, runs
        outputs = [world.server.v1(f"/runs/{run['id']}")["output"] for run in runs]
        return sorted(datetime.datetime.fromisoformat(output["scheduledAt"]) for output in outputs)

    times = eventually(ticks, what="two ticks have run")
    assert [time - times[0] for time in times] == [datetime.timedelta(minutes=2 * n) for n in range(len(times))]
