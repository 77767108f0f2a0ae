"""A page that reads again what it hears of, and nothing else, shows what is so: whatever changed the run."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from stepwell.protocol.ids import RunId, step_hash
from stepwell.protocol.ops import Op
from stepwell.server.live.changes import Topics
from tests.server.world import World, error, ops, ran, result, sleep, steps_done

WAIT_S = 10.0
MARK = RunId("mark")


class Page:
    """Shows runs with their rows, events, and functions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.page = world.context.hub.join(Topics(runs=True, events=True, functions=True))
        self.runs: dict[str, Any] = {}
        self.events: set[str] = set()
        self.functions: Any = None

    async def check(self) -> None:
        """Read what there is to hear, and compare what is shown with what is so."""
        self.world.context.hub.touched([MARK])
        is_up_to_date = False
        while not is_up_to_date:
            async with asyncio.timeout(WAIT_S):
                heard = await self.page.next()
            assert heard is not None
            assert heard.told is not None
            assert not heard.told.is_partial
            is_up_to_date = MARK in heard.told.runs
            for id in heard.told.runs.keys() - {MARK}:
                self.runs[id] = await self.shown(id)
            self.events.update(heard.told.events)
            if heard.told.has_functions:
                self.functions = await self.world.get("/api/functions")
        listed = (await self.world.get("/api/runs", limit=100))["items"]
        assert self.runs == {run["id"]: await self.shown(run["id"]) for run in listed}
        assert self.events >= {event["id"] for event in (await self.world.get("/api/events", limit=100))["items"]}
        if self.functions is not None:
            assert self.functions == await self.world.get("/api/functions")

    async def shown(self, id: str) -> Any:
        """Read a run with its rows. Words on why it waits change with time and with others, which nobody is told."""
        timeline = await self.world.get(f"/api/runs/{id}/timeline")
        rows = [(row["title"], row["status"], row["attempt"], row["output"], row["error"]) for row in timeline["rows"]]
        return timeline["run"]["status"], timeline["run"]["output"], rows


class Gate:
    """An app that answers once it may."""

    def __init__(self, world: World, slug: str) -> None:
        self.began, self.may_end = asyncio.Event(), asyncio.Semaphore(0)
        self._world = world
        world.apps.answers[slug] = self.answer

    async def answer(self, _call: Any) -> Any:
        self.began.set()
        await self.may_end.acquire()
        return result("done")


def waiting(op: str, title: str, **opts: Any) -> Op:
    return Op(id=step_hash(title), op=op, name=title, display_name=title, opts={"timeout": "1h", **opts})


def once(first: Op) -> Callable[[Any], Any]:
    """Answer with one step, then with an end."""
    return lambda call: result("done") if steps_done(call) else ops(first)


async def asleep(world: World, event: str = "f.go") -> str:
    """Start a run that sleeps."""
    id = (await world.send(event))["runs"][0]["id"]
    await world.quiet()
    return id


Scenario = Callable[[World, Page], Awaitable[None]]


async def a_run_fails(world: World, page: Page) -> None:
    world.apps.answers["f"] = lambda call: error("no", no_retry=True) if steps_done(call) else ops(ran("a"))
    await world.register("f")
    await page.check()
    await world.run("f")


async def a_call_is_under_way(world: World, page: Page) -> None:
    await world.register("f", f={"concurrency": {"limit": 1}})
    gate = Gate(world, "f")
    await world.send("f.go")
    await gate.began.wait()
    await page.check()
    await world.send("f.go")
    await page.check()
    gate.began.clear()
    gate.may_end.release()
    await gate.began.wait()
    await page.check()
    gate.may_end.release()


async def a_run_is_cancelled_and_its_reply_is_lost(world: World, page: Page) -> None:
    await world.register("f")
    gate = Gate(world, "f")
    id = (await world.send("f.go"))["runs"][0]["id"]
    await gate.began.wait()
    await world.post(f"/api/runs/{id}/cancel")
    await page.check()
    gate.may_end.release()


async def an_event_ends_a_wait(world: World, page: Page) -> None:
    world.apps.answers["f"] = once(waiting("WaitForEvent", "paid", event="paid"))
    await world.register("f")
    await asleep(world)
    await page.check()
    await world.send("paid")


async def a_signal_ends_a_wait(world: World, page: Page) -> None:
    world.apps.answers["f"] = once(waiting("WaitForSignal", "go", signal="go"))
    await world.register("f")
    await asleep(world)
    await page.check()
    await world.engine.send_signal("go", b"1", keep=False)


async def an_event_cancels_a_run(world: World, page: Page) -> None:
    world.apps.answers["f"] = once(sleep("nap", "1d"))
    await world.register("f", f={"cancel": [{"event": "stop"}]})
    await asleep(world)
    await page.check()
    await world.send("stop")


async def a_singleton_replaces_a_run(world: World, page: Page) -> None:
    world.apps.answers["f"] = once(sleep("nap", "1d"))
    await world.register("f", f={"singleton": {"mode": "cancel"}})
    await asleep(world)
    await page.check()
    await world.send("f.go")


async def a_run_invokes_another(world: World, page: Page) -> None:
    call = waiting("InvokeFunction", "child", function_id="g", payload={"data": {}})
    world.apps.answers["f"] = once(call)
    await world.register("f", "g")
    gate = Gate(world, "g")
    await world.send("f.go")
    await gate.began.wait()
    await page.check()
    gate.may_end.release()


async def events_start_a_run_together(world: World, page: Page) -> None:
    await world.register("f", f={"batchEvents": {"maxSize": 2, "timeout": "10m"}})
    await world.send("f.go")
    await page.check()
    await world.send("f.go")


async def a_run_is_started_again(world: World, page: Page) -> None:
    await world.register("f")
    run = await world.run("f")
    await page.check()
    await world.post(f"/api/runs/{run['id']}/rerun")


async def a_function_is_paused_and_goes_on(world: World, page: Page) -> None:
    await world.register("f")
    await world.post("/api/functions/f/pause", {"mode": "hold"})
    await world.send("f.go")
    await page.check()
    await world.post("/api/functions/f/resume")


async def a_run_is_skipped(world: World, page: Page) -> None:
    await world.register("f")
    await world.post("/api/functions/f/pause", {"mode": "drop"})
    await page.check()
    await world.send("f.go")


@pytest.mark.parametrize(
    "happens",
    [
        a_run_fails,
        a_call_is_under_way,
        a_run_is_cancelled_and_its_reply_is_lost,
        an_event_ends_a_wait,
        a_signal_ends_a_wait,
        an_event_cancels_a_run,
        a_singleton_replaces_a_run,
        a_run_invokes_another,
        events_start_a_run_together,
        a_run_is_started_again,
        a_function_is_paused_and_goes_on,
        a_run_is_skipped,
    ],
)
async def test_a_page_shows_what_is_so(either: World, happens: Scenario) -> None:
    store = either.engine.store
    while store.is_shared and not store.is_heard:  # noqa: ASYNC110 - whoever begins to listen has doubts
        await asyncio.sleep(0.001)
    page = Page(either)

    await happens(either, page)
    await either.quiet()

    await page.check()
    assert page.runs
