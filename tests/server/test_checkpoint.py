"""Checkpoints of apps, and signals, over HTTP (protocol 6.3, 7)."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.limits import REPLY_BYTES_MAX, STEP_OUTPUT_BYTES_MAX, STEPS_PER_RUN_MAX
from stepwell.protocol.ids import RunId, step_hash
from stepwell.protocol.ops import Op
from stepwell.protocol.signature import bearer
from tests.server.world import SIGNING_KEY, World, error, ops, ran, result, sleep, steps_done

UNKNOWN = "01KAT3Z6W00000000000000000"


def checkpoint(call: OutgoingCall, *steps: Op, **others: Any) -> tuple[str, bytes]:
    """Return path and body of a checkpoint for a call."""
    ctx = msgspec.json.decode(call.body)["ctx"]
    fields = {key: ctx[key] for key in ("run_id", "fn_id", "qi_id", "request_id", "generation_id")}
    return f"/v1/checkpoint/{ctx['run_id']}/async", msgspec.json.encode({**fields, "steps": steps, **others})


async def post(world: World, call: OutgoingCall, *steps: Op, **others: Any) -> httpx2.Response:
    path, body = checkpoint(call, *steps, **others)
    return await world.client.post(path, content=body)


def instant(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


class Reporting:
    """An app that reports two steps in one call, then answers as ``end`` says; what it was told of each."""

    def __init__(self, world: World, end: Callable[[OutgoingCall], Reply] | None = None) -> None:
        self.world, self.end = world, end
        self.told: list[tuple[int, Any]] = []

    async def __call__(self, call: OutgoingCall) -> Reply:
        if steps_done(call):
            return result("again")
        for number in range(2):
            answer = await post(self.world, call, ran(f"s{number}", number))
            self.told.append((answer.status_code, answer.json()))
        return result("end") if self.end is None else self.end(call)


async def test_a_call_goes_on_after_each_step(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = app = Reporting(world)

    run = await world.run("f")

    assert app.told == [(200, {})] * 2
    assert (run["status"], run["output"]) == ("completed", "end")
    assert len(world.apps.calls) == 1
    timeline = await world.get(f"/api/runs/{run['id']}")
    assert timeline["status"] == "completed"


async def test_each_step_of_a_call_is_an_attempt_as_long_as_it_ran(world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        for number in range(2):
            step = msgspec.structs.replace(ran(f"s{number}", number), timing={"a": 1, "b": 5_000_000 * number})
            assert (await post(world, call, step)).status_code == 200
        return result("end")

    world.apps.answers["f"] = answer
    run = await world.run("f")
    rows = (await world.get(f"/api/runs/{run['id']}/timeline"))["rows"]

    found = {row["title"]: row for row in rows}

    assert {title: (row["status"], row["output"]) for title, row in found.items()} == {
        "s0": ("completed", 0),
        "s1": ("completed", 1),
        None: ("completed", "end"),
    }
    lasted = [instant(found[title]["ended_at"]) - instant(found[title]["started_at"]) for title in ("s0", "s1")]
    assert lasted == [0, pytest.approx(0.005, abs=1e-4)]


async def test_a_step_that_fails_after_others_began_after_them(world: World) -> None:
    await world.register("f", f={"retries": 1})

    async def answer(call: OutgoingCall) -> Reply:
        assert (await post(world, call, ran("quick"))).status_code == 200
        world.engine.clock.offset_ms += 10_000
        failed = Op(id=step_hash("pay"), op="StepError", name="pay", error={"name": "E", "message": "503"})
        return ops(msgspec.structs.replace(failed, timing={"a": 1, "b": 3_000_000_000}))

    world.apps.answers["f"] = answer
    event = await world.send("f.go")
    await world.signals.until(lambda: len(world.signals.transitions) == 2)
    rows = (await world.get(f"/api/runs/{event['runs'][0]['id']}/timeline"))["rows"]

    found = next(row for row in rows if row["status"] == "retrying")
    assert (found["title"], instant(found["ended_at"]) - instant(found["started_at"])) == ("pay", 3)


async def test_what_was_reported_is_in_the_memo_of_the_next_call(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = Reporting(world, lambda _: ops(sleep("nap", "0s")))

    run = await world.run("f")

    assert run["output"] == "again"
    body = msgspec.json.decode(world.apps.calls[1].body)
    assert body["steps"] == {step_hash("s0"): {"data": 0}, step_hash("s1"): {"data": 1}, step_hash("nap"): None}
    assert body["ctx"]["stack"]["stack"] == [step_hash("s0"), step_hash("s1"), step_hash("nap")]
    assert len(world.apps.calls) == 2


async def test_a_step_that_is_reported_twice_is_kept_once(world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        if steps_done(call):
            return result(msgspec.json.decode(call.body)["steps"])
        for number in (1, 2):
            assert (await post(world, call, ran("a", number))).status_code == 200
        return ops(Op(id="d", op="DiscoveryRequest"))

    world.apps.answers["f"] = answer

    assert (await world.run("f"))["output"] == {step_hash("a"): {"data": 1}}


async def test_an_attempt_that_came_forward_has_used_no_retries(world: World) -> None:
    await world.register("f", f={"retries": 1})
    attempts: list[int] = []

    async def answer(call: OutgoingCall) -> Reply:
        attempts.append(msgspec.json.decode(call.body)["ctx"]["attempt"])
        done = len(steps_done(call))
        if done < 3:
            await post(world, call, ran(f"s{done}"))
            return error("after the step")
        return result("end")

    world.apps.answers["f"] = answer
    event = await world.send("f.go")
    await world.engine.skip(3_600_000)
    run = await world.ended(event["runs"][0]["id"])

    assert run["status"] == "completed"
    assert set(attempts) <= {0, 1}


async def test_a_checkpoint_of_another_call_is_stale(world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        other = await post(world, call, ran("a"), request_id=f"{call.run_id}.0.0.99")
        elsewhere = await post(world, call, ran("a"), qi_id="another")
        return result([other.status_code, elsewhere.status_code, other.json()["status"], other.json()["code"]])

    world.apps.answers["f"] = answer

    assert (await world.run("f"))["output"] == [409, 409, 409, "stale_dispatch"]


async def test_the_checkpoint_of_a_run_that_has_ended_is_refused(world: World) -> None:
    await world.register("f")
    await world.run("f")
    call = world.apps.calls[0]

    ended = await post(world, call, ran("a"))
    path, body = checkpoint(call, ran("a"))
    mine, unknown = call.run_id.encode(), UNKNOWN.encode()
    never_made = await world.client.post(path.replace(call.run_id, UNKNOWN), content=body.replace(mine, unknown))

    assert (ended.status_code, ended.json()["code"]) == (404, "run_not_found")
    assert never_made.status_code == 404


async def test_a_run_that_was_cancelled_takes_no_checkpoint(world: World) -> None:
    await world.register("f")
    told = asyncio.get_running_loop().create_future()

    async def answer(call: OutgoingCall) -> Reply:
        await world.engine.cancel(RunId(call.run_id))
        told.set_result((await post(world, call, ran("a"))).status_code)
        return result("late")

    world.apps.answers["f"] = answer
    run = await world.run("f")

    assert run["status"] == "cancelled"
    assert await told == 404  # the call goes on when its run has ended


async def test_a_checkpoint_that_breaks_a_limit_ends_the_run_and_the_app_is_told(world: World) -> None:
    await world.register("f")
    told: list[int] = []

    async def answer(call: OutgoingCall) -> Reply:
        steps = [ran(f"s{number}") for number in range(STEPS_PER_RUN_MAX + 1)]
        told.append((await post(world, call, *steps[:-1])).status_code)
        told.append((await post(world, call, steps[-1])).status_code)
        return result("late")

    world.apps.answers["f"] = answer
    run = await world.run("f")

    assert (run["status"], run["reason"]) == ("failed", "InngestErrFunctionOverflowed")
    assert told == [200, 404]


@pytest.mark.parametrize("op", ["Sleep", "StepError", "RunComplete", "InvokeFunction", "StepDance"])
async def test_what_ends_a_call_is_no_checkpoint(op: str, world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        told = await post(world, call, ran("a"), Op(id="x", op=op))
        return result([told.status_code, told.json()])

    world.apps.answers["f"] = answer
    run = await world.run("f")

    expected = {"error": "cannot checkpoint async steps", "data": {"run_id": run["id"]}, "status": 400}
    assert run["output"] == [400, expected]


@pytest.mark.parametrize("op", ["StepPlanned", "DeferAdd", "DeferAbort"])
async def test_what_only_tells_of_a_step_is_taken(op: str, world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        if steps_done(call):
            return result(len(steps_done(call)))
        told = await post(world, call, Op(id="x", op=op), ran("a"))
        assert told.status_code == 200, told.text
        return ops(Op(id="d", op="DiscoveryRequest"))

    world.apps.answers["f"] = answer

    assert (await world.run("f"))["output"] == 1


async def test_a_checkpoint_over_a_limit_is_too_large(world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        large = ran("a", "x" * STEP_OUTPUT_BYTES_MAX)
        path, _ = checkpoint(call)
        told = [await post(world, call, large), await world.client.post(path, content=b"x" * (REPLY_BYTES_MAX + 1))]
        return result([answer.status_code for answer in told])

    world.apps.answers["f"] = answer

    assert (await world.run("f"))["output"] == [413, 413]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("nope", b"{}"),
        (UNKNOWN, b"{}"),
        (UNKNOWN, b"{"),
        (UNKNOWN, b'{"run_id":"01KAT3Z6W00000000000000001","steps":[]}'),
        (UNKNOWN, b'{"run_id":"01KAT3Z6W00000000000000000","steps":[{"id":1}]}'),
        (UNKNOWN, b"[" * 100_000),
    ],
)
async def test_a_malformed_checkpoint_says_what_is_wrong(path: str, body: bytes, world: World) -> None:
    answer = await world.client.post(f"/v1/checkpoint/{path}/async", content=body)

    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert answer.json()["error"]


@pytest.mark.parametrize("path", ["/v1/signals", f"/v1/checkpoint/{UNKNOWN}/async", "/v1/checkpoint"])
async def test_in_production_the_signing_key_is_asked_for(path: str, production: World) -> None:
    refused = await production.client.post(path, content=b"{}")
    known = await production.client.post(path, content=b"{}", headers={"Authorization": bearer(SIGNING_KEY)})

    assert refused.status_code == 401
    assert known.status_code not in (401, 403, 500)


async def test_checkpoints_of_one_call_may_overlap(world: World) -> None:
    await world.register("f")

    async def answer(call: OutgoingCall) -> Reply:
        if steps_done(call):
            return result(len(steps_done(call)))
        told = await asyncio.gather(*(post(world, call, ran(f"s{number}")) for number in range(10)))
        assert {answer.status_code for answer in told} == {200}
        return ops(Op(id="d", op="DiscoveryRequest"))

    world.apps.answers["f"] = answer

    assert (await world.run("f"))["output"] == 10


# Signals ---------------------------------------------------------------------------------------------------------------


def waiting(title: str, signal: str) -> Op:
    return Op(
        id=step_hash(title),
        op="WaitForSignal",
        name=signal,
        display_name=title,
        opts={"signal": signal, "timeout": "1h"},
    )


async def test_a_signal_lets_the_run_go_on_that_waits_for_it(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda call: (
        result(msgspec.json.decode(call.body)["steps"]) if steps_done(call) else ops(waiting("w", "approve-1"))
    )
    run_id = (await world.send("f.go"))["runs"][0]["id"]
    await world.quiet()

    sent = await world.post("/v1/signals", {"signal": "approve-1", "data": {"by": "ann", "n": 1.0}})
    run = await world.ended(run_id)

    assert sent["data"] == {"run_id": run_id}
    assert sent["metadata"]["fetched_at"]
    assert run["output"] == {step_hash("w"): {"data": {"signal": "approve-1", "data": {"by": "ann", "n": 1}}}}


async def test_a_signal_that_nobody_waits_for_is_not_found(world: World) -> None:
    answer = await world.client.post("/v1/signals", json={"signal": "approve-1", "data": None})

    assert (answer.status_code, answer.json()["error"], answer.json()["status"]) == (404, "No signal found", 404)


async def test_a_signal_that_nobody_waits_for_may_be_kept(world: World) -> None:
    sent = await world.post("/v1/signals", {"signal": "approve-1", "keep": True})

    assert sent["data"] == {"run_id": None}


@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"signal":""}',
        b'{"signal":null}',
        b'{"signal":"a\\u0000b"}',
        b'{"signal":"' + b"x" * 513 + b'"}',
        b'{"signal":"a","data":"\\ud800"}',
        b'{"signal":"a","data":' + b"[" * 1000 + b"]" * 1000 + b"}",
    ],
)
async def test_a_malformed_signal_is_refused(body: bytes, world: World) -> None:
    answer = await world.client.post("/v1/signals", content=body)

    assert (answer.status_code, answer.json()["status"]) == (400, 400), answer.text
