"""``POST /e/{key}``: what is taken, what is refused, and that a refusal loses nothing (protocol 2)."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell.limits import EVENTS_PER_REQUEST_MAX, INGEST_BODY_BYTES_MAX
from tests.server.world import SIGNING_KEY, T0, World, running

DAY_MS = 86_400_000


async def send(world: World, body: Any, key: str = "any", **headers: str) -> tuple[int, Any]:
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    answer = await world.client.post(f"/e/{key}", content=content, headers=headers)
    return answer.status_code, answer.json()


async def stored(world: World) -> list[Any]:
    return (await world.get("/v1/events", limit=100))["data"]


class TestWhatIsTaken:
    async def test_a_single_event_and_a_batch_get_ids_in_request_order(self, world: World) -> None:
        status, one = await send(world, {"name": "a/b", "data": {"n": 1}})
        assert (status, one["status"], len(one["ids"])) == (200, 200, 1)
        assert "error" not in one

        _, many = await send(world, [{"name": "a/b", "data": {"n": n}} for n in range(5)])

        by_id = {event["internal_id"]: event["data"]["n"] for event in await stored(world)}
        assert [by_id[id] for id in many["ids"]] == [0, 1, 2, 3, 4]

    @pytest.mark.parametrize("body", [b"", b"  \n", b"[]"])
    async def test_nothing_at_all_is_accepted(self, world: World, body: bytes) -> None:
        status, answer = await send(world, body)
        assert (status, answer) == (200, {"ids": [], "status": 200})

    async def test_absent_and_null_data_are_an_empty_object(self, world: World) -> None:
        await send(world, [{"name": "a"}, {"name": "a", "data": None}])
        assert [event["data"] for event in await stored(world)] == [{}, {}]

    async def test_an_event_without_an_id_takes_ours(self, world: World) -> None:
        _, answer = await send(world, {"name": "a"})
        event = (await world.get(f"/v1/events/{answer['ids'][0]}"))["data"]
        assert event["id"] == event["internal_id"] == answer["ids"][0]
        assert event["ts"] == T0

    async def test_the_reserved_key_of_data_is_stripped(self, world: World) -> None:
        await send(world, {"name": "a", "data": {"_inngest": {"fn_id": "x"}, "k": 1}})
        assert [event["data"] for event in await stored(world)] == [{"k": 1}]

    async def test_an_escaped_reserved_key_is_stripped_as_well(self, world: World) -> None:
        await send(world, rb'{"name":"a","data":{"_\u0069nngest":{"fn_id":"x"}}}')
        assert [event["data"] for event in await stored(world)] == [{}]

    async def test_integers_that_doubles_cannot_hold_are_shown_as_they_came(self, world: World) -> None:
        _, sent = await send(world, b'{"name":"a","data":{"n":123456789012345678901}}')
        answer = await world.client.get(f"/api/events/{sent['ids'][0]}")
        assert b"123456789012345678901" in answer.content

    async def test_browsers_may_send_from_anywhere(self, world: World) -> None:
        asked = await world.client.options("/e/key", headers={"Origin": "https://shop.example"})
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == "https://shop.example"
        assert asked.headers["access-control-max-age"] == "3600"
        sent = await world.client.post("/e/key", content=b'{"name":"a"}', headers={"Origin": "https://shop.example"})
        assert sent.headers["access-control-allow-origin"] == "https://shop.example"
        assert sent.headers["x-inngest-server-kind"] == "dev"


class TestIdempotency:
    async def test_a_retried_request_with_a_seed_stores_and_starts_once(self, world: World) -> None:
        await world.register("f")
        seed = f"{T0},{base64.b64encode(bytes(10)).decode()}"
        headers = {"X-Inngest-Event-Id-Seed": seed}

        _, first = await send(world, [{"name": "f.go"}, {"name": "f.go"}], **headers)
        _, second = await send(world, [{"name": "f.go"}, {"name": "f.go"}], **headers)

        assert first == second
        assert len(set(first["ids"])) == 2
        assert len(await stored(world)) == 2
        assert len((await world.get("/api/runs"))["items"]) == 2

    async def test_ids_with_a_seed_follow_each_other_after_time_travel_too(self, world: World) -> None:
        headers = {"X-Inngest-Event-Id-Seed": f"{T0},{base64.b64encode(bytes(10)).decode()}"}
        before = await world.send("a")
        await world.post("/api/skip", {"duration": "1h"})

        _, after = await send(world, {"name": "a"}, **headers)
        _, again = await send(world, {"name": "a"}, **headers)

        assert after == again
        assert after["ids"][0] > before["id"]

    @pytest.mark.parametrize("seed", ["", "x", "1,", "1,AAAA", f"{1 << 50},{base64.b64encode(bytes(10)).decode()}"])
    async def test_a_malformed_seed_is_passed_over(self, world: World, seed: str) -> None:
        status, answer = await send(world, {"name": "a"}, **{"X-Inngest-Event-Id-Seed": seed})
        assert status == 200
        assert len(answer["ids"]) == 1

    async def test_an_event_id_starts_a_function_once_in_a_day(self, world: World) -> None:
        await world.register("f")
        for _ in range(2):
            await send(world, {"name": "f.go", "id": "order-1"})
        runs = (await world.get("/api/runs"))["items"]
        assert sorted(run["status"] for run in runs if run["status"] == "skipped") == ["skipped"]
        assert len(runs) == 2
        assert len(await stored(world)) == 2

        world.engine.clock.offset_ms += DAY_MS
        await send(world, {"name": "f.go", "id": "order-1"})
        runs = (await world.get("/api/runs"))["items"]
        assert [run["status"] == "skipped" for run in runs].count(True) == 1
        assert len(runs) == 3

    async def test_an_event_id_is_no_key_for_another_function(self, world: World) -> None:
        await world.register("f", "g", g={"triggers": [{"event": "f.go"}]})
        await send(world, [{"name": "f.go", "id": "one"}])
        assert len((await world.get("/api/runs"))["items"]) == 2


class TestEnvironment:
    async def test_an_event_for_another_environment_is_taken_and_said_once(self, tmp_path: Path) -> None:
        """One environment a server for now: a branch's events aren't lost, but whoever runs it should know."""
        said: list[str] = []
        async with running(tmp_path, warn=said.append) as world:
            for name in ("branch-a", "branch-a", "dev"):
                assert (await send(world, {"name": "a"}, **{"X-Inngest-Env": name}))[0] == 200
            assert len(await stored(world)) == 3
        assert len(said) == 1
        assert "branch-a" in said[0]


class TestDelay:
    async def test_a_future_ts_delays_the_run(self, world: World) -> None:
        await world.register("f")
        _, answer = await send(world, {"name": "f.go", "ts": T0 + DAY_MS})
        (run,) = (await world.get(f"/v1/events/{answer['ids'][0]}/runs"))["data"]
        assert world.apps.calls == []

        await world.post("/api/skip", {"duration": "1d"})

        assert (await world.get(f"/v1/runs/{run['run_id']}"))["data"]["status"] == "Completed"
        assert len(world.apps.calls) == 1


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("body", "place"),
        [
            (b"{", ""),
            (b"nonsense", ""),
            (b"1", ""),
            (b"null", ""),
            (b'"text"', ""),
            (b"[1]", "$[0]"),
            (b'{"data":{}}', "name"),
            (b'[{"name":"ok"},{"data":{}}]', "$[1]"),
            (b'{"name":""}', "$.name"),
            (b'{"name":7}', "$.name"),
            (b'{"name":"%b"}' % (b"x" * 513), "$.name"),
            (b'{"name":"inngest/function.finished"}', "$.name"),
            (b'{"name":"InnGest/x"}', "$.name"),
            (b'[{"name":"a"},{"name":"b","data":[1]}]', "$[1].data"),
            (b'{"name":"a","data":"text"}', "$.data"),
            (b'{"name":"a","user":5}', "$.user"),
            (b'{"name":"a","meta":[]}', "$.meta"),
            (b'{"name":"a","ts":1763985600}', "$.ts"),
            (b'{"name":"a","ts":99999999999999}', "$.ts"),
            (b'{"name":"a","ts":"now"}', "$.ts"),
            (b'{"name":"a","id":5}', "$.id"),
            (b'{"name":"a","id":"%b"}' % (b"x" * 513), "$.id"),
            (b'{"name":"a","data":{"k":"\\ud800"}}', "$"),
            (b'{"name":"\\ud800"}', "$"),
            (b'{"name":"a","data":{"k":1e999}}', "$.data"),
            (b'{"name":"a","data":{"k":"\xff"}}', ""),
            (b'{"name":"a","data":' + b'{"k":' * 600 + b"1" + b"}" * 600 + b"}", "$.data"),
            (b"[" * 100_000, ""),
        ],
    )
    async def test_a_bad_event_is_named_and_nothing_of_its_request_is_taken(
        self, world: World, body: bytes, place: str
    ) -> None:
        status, answer = await send(world, body)
        assert status == 400
        assert (answer["status"], answer["ids"]) == (400, [])
        assert place in answer["error"]
        assert await stored(world) == []
        assert (await send(world, {"name": "still-alive"}))[0] == 200

    async def test_an_event_over_three_megabytes_is_too_large(self, world: World) -> None:
        status, answer = await send(world, {"name": "a", "data": {"k": "x" * (3 * 1024 * 1024)}})
        assert status == 400
        assert "too large" in answer["error"]

    async def test_the_limit_of_events_in_a_request(self, world: World) -> None:
        assert (await send(world, [{"name": "a"}] * EVENTS_PER_REQUEST_MAX))[0] == 200
        status, answer = await send(world, [{"name": "a"}] * (EVENTS_PER_REQUEST_MAX + 1))
        assert status == 400
        assert str(EVENTS_PER_REQUEST_MAX) in answer["error"]

    async def test_a_body_over_the_limit_is_refused_before_it_is_read(self, world: World) -> None:
        status, answer = await send(world, b" " * (INGEST_BODY_BYTES_MAX + 1))
        assert status == 413
        assert str(INGEST_BODY_BYTES_MAX) in answer["error"]

    async def test_other_methods_are_told_the_right_one(self, world: World) -> None:
        answer = await world.client.get("/e/key")
        assert answer.status_code == 405
        assert "POST" in answer.json()["error"]

    @pytest.mark.parametrize("key", ["", "wrong", "event-key-of-test", "event-key-of-tests2", SIGNING_KEY])
    async def test_an_unknown_event_key_is_refused_in_production(self, production: World, key: str) -> None:
        status, answer = await send(production, {"name": "a"}, key=key)
        assert (status, answer) == (401, {"status": 401, "message": "", "error": "Event key not found"})

    async def test_the_event_key_is_enough_in_production(self, production: World) -> None:
        assert (await send(production, {"name": "a"}, key="event-key-of-tests"))[0] == 200
