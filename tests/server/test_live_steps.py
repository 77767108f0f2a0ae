"""A step that a call is at is a row of the run's timeline while it runs, and the same row afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.limits import LOG_BEGUN_INPUT_BYTES_MAX, LOG_BEGUN_PER_REQUEST_MAX
from stepwell.protocol.ids import step_hash
from stepwell.protocol.ops import Op
from tests.server.test_checkpoint import instant
from tests.server.test_checkpoint import post as report
from tests.server.world import World, error, ops, ran, result, sleep


def told(run_id: str, call: str, step: str = "charge card", **more: Any) -> dict[str, Any]:
    return {"run_id": run_id, "attempt_id": call, "step_id": step_hash(step), "step": step, "ran_ms": 300, **more}


async def tell(world: World, *begun: Any) -> Any:
    return await world.post("/v1/runs/logs", {"lines": [], "begun": list(begun)})


def call_id(call: OutgoingCall) -> str:
    """Return a call's id without the run's."""
    id: str = msgspec.json.decode(call.body)["ctx"]["request_id"]
    return id.removeprefix(f"{call.run_id}.")


class Held:
    """An app whose calls wait, each at the step ``charge card``, until the test lets them go on."""

    def __init__(self, world: World, reply: Callable[[OutgoingCall], Reply | Awaitable[Reply]]) -> None:
        self.world, self._reply = world, reply
        self.calls: asyncio.Queue[OutgoingCall] = asyncio.Queue()
        self._gates: dict[str, asyncio.Event] = {}
        world.apps.answers["f"] = self._answer

    async def start(self, **function: Any) -> tuple[str, OutgoingCall]:
        """Send the event; return the run and the call, once it has come."""
        await self.world.register("f", f=function)
        event = await self.world.send("f.go")
        return event["runs"][0]["id"], await self.next()

    async def next(self) -> OutgoingCall:
        return await asyncio.wait_for(self.calls.get(), 10)

    def go_on(self, call: OutgoingCall) -> None:
        self._gates[call_id(call)].set()

    async def _answer(self, call: OutgoingCall) -> Reply:
        gate = self._gates[call_id(call)] = asyncio.Event()
        self.calls.put_nowait(call)
        await gate.wait()
        reply = self._reply(call)
        return await reply if isinstance(reply, Awaitable) else reply


async def rows(world: World, run_id: str, **query: Any) -> list[Any]:
    return (await world.get(f"/api/runs/{run_id}/timeline", **query))["rows"]


def shown(rows: list[Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


async def test_a_step_is_a_running_row_that_becomes_its_normal_row(either: World) -> None:
    world = either

    async def reply(call: OutgoingCall) -> Reply:
        assert (await report(world, call, ran("charge card", "ok"))).status_code == 200
        return result("end")

    app = Held(world, reply)
    run_id, call = await app.start()
    world.engine.clock.offset_ms += 1_000

    assert await tell(world, told(run_id, call_id(call))) == {"unknown": 0, "dropped": 0}

    for query in ({}, {"payloads": False}, {"payloads": False, "after": "2030-01-01T00:00:00Z"}):
        assert shown(await rows(world, run_id, **query), "kind", "status", "op", "title", "step_id", "attempt") == [
            ("attempt", "running", None, None, None, 0),
            ("attempt", "running", "step.run", "charge card", step_hash("charge card"), 0),
        ]
    [whole, running] = await rows(world, run_id)
    assert 0 < instant(running["started_at"]) - instant(whole["started_at"]) < 10
    assert running["ended_at"] is None
    assert running["output"] is None
    found = await world.get(f"/api/runs/{run_id}/rows/{running['id']}")
    assert (found["output"], found["error"]) == (None, None)

    app.go_on(call)
    await world.ended(run_id)
    after = await rows(world, run_id)
    assert shown(after, "id", "title", "status", "output") == [
        (call_id(call), None, "completed", "end"),
        (running["id"], "charge card", "completed", "ok"),
    ]


async def test_the_sentence_names_the_step(world: World) -> None:
    app = Held(world, lambda _: result(1))
    run_id, call = await app.start()
    before = await world.get(f"/api/runs/{run_id}/explain")
    assert "app 'shop' is being called" in before["summary"]

    await tell(world, told(run_id, call_id(call), ran_ms=0))

    found = await world.get(f"/api/runs/{run_id}/explain")
    [reason] = found["reasons"]
    assert found["summary"].startswith(
        "step 'charge card' has been running since 2026-01-01T00:00:00.000Z (for 0ms): attempt 1 of 1, in app 'shop',"
        " by replica "
    )
    assert (reason["kind"], reason["step"], reason["since"]) == ("call", "charge card", "2026-01-01T00:00:00.000Z")
    assert found["since"] == reason["since"]
    app.go_on(call)


async def test_the_time_of_the_run_is_divided_as_before(world: World) -> None:
    app = Held(world, lambda _: result(1))
    run_id, call = await app.start()
    world.engine.clock.offset_ms += 10_000
    await tell(world, told(run_id, call_id(call), ran_ms=9_000))

    got = await world.get(f"/api/runs/{run_id}/timeline")

    durations = got["run"]["durations"]
    assert durations == {"queued_ms": 0, "code_ms": 10_000, "waiting_ms": 0, "sleeping_ms": 0, "overhead_ms": 0}
    app.go_on(call)


async def test_a_call_that_ends_with_its_step_is_that_step(world: World) -> None:
    app = Held(world, lambda _: ops(ran("charge card", 1), sleep("nap", "1h")))
    run_id, call = await app.start()

    await tell(world, told(run_id, call_id(call), ends_call=True, input=["card", {"b": 1, "a": 2.0}]))

    found = await world.get(f"/api/runs/{run_id}/rows/{call_id(call)}")
    assert found["input"] == ["card", {"a": 2, "b": 1}]
    during = await rows(world, run_id)
    assert shown(during, "id", "op", "title", "status") == [(call_id(call), "step.run", "charge card", "running")]
    app.go_on(call)


async def test_a_step_whose_call_failed_runs_no_more(world: World) -> None:
    app = Held(world, lambda _: error("no card"))
    run_id, call = await app.start(retries=1)
    await tell(world, told(run_id, call_id(call)))
    app.go_on(call)
    await world.signals.until(lambda: bool(world.signals.transitions))

    after = await rows(world, run_id)
    assert shown(after, "kind", "title", "status") == [("attempt", None, "retrying"), ("job", None, "waiting")]
    late = told(run_id, call_id(call))
    await tell(world, late)
    assert await rows(world, run_id) == after
    skipping = asyncio.ensure_future(world.engine.skip(3_600_000))
    again = await app.next()
    await tell(world, late)
    assert shown((await rows(world, run_id))[1:], "title", "status", "attempt") == [(None, "running", 1)]
    app.go_on(again)
    await skipping


async def test_a_step_that_is_done_before_its_begin_arrives_is_done(world: World) -> None:
    app = Held(world, lambda _: result(1))
    run_id, call = await app.start()
    assert (await report(world, call, ran("charge card", "ok"))).status_code == 200

    await tell(world, told(run_id, call_id(call)))

    assert shown(await rows(world, run_id), "title", "status") == [("charge card", "completed"), (None, "running")]
    app.go_on(call)


async def test_pages_are_told_of_a_begin(world: World) -> None:
    app = Held(world, lambda _: result(1))
    run_id, call = await app.start()
    world.signals.touches.clear()

    await tell(world, told(run_id, call_id(call)))
    await tell(world, told(run_id, "0.0.99"), told("01KAT3ZF00000000000000000Z", call_id(call)))

    assert world.signals.touches == [run_id]
    assert (await world.get("/api/logs", run_id=run_id, replayed=True))["items"] == []
    app.go_on(call)


async def test_what_cannot_be_a_begin_is_passed_over(world: World) -> None:
    app = Held(world, lambda _: result(1))
    run_id, call = await app.start()
    good = told(run_id, call_id(call))

    await tell(
        world,
        *(
            {**good, **bad}
            for bad in (
                {"run_id": "no id\0"},
                {"attempt_id": ""},
                {"attempt_id": "0.0.x"},
                {"attempt_id": "0.0.12345678901234567890"},
                {"step_id": "\0"},
            )
        ),
    )
    assert len(await rows(world, run_id)) == 1
    too_large = ["x" * LOG_BEGUN_INPUT_BYTES_MAX]
    await tell(world, {**good, "step": "a\0b" + "x" * 1_000, "ran_ms": 1 << 60, "input": too_large})

    [_, running] = await rows(world, run_id)
    assert running["title"] == "a␀b" + "x" * 253
    assert running["started_at"] == "2026-01-01T00:00:00.000Z"
    assert (await world.get(f"/api/runs/{run_id}/rows/{running['id']}"))["input"] is None
    for status, begun in ((400, [{"run_id": 1}]), (413, [good] * (LOG_BEGUN_PER_REQUEST_MAX + 1))):
        answer = await world.client.post("/v1/runs/logs", json={"lines": [], "begun": begun})
        assert answer.status_code == status
    app.go_on(call)


async def test_calls_of_planned_steps_need_no_begin(world: World) -> None:
    planned = [Op(id=step_hash(name), op="StepPlanned", name=name) for name in ("a", "b")]
    replies = iter([ops(*planned)])
    app = Held(world, lambda _: next(replies, result(1)))
    run_id, call = await app.start()
    app.go_on(call)
    sides = [await app.next(), await app.next()]

    await tell(world, *(told(run_id, call_id(side)) for side in sides))

    running = [row for row in await rows(world, run_id) if row["status"] == "running"]
    assert sorted(row["title"] for row in running) == ["a", "b"]
    for side in sides:
        app.go_on(side)
