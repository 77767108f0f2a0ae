"""``/api/runs/{id}/timeline``: each attempt its own row, and why a run isn't running."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from stepwell.engine.core.model import Exchange, Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.ids import step_hash
from stepwell.protocol.ops import Op
from tests.server.world import DEV, World, error, ops, ran, result, running, sleep, steps_done

BIG = 123456789012345678901234567890


async def timeline(world: World, id: str) -> Any:
    return await world.get(f"/api/runs/{id}/timeline")


def shown(rows: list[Any], *names: str) -> list[tuple[Any, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


async def test_each_attempt_is_its_own_row(world: World) -> None:
    await world.register("f", f={"retries": 3})
    failing = iter([True, True, False])

    def answer(call: OutgoingCall) -> Reply:
        if step_hash("push") in steps_done(call):
            return result("done")
        if next(failing):
            return ops(Op(id=step_hash("push"), op="StepError", name="push", error={"name": "E", "message": "503"}))
        return ops(ran("push", {"n": 1}))

    world.apps.answers["f"] = answer
    event = await world.send("f.go")
    await world.post("/api/skip", {"duration": "1h"})
    await world.ended(event["runs"][0]["id"])

    got = await timeline(world, event["runs"][0]["id"])

    assert shown(got["rows"], "kind", "title", "status", "attempt", "output") == [
        ("attempt", "push", "retrying", 0, None),
        ("attempt", "push", "retrying", 1, None),
        ("attempt", "push", "completed", 2, {"n": 1}),
        ("attempt", None, "completed", 0, "done"),
    ]
    assert got["rows"][0]["error"] == {"message": "503", "name": "E"}
    assert all(row["started_at"] and row["ended_at"] for row in got["rows"])
    assert got["rows"][0]["retry_at"] == got["rows"][1]["started_at"]
    assert got["run"]["status"] == "completed"
    assert got["run"]["output"] == "done"


async def test_a_sleep_is_a_row_while_it_lasts_and_after(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda call: result(1) if steps_done(call) else ops(sleep("wait", "3d"))
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.signals.until(lambda: bool(world.signals.transitions))

    asleep = await timeline(world, id)
    await world.post("/api/skip", {"duration": "3d"})
    over = await timeline(world, id)

    row = asleep["rows"][-1]
    assert (row["kind"], row["title"], row["status"], row["due_at"]) == (
        "sleep",
        "wait",
        "sleeping",
        "2026-01-04T00:00:00.000Z",
    )
    assert row["waiting"] == asleep["run"]["waiting"] == "sleeping until 2026-01-04T00:00:00.000Z (in 3d)"
    assert ("sleep", "completed", "2026-01-04T00:00:00.000Z") in shown(over["rows"], "kind", "status", "ended_at")
    assert over["run"]["status"] == "completed"
    assert over["run"]["waiting"] is None


async def test_an_attempt_in_progress_is_a_row(world: World) -> None:
    await world.register("f")
    called, gate = asyncio.Event(), asyncio.Event()

    async def slow(_call: OutgoingCall) -> Reply:
        called.set()
        await gate.wait()
        return result(None)

    world.apps.answers["f"] = slow
    id = (await world.send("f.go"))["runs"][0]["id"]
    await called.wait()

    got = await timeline(world, id)
    gate.set()
    await world.ended(id)

    assert shown(got["rows"], "kind", "status", "attempt", "started_at", "ended_at", "waiting") == [
        ("attempt", "running", 0, "2026-01-01T00:00:00.000Z", None, None)
    ]
    assert got["run"]["waiting"] is None
    assert (await timeline(world, id))["rows"][0]["id"] == got["rows"][0]["id"]


async def test_a_retry_says_when_it_is_due(world: World) -> None:
    await world.register("f", f={"retries": 4})
    world.apps.answers["f"] = lambda _call: error("503")
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.signals.until(lambda: bool(world.signals.transitions))

    got = await timeline(world, id)

    failed, waiting = got["rows"]
    assert (failed["status"], waiting["kind"], waiting["status"], waiting["attempt"]) == (
        "retrying",
        "job",
        "waiting",
        1,
    )
    assert failed["retry_at"] == waiting["due_at"]
    assert f"attempt 2 of 5 is due at {waiting['due_at']}" in waiting["waiting"]


async def test_a_queued_run_says_that_the_apps_call_slots_are_in_use(tmp_path: Path) -> None:
    async with running(tmp_path, msgspec.structs.replace(DEV, calls_per_app_max=1)) as world:
        await world.register("f")
        gate = asyncio.Event()

        async def slow(_call: OutgoingCall) -> Reply:
            await gate.wait()
            return result(None)

        world.apps.answers["f"] = slow
        ids = [(await world.send("f.go"))["runs"][0]["id"] for _ in range(2)]

        first, second = [await timeline(world, id) for id in ids]
        gate.set()
        await world.ended(ids[1])

    assert first["rows"][0]["status"] == "running"
    assert second["run"]["status"] == "queued"
    assert second["run"]["waiting"] == ("is queued: all 1 calls to app 'shop' that this replica may make are under way")


async def test_a_run_of_an_event_dated_ahead_says_so(world: World) -> None:
    await world.register("f")
    event = await world.send("f.go", ts=1_767_229_200_000)

    got = await timeline(world, event["runs"][0]["id"])

    assert got["run"]["waiting"] == ("begins at 2026-01-01T01:00:00.000Z (in 1h), the time that its event has")


async def test_further_results_of_one_attempt_are_rows_of_their_own(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda call: result("end") if steps_done(call) else ops(ran("a", 1), ran("b", BIG))

    run = await world.run("f")
    rows = (await timeline(world, run["id"]))["rows"]

    assert sorted(shown(rows, "kind", "title", "output"), key=str) == sorted(
        [("attempt", None, None), ("step", "a", 1), ("step", "b", BIG), ("attempt", None, "end")], key=str
    )


async def test_a_step_that_failed_for_good_shows_its_error(world: World) -> None:
    await world.register("f")
    failed = Op(id=step_hash("pay"), op="StepFailed", name="pay", error={"name": "Declined", "message": "no money"})
    world.apps.answers["f"] = lambda call: result("caught") if steps_done(call) else ops(failed)

    run = await world.run("f")
    rows = (await timeline(world, run["id"]))["rows"]

    assert shown(rows, "title", "status", "error")[0] == ("pay", "failed", {"message": "no money", "name": "Declined"})
    assert run["output"] == "caught"


async def test_without_payloads_a_row_says_how_large_its_output_is(either: World) -> None:
    await either.register("f", f={"retries": 1})
    replies = iter([ops(ran("a", {"text": "x" * 100})), error("503"), result("end")])
    either.apps.answers["f"] = lambda _call: next(replies)
    event = await either.send("f.go")
    await either.post("/api/skip", {"duration": "1h"})
    id = event["runs"][0]["id"]
    await either.ended(id)

    got = await either.get(f"/api/runs/{id}/timeline", payloads=False)

    assert shown(got["rows"], "op", "title", "status", "output", "output_bytes", "error", "error_line") == [
        ("step.run", "a", "completed", None, 111, None, None),
        (None, None, "retrying", None, None, None, "ValueError: 503"),
        (None, None, "completed", None, None, None, None),
    ]
    assert (got["run"]["output"], got["run"]["output_bytes"]) == (None, 5)
    whole = await timeline(either, id)
    assert (whole["run"]["output"], whole["run"]["output_bytes"]) == ("end", 5)
    assert (await either.get(f"/api/runs/{id}/output")) == {"output": "end"}
    assert [row["output_bytes"] for row in whole["rows"]] == [111, None, 5]
    rows = [await either.get(f"/api/runs/{id}/rows/{row['id']}") for row in got["rows"]]
    assert shown(rows, "output") == [({"text": "x" * 100},), (None,), ("end",)]
    assert rows[1]["error"]["message"] == "503"
    assert (rows[0]["started_at"], rows[0]["ended_at"]) == (got["rows"][0]["started_at"], got["rows"][0]["ended_at"])
    await either.refused(404, "row_not_found", "GET", f"/api/runs/{id}/rows/nope")


async def test_only_rows_after_a_time_are_shown_and_what_goes_on(world: World) -> None:
    await world.register("f")
    replies = iter([ops(sleep("first", "1h")), ops(sleep("second", "1h"))])
    world.apps.answers["f"] = lambda _call: next(replies)
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.post("/api/skip", {"duration": "1h"})

    for payloads in (True, False):
        got = await world.get(f"/api/runs/{id}/timeline", payloads=payloads, after="2026-01-01T00:30:00Z")

        assert shown(got["rows"], "op", "title", "status") == [
            ("step.sleep", "first", "completed"),
            (None, None, "completed"),
            ("step.sleep", "second", "sleeping"),
        ]
    assert got["rows"][-1]["links"] == {"until": "2026-01-01T02:00:00.000Z"}


async def test_a_run_names_its_relatives(either: World) -> None:
    await either.register("parent", "child")
    invoke = Op(id=step_hash("call"), op="InvokeFunction", name="call", opts={"function_id": "child"})
    sent = (await either.send("other"))["id"]
    either.apps.answers["parent"] = lambda call: (
        result(1)
        if len(steps_done(call)) == 3
        else ops(ran("send", {"ids": [sent]}), ran("list", ["01KAT3Z6W00000000000000000"]), invoke)
    )
    parent = await either.run("parent")
    got = await timeline(either, parent["id"])

    [child] = got["run"]["children"]
    assert (child["function"], child["status"], child["step"]) == ("child", "completed", "call")
    assert got["run"]["parent"] is None
    assert got["run"]["sent_events"] == [{"id": sent, "name": "other", "step": "send"}]
    by_title = {row["title"]: row for row in got["rows"]}
    assert (by_title["call"]["op"], by_title["call"]["links"]) == (
        "step.invoke",
        {"run_id": child["run_id"], "function": "child"},
    )
    assert (by_title["send"]["op"], by_title["send"]["links"]) == (
        "step.sendEvent",
        {"event_id": sent, "event_name": "other"},
    )
    assert by_title["list"]["op"] == "step.run"
    below = await timeline(either, child["run_id"])
    assert below["run"]["parent"] == {
        "run_id": parent["id"],
        "function": "parent",
        "status": "completed",
        "step": "call",
    }


async def test_a_wait_says_what_for_while_it_lasts_and_what_came(either: World) -> None:
    await either.register("f")
    opts = {"event": "paid", "if": "async.data.id == event.data.id", "timeout": "1h"}
    wait = Op(id=step_hash("wait"), op="WaitForEvent", name="paid", display_name="wait", opts=opts)
    either.apps.answers["f"] = lambda call: result(1) if steps_done(call) else ops(wait)
    id = (await either.send("f.go", {"id": 7}))["runs"][0]["id"]
    await either.quiet()

    waiting = await timeline(either, id)
    await either.send("paid", {"id": 7})
    await either.ended(id)
    over = await timeline(either, id)

    row = waiting["rows"][-1]
    assert (row["op"], row["status"]) == ("step.waitForEvent", "waiting")
    assert row["links"] == {"event_name": "paid", "expression": "async.data.id == 7", "until": row["due_at"]}
    [row] = [row for row in over["rows"] if row["title"] == "wait"]
    assert row["links"]["event_name"] == "paid"


async def test_without_payloads_a_run_says_how_large_its_event_is(either: World) -> None:
    await either.register("f", f={"retries": 0})
    either.apps.answers["f"] = lambda _call: error("boom")
    event = await either.send("f.go", {"text": "x" * 100_000})
    run = await either.ended(event["runs"][0]["id"])

    answer = await either.client.get(f"/api/runs/{run['id']}/timeline", params={"payloads": False})
    whole = (await timeline(either, run["id"]))["run"]

    got = answer.json()["run"]
    assert len(answer.content) < 5_000
    assert (got["event"], got["event_id"], got["event_name"]) == (None, event["id"], "f.go")
    assert 100_000 < got["event_bytes"] == whole["event_bytes"] < 101_000
    assert whole["event"]["data"] == {"text": "x" * 100_000}
    assert (got["error"]["message"], got["output_bytes"] is None) == ("boom", whole["output_bytes"] is None)
    assert (await either.get(f"/api/runs/{run['id']}/output")) == {"output": None}


async def test_the_time_of_a_run_adds_up_whatever_is_shown_of_it(world: World) -> None:
    await world.register("f")
    replies = iter([ops(sleep("first", "1h")), ops(sleep("second", "2h")), result(1)])
    world.apps.answers["f"] = lambda _call: next(replies)
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.post("/api/skip", {"duration": "2h"})

    found = [
        (await world.get(f"/api/runs/{id}/timeline", **query))["run"]["durations"]
        for query in ({}, {"payloads": False}, {"payloads": False, "after": "2026-01-01T01:30:00Z"})
    ]

    assert found[0] == found[1] == found[2]
    assert found[0] == {"queued_ms": 0, "code_ms": 0, "waiting_ms": 0, "sleeping_ms": 7_200_000, "overhead_ms": 0}


async def test_an_attempt_says_what_its_call_was(either: World) -> None:
    await either.register("f", f={"retries": 1})
    replies = iter([msgspec.structs.replace(error("503"), exchange=Exchange(500, 1_234, 56)), result("end")])
    either.apps.answers["f"] = lambda _call: next(replies)
    id = (await either.send("f.go"))["runs"][0]["id"]
    await either.post("/api/skip", {"duration": "1h"})
    await either.ended(id)

    got = await timeline(either, id)

    first, second = got["rows"]
    assert first["http"] == {
        "status": 500,
        "request_id": f"{id}.{first['id']}",
        "sent_bytes": 1_234,
        "received_bytes": 56,
    }
    assert second["http"] is None


async def test_a_row_says_what_its_step_was_given(either: World) -> None:
    await either.register("f", f={"retries": 1})
    push = step_hash("push")
    opts = {"event": "paid", "timeout": "1h"}
    wait = Op(id=step_hash("wait"), op="WaitForEvent", name="paid", display_name="wait", opts=opts)
    failing = Op(id=push, op="StepError", name="push", opts={"input": [7]}, error={"name": "E", "message": "503"})
    replies = iter(
        [ops(failing), ops(msgspec.structs.replace(ran("push", 1), opts={"input": [8]})), ops(wait), result(1)]
    )
    either.apps.answers["f"] = lambda _call: next(replies)
    id = (await either.send("f.go"))["runs"][0]["id"]
    await either.quiet()

    async def inputs() -> list[Any]:
        rows = (await timeline(either, id))["rows"]
        return [(await either.get(f"/api/runs/{id}/rows/{row['id']}"))["input"] for row in rows]

    assert await inputs() == [[7], [7]]  # the attempt that failed, and the next
    await either.post("/api/skip", {"duration": "1m"})
    await either.quiet()
    assert await inputs() == [[8], [8], None, opts]  # the discovery was given nothing
    await either.send("paid")
    await either.ended(id)
    assert opts in await inputs()


async def test_a_request_is_shown_without_its_key_while_it_waits(either: World) -> None:
    await either.register("f", f={"retries": 1})
    opts = {"url": "http://nobody.invalid/", "method": "GET", "headers": {"authorization": "Bearer top-secret-key"}}
    fetch = Op(id=step_hash("get"), op="Gateway", name="get", opts=opts)
    either.apps.answers["f"] = lambda call: result(1) if steps_done(call) else ops(fetch)
    id = (await either.send("f.go"))["runs"][0]["id"]
    await either.quiet()

    rows = (await timeline(either, id))["rows"]
    shown = [await either.get(f"/api/runs/{id}/rows/{row['id']}") for row in rows]

    assert any(row["input"] and row["input"]["url"] == opts["url"] for row in shown)
    assert "top-secret-key" not in str(shown)


async def test_an_attempt_shows_no_other_step_s_input(either: World) -> None:
    await either.register("f", f={"retries": 3})

    def failing(title: str, opts: Any) -> Reply:
        return ops(
            Op(id=step_hash(title), op="StepError", name=title, opts=opts, error={"name": "E", "message": "503"})
        )

    replies = iter([error("early"), failing("a", {"input": [7]}), failing("b", None)])
    either.apps.answers["f"] = lambda _call: next(replies)
    id = (await either.send("f.go"))["runs"][0]["id"]
    await either.quiet()

    async def inputs() -> list[Any]:
        rows = (await timeline(either, id))["rows"]
        return [
            (await either.get(f"/api/runs/{id}/rows/{row['id']}"))["input"]
            for row in rows
            if row["attempt"] is not None
        ]

    await either.post("/api/skip", {"duration": "35s"})
    await either.quiet()
    assert (await inputs())[0] is None  # it failed between steps
    await either.post("/api/skip", {"duration": "5m"})
    await either.quiet()
    assert [7] not in await inputs()
