"""``GET /api/events/{id}/explain``: what became of an event at each function, and why not more."""

from __future__ import annotations

from typing import Any

from stepwell.protocol.ids import step_hash
from stepwell.protocol.ops import Op
from tests.server.world import World, ops, result, steps_done


def on(expression: str | None = None, event: str = "order/paid") -> dict[str, Any]:
    return {"triggers": [{"event": event, **({"expression": expression} if expression else {})}]}


async def became(world: World, event: Any) -> dict[str, Any]:
    """Return what became of an event, by function."""
    found = await world.get(f"/api/events/{event['id']}/explain")
    return {outcome["function"]: outcome for outcome in found["functions"]}


async def test_each_function_of_the_name_has_its_outcome(either: World) -> None:
    await either.register(
        "started",
        "false",
        "wild",
        "elsewhere",
        started=on("event.data.sum > 10"),
        false=on("event.data.currency == 'EUR' && event.data.sum > 100"),
        wild=on(event="order/*"),
        elsewhere=on(event="other"),
    )

    event = await either.send("order/paid", {"sum": 50, "currency": "EUR"})
    found = await became(either, event)

    assert {name: outcome["kind"] for name, outcome in found.items()} == {
        "started": "started",
        "wild": "started",
        "false": "no_match",
    }
    assert found["started"]["run_id"] in {run["id"] for run in event["runs"]}
    assert found["false"]["term"] == "event.data.sum > 100 (event.data.sum is 50)"


async def test_of_several_triggers_one_that_matches_is_enough(either: World) -> None:
    triggers = [{"event": "a", "expression": "event.data.n == 1"}, {"event": "a", "expression": "event.data.n == 2"}]
    await either.register("f", f={"triggers": triggers})

    two, three = await either.send("a", {"n": 2}), await either.send("a", {"n": 3})

    assert (await became(either, two))["f"]["kind"] == "started"
    assert (await became(either, three))["f"]["term"] == "event.data.n == 1 (event.data.n is 3)"


async def test_a_skipped_run_says_why(either: World) -> None:
    await either.register("f", "g", "h", f={"rateLimit": {"limit": 1, "period": "1h"}} | on(), g=on(), h=on())
    await either.post("/api/functions/g/pause", {"mode": "drop"})
    await either.post("/api/functions/h/pause", {"mode": "hold"})
    await either.send("order/paid")

    found = await became(either, await either.send("order/paid"))

    assert (found["f"]["kind"], found["f"]["reason"]) == ("skipped", "rate_limited")
    assert (found["g"]["kind"], found["g"]["reason"]) == ("skipped", "paused")
    assert (found["h"]["kind"], found["h"]["status"]) == ("started", "queued")
    assert "rate limit had no room" in found["f"]["text"]


async def test_an_event_that_waits_with_others_says_until_when(either: World) -> None:
    await either.register(
        "b", "d", b={"batchEvents": {"maxSize": 3, "timeout": "10m"}} | on(), d={"debounce": {"period": "1h"}} | on()
    )
    either.apps.answers["b"] = either.apps.answers["d"] = lambda _call: result("done")

    first = await either.send("order/paid", {"n": 1})
    last = await either.send("order/paid", {"n": 2})
    before = await became(either, first)
    await either.post("/api/skip", {"duration": "2h"})
    after, after_last = await became(either, first), await became(either, last)

    assert {name: outcome["kind"] for name, outcome in before.items()} == {"b": "gathered", "d": "gathered"}
    assert "a batch of 2 events" in before["b"]["text"]
    assert before["d"]["fires_at"] > before["b"]["fires_at"]
    assert (after["b"]["kind"], after["b"]["status"]) == ("started", "completed")
    assert (after["d"]["kind"], after["d"]["status"]) == ("gathered", "completed")
    assert (after_last["b"]["kind"], after_last["d"]["kind"]) == ("gathered", "started")
    assert after["d"]["run_id"] == after_last["d"]["run_id"]


async def test_a_function_that_was_removed_or_came_later_is_said(either: World) -> None:
    await either.register("f", "g", f=on(), g=on("false"))
    await either.register("g", g=on("false"))

    event = await either.send("order/paid")
    assert (await became(either, event))["f"]["kind"] == "archived"

    await either.register("f", "g", f=on(), g=on("false"))
    assert (await became(either, event))["f"]["kind"] == "no_run"


async def test_where_nothing_has_the_name_those_like_it_are_named(either: World) -> None:
    await either.register("f", "g", f=on(event="shop/order.paid"), g=on(event="user/created"))

    found = await either.get(f"/api/events/{(await either.send('Shop/order.payed'))['id']}/explain")
    far = await either.get(f"/api/events/{(await either.send('x'))['id']}/explain")

    assert (found["functions"], found["near"]) == ([], ["shop/order.paid"])
    assert found["summary"].endswith("triggers with names like it: shop/order.paid")
    assert (far["near"], far["summary"]) == ([], "no function has a trigger of the name 'x'")


async def test_a_name_that_runs_wait_for_is_no_slip(either: World) -> None:
    cancelled = {**on(event="order/paid"), "cancel": [{"event": "order/called.off"}]}
    await either.register("f", "g", f=on(event="order/placed"), g=cancelled)
    wait = Op(
        id=step_hash("wait"),
        op="WaitForEvent",
        name="order/payed",
        display_name="wait",
        opts={"event": "order/payed", "timeout": "1h"},
    )
    either.apps.answers["f"] = lambda call: result(1) if steps_done(call) else ops(wait)

    early = await either.send("order/payed")
    before = await either.get(f"/api/events/{early['id']}/explain")
    run = (await either.send("order/placed"))["runs"][0]["id"]
    await either.quiet()
    while_it_waits = await either.get(f"/api/events/{early['id']}/explain")
    event = await either.send("order/payed")
    await either.ended(run)
    after = await either.get(f"/api/events/{event['id']}/explain")
    cancel = await either.get(f"/api/events/{(await either.send('order/called.off'))['id']}/explain")

    assert (before["is_awaited"], before["near"]) == (False, ["order/placed", "order/paid"])
    assert (while_it_waits["is_awaited"], while_it_waits["near"]) == (True, [])
    assert (after["is_awaited"], after["near"]) == (True, [])
    assert after["summary"] == "no function has a trigger of the name 'order/payed'; it is for runs that wait for it"
    assert cancel["is_awaited"]


async def test_a_run_that_was_started_again_is_an_outcome_of_its_own(either: World) -> None:
    await either.register("f", f=on())
    event = await either.send("order/paid")
    first = event["runs"][0]["id"]
    await either.ended(first)
    again = await either.post(f"/api/runs/{first}/rerun")

    found = await either.get(f"/api/events/{event['id']}/explain")

    assert [outcome["run_id"] for outcome in found["functions"]] == [first, again["id"]]
    assert found["functions"][1]["text"].endswith(f"which does run {first} again")
    assert found["summary"] == "2 started"


async def test_an_unknown_event_is_not_found(world: World) -> None:
    await world.refused(404, "event_not_found", "GET", "/api/events/x/explain")
