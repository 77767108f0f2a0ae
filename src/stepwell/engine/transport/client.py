"""Requests over HTTP/1.1: redirects and content encodings, on connections from a pool.

One client serves the executor's calls; what is asked of apps besides, at their registration, has clients of its own.
Cookies, proxies from the environment and other protocols are left out on purpose.
"""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Final, Self
from urllib.parse import urljoin

from stepwell.engine.transport.connection import CONTENT_ENCODING, LOCATION, NotHttp, Response, TooLarge
from stepwell.engine.transport.dial import Resolve, system_resolve
from stepwell.engine.transport.pool import Pool
from stepwell.engine.transport.target import Target, target_of
from stepwell.limits import CALL_CONNECT_TIMEOUT_MS, REDIRECTS_MAX, REPLY_BYTES_MAX

_WINDOW_ZLIB_OR_GZIP: Final = 32 + zlib.MAX_WBITS
_WINDOW_RAW: Final = -zlib.MAX_WBITS
_WITHOUT_BODY: Final = ("GET", "HEAD")


class TooManyRedirects(Exception):
    """A URL leads to another again and again."""


class Client:
    """Makes requests. ``idle_s`` is how long a connection is kept for the next; with 0 each has its own.

    With ``keeps_fields`` responses have all their headers. ``may_dial`` is asked of each address before a connection to
    it is tried, after ``resolve`` has found it.
    """

    def __init__(
        self,
        *,
        idle_s: float,
        body_bytes_max: int = REPLY_BYTES_MAX,
        connect_timeout_ms: int = CALL_CONNECT_TIMEOUT_MS,
        keeps_fields: bool = False,
        tls: ssl.SSLContext | None = None,
        time: Callable[[], float] | None = None,
        resolve: Resolve = system_resolve,
        may_dial: Callable[[str], bool] | None = None,
    ) -> None:
        self._body_bytes_max = body_bytes_max
        self.pool = Pool(
            idle_s=idle_s,
            connect_timeout_s=connect_timeout_ms / 1000,
            body_bytes_max=body_bytes_max,
            keeps_fields=keeps_fields,
            tls=tls,
            time=time,
            resolve=resolve,
            may_dial=may_dial,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def stop(self) -> None:
        """Close all connections; requests under way are broken off."""
        await self.pool.stop()

    async def request(
        self,
        method: str,
        url: str,
        *,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        follows: Collection[int] = (),
    ) -> Response:
        """Make a request to a URL, within a time for all of it: connecting, redirects, the response.

        Raises as ``exchange`` does, and ``ValueError`` for what can't be sent.
        """
        fields = "".join(f"{name}: {plain(value)}\r\n" for name, value in (headers or {}).items())
        target = target_of(url)
        deadline = self.pool.time() + timeout_s
        async with asyncio.timeout(timeout_s):
            return await self.exchange(method, target, target.path, fields, body, deadline=deadline, follows=follows)

    async def exchange(
        self,
        method: str,
        target: Target,
        path: str,
        fields: str,
        body: bytes,
        *,
        deadline: float,
        follows: Collection[int],
    ) -> Response:
        """Send a request and return its response, decoded, after following redirects of the given statuses.

        ``fields`` are header lines, each with its line end; whoever joins them has seen to it that nothing in them ends
        a line. A redirect repeats method, fields and body.

        Raises ``TooManyRedirects``, ``TimeoutError`` (``ConnectTimeout`` when it was the connection that took too
        long), ``TooLarge``, ``NotHttp``, ``AddressRefused``, ``OSError`` for what went wrong with the connection, and
        ``ValueError`` for a redirect to what is no URL.
        """
        # A method that has no use for a body says nothing about one: some servers refuse even an empty one (RFC 9110).
        length = "" if not body and method in _WITHOUT_BODY else f"Content-Length: {len(body)}\r\n"
        own = f"{fields}{length}\r\n"
        for _ in range(REDIRECTS_MAX + 1):
            head = f"{method} {path} HTTP/1.1\r\n{target.fields}{own}"
            response = await self.pool.exchange(target.origin, head.encode(), body, deadline=deadline)
            if response.status not in follows or (location := response.headers.get(LOCATION)) is None:
                encoding = response.headers.get(CONTENT_ENCODING)
                return response if encoding is None else self._decoded(response, encoding)
            found = target_of(urljoin(target.url(path), location))
            # A user and password are for one origin: they hold for its relative redirects, and nowhere else.
            target = found._replace(fields=target.fields) if found.origin == target.origin else found
            path = target.path
        raise TooManyRedirects

    def _decoded(self, response: Response, encoding: str) -> Response:
        """Decode a body. We ask for no encoding, but some servers and proxies use one all the same."""
        name = encoding.strip().lower()
        if name in ("", "identity") or not response.body:
            return response
        if name not in ("gzip", "x-gzip", "deflate"):
            raise NotHttp(f"its content encoding {encoding[:100]!r} wasn't asked for")
        try:
            return response._replace(body=self._inflated(response.body, _WINDOW_ZLIB_OR_GZIP))
        except zlib.error:
            if name == "deflate":  # some leave out the wrapping that the standard asks for
                try:
                    return response._replace(body=self._inflated(response.body, _WINDOW_RAW))
                except zlib.error:
                    pass
            raise NotHttp(f"its body isn't {name}, which its headers say") from None

    def _inflated(self, data: bytes, window: int) -> bytes:
        """Inflate, up to the limit: a small body may hold gigabytes."""
        inflater = zlib.decompressobj(window)
        whole = inflater.decompress(data, self._body_bytes_max + 1)
        if len(whole) > self._body_bytes_max:
            raise TooLarge
        if not inflater.eof or inflater.unused_data:
            raise zlib.error("it is cut off, or more follows")
        return whole


def plain(value: str) -> str:
    """Return a header's value if it can be sent. Raises ``ValueError`` for one that would end its line."""
    if not (value.isascii() and value.isprintable()) and any(ord(letter) < 32 or letter == "\x7f" for letter in value):
        raise ValueError(f"{value[:100]!r} can't be sent in a header")
    return value
