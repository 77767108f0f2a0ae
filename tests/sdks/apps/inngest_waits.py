"""Functions on the official Python SDK that wait: for events, runs and requests."""

from __future__ import annotations

import datetime
from typing import Any

import inngest
from inngest.experimental.ai import openai

from tests.sdks.apps.recorder import WORK

Json = Any

_PATIENCE = datetime.timedelta(minutes=5)


def on(event: str) -> inngest.TriggerEvent:
    return inngest.TriggerEvent(event=event)


def waiting_functions(client: inngest.Inngest) -> list[inngest.Function[Any]]:
    def waiting(id: str, if_: str | None, patience: datetime.timedelta = _PATIENCE) -> inngest.Function[Any]:
        @client.create_function(fn_id=id, trigger=on(f"test/{id}"))
        async def wait(ctx: inngest.Context) -> Json:
            event = await ctx.step.wait_for_event("paid", event="test/paid", if_exp=if_, timeout=patience)
            return event and {"name": event.name, "data": event.data, "id": event.id, "ts": event.ts}

        return wait

    @client.create_function(fn_id="wait-sent", trigger=on("test/wait-sent"))
    async def wait_sent(ctx: inngest.Context) -> Json:
        await ctx.step.send_event("send", inngest.Event(name="test/paid", data=ctx.event.data))
        match = "async.data.order == event.data.order"
        event = await ctx.step.wait_for_event("paid", event="test/paid", if_exp=match, timeout=_PATIENCE)
        return event and event.name

    @client.create_function(fn_id="wait-heavy", trigger=on("test/wait-heavy"))
    async def wait_heavy(ctx: inngest.Context) -> Json:
        data: Json = ctx.event.data

        async def part() -> str:
            return "x" * data["chars"]

        parts = [await ctx.step.run(f"part {n}", part) for n in range(data["parts"])]
        found = await ctx.step.wait_for_event(
            "paid", event="test/paid", if_exp="async.data.order == event.data.order", timeout=_PATIENCE
        )
        return {"lengths": [len(part) for part in parts], "cents": found and found.data["cents"]}

    @client.create_function(fn_id="parent", trigger=on("test/parent"), retries=0)
    async def parent(ctx: inngest.Context) -> Json:
        data: Json = ctx.event.data
        timeout = datetime.timedelta(minutes=1) if data.get("timeout") == "1m" else None
        try:
            result = await ctx.step.invoke_by_id(
                "call", app_id=data.get("app"), function_id=data["child"], data=data.get("data"), timeout=timeout
            )
        except inngest.StepError as error:
            return {"caught": error.message}
        return {"result": result}

    @client.create_function(fn_id="parents", trigger=on("test/parents"))
    async def parents(ctx: inngest.Context) -> Json:
        def call(n: int) -> Any:
            return lambda: ctx.step.invoke_by_id(f"call {n}", function_id="double", data={"n": n})

        return list(await ctx.group.parallel(tuple(call(n) for n in (1, 2, 3))))

    @client.create_function(fn_id="double", trigger=on("test/double"))
    async def double(ctx: inngest.Context) -> Json:
        doubled = 2 * int(str(ctx.event.data["n"]))
        return await ctx.step.run("double", WORK.step(ctx.run_id, ctx.event.name, ctx.attempt, doubled))

    @client.create_function(fn_id="boom", trigger=on("test/boom"), retries=0)
    async def boom(ctx: inngest.Context) -> None:
        raise ValueError("boom")

    @client.create_function(fn_id="patient", trigger=on("test/patient"))
    async def patient(ctx: inngest.Context) -> str:
        await ctx.step.wait_for_event("never", event="test/never", timeout=datetime.timedelta(days=1))
        return "at last"

    @client.create_function(
        fn_id="rated",
        trigger=on("test/rated"),
        rate_limit=inngest.RateLimit(limit=1, period=datetime.timedelta(hours=1), key="event.data.key"),
    )
    async def rated(ctx: inngest.Context) -> str:
        return "ran"

    @client.create_function(
        fn_id="lone", trigger=on("test/lone"), singleton=inngest.Singleton(mode="skip", key="event.data.key")
    )
    async def lone(ctx: inngest.Context) -> str:
        if ctx.event.data.get("waits"):
            await ctx.step.wait_for_event("never", event="test/never", timeout=_PATIENCE)
        return "ran"

    def when(how: str) -> inngest.Function[Any]:
        ended = "event.data.function_id in ['shop-boom', 'shop-patient']"
        trigger = inngest.TriggerEvent(event=f"inngest/function.{how}", expression=ended)

        @client.create_function(fn_id=f"when-{how}", trigger=trigger)
        async def record(ctx: inngest.Context) -> None:
            data: Json = ctx.event.data
            WORK.add(data["run_id"], how, ctx.attempt, data["error"]["message"] if "error" in data else None)

        return record

    @client.create_function(fn_id="shout", trigger=on("test/shout"))
    async def shout(ctx: inngest.Context) -> Json:
        # Outside of a step: so it is sent again by each call.
        return await client.send(inngest.Event(name="test/told", data={"n": 3}))

    @client.create_function(fn_id="inferring", trigger=on("test/inferring"), retries=1)
    async def inferring(ctx: inngest.Context) -> Json:
        adapter = openai.Adapter(auth_key="sk-of-tests", base_url=str(ctx.event.data["url"]), model="small-one")
        try:
            answer: Json = await ctx.step.ai.infer(
                "ask", adapter=adapter, body={"messages": [{"role": "user", "content": "ping"}]}
            )
        except inngest.StepError as error:
            return {"caught": error.message}
        return answer["choices"][0]["message"]["content"]

    return [
        waiting("wait-any", None),
        waiting("wait-if", "async.data.order == event.data.order && async.data.cents > 100"),
        waiting("wait-match", "event.data.order == async.data.order"),
        waiting("wait-broken", "async.data.order =="),
        waiting("wait-long", None, datetime.timedelta(days=400)),
        *(when("finished"), when("failed"), when("cancelled")),
        *(wait_sent, wait_heavy, parent, parents, double, boom, patient, rated, lone, shout, inferring),
    ]
