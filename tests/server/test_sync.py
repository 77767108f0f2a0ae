"""Asking an app for its functions: ``POST /api/apps/sync``, and what each answer of an app means (protocol 3)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
import pytest
from aiohttp import web

from stepwell.protocol.signature import verify
from tests.server.fake_app import FakeApp, in_band, registers, registration, says, serving
from tests.server.world import SIGNING_KEY, World

OTHER_KEY = "signkey-test-" + "6f" * 32


async def sync(world: World, url: str) -> tuple[int, Any]:
    answer = await world.client.post("/api/apps/sync", json={"url": url})
    return answer.status_code, answer.json()


async def test_an_app_registers_itself_while_it_is_asked(world: World) -> None:
    async with serving(FakeApp()) as app:
        app.answer = registers(world, app, "f", "g")

        status, synced = await sync(world, app.url)
        again = await sync(world, app.url)

    assert status == 200
    assert synced["is_modified"]
    assert (synced["app"]["name"], synced["app"]["function_count"]) == ("shop", 2)
    assert not again[1]["is_modified"]
    assert msgspec.json.decode(app.bodies[0]) == {"url": app.url}
    assert app.headers[0]["X-Inngest-Server-Kind"] == "dev"
    assert "X-Inngest-Signature" not in app.headers[0]


async def test_an_app_that_registers_under_another_url_is_synced_without_being_named(world: World) -> None:
    async with serving(FakeApp()) as app:
        status, synced = await sync(world, app.url)

    assert (status, synced) == (200, {"app": None, "is_modified": False})


async def test_in_production_the_signed_answer_is_the_registration(production: World) -> None:
    async with serving(FakeApp()) as app:
        app.answer = in_band(app, SIGNING_KEY, "f")

        status, synced = await sync(production, app.url)

    headers = app.headers[0]
    assert status == 200
    assert synced["app"]["function_count"] == 1
    assert (headers["X-Inngest-Server-Kind"], headers["X-Inngest-Sync-Kind"]) == ("cloud", "in_band")
    assert verify([SIGNING_KEY], app.bodies[0], headers["X-Inngest-Signature"], int(time.time())) == SIGNING_KEY


async def test_in_production_an_app_may_register_itself(production: World) -> None:
    async with serving(FakeApp()) as app:
        app.answer = registers(production, app, "f")

        status, synced = await sync(production, app.url)

    assert status == 200
    assert synced["app"]["function_count"] == 1


@pytest.mark.parametrize(("key", "age_s"), [("", 0), (OTHER_KEY, 0), (SIGNING_KEY, 3600)])
async def test_a_registration_that_is_not_signed_with_our_key_is_refused(
    production: World, key: str, age_s: int
) -> None:
    async with serving(FakeApp()) as app:
        app.answer = in_band(app, key, "f", age_s=age_s)

        status, answer = await sync(production, app.url)

    assert (status, answer["error"]["code"]) == (502, "unauthorized")
    assert (await production.get("/api/apps"))["items"] == []


@pytest.mark.parametrize(
    ("status", "is_sdk", "code", "words"),
    [
        (200, False, "not_sdk", "X-Inngest-SDK"),
        (400, True, "sync_refused", "the app says why"),
        (401, True, "unauthorized", "INNGEST_DEV=1"),
        (401, False, "unauthorized", "INNGEST_DEV=1"),
        (403, False, "forbidden", "the app says why"),
        (404, False, "url_not_found", "check the path"),
        (405, False, "not_sdk", "405"),
        (500, True, "internal_server_error", "the app says why"),
        (503, False, "internal_server_error", "503"),
    ],
)
async def test_each_refusal_of_an_app_is_explained(
    world: World, status: int, is_sdk: bool, code: str, words: str
) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return says(status, "the app says why", is_sdk=is_sdk)

    async with serving(FakeApp(answer)) as app:
        answered, body = await sync(world, app.url)

    message = body["error"]["message"]
    assert (answered, body["error"]["code"]) == (502, code)
    assert app.url in message
    assert words in message
    assert "\n" not in message


async def test_in_production_a_refused_signature_names_the_setting(production: World) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return says(401, "Unauthorized", is_sdk=False)

    async with serving(FakeApp(answer)) as app:
        _, body = await sync(production, app.url)

    assert "INNGEST_SIGNING_KEY" in body["error"]["message"]


async def test_a_page_of_html_is_not_quoted(world: World) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=500, text="<html><body>long page</body></html>")

    async with serving(FakeApp(answer)) as app:
        _, body = await sync(world, app.url)

    assert "html" not in body["error"]["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_reply"),
        (b"[]", "invalid_reply"),
        (b'{"app_id":"x","url":"http://x","functions":' + b"[" * 100_000, "invalid_reply"),
        (registration("http://x", "f").replace(b'"event"', b'"cron"'), "invalid_function"),
        (registration("http://x", "f", "f"), "invalid_function"),
        (registration("http://x", app=""), "invalid_function"),
    ],
)
async def test_a_registration_that_is_none_changes_nothing(world: World, body: bytes, code: str) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=body, headers={"X-Inngest-SDK": "x", "X-Inngest-Sync-Kind": "in_band"})

    async with serving(FakeApp(answer)) as app:
        _, answered = await sync(world, app.url)

    assert answered["error"]["code"] == code
    assert (await world.get("/api/apps"))["items"] == []


async def test_a_refused_connection_is_said(world: World) -> None:
    async with serving(FakeApp()) as app:
        url = app.url

    status, body = await sync(world, url)

    assert (status, body["error"]["code"]) == (502, "unreachable")
    assert "connection refused" in body["error"]["message"]
    assert url in body["error"]["message"]


async def test_a_stuck_app_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.server.sync.SYNC_TIMEOUT_MS", 50)
    gate = asyncio.Event()

    async def answer(_request: web.Request) -> web.StreamResponse:
        await gate.wait()
        return web.Response()

    async with serving(FakeApp(answer)) as app:
        _, body = await sync(world, app.url)
        gate.set()

    assert body["error"]["code"] == "unreachable"
    assert "did not answer" in body["error"]["message"]


async def test_redirects_that_keep_the_method_are_followed_a_few_times(world: World) -> None:
    async def once(request: web.Request) -> web.StreamResponse:
        if "x" in request.query:
            return await registers(world, app, "f")(request)
        raise web.HTTPTemporaryRedirect(f"{app.path}?x=1")

    async def for_ever(_request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(app.path)

    async with serving(FakeApp(once)) as app:
        found = await sync(world, app.url)
        app.answer = for_ever
        lost = await sync(world, app.url)

    assert found[0] == 200
    assert found[1]["app"]["function_count"] == 1
    assert lost[1]["error"]["code"] == "unreachable"
    assert len(app.asked) <= 2 + 4


@pytest.mark.parametrize(
    "url", ["", "localhost:3000", "ftp://localhost/x", "http://", "http://[", "http://localhost:x/", "file:///etc"]
)
async def test_what_is_no_url_is_refused(world: World, url: str) -> None:
    message = await world.refused(400, "invalid_url", "POST", "/api/apps/sync", json={"url": url})

    assert message.endswith("$.url")


@pytest.mark.parametrize("body", [b"{}", b'{"url":1}', b'{"url":"http://x","name":"y"}'])
async def test_a_malformed_request_is_refused(world: World, body: bytes) -> None:
    await world.refused(400, "invalid_body", "POST", "/api/apps/sync", content=body)
