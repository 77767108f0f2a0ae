"""Proxies that hand out connections by the transaction: a tiny one of our own, and pgbouncer where it is installed."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from tests.outages.proxy import message, read_body
from tests.postgres import _account

_TLS: Final = 80877103
_OK: Final = b"R" + message(struct.pack("!i", 0))
_KEY: Final = b"K" + message(struct.pack("!ii", 1, 1))
_READY: Final = b"Z" + message(b"I")
_SYNCS: Final = (b"Q", b"S")
_SPOIL: Final = (
    "set search_path = pg_catalog; set statement_timeout = '20s'; set default_transaction_isolation = serializable"
)
"""What others may have left in a session, which is nobody's own."""


class _Server:
    """One connection to PostgreSQL."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.greeting = b""
        """The server's parameters, which each client is told."""

    async def until_ready(self) -> None:
        """Read messages up to the one that it is ready. Raises ``AssertionError`` for an error."""
        while True:
            kind = await self.reader.readexactly(1)
            body = await read_body(self.reader)
            assert kind != b"E", body
            if kind == b"S":
                self.greeting += kind + message(body)
            if kind == b"Z":
                return


class Pooler:
    """Gives a client a server's connection from its first message until the transaction ends, and then to the next.

    It resets nothing, and takes the connections in turn: who relies on the state of a session meets another one's.
    """

    def __init__(self, url: str, *, size: int = 3) -> None:
        self._parts = urlsplit(url)
        self._size = size
        self._free: asyncio.Queue[_Server] = asyncio.Queue()
        self._servers: list[_Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for _ in range(self._size):
            self._free.put_nowait(await self._connect())
        self._listening = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._listening.sockets[0].getsockname()[1]
        self.url = self._parts._replace(netloc=f"{self._parts.username}@127.0.0.1:{port}").geturl()

    async def stop(self) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for server in self._servers:
            server.writer.transport.abort()

    async def _connect(self) -> _Server:
        parts = self._parts
        server = _Server(*await asyncio.open_connection(parts.hostname, parts.port))
        self._servers.append(server)
        fields = ("user", parts.username or "", "database", parts.path[1:], "client_encoding", "UTF8")
        start = b"\0".join(field.encode() for field in fields) + b"\0\0"
        server.writer.write(message(struct.pack("!i", 3 << 16) + start))
        assert await server.reader.readexactly(1) == b"R"
        assert struct.unpack("!i", await read_body(server.reader)) == (3,), "it wants the password as it is"
        server.writer.write(b"p" + message((parts.password or "").encode() + b"\0"))
        await server.until_ready()
        server.writer.write(b"Q" + message(_SPOIL.encode() + b"\0"))
        await server.until_ready()
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        client = _Client(self, reader, writer)
        with suppress(asyncio.IncompleteReadError, OSError, asyncio.CancelledError):
            await client.run(self._servers[0].greeting)
        client.close()

    async def lend(self) -> _Server:
        """Return the connection that has been free for longest, a new one in place of one that broke."""
        server = await self._free.get()
        return await self._connect() if server.writer.is_closing() else server

    def take_back(self, server: _Server) -> None:
        self._free.put_nowait(server)


class _Client:
    """One client, and while it is in a transaction its server."""

    def __init__(self, pooler: Pooler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pooler, self._reader, self._writer = pooler, reader, writer
        self._server: _Server | None = None
        self._answering: asyncio.Task[None] | None = None
        self._due = 0
        """How often the server has yet to say that it is ready."""

    async def run(self, greeting: bytes) -> None:
        while struct.unpack("!i", (await read_body(self._reader))[:4])[0] == _TLS:
            self._writer.write(b"N")
        self._writer.write(_OK + greeting + _KEY + _READY)
        while (kind := await self._reader.readexactly(1)) != b"X":
            body = await read_body(self._reader)
            if self._server is None:
                self._server = await self._pooler.lend()
                self._answering = asyncio.ensure_future(self._answer(self._server))
            self._due += kind in _SYNCS
            self._server.writer.write(kind + message(body))

    async def _answer(self, server: _Server) -> None:
        """Forward what the server says, until it is ready and in no transaction."""
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                kind = await server.reader.readexactly(1)
                body = await read_body(server.reader)
                self._due -= kind == b"Z"
                is_over = kind == b"Z" and body == b"I" and self._due == 0
                if is_over:
                    self._server = None
                    self._pooler.take_back(server)
                self._writer.write(kind + message(body))
                if is_over:
                    return
        self._writer.transport.abort()

    def close(self) -> None:
        """Part with the client; a server that it left in a transaction is no use to anybody."""
        self._writer.transport.abort()
        if self._answering is not None:
            self._answering.cancel()
        if self._server is not None:
            self._server.writer.transport.abort()
            self._pooler.take_back(self._server)


@asynccontextmanager
async def pooled(url: str) -> AsyncGenerator[str]:
    """Put our pooler in front of a database until the block ends; gives its address."""
    pooler = Pooler(url)
    await pooler.start()
    try:
        yield pooler.url
    finally:
        await pooler.stop()


_CONFIGURATION: Final = """
[databases]
{name} = host={host} port={port} dbname={name} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
server_reset_query =
logfile = {folder}/log
"""


@contextmanager
def bouncing(url: str) -> Generator[str]:
    """Put pgbouncer in front of a database until the block ends; gives its address. Skips where there is none."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer isn't installed: apt-get install pgbouncer")
    parts = urlsplit(url)
    with tempfile.TemporaryDirectory(prefix="stepwell-pgbouncer-") as folder, socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", 0))
        own_port = free.getsockname()[1]
        account = _account()  # it won't run as root either
        if account:
            os.chown(folder, account["user"], account["group"])
        path = Path(folder) / "pgbouncer.ini"
        name = parts.path[1:]
        place = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
        path.write_text(_CONFIGURATION.format(**place, name=name, own_port=own_port, folder=folder))
        path.chmod(0o644)
        process = subprocess.Popen([program, "-q", path], cwd=folder, stderr=subprocess.DEVNULL, **account)
        try:
            _wait_for(own_port)
            yield parts._replace(netloc=f"{parts.username}@127.0.0.1:{own_port}").geturl()
        finally:
            process.terminate()
            process.wait(10)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline, "pgbouncer doesn't listen"
            time.sleep(0.01)
        else:
            return
