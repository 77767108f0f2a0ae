"""``POST /fn/register``: apps tell their functions (protocol 3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from stepwell.limits import REGISTER_BODY_BYTES_MAX
from stepwell.protocol.signature import bearer, hashed_key
from tests.server.world import SIGNING_KEY, World, function_json, running


def body(*functions: Any, **more: Any) -> dict[str, Any]:
    return {
        "url": "http://localhost:3000/api/inngest",
        "deployType": "ping",
        "appName": "shop",
        "sdk": "js:v4.24.0",
        "v": "0.1",
        "framework": "express",
        "functions": list(functions),
    } | more


async def register(world: World, content: Any, **headers: str) -> tuple[int, Any]:
    raw = content if isinstance(content, bytes) else msgspec.json.encode(content)
    answer = await world.client.post("/fn/register", content=raw, headers=headers)
    return answer.status_code, answer.json()


async def slugs(world: World) -> list[str]:
    return [function["slug"] for function in (await world.get("/api/functions"))["items"]]


class TestSync:
    async def test_the_first_sync_modifies_and_the_same_again_does_not(self, world: World) -> None:
        status, first = await register(world, body(function_json("f")))
        assert (status, first["ok"], first["modified"]) == (200, True, True)

        _, second = await register(world, body(function_json("f")))

        assert (second["ok"], second["modified"], second["app_id"]) == (True, False, first["app_id"])
        assert None not in second.values()

    async def test_names_are_read_whatever_their_case(self, world: World) -> None:
        status, _ = await register(
            world,
            {
                "url": "http://localhost:8000/api/inngest",
                "deploy_type": "ping",
                "appname": "shop",
                "sdk": "py:v0.5.19",
                "v": "0.1",
                "functions": [function_json("f")],
            },
        )
        assert status == 200
        assert await slugs(world) == ["f"]

    async def test_a_changed_function_gets_a_version_and_a_missing_one_is_archived(self, world: World) -> None:
        await register(world, body(function_json("f"), function_json("g")))

        _, answer = await register(world, body(function_json("f", retries=2)))

        assert answer["modified"] is True
        assert await slugs(world) == ["f"]
        (function,) = [f for f in (await world.get("/api/functions"))["items"] if f["slug"] == "f"]
        assert function["version"] == 2

    async def test_an_archived_function_starts_no_more_and_may_come_back(self, world: World) -> None:
        await register(world, body(function_json("f"), function_json("g")))
        await register(world, body(function_json("g")))
        assert (await world.send("f.go"))["runs"] == []

        await register(world, body(function_json("f"), function_json("g")))

        assert len((await world.send("f.go"))["runs"]) == 1

    async def test_zero_functions_are_a_registration_too(self, world: World) -> None:
        assert (await register(world, body()))[0] == 200

    async def test_a_restart_keeps_functions_and_schedules(self, tmp_path: Path) -> None:
        async with running(tmp_path) as world:
            await register(world, body(function_json("nightly", triggers=[{"cron": "0 2 * * *"}])))
        async with running(tmp_path) as world:
            assert await slugs(world) == ["nightly"]
            await world.post("/api/skip", {"duration": "1d"})
            assert len(world.apps.calls) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("function", "says"),
        [
            ({"triggers": [{"event": "x", "expression": "event.data.x =="}]}, "f"),
            ({"triggers": [{"cron": "61 * * * *"}]}, "f"),
            ({"triggers": [{"cron": "TZ=Mars/Olympus 0 0 * * *"}]}, "Mars/Olympus"),
            ({"triggers": [{}]}, "neither"),
            ({"triggers": [{"event": "x"}, {"event": "x"}]}, "twice"),
            ({"triggers": [{"event": f"e{n}"} for n in range(11)]}, "10"),
            ({"triggers": [{"event": "a*"}]}, "wildcard"),
            ({"triggers": [{"event": "x" * 256}]}, "255"),
            ({"steps": function_json("f", retries=21)["steps"]}, "20"),
            ({"steps": function_json("f", retries=-1)["steps"]}, "20"),
            ({"steps": {}}, "step"),
            ({"id": ""}, "id"),
        ],
    )
    async def test_one_invalid_function_refuses_the_sync_and_is_named(
        self, world: World, function: dict[str, Any], says: str
    ) -> None:
        status, answer = await register(world, body(function_json("good"), function_json("f") | function))
        assert status == 400
        assert answer["error"].startswith("At least one function is invalid")
        assert says in answer["error"]
        assert (answer["status"], answer["data"]) == (400, None)
        assert await slugs(world) == []

    async def test_two_functions_with_one_id_are_refused(self, world: World) -> None:
        status, answer = await register(world, body(function_json("f"), function_json("f")))
        assert status == 400
        assert "'f'" in answer["error"]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"{",
            b"[]",
            b"7",
            b"{}",
            b'{"url":"http://x/"}',
            b'{"url":"http://x/","appName":"","functions":[]}',
            b'{"url":"http://x/","appName":7,"functions":[]}',
            b'{"url":"http://x/","appName":"a","functions":{}}',
            b'{"url":"http://x/","appName":"a","functions":[1]}',
            b'{"url":"http://x/","appName":"a","functions":[' + b"[" * 5_000 + b"]" * 5_000 + b"]}",
            b'{"url":"http://[/","appName":"a","functions":[]}',
            b"[" * 100_000,
            b'{"a":"\xff"}',
        ],
    )
    async def test_what_is_no_registration_is_refused(self, world: World, content: bytes) -> None:
        status, answer = await register(world, content)
        assert status == 400
        assert isinstance(answer["error"], str)
        assert (await register(world, body(function_json("f"))))[0] == 200

    async def test_a_huge_registration_is_refused(self, world: World) -> None:
        assert (await register(world, b" " * (REGISTER_BODY_BYTES_MAX + 1)))[0] == 413

    async def test_another_kind_of_server_was_expected(self, world: World) -> None:
        status, answer = await register(world, body(function_json("f")), **{"X-Inngest-Expected-Server-Kind": "cloud"})
        assert (status, answer["error"]) == (400, "Expected server kind cloud, got dev")


class TestProduction:
    @pytest.mark.parametrize(
        "authorization",
        [bearer(SIGNING_KEY), f"Bearer {hashed_key(SIGNING_KEY)}", f"bearer {hashed_key(SIGNING_KEY)}"],
    )
    async def test_each_sdk_says_its_key_in_its_own_form(self, production: World, authorization: str) -> None:
        status, _ = await register(production, body(function_json("f")), Authorization=authorization)
        assert status == 200

    @pytest.mark.parametrize(
        "authorization",
        ["", "Bearer", "Bearer undefined", "Basic abc", f"Bearer {hashed_key('signkey-x-' + 'ab' * 32)}"],
    )
    async def test_a_wrong_key_is_refused(self, production: World, authorization: str) -> None:
        status, answer = await register(production, body(function_json("f")), Authorization=authorization)
        assert (status, answer["status"]) == (401, 401)
