"""Calls over HTTP: one pool of kept-alive connections for all apps (protocol 4.2)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

import aiohttp
from yarl import URL

from stepwell.engine.clock import real_ms
from stepwell.engine.core.model import Reply
from stepwell.engine.core.reply import read_reply, server_error, too_large
from stepwell.engine.transport import OutgoingCall
from stepwell.limits import CALL_CONNECT_TIMEOUT_MS, CALL_TIMEOUT_MS, REDIRECTS_MAX, REPLY_BYTES_MAX
from stepwell.protocol import headers as names
from stepwell.protocol.signature import sign

_CHUNK_BYTES: Final = 64 * 1024
_OFF_LOOP_BYTES: Final = 256 * 1024
"""Larger answers are parsed on a thread, so that one doesn't delay the calls of others."""

_IDLE_SECONDS: Final = 4
"""Idle connections are dropped before apps drop them (uvicorn and Node after 5 s): a call on a connection that is being
closed could not be told from one that broke in the middle, and would count as a failed attempt."""

_KEPT_REDIRECTS: Final = (307, 308)


class HttpTransport:
    """Calls apps over HTTP, signed when there is a key. Follows 307 and 308 only: they keep method and body."""

    def __init__(self, *, signing_key: str | None = None, now_ms: Callable[[], int] = real_ms) -> None:
        self._signing_key = signing_key
        self._now_ms = now_ms
        self._session: aiohttp.ClientSession | None = None
        self._timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_MS / 1000, sock_connect=CALL_CONNECT_TIMEOUT_MS / 1000)

    async def start(self) -> None:
        """Open the pool. The limit on calls is that of each app's slots, not the pool's."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS, happy_eyeballs_delay=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            timeout=self._timeout,
            trust_env=False,
        )

    async def stop(self) -> None:
        """Close the pool; calls under way are broken off."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, call: OutgoingCall) -> Reply:
        """Make a call. Whatever goes wrong becomes a retriable error that says what was tried."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Inngest",
            names.REQ_VERSION: str(call.request_version),
            names.RUN_ID: call.run_id,
            names.REQUEST_ID: call.request_id,
            names.STEP_ID: call.step_id,
        }
        if self._signing_key is not None:
            headers[names.SIGNATURE] = sign(self._signing_key, call.body, real_ms() // 1000)
        shown = call.url.partition("?")[0]
        try:
            url = call_url(call.url, call.step_id)
            status, answered, body = await self._post(url, call.body, headers)
        except TimeoutError as error:
            is_connect = isinstance(error, aiohttp.ConnectionTimeoutError)
            code = "http_unreachable" if is_connect else "request_duration_too_long"
            limit_ms = CALL_CONNECT_TIMEOUT_MS if is_connect else CALL_TIMEOUT_MS
            what = "could not be reached" if is_connect else "did not answer"
            return server_error(code, f"{shown} {what} within {limit_ms // 1000} s")
        except _TooLarge:
            return too_large(shown)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return server_error("http_unreachable", f"Unable to reach SDK URL {shown}: {_why(error)}")
        if len(body) > _OFF_LOOP_BYTES:
            return await asyncio.to_thread(read_reply, status, answered, body, now_ms=self._now_ms(), url=shown)
        return read_reply(status, answered, body, now_ms=self._now_ms(), url=shown)

    async def _post(self, url: URL, body: bytes, headers: Mapping[str, str]) -> tuple[int, Mapping[str, str], bytes]:
        assert self._session is not None, "the transport isn't started"
        for _ in range(REDIRECTS_MAX + 1):
            async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in _KEPT_REDIRECTS and location is not None:
                    url = URL(urljoin(str(url), location), encoded=True)
                    continue
                return response.status, response.headers, await _read(response)
        return 508, {}, b"too many redirects"


class _TooLarge(Exception):
    pass


async def _read(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None:
        if length > REPLY_BYTES_MAX:
            raise _TooLarge
        return await response.read()
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_chunked(_CHUNK_BYTES):
        size += len(part)
        if size > REPLY_BYTES_MAX:
            raise _TooLarge
        parts.append(part)
    return b"".join(parts)


@lru_cache(maxsize=4096)
def call_url(url: str, step_id: str) -> URL:
    """Return a function's URL with ``stepId`` replaced, the rest of its query kept."""
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "stepId"]
    query.append(("stepId", step_id))
    return URL(urlunsplit(parts._replace(query=urlencode(query))), encoded=True)


def _why(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ConnectionRefusedError):
        return "connection refused: is the app running?"
    if isinstance(cause, socket.gaierror):
        return "its host name isn't known"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection before it answered"
    return str(error) or type(error).__name__
