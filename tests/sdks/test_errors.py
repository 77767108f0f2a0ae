"""Steps and functions that fail: what is tried again, how often, when, and what user code learns of it."""

from __future__ import annotations

from typing import Any

from tests.e2e.harness import eventually
from tests.sdks.world import World


def test_a_step_that_fails_twice_succeeds_at_its_third_attempt(world: World) -> None:
    run = world.completed(world.started("test/flaky"))

    assert run["output"] == "done, then"
    assert world.attempts(run, "work") == [0, 1, 2]
    assert world.attempts(run, "then") == [0]


def test_attempts_are_told_apart_in_the_timeline(world: World) -> None:
    run = world.completed(world.started("test/flaky"))

    rows: list[dict[str, Any]] = world.server.api(f"/runs/{run['run_id']}/timeline")["rows"]
    work = [row for row in rows if row["title"] == "work"]

    assert [(row["attempt"], row["status"]) for row in work] == [(0, "retrying"), (1, "retrying"), (2, "completed")]
    assert [row["error"] and row["error"]["message"] for row in work] == ["not yet", "not yet", None]


def test_a_step_out_of_attempts_throws_an_error_that_user_code_catches(world: World) -> None:
    run = world.completed(world.started("test/catch"))

    assert run["output"] == "caught: no stock"
    assert world.attempts(run, "doomed") == [0, 1]
    assert world.attempts(run, "compensate") == [0]


def test_a_function_that_keeps_failing_fails_the_run_with_its_last_error(world: World) -> None:
    run = world.failed(world.started("test/broken"))

    assert run["output"]["message"] == "boom"
    assert world.attempts(run, "raise") == [0, 1]
    assert world.counts(run)["first"] == 1


def test_a_failed_run_calls_its_failure_handler_with_the_error_and_the_event(world: World) -> None:
    run = world.failed(world.started("test/broken"))

    [reported] = eventually(
        lambda: [entry for entry in world.log(run["run_id"]) if entry["step"] == "on failure"],
        what="the failure handler has run",
    )

    assert reported["value"] == {"message": "boom", "event": {"name": "test/broken", "data": {"order": "o1"}}}


def test_a_non_retriable_error_of_a_function_fails_the_run_at_once(world: World) -> None:
    run = world.failed(world.send_one("test/final"))

    assert run["output"]["message"] == "never again"
    assert world.attempts(run, "raise") == [0]


def test_a_non_retriable_error_of_a_step_fails_the_run_at_once(world: World) -> None:
    run = world.failed(world.send_one("test/final-step"))

    assert run["output"]["message"] == "never again"
    assert world.attempts(run, "raise") == [0]


def test_an_error_that_says_when_to_try_again_is_obeyed(world: World) -> None:
    run = world.completed(world.started("test/later"))

    assert run["output"] == "at last"
    assert world.attempts(run, "work") == [0, 1]
    first, second = world.times(run, "work")
    # The server's own delay is 1 s; SDKs round 3 s to a whole second.
    assert 1900 < second - first < 6000
