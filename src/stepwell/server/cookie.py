"""The cookie of a session, and by which way it may travel.

Over https, directly or through a proxy that says so (``X-Forwarded-Proto``), the cookie is ``Secure`` and bound to this very
host (``__Host-``). A header that lies can only make a cookie stricter. Over plain http it travels in the clear, which is
fine on this machine alone.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import cookie_parser
from starlette.types import Scope

from stepwell.limits import SESSION_MS

_SECURE_NAME: Final = "__Host-stepwell"
_PLAIN_NAME: Final = "stepwell"


def headers_of(scope: Scope, name: bytes) -> list[str]:
    """Return the values of a header, one for each time it is there."""
    pairs: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return [value.decode("latin-1") for key, value in pairs if key == name]


def is_secure(scope: Scope) -> bool:
    """Tell whether the browser asks over https."""
    forwarded = headers_of(scope, b"x-forwarded-proto")
    return scope["scheme"] == "https" or any(value.strip().lower() == "https" for value in forwarded)


def is_of_this_machine(scope: Scope) -> bool:
    """Tell whether the browser runs on this machine, by the name that it calls the server by."""
    hosts = headers_of(scope, b"host")
    name = host_name(hosts[0]) if len(hosts) == 1 else ""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header, lower-case, without port, brackets and final dot; empty when malformed."""
    try:
        parts = urlsplit(f"//{host}")
        name = parts.hostname or ""
    except ValueError:
        return ""
    return "" if parts.path or parts.query or "@" in parts.netloc else name.rstrip(".")


def session_token(scope: Scope) -> str | None:
    """Return the token in a request's cookie. What came in the clear is no cookie of an https page."""
    for header in headers_of(scope, b"cookie"):
        # Not the standard library's parser, which gives up all cookies where another program's has a space in it.
        token = cookie_parser(header).get(_name(scope))
        if token:
            return token
    return None


def session_cookie(token: str | None, scope: Scope) -> str:
    """Return the ``Set-Cookie`` header of a session; None takes the cookie away."""
    age_s = SESSION_MS // 1000 if token is not None else 0
    cookie = f"{_name(scope)}={token or ''}; Path=/; Max-Age={age_s}; HttpOnly; SameSite=Strict"
    return f"{cookie}; Secure" if is_secure(scope) else cookie


def client_address(scope: Scope) -> str:
    """Return whom attempts are counted for: behind a proxy that is near, whom the proxy names last.

    Of IPv6 it is the network: whoever has one address there has 2^64 of them.
    """
    client = scope.get("client")
    address: str = client[0] if client else ""
    forwarded = headers_of(scope, b"x-forwarded-for")
    try:
        is_near = ipaddress.ip_address(address).is_private
    except ValueError:
        is_near = False
    return _network(forwarded[-1].rpartition(",")[2].strip()[:64] if is_near and forwarded else address)


def _network(address: str) -> str:
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = found.ipv4_mapped
    return str(mapped if mapped is not None else ipaddress.IPv6Network((found, 64), strict=False))


def _name(scope: Scope) -> str:
    return _SECURE_NAME if is_secure(scope) else _PLAIN_NAME
