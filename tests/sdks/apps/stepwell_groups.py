"""Functions of our SDK: steps beside each other, and many in a row.

Each call of a function of the second kind records ``call``, so that tests see how many there were.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container
from typing import Any

from stepwell import Run, Step, StepError, Stepwell
from tests.sdks.apps.recorder import WORK

Json = Any


def add_group_functions(sw: Stepwell) -> None:
    def runner(step: Step, run: Run) -> Callable[[str], Awaitable[Json]]:
        return lambda id: step.run(id, WORK.step(run.id, id, run.attempt, id))

    @sw.function("nested", on="test/nested")
    async def nested(step: Step, run: Run) -> Json:
        once = runner(step, run)

        async def inner() -> Json:
            return [await once("a"), await asyncio.gather(once("b"), once("c"))]

        async def pair() -> Json:
            return await asyncio.gather(once("e"), once("f"))

        return await asyncio.gather(inner(), once("d"), pair())

    @sw.function("namesakes", on="test/namesakes")
    async def namesakes(step: Step, run: Run) -> Json:
        def same(n: int) -> Awaitable[Json]:
            return step.run("same", WORK.step(run.id, f"same {n}", run.attempt, n))

        return [*await asyncio.gather(same(0), same(1), same(2)), await same(3)]

    @sw.function("wide", on="test/wide")
    async def wide(step: Step, run: Run) -> int:
        works = (WORK.step(run.id, "w", run.attempt, n) for n in range(40))
        return sum(await asyncio.gather(*(step.run(f"w{n}", work) for n, work in enumerate(works))))

    @sw.function("kinds", on="test/kinds")
    async def kinds(step: Step, run: Run) -> Json:
        once = runner(step, run)
        async with asyncio.TaskGroup() as tasks:
            found = tasks.create_task(step.wait_for_event("paid", "test/paid", timeout="5m", match="data.order"))
            doubled = tasks.create_task(step.invoke("call", "shop-double", data={"n": 4}))
            tasks.create_task(step.sleep("nap", "1s"))
            own = tasks.create_task(step.run("own", WORK.step(run.id, "own", run.attempt, "own")))
        event = found.result()
        return [event and event.data["cents"], doubled.result(), own.result(), await once("then")]

    @sw.function("settled", on="test/settled", retries=1)
    async def settled(step: Step, run: Run) -> Json:
        once = runner(step, run)

        async def outcome() -> Json:
            def no_stock() -> Exception:
                return ValueError("no stock")

            try:
                return await step.run("bad", WORK.step(run.id, "bad", run.attempt, failures=99, error=no_stock))
            except StepError as error:
                return error.message

        return [*await asyncio.gather(once("good"), outcome()), await once("then")]

    @sw.function("first-of", on="test/first-of")
    async def first_of(step: Step, run: Run) -> Json:
        _, first = await step.wait_for_any(
            step.run("fast", WORK.step(run.id, "fast", run.attempt, "fast")),
            step.wait_for_event("never", "test/never", timeout="1d"),
        )
        return await step.run("then", WORK.step(run.id, "then", run.attempt, f"{first}, then"))

    def line(
        id: str, count: int, *, retries: int = 4, fails: Container[int] = (), max_runtime: str | None = None
    ) -> None:
        @sw.function(id, on=f"test/{id}", retries=retries, max_runtime=max_runtime)
        async def in_line(step: Step, run: Run) -> str:
            WORK.add(run.id, "call", run.attempt)
            for n in range(count):
                await step.run(f"s{n}", one, run, n)
            return "done"

        async def one(run: Run, n: int) -> int:
            if max_runtime is not None:
                await asyncio.sleep(0.1)
            return WORK.step(run.id, f"s{n}", run.attempt, n, failures=int(n in fails))()

    line("line", 12)
    line("marathon", 5, max_runtime="300ms")
    line("stumble", 5, retries=1, fails=(2,))
    line("hurdles", 3, retries=1, fails=range(3))
    line("endless", 1000)

    @sw.function("fork", on="test/fork")
    async def fork(step: Step, run: Run) -> Json:
        once = runner(step, run)
        first = [await once("a"), await once("b")]
        await step.sleep("nap", "1s")
        both = await asyncio.gather(once("c"), once("d"))
        return "".join([*first, *both, await once("e")])
