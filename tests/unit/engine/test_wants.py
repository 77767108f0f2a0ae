"""What may be claimed of a partition: its limits, as the newest configuration has them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import Function, Pause, PauseMode
from stepwell.engine.core.partition import TIMERS, later
from stepwell.engine.core.trigger import Registry, start
from stepwell.engine.wants import is_held, slot_keys, want
from stepwell.store.request import SlotLimit, Want
from tests.unit.engine.making import DEV, T0, event_of, function_of


def partition_of(function: Function) -> str:
    """Return the partition of the first call of a run."""
    [run] = start(event_of(data={"k": 1}), Registry(DEV, 1, [function]), now=T0, new_id=lambda: "R").runs
    return run.partition


def want_of(partition: str, function: Function) -> Want | None:
    return want(partition, 5, function, Registry(DEV, 1, [function]).rules(function))


def test_timers_and_functions_without_rules_are_not_limited() -> None:
    assert want(TIMERS, 5, None, None) == Want(TIMERS, 5, TIMERS)
    assert want_of(partition_of(function_of()), function_of()) == Want(function_of().id, 5, function_of().id)


def test_the_limits_of_calls_hold_for_all_and_those_of_runs_for_the_first() -> None:
    function = function_of(concurrency={"limit": 3}, runConcurrency={"limit": 2})
    partition = partition_of(function)

    first, rest = want_of(partition, function), want_of(later(partition), function)

    assert first is not None
    assert rest is not None
    assert [(slot.limit, slot.is_run) for slot in first.slots] == [(3, False), (2, True)]
    assert [(slot.limit, slot.is_run) for slot in rest.slots] == [(3, False)]
    assert first.later == rest.partition == rest.later


def test_a_limit_that_changed_counts_at_once_and_one_that_is_gone_no_more() -> None:
    partition = partition_of(function_of(concurrency={"limit": 3}))

    changed, gone = want_of(partition, function_of(concurrency={"limit": 9})), want_of(partition, function_of())

    assert changed is not None
    assert [slot.limit for slot in changed.slots] == [9]
    assert gone is not None
    assert gone.slots == ()


def test_a_throttle_is_asked_with_the_first_call() -> None:
    function = function_of(throttle={"limit": 2, "period": "10s", "burst": 3})
    partition = partition_of(function)

    first, rest = want_of(partition, function), want_of(later(partition), function)

    assert first is not None
    assert first.throttle is not None
    assert (first.throttle.limit, first.throttle.period_ms, first.throttle.burst) == (2, 10_000, 3)
    assert rest is not None
    assert rest.throttle is None


@pytest.mark.parametrize(("mode", "slots"), [("skip", []), ("cancel", [(1, True, True)])])
def test_the_runs_of_a_singleton_wait_for_each_other_where_the_newest_has_it(mode: str, slots: list[Any]) -> None:
    function = function_of(singleton={"mode": mode})

    found = want_of(partition_of(function), function)

    assert found is not None
    assert [(slot.limit, slot.is_run, slot.is_taken) for slot in found.slots] == slots


def test_functions_that_share_a_rule_share_its_count() -> None:
    def key(slug: str, scope: str) -> list[SlotLimit]:
        function = function_of(slug, concurrency={"limit": 1, "scope": scope, "key": "event.data.k"})
        found = want_of(partition_of(function), function)
        assert found is not None
        return list(found.slots)

    assert key("app-1", "env") == key("app-2", "env")
    assert key("app-1", "account") == key("app-2", "account") != key("app-1", "env")
    assert key("app-1", "fn") != key("app-2", "fn")


def test_the_keys_that_get_room_are_those_that_are_counted() -> None:
    function = function_of(concurrency={"limit": 3}, runConcurrency={"limit": 2}, throttle={"limit": 1, "period": "1s"})
    partition = partition_of(function)
    found = want_of(partition, function)

    assert found is not None
    assert slot_keys(partition, function, Registry(DEV, 1, [function]).rules(function)) == tuple(
        slot.key for slot in found.slots
    )


@pytest.mark.parametrize(
    ("mode", "is_stopped", "held"),
    [
        (PauseMode.HOLD, False, (True, False)),
        (PauseMode.DROP, False, (False, False)),
        (PauseMode.HOLD, True, (True, True)),
        (PauseMode.DROP, True, (True, True)),
    ],
)
def test_a_pause_holds_new_runs_and_those_under_way_where_it_says_so(
    mode: PauseMode, is_stopped: bool, held: tuple[bool, bool]
) -> None:
    function = function_of(pause=Pause(T0, mode, is_stopped))
    new, rest = partition_of(function_of(pause=Pause(T0, PauseMode.HOLD, is_stopped=False))), function.id

    assert (is_held(new, function), is_held(rest, function)) == held
    assert [want_of(partition, function) is None for partition in (new, rest)] == list(held)
    assert not is_held(new, msgspec.structs.replace(function, pause=None))
