"""Kept connections to one server, for requests that are made between steps and have to be quick.

They are the connections that httpx2 itself uses (httpcore2), without what it builds around each request: that costs more
than the request does. Left out with it: proxies, redirects, cookies. A connection carries one request at a time.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    import ssl

    import httpcore2

KEPT_S: Final = 4.0  # servers drop idle connections after 5 s (uvicorn, Node) or later
KEPT_MAX: Final = 100
"""Idle connections: as many as one app gets calls at a time."""


class Answer(NamedTuple):
    """A response; status 0 when there was none, and ``body`` says why."""

    status: int
    body: bytes


def has_proxy(url: str) -> bool:
    """Tell whether the environment wants requests to a URL to go through a proxy."""
    parts = urlsplit(url)
    proxies = getproxies()
    return (parts.scheme in proxies or "all" in proxies) and not proxy_bypass(parts.hostname or "")


class Exchange(NamedTuple):
    """A request with the time that each part of it may take, in seconds."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    timeouts_s: Mapping[str, float]

    def request(self, url: httpcore2.URL) -> httpcore2.Request:
        """Return it as a connection takes it."""
        import httpcore2

        host = url.host if url.port is None else b"%b:%d" % (url.host, url.port)
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        return httpcore2.Request(
            self.method,
            url,
            headers=[(b"Host", host), *headers, (b"Content-Length", b"%d" % len(self.body))],
            content=self.body,
            extensions={"timeout": self.timeouts_s},
        )


class AsyncConnections:
    """The idle connections of one event loop to one origin."""

    def __init__(self) -> None:
        self._idle: list[httpcore2.AsyncHTTPConnection] = []

    async def send(self, exchange: Exchange) -> Answer:
        """Make one request. A server that can't be reached is an answer of status 0."""
        import httpcore2

        url = httpcore2.URL(exchange.url)
        connection = await self._take() or httpcore2.AsyncHTTPConnection(
            url.origin, ssl_context=_ssl_context(url), keepalive_expiry=KEPT_S
        )
        try:
            response = await connection.handle_async_request(exchange.request(url))
            body = await response.aread()
            await response.aclose()
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            await connection.aclose()
            return _unreachable(error)
        except BaseException:
            await connection.aclose()
            raise
        if connection.is_available() and len(self._idle) < KEPT_MAX:
            self._idle.append(connection)
        else:
            await connection.aclose()
        return Answer(response.status, body)

    async def _take(self) -> httpcore2.AsyncHTTPConnection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            await connection.aclose()
        return None

    async def aclose(self) -> None:
        """Close the idle connections."""
        while self._idle:
            await self._idle.pop().aclose()


class SyncConnections:
    """The idle connections of all threads to one origin."""

    def __init__(self) -> None:
        self._idle: list[httpcore2.HTTPConnection] = []
        self._lock = threading.Lock()

    def send(self, exchange: Exchange) -> Answer:
        """Make one request, as ``AsyncConnections.send`` does, and block meanwhile."""
        import httpcore2

        url = httpcore2.URL(exchange.url)
        connection = self._take() or httpcore2.HTTPConnection(
            url.origin, ssl_context=_ssl_context(url), keepalive_expiry=KEPT_S
        )
        try:
            response = connection.handle_request(exchange.request(url))
            body = response.read()
            response.close()
        except (httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            connection.close()
            return _unreachable(error)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            is_kept = connection.is_available() and len(self._idle) < KEPT_MAX
            if is_kept:
                self._idle.append(connection)
        if not is_kept:
            connection.close()
        return Answer(response.status, body)

    def _take(self) -> httpcore2.HTTPConnection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if not connection.has_expired():
                return connection
            connection.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


def _ssl_context(url: httpcore2.URL) -> ssl.SSLContext | None:
    """Return what the app's other requests trust, too."""
    if url.scheme != b"https":
        return None
    import httpx2

    return httpx2.create_ssl_context()


def _unreachable(error: Exception) -> Answer:
    return Answer(0, (str(error) or type(error).__name__).encode())
