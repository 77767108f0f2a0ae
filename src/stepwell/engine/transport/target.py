"""What a URL says about a request: whom to connect to, and the text that doesn't change from call to call."""

from __future__ import annotations

import base64
import re
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, quote_plus, unquote, urlencode, urlsplit, urlunsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST: Final = re.compile(r"[a-z0-9._-]+")
_ZONE: Final = re.compile(r"[A-Za-z0-9._-]+")
_URL_SAFE: Final = "!#$%&'()*+,/:;=?@[]~"
"""What may stand in a path and query as it is (RFC 3986), ``%`` included: URLs come percent-encoded."""


class Origin(NamedTuple):
    """Whom to connect to: connections are shared by all requests to one origin."""

    scheme: str
    host: str
    port: int


class Target(NamedTuple):
    """A URL, ready to be asked."""

    origin: Origin
    path: str
    """Path and query, as they stand in the request line: ASCII, without spaces."""
    fields: str
    """The ``Host`` field and, for a URL with a user, ``Authorization``."""

    def url(self, path: str) -> str:
        """Return the URL of another path at this host."""
        scheme, host, port = self.origin
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"


def target_of(url: str) -> Target:
    """Take a URL apart. Raises ``ValueError`` for one that can't be asked.

    Nothing that a URL holds can add a line to a request: hosts are checked, the rest is percent-encoded.
    """
    parts = urlsplit(url)
    scheme, host = parts.scheme, parts.hostname
    if scheme not in _DEFAULT_PORTS or not host:
        raise ValueError("its URL must be like http://localhost:3000/api/inngest")
    host = _checked_host(host)
    default = _DEFAULT_PORTS[scheme]
    port = default if parts.port is None else parts.port
    # A zone says which interface of this machine leads to an address: it is no business of the app.
    named = f"[{host.partition('%')[0]}]" if ":" in host else host
    fields = f"Host: {named}\r\n" if port == default else f"Host: {named}:{port}\r\n"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(Origin(scheme, host, port), quote(path, safe=_URL_SAFE), fields + _authorization(parts))


@lru_cache(maxsize=1024)
def call_target(url: str) -> Target:
    """Take a function's URL apart; its path ends in ``stepId=``, to be followed by ``step_in_url``.

    The rest of its query is kept. Raises ``ValueError`` for a URL that can't be called.
    """
    parts = urlsplit(url)
    query = [(key, value) for key, value in parse_qsl(parts.query, keep_blank_values=True) if key != "stepId"]
    query.append(("stepId", ""))
    return target_of(urlunsplit(parts._replace(query=urlencode(query))))


def step_in_url(step_id: str) -> str:
    """Encode a step's id for a query. Nearly all are ``step`` or a hash, and need no encoding."""
    return step_id if step_id.isalnum() and step_id.isascii() else quote_plus(step_id)


def shown_url(url: str) -> str:
    """Return a URL as it may be told to people: without its query and without a password."""
    plain = url.partition("?")[0]
    if "@" not in plain:
        return plain
    scheme, mark, rest = plain.partition("//")
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def _checked_host(host: str) -> str:
    """Return a host name in ASCII, or an address. Raises ``ValueError`` for what is neither."""
    if ":" in host:
        address, _, zone = host.partition("%")
        IPv6Address(address)
        if zone and _ZONE.fullmatch(zone) is None:
            raise ValueError(f"{host!r} is no address")
        return host
    name = host if host.isascii() else host.encode("idna").decode()
    if _HOST.fullmatch(name) is None:
        raise ValueError(f"{host!r} is no host name")
    return name


def _authorization(parts: SplitResult) -> str:
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}\r\n"
