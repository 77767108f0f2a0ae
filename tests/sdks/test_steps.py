"""Steps that go well: each is executed once, and remembered."""

from __future__ import annotations

import datetime

import pytest

from tests.sdks.apps.recorder import HEAVY_CHARS, HEAVY_STEPS
from tests.sdks.world import World


def test_steps_in_a_row_run_once_each_and_see_the_results_before_them(world: World) -> None:
    run = world.completed(world.send_one("test/steps"))

    assert run["output"] == {"a": 1, "b": 2, "again": [0, 1]}
    assert world.counts(run) == {"a": 1, "b": 1, "again 0": 1, "again 1": 1}


def test_parallel_steps_run_once_each_and_are_joined_when_all_are_done(world: World) -> None:
    run = world.completed(world.started("test/parallel"))

    assert run["output"] == "abc"
    assert world.counts(run) == {"a": 1, "b": 2, "c": 1, "join": 1}


def test_a_parallel_step_that_fails_is_tried_again_without_its_siblings(world: World) -> None:
    run = world.completed(world.started("test/parallel"))

    assert {step: world.attempts(run, step) for step in ("a", "b", "c", "join")} == {
        "a": [0],
        "b": [0, 1],
        "c": [0],
        "join": [0],
    }


def test_a_sleep_and_a_branch_of_several_steps_go_on_beside_a_step(world: World) -> None:
    run = world.completed(world.started("test/mixed"))

    assert run["output"] == ["a", "b1", "b2"]
    assert world.counts(run) == {"a": 1, "b1": 1, "b2": 1}


@pytest.mark.needs_race
def test_in_a_race_a_branch_goes_on_while_another_still_sleeps(world: World) -> None:
    run = world.completed(world.started("test/race"))

    assert world.counts(run) == {"r1": 1, "r2": 1}
    [first], [second] = world.times(run, "r1"), world.times(run, "r2")
    assert second - first < 1500, "the branch that sleeps takes 2 s"


def test_a_run_sleeps_for_a_duration_and_until_a_time(world: World) -> None:
    alarm = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2)

    run = world.completed(
        world.send_one("test/nap", {"nap_ms": 1000, "alarm": alarm.isoformat(timespec="milliseconds")})
    )

    assert world.counts(run) == {"before": 1, "after": 1}
    [before], [after] = world.times(run, "before"), world.times(run, "after")
    assert after >= alarm.timestamp() * 1000
    assert after - before >= 1000
    assert after - alarm.timestamp() * 1000 < 3000


def test_a_run_whose_memo_is_too_large_for_a_call_is_given_it_by_the_api(world: World) -> None:
    run = world.completed(world.send_one("test/heavy"))

    assert run["output"] == [HEAVY_CHARS] * HEAVY_STEPS
    assert world.counts(run) == {f"part {n}": 1 for n in range(HEAVY_STEPS)}
