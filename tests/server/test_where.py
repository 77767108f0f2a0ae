"""``where``: searching runs and events by a condition."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from stepwell.engine.core.model import RunStatus
from stepwell.server.api.where import EVENT_NAMES, RUN_NAMES, read_where
from stepwell.server.context import ApiError
from tests.server.world import World, error, result


async def found(world: World, where: str, path: str = "/api/runs", **query: Any) -> list[str]:
    return [item["id"] for item in (await world.get(path, where=where, **query))["items"]]


@pytest.fixture
async def shop(either: World, monkeypatch: pytest.MonkeyPatch) -> tuple[World, dict[str, str]]:
    """A server with three runs: a good one, a free one, and one that failed. Searches come to their end."""
    monkeypatch.setattr("stepwell.server.api.search.WHERE_SEARCH_MS", 10_000)
    await either.register("f", "g")
    either.apps.answers["f"] = lambda call: result({"total": 7})
    either.apps.answers["g"] = lambda _call: error("Card was DECLINED")
    good = await either.run("f", {"user_id": 42, "plan": "pro", "note": 'say "hi"'})
    free = await either.run("f", {"user_id": 43, "plan": "free"})
    bad = await either.run("g", {"user_id": 42, "plan": "pro"})
    return either, {good["id"]: "good", free["id"]: "free", bad["id"]: "bad"}


@pytest.mark.parametrize(
    ("where", "names"),
    [
        ("event.data.user_id == 42", "bad good"),
        ("data.user_id = 42", "bad good"),
        ("42 == data.user_id && data.plan != 'free'", "bad good"),
        ("data.user_id = 43.0", "free"),
        ("""data.note = 'say "hi"'""", "good"),
        ("data['plan'] = 'free'", "free"),
        ("event.name == 'g.go'", "bad"),
        ("data.user_id >= 43", "free"),
        ("data.nowhere = null", "bad free good"),
        ("data.nowhere.at.all = 1", ""),
        ("error: declined", "bad"),
        ('"was declined"', "bad"),
        ("error.contains('DECLINED')", "bad"),
        ("error == null", "free good"),
        ("output.total == 7", "free good"),
        ("run.status == 'failed'", "bad"),
        ("run.status == 'failed' && run.status == 'completed'", ""),
        ("run.status in ['queued', 'completed'] && run.function == 'f' && run.app == 'shop'", "free good"),
        ("run.event_name == 'f.go' && run.duration_ms >= 0 && run.ended_at >= run.started_at", "free good"),
    ],
)
async def test_runs_are_found_by_a_condition(shop: tuple[World, dict[str, str]], where: str, names: str) -> None:
    world, named = shop

    assert [named[id] for id in await found(world, where)] == names.split()


async def test_a_condition_goes_with_other_filters_and_pages(shop: tuple[World, dict[str, str]]) -> None:
    world, named = shop

    assert [named[id] for id in await found(world, "data.user_id = 42", status="completed")] == ["good"]
    assert [named[id] for id in await found(world, "run.status == 'failed'", status="completed")] == []
    page = await world.get("/api/runs", where="data.user_id = 42", limit=1)
    rest = await world.get("/api/runs", where="data.user_id = 42", limit=1, cursor=page["next_cursor"])
    assert [named[page["items"][0]["id"]], named[rest["items"][0]["id"]]] == ["bad", "good"]
    assert rest["next_cursor"] is None
    assert page["searched_until"] is rest["searched_until"] is None


async def test_events_are_found_by_a_condition(either: World) -> None:
    ids = [(await either.send("a", {"n": number}))["id"] for number in range(4)]

    assert await found(either, "data.n > 1", "/api/events") == [ids[3], ids[2]]
    assert await found(either, "data.n = 1", "/api/events") == [ids[1]]
    assert await found(either, "data.n < 3", "/api/events", limit=1) == [ids[2]]
    assert await found(either, "event.name == 'b'", "/api/events") == []


async def test_a_search_stops_when_its_time_is_up_and_goes_on_from_there(
    either: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.server.api.search.WHERE_SEARCH_MS", -1)
    monkeypatch.setattr("stepwell.server.api.search.WHERE_ROWS_MAX", 1)
    await either.register("f")
    ids = [(await either.run("f", {"n": number}))["id"] for number in range(4)]
    events = [item["id"] for item in (await either.get("/api/events"))["items"]]

    async def pages(path: str, where: str) -> list[list[str]]:
        seen: list[list[str]] = []
        cursor: dict[str, str] = {}
        while True:
            page = await either.get(path, where=where, limit=1, **cursor)
            seen.append([item["id"] for item in page["items"]])
            if page["next_cursor"] is None:
                assert page["searched_until"] is None
                return seen
            assert page["items"] or page["searched_until"] is not None
            cursor = {"cursor": page["next_cursor"]}

    runs = await pages("/api/runs", "data.n >= 0 && data.n < 2")
    assert [id for page in runs for id in page] == [ids[1], ids[0]]
    assert runs[0] == []
    seen = await pages("/api/events", "data.n >= 0 && data.n < 2")
    assert [id for page in seen for id in page] == events[2:]
    assert seen[0] == []


@pytest.mark.parametrize("path", ["/api/runs", "/api/events"])
async def test_the_clock_is_looked_at_between_few_rows(
    either: World, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await either.register("f")
    for number in range(6):
        await either.run("f", {"n": number})
    monkeypatch.setattr("stepwell.server.api.search.WHERE_SEARCH_MS", -1)
    monkeypatch.setattr("stepwell.server.api.search.WHERE_SCANNED_MAX", 3)

    page = await either.get(path, where="data.n = 0")

    assert page["items"] == []
    assert page["searched_until"] is not None


async def test_a_search_that_takes_long_holds_nobody_up(either: World) -> None:
    await either.register("f")
    for number in range(30):
        await either.send("f.go", {"n": number, "items": list(range(100))})
    await either.quiet()
    each = "event.data.items.all(x, event.data.items.all(y, event.data.items.all(z, x + y + z >= 0)))"
    longest_s, is_done = 0.0, False

    async def measure() -> None:
        nonlocal longest_s
        while not is_done:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.thread_time() - began)

    measuring = asyncio.create_task(measure())
    page = await either.get("/api/runs", where=each)
    is_done = True
    await measuring

    assert page["searched_until"] is not None
    assert longest_s < 0.2


async def test_a_number_with_more_digits_than_json_holds_is_found(either: World) -> None:
    await either.register("f")
    run = await either.run("f", {"user": 1182736451827364512, "note": "1182736451827364512"})

    for where in (
        "data.user = 1182736451827364512",
        "event.data.user == 1182736451827364512 && data.note = '1182736451827364512'",
        "data.user = 1182736451827364600",
    ):
        assert await found(either, where) == [run["id"]]
        assert await found(either, where, "/api/events") == [run["event_id"]]


@pytest.mark.parametrize("text", ['"' + '\\"' * 30_000, "'" * 60_001, "=" * 60_000, "data." * 12_000, "9" * 60_000])
def test_nonsense_is_refused_at_once(text: str) -> None:
    began = time.process_time()

    with pytest.raises(ApiError):
        read_where(text, RUN_NAMES)

    assert time.process_time() - began < 0.5


def test_reading_a_condition_does_not_take_long_whatever_is_in_it() -> None:
    loop = "X.all(x, X.all(y, X.all(z, X.all(w, x > 0))))".replace("X", "[1,2,3,4,5,6,7,8,9]")
    constant = " && ".join([loop] * 70)
    sought = " && ".join(f"event.data.x{number} == {loop}" for number in range(60))

    for text in (constant, sought):
        began = time.process_time()
        where = read_where(text, RUN_NAMES)
        assert time.process_time() - began < 0.5
        assert where is not None
        assert where.statuses == set(RunStatus)


@pytest.mark.parametrize(
    "where", ["event.data.", "nope == 1", "event.data.x ==== 1", "data.x = = 1", "(" * 50 + "1", "x" * 10_001]
)
@pytest.mark.parametrize("path", ["/api/runs", "/api/events"])
async def test_a_condition_with_a_mistake_is_refused_with_its_place(world: World, path: str, where: str) -> None:
    message = await world.refused(400, "invalid_expression", "GET", path, params={"where": where})

    assert message.endswith("$.where")


async def test_what_events_do_not_have_is_refused(world: World) -> None:
    message = await world.refused(400, "invalid_expression", "GET", "/api/events", params={"where": "output == 1"})

    assert "line 1, column 1" in message


@pytest.mark.parametrize(
    ("where", "needles"),
    [
        ("event.data.a == 1", (b'"a":1',)),
        ("event.data.a == 1.0 && 'x\"y' == event.name", (b'"a":1', b'"name":"x\\"y"')),
        ("event.data.a == -2", (b'"a":-2',)),
        ("event.data.a == 1e21 && event.data.b == true", (b'"a":1e+21', b'"b":true')),
        ('event.data["b c"] == "ü"', ('"b c":"ü"'.encode(),)),
        ("event.data.a == null", ()),
        ("event.data.a == event.data.b", ()),
        ("event.data.a == 1 || event.data.b == 1", ()),
        ("event.data.a != 1", ()),
        ("event.data.a == [1]", ()),
        ("event.data.a == '" + "x" * 2_000 + "'", ()),
    ],
)
def test_what_the_body_must_hold_is_taken_out_of_a_condition(where: str, needles: tuple[bytes, ...]) -> None:
    read = read_where(where, EVENT_NAMES)

    assert read is not None
    assert read.needles == needles


@pytest.mark.parametrize(
    ("where", "statuses"),
    [
        ("event.data.a == 1", set(RunStatus)),
        ("error: x", {RunStatus.FAILED}),
        ("error != null", {RunStatus.FAILED}),
        ("error.contains('x') || event.data.a == 1", set(RunStatus)),
        ("run.status != 'completed'", set(RunStatus) - {RunStatus.COMPLETED}),
        ("run.status == 'queued' && error: x", None),
        ("run.status == 'queued' && error == 'x'", set()),
    ],
)
def test_the_statuses_that_can_match_are_taken_out_of_a_condition(where: str, statuses: set[RunStatus] | None) -> None:
    if statuses is None:
        with pytest.raises(ApiError):
            read_where(where, RUN_NAMES)
        return

    read = read_where(where, RUN_NAMES)

    assert read is not None
    assert read.statuses == statuses


def test_no_condition_is_none() -> None:
    assert read_where(None, RUN_NAMES) is None
    assert read_where("  ", RUN_NAMES) is None
