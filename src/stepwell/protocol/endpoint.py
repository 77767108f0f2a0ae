"""Durable endpoints (protocol 7.4): HTTP handlers of an app whose runs begin in the app. Read by the server only."""

from __future__ import annotations

import base64
import binascii
from typing import Final

import msgspec

from stepwell.protocol.canonical import NotJson, canonical
from stepwell.protocol.ops import Op

HTTP_REQUEST: Final = "inngest/http.request"
"""The event of such a run: the request that began it."""

ENDPOINT: Final = "durable-endpoint"
"""The runtime of such a function, and the framework of its app: they are made on first use, and never asked for what
they have."""

_SIGNED: Final = ("POST", "PUT")


class HttpRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """``data`` of the event: a request as the app got it."""

    domain: str = ""
    """Scheme and host, such as ``https://api.example.com``."""
    method: str = "POST"
    path: str = "/"
    fn: str = ""
    content_type: str = ""
    query_params: str = ""
    body: str = ""

    @property
    def name(self) -> str:
        """The function's name: the one that it was given, or else method and path."""
        return self.fn or f"{self.method} {self.path}"

    @property
    def url(self) -> str:
        """The request's URL, with its query."""
        return self.domain + self.path + (f"?{self.query_params}" if self.query_params else "")

    @property
    def content(self) -> bytes:
        """The body. Some SDKs write it as text, some in base64: what is JSON already, or no base64 of a text, is text."""
        text = self.body.encode("utf-8", "surrogatepass")
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            try:
                decoded = base64.b64decode(text, validate=True)
                decoded.decode()
            except (binascii.Error, UnicodeDecodeError):
                return text
            return decoded
        return text


class CalledRequest(msgspec.Struct, frozen=True):
    """The event of a run, of which only the request is read."""

    name: str
    data: msgspec.Raw


class StartedEvent(msgspec.Struct, frozen=True):
    """The event that a run begins with, without the id and the time that the server gives it."""

    name: str
    data: msgspec.Raw


class StartedRun(msgspec.Struct, frozen=True):
    """A run that has begun in the app, with what it has done so far (``POST /v1/checkpoint``)."""

    run_id: str
    event: StartedEvent
    steps: list[Op] = []
    request_version: int = 2
    retries: int | None = None


class Progress(msgspec.Struct, frozen=True):
    """What a run that began in the app has done since (``POST /v1/checkpoint/{run_id}/steps``)."""

    run_id: str
    steps: list[Op] = []


# A decoder of its own for each thing that is read: see ``protocol/call.py``.
decode_started: Final = msgspec.json.Decoder(StartedRun).decode
decode_progress: Final = msgspec.json.Decoder(Progress).decode
decode_request: Final = msgspec.json.Decoder(HttpRequest).decode
decode_called: Final = msgspec.json.Decoder(CalledRequest).decode


def signed_content(method: str, content: bytes) -> bytes:
    """Return what the signature of a call is made of: SDKs look at the bodies of POST and PUT alone, as parsed JSON."""
    if method.upper() not in _SIGNED:
        return b""
    try:
        encoded, value, _ = canonical(content or b'""')
    except NotJson:
        return content
    return value.encode() if isinstance(value, str) else encoded
