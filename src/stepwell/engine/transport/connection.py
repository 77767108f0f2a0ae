"""One connection to an app, kept alive: a request goes out in one write, its response comes back parsed.

    idle ──send──▶ waiting ──a whole response──▶ idle, or closed if either side wants that
                      └──anything else──▶ closed, and the future tells why

What a peer sends is hostile until it is parsed: each part has a bound, what isn't a plain HTTP/1.1 response ends the
connection, and so does a byte that nobody asked for. There are no timers here: ``due_at`` says when the pool is to end
it. Parsing itself is httptools' (llhttp).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from stepwell.limits import RESPONSE_HEAD_BYTES_MAX
from stepwell.protocol.headers import ANSWERED

CONTENT_ENCODING: Final = "Content-Encoding"
LOCATION: Final = "Location"
_CONTENT_LENGTH: Final = "Content-Length"
_TRANSFER_ENCODING: Final = "Transfer-Encoding"

_READ: Final = {
    name.lower().encode(): name
    for name in (*ANSWERED.values(), CONTENT_ENCODING, LOCATION, _CONTENT_LENGTH, _TRANSFER_ENCODING)
}
"""The headers that anybody reads. The others of a response are passed over."""

_WITHOUT_BODY: Final = (204, 304)


class Response(NamedTuple):
    """An HTTP response, whole."""

    status: int
    headers: Mapping[str, str]
    """Only those that are read here or by the protocol, by their name as ``protocol.headers`` spells it."""
    body: bytes
    fields: tuple[tuple[str, str], ...] = ()
    """All headers as they came, of a client that keeps them."""


class Disconnected(ConnectionError):
    """The app closed the connection instead of answering, or in the middle of it."""


class NotHttp(ValueError):
    """What came back isn't a response that can be read."""


class TooLarge(ValueError):
    """The response's body is over its limit."""


class Connection(asyncio.Protocol):
    """One exchange at a time. ``on_lost`` is called once, when the connection is gone."""

    __slots__ = (
        "_body", "_body_bytes_max", "_ends_with_close", "_fields", "_headers", "_is_head", "_loop", "_on_lost",
        "_parser", "_status", "_transport", "_unread_bytes", "_waiter", "due_at", "is_open",
    )  # fmt: skip

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[Connection], None],
        *,
        body_bytes_max: int,
        keeps_fields: bool = False,
    ) -> None:
        self._loop, self._on_lost, self._body_bytes_max = loop, on_lost, body_bytes_max
        self._transport: asyncio.Transport | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        # Old servers end lines with LF alone, and put spaces behind a chunk's size.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True)
        self._waiter: asyncio.Future[Response] | None = None
        self._status = 0
        self._headers: dict[str, str] = {}
        self._fields: list[tuple[str, str]] | None = [] if keeps_fields else None
        self._body: bytes | bytearray = b""
        self._unread_bytes = 0
        self._ends_with_close = False
        self._is_head = False
        self.is_open = False
        """Whether a request can be sent, if none is under way."""
        self.due_at = 0.0
        """When the pool ends this connection, in its own seconds: the end of a call's time, or of idling."""

    # -- what the pool does -------------------------------------------------------------------------------------

    def send(self, head: bytes, body: bytes) -> asyncio.Future[Response]:
        """Send a request; the future ends with its response, or with why there is none.

        The future raises ``Disconnected``, ``NotHttp``, ``TooLarge`` or, when the pool ended it, ``TimeoutError``.
        Whoever stops waiting for it must ``abort`` the connection.
        """
        assert self.is_open, "the connection is closed"
        assert self._waiter is None, "a request is under way"
        assert self._transport is not None, "an open connection has a transport"
        self._status = 0
        self._headers = {}
        if self._fields:
            self._fields = []
        self._body = b""
        self._unread_bytes = 0
        self._ends_with_close = False
        self._is_head = head.startswith(b"HEAD ")
        self._waiter = waiter = self._loop.create_future()
        self._transport.writelines((head, body))
        return waiter

    def abort(self) -> None:
        """Close the connection at once. A second time does nothing."""
        self.is_open = False
        if self._transport is not None:
            self._transport.abort()

    def end(self, error: Exception) -> None:
        """Close the connection; a request under way ends with the error."""
        waiter, self._waiter = self._waiter, None
        self.abort()
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)

    # -- what the loop calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        if self._waiter is None or self._parser is None:
            self.abort()  # nobody asked: what it is the answer to can't be known
            return
        self._unread_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self.end(NotHttp("it wants to speak another protocol than HTTP"))
        except HttpParserError as error:  # after a whole response, this only closes the connection
            self.end(NotHttp(f"what it answers isn't HTTP: {error}"))
        else:
            if self._unread_bytes > RESPONSE_HEAD_BYTES_MAX:
                self.end(NotHttp(f"its headers are over {RESPONSE_HEAD_BYTES_MAX} bytes"))

    def eof_received(self) -> None:
        self._closed(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed(exc)
        self._parser = self._transport = None  # the parser holds on to us
        self._on_lost(self)

    # -- what the parser calls ----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._waiter is None:
            self.abort()  # a second response to one request

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._status != 0:
            return  # a chunked body's trailers
        known = _READ.get(name.lower())
        if known is not None:
            self._headers.setdefault(known, value.decode("utf-8", "replace"))
        if self._fields is not None:
            self._fields.append((name.decode("ascii", "replace"), value.decode("utf-8", "replace")))

    def on_headers_complete(self) -> None:
        if self._waiter is None or self._parser is None:
            return
        status = self._parser.get_status_code()
        if status < 200:  # an interim response: the real one follows
            self._headers = {}
            if self._fields:
                self._fields = []
            if status == 101:
                self.end(NotHttp("it wants to speak another protocol than HTTP"))
            return
        self._status = status
        if self._is_head:
            # No body follows, whatever the headers say. The parser can't be told so: it is done with this connection.
            self._complete(self._waiter, is_last=True)
            return
        coding, length = self._headers.get(_TRANSFER_ENCODING), self._headers.get(_CONTENT_LENGTH)
        if coding is not None:
            if coding.strip().lower() != "chunked":
                self.end(NotHttp(f"its transfer encoding {coding[:100]!r} isn't known"))
        elif length is None:
            self._ends_with_close = status not in _WITHOUT_BODY
        elif int(length) > self._body_bytes_max:
            self.end(TooLarge())

    def on_body(self, data: bytes) -> None:
        if self._waiter is None or self._status == 0:
            return
        # Bytes that are neither head nor body have a bound, too: they may be endless chunk extensions, or trailers.
        self._unread_bytes = 0
        if not self._body:
            self._body = data  # nearly always the whole body
        elif isinstance(self._body, bytearray):
            self._body += data
        else:
            self._body = bytearray(self._body) + data
        if len(self._body) > self._body_bytes_max:
            self.end(TooLarge())

    def on_message_complete(self) -> None:
        if self._status != 0 and self._waiter is not None and self._parser is not None:
            self._complete(self._waiter, is_last=not self._parser.should_keep_alive())

    # -- ends ---------------------------------------------------------------------------------------------------

    def _complete(self, waiter: asyncio.Future[Response], *, is_last: bool) -> None:
        self._waiter = None
        # An app that answers before it has read the whole request leaves the rest of it in the connection.
        if is_last or (self._transport is not None and self._transport.get_write_buffer_size() > 0):
            self.abort()
        if not waiter.done():
            waiter.set_result(Response(self._status, self._headers, bytes(self._body), tuple(self._fields or ())))

    def _closed(self, error: Exception | None) -> None:
        self.is_open = False
        if self._waiter is None:
            return
        if error is None and self._ends_with_close and self._status != 0:
            self._complete(self._waiter, is_last=True)
            return
        is_closed = error is None or isinstance(error, ConnectionError)
        how = "it closed the connection" if is_closed else f"the connection broke ({error})"
        has_begun = self._status != 0 or self._unread_bytes > 0
        self.end(Disconnected(f"{how} {'in the middle of its answer' if has_begun else 'before it answered'}"))
