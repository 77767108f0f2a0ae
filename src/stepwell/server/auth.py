"""Who may use what.

- ``start``: ``/api`` and ``/metrics`` answer only with an API token, or in a session, and there, where something is
  done, only to a page of this server; what SDKs call needs the signing key (protocol 5.4).
- ``dev``: no keys, so that nothing stands between a developer and their first event. What stands guard instead is the
  browser: a page from elsewhere must not read or drive this server. ``Host`` must be a name that no foreign DNS record
  can lead here (rebinding), ``Origin`` one of this machine's (cross-site requests).
"""

from __future__ import annotations

import ipaddress
import socket
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.errors import StoreError
from stepwell.protocol.signature import is_bearer_of
from stepwell.server.access import Access
from stepwell.server.context import ApiError, Context, error_response
from stepwell.server.cookie import headers_of, host_name, session_cookie, session_token
from stepwell.server.settings import Settings

_DOCKER_HOST: Final = "host.docker.internal"
_SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
_OPEN_API: Final = frozenset(("/api/session", "/api/setup"))
"""Where one asks who one is, and comes in."""
_IS_KNOWN: Final = "stepwell.is_known"
_ASK_AGAIN: Final = "stepwell.ask_again"
_OPEN_PATHS: Final = ("/e/", "/health", "/ready")
"""Open to pages of any origin, as the event API must be (protocol 2.3)."""


class ApiGuard:
    """Lets through what may go on, and answers the rest with 401 or 403."""

    def __init__(self, app: ASGIApp, settings: Settings, access: Access) -> None:
        self._app = app
        self._is_dev = settings.is_dev
        self._access = access
        self._own_names = frozenset((settings.host.lower(), socket.gethostname().lower(), _DOCKER_HOST))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        cookie: str | None = None
        if scope["type"] == "http" and not scope["path"].startswith(_OPEN_PATHS):
            try:
                cookie = await self._admit(scope)
            except ApiError as error:
                await _refuse(error, scope, receive, send)
                return
            except StoreError as error:
                refusal = ApiError(503, error.code, f"the database can't be asked who this is, try again: {error}")
                await _refuse(refusal, scope, receive, send)
                return
        await self._app(scope, receive, send if cookie is None else _sending(cookie, send))

    async def _admit(self, scope: Scope) -> str | None:
        """Let a request in, and return a cookie that its answer takes along. Raises ``ApiError``, ``StoreError``."""
        scope[_IS_KNOWN] = self._is_dev
        scope[_ASK_AGAIN] = partial(self._is_known, scope)
        if self._is_dev:
            self._check_foreign(scope)
            return None
        path: str = scope["path"]
        if path not in ("/api", "/metrics") and not path.startswith("/api/"):
            return None
        if path in _OPEN_API:
            # Nobody is let in, so that a wrong token does no harm here; but no other page may do it for its visitor.
            scope[_IS_KNOWN] = await self._is_known(scope)
            if scope["method"] not in _SAFE_METHODS:
                _check_page(scope, is_proven=False)
            return None
        if headers_of(scope, b"authorization"):
            await self._check_token(scope)
            return None
        return await self._check_session(scope)

    async def _is_known(self, scope: Scope) -> bool:
        if self._is_dev:
            return True
        if headers_of(scope, b"authorization"):
            return await self._has_token(scope)
        token = session_token(scope)
        return token is not None and await self._access.is_session(token)

    async def _has_token(self, scope: Scope) -> bool:
        given = headers_of(scope, b"authorization")
        scheme, _, token = given[0].partition(" ")
        return len(given) == 1 and scheme.lower() == "bearer" and await self._access.is_api_token(token.strip())

    async def _check_token(self, scope: Scope) -> None:
        if not await self._has_token(scope):
            raise ApiError(401, "unauthorized", "the API token is not one of this server's")
        scope[_IS_KNOWN] = True

    async def _check_session(self, scope: Scope) -> str | None:
        token = session_token(scope)
        if token is None:
            raise ApiError(401, "unauthorized", "the API needs a login, or a token: Authorization: Bearer <API token>")
        if not await self._access.is_session(token):
            raise ApiError(401, "unauthorized", "the session is over: log in again, or use an API token")
        if scope["method"] not in _SAFE_METHODS:
            _check_page(scope, is_proven=True)
        scope[_IS_KNOWN] = True
        return session_cookie(token, scope) if await self._access.renew(token) else None

    def _check_foreign(self, scope: Scope) -> None:
        hosts = headers_of(scope, b"host")
        if len(hosts) != 1 or not self._is_own_host(host_name(hosts[0])):
            shown = ", ".join(hosts)[:200] or "none"
            raise ApiError(
                403,
                "foreign_host",
                f"the Host header ({shown}) is no name of this dev server: call it by localhost or by an IP address",
            )
        for origin in headers_of(scope, b"origin"):
            if not _is_own_origin(origin, hosts[0]):
                raise ApiError(
                    403, "foreign_origin", f"requests of web pages from {origin[:200]} are refused by the dev server"
                )

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


async def is_still_authenticated(scope: Scope) -> bool:
    """Ask again whether who made a request may make it: a session may have ended. Raises ``StoreError``."""
    return await scope[_ASK_AGAIN]()


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


def _check_page(scope: Scope, *, is_proven: bool) -> None:
    """Refuse what a page of another site makes its visitor's browser do; with ``is_proven``, all that isn't shown to
    come from a page of ours.

    Browsers say so in ``Sec-Fetch-Site``, but over plain http only in ``Origin``. Raises ``ApiError`` 403.
    """
    sites = headers_of(scope, b"sec-fetch-site")
    if sites:
        is_own = sites == ["same-origin"]
    else:
        origins, hosts = headers_of(scope, b"origin"), headers_of(scope, b"host")
        is_own = not is_proven if not origins else len(hosts) == 1 and _is_of_host(origins, hosts[0])
    if not is_own:
        raise ApiError(403, "foreign_origin", "this is for pages of this server only; programs use an API token")


def _is_of_host(origins: list[str], host: str) -> bool:
    try:
        return [urlsplit(origin).netloc.lower() for origin in origins] == [host.lower()]
    except ValueError:
        return False


def _sending(cookie: str, send: Send) -> Send:
    async def send_with_cookie(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"set-cookie", cookie.encode())]
        await send(message)

    return send_with_cookie


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


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
