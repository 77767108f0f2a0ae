"""What stands between a store and PostgreSQL, and does to their connections what networks and proxies do."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal
from urllib.parse import urlsplit

Cut = Literal["before", "after"]
"""Whether a connection breaks before the server gets a COMMIT, or after it has carried it out."""

_PACKET_BYTES: Final = 65_536


class Proxy:
    """Forwards connections, on the test's loop. Each is read as messages on the way to the server."""

    def __init__(self, url: str) -> None:
        self._host, self._port = urlsplit(url).hostname, urlsplit(url).port
        self._upstream = url
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay_s = 0.0
        """How long the server's answers are on their way."""
        self.is_refusing = False
        """New connections are closed at once."""
        self.is_silent = False
        """Nothing comes through, and nobody is told."""
        self.opened = 0
        """How many connections were let through so far."""
        self._cut: Cut | None = None
        self._which: Callable[[str], bool] = lambda _: True
        self.was_cut = asyncio.Event()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = self._upstream.replace(f":{self._port}/", f":{self.port}/")

    async def stop(self) -> None:
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def cut(self) -> None:
        """Break all connections."""
        for pair in list(self._pairs):
            pair.cut()

    def cut_at_commit(self, cut: Cut, which: Callable[[str], bool]) -> None:
        """Break the next connection whose transaction is about to commit and ran a statement that ``which`` picks."""
        self._cut, self._which = cut, which
        self.was_cut.clear()

    def is_due(self, statements: list[str]) -> Cut | None:
        """Tell how to break a transaction with these statements, if at all; once."""
        if self._cut is None or not any(map(self._which, statements)):
            return None
        cut, self._cut = self._cut, None
        return cut

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.is_refusing:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        self.opened += 1
        pair = _Pair(self, reader, writer, server_reader, server_writer)
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)


class _Pair:
    """One connection of a client, and the one to the server that belongs to it."""

    def __init__(
        self,
        proxy: Proxy,
        client_reader: asyncio.StreamReader,
        client_writer: asyncio.StreamWriter,
        server_reader: asyncio.StreamReader,
        server_writer: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client_reader, self._client_writer = client_reader, client_writer
        self._server_reader, self._server_writer = server_reader, server_writer
        self._prepared: dict[bytes, str] = {}
        self._statements: list[str] = []
        self._drops_answer = False

    async def run(self) -> None:
        both = [asyncio.ensure_future(self._to_server()), asyncio.ensure_future(self._to_client())]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for half in both:
                half.cancel()
            await asyncio.wait(both)
            self.cut()

    def cut(self) -> None:
        self._client_writer.transport.abort()
        self._server_writer.transport.abort()

    async def _to_server(self) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            await self._greet()
            while True:
                kind = await self._client_reader.readexactly(1)
                body = await read_body(self._client_reader)
                self._note(kind, body)
                if kind == b"Q" and text(body) == "commit":
                    cut = self._proxy.is_due(self._statements)
                    if cut is not None:
                        self._proxy.was_cut.set()
                    if cut == "before":
                        return
                    self._drops_answer = cut == "after"
                await self._forward(self._server_writer, kind + message(body))

    async def _greet(self) -> None:
        """Forward what comes before the first real message: packets without a kind."""
        while True:
            body = await read_body(self._client_reader)
            await self._forward(self._server_writer, message(body))
            if struct.unpack("!i", body[:4])[0] >> 16 == 3:  # the protocol's version: not the question for TLS
                return

    def _note(self, kind: bytes, body: bytes) -> None:
        """Keep the statements of the transaction: they are named once, and known by their name from then on."""
        if kind == b"P":
            name, statement, _ = body.split(b"\0", 2)
            self._prepared[name] = statement.decode()
        elif kind == b"B":
            _, name, _ = body.split(b"\0", 2)
            self._statements.append(self._prepared[name])
        elif kind == b"Q" and text(body).startswith("begin"):
            self._statements.clear()

    async def _to_client(self) -> None:
        with suppress(OSError):
            while data := await self._server_reader.read(_PACKET_BYTES):
                if self._drops_answer:
                    return
                if self._proxy.delay_s:
                    await asyncio.sleep(self._proxy.delay_s)
                await self._forward(self._client_writer, data)

    async def _forward(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        if not self._proxy.is_silent:
            writer.write(data)
            await writer.drain()


async def read_body(reader: asyncio.StreamReader) -> bytes:
    """Read a message's length and return what it counts, but for itself."""
    length = struct.unpack("!i", await reader.readexactly(4))[0]
    return await reader.readexactly(length - 4)


def message(body: bytes) -> bytes:
    return struct.pack("!i", len(body) + 4) + body


def text(body: bytes) -> str:
    return body.rstrip(b"\0").decode()


@asynccontextmanager
async def proxied(url: str) -> AsyncGenerator[Proxy]:
    """Put a proxy in front of a database until the block ends."""
    proxy = Proxy(url)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
