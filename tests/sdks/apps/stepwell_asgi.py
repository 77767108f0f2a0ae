"""The functions of ``recorder``, as async handlers of our SDK under Starlette."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Route

from stepwell import Event, Failure, NonRetriableError, RetryAfterError, Run, Step, StepError, Stepwell, cron, trigger
from tests.sdks.apps.recorder import HEAVY_CHARS, HEAVY_STEPS, WORK
from tests.sdks.apps.serving import Switch, serve_asgi
from tests.sdks.apps.stepwell_flow import add_flow_functions
from tests.sdks.apps.stepwell_groups import add_group_functions
from tests.sdks.apps.stepwell_waits import add_waiting_functions

Json = Any
PATH = "/api/stepwell"

sw = Stepwell("shop")


@sw.function("steps", on="test/steps")
async def steps(step: Step, run: Run) -> Json:
    async def add_one(number: int) -> int:
        await asyncio.sleep(0)
        WORK.add(run.id, "b", run.attempt)
        return number + 1

    a = await step.run("a", WORK.step(run.id, "a", run.attempt, 1))
    b = await step.run("b", add_one, a)
    again = [await step.run("again", WORK.step(run.id, f"again {i}", run.attempt, i)) for i in range(2)]
    return {"a": a, "b": b, "again": again}


@sw.function("parallel", on="test/parallel", retries=2)
async def parallel(step: Step, run: Run) -> Json:
    async with asyncio.TaskGroup() as tasks:
        parts = [
            tasks.create_task(step.run(name, WORK.step(run.id, name, run.attempt, name, failures=name == "b")))
            for name in ("a", "b", "c")
        ]
    joined = "".join(part.result() for part in parts)
    return await step.run("join", WORK.step(run.id, "join", run.attempt, joined))


@sw.function("mixed", on="test/mixed")
async def mixed(step: Step, run: Run) -> Json:
    async def branch() -> list[str]:
        first = await step.run("b1", WORK.step(run.id, "b1", run.attempt, "b1"))
        return [first, await step.run("b2", WORK.step(run.id, "b2", run.attempt, "b2"))]

    a, _, branched = await asyncio.gather(
        step.run("a", WORK.step(run.id, "a", run.attempt, "a")), step.sleep("nap", "1s"), branch()
    )
    return [a, *branched]


@sw.function("nap", on="test/nap")
async def nap(event: Event, step: Step, run: Run) -> None:
    await step.run("before", WORK.step(run.id, "before", run.attempt))
    await step.sleep("nap", event.data["nap_ms"] / 1000)
    await step.sleep_until("alarm", event.data["alarm"])
    await step.run("after", WORK.step(run.id, "after", run.attempt))


@sw.function("flaky", on="test/flaky", retries=3)
async def flaky(step: Step, run: Run) -> Json:
    done = await step.run("work", WORK.step(run.id, "work", run.attempt, "done", failures=2))
    return await step.run("then", WORK.step(run.id, "then", run.attempt, f"{done}, then"))


@sw.function("catch", on="test/catch", retries=1)
async def catch(step: Step, run: Run) -> Json:
    def no_stock() -> Exception:
        return ValueError("no stock")

    try:
        await step.run("doomed", WORK.step(run.id, "doomed", run.attempt, failures=99, error=no_stock))
    except StepError as error:
        return await step.run("compensate", WORK.step(run.id, "compensate", run.attempt, f"caught: {error.message}"))


async def on_broken(event: Event, error: Failure, step: Step, run: Run) -> None:
    value = {"message": error.message, "event": {"name": event.name, "data": event.data}}
    await step.run("report", WORK.step(error.run_id, "on failure", run.attempt, value))


@sw.function("broken", on="test/broken", retries=1, on_failure=on_broken)
async def broken(step: Step, run: Run) -> None:
    await step.run("first", WORK.step(run.id, "first", run.attempt))
    WORK.add(run.id, "raise", run.attempt)
    raise ValueError("boom")


@sw.function("final", on="test/final", retries=3)
async def final(run: Run) -> None:
    WORK.add(run.id, "raise", run.attempt)
    raise NonRetriableError("never again")


@sw.function("final-step", on="test/final-step", retries=3)
async def final_step(step: Step, run: Run) -> None:
    def never() -> Exception:
        return NonRetriableError("never again")

    await step.run("raise", WORK.step(run.id, "raise", run.attempt, failures=99, error=never))


@sw.function("later", on="test/later", retries=1)
async def later(step: Step, run: Run) -> Json:
    def in_3_s() -> Exception:
        return RetryAfterError("busy", 3)

    return await step.run("work", WORK.step(run.id, "work", run.attempt, "at last", failures=1, error=in_3_s))


@sw.function("tell", on="test/tell")
async def tell(step: Step) -> Json:
    return await step.send("tell", [{"name": "test/told", "data": {"n": n}} for n in (1, 2)])


@sw.function("told", on="test/told")
async def told(event: Event) -> Json:
    return event.data["n"]


def fan(id: str, *, failures: int) -> None:
    @sw.function(id, on="test/fan", retries=1)
    async def one(step: Step, run: Run) -> Json:
        return await step.run("work", WORK.step(run.id, "work", run.attempt, id, failures=failures))


fan("fan-a", failures=0)
fan("fan-b", failures=1)
fan("fan-c", failures=0)


@sw.function("large", on=trigger("test/amount", if_="event.data.amount > 100"))
async def large(event: Event) -> Json:
    return event.data["amount"]


@sw.function("any", on="test/wild.*")
async def any_wild(event: Event) -> Json:
    return event.name


@sw.function("either", on=["test/this", "test/that"])
async def either(event: Event) -> Json:
    return event.name


@sw.function("echo", on="test/echo")
async def echo(event: Event, step: Step, run: Run) -> Json:
    return await step.run("copy", WORK.step(run.id, "copy", run.attempt, event.data))


@sw.function("heavy", on="test/heavy")
async def heavy(step: Step, run: Run) -> Json:
    parts = [
        await step.run(f"part {n}", WORK.step(run.id, f"part {n}", run.attempt, str(n) * HEAVY_CHARS))
        for n in range(HEAVY_STEPS)
    ]
    return [len(part) for part in parts]


@sw.function("tick", on=cron("* * * * *"))
async def tick(event: Event, step: Step, run: Run) -> Json:
    return await step.run("tick", WORK.step(run.id, "tick", run.attempt, event.data))


add_waiting_functions(sw)
add_group_functions(sw)
add_flow_functions(sw)

first, second = Stepwell("moving"), Stepwell("moving")


@first.function("stays", on="moving/event")
async def stays_first() -> str:
    return "first"


@first.function("goes", on="moving/event")
async def goes() -> str:
    return "first"


@second.function("stays", on=["moving/event", "moving/more"])
async def stays_second() -> str:
    return "second"


@second.function("comes", on="moving/event")
async def comes() -> str:
    return "second"


async def send(events: list[dict[str, Json]]) -> list[str]:
    return await sw.send(events)


def main() -> None:
    moving = Switch({"first": first.asgi(), "second": second.asgi()})
    serve_asgi(Starlette(routes=[Route(PATH, sw.asgi())]), moving, send)


if __name__ == "__main__":
    main()
