"""What strangers may send before they are asked who they are: heads of requests have a size, and come in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from stepwell.limits import KIB, REQUEST_HEAD_BYTES_MAX
from stepwell.server.main import make_config
from tests.server.world import World

WAIT_S = 5.0


@asynccontextmanager
async def listening(world: World) -> AsyncGenerator[int]:
    """Serve as ``serve`` does; yields the port."""
    config = make_config(world.context)
    config.port = 0
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it says so nowhere else
        await asyncio.sleep(0.001)
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def answer(port: int, *parts: bytes, pause_s: float = 0.0) -> bytes:
    """Send the parts of a request, and return all that is said until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = b""
    try:
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(pause_s)
            async with asyncio.timeout(WAIT_S):
                heard = await reader.read()
    finally:
        writer.close()
    return heard


@pytest.mark.parametrize(
    "parts",
    [
        [b"GET / HTTP/1.1\r\nHost: localhost\r\n", *[b"X-%d: %b\r\n" % (n, b"a" * KIB) for n in range(2_000)]],
        [b"GET /", *[b"a" * KIB] * 2_000],
        [b"GET / HTTP/1.1\r\nX-One: ", *[b"a" * KIB] * 2_000],
    ],
    ids=["headers", "address", "header"],
)
async def test_a_head_that_is_too_large_is_refused(world: World, parts: list[bytes]) -> None:
    async with listening(world) as port:
        heard = await answer(port, *parts)

    assert heard == b"" or (heard.startswith(b"HTTP/1.1 400 ") and b"more than 65536 bytes" in heard)


async def test_a_head_may_be_large_and_a_body_larger(world: World) -> None:
    filler = b"X-Filler: " + b"a" * (REQUEST_HEAD_BYTES_MAX - KIB) + b"\r\n"
    body = b'{"name": "a", "data": {"x": "%b"}}' % (b"x" * 1_000_000)
    head = b"POST /e/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n%bContent-Length: %d\r\n\r\n"
    async with listening(world) as port:
        heard = await answer(port, head % (filler, len(body)), body)

    assert heard.startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\nHost: lo", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /h"]
)
async def test_a_head_that_does_not_end_is_not_waited_for(
    world: World, begun: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.server.heads.REQUEST_HEAD_S", 0.2)
    async with listening(world) as port, asyncio.timeout(5):
        heard = await answer(port, begun)

    assert heard.startswith(b"HTTP/1.1 200 OK" if b"health" in begun else b"")


async def test_an_answer_is_not_cut_off_by_what_is_asked_next(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.server.heads.REQUEST_HEAD_S", 0.1)
    ingest, release = world.engine.ingest, asyncio.Event()

    async def slow(events: Any) -> Any:
        await release.wait()
        return await ingest(events)

    monkeypatch.setattr(world.engine, "ingest", slow)
    asyncio.get_running_loop().call_later(0.4, release.set)
    body = b'{"name": "a"}'
    head = b"POST /e/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with listening(world) as port:
        heard = await answer(port, head + body + b"GET /he")

    assert heard.startswith(b"HTTP/1.1 200 OK")


async def test_an_answer_may_take_longer_than_a_head(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.server.heads.REQUEST_HEAD_S", 0.1)
    body = b'{"name": "a"}'
    head = b"POST /e/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    async with listening(world) as port:
        heard = await answer(port, head, body[:5], body[5:], pause_s=0.15)

    assert heard.startswith(b"HTTP/1.1 200 OK")
