"""Addresses of PostgreSQL: told from file names, checked, and shown without their secrets."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs, parse_qsl, unquote, urlencode, urlsplit

from stepwell.errors import ConfigError

EXAMPLE: Final = "postgresql://user:password@host:5432/database"
_SCHEMES: Final = ("postgresql", "postgres")
# Too much is hidden rather than too little: what follows a colon up to the last @, wherever that is.
_USER_PASSWORD: Final = re.compile(r"(://[^:@/]*:).*@")
_PASSWORD_PARAMETER: Final = re.compile(r"(?i)([?&](?:ssl)?password=)[^&]*")


def is_url(text: str) -> bool:
    """Tell whether a database is given as a URL, not as a file; it may be a wrong one."""
    return "://" in text or text.startswith(tuple(f"{scheme}:" for scheme in _SCHEMES))


def shown_url(url: str) -> str:
    """Return a URL as logs and messages may have it: ``***`` for its passwords."""
    return _PASSWORD_PARAMETER.sub(r"\1***", _USER_PASSWORD.sub(r"\1***@", url))


def check_url(flag: str, url: str) -> None:
    """Refuse what is no address of PostgreSQL, before a driver guesses at it.

    Several hosts may be named, as those of a primary and its standbys; a socket's folder is the parameter ``host``.
    Raises ``ConfigError``, which names the flag and shows no password.
    """
    if not url.startswith(tuple(f"{scheme}://" for scheme in _SCHEMES)):
        raise ConfigError(f"{flag} must be a file or like {EXAMPLE}, not {shown_url(url)!r}")
    why = _fault(url)
    if why is not None:
        raise ConfigError(
            f"{flag} must be like {EXAMPLE}, but {why}: {shown_url(url)!r}."
            " In a password, write @ : / ? # as %40 %3A %2F %3F %23"
        )


def each_host(url: str) -> list[str]:
    """Return a URL for each host that a good one names, in their order."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if hosts:
        start = f"{parts.scheme}://"
        rest = url[len(start + parts.netloc) :]
        return [f"{start}{user}{at}{host}{rest}" for host in hosts.split(",")]
    start, _, query = url.partition("?")
    fields = parse_qsl(query)
    named = [host for key, value in fields if key == "host" for host in value.split(",")]
    ports = [port for key, value in fields if key == "port" for port in value.split(",")]
    if len(ports) < len(named):
        ports = (ports[:1] or [""]) * len(named)
    rest = [(key, value) for key, value in fields if key not in ("host", "port")]
    return [
        f"{start}?{urlencode([('host', host), *([('port', port)] if port else []), *rest])}"
        for host, port in zip(named, ports, strict=False)
    ]


def _fault(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        parameters = parse_qs(parts.query, strict_parsing=True) if parts.query else {}
    except ValueError as error:
        return f"it can't be read ({error})"
    if parts.fragment:
        return "it has a #"
    user, _, hosts = parts.netloc.rpartition("@")
    if "@" in user or user.count(":") > 1:
        return "it has more than one user and password"
    named = [host for value in parameters.get("host", ()) for host in value.split(",")]
    if not hosts and not any(named):
        return "it names no host (a socket's folder is ?host=/run/postgresql)"
    for host in hosts.split(",") if hosts else ():
        fault = _host_fault(unquote(host))
        if fault is not None:
            return fault
    return None


def _host_fault(host: str) -> str | None:
    """Judge ``name``, ``name:port``, ``[address]:port`` or a socket's folder."""
    if host.startswith("/"):
        return None
    found = re.fullmatch(r"(\[[0-9a-fA-F:.]+\]|[^:\[\]]+)(?::([0-9]{1,5}))?", host)
    if found is None:
        return "a host is not a name or address with a port"
    if found[2] is not None and not 1 <= int(found[2]) <= 65_535:
        return "a port is not between 1 and 65535"
    return None
