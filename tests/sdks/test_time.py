"""Cron, and time travel in dev. On worlds apart, since they move the clock of their server."""

from __future__ import annotations

import datetime

from tests.e2e.harness import eventually
from tests.sdks.world import World


def test_a_schedule_ticks_once_a_minute(travelling_world: World) -> None:
    world = travelling_world

    world.skip("3m")

    def ticks() -> list[datetime.datetime]:
        runs = world.runs_of("tick")
        assert len(runs) >= 3
        assert {run["status"] for run in runs} == {"completed"}, runs
        logged = [entry["value"]["scheduledAt"] for run in runs for entry in world.log(run["id"])]
        return sorted(datetime.datetime.fromisoformat(time) for time in logged)

    times = eventually(ticks, what="three ticks have run")
    minute = datetime.timedelta(minutes=1)
    assert [time - times[0] for time in times] == [minute * n for n in range(len(times))]


def test_a_run_that_sleeps_twice_ends_when_the_time_of_both_is_skipped(travelling_world: World) -> None:
    world = travelling_world
    alarm = world.skip("1s") + datetime.timedelta(minutes=9)
    nap = datetime.timedelta(minutes=4)
    event = world.send_one(
        "test/nap",
        {"nap_ms": nap // datetime.timedelta(milliseconds=1), "alarm": alarm.isoformat(timespec="milliseconds")},
    )
    eventually(lambda: world.server.runs(event), what="the run has begun")

    # Some SDKs reckon with their own clock, which doesn't move: theirs is behind by what was skipped before.
    world.skip("10m")

    run = world.completed(event)
    assert world.counts(run) == {"before": 1, "after": 1}
