"""Functions of our SDK that wait: for events, signals, runs and requests."""

from __future__ import annotations

import asyncio
from typing import Any

from stepwell import Event, RateLimit, Run, Singleton, Step, StepError, Stepwell, trigger
from tests.sdks.apps.recorder import WORK

Json = Any


def add_waiting_functions(sw: Stepwell) -> None:
    def waiting(id: str, **condition: Any) -> None:
        @sw.function(id, on=f"test/{id}")
        async def wait(step: Step) -> Json:
            event = await step.wait_for_event("paid", "test/paid", timeout="5m", **condition)
            return event and {"name": event.name, "data": event.data, "id": event.id, "ts": event.ts}

    waiting("wait-any")
    waiting("wait-if", if_="async.data.order == event.data.order && async.data.cents > 100")
    waiting("wait-match", match="data.order")

    @sw.function("wait-sent", on="test/wait-sent")
    async def wait_sent(step: Step, event: Event) -> Json:
        await step.send("send", "test/paid", event.data)
        found = await step.wait_for_event("paid", "test/paid", timeout="5m", match="data.order")
        return found and found.name

    @sw.function("wait-heavy", on="test/wait-heavy")
    async def wait_heavy(step: Step, event: Event) -> Json:
        parts = [await step.run(f"part {n}", str.__mul__, "x", event.data["chars"]) for n in range(event.data["parts"])]
        found = await step.wait_for_event("paid", "test/paid", timeout="5m", match="data.order")
        return {"lengths": [len(part) for part in parts], "cents": found and found.data["cents"]}

    @sw.function("parent", on="test/parent", retries=0)
    async def parent(step: Step, event: Event) -> Json:
        data = event.data
        slug = f"{data.get('app', 'shop')}-{data['child']}"
        try:
            return {"result": await step.invoke("call", slug, data=data.get("data"), timeout=data.get("timeout"))}
        except StepError as error:
            return {"caught": error.message}

    @sw.function("double", on="test/double")
    async def double(step: Step, event: Event, run: Run) -> int:
        return await step.run("double", WORK.step(run.id, event.name, run.attempt, 2 * event.data["n"]))

    @sw.function("parents", on="test/parents")
    async def parents(step: Step) -> Json:
        return await asyncio.gather(*(step.invoke(f"call {n}", double, data={"n": n}) for n in (1, 2, 3)))

    @sw.function("boom", on="test/boom", retries=0)
    async def boom() -> None:
        raise ValueError("boom")

    @sw.function("patient", on="test/patient")
    async def patient(step: Step) -> str:
        await step.wait_for_event("never", "test/never", timeout="1d")
        return "at last"

    @sw.function("rated", on="test/rated", rate_limit=RateLimit(1, "1h", key="event.data.key"))
    async def rated() -> str:
        return "ran"

    @sw.function("lone", on="test/lone", singleton=Singleton(key="event.data.key"))
    async def lone(step: Step, event: Event) -> str:
        if event.data.get("waits"):
            await step.wait_for_event("never", "test/never", timeout="5m")
        return "ran"

    def when(how: str) -> None:
        ended = "event.data.function_id in ['shop-boom', 'shop-patient']"

        @sw.function(f"when-{how}", on=trigger(f"inngest/function.{how}", if_=ended))
        async def record(event: Event, run: Run) -> None:
            data = event.data
            WORK.add(data["run_id"], how, run.attempt, data["error"]["message"] if "error" in data else None)

    for how in ("finished", "failed", "cancelled"):
        when(how)

    @sw.function("shout", on="test/shout")
    async def shout() -> Json:
        # Outside of a step: so it is sent again by each call.
        return await sw.send("test/told", {"n": 3})

    @sw.function("signalled", on="test/signalled", retries=0)
    async def signalled(step: Step, event: Event) -> Json:
        got = await step.wait_for_signal(
            "approval", event.data["signal"], timeout="5m", on_conflict=event.data.get("onConflict", "fail")
        )
        return got and {"signal": got.name, "data": got.data}

    @sw.function("signal", on="test/signal")
    async def signal(step: Step, event: Event) -> Json:
        run_id = await step.send_signal("approve", event.data["signal"], event.data["data"])
        return {"runId": run_id}

    @sw.function("fetching", on="test/fetching", retries=1)
    async def fetching(step: Step, event: Event) -> Json:
        headers = {"content-type": "text/plain", "x-order": "o1"}
        try:
            response = await step.fetch("ask", event.data["url"], method="POST", headers=headers, body="hello")
        except StepError as error:
            return {"caught": error.message}
        return {"status": response.status_code, "header": response.header("X-Answer"), "body": response.text}

    @sw.function("inferring", on="test/inferring", retries=1)
    async def inferring(step: Step, event: Event) -> Json:
        body = {"model": "small-one", "messages": [{"role": "user", "content": "ping"}]}
        url = f"{event.data['url']}/chat/completions"
        try:
            answer: Json = await step.ai.infer("ask", url=url, auth_key="sk-of-tests", body=body)
        except StepError as error:
            return {"caught": error.message}
        return answer["choices"][0]["message"]["content"]
