"""``GET /api/runs/{id}/explain``: each reason for which a run can stand still, as it is seen from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.ids import step_hash
from stepwell.protocol.ops import Op
from tests.server.world import WAIT_S, World, error, ops, ran, result, sleep, steps_done


def waits(code: str, title: str, **opts: Any) -> Op:
    return Op(id=step_hash(title), op=code, name=title, display_name=title, opts={"timeout": "1h", **opts})


async def started(world: World, slug: str = "f", data: Any = None, **more: Any) -> str:
    event = await world.send(f"{slug}.go", data, **more)
    return event["runs"][0]["id"]


async def explained(world: World, id: str) -> Any:
    return await world.get(f"/api/runs/{id}/explain")


async def only_reason(world: World, id: str) -> Any:
    """Return the one reason of a run."""
    found = await explained(world, id)
    [reason] = found["reasons"]
    assert found["summary"] == reason["text"]
    assert reason["release"]
    return reason


class Gate:
    """Answers of an app that come when the test says so."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self._called = asyncio.Semaphore(0)

    async def __call__(self, _call: OutgoingCall) -> Reply:
        self._called.release()
        await self.opened.wait()
        return result("done")

    async def called(self, times: int = 1) -> None:
        """Wait until the app was called so many times more."""
        async with asyncio.timeout(WAIT_S):
            for _ in range(times):
                await self._called.acquire()


@pytest.fixture
async def gated(either: World) -> Any:
    """A server whose function ``f`` answers when its gate is opened, at the end of the test at the latest."""
    gate = Gate()
    either.apps.answers["f"] = gate
    yield gate
    gate.opened.set()


# -- what goes on by itself -------------------------------------------------------------------------------------------


async def test_a_sleep_says_until_when(either: World) -> None:
    await either.register("f")
    either.apps.answers["f"] = lambda _call: ops(sleep("nap", "1h"))
    id = await started(either)
    await either.quiet()

    reason = await only_reason(either, id)

    assert (reason["kind"], reason["step"]) == ("timer", "nap")
    assert "sleeping until" in reason["text"]
    assert reason["until"] > reason["since"]


async def test_a_wait_says_for_which_event_with_the_runs_own_values(either: World) -> None:
    await either.register("f")
    condition = "event.data.order == async.data.order && async.data.sum > 10"
    either.apps.answers["f"] = lambda _call: ops(waits("WaitForEvent", "paid", event="shop/paid", **{"if": condition}))
    id = await started(either, data={"order": "o-7"})
    await either.quiet()

    reason = await only_reason(either, id)

    assert reason["kind"] == "event"
    assert reason["event"] == {"name": "shop/paid", "condition": 'async.data.order == "o-7" && async.data.sum > 10'}
    assert "shop/paid" in reason["release"]

    await either.send("shop/paid", {"order": "o-7", "sum": 11})
    either.apps.answers["f"] = lambda _call: result("done")
    assert (await either.ended(id))["status"] == "completed"


async def test_a_condition_that_nothing_can_meet_is_said(either: World) -> None:
    await either.register("f")
    never = {"if": "event.data.order == 'x' && async.data.sum > 10"}
    either.apps.answers["f"] = lambda _call: ops(waits("WaitForEvent", "paid", event="shop/paid", **never))
    id = await started(either, data={"order": "o-7"})
    await either.quiet()

    assert "can't come any more" in (await only_reason(either, id))["text"]


async def test_a_signal_is_named(either: World) -> None:
    await either.register("f")
    either.apps.answers["f"] = lambda _call: ops(waits("WaitForSignal", "approved", signal="approval/7"))
    id = await started(either)
    await either.quiet()

    reason = await only_reason(either, id)

    assert (reason["kind"], reason["signal"]) == ("signal", "approval/7")


async def test_an_invoked_run_is_named_with_its_state(either: World) -> None:
    await either.register("f", "g")
    either.apps.answers["f"] = lambda _call: ops(waits("InvokeFunction", "child", function_id="g"))
    either.apps.answers["g"] = lambda _call: ops(sleep("nap", "1h"))
    id = await started(either)
    await either.quiet()

    reason = await only_reason(either, id)

    child = (await either.get("/api/runs", function="g"))["items"][0]
    assert reason["run"] == {"id": child["id"], "function": "g", "status": "running"}
    assert child["id"] in reason["text"]


async def test_a_retry_says_after_which_error_and_when(either: World) -> None:
    await either.register("f", f={"retries": 3})
    either.apps.answers["f"] = lambda _call: error("boom")
    id = await started(either)
    await either.signals.until(lambda: bool(either.signals.transitions))

    reason = await only_reason(either, id)

    assert (reason["kind"], reason["error"]) == ("retry", {"name": "ValueError", "message": "boom"})
    assert "is tried again after ValueError: boom: attempt 2 of 4" in reason["text"]
    assert reason["until"] is not None


async def test_a_call_in_progress_says_who_makes_it(either: World, gated: Gate) -> None:
    await either.register("f", f={"retries": 3})
    id = await started(either)

    reason = await only_reason(either, id)

    assert reason["kind"] == "call"
    replica = either.engine.store.replica_id
    assert reason["call"] == {"replica": replica, "attempt": 1, "max_attempts": 4}


async def test_an_event_of_the_future_says_when(either: World) -> None:
    await either.register("f")
    id = await started(either, ts=either.engine.clock.now() + 3_600_000)

    reason = await only_reason(either, id)

    assert (reason["kind"], "the time that its event has" in reason["text"]) == ("later", True)


async def test_each_of_a_parallel_group_has_its_reason(either: World) -> None:
    await either.register("f")
    either.apps.answers["f"] = lambda _call: ops(
        sleep("long", "2h"), sleep("short", "1h"), waits("WaitForSignal", "s", signal="x"), sleep("longest", "3h")
    )
    id = await started(either)
    await either.quiet()

    found = await explained(either, id)

    assert {reason["kind"] for reason in found["reasons"]} == {"timer", "signal"}
    assert len(found["reasons"]) == 4
    assert found["reasons"][-1]["step"] == "longest"
    assert found["summary"].endswith("; and 1 more")


async def test_a_time_out_of_the_run_is_said_beside_the_reason(either: World) -> None:
    await either.register("f", f={"timeouts": {"finish": "1d"}})
    either.apps.answers["f"] = lambda _call: ops(sleep("nap", "1h"))
    id = await started(either)
    await either.quiet()

    found = await explained(either, id)

    assert [reason["kind"] for reason in found["reasons"]] == ["timer", "deadline"]
    assert "unless it has ended" in found["reasons"][1]["text"]
    assert "cancelled" not in found["summary"]


# -- what is held back ------------------------------------------------------------------------------------------------


async def test_a_limit_says_its_key_who_has_it_and_the_place_in_line(either: World, gated: Gate) -> None:
    limit = {"concurrency": [{"limit": 1, "key": "event.data.user", "scope": "fn"}]}
    await either.register("f", f=limit)
    first = await started(either, data={"user": "u-1"})
    await gated.called()
    await started(either, data={"user": "u-1"})
    third = await started(either, data={"user": "u-1"})

    reason = await only_reason(either, third)

    assert reason["kind"] == "limit"
    assert reason["limit"] == {
        "rule": "concurrency",
        "scope": "fn",
        "key": "event.data.user",
        "value": "u-1",
        "limit": 1,
        "in_use": 1,
        "used_by": [first],
    }
    assert reason["before"] in (0, 1)  # 0 where both came in the same millisecond
    assert f"1 of 1 calls are under way (run {first})" in reason["text"]


async def test_a_limit_of_another_key_holds_nobody_back(either: World, gated: Gate) -> None:
    await either.register("f", f={"concurrency": [{"limit": 1, "key": "event.data.user"}]})
    await started(either, data={"user": "u-1"})
    other = await started(either, data={"user": "u-2"})
    await gated.called(2)

    assert (await only_reason(either, other))["kind"] == "call"


async def test_a_limit_on_runs_names_a_run_that_is_asleep(either: World) -> None:
    await either.register("f", f={"runConcurrency": 1})
    either.apps.answers["f"] = lambda call: ops(sleep("nap", "1h"))
    first = await started(either)
    await either.quiet()
    second = await started(either)
    await either.quiet()

    reason = await only_reason(either, second)

    assert (reason["limit"]["rule"], reason["limit"]["used_by"]) == ("run_concurrency", [first])


async def test_a_throttle_says_when_the_next_start_is(either: World) -> None:
    await either.register("f", f={"throttle": {"limit": 1, "period": "1h"}})
    await either.ended(await started(either))
    second = await started(either)
    await either.quiet()

    reason = await only_reason(either, second)

    assert reason["kind"] == "throttle"
    assert "(1 starts in 1h): the next start is at" in reason["text"]
    assert reason["until"] > reason["since"]


async def test_a_singleton_that_replaces_another_waits_for_its_end(either: World, gated: Gate) -> None:
    await either.register("f", f={"singleton": {"mode": "cancel"}})
    first = await started(either)
    await gated.called()
    second = await started(either)
    seen = (await only_reason(either, second))["kind"]
    await either.ended(first)

    assert seen in ("singleton", "call", "queue")  # the first is being cancelled meanwhile
    assert "cancelled for a newer run" in (await explained(either, first))["summary"]


async def test_a_pause_says_since_when_and_how_to_end_it(either: World) -> None:
    await either.register("f")
    await either.post("/api/functions/f/pause")
    id = await started(either)
    await either.quiet()

    reason = await only_reason(either, id)

    assert (reason["kind"], reason["release"]) == ("pause", "stepwell functions resume f")
    await either.post("/api/functions/f/resume")
    assert (await either.ended(id))["status"] == "completed"


async def test_calls_of_an_app_that_are_all_under_way_are_said(either: World, gated: Gate) -> None:
    await either.register("f")
    slots = either.context.settings.calls_per_app_max
    for _ in range(slots):
        await started(either)
    await gated.called(slots)
    last = await started(either)

    reason = await only_reason(either, last)

    assert reason["kind"] == "slots"
    assert f"all {slots} calls to app 'shop'" in reason["text"]


async def test_all_that_holds_a_call_back_is_said(either: World, gated: Gate) -> None:
    await either.register("f", f={"concurrency": 1})
    await started(either)
    await gated.called()
    await either.post("/api/functions/f/pause", {"mode": "hold"})
    id = await started(either)

    assert {reason["kind"] for reason in (await explained(either, id))["reasons"]} == {"pause", "limit"}


# -- how it ended -----------------------------------------------------------------------------------------------------


async def test_an_ended_run_says_how(either: World) -> None:
    await either.register("f", "g", "h", f={"timeouts": {"start": "10s"}})
    either.apps.answers["g"] = lambda _call: error("no", no_retry=True)
    either.apps.answers["h"] = lambda call: result(1) if steps_done(call) else ops(ran("s"))
    done, failed = (await either.run("h"))["id"], (await either.run("g"))["id"]
    await either.post("/api/functions/f/pause", {"mode": "drop"})
    skipped = await started(either)
    again = [(await either.send("h.go", id="same"))["runs"][0]["id"] for _ in range(2)][1]

    assert (await explained(either, done))["summary"].startswith("its function returned at ")
    assert "ValueError: no" in (await explained(either, failed))["summary"]
    assert "paused" in (await explained(either, skipped))["summary"]
    assert "an event with this id before" in (await explained(either, again))["summary"]
    for id in (done, failed, skipped, again):
        assert (await explained(either, id))["reasons"] == []


async def test_a_cancelled_run_says_by_whom(either: World) -> None:
    await either.register("f", "g", g={"cancel": [{"event": "stop"}]})
    for slug in ("f", "g"):
        either.apps.answers[slug] = lambda _call: ops(sleep("nap", "1h"))
    by_hand, by_event = await started(either, "f"), await started(either, "g")
    await either.quiet()
    await either.post(f"/api/runs/{by_hand}/cancel")
    await either.send("stop")
    await either.ended(by_event)

    assert "by the API" in (await explained(either, by_hand))["summary"]
    assert "by an event" in (await explained(either, by_event))["summary"]


async def test_an_unknown_run_is_not_found(world: World) -> None:
    await world.refused(404, "run_not_found", "GET", "/api/runs/x/explain")
    await world.refused(404, "run_not_found", "GET", "/api/runs/01KDTQKG000000000000000001/explain")
