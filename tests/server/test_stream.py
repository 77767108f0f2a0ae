"""The stream of changes, over real connections: what a page hears, and when it hears no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple, Self

import msgspec
import pytest
import uvicorn

from stepwell.limits import STREAM_ITEMS_MAX, STREAMS_MAX
from stepwell.protocol.ids import RunId
from stepwell.server.access import Access
from stepwell.server.live.changes import Topics
from stepwell.server.main import make_app
from tests.server.world import API_TOKEN, World

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
        """Read a chunk of the body: the server sends each message as one. The last one is empty."""
        size = int(await self._reader.readline(), 16)
        return (await self._reader.readexactly(size + 2))[:size].decode()

    async def body(self) -> Any:
        """Read an answer that isn't a stream."""
        return msgspec.json.decode(await self._reader.readexactly(int(self.headers["content-length"])))

    async def close(self) -> None:
        self._writer.close()
        with suppress(ConnectionError):
            await self._writer.wait_closed()


class Served:
    """A world that is served on a port."""

    def __init__(self, server: uvicorn.Server) -> None:
        self.server = server
        self._pages: list[Listener] = []

    async def page(self, query: str, **headers: str) -> Listener:
        """Open a stream, which is closed at the end if not before."""
        port = self.server.servers[0].sockets[0].getsockname()[1]
        page = await Listener.open(port, query, **headers)
        self._pages.append(page)
        return page

    async def close(self) -> None:
        for page in self._pages:
            await page.close()


@asynccontextmanager
async def serving(world: World) -> AsyncGenerator[Served]:
    """Serve a world."""
    config = uvicorn.Config(make_app(world.context), port=0, log_level="warning", lifespan="off", loop="none")
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - it says so nowhere else
        await asyncio.sleep(0.001)
    served = Served(server)
    try:
        yield served
    finally:
        await served.close()
        world.context.hub.close()
        server.should_exit = True
        await task


async def test_a_page_hears_of_a_run_from_its_start_to_its_end(world: World) -> None:
    await world.register("f")
    async with serving(world) as served:
        page = await served.page("topics=runs,events")
        hello = await page.next()
        event = await world.send("f.go")
        run_id = event["runs"][0]["id"]
        heard = await page.next()

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
        "logs": [],
        "is_partial": False,
    }


async def test_a_page_that_comes_back_goes_on_where_it_was(world: World) -> None:
    await world.register("f")
    async with serving(world) as served:
        page = await served.page("topics=events")
        hello = await page.next()
        await page.close()
        assert hello is not None
        event = await world.send("f.go")
        by_header = await served.page("topics=events", Last_Event_ID=hello.cursor)
        by_query = await served.page(f"topics=events&cursor={hello.cursor}")

        for again in (by_header, by_query):
            assert (await again.next()) == Message("hello", hello.cursor, {"cursor": hello.cursor})
            heard = await again.next()
            assert heard is not None
            assert heard.data["events"] == [event["id"]]


async def test_a_page_whose_place_is_gone_is_told_to_read_again(world: World) -> None:
    async with serving(world) as served:
        page = await served.page("topics=runs&cursor=other-1")
        hello, reset = await page.next(), await page.next()

    assert hello is not None
    assert reset == Message("reset", hello.cursor, {"cursor": hello.cursor})


async def test_topics_are_told_apart(world: World) -> None:
    await world.register("f")
    async with serving(world) as served:
        page = await served.page("topics=functions")
        await page.next()
        await world.run("f")
        await world.post("/api/functions/f/pause", {})
        heard = await page.next()

    assert heard is not None
    assert heard.data == {"runs": [], "events": [], "functions": True, "logs": [], "is_partial": False}


@pytest.mark.parametrize("query", ["", "topics=", "topics=nope", "topics=runs&page=2", "topics=run:x", "topics=logs:"])
async def test_what_a_stream_cannot_be_of_is_refused(world: World, query: str) -> None:
    await world.refused(400, "invalid_query", "GET", f"/api/stream?{query}")


async def test_head_opens_no_stream(world: World) -> None:
    answer = await world.client.head("/api/stream?topics=runs")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert world.context.hub.page_count == 0


async def test_more_streams_than_a_server_has_are_refused(world: World) -> None:
    pages = [world.context.hub.join(Topics(runs=True)) for _ in range(STREAMS_MAX)]

    message = await world.refused(503, "too_many_streams", "GET", "/api/stream?topics=runs")

    assert f"{STREAMS_MAX} streams are open" in message
    pages[0].leave()
    async with serving(world) as served:
        assert (await served.page("topics=runs")).status == 200


async def test_a_stream_needs_a_token_in_production(production: World) -> None:
    async with serving(production) as served:
        refused = await served.page("topics=runs")
        taken = await served.page("topics=runs", Authorization=f"Bearer {API_TOKEN}")

        assert (refused.status, (await refused.body())["error"]["code"]) == (401, "unauthorized")
        assert taken.status == 200


async def test_a_page_that_went_away_is_forgotten(world: World) -> None:
    async with serving(world) as served:
        page = await served.page("topics=runs")
        await page.next()
        assert world.context.hub.page_count == 1
        await page.close()
        async with asyncio.timeout(WAIT_S):
            while world.context.hub.page_count:  # noqa: ASYNC110 - nobody is told of it
                await asyncio.sleep(0.001)


async def test_streams_end_when_the_server_stops(world: World) -> None:
    async with serving(world) as served:
        page = await served.page("topics=runs")
        await page.next()
        world.context.hub.close()
        served.server.should_exit = True

        assert await page.next() is None
        await world.refused(503, "stopping", "GET", "/api/stream?topics=runs")


async def test_a_stream_tells_nothing_more_after_its_session(production: World) -> None:
    access = production.context.access
    link = await access.make_setup_link()
    assert link is not None
    token = await access.set_up(link.partition("#")[2], "correct horse battery", "127.0.0.1")
    async with serving(production) as served:
        page = await served.page("topics=functions", Cookie=f"stepwell={token}")
        await page.next()
        production.context.hub.functions_changed()
        assert await page.next() is not None
        await access.log_out(token)
        production.context.hub.functions_changed()

        assert await page.next() is None
        assert (await served.page("topics=functions", Cookie=f"stepwell={token}")).status == 401


async def test_a_stream_ends_soon_when_another_replica_revokes_its_token(
    production: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.server.api.stream.STREAM_CHECKED_S", 0.0)
    monkeypatch.setattr("stepwell.server.access.CREDENTIALS_KEPT_S", 0.0)
    monkeypatch.setattr("stepwell.server.access.CREDENTIALS_UNKNOWN_S", 0.0)
    there = Access(production.engine.store, production.engine.clock)
    made = await there.make_token(production.engine.ids(), "ci")
    assert made is not None
    token, secret = made
    async with serving(production) as served:
        page = await served.page("topics=functions", Authorization=f"Bearer {secret}")
        await page.next()
        production.context.hub.functions_changed()
        assert await page.next() is not None
        await there.revoke_token(token.id)
        production.context.hub.functions_changed()

        assert await page.next() is None


async def test_a_page_that_does_not_read_costs_no_memory_and_reads_everything_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stepwell.server.live.hub.STREAM_PACE_S", 0.0)
    monkeypatch.setattr("stepwell.server.live.hub._SOON_S", 0.0)
    monkeypatch.setattr("stepwell.server.live.hub.STREAM_KEPT_MAX", 3)
    hub = world.context.hub
    ids = [RunId(f"{number:026}") for number in range(STREAM_ITEMS_MAX)]
    async with serving(world) as served:
        slow = await served.page("topics=runs")
        quick = hub.join(Topics(runs=True))
        for _ in range(2_500):  # more than the buffers of both ends take
            hub.touched(ids)
            assert await quick.next() is not None

        names: list[str] = []
        while "reset" not in names:
            message = await slow.next()
            assert message is not None
            names.append(message.name)
        assert len(names) < 2_500
        quick.leave()
