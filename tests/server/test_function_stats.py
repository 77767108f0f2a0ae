"""``/api/functions/…``: how functions do; and names of events."""

from __future__ import annotations

import asyncio

import pytest

from stepwell.engine.core.model import Reply
from stepwell.engine.transport import OutgoingCall
from tests.server.world import World, error, ops, result, sleep, steps_done


async def test_functions_are_listed_with_how_they_did(either: World) -> None:
    await either.register("f", "g", "idle")
    either.apps.answers["g"] = lambda _call: error("no such user")
    await either.run("f")
    failed = await either.run("g")

    stats = await either.get("/api/functions/stats")

    f, g, idle = stats["items"]
    assert [(one["slug"], one["runs"], one["failed"]) for one in stats["items"]] == [
        ("f", 1, 0),
        ("g", 1, 1),
        ("idle", 0, 0),
    ]
    assert f["p50_ms"] == f["p95_ms"] >= 0
    assert (g["p50_ms"], idle["p95_ms"]) == (None, None)
    assert (f["last_failed"], idle["last_failed"]) == (None, None)
    assert g["last_failed"] == {"run_id": failed["id"], "at": failed["ended_at"], "error": "ValueError: no such user"}
    assert (len(g["buckets"]), g["buckets"][-1], f["buckets"][-1]) == (24, [0, 1], [1, 0])
    assert stats["is_partial"] is False


async def test_calls_in_progress_and_calls_that_wait_are_counted(either: World) -> None:
    await either.register("f", f={"concurrency": [{"limit": 1}]})
    called, gate = asyncio.Event(), asyncio.Event()

    async def slow(_call: OutgoingCall) -> Reply:
        called.set()
        await gate.wait()
        return result(None)

    either.apps.answers["f"] = slow
    ids = [(await either.send("f.go"))["runs"][0]["id"] for _ in range(3)]
    await called.wait()

    [listed] = (await either.get("/api/functions/stats"))["items"]
    one = await either.get("/api/functions/f/stats")
    gate.set()
    for id in ids:
        await either.ended(id)
    after = await either.get("/api/functions/f/stats")

    assert (listed["running"], listed["backlog"]) == (one["running"], one["backlog"]) == (1, 2)
    assert one["limits"] == [{"key": None, "value": None, "of": "steps", "scope": "fn", "limit": 1, "used": 1}]
    assert (after["running"], after["backlog"], after["limits"][0]["used"]) == (0, 0, 0)


async def test_what_waits_and_what_is_in_progress_is_shown_over_time(either: World) -> None:
    await either.register("f", "g", f={"concurrency": [{"limit": 2}]})
    gate = asyncio.Event()

    async def slow(_call: OutgoingCall) -> Reply:
        await gate.wait()
        return result(None)

    either.apps.answers["f"] = slow
    ids = [(await either.send("f.go"))["runs"][0]["id"] for _ in range(5)]
    await either.signals.until(lambda: len(either.apps.calls) == 2)
    await either.engine.sampler.sample_once()
    gate.set()
    for id in ids:
        await either.ended(id)

    unwritten = (await either.get("/api/functions/f/stats"))["buckets"]
    await either.post("/api/skip", {"duration": "40m"})
    await either.engine.sampler.sample_once()
    written = (await either.get("/api/functions/f/stats"))["buckets"]
    await either.post("/api/skip", {"duration": "40m"})
    await either.engine.sampler.sample_once()
    an_hour_ago = (await either.get("/api/functions/f/stats", hours=2, buckets=4))["buckets"]
    narrow = (await either.get("/api/functions/f/stats", hours=2, buckets=480))["buckets"]
    of_another = (await either.get("/api/functions/g/stats"))["buckets"]

    assert work(unwritten) == [(47, 3, 2)]
    assert work(written) == [(46, 3, 2)]
    assert work(an_hour_ago) == [(1, 3, 2)]
    assert [one[1:] for one in work(narrow)] == [(3, 2)] * 4  # a minute
    assert work(of_another) == []


def work(buckets: list[dict[str, int]]) -> list[tuple[int, int, int]]:
    """Return the buckets in which anything waited, or was in progress."""
    return [
        (at, bucket["backlog"], bucket["running"])
        for at, bucket in enumerate(buckets)
        if bucket["backlog"] or bucket["running"]
    ]


async def test_runs_in_progress_are_shown_where_a_limit_counts_them(either: World) -> None:
    await either.register("f", "g", f={"concurrency": {"fn": [{"limit": 3}]}})
    for slug in "fg":
        either.apps.answers[slug] = lambda call: result(1) if steps_done(call) else ops(sleep("wait", "1h"))
        await either.send(f"{slug}.go")
        await either.quiet()

    f = await either.get("/api/functions/f/stats")
    await either.engine.sampler.sample_once()
    seen = await either.get("/api/functions/f/stats")
    g = await either.get("/api/functions/g/stats")

    assert [one["buckets"][-1]["runs_running"] for one in (f, seen, g)] == [1, 1, 0]
    assert [one["buckets"][-1]["running"] for one in (f, seen, g)] == [0, 0, 0]


async def test_each_value_of_a_key_has_its_own_use_of_a_limit(either: World) -> None:
    await either.register("f", f={"concurrency": [{"limit": 2, "key": "event.data.user"}]})
    gate, begun = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(_call: OutgoingCall) -> Reply:
        begun.release()
        await gate.wait()
        return result(None)

    either.apps.answers["f"] = slow
    ids = [(await either.send("f.go", {"user": user}))["runs"][0]["id"] for user in "aab"]
    for _ in ids:
        await begun.acquire()

    limits = (await either.get("/api/functions/f/stats"))["limits"]
    gate.set()
    for id in ids:
        await either.ended(id)

    assert [(one["key"], one["limit"], one["used"]) for one in limits] == [
        ("event.data.user", 2, 2),
        ("event.data.user", 2, 1),
    ]
    assert len({one["value"] for one in limits}) == 2


async def test_a_function_is_shown_over_time(world: World) -> None:
    await world.register("f", "g")
    world.apps.answers["f"] = lambda call: result(1) if steps_done(call) else ops(sleep("wait", "10s"))
    world.apps.answers["g"] = lambda _call: error("no")
    await world.send("f.go")
    await world.post("/api/skip", {"duration": "90m"})
    await world.send("f.go")
    await world.post("/api/skip", {"duration": "1m"})
    await world.run("g")

    stats = await world.get("/api/functions/f/stats", hours=2, buckets=2)

    assert [(one["completed"], one["failed"], one["p50_ms"], one["p95_ms"]) for one in stats["buckets"]] == [
        (1, 0, 10_000, 10_000),
        (1, 0, 10_000, 10_000),
    ]
    assert stats["bucket_ms"] == 3_600_000
    assert stats["counted_from"] is None
    await world.refused(404, "function_not_found", "GET", "/api/functions/nope/stats")


async def test_failures_are_grouped_by_their_errors(either: World) -> None:
    await either.register("f", "g")
    messages = iter(["no user 1", "no answer", "no user 23"])
    either.apps.answers["f"] = lambda _call: error(next(messages))
    either.apps.answers["g"] = lambda _call: error("another function's")
    first, second, third = [await either.run("f") for _ in range(3)]
    await either.run("g")

    failures = await either.get("/api/functions/f/failures")

    users, answers = failures["groups"]
    assert (users["error"], users["count"]) == ("ValueError: no user 23", 2)
    assert users["run_ids"] == [third["id"], first["id"]]
    assert (users["first_at"], users["last_at"]) == (first["ended_at"], third["ended_at"])
    assert (answers["error"], answers["run_ids"]) == ("ValueError: no answer", [second["id"]])
    assert users["fingerprint"] != answers["fingerprint"]
    assert failures["counted_from"] is None


async def test_failures_that_were_left_out_are_said(either: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.counts.FAILURES_READ_MAX", 2)
    await either.register("f")
    either.apps.answers["f"] = lambda _call: error("no")
    runs = [await either.run("f") for _ in range(3)]

    failures = await either.get("/api/functions/f/failures")

    assert failures["groups"][0]["count"] == 2
    assert failures["counted_from"] == runs[1]["queued_at"]


async def test_a_function_shows_its_configuration_as_it_was_registered(world: World) -> None:
    await world.register("f", f={"retries": 2, "something": {"of": "theirs"}})

    function = await world.get("/api/functions/f")

    assert function["config"]["steps"]["step"]["retries"] == {"attempts": 2}
    assert function["config"]["something"] == {"of": "theirs"}


async def test_names_of_events_come_with_an_example_and_those_of_triggers_after_them(either: World) -> None:
    await either.register("f", "g", "never", g={"triggers": [{"event": "f.*"}, {"cron": "0 3 * * *"}]})
    await either.send("other", {"n": 1})
    await either.send("f.go", {"n": 2})
    await either.send("f.go", {"n": 3})
    await either.send("large", {"text": "x" * 20_000})
    await either.quiet()

    names = (await either.get("/api/events/names"))["items"]

    assert [(one["name"], one["example"], one["functions"]) for one in names] == [
        ("large", None, []),
        ("f.go", {"n": 3}, ["f", "g"]),
        ("other", {"n": 1}, []),
        ("never.go", None, ["never"]),
    ]
    assert [one["last_at"] is None for one in names] == [False, False, False, True]
    assert [one["name"] for one in (await either.get("/api/events/names", limit=2))["items"]] == ["large", "f.go"]
