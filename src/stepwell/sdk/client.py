"""The app's HTTP client: sends events, and asks the server's API on behalf of the handler. Sync and async alike.

httpx2 is imported with the first request: it isn't needed to import an app.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from stepwell.errors import SendError, StepUsageError
from stepwell.protocol import headers
from stepwell.protocol.canonical import Json
from stepwell.protocol.event import SendReply
from stepwell.protocol.signature import bearer
from stepwell.sdk.event import Event, as_object, encode_events
from stepwell.sdk.serialise import NotSerialisable, encode
from stepwell.sdk.settings import Settings
from stepwell.sdk.unheard import unheard
from stepwell.sdk.version import SDK

if TYPE_CHECKING:
    import httpx2

    from stepwell.sdk.connections import AsyncConnections, Exchange, SyncConnections

SEND_ATTEMPTS_MAX: Final = 5  # protocol 2.1
SEND_BACKOFF_S: Final = 0.1
CONNECT_TIMEOUT_S: Final = 10.0
REPLY_TIMEOUT_S: Final = 60.0
MESSAGE_CHARS_MAX: Final = 500

SIGNALS_PATH: Final = "/v1/signals"
_SIGNAL_ID_BYTES: Final = 16

_decode_sent: Final = msgspec.json.Decoder(SendReply).decode


class Outgoing(msgspec.Struct, frozen=True):
    """A request to the server."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes = b""
    reply_timeout_s: float = REPLY_TIMEOUT_S


class Incoming(msgspec.Struct, frozen=True):
    """The server's answer; status 0 when there was none, and ``body`` says why."""

    status: int
    body: bytes

    @property
    def is_ok(self) -> bool:
        """The status is a 2xx."""
        return 200 <= self.status < 300

    def field(self, name: str) -> Json:
        """Return a field of the body; None when it has none, or is no JSON object."""
        try:
            return as_object(msgspec.json.decode(self.body)).get(name)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    def text(self) -> str:
        """What the answer says, for people: the error of a JSON object, or the start of the body."""
        error = self.field("error") or self.field("message")
        text = as_object(error).get("message") or error or self.body.decode(errors="replace")
        return str(text)[:MESSAGE_CHARS_MAX]


_CLIENTS: Final[weakref.WeakSet[Client]] = weakref.WeakSet()


def _forked() -> None:
    for client in list(_CLIENTS):
        client._begin_sync()  # pyright: ignore[reportPrivateUsage] - this module's own


if hasattr(os, "register_at_fork"):  # not on Windows, where nothing forks
    os.register_at_fork(after_in_child=_forked)


class Client:
    """Requests to one server. Connections are kept; ``close`` and ``aclose`` drop them."""

    def __init__(
        self,
        settings: Settings,
        *,
        transport: Any = None,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        backoff_s: float = SEND_BACKOFF_S,
    ) -> None:
        """``transport`` replaces the network, for tests."""
        self._settings = settings
        self._transport = transport
        self._now_ms = now_ms
        self._backoff_s = backoff_s
        self._begin_sync()
        # A connection belongs to the loop that made it.
        self._async: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, httpx2.AsyncClient] = (
            weakref.WeakKeyDictionary()
        )
        self._fast: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncConnections] = weakref.WeakKeyDictionary()

        _CLIENTS.add(self)

    def _begin_sync(self) -> None:
        """Begin without connections for sync code: in a process that was forked they are another's.

        Those of async code belong to its loops, which a fork doesn't take along.
        """
        self._lock = threading.Lock()
        self._sync: httpx2.Client | None = None
        self._fast_sync: SyncConnections | None = None

    async def send(self, events: list[Event]) -> list[str]:
        """Send events and return their ids.

        Tries five times when the server can't be reached or answers 5xx; the seed header makes the server know a repeat.
        Raises ``SendError`` when it gives up, at once for a 4xx; ``EventError`` and ``ConfigError`` before anything is sent.
        """
        if not events:
            return []
        request = self._send_request(events)
        for delay in self._delays():
            answer = await self.fetch(request)
            if delay is None or 200 <= answer.status < 500:
                return _ids(answer, request)
            await asyncio.sleep(delay)
        raise AssertionError

    def send_sync(self, events: list[Event]) -> list[str]:
        """Send events and return their ids, as ``send`` does, and block meanwhile."""
        if not events:
            return []
        request = self._send_request(events)
        for delay in self._delays():
            answer = self.fetch_sync(request)
            if delay is None or 200 <= answer.status < 500:
                return _ids(answer, request)
            time.sleep(delay)
        raise AssertionError

    async def send_signal(self, signal: str, data: Json, *, keep: bool, id: str | None = None) -> str | None:
        """Send a signal and return the id of the run that waited for it, None when none did.

        ``id`` is an idempotency key; it is random unless given, so that what is tried again counts once.
        Tries five times, as ``send`` does. Raises ``SendError`` when it gives up, at once for a 4xx; ``StepUsageError``
        for data that JSON can't hold, ``ConfigError`` without a server.
        """
        requests = self._signal_requests(signal, data, keep=keep, id=id)
        for delay in self._delays():
            answer = await self._authorized(requests)
            if delay is None or 200 <= answer.status < 500:
                return _resumed(answer, requests[0], signal)
            await asyncio.sleep(delay)
        raise AssertionError

    def send_signal_sync(self, signal: str, data: Json, *, keep: bool, id: str | None = None) -> str | None:
        """Send a signal, as ``send_signal`` does, and block meanwhile."""
        requests = self._signal_requests(signal, data, keep=keep, id=id)
        for delay in self._delays():
            answer = self._authorized_sync(requests)
            if delay is None or 200 <= answer.status < 500:
                return _resumed(answer, requests[0], signal)
            time.sleep(delay)
        raise AssertionError

    async def _authorized(self, requests: list[Outgoing]) -> Incoming:
        asking = with_fallback_key(requests)
        try:
            request = next(asking)
            while True:
                request = asking.send(await self.fetch(request))
        except StopIteration as end:
            return end.value

    def _authorized_sync(self, requests: list[Outgoing]) -> Incoming:
        asking = with_fallback_key(requests)
        try:
            request = next(asking)
            while True:
                request = asking.send(self.fetch_sync(request))
        except StopIteration as end:
            return end.value

    async def fetch(self, request: Outgoing) -> Incoming:
        """Make one request; an unreachable server is an answer of status 0."""
        import httpx2

        loop = asyncio.get_running_loop()
        client = self._async.get(loop)
        if client is None:
            client = self._async[loop] = httpx2.AsyncClient(transport=self._transport)
        try:
            with unheard():
                response = await client.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    content=request.body or None,
                    timeout=_timeout(request),
                )
        except httpx2.TransportError as error:
            return _unreachable(error)
        return Incoming(response.status_code, response.content)

    def fetch_sync(self, request: Outgoing) -> Incoming:
        """Make one request as ``fetch`` does, and block meanwhile."""
        import httpx2

        with self._lock:
            if self._sync is None:
                self._sync = httpx2.Client(transport=self._transport)
            client = self._sync
        try:
            with unheard():
                response = client.request(
                    request.method,
                    request.url,
                    headers=request.headers,
                    content=request.body or None,
                    timeout=_timeout(request),
                )
        except httpx2.TransportError as error:
            return _unreachable(error)
        return Incoming(response.status_code, response.content)

    async def fetch_fast(self, request: Outgoing) -> Incoming:
        """Make one request to the API as ``fetch`` does, on connections that cost less where nothing forbids them."""
        if not self._is_direct:
            return await self.fetch(request)
        from stepwell.sdk.connections import AsyncConnections

        loop = asyncio.get_running_loop()
        connections = self._fast.get(loop)
        if connections is None:
            connections = self._fast[loop] = AsyncConnections()
        return Incoming(*await connections.send(_exchange(request)))

    def fetch_fast_sync(self, request: Outgoing) -> Incoming:
        """Make one request as ``fetch_fast`` does, and block meanwhile."""
        if not self._is_direct:
            return self.fetch_sync(request)
        from stepwell.sdk.connections import SyncConnections

        with self._lock:
            if self._fast_sync is None:
                self._fast_sync = SyncConnections()
            connections = self._fast_sync
        return Incoming(*connections.send(_exchange(request)))

    @functools.cached_property
    def _is_direct(self) -> bool:
        from stepwell.sdk.connections import has_proxy

        return self._transport is None and not has_proxy(self._settings.api_url(""))

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of sync code."""
        loop = asyncio.get_running_loop()
        client, fast = self._async.pop(loop, None), self._fast.pop(loop, None)
        if client is not None:
            await client.aclose()
        if fast is not None:
            await fast.aclose()
        self.close()

    def close(self) -> None:
        """Close the connections of sync code."""
        with self._lock:
            client, self._sync = self._sync, None
            fast, self._fast_sync = self._fast_sync, None
        if client is not None:
            client.close()
        if fast is not None:
            fast.close()

    def _delays(self) -> Iterator[float | None]:
        """Yield the wait after each attempt; None after the last."""
        for attempt in range(SEND_ATTEMPTS_MAX - 1):
            yield self._backoff_s * 2**attempt
        yield None

    def _send_request(self, events: list[Event]) -> Outgoing:
        # The same seed with every attempt: the server then gives the events the same ids, and drops the repeats (2.2).
        seed = f"{self._now_ms()},{base64.b64encode(secrets.token_bytes(10)).decode()}"
        return Outgoing(
            "POST",
            self._settings.event_url(),
            {**self.plain_headers(), headers.EVENT_ID_SEED: seed},
            encode_events(events),
        )

    def _signal_requests(self, signal: str, data: Json, *, keep: bool, id: str | None) -> list[Outgoing]:
        key = id or secrets.token_hex(_SIGNAL_ID_BYTES)  # ours, too
        try:
            body: dict[str, Json] = {"signal": signal, "data": msgspec.Raw(encode(data)), "id": key}
        except NotSerialisable as error:
            raise StepUsageError(f"the data of signal {signal!r} can't be written as JSON: {error}") from None
        if keep:
            body["keep"] = True  # ours: other servers keep nothing
        return self.api_requests("POST", SIGNALS_PATH, body=msgspec.json.encode(body))

    def plain_headers(self) -> dict[str, str]:
        """Return the headers of every request to the server."""
        found = {"Content-Type": "application/json", "User-Agent": SDK, headers.SDK: SDK}
        if self._settings.env is not None:
            found[headers.ENV] = self._settings.env
        return found

    def api_requests(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        extra: Mapping[str, str] | None = None,
        reply_timeout_s: float = REPLY_TIMEOUT_S,
    ) -> list[Outgoing]:
        """Return a request to the API once for each signing key: the next is for when one gets 401 or 403.

        A dev server asks for none, so keys, which may then be anything, stay here.
        """
        url = self._settings.api_url(path)
        plain = {**self.plain_headers(), **(extra or {})}
        keys = self._settings.signing_keys
        if not keys or self._settings.is_dev:
            return [Outgoing(method, url, plain, body, reply_timeout_s)]
        return [Outgoing(method, url, {**plain, "Authorization": bearer(key)}, body, reply_timeout_s) for key in keys]


def with_fallback_key(requests: list[Outgoing]) -> Generator[Outgoing, Incoming | None, Incoming]:
    """Make the first request; when its key is refused, the next, which has the fallback key."""
    answer = yield requests[0]
    for request in requests[1:]:
        assert answer is not None
        if answer.status not in (401, 403):
            break
        answer = yield request
    assert answer is not None
    return answer


def _exchange(request: Outgoing) -> Exchange:
    from stepwell.sdk.connections import Exchange

    reply_s = request.reply_timeout_s
    return Exchange(
        request.method, request.url, request.headers, request.body, min(CONNECT_TIMEOUT_S, reply_s), reply_s
    )


def _timeout(request: Outgoing) -> httpx2.Timeout:
    import httpx2

    return httpx2.Timeout(request.reply_timeout_s, connect=min(CONNECT_TIMEOUT_S, request.reply_timeout_s))


def _unreachable(error: Exception) -> Incoming:
    return Incoming(0, (str(error) or type(error).__name__).encode())


def _resumed(answer: Incoming, request: Outgoing, signal: str) -> str | None:
    """Read the answer to a signal; 404 says that no run waits, and that nothing was kept (protocol 6.3)."""
    if answer.status == 404:
        return None
    origin = request.url.removesuffix(SIGNALS_PATH)
    if answer.status == 0:
        raise SendError(
            f"the server at {origin} can't be reached ({answer.text()}); start it (stepwell dev), or set STEPWELL_URL"
        )
    if not answer.is_ok:
        hint = "; STEPWELL_SIGNING_KEY must be the server's" if answer.status in (401, 403) else ""
        raise SendError(
            f"the server at {origin} refused the signal {signal!r} with HTTP {answer.status}: {answer.text()}{hint}",
            status=answer.status,
        )
    run_id = as_object(answer.field("data")).get("run_id")
    return run_id if isinstance(run_id, str) and run_id else None


def _ids(answer: Incoming, request: Outgoing) -> list[str]:
    origin = request.url.rpartition("/e/")[0]
    if answer.status == 0:
        raise SendError(
            f"the server at {origin} can't be reached ({answer.text()}); start it (stepwell dev), or set STEPWELL_URL"
        )
    if not answer.is_ok:
        hint = "; set STEPWELL_EVENT_KEY to one of the server's keys" if answer.status == 401 else ""
        raise SendError(
            f"the server at {origin} refused the events with HTTP {answer.status}: {answer.text()}{hint}",
            status=answer.status,
        )
    try:
        return _decode_sent(answer.body).ids
    except msgspec.DecodeError:
        raise SendError(
            f"the server at {origin} answered HTTP {answer.status} without ids: {answer.text()}; is it Stepwell's URL?",
            status=answer.status,
        ) from None
