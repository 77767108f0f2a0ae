"""What every route needs: the engine, the settings, and the answers in their common shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive

from stepwell.engine.core.registration import SyncPlan
from stepwell.engine.engine import Engine
from stepwell.protocol import headers as names
from stepwell.server.demo import Demo
from stepwell.server.live.hub import Hub
from stepwell.server.metrics import Metrics
from stepwell.server.settings import Settings

if TYPE_CHECKING:
    from stepwell.server.access import Access  # which raises errors of this module

JSON_TYPE: Final = "application/json"


def _unwatched(_plan: SyncPlan) -> None:
    pass


def _unsaid(_line: str) -> None:
    pass


class Context(msgspec.Struct, frozen=True):
    """One running server."""

    settings: Settings
    engine: Engine
    hub: Hub
    """Tells open pages what changes."""
    metrics: Metrics
    demo: Demo
    access: Access
    """Lets people and programs in."""
    watch_sync: Callable[[SyncPlan], None] = _unwatched
    """Told of each sync that changed something."""
    note: Callable[[str], None] = _unsaid
    """Says one line to whoever runs the server."""
    warn: Callable[[str], None] = _unsaid
    """Says one line about something that needs a hand."""


def kind_header(context: Context) -> tuple[bytes, bytes]:
    """Return the header that tells SDKs the kind of this server (protocol 1.3)."""
    return (names.SERVER_KIND.lower().encode(), context.settings.kind.encode())


class ApiError(Exception):
    """An answer that is an error: HTTP status, stable code, message, and the place in the request (``$.data``)."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        path: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.path = status, code, message, path
        self.headers = headers


def json_response(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Answer with JSON; ``value`` is bytes that are JSON already, or what msgspec encodes."""
    body = value if isinstance(value, bytes) else msgspec.json.encode(value)
    return Response(body, status, headers, JSON_TYPE)


def error_response(error: ApiError) -> Response:
    """Answer with our own API's error shape: ``{"error": {"code", "message", "path"}}``."""
    inner = {"code": error.code, "message": error.message}
    if error.path is not None:
        inner["path"] = error.path
    return json_response({"error": inner}, error.status, error.headers)


async def read_body(request: Request, limit: int) -> bytes:
    """Read a request's body up to ``limit`` bytes. Raises ``ApiError`` 413 for more, before it is all read."""
    length = request.headers.get("content-length")
    return await receive_body(request.receive, length.encode() if length is not None else None, limit)


async def receive_body(receive: Receive, length: bytes | None, limit: int) -> bytes:
    """Read a body of plain ASGI, as ``read_body`` does. A client that goes away raises ``ClientDisconnect``."""
    if length is not None and length.isdigit() and int(length) > limit:
        raise ApiError(413, "body_too_large", f"the body has {int(length)} bytes; the limit is {limit}")
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise ApiError(413, "body_too_large", f"the body has more than {limit} bytes, which is the limit")
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)
