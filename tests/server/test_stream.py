"""The stream of changes, over real connections: what a page hears, and when it hears no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, Self

import msgspec
import uvicorn

from stepwell.server.main import make_app
from tests.server.world import World

WAIT_S = 10.0


class Message(NamedTuple):
    """One server-sent event."""

    name: str
    cursor: str
    data: Any


class Listener:
    """A page: one connection of its own, which reads no further than it is asked to."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.status = 0
        self.headers: dict[str, str] = {}

    @classmethod
    async def open(cls, port: int, query: str, **headers: str) -> Self:
        made = cls(*await asyncio.open_connection("127.0.0.1", port))
        lines = [f"GET /api/stream?{query} HTTP/1.1", f"Host: localhost:{port}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        made._writer.write("\r\n".join([*lines, "", ""]).encode())
        head = (await made._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        made.status = int(head[0].split()[1])
        made.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        return made

    async def next(self) -> Message | None:
        """Read the next message, without its comments; None at the end."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(WAIT_S):
            while "data" not in fields:
                chunk = await self._chunk()
                if not chunk:
                    return None
                for line in chunk.splitlines():
                    name, _, value = line.partition(": ")
                    fields[name] = value
        return Message(fields["event"], fields["id"], msgspec.json.decode(fields["data"]))

    async def _chunk(self) -> str:
        """Read a chunk of the body: the server sends each message as one."""
        size = int(await self._reader.readline(), 16)
        return (await self._reader.readexactly(size + 2)).decode()

    async def body(self) -> Any:
        """Read an answer that isn't a stream."""
        return msgspec.json.decode(await self._reader.readexactly(int(self.headers["content-length"])))

    def close(self) -> None:
        self._writer.close()


@asynccontextmanager
async def served(world: World) -> AsyncGenerator[tuple[uvicorn.Server, int]]:
    """Serve a world on a port."""
    config = uvicorn.Config(make_app(world.context), port=0, log_level="warning", lifespan="off", loop="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it says so nowhere else
        await asyncio.sleep(0.001)
    try:
        yield server, server.servers[0].sockets[0].getsockname()[1]
    finally:
        world.context.hub.close()
        server.should_exit = True
        await serving


async def test_a_page_hears_of_a_run_from_its_start_to_its_end(world: World) -> None:
    await world.register("f")
    async with served(world) as (_, port):
        page = await Listener.open(port, "topics=runs,events")
        hello = await page.next()
        event = await world.send("f.go")
        run_id = event["runs"][0]["id"]
        heard = await page.next()
        page.close()

    assert (page.status, page.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert (page.headers["cache-control"], page.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert hello is not None
    assert hello.name == "hello"
    assert hello.data["cursor"]
    assert heard is not None
    assert heard.name == "changes"
    assert heard.data == {
        "runs": [{"id": run_id, "is_new": True}],
        "events": [event["id"]],
        "functions": False,
        "is_partial": False,
    }
