"""Functions on the official Python SDK: how many may run, how often, in which order, until when."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import Any

import inngest

from tests.sdks.apps.recorder import WORK

Json = Any
Handler = Callable[[inngest.Context], Awaitable[Json]]

_KEY = "event.data.key"


def _minutes(number: float) -> datetime.timedelta:
    return datetime.timedelta(minutes=number)


async def start(ctx: inngest.Context) -> Json:
    return await ctx.step.run("start", WORK.step(ctx.run_id, "start", ctx.attempt, ctx.event.data["n"]))


async def wait(ctx: inngest.Context) -> Json:
    await ctx.step.run("start", WORK.step(ctx.run_id, "start", ctx.attempt, ctx.event.data["n"]))
    await ctx.step.wait_for_event("never", event="test/never", timeout=_minutes(5))
    return "waited"


async def crowd(ctx: inngest.Context) -> Json:
    return await ctx.step.run("crowd", WORK.meet, ctx.event.data)


async def collect(ctx: inngest.Context) -> Json:
    return [event.data["n"] for event in ctx.events]


async def tick(ctx: inngest.Context) -> Json:
    return ctx.event.data


def flow_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    def flow(id: str, handler: Handler = start, **options: Any) -> inngest.Function[Any]:
        trigger = options.pop("trigger", inngest.TriggerEvent(event=f"test/{id}"))
        return client.create_function(fn_id=id, trigger=trigger, **options)(handler)

    shared = [inngest.Concurrency(limit=1, key=_KEY, scope="env")]
    stop = "test/stop"
    return [
        flow("limited", crowd, concurrency=[inngest.Concurrency(limit=2)]),
        flow("keyed", crowd, concurrency=[inngest.Concurrency(limit=1, key=_KEY)]),
        flow("shared-a", crowd, concurrency=shared),
        flow("shared-b", crowd, concurrency=shared),
        flow(
            "doubly",
            crowd,
            concurrency=[inngest.Concurrency(limit=2), inngest.Concurrency(limit=1, key=_KEY, scope="account")],
        ),
        flow("throttled", throttle=inngest.Throttle(limit=1, period=_minutes(1), key=_KEY)),
        flow("rationed", rate_limit=inngest.RateLimit(limit=2, period=_minutes(60), key=_KEY)),
        flow("debounced", debounce=inngest.Debounce(period=_minutes(1), key=_KEY)),
        flow("debounced-at-most", debounce=inngest.Debounce(period=_minutes(1), key=_KEY, timeout=_minutes(1.5))),
        flow(
            "batched",
            collect,
            batch_events=inngest.Batch(max_size=3, timeout=_minutes(0.5), key=_KEY, if_exp="event.data.n < 100"),
        ),
        flow(
            "ranked",
            throttle=inngest.Throttle(limit=1, period=_minutes(1)),
            priority=inngest.Priority(run="event.data.rank"),
        ),
        flow("single-skip", wait, singleton=inngest.Singleton(mode="skip", key=_KEY)),
        flow("single-cancel", wait, singleton=inngest.Singleton(mode="cancel", key=_KEY)),
        flow("once", idempotency=_KEY),
        flow(
            "stopped-if",
            wait,
            cancel=[inngest.Cancel(event=stop, if_exp=f"{_KEY} == async.data.key", timeout=_minutes(2))],
        ),
        flow("stopped-match", wait, cancel=[inngest.Cancel(event=stop, if_exp=f"{_KEY} == async.data.key")]),
        flow(
            "late",
            throttle=inngest.Throttle(limit=1, period=_minutes(10), key=_KEY),
            timeouts=inngest.Timeouts(start=_minutes(1)),
        ),
        flow("long", wait, timeouts=inngest.Timeouts(finish=_minutes(1))),
        flow("jittered", tick, trigger=inngest.TriggerCron(cron="*/2 * * * *", jitter="30s")),
    ]
