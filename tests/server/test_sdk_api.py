"""What SDKs call: state of a run, events, runs, invoke, ``/dev`` (protocol 6.1 to 6.3, 12.1)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.ids import step_hash
from tests.server.world import World, error, ops, ran, result, sleep, steps_done

BIG = 123456789012345678901234567890
UNKNOWN = "01KAT3Z6W00000000000000000"


@asynccontextmanager
async def in_its_second_call(world: World) -> AsyncGenerator[str]:
    """Have a run whose step ``a`` is done and that is being called; yields its id."""
    await world.register("f")
    called, gate = asyncio.Event(), asyncio.Event()

    async def answer(call: OutgoingCall) -> Reply:
        if not steps_done(call):
            return ops(ran("a", 1))
        called.set()
        await gate.wait()
        return result("end")

    world.apps.answers["f"] = answer
    id = (await world.send("f.go", {"x": 1}, id="mine"))["runs"][0]["id"]
    await called.wait()
    yield id
    gate.set()
    await world.quiet()


async def refused(world: World, status: int, method: str, path: str, **request: Any) -> str:
    """Expect an error in the shape that SDKs parse."""
    answer = await world.client.request(method, path, **request)
    body = answer.json()
    assert (answer.status_code, body["status"], body["data"]) == (status, status, None)
    assert isinstance(body["error"], str)
    return body["error"]


async def test_an_sdk_fetches_the_state_that_its_call_did_not_carry(world: World) -> None:
    async with in_its_second_call(world) as id:
        assert await world.get(f"/v0/runs/{id}/actions") == {step_hash("a"): {"data": 1}}
        [event] = await world.get(f"/v0/runs/{id}/batch")

    assert (event["name"], event["id"], event["data"]) == ("f.go", "mine", {"x": 1})


@pytest.mark.parametrize("path", ["actions", "batch"])
async def test_the_state_of_a_run_that_has_ended_is_gone(world: World, path: str) -> None:
    await world.register("f")
    run = await world.run("f")

    await refused(world, 410, "GET", f"/v0/runs/{run['id']}/{path}")
    await refused(world, 404, "GET", f"/v0/runs/{UNKNOWN}/{path}")
    await refused(world, 400, "GET", f"/v0/runs/nope/{path}")


@pytest.mark.parametrize(("version", "status"), [("v0", 204), ("v1", 200)])
async def test_a_run_is_cancelled_and_again_without_an_error(world: World, version: str, status: int) -> None:
    async with in_its_second_call(world) as id:
        answers = [await world.client.delete(f"/{version}/runs/{id}") for _ in range(2)]

    run = await world.get(f"/v1/runs/{id}")
    assert [answer.status_code for answer in answers] == [status, status]
    assert (run["data"]["status"], run["data"]["output"]) == ("Cancelled", {})
    await refused(world, 404, "DELETE", f"/{version}/runs/{UNKNOWN}")
    await refused(world, 400, "DELETE", f"/{version}/runs/nope")


async def test_events_are_listed_and_shown_with_their_data(world: World) -> None:
    first = await world.send("a", {"big": BIG}, id="mine", user={"id": 1})
    second = await world.send("b")

    listed = await world.get("/v1/events")
    shown = await world.get(f"/v1/events/{first['id']}")

    assert [event["internal_id"] for event in listed["data"]] == [second["id"], first["id"]]
    assert listed["metadata"]["fetched_at"]
    data = shown["data"]
    assert (data["internal_id"], data["id"], data["name"], data["data"], data["user"], data["ts"]) == (
        first["id"],
        "mine",
        "a",
        {"big": BIG},
        {"id": 1},
        1_767_225_600_000,
    )
    assert data["received_at"] == "2026-01-01T00:00:00.000Z"


async def test_events_are_paged_and_filtered(world: World) -> None:
    ids = [(await world.send(name))["id"] for name in ("a", "b", "a")]

    async def found(**query: Any) -> list[str]:
        return [event["internal_id"] for event in (await world.get("/v1/events", **query))["data"]]

    assert await found(limit=2) == [ids[2], ids[1]]
    assert await found(limit=2, cursor=ids[1]) == [ids[0]]
    assert await found(name="b") == [ids[1]]
    assert await found(received_after="2026-01-02T00:00:00Z") == []
    assert await found(received_before="2026-01-02T00:00:00Z", cursor="", name="") == ids[::-1]


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "101"}, {"limit": "x"}, {"cursor": "x"}, {"received_after": "x"}]
)
async def test_a_bad_query_is_refused(world: World, query: Any) -> None:
    await refused(world, 400, "GET", "/v1/events", params=query)


async def test_users_poll_the_runs_of_the_id_that_sending_gave(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda _call: result({"ok": True})
    sent = await world.client.post("/e/key", json={"name": "f.go"})
    [id] = sent.json()["ids"]
    await world.quiet()

    [run] = (await world.get(f"/v1/events/{id}/runs"))["data"]

    assert run["status"] == "Completed"
    assert run["output"] == {"ok": True}
    assert run["event_id"] == id
    assert run["run_started_at"]
    assert run["ended_at"]
    assert run["function_id"]
    assert run["environment_id"]
    assert {"batch_id", "original_run_id", "cron"}.isdisjoint(run)


async def test_a_run_in_progress_has_no_output_yet(world: World) -> None:
    async with in_its_second_call(world) as id:
        run = (await world.get(f"/v1/runs/{id}"))["data"]

    assert (run["status"], run["ended_at"]) == ("Running", None)
    assert "output" not in run


async def test_a_failed_run_has_the_error_as_its_output(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda _call: error("no")
    run = await world.run("f")

    shown = (await world.get(f"/v1/runs/{run['id']}"))["data"]

    assert (shown["status"], shown["output"]["message"]) == ("Failed", "no")


async def test_skipped_runs_are_left_out_and_reruns_name_their_original(world: World) -> None:
    await world.register("f")
    first = await world.send("f.go", id="once")
    second = await world.send("f.go", id="once")
    await world.quiet()
    again = await world.post(f"/api/runs/{first['runs'][0]['id']}/rerun")
    await world.quiet()

    assert (await world.get(f"/v1/events/{second['id']}/runs"))["data"] == []
    runs = (await world.get(f"/v1/events/{first['id']}/runs"))["data"]
    assert [(run["run_id"], run.get("original_run_id")) for run in runs] == [
        (again["id"], first["runs"][0]["id"]),
        (first["runs"][0]["id"], None),
    ]


async def test_a_run_by_schedule_says_which(world: World) -> None:
    await world.register("f", f={"triggers": [{"cron": "0 3 * * *"}]})
    await world.post("/api/skip", {"duration": "4h"})
    [run] = (await world.get("/api/runs"))["items"]

    shown = (await world.get(f"/v1/runs/{run['id']}"))["data"]

    assert shown["cron"] == "0 3 * * *"


async def test_the_jobs_of_a_run_are_listed(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda _call: ops(sleep("wait", "1h"))
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.quiet()

    jobs = (await world.get(f"/v1/runs/{id}/jobs"))["data"]

    assert jobs == [{"at": "2026-01-01T01:00:00.000Z", "position": 0, "kind": "timer", "attempt": 0}]


@pytest.mark.parametrize("path", ["/v1/events/x", "/v1/events/x/runs", "/v1/runs/x", "/v1/runs/x/jobs"])
async def test_unknown_ids_are_not_found(world: World, path: str) -> None:
    await refused(world, 404, "GET", path)
    await refused(world, 404, "GET", path.replace("/x", f"/{UNKNOWN}"))


async def test_the_functions_of_an_app(world: World) -> None:
    await world.register("f", f={"retries": 2})

    [function] = await world.get("/v1/apps/shop/functions")

    assert (function["slug"], function["name"], function["triggers"]) == ("f", "F", [{"event": "f.go"}])
    await refused(world, 404, "GET", "/v1/apps/nope/functions")


async def test_a_function_is_invoked_by_an_event_without_a_name(world: World) -> None:
    await world.register("f")

    answer = await world.post("/invoke/f", {"data": {"n": 1}, "user": {}, "ts": 5})
    await world.quiet()

    [run] = (await world.get(f"/v1/events/{answer['id']}/runs"))["data"]
    assert answer["status"] == 200
    assert run["status"] == "Completed"


@pytest.mark.parametrize(
    ("slug", "body", "status"),
    [
        ("nope", b"{}", 404),
        ("f", b"{", 400),
        ("f", b"[]", 400),
        ("f", b'{"data":[]}', 400),
        ("f", b'{"data":' + b'{"a":' * 100_000, 400),
    ],
)
async def test_a_bad_invocation_is_refused(world: World, slug: str, body: bytes, status: int) -> None:
    await world.register("f")

    await refused(world, status, "POST", f"/invoke/{slug}", content=body)


async def test_an_app_is_removed_by_its_url(world: World) -> None:
    await world.register("f")

    await refused(world, 404, "DELETE", "/fn/remove", params={"url": "http://localhost:3000/other"})
    await refused(world, 404, "DELETE", "/fn/remove")
    await refused(world, 400, "DELETE", "/fn/remove", params={"url": "http://[::1:x/"})
    answer = await world.client.delete("/fn/remove", params={"url": "http://127.0.0.1:3000/shop?x=1"})

    assert answer.status_code == 200
    assert (await world.get("/api/apps"))["items"] == []


async def test_dev_shows_what_test_suites_look_for(world: World) -> None:
    await world.register("f", f={"retries": 2})

    dev = await world.get("/dev")

    [function] = dev["functions"]
    assert (function["slug"], function["name"], function["triggers"]) == ("f", "F", [{"event": "f.go"}])
    assert function["id"]
    assert function["steps"][0]["retries"] == 2
    [handler] = dev["handlers"]
    assert handler["functions"] == ["f"]
    assert (handler["sdk"]["app"], handler["sdk"]["language"], handler["sdk"]["version"]) == ("shop", "py", "1")


async def test_a_production_server_is_no_dev_server(production: World) -> None:
    assert (await production.client.get("/dev")).status_code == 404
