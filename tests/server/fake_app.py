"""An app behind a real socket: answers its serve URL as a test says."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

from stepwell.protocol.signature import sign
from stepwell.protocol.sync import read_sync
from stepwell.server.register import apply_sync
from tests.server.world import World, function_json

PATH = "/api/inngest"
SDK = {"X-Inngest-SDK": "inngest-py:v0.5.19"}

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class FakeApp:
    """Counts what it is asked. ``answer`` is for PUT; GET is answered as an SDK does, if ``is_app``."""

    def __init__(self, answer: Answer | None = None, *, is_app: bool = True, path: str = PATH) -> None:
        self.answer, self.is_app, self.path = answer, is_app, path
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}{self.path}"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(f"{request.method} {request.path}")
        if request.path != self.path or not self.is_app:
            return web.Response(status=404, text="<html>not here</html>")
        if request.method == "GET":
            return web.json_response({"function_count": 1, "mode": "dev"}, headers=SDK)
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        if self.answer is None:
            return says(200, "Successfully registered")
        return await self.answer(request)


@asynccontextmanager
async def serving(app: FakeApp) -> AsyncGenerator[FakeApp]:
    """Serve an app on a port that the system chooses."""
    inner = web.Application()
    inner.router.add_route("*", "/{path:.*}", app.handle)
    server = TestServer(inner, host="127.0.0.1")
    await server.start_server()
    app.port = server.port or 0
    try:
        yield app
    finally:
        await server.close()


def says(status: int, message: str, *, is_sdk: bool = True) -> web.Response:
    """Answer with a message, as SDKs do."""
    return web.json_response({"message": message}, status=status, headers=SDK if is_sdk else {})


def registration(url: str, *slugs: str, app: str = "shop") -> bytes:
    """Return the body of a registration."""
    functions = [function_json(slug) for slug in slugs]
    return msgspec.json.encode({"url": url, "appName": app, "sdk": "py:v0.5.19", "functions": functions})


def registers(world: World, app: FakeApp, *slugs: str) -> Answer:
    """Make an answer to PUT: the app registers itself, out of band."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        await apply_sync(world.context, read_sync(registration(app.url, *slugs)))
        return says(200, "Successfully registered")

    return answer


def in_band(app: FakeApp, key: str, *slugs: str, age_s: int = 0) -> Answer:
    """Make an answer to PUT: the registration itself, signed."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        body = registration(app.url, *slugs)
        signature = {"X-Inngest-Signature": sign(key, body, int(time.time()) - age_s)} if key else {}
        return web.Response(body=body, headers=SDK | {"X-Inngest-Sync-Kind": "in_band"} | signature)

    return answer
