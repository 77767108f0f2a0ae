"""Functions on the official Python SDK: steps beside each other, and many in a row.

Each call of a function of the second kind records ``call``, so that tests see how many there were.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Container
from typing import Any

import inngest

from tests.sdks.apps.recorder import WORK

Json = Any


def on(event: str) -> inngest.TriggerEvent:
    return inngest.TriggerEvent(event=event)


def group_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    def runner(ctx: inngest.Context) -> Callable[[str], Callable[[], Awaitable[Json]]]:
        return lambda id: lambda: ctx.step.run(id, WORK.step(ctx.run_id, id, ctx.attempt, id))

    @client.create_function(fn_id="nested", trigger=on("test/nested"))
    async def nested(ctx: inngest.Context) -> Json:
        run = runner(ctx)

        async def inner() -> Json:
            return [await run("a")(), list(await ctx.group.parallel((run("b"), run("c"))))]

        async def pair() -> Json:
            return list(await ctx.group.parallel((run("e"), run("f"))))

        return list(await ctx.group.parallel((inner, run("d"), pair)))

    @client.create_function(fn_id="namesakes", trigger=on("test/namesakes"))
    async def namesakes(ctx: inngest.Context) -> Json:
        def same(n: int) -> Callable[[], Awaitable[Json]]:
            return lambda: ctx.step.run("same", WORK.step(ctx.run_id, f"same {n}", ctx.attempt, n))

        return [*await ctx.group.parallel((same(0), same(1), same(2))), await same(3)()]

    @client.create_function(fn_id="wide", trigger=on("test/wide"))
    async def wide(ctx: inngest.Context) -> Json:
        def one(n: int) -> Callable[[], Awaitable[int]]:
            return lambda: ctx.step.run(f"w{n}", WORK.step(ctx.run_id, "w", ctx.attempt, n))

        return sum(await ctx.group.parallel(tuple(one(n) for n in range(40))))

    @client.create_function(fn_id="kinds", trigger=on("test/kinds"))
    async def kinds(ctx: inngest.Context) -> Json:
        run = runner(ctx)
        order = "event.data.order == async.data.order"
        results: tuple[Json, ...] = await ctx.group.parallel(
            (
                lambda: ctx.step.wait_for_event(
                    "paid", event="test/paid", if_exp=order, timeout=datetime.timedelta(minutes=5)
                ),
                lambda: ctx.step.invoke_by_id("call", function_id="double", data={"n": 4}),
                lambda: ctx.step.sleep("nap", datetime.timedelta(seconds=1)),
                run("own"),
            )
        )
        found, doubled, _, own = results
        return [found.data["cents"], doubled, own, await run("then")()]

    @client.create_function(fn_id="settled", trigger=on("test/settled"), retries=1)
    async def settled(ctx: inngest.Context) -> Json:
        run = runner(ctx)

        async def outcome() -> Json:
            def no_stock() -> Exception:
                return ValueError("no stock")

            work = WORK.step(ctx.run_id, "bad", ctx.attempt, failures=99, error=no_stock)
            try:
                return await ctx.step.run("bad", work)
            except inngest.StepError as error:
                return error.message

        return [*await ctx.group.parallel((run("good"), outcome)), await run("then")()]

    def line(id: str, count: int, *, retries: int | None = None, fails: Container[int] = ()) -> inngest.Function[Any]:
        @client.create_function(fn_id=id, trigger=on(f"test/{id}"), retries=retries)
        async def run(ctx: inngest.Context) -> str:
            WORK.add(ctx.run_id, "call", ctx.attempt)
            for n in range(count):
                work = WORK.step(ctx.run_id, f"s{n}", ctx.attempt, n, failures=int(n in fails))
                await ctx.step.run(f"s{n}", work)
            return "done"

        return run

    @client.create_function(fn_id="fork", trigger=on("test/fork"))
    async def fork(ctx: inngest.Context) -> Json:
        run = runner(ctx)
        first = [await run("a")(), await run("b")()]
        await ctx.step.sleep("nap", datetime.timedelta(seconds=1))
        both = await ctx.group.parallel((run("c"), run("d")))
        return "".join([*first, *both, await run("e")()])

    return [
        *(nested, namesakes, wide, kinds, settled, fork),
        line("line", 12),
        line("stumble", 5, retries=1, fails=(2,)),
        line("hurdles", 3, retries=1, fails=range(3)),
        line("endless", 1000),
    ]
