"""The functions of ``recorder``, on the official Python SDK under FastAPI: async handlers."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Sequence
from typing import Any

import fastapi
import inngest
import inngest.fast_api

from tests.sdks.apps.inngest_flow import flow_functions
from tests.sdks.apps.inngest_groups import group_functions
from tests.sdks.apps.inngest_waits import waiting_functions
from tests.sdks.apps.recorder import HEAVY_CHARS, HEAVY_STEPS, WORK
from tests.sdks.apps.serving import Switch, serve_asgi

Json = Any

client = inngest.Inngest(app_id="shop", logger=logging.getLogger("uvicorn.error"))


def on(event: str, if_: str | None = None) -> inngest.TriggerEvent:
    return inngest.TriggerEvent(event=event, expression=if_)


@client.create_function(fn_id="steps", trigger=on("test/steps"))
async def steps(ctx: inngest.Context) -> Json:
    async def add_one(number: int) -> int:
        WORK.add(ctx.run_id, "b", ctx.attempt)
        return number + 1

    a = await ctx.step.run("a", WORK.step(ctx.run_id, "a", ctx.attempt, 1))
    b = await ctx.step.run("b", add_one, a)
    again = [await ctx.step.run("again", WORK.step(ctx.run_id, f"again {i}", ctx.attempt, i)) for i in range(2)]
    return {"a": a, "b": b, "again": again}


@client.create_function(fn_id="parallel", trigger=on("test/parallel"), retries=2)
async def parallel(ctx: inngest.Context) -> Json:
    parts = await ctx.group.parallel(
        (
            lambda: ctx.step.run("a", WORK.step(ctx.run_id, "a", ctx.attempt, "a")),
            lambda: ctx.step.run("b", WORK.step(ctx.run_id, "b", ctx.attempt, "b", failures=1)),
            lambda: ctx.step.run("c", WORK.step(ctx.run_id, "c", ctx.attempt, "c")),
        )
    )
    return await ctx.step.run("join", WORK.step(ctx.run_id, "join", ctx.attempt, "".join(parts)))


@client.create_function(fn_id="mixed", trigger=on("test/mixed"))
async def mixed(ctx: inngest.Context) -> Json:
    async def branch() -> Json:
        first = await ctx.step.run("b1", WORK.step(ctx.run_id, "b1", ctx.attempt, "b1"))
        return [first, await ctx.step.run("b2", WORK.step(ctx.run_id, "b2", ctx.attempt, "b2"))]

    async def rest() -> Json:
        await ctx.step.sleep("nap", datetime.timedelta(seconds=1))

    results: Sequence[Json] = await ctx.group.parallel(
        (
            lambda: ctx.step.run("a", WORK.step(ctx.run_id, "a", ctx.attempt, "a")),
            rest,
            branch,
        )
    )
    a, _, branched = results
    return [a, *branched]


@client.create_function(fn_id="race", trigger=on("test/race"))
async def race(ctx: inngest.Context) -> None:
    async def branch() -> None:
        await ctx.step.run("r1", WORK.step(ctx.run_id, "r1", ctx.attempt))
        await ctx.step.run("r2", WORK.step(ctx.run_id, "r2", ctx.attempt))

    await ctx.group.parallel(
        (branch, lambda: ctx.step.sleep("nap", datetime.timedelta(seconds=2))),
        parallel_mode=inngest.ParallelMode.RACE,
    )


@client.create_function(fn_id="nap", trigger=on("test/nap"))
async def nap(ctx: inngest.Context) -> None:
    await ctx.step.run("before", WORK.step(ctx.run_id, "before", ctx.attempt))
    data: Json = ctx.event.data
    await ctx.step.sleep("nap", data["nap_ms"])
    await ctx.step.sleep_until("alarm", datetime.datetime.fromisoformat(data["alarm"]))
    await ctx.step.run("after", WORK.step(ctx.run_id, "after", ctx.attempt))


@client.create_function(fn_id="flaky", trigger=on("test/flaky"), retries=3)
async def flaky(ctx: inngest.Context) -> Json:
    done = await ctx.step.run("work", WORK.step(ctx.run_id, "work", ctx.attempt, "done", failures=2))
    return await ctx.step.run("then", WORK.step(ctx.run_id, "then", ctx.attempt, f"{done}, then"))


@client.create_function(fn_id="catch", trigger=on("test/catch"), retries=1)
async def catch(ctx: inngest.Context) -> Json:
    def no_stock() -> Exception:
        return ValueError("no stock")

    try:
        await ctx.step.run("doomed", WORK.step(ctx.run_id, "doomed", ctx.attempt, failures=99, error=no_stock))
    except inngest.StepError as error:
        caught = f"caught: {error.message}"
        return await ctx.step.run("compensate", WORK.step(ctx.run_id, "compensate", ctx.attempt, caught))


async def on_broken(ctx: inngest.Context) -> None:
    data: Json = ctx.event.data
    value = {
        "message": data["error"]["message"],
        "event": {"name": data["event"]["name"], "data": data["event"]["data"]},
    }
    await ctx.step.run("report", WORK.step(data["run_id"], "on failure", ctx.attempt, value))


@client.create_function(fn_id="broken", trigger=on("test/broken"), retries=1, on_failure=on_broken)
async def broken(ctx: inngest.Context) -> None:
    await ctx.step.run("first", WORK.step(ctx.run_id, "first", ctx.attempt))
    WORK.add(ctx.run_id, "raise", ctx.attempt)
    raise ValueError("boom")


@client.create_function(fn_id="final", trigger=on("test/final"), retries=3)
async def final(ctx: inngest.Context) -> None:
    WORK.add(ctx.run_id, "raise", ctx.attempt)
    raise inngest.NonRetriableError("never again")


@client.create_function(fn_id="final-step", trigger=on("test/final-step"), retries=3)
async def final_step(ctx: inngest.Context) -> None:
    def never() -> Exception:
        return inngest.NonRetriableError("never again")

    await ctx.step.run("raise", WORK.step(ctx.run_id, "raise", ctx.attempt, failures=99, error=never))


@client.create_function(fn_id="later", trigger=on("test/later"), retries=1)
async def later(ctx: inngest.Context) -> Json:
    def in_3_s() -> Exception:
        return inngest.RetryAfterError("busy", datetime.timedelta(seconds=3))

    return await ctx.step.run("work", WORK.step(ctx.run_id, "work", ctx.attempt, "at last", failures=1, error=in_3_s))


@client.create_function(fn_id="tell", trigger=on("test/tell"))
async def tell(ctx: inngest.Context) -> Json:
    return await ctx.step.send_event("tell", [inngest.Event(name="test/told", data={"n": n}) for n in (1, 2)])


@client.create_function(fn_id="told", trigger=on("test/told"))
async def told(ctx: inngest.Context) -> Json:
    return ctx.event.data["n"]


def fan(id: str, *, failures: int) -> inngest.Function[Json]:
    @client.create_function(fn_id=id, trigger=on("test/fan"), retries=1)
    async def one(ctx: inngest.Context) -> Json:
        return await ctx.step.run("work", WORK.step(ctx.run_id, "work", ctx.attempt, id, failures=failures))

    return one


@client.create_function(fn_id="large", trigger=on("test/amount", "event.data.amount > 100"))
async def large(ctx: inngest.Context) -> Json:
    return ctx.event.data["amount"]


@client.create_function(fn_id="any", trigger=on("test/wild.*"))
async def any_wild(ctx: inngest.Context) -> Json:
    return ctx.event.name


@client.create_function(fn_id="either", trigger=[on("test/this"), on("test/that")])
async def either(ctx: inngest.Context) -> Json:
    return ctx.event.name


@client.create_function(fn_id="echo", trigger=on("test/echo"))
async def echo(ctx: inngest.Context) -> Json:
    return await ctx.step.run("copy", WORK.step(ctx.run_id, "copy", ctx.attempt, ctx.event.data))


@client.create_function(fn_id="heavy", trigger=on("test/heavy"))
async def heavy(ctx: inngest.Context) -> Json:
    parts = [
        await ctx.step.run(f"part {n}", WORK.step(ctx.run_id, f"part {n}", ctx.attempt, str(n) * HEAVY_CHARS))
        for n in range(HEAVY_STEPS)
    ]
    return [len(part) for part in parts]


@client.create_function(fn_id="tick", trigger=inngest.TriggerCron(cron="* * * * *"))
async def tick(ctx: inngest.Context) -> Json:
    return await ctx.step.run("tick", WORK.step(ctx.run_id, "tick", ctx.attempt, ctx.event.data))


FUNCTIONS: list[inngest.Function[Any]] = [
    *(steps, parallel, mixed, race, nap, flaky, catch, broken, final, final_step, later, tell, told),
    *(large, any_wild, either, echo, heavy, tick),
    *(fan("fan-a", failures=0), fan("fan-b", failures=1), fan("fan-c", failures=0)),
    *(waiting_functions(client) + group_functions(client) + flow_functions(client)),
]

mover = inngest.Inngest(app_id="moving")


@mover.create_function(fn_id="stays", trigger=on("moving/event"))
async def stays_first(ctx: inngest.Context) -> str:
    return "first"


@mover.create_function(fn_id="goes", trigger=on("moving/event"))
async def goes(ctx: inngest.Context) -> str:
    return "first"


@mover.create_function(fn_id="stays", trigger=[on("moving/event"), on("moving/more")])
async def stays_second(ctx: inngest.Context) -> str:
    return "second"


@mover.create_function(fn_id="comes", trigger=on("moving/event"))
async def comes(ctx: inngest.Context) -> str:
    return "second"


def fastapi_app(
    client: inngest.Inngest, functions: list[inngest.Function[Any]], streaming: inngest.Streaming | None = None
) -> fastapi.FastAPI:
    app = fastapi.FastAPI()
    inngest.fast_api.serve(app, client, functions, streaming=streaming)
    return app


async def send(events: list[dict[str, Json]]) -> list[str]:
    return await client.send([inngest.Event(**event) for event in events])


def main() -> None:
    variants = {"first": [stays_first, goes], "second": [stays_second, comes]}
    # This one streams its answers: 201, then spaces while the function runs, then the answer (protocol 4.7).
    moving = {name: fastapi_app(mover, functions, inngest.Streaming.FORCE) for name, functions in variants.items()}
    serve_asgi(fastapi_app(client, FUNCTIONS), Switch(moving), send)


if __name__ == "__main__":
    main()
