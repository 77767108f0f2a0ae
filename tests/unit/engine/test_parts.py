"""The small parts of the engine: slots, clock, ids, and the runs that are kept warm."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from ulid import ULID

from stepwell.engine import warm as warm_module
from stepwell.engine.clock import Clock
from stepwell.engine.core.state import RunState
from stepwell.engine.ids import IdSource, ulid_text
from stepwell.engine.slots import Slots
from stepwell.engine.warm import WarmRuns
from stepwell.protocol.ids import RunId
from tests.unit.engine.making import T0, Machine, op, ops

# -- slots ----------------------------------------------------------------------------------------------------------


def test_slots_are_counted_for_each_partition() -> None:
    slots = Slots(2, lambda _: None)

    assert slots.reserve("a", 2)
    assert not slots.reserve("a")
    assert slots.reserve("b")
    assert (slots.free("a"), slots.free("b"), slots.free("c"), slots.used) == (0, 1, 2, 3)


def test_slots_are_taken_all_or_none() -> None:
    slots = Slots(2, lambda _: None)
    slots.reserve("a")

    assert not slots.reserve("a", 2)
    assert slots.free("a") == 1


def test_who_waits_is_told_of_a_free_slot() -> None:
    freed: list[str] = []
    slots = Slots(2, freed.append)
    slots.reserve("a", 2)

    slots.release("a")
    slots.release("a")

    assert freed == ["a", "a"]
    assert slots.used == 0


def test_a_slot_cannot_be_given_back_twice() -> None:
    slots = Slots(2, lambda _: None)
    slots.reserve("a")

    with pytest.raises(AssertionError, match="given back twice"):
        slots.release("a", 2)


# -- the clock ------------------------------------------------------------------------------------------------------


def test_the_clock_does_not_go_back() -> None:
    source = [T0]
    clock = Clock(lambda: source[0])
    assert clock.now() == T0

    source[0] = T0 - 3_600_000
    assert clock.now() == T0
    source[0] = T0 + 1
    assert clock.now() == T0 + 1


def test_the_databases_time_replaces_that_of_a_machine_which_is_ahead() -> None:
    elapsed = [100.0]
    clock = Clock(lambda: T0 + 86_400_000, elapsed=lambda: elapsed[0])
    clock.now()

    clock.set(T0, at_s=99.0)

    assert clock.now() == T0 + 1_000
    clock.set(T0 - 3_600_000, at_s=100.0)  # the database's time was set back
    assert clock.now() == T0 + 1_000


def test_time_travel_moves_the_clock_ahead() -> None:
    clock = Clock(lambda: T0)

    clock.offset_ms = 5_000

    assert clock.now() == T0 + 5_000


# -- ids ------------------------------------------------------------------------------------------------------------


def test_ids_rise_within_a_millisecond_and_when_the_clock_stands_or_goes_back() -> None:
    times = iter([T0] * 500 + [T0 - 1000] * 100 + [T0 + 1] * 100)
    ids = IdSource(lambda: next(times), Random(1))

    made = [ids() for _ in range(700)]

    assert made == sorted(set(made))
    assert ULID.from_str(made[0]).milliseconds == T0
    assert ULID.from_str(made[-1]).milliseconds == T0 + 1


def test_the_highest_entropy_cannot_overflow() -> None:
    class Highest(Random):
        def getrandbits(self, k: int, /) -> int:
            return (1 << k) - 1

    ids = IdSource(lambda: T0, Highest())

    assert ids() < ids()


def test_an_id_is_the_ulid_of_its_time_and_bytes() -> None:
    text = ulid_text(T0, bytes(range(10)))

    parsed = ULID.from_str(text)
    assert parsed.bytes == T0.to_bytes(6, "big") + bytes(range(10))


# -- warm runs ------------------------------------------------------------------------------------------------------


def state_of(number: int, size: int = 10) -> RunState:
    machine = Machine()
    machine.reply(ops(op("StepRun", "a", data="x" * size)))
    run = msgspec.structs.replace(machine.run, id=RunId(f"run-{number}"))
    return RunState(run, machine.event.body, [step for transition in machine.transitions for step in transition.steps])


def test_a_warm_run_is_found_at_its_version_only() -> None:
    warm = WarmRuns()
    live = warm.put(state_of(1))

    assert warm.get(live.state.run.id) is live
    assert warm.get(live.state.run.id, 1) is live
    assert warm.get(live.state.run.id, 2) is None


def test_a_run_that_is_there_is_not_replaced() -> None:
    warm = WarmRuns()

    assert warm.put(state_of(1)) is warm.put(state_of(1))


def test_the_oldest_runs_that_nobody_uses_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_module, "_WARM_RUNS_MAX", 4)
    warm = WarmRuns()
    used = warm.put(state_of(0))
    used.users += 1

    lives = [warm.put(state_of(number)) for number in range(1, 5)]

    assert warm.get(used.state.run.id) is used
    assert [warm.get(live.state.run.id) is not None for live in lives] == [False, False, True, True]


def test_what_runs_hold_is_counted_whatever_becomes_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm_module, "_WARM_BYTES_MAX", 10_000)
    warm = WarmRuns()
    for number in range(50):
        live = warm.put(state_of(number, 100))
        if number % 3 == 0:
            warm.drop(live.state.run.id)
        if number % 5 == 0:
            warm.replace(live, state_of(number, 500))
        warm.grew(live, 0)
        if number % 7 == 0:  # a run that was dropped is still worked on, and grows
            warm.drop(live.state.run.id)
            warm.grew(live, 1_000)

    assert 0 < warm._bytes <= 10_000
    assert warm._bytes == sum(live.state.size_bytes for live in warm._runs.values())
