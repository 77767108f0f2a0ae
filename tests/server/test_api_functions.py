"""``/api/functions``, ``/api/apps`` and ``/api/skip``."""

from __future__ import annotations

from typing import Any

import pytest

from stepwell.limits import EVENT_BYTES_MAX
from tests.server.world import World, ops, result, sleep, steps_done

CRON = "0 3 * * *"


async def test_functions_are_listed_with_what_starts_them(world: World) -> None:
    triggers = [{"event": "a", "expression": "event.data.x > 1"}, {"cron": CRON}]
    await world.register("f", "g", f={"triggers": triggers, "retries": 2})

    f, g = (await world.get("/api/functions"))["items"]

    assert f["triggers"] == [
        {"event": "a", "expression": "event.data.x > 1", "cron": None, "next_at": None},
        {"event": None, "expression": None, "cron": CRON, "next_at": "2026-01-01T03:00:00.000Z"},
    ]
    assert (f["slug"], f["name"], f["app"], f["version"], f["max_attempts"]) == ("f", "F", "shop", 1, 3)
    assert (await world.get("/api/functions/g")).items() > g.items()


async def test_a_schedule_shows_its_next_time_after_a_tick(world: World) -> None:
    await world.register("f", f={"triggers": [{"cron": CRON}]})

    await world.post("/api/skip", {"duration": "30h"})

    function = await world.get("/api/functions/f")
    assert function["triggers"][0]["next_at"] == "2026-01-03T03:00:00.000Z"
    runs = (await world.get("/api/runs", function="f"))["items"]
    assert [run["queued_at"] for run in runs] == ["2026-01-02T03:00:00.000Z", "2026-01-01T03:00:00.000Z"]


async def test_removed_functions_are_listed_when_asked_for(world: World) -> None:
    await world.register("f", "g")
    await world.register("g")

    assert [view["slug"] for view in (await world.get("/api/functions"))["items"]] == ["g"]
    every = (await world.get("/api/functions", archived="true"))["items"]
    assert [(view["slug"], view["is_archived"]) for view in every] == [("f", True), ("g", False)]
    assert (await world.get("/api/functions/f"))["is_archived"]


async def test_functions_of_one_app(world: World) -> None:
    await world.register("f")
    await world.register("h", app="other")

    assert [view["slug"] for view in (await world.get("/api/functions", app="other"))["items"]] == ["h"]
    await world.refused(404, "app_not_found", "GET", "/api/functions", params={"app": "nope"})


async def test_a_function_is_invoked_whatever_its_triggers_say(world: World) -> None:
    await world.register("f", f={"triggers": []})
    world.apps.answers["f"] = lambda _call: result("done")

    started = await world.post("/api/functions/f/invoke", {"data": {"n": 7}, "user": {"id": 1}, "v": "2"})
    run = await world.ended(started["id"])

    assert run["output"] == "done"
    assert run["event"]["name"] == "inngest/function.invoked"
    assert run["event"]["data"]["n"] == 7
    assert run["event"]["data"]["_inngest"]["fn_id"] == "f"
    assert run["event"]["user"] == {"id": 1}
    assert run["event"]["v"] == "2"


async def test_an_invocation_needs_no_body(world: World) -> None:
    await world.register("f")

    started = await world.post("/api/functions/f/invoke")

    assert (await world.ended(started["id"]))["status"] == "completed"


@pytest.mark.parametrize(
    ("body", "code", "place"),
    [
        (b"{", "invalid_json", ""),
        (b"[]", "invalid_body", "$"),
        (b'{"data":[]}', "invalid_body", "$.data"),
        (b'{"data":"x"}', "invalid_body", "$.data"),
        (b'{"user":7}', "invalid_body", "$.user"),
        (b'{"data":{},"name":"x"}', "invalid_body", "name"),
        (b'{"data":{"a":' + b"[" * 900 + b"]" * 900 + b"}}", "invalid_body", "$.data"),
        (b'{"data":' + b'{"a":' * 100_000, "invalid_json", "nested"),
        (b'{"data":{"a":"\\ud800"}}', "invalid_json", ""),
        (b'{"data":{"a":"' + b"x" * EVENT_BYTES_MAX + b'"}}', "event_too_large", "3145728"),
    ],
)
async def test_a_bad_invocation_is_refused(world: World, body: bytes, code: str, place: str) -> None:
    await world.register("f")

    message = await world.refused(400, code, "POST", "/api/functions/f/invoke", content=body)

    assert place in message
    assert (await world.get("/api/runs"))["items"] == []


async def test_an_invocation_over_the_limit_is_refused_unread(world: World) -> None:
    await world.register("f")
    headers = {"Content-Length": str(10**12)}

    await world.refused(413, "body_too_large", "POST", "/api/functions/f/invoke", content=b"{}", headers=headers)


async def test_an_unknown_or_removed_function_is_not_found(world: World) -> None:
    await world.register("f")
    await world.register("g")

    await world.refused(404, "function_not_found", "GET", "/api/functions/nope")
    await world.refused(404, "function_not_found", "POST", "/api/functions/nope/invoke")
    await world.refused(404, "function_not_found", "POST", "/api/functions/f/invoke")


async def test_names_may_hold_slashes(world: World) -> None:
    await world.register("a/b", app="x/invoke")

    started = await world.post("/api/functions/a%2Fb/invoke")
    old = await world.post("/invoke/a%2Fb")
    await world.quiet()

    assert (await world.get(f"/api/runs/{started['id']}"))["function"] == "a/b"
    assert (await world.get(f"/v1/events/{old['id']}/runs"))["data"][0]["status"] == "Completed"
    assert (await world.get("/api/functions/a%2Fb"))["app"] == "x/invoke"
    assert [view["slug"] for view in await world.get("/v1/apps/x%2Finvoke/functions")] == ["a/b"]
    assert (await world.client.delete("/api/apps/x%2Finvoke")).status_code == 200


async def test_apps_are_listed_and_removed(world: World) -> None:
    await world.register("f", "g")
    await world.register("h", app="other")

    gone = await world.client.delete("/api/apps/shop")

    assert gone.json()["is_archived"]
    assert gone.json()["function_count"] == 0
    [left] = (await world.get("/api/apps"))["items"]
    assert (left["name"], left["url"], left["sdk"], left["framework"], left["function_count"], left["transport"]) == (
        "other",
        "http://localhost:3000/other",
        "py:v1",
        "flask",
        1,
        "http",
    )
    assert [view["slug"] for view in (await world.get("/api/functions"))["items"]] == ["h"]
    assert len((await world.get("/api/apps", archived="1"))["items"]) == 2
    await world.refused(404, "app_not_found", "DELETE", "/api/apps/shop")


async def test_runs_of_a_removed_app_go_on(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda call: result("end") if steps_done(call) else ops(sleep("wait", "1h"))
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.signals.until(lambda: bool(world.signals.transitions))

    await world.client.delete("/api/apps/shop")
    await world.post("/api/skip", {"duration": "2h"})

    assert (await world.ended(id))["output"] == "end"
    assert (await world.send("f.go"))["runs"] == []


async def test_a_skip_ends_sleeps_one_after_the_other(world: World) -> None:
    await world.register("f")
    durations = {0: "1d", 1: "2d"}

    def answer(call: Any) -> Any:
        count = len(steps_done(call))
        return ops(sleep(f"wait-{count}", durations[count])) if count in durations else result("end")

    world.apps.answers["f"] = answer
    id = (await world.send("f.go"))["runs"][0]["id"]

    moved = await world.post("/api/skip", {"duration": "3d"})

    run = await world.get(f"/api/runs/{id}")
    assert moved == {"now": "2026-01-04T00:00:00.000Z", "skipped_ms": 259_200_000}
    assert (run["status"], run["ended_at"]) == ("completed", "2026-01-04T00:00:00.000Z")


@pytest.mark.parametrize("duration", ["", "3x", "-1d", "1e400d", "400d", "9" * 5000 + "d"])
async def test_a_skip_by_what_is_no_duration_is_refused(world: World, duration: str) -> None:
    await world.refused(400, "invalid_duration", "POST", "/api/skip", json={"duration": duration})


@pytest.mark.parametrize("body", [{}, {"duration": 3}, {"duration": "1d", "to": "2027"}])
async def test_a_malformed_skip_is_refused(world: World, body: Any) -> None:
    await world.refused(400, "invalid_body", "POST", "/api/skip", json=body)


async def test_time_is_never_skipped_in_production(production: World) -> None:
    await production.refused(404, "no_such_path", "POST", "/api/skip", json={"duration": "3d"})


async def test_numbers_of_an_invocation_are_kept_as_they_were_given(either: World) -> None:
    await either.register("f")
    data = '{"id":12345678901234567890,"price":1.10'
    answer = await either.client.post("/api/functions/f/invoke", content=f'{{"data": {data} }} }}')
    assert answer.status_code == 200, answer.text

    event = (await either.client.get(f"/api/events/{answer.json()['event_id']}")).text

    assert data in event
    assert '"fn_id":"f"' in event
