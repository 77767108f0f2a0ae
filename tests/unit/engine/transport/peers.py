"""Servers behind real sockets, that answer as a test says, in bytes; and a clock that a test moves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
DEADLINE_S = 10
"""For what must happen at all: no test waits as long as this when it passes."""


class Request(NamedTuple):
    """A request as it came, and the number of its connection, from 1."""

    line: str
    fields: dict[str, str]
    body: bytes
    connection: int


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def response(body: bytes = b"[]", *fields: str, status: str = "206 Partial Content") -> bytes:
    """Return a response of an SDK."""
    lines = [f"HTTP/1.1 {status}", "X-Inngest-SDK: fake:v1", *fields, f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + body


def says(*answers: bytes) -> Answer:
    """Make an answer of bytes: the first for the first request, and the last for all that follow."""
    left = list(answers)

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return answer


def says_and_closes(data: bytes) -> Answer:
    """Make an answer of bytes, after which the connection is closed."""

    async def answer(_request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        writer.close()

    return answer


async def says_nothing(_request: Request, _writer: asyncio.StreamWriter) -> None:
    """Leave a request without an answer."""


class Peer:
    """A server with one way to answer. It counts connections and keeps requests."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.port = 0
        self.requests: list[Request] = []
        self.connection_count = 0
        self.asked = asyncio.Event()
        """Set by each request, before it is answered."""
        self.all_closed = asyncio.Event()
        """Set while no connection is open."""
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def url(self, path: str = "/api", *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        self.all_closed.clear()
        self._writers.add(writer)
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer, self.connection_count))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *lines = head.split("\r\n")[:-2]
                fields = dict(field.split(": ", 1) for field in lines)
                request = Request(line, fields, b"", number)
                if "Expect-No-Body" not in fields:
                    request = request._replace(body=await reader.readexactly(int(fields.get("Content-Length", 0))))
                self.requests.append(request)
                self.asked.set()
                await self.answer(request, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            if not self._writers:
                self.all_closed.set()

    async def closed(self) -> None:
        """Wait until the client has closed all connections."""
        async with asyncio.timeout(DEADLINE_S):
            await self.all_closed.wait()

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def serving(answer: Answer, *, tls: bool = False, host: str = "127.0.0.1") -> AsyncGenerator[Peer]:
    """Serve on a port that the system chooses."""
    peer = Peer(answer)
    context = None
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(HERE / "localhost.pem")
    server = await asyncio.start_server(peer.connected, host, 0, ssl=context)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        await peer.stop()
        server.close()
        await server.wait_closed()


def trusting() -> ssl.SSLContext:
    """Return a client's context that trusts the tests' own authority, and no other."""
    return ssl.create_default_context(cafile=HERE / "authority.pem")


class StandingClock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def __call__(self) -> float:
        return self.at_s


async def until(is_so: Callable[[], bool]) -> None:
    """Let the loop work until something is so."""
    async with asyncio.timeout(DEADLINE_S):
        while not is_so():  # noqa: ASYNC110 # what is waited for has no event, and needs none but here
            await asyncio.sleep(0)
