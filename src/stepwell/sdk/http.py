"""The handler's own requests and replies, free of any framework, and the few that look alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit, urlunsplit

import msgspec

from stepwell.limits import CALL_BODY_BYTES_MAX

METHODS: Final = ("GET", "PUT", "POST")


class Request(msgspec.Struct, frozen=True):
    """A request to the app's serve path."""

    method: str
    url: str
    """The whole URL, as the sender wrote it."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes | None
    """None when it is longer than ``CALL_BODY_BYTES_MAX``; adapters then don't read it."""
    framework: str

    def header(self, name: str) -> str | None:
        """Return a header, whatever the case of its name."""
        return self.headers.get(name.lower())

    def query(self, name: str) -> str:
        """Return a field of the query, or an empty text."""
        return next(iter(parse_qs(urlsplit(self.url).query).get(name, ())), "")

    def plain_url(self) -> str:
        """Return the URL without its query."""
        parts = urlsplit(self.url)
        return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


class Response(msgspec.Struct, frozen=True):
    """What to answer."""

    status: int
    headers: dict[str, str]
    body: bytes


class Reply(msgspec.Struct, frozen=True):
    """A response before it gets the headers that all have."""

    status: int
    body: bytes
    headers: dict[str, str] = {}
    key: str | None = None
    """The signing key that verified the request, and signs the answer."""
    is_anonymous: bool = False
    """Tell a sender that isn't the server nothing about the app (protocol 5.2)."""


def error_reply(
    status: int, code: str, message: str, *, headers: dict[str, str] | None = None, is_anonymous: bool = False
) -> Reply:
    """Return an error in the form that servers show (protocol 4.6.1)."""
    body: dict[str, Any] = {"code": code, "name": code, "message": message}
    return Reply(status, msgspec.json.encode(body), headers or {}, is_anonymous=is_anonymous)


def is_too_long(content_length: str | None) -> bool:
    """Tell whether a ``Content-Length`` promises more than the handler takes."""
    return content_length is not None and content_length.isdecimal() and int(content_length) > CALL_BODY_BYTES_MAX
