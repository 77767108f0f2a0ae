"""Serve an app in any ASGI framework.

Starlette, FastAPI:  ``app.routes.append(Route("/api/stepwell", sw.asgi()))`` (of ``starlette.routing``), or
                     ``app.mount("/api/stepwell", sw.asgi())``, which answers at ``/api/stepwell/``
Litestar:            ``Litestar([asgi("/api/stepwell", copy_scope=True)(sw.asgi())])``
alone:               ``uvicorn module:app`` with ``app = sw.asgi()``
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from stepwell.limits import CALL_BODY_BYTES_MAX
from stepwell.sdk.handler import Handler
from stepwell.sdk.http import Request, is_too_long

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

# What frameworks are called on the wire (protocol 1.4), by the package of the app in the scope.
_FRAMEWORKS: Final = {"fastapi": "fast_api", "starlette": "starlette", "litestar": "litestar"}


class AsgiApp:
    """An ASGI application that answers on the path where it is mounted."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; as an application of its own, also the lifespan."""
        match scope["type"]:
            case "http":
                await self._http(scope, receive, send)
            case "lifespan":
                await receive()
                await send({"type": "lifespan.startup.complete"})
                await receive()
                await send({"type": "lifespan.shutdown.complete"})
            case _:
                await send({"type": "websocket.close", "code": 1003})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        body = bytearray()
        is_over = is_too_long(headers.get("content-length"))
        while not is_over:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            is_over = len(body) > CALL_BODY_BYTES_MAX
            if not message.get("more_body", False):
                break
        response = await self._handler.handle(
            Request(
                method=scope["method"],
                url=_url(scope, headers),
                headers=headers,
                body=None if is_over else bytes(body),
                framework=_framework(scope),
            )
        )
        length = (b"content-length", str(len(response.body)).encode())
        raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
        await send({"type": "http.response.start", "status": response.status, "headers": [*raw, length]})
        await send({"type": "http.response.body", "body": response.body})


def _url(scope: Scope, headers: dict[str, str]) -> str:
    host = headers.get("host")
    if host is None:
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else str(name)
    # Frameworks differ in what a mount does to `path`; `raw_path` stays as it was sent, but servers may leave it out.
    raw = scope.get("raw_path")
    root, path = scope.get("root_path", ""), raw.decode("latin-1") if raw else quote(scope["path"])
    whole = path if path.startswith(root) else root + path
    query = scope.get("query_string", b"").decode("latin-1")
    return f"{scope.get('scheme', 'http')}://{host}{whole}{'?' + query if query else ''}"


def _framework(scope: Scope) -> str:
    for key in ("litestar_app", "app"):
        package = type(scope.get(key)).__module__.partition(".")[0]
        if package in _FRAMEWORKS:
            return _FRAMEWORKS[package]
    return "asgi"
