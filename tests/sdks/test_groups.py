"""Steps beside each other, and many steps in a row: in one call where an SDK makes checkpoints."""

from __future__ import annotations

import json
import uuid

import pytest

from tests.e2e.harness import eventually
from tests.sdks.conftest import STEPS_MAX
from tests.sdks.world import World

pytestmark = pytest.mark.needs("groups")


@pytest.mark.only_in("dev")
def test_groups_within_groups_run_each_step_once_and_come_back_in_place(world: World) -> None:
    run = world.completed(world.send_one("test/nested"))

    assert run["output"] == [["a", ["b", "c"]], "d", ["e", "f"]]
    assert world.counts(run) == dict.fromkeys("abcdef", 1)


@pytest.mark.only_in("dev")
def test_steps_of_one_name_beside_each_other_keep_their_own_results(world: World) -> None:
    run = world.completed(world.send_one("test/namesakes"))

    assert run["output"] == [0, 1, 2, 3]
    assert world.counts(run) == {f"same {n}": 1 for n in range(4)}


@pytest.mark.only_in("dev")
def test_forty_steps_beside_each_other_run_once_each(world: World) -> None:
    run = world.completed(world.send_one("test/wide"))

    assert run["output"] == sum(range(40))
    assert sorted(entry["value"] for entry in world.log(run["run_id"])) == list(range(40))


@pytest.mark.only_in("dev")
def test_steps_of_all_kinds_beside_each_other_are_joined_when_the_last_is_done(world: World) -> None:
    order = str(uuid.uuid4())
    event = world.send_one("test/kinds", {"order": order})
    world.waiting(event, "paid")

    world.send_one("test/paid", {"order": order, "cents": 7})

    run = world.completed(event)
    assert run["output"] == [7, 8, "own", "then"]
    assert world.counts(run) == {"own": 1, "then": 1}


def test_a_step_that_fails_for_good_leaves_its_siblings_alone(travelling_world: World) -> None:
    world = travelling_world
    event = world.send_one("test/settled")
    world.skip("10s")

    run = world.completed(event)

    assert run["output"] == ["good", "no stock", "then"]
    assert world.counts(run) == {"good": 1, "bad": 2, "then": 1}


@pytest.mark.needs("promise race")
def test_a_promise_race_is_won_by_the_first_step(travelling_world: World) -> None:
    world = travelling_world
    event = world.send_one("test/promise-race")
    world.waiting(event, "never")

    # The newest SDK is told of the end of a group only; the one before of each step's.
    world.skip("4m")

    run = world.completed(event)
    assert run["output"] == "fast"
    assert world.counts(run) == {"fast": 1}


@pytest.mark.needs("first of")
@pytest.mark.only_in("dev")
def test_what_follows_a_race_goes_on_while_the_loser_still_waits(world: World) -> None:
    event = world.send_one("test/first-of")
    id = eventually(lambda: world.server.runs(event), what="the run has begun")[0]["run_id"]

    eventually(lambda: "then" in world.counts({"run_id": id}), what="the race is decided")

    # The newest SDK ends no function whose steps haven't all ended.
    world.send_one("test/never")
    run = world.completed(event)
    assert run["output"] == "fast, then"
    assert world.counts(run) == {"fast": 1, "then": 1}


@pytest.mark.needs("streams")
def test_an_app_that_streams_its_answers_is_understood_alike(world: World) -> None:
    world.server.api("/apps/sync", method="POST", json={"url": f"{world.app.url}/streamed{world.sdk.path}"})

    fork, stumble, nested = world.send(*({"name": f"streamed/{name}"} for name in ("fork", "stumble", "nested")))

    assert world.completed(fork)["output"] == "abcde"
    assert world.completed(nested)["output"] == [["a", ["b", "c"]], "d", ["e", "f"]]
    assert world.counts(world.completed(stumble))["s2"] == 2


# -- in a row ---------------------------------------------------------------------------------------------------------


def test_steps_in_a_row_are_run_once_each_in_one_call_where_there_are_checkpoints(world: World) -> None:
    run = world.completed(world.send_one("test/line"))

    counts = world.counts(run)
    calls = counts.pop("call")
    assert counts == {f"s{n}": 1 for n in range(12)}
    assert calls == (1 if "checkpoints" in world.sdk.has else 13)


def test_a_step_that_fails_after_others_is_tried_again_alone(travelling_world: World) -> None:
    world = travelling_world
    event = world.send_one("test/stumble")
    world.skip("10s")

    run = world.completed(event)

    assert {step: world.attempts(run, step) for step in ("s0", "s1", "s2", "s3", "s4")} == {
        "s0": [0],
        "s1": [0],
        "s2": [0, 1],
        "s3": [0],
        "s4": [0],
    }


def test_each_step_has_all_of_its_attempts(travelling_world: World) -> None:
    world = travelling_world
    event = world.send_one("test/hurdles")
    world.skip("10s")

    run = world.completed(event)

    assert [world.attempts(run, f"s{n}") for n in range(3)] == [[0, 1]] * 3


@pytest.mark.only_in("dev")
def test_a_sleep_and_a_group_go_on_from_steps_in_a_row(world: World) -> None:
    run = world.completed(world.send_one("test/fork"))

    assert run["output"] == "abcde"
    assert world.counts(run) == dict.fromkeys("abcde", 1)


@pytest.mark.needs("buffer")
@pytest.mark.only_in("dev")
def test_steps_that_are_reported_several_at_a_time_are_all_kept(world: World) -> None:
    run = world.completed(world.send_one("test/buffered"))

    assert world.counts(run) == {"call": 1} | {f"s{n}": 1 for n in range(10)}
    rows = world.server.api(f"/runs/{run['run_id']}/timeline")["rows"]
    assert sorted(row["title"] for row in rows if row["step_id"] is not None) == [f"s{n}" for n in range(10)]


@pytest.mark.needs("checkpoints")
@pytest.mark.only_in("dev")
def test_a_call_that_has_gone_on_for_long_enough_is_followed_by_another(world: World) -> None:
    run = world.completed(world.send_one("test/marathon"))

    counts = world.counts(run)
    calls = counts.pop("call")
    assert counts == {f"s{n}": 1 for n in range(5)}
    assert 1 < calls < 6


def test_a_run_with_too_many_steps_fails_and_says_so(travelling_world: World) -> None:
    world = travelling_world

    run = world.failed(world.send_one("test/endless"))

    assert run["output"]["error"]["name"] == "InngestErrFunctionOverflowed", json.dumps(run)
    assert str(STEPS_MAX) in run["output"]["error"]["message"]
