"""``/api/runs``: list, show, cancel, run again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from tests.server.world import World, error, ops, ran, result, sleep


async def test_status_and_output_appear_together(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda _call: result({"ok": True})

    run = await world.run("f", {"x": 1})

    assert (run["status"], run["output"], run["error"], run["waiting"]) == ("completed", {"ok": True}, None, None)
    assert (run["function"], run["app"], run["event_name"]) == ("f", "shop", "f.go")
    assert run["event"]["data"] == {"x": 1}
    assert run["event"]["id"] == run["event_id"]
    assert run["ended_at"] is not None


async def test_a_failed_run_says_what_it_failed_with(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda _call: error("no such user")

    run = await world.run("f")

    assert (run["status"], run["reason"]) == ("failed", "function_error")
    assert (run["error"]["name"], run["error"]["message"]) == ("ValueError", "no such user")


async def test_an_output_of_the_server_says_what_it_failed_with(world: World) -> None:
    """The server's own errors are stored as ``{"error": …}`` (protocol 4.9.4)."""
    await world.register("f")
    world.apps.answers["f"] = lambda _call: ops(ran("a"), ran("b", "x" * 5_000_000))

    run = await world.run("f")

    assert run["error"]["name"] == "output_too_large"
    assert "4194304" in run["error"]["message"]


async def test_pages_hold_each_run_once_newest_first(world: World) -> None:
    await world.register("f")
    ids = [(await world.run("f"))["id"] for _ in range(5)]

    seen: list[str] = []
    cursor: str | None = None
    while True:
        page = await world.get("/api/runs", limit=2, **({"cursor": cursor} if cursor else {}))
        seen += [run["id"] for run in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break

    assert seen == ids[::-1]


async def test_runs_are_filtered(world: World) -> None:
    await world.register("f", "g")
    world.apps.answers["g"] = lambda _call: error("no")
    first = await world.run("f")
    await world.post("/api/skip", {"duration": "1h"})
    second = await world.run("g")

    async def found(**query: Any) -> list[str]:
        return [run["id"] for run in (await world.get("/api/runs", **query))["items"]]

    assert await found(function="f") == [first["id"]]
    assert await found(status="failed") == [second["id"]]
    assert await found(event_id=first["event_id"]) == [first["id"]]
    assert await found(event_name="g.go") == [second["id"]]
    assert await found(event_name="never") == []
    assert await found(queued_after="2026-01-01T00:30:00Z") == [second["id"]]
    assert await found(queued_before="2026-01-01T00:30:00Z", status="completed", function="f") == [first["id"]]
    assert await found(queued_before="2026-01-01T00:30:00Z", status="failed") == []


async def test_runs_are_found_by_the_name_of_a_common_event(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.lists.RARE_EVENTS_MAX", 1)
    await world.register("f", "g")
    ids = [(await world.run("f"))["id"] for _ in range(3)]
    await world.run("g")

    page = await world.get("/api/runs", event_name="f.go")

    assert [run["id"] for run in page["items"]] == ids[::-1]


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({"status": "bogus"}, 400, "invalid_query"),
        ({"function": "nope"}, 404, "function_not_found"),
        ({"event_id": "nope"}, 404, "event_not_found"),
        ({"cursor": "01kat3z6w00000000000000000"}, 400, "invalid_cursor"),
        ({"queued_before": "12"}, 400, "invalid_query"),
        ({"limit": -1}, 400, "invalid_query"),
        ({"functions": "f"}, 400, "invalid_query"),
    ],
)
async def test_a_bad_filter_is_refused(world: World, query: Any, status: int, code: str) -> None:
    await world.refused(status, code, "GET", "/api/runs", params=query)


@pytest.mark.parametrize("path", ["", "/timeline", "/rows/0.0.1", "/config", "/cancel", "/rerun"])
@pytest.mark.parametrize("id", ["nope", "01KDTQKG000000000000000000", "0" * 5000])
async def test_an_unknown_run_is_not_found(world: World, id: str, path: str) -> None:
    method = "POST" if path in ("/cancel", "/rerun") else "GET"

    await world.refused(404, "run_not_found", method, f"/api/runs/{id}{path}")


async def test_a_run_that_retention_may_have_removed_is_gone(world: World) -> None:
    old = "01K00000000000000000000000"  # of July 2025

    for path in ("", "/timeline", "/explain"):
        await world.refused(410, "beyond_retention", "GET", f"/api/runs/{old}{path}")


async def test_a_sleeping_run_is_cancelled(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda _call: ops(sleep("wait", "3d"))
    id = (await world.send("f.go"))["runs"][0]["id"]
    await world.signals.until(lambda: bool(world.signals.transitions))

    cancelled = await world.post(f"/api/runs/{id}/cancel")
    again = await world.post(f"/api/runs/{id}/cancel")

    assert cancelled["status"] == again["status"] == "cancelled"
    assert cancelled["reason"] == "api"


async def test_a_run_that_has_ended_cannot_be_cancelled(world: World) -> None:
    await world.register("f")
    run = await world.run("f")

    message = await world.refused(409, "run_has_ended", "POST", f"/api/runs/{run['id']}/cancel")

    assert "completed" in message


async def test_a_run_in_progress_is_cancelled_and_its_reply_is_kept_as_lost(world: World) -> None:
    await world.register("f")
    gate = asyncio.Event()

    async def late(_call: OutgoingCall) -> Reply:
        await gate.wait()
        return result("too late")

    world.apps.answers["f"] = late
    id = (await world.send("f.go"))["runs"][0]["id"]

    cancelled = await world.post(f"/api/runs/{id}/cancel")
    gate.set()
    await world.quiet()

    rows = (await world.get(f"/api/runs/{id}/timeline"))["rows"]
    assert cancelled["status"] == "cancelled"
    assert [row["status"] for row in rows] == ["lost"]


async def test_a_run_is_done_again_with_its_event(world: World) -> None:
    await world.register("f")
    world.apps.answers["f"] = lambda _call: error("not yet")
    run = await world.run("f", {"x": 1})
    world.apps.answers["f"] = lambda _call: result("now")

    started = await world.post(f"/api/runs/{run['id']}/rerun")
    again = await world.ended(started["id"])

    assert started["id"] != run["id"]
    assert (again["status"], again["output"], again["original_run_id"]) == ("completed", "now", run["id"])
    assert again["event_id"] == run["event_id"]
    assert again["event"]["data"] == {"x": 1}


async def test_a_run_of_a_removed_function_is_not_done_again(world: World) -> None:
    await world.register("f")
    run = await world.run("f")
    await world.register("other")

    await world.refused(409, "function_archived", "POST", f"/api/runs/{run['id']}/rerun")


async def test_a_body_where_none_belongs_is_refused(world: World) -> None:
    await world.register("f")
    run = await world.run("f")

    await world.refused(400, "invalid_body", "POST", f"/api/runs/{run['id']}/rerun", json={"from_step": "a"})
    await world.refused(400, "invalid_json", "POST", f"/api/runs/{run['id']}/cancel", content=b"{oops")


async def test_a_list_says_how_long_a_run_took_and_what_it_failed_with(either: World) -> None:
    await either.register("f", "g")
    either.apps.answers["g"] = lambda _call: error("no\n  such user" + "!" * 500)
    await either.run("f")
    await either.run("g")

    failed, completed = (await either.get("/api/runs"))["items"]

    assert failed["error"].startswith("ValueError: no such user!!!")
    assert len(failed["error"]) == 200
    assert (completed["error"], completed["function_name"]) == (None, "F")
    assert 0 <= completed["duration_ms"] < 10_000


async def test_runs_are_filtered_by_several_statuses_and_by_app(either: World) -> None:
    await either.register("f", "g", "asleep")
    await either.register("h", app="other")
    either.apps.answers["g"] = lambda _call: error("no")
    either.apps.answers["asleep"] = lambda _call: ops(sleep("wait", "3d"))
    done, failed, other = [(await either.run(slug))["id"] for slug in ("f", "g", "h")]
    asleep = (await either.send("asleep.go"))["runs"][0]["id"]
    await either.quiet()

    async def found(**query: Any) -> list[str]:
        return [run["id"] for run in (await either.get("/api/runs", **query))["items"]]

    assert await found(status="failed,running") == [asleep, failed]
    assert await found(status="completed,failed") == [other, failed, done]
    assert await found(status="queued,cancelled,skipped") == []
    assert await found(app="other") == [other]
    assert await found(app="shop", status="completed") == [done]
    assert await found(app="other", function="f") == []
    assert await found(ids=f"{done},{asleep},01KAT3Z6W00000000000000000") == [asleep, done]
    assert await found(ids=done, status="failed") == [done]
    assert await found(status="failed,running", limit=1) == [asleep]


async def test_a_search_that_was_broken_off_says_how_far_it_got_and_goes_on_from_there(
    either: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.store.lists.RUNS_SCANNED_MAX", 3)
    await either.register("f", "g", "h")
    first = (await either.run("g"))["id"]
    for _ in range(5):
        await either.run("f")

    monkeypatch.setattr("stepwell.store.lists.RARE_EVENTS_MAX", 0)
    seen: list[str] = []
    pages = 0
    cursor: dict[str, str] = {}
    while True:
        page = await either.get("/api/runs", event_name="g.go", **cursor)
        seen += [run["id"] for run in page["items"]]
        pages += 1
        assert (page["searched_until"] is None) == (page["next_cursor"] is None)
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}

    assert seen == [first]
    assert pages == 3


async def test_ids_and_statuses_that_are_none_are_refused(world: World) -> None:
    await world.refused(400, "invalid_query", "GET", "/api/runs", params={"status": "failed,nope"})
    await world.refused(400, "invalid_query", "GET", "/api/runs", params={"ids": "nope"})
    many = ",".join(["01KAT3Z6W00000000000000000"] * 101)
    await world.refused(400, "invalid_query", "GET", "/api/runs", params={"ids": many})


async def test_a_run_shows_the_configuration_that_it_began_with(either: World) -> None:
    await either.register("f", f={"retries": 3})
    run = await either.run("f")
    old = await either.get(f"/api/runs/{run['id']}/config")
    await either.register("f", f={"retries": 5})

    config = await either.get(f"/api/runs/{run['id']}/config")

    assert (old["is_current"], config["is_current"]) == (True, False)
    assert config["version"] == run["function_version"] == 1
    assert config["config"]["steps"]["step"]["retries"]["attempts"] == 3
