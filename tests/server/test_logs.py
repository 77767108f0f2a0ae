"""Lines that an app sends while it works, and how they are read."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

import pytest

from stepwell.limits import LOG_LINE_BYTES_MAX, LOG_LINES_PER_REQUEST_MAX
from stepwell.protocol.duration import time_text
from stepwell.store.request import Request
from tests.server.world import T0, World


def line(run_id: str, message: str = "hello", **more: Any) -> dict[str, Any]:
    return {"run_id": run_id, "at": 1, "message": message, "logger": "shop", **more}


async def started(world: World) -> str:
    """Return a run that has ended just now."""
    await world.register("pay")
    return (await world.run("pay"))["id"]


async def write(world: World, *lines: Any) -> Any:
    return await world.post("/v1/runs/logs", {"lines": list(lines)})


async def test_a_line_is_read_with_its_step_and_its_attempt(world: World) -> None:
    run_id = await started(world)
    sent = line(
        run_id, "no stock", level=30, attempt_id="0.0.1", attempt=1, step_id="ab12", step="reserve", fields={"order": 1}
    )

    answer = await write(world, sent)

    assert answer == {"unknown": 0, "dropped": 0}
    page = await world.get("/api/logs", run_id=run_id)
    [found] = page["items"]
    assert page["next_cursor"] is None
    assert page["dropped"] == 0
    assert found == {
        "id": found["id"],
        "at": "1970-01-01T00:00:00.001Z",
        "run_id": run_id,
        "function": "pay",
        "step_id": "ab12",
        "step": "reserve",
        "attempt_id": "0.0.1",
        "attempt": 1,
        "level": "warning",
        "logger": "shop",
        "message": "no stock",
        "fields": {"order": 1},
        "is_replayed": False,
    }


async def test_those_who_watch_are_told_of_lines_once_they_are_stored(world: World) -> None:
    run_id = await started(world)

    await write(world, line(run_id), line("01KAT3ZF00000000000000000Z"))

    [told] = world.signals.lines
    assert (told.run_id, told.message) == (run_id, "hello")
    assert told.function_id in world.engine.registry.by_id
    assert told.id == (await world.get("/api/logs"))["items"][0]["id"]


async def test_lines_are_in_the_order_in_which_they_were_written(world: World) -> None:
    run_id = await started(world)

    await write(world, *(line(run_id, str(number)) for number in range(5)))

    of_run = await world.get("/api/logs", run_id=run_id, limit=3)
    rest = await world.get("/api/logs", run_id=run_id, after=of_run["next_cursor"])
    newest = await world.get("/api/logs", limit=2)
    assert [one["message"] for one in (*of_run["items"], *rest["items"])] == list("01234")
    assert [one["message"] for one in newest["items"]] == list("43")


async def test_lines_are_filtered(world: World) -> None:
    run_id = await started(world)
    await write(
        world,
        line(run_id, "quiet", level=10),
        line(run_id, "Loud", level=45, step_id="s"),
        line(run_id, "again", is_replayed=True),
    )

    async def found(**query: Any) -> list[str]:
        return [one["message"] for one in (await world.get("/api/logs", **query))["items"]]

    assert await found(run_id=run_id) == ["quiet", "Loud"]
    assert await found(run_id=run_id, replayed=True) == ["quiet", "Loud", "again"]
    assert await found(level="error") == ["Loud"]
    assert await found(text="loud") == ["Loud"]
    assert await found(function="pay", step_id="s") == ["Loud"]
    assert await found(until="2001-01-01T00:00:00Z") == []
    assert await found(**{"from": "2001-01-01T00:00:00Z"}) == ["Loud", "quiet"]


async def test_lines_of_unknown_runs_are_counted_and_forgotten(world: World) -> None:
    run_id = await started(world)

    answer = await write(world, line("01KAT3ZF00000000000000000Z"), line("no id\0"), line(run_id))

    assert answer == {"unknown": 2, "dropped": 0}
    assert len((await world.get("/api/logs"))["items"]) == 1


async def test_what_cannot_be_kept_is_cut_and_says_so(world: World) -> None:
    run_id = await started(world)

    await write(
        world,
        line(run_id, "x" * (LOG_LINE_BYTES_MAX + 5), fields={"k": "y" * LOG_LINE_BYTES_MAX}, logger="l" * 1_000),
        line(run_id, "a\0b", step="s\0", at=1 << 60, level=1_000, attempt=1 << 40, attempt_id="\0", fields=[1]),
        line(run_id, "é" * LOG_LINE_BYTES_MAX),
    )

    long, odd, wide = (await world.get("/api/logs", run_id=run_id))["items"]
    assert long["message"] == "x" * LOG_LINE_BYTES_MAX + "… (5 more bytes)"
    assert "bytes of fields" in long["fields"]["stepwell.left_out"]
    assert len(long["logger"]) < 1_000
    assert (odd["message"], odd["step"], odd["level"]) == ("a␀b", "s␀", "critical")
    assert (odd["attempt"], odd["attempt_id"], odd["fields"]) == (None, None, None)
    assert odd["at"] == time_text(T0)  # an app whose clock is ahead writes no lines later than now
    assert wide["message"].endswith(f"… ({LOG_LINE_BYTES_MAX} more bytes)")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b'{"lines":[{"run_id":1}]}', 400),
        (b'{"lines":[{"run_id":"a","at":1,"message":"m","fields":' + b"[" * 100_000, 400),
        (b'{"lines":[{"run_id":"a","at":1,"message":"\xff"}]}', 400),
        (b'{"lines":[' + b'{"run_id":"a","at":1,"message":""},' * LOG_LINES_PER_REQUEST_MAX
         + b'{"run_id":"a","at":1,"message":""}]}', 413),
        (b" " * (9 << 20), 413),
    ],
)  # fmt: skip
async def test_what_holds_no_lines_is_refused(world: World, body: bytes, status: int) -> None:
    answer = await world.client.post("/v1/runs/logs", content=body)

    assert answer.status_code == status
    assert answer.json()["error"]


async def test_lines_need_the_signing_key_and_reading_them_a_token(production: World) -> None:
    nonsense = {"Authorization": "Bearer nonsense"}
    sent = await production.client.post("/v1/runs/logs", json={"lines": []}, headers=nonsense)
    read = await production.client.get("/api/logs", headers=nonsense)

    assert (sent.status_code, read.status_code) == (401, 401)


async def test_unknown_filters_are_refused(world: World) -> None:
    await started(world)

    await world.refused(404, "run_not_found", "GET", "/api/logs", params={"run_id": "01KAT3ZF00000000000000000Z"})
    await world.refused(404, "function_not_found", "GET", "/api/logs", params={"function": "nope"})
    await world.refused(400, "invalid_query", "GET", "/api/logs", params={"after": "x"})
    await world.refused(400, "invalid_query", "GET", "/api/logs", params={"level": "loud"})
    await world.refused(400, "invalid_query", "GET", "/api/logs", params={"from": "yesterday"})
    await world.refused(400, "invalid_query", "GET", "/api/logs", params={"text": "x" * 201})


async def test_a_bug_in_storing_lines_leaves_nobody_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = await started(world)

    def break_down(_request: Request) -> NoReturn:
        raise RuntimeError("a bug")

    with monkeypatch.context() as broken:
        broken.setattr(world.engine.store, "submit", break_down)
        async with asyncio.timeout(5):
            with pytest.raises(RuntimeError, match="a bug"):
                await write(world, line(run_id, "lost"))

    assert await write(world, line(run_id)) == {"unknown": 0, "dropped": 0}
