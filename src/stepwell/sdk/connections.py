"""Kept connections to one server, for requests that are made between steps and have to be quick.

httpx2 takes 500 µs of a core for a request on a kept connection, httpcore2 below it 350; a step itself may take less. These
take 150: one write, one read, and h11, which httpx2 brings, in between. Left out: proxies, redirects, cookies, compression.
A connection carries one request at a time.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import h11

from stepwell.limits import MIB

KEPT_S: Final = 4.0  # servers drop idle connections after 5 s (uvicorn, Node) or later
KEPT_MAX: Final = 100
"""Idle connections: as many as one app gets calls at a time."""

ANSWER_BYTES_MAX: Final = MIB  # what is asked here is answered in few words

_READ_BYTES: Final = 65_536


class Answer(NamedTuple):
    """A response; status 0 when there was none, and ``body`` says why."""

    status: int
    body: bytes


class Exchange(NamedTuple):
    """A request, and how long connecting and the rest may take."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    connect_timeout_s: float
    reply_timeout_s: float


class Address(NamedTuple):
    """Where to connect to."""

    host: str
    port: int
    is_secure: bool


def has_proxy(url: str) -> bool:
    """Tell whether the environment wants requests to a URL to go through a proxy."""
    parts = urlsplit(url)
    proxies = getproxies()
    return (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.hostname or "")


def address_of(url: str) -> Address:
    """Return where the server of a URL listens."""
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    return Address(parts.hostname or "", parts.port or (443 if is_secure else 80), is_secure)


class _Wire:
    """The HTTP of one connection: what to send, and what came back. No I/O."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT)
        self._idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._status = 0
        self._body = bytearray()

    def is_fresh(self) -> bool:
        """Tell whether the server is likely to have kept the connection."""
        return time.monotonic() - self._idle_since < KEPT_S

    def send(self, exchange: Exchange) -> bytes:
        """Return the bytes of a request."""
        parts = urlsplit(exchange.url)
        request = h11.Request(
            method=exchange.method,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
            headers=[
                ("Host", parts.netloc.rpartition("@")[2]),
                *exchange.headers.items(),
                ("Content-Length", str(len(exchange.body))),
            ],
        )
        head = self._http.send(request) or b""
        body = self._http.send(h11.Data(data=exchange.body)) or b""
        self._http.send(h11.EndOfMessage())
        return head + body

    def receive(self, data: bytes) -> Answer | None:
        """Take in bytes, none at the end of the connection; return the response when it is whole.

        Raises ``h11.RemoteProtocolError`` for what isn't one.
        """
        self._http.receive_data(data)
        while True:
            event = self._http.next_event()
            match event:
                case h11.Response():
                    self._status = event.status_code
                case h11.Data():
                    self._body += event.data
                    if len(self._body) > ANSWER_BYTES_MAX:
                        raise h11.RemoteProtocolError(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
                case h11.EndOfMessage():
                    return Answer(self._status, bytes(self._body))
                case h11.InformationalResponse():
                    pass
                case _:
                    return None

    def reuse(self) -> bool:
        """Make ready for another request; return False when the connection can't carry one."""
        if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        self._begin()
        self._idle_since = time.monotonic()
        return True


class _AsyncConnection(NamedTuple):
    wire: _Wire
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def is_usable(self) -> bool:
        return self.wire.is_fresh() and not self.reader.at_eof() and not self.writer.is_closing()

    def close(self) -> None:
        self.writer.close()


class AsyncConnections:
    """The idle connections of one event loop to one server."""

    def __init__(self) -> None:
        self._idle: list[_AsyncConnection] = []

    async def send(self, exchange: Exchange) -> Answer:
        """Make one request. A server that can't be reached is an answer of status 0."""
        connection: _AsyncConnection | None = None
        is_kept = False
        try:
            connection = self._take() or await _connect(exchange)
            async with asyncio.timeout(exchange.reply_timeout_s):
                connection.writer.write(connection.wire.send(exchange))
                await connection.writer.drain()
                answer: Answer | None = None
                while answer is None:
                    answer = connection.wire.receive(await connection.reader.read(_READ_BYTES))
            is_kept = len(self._idle) < KEPT_MAX and connection.wire.reuse()
            if is_kept:
                self._idle.append(connection)
            return answer
        except (OSError, h11.ProtocolError) as error:
            return _unreachable(error)
        finally:
            if connection is not None and not is_kept:
                connection.close()

    def _take(self) -> _AsyncConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    async def aclose(self) -> None:
        """Close the idle connections."""
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()
        await asyncio.gather(*(connection.writer.wait_closed() for connection in idle), return_exceptions=True)


async def _connect(exchange: Exchange) -> _AsyncConnection:
    host, port, is_secure = address_of(exchange.url)
    async with asyncio.timeout(exchange.connect_timeout_s):
        reader, writer = await asyncio.open_connection(host, port, ssl=_ssl_context() if is_secure else None)
    return _AsyncConnection(_Wire(), reader, writer)


class _SyncConnection(NamedTuple):
    wire: _Wire
    socket: socket.socket

    def close(self) -> None:
        self.socket.close()


class SyncConnections:
    """The idle connections of all threads to one server."""

    def __init__(self) -> None:
        self._idle: list[_SyncConnection] = []
        self._lock = threading.Lock()
        # Lines of runs are sent until a program ends, which nobody tells a client.
        weakref.finalize(self, _close_all, self._idle)

    def send(self, exchange: Exchange) -> Answer:
        """Make one request, as ``AsyncConnections.send`` does, and block meanwhile.

        The time-out is for each read, since a socket has no other.
        """
        connection: _SyncConnection | None = None
        is_kept = False
        try:
            connection = self._take() or _connect_sync(exchange)
            connection.socket.settimeout(exchange.reply_timeout_s)
            connection.socket.sendall(connection.wire.send(exchange))
            answer: Answer | None = None
            while answer is None:
                answer = connection.wire.receive(connection.socket.recv(_READ_BYTES))
            with self._lock:
                is_kept = len(self._idle) < KEPT_MAX and connection.wire.reuse()
                if is_kept:
                    self._idle.append(connection)
            return answer
        except (OSError, h11.ProtocolError) as error:
            return _unreachable(error)
        finally:
            if connection is not None and not is_kept:
                connection.close()

    def _take(self) -> _SyncConnection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.wire.is_fresh():
                return connection
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            _close_all(self._idle)


def _close_all(idle: list[_SyncConnection]) -> None:
    while idle:
        idle.pop().close()


def _connect_sync(exchange: Exchange) -> _SyncConnection:
    host, port, is_secure = address_of(exchange.url)
    plain = socket.create_connection((host, port), exchange.connect_timeout_s)
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made = _ssl_context().wrap_socket(plain, server_hostname=host) if is_secure else plain
    except BaseException:
        plain.close()
        raise
    return _SyncConnection(_Wire(), made)


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    """Return what the app's other requests trust, too."""
    import httpx2

    return httpx2.create_ssl_context()


def _unreachable(error: Exception) -> Answer:
    return Answer(0, (str(error) or type(error).__name__).encode())
