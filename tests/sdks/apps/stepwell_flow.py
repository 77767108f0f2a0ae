"""Functions of our SDK: how many may run, how often, in which order, until when."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stepwell import (
    Batch,
    CancelOn,
    Concurrency,
    Debounce,
    Event,
    RateLimit,
    Run,
    Singleton,
    Step,
    Stepwell,
    Throttle,
    Timeouts,
    cron,
)
from tests.sdks.apps.recorder import WORK

Json = Any

_KEY = "event.data.key"


async def start(event: Event, step: Step, run: Run) -> Json:
    return await step.run("start", WORK.step(run.id, "start", run.attempt, event.data["n"]))


async def wait(event: Event, step: Step, run: Run) -> Json:
    await step.run("start", WORK.step(run.id, "start", run.attempt, event.data["n"]))
    await step.wait_for_event("never", "test/never", timeout="5m")
    return "waited"


async def crowd(event: Event, step: Step) -> Json:
    return await step.run("crowd", WORK.meet, event.data)


async def collect(events: list[Event]) -> Json:
    return [event.data["n"] for event in events]


async def tick(event: Event) -> Json:
    return event.data


def add_flow_functions(sw: Stepwell) -> None:
    def flow(id: str, handler: Callable[..., Any] = start, **options: Any) -> None:
        on = options.pop("on", f"test/{id}")
        sw.function(id, on=on, **options)(handler)

    shared = Concurrency(1, key=_KEY, scope="env")
    stop = "test/stop"
    flow("limited", crowd, concurrency=2)
    flow("keyed", crowd, concurrency=Concurrency(1, key=_KEY))
    flow("shared-a", crowd, concurrency=shared)
    flow("shared-b", crowd, concurrency=shared)
    flow("doubly", crowd, concurrency=[Concurrency(2), Concurrency(1, key=_KEY, scope="account")])
    flow("one-run", wait, run_concurrency=Concurrency(1, key=_KEY))
    flow("throttled", throttle=Throttle(1, "1m", key=_KEY))
    flow("rationed", rate_limit=RateLimit(2, "1h", key=_KEY))
    flow("debounced", debounce=Debounce("1m", key=_KEY))
    flow("debounced-at-most", debounce=Debounce("1m", key=_KEY, timeout="90s"))
    flow("batched", collect, batch=Batch(3, "30s", key=_KEY, if_="event.data.n < 100"))
    flow("ranked", throttle=Throttle(1, "1m"), priority="event.data.rank")
    flow("single-skip", wait, singleton=Singleton(key=_KEY))
    flow("single-cancel", wait, singleton=Singleton(key=_KEY, mode="cancel"))
    flow("once", idempotency=_KEY)
    flow("stopped-if", wait, cancel=CancelOn(stop, if_=f"{_KEY} == async.data.key", timeout="2m"))
    flow("stopped-match", wait, cancel=CancelOn(stop, match="data.key"))
    flow("late", throttle=Throttle(1, "10m", key=_KEY), timeouts=Timeouts(start="1m"))
    flow("long", wait, timeouts=Timeouts(finish="1m"))
    flow("jittered", tick, on=cron("*/2 * * * *", jitter="30s"))
