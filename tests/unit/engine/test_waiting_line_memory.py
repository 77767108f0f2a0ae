"""What the line of partitions keeps in memory does not grow with the work that went through it."""

from __future__ import annotations

from stepwell.engine.waiting_line import WaitingLine


def test_a_long_sleep_costs_the_same_however_many_short_ones_come_before_it() -> None:
    line = WaitingLine(lambda partition: partition)
    for now in range(20_000):
        line.notice("timers", now, now)  # a short sleep is due
        line.set("timers", 10**12, now)  # a claim took it, and saw the long one

    assert len(line._future) < 100
    assert line.next_at() == 10**12


def test_what_is_due_later_is_not_forgotten_when_memory_is_tidied_up() -> None:
    line = WaitingLine(lambda partition: "app")
    for number in range(500):
        line.notice(f"p{number}", 1_000_000 + number, 0)
    for now in range(5_000):
        line.notice("timers", now, now)
        line.set("timers", 2_000_000, now)

    turns = line.turns(lambda _: 1_000, 2_000_000, count_max=1_000, jobs_max=1)

    assert {turn.partition for turn in turns} == {"timers", *(f"p{number}" for number in range(500))}
