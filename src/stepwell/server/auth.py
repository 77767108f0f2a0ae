"""Who may use what.

- ``start``: ``/api`` answers only with an API token; what SDKs call needs the signing key (protocol 5.4).
- ``dev``: no keys, so that nothing stands between a developer and their first event. What stands guard instead is the
  browser: a page from elsewhere must not read or drive this server. ``Host`` must be a name that no foreign DNS record
  can lead here (rebinding), ``Origin`` one of this machine's (cross-site requests).
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from stepwell.protocol.signature import is_bearer_of
from stepwell.server.context import ApiError, Context, error_response
from stepwell.server.settings import Settings

_DOCKER_HOST: Final = "host.docker.internal"
_OPEN_API: Final = frozenset(("/api/session",))
"""Where one asks who one is, and comes in."""
_IS_KNOWN: Final = "stepwell.is_known"
_OPEN_PATHS: Final = ("/e/", "/health", "/ready")
"""Open to pages of any origin, as the event API must be (protocol 2.3)."""


class ApiGuard:
    """Lets through what may go on, and answers the rest with 401 or 403."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._is_dev = settings.is_dev
        self._token_digests = [_digest(token.encode()) for token in settings.api_tokens]
        self._own_names = frozenset((settings.host.lower(), socket.gethostname().lower(), _DOCKER_HOST))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(_OPEN_PATHS):
            error = self._refusal(scope)
            if error is not None:
                await _refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> ApiError | None:
        if self._is_dev:
            scope[_IS_KNOWN] = True
            return self._foreign(scope)
        path: str = scope["path"]
        if path in ("/api", "/metrics") or path.startswith("/api/"):
            error = self._unauthorized(scope)
            scope[_IS_KNOWN] = error is None
            return error if path not in _OPEN_API else None
        return None

    def _unauthorized(self, scope: Scope) -> ApiError | None:
        given = _headers(scope, b"authorization")
        if not given:
            return ApiError(401, "unauthorized", "the API needs a token: Authorization: Bearer <API token>")
        scheme, _, token = given[0].partition(" ")
        digest = _digest(token.strip().encode("latin-1"))
        # A sum, not any(): each token is compared, whichever fits.
        is_known = sum(hmac.compare_digest(digest, known) for known in self._token_digests) > 0
        if scheme.lower() == "bearer" and is_known and len(given) == 1:
            return None
        return ApiError(401, "unauthorized", "the API token is not one of this server's (--api-token)")

    def _foreign(self, scope: Scope) -> ApiError | None:
        hosts = _headers(scope, b"host")
        if len(hosts) != 1 or not self._is_own_host(_host_name(hosts[0])):
            shown = ", ".join(hosts)[:200] or "none"
            return ApiError(
                403,
                "foreign_host",
                f"the Host header ({shown}) is no name of this dev server: call it by localhost or by an IP address",
            )
        for origin in _headers(scope, b"origin"):
            if not _is_own_origin(origin, hosts[0]):
                return ApiError(
                    403, "foreign_origin", f"requests of web pages from {origin[:200]} are refused by the dev server"
                )
        return None

    def _is_own_host(self, name: str) -> bool:
        """Tell whether a page can't have got here by a DNS record of its own.

        An address is not a name; and a name without a dot isn't in the public DNS (Compose calls services so).
        """
        if not name:
            return False
        return name in self._own_names or "." not in name or _is_local_name(name) or _address(name) is not None


def is_authenticated(scope: Scope) -> bool:
    """Tell whether the guard knows who makes a request to the API."""
    return scope[_IS_KNOWN]


def check_bearer(context: Context, request: Request) -> None:
    """Let SDKs with the signing key pass (protocol 5.4); in dev, all. Raises ``ApiError`` 401."""
    settings = context.settings
    if not settings.is_dev and not is_bearer_of(settings.signing_keys, request.headers.get("authorization")):
        raise ApiError(401, "unauthorized", "this needs the signing key: Authorization: Bearer <hashed signing key>")


async def _refuse(error: ApiError, scope: Scope, receive: Receive, send: Send) -> None:
    response = error_response(error)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    await response(scope, receive, send)


def _headers(scope: Scope, name: bytes) -> list[str]:
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in pairs if key == name]


def _digest(secret: bytes) -> bytes:
    """Digests are of one length: comparing them tells nothing of a token's."""
    return hashlib.sha256(secret).digest()


def _is_own_origin(origin: str, host: str) -> bool:
    """Tell whether a page is this server's own, or served by this machine (an app, or the dashboard under work)."""
    try:
        parts = urlsplit(origin)
        name = (parts.hostname or "").rstrip(".")
    except ValueError:
        return False
    if not name:
        return False  # "null": a sandboxed page
    address = _address(name)
    is_loopback = address.is_loopback if address is not None else _is_local_name(name)
    return is_loopback or parts.netloc.lower() == host.lower()


def _is_local_name(name: str) -> bool:
    return name == "localhost" or name.endswith(".localhost")


def _host_name(host: str) -> str:
    """Return the name in a ``Host`` header, lower-case, without port, brackets and final dot; empty when malformed."""
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
    except ValueError:
        return ""
    return "" if parts.path or parts.query or "@" in parts.netloc else name.rstrip(".")


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
