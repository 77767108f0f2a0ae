"""An app's settings, from its constructor and the environment (protocol 1.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from stepwell.errors import ConfigError
from stepwell.protocol.headers import SERVER_KIND_CLOUD, SERVER_KIND_DEV
from stepwell.protocol.signature import hashed_key

DEV_ORIGIN: Final = "http://127.0.0.1:8288"
DEV_EVENT_KEY: Final = "NO_EVENT_KEY_SET"  # protocol 1.2

_FALSE: Final = frozenset({"", "0", "false", "no", "off"})


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an app knows of its server, and of itself."""

    is_dev: bool
    api_origin: str | None
    event_origin: str | None
    event_key: str | None
    signing_key: str | None
    signing_key_fallback: str | None
    env: str | None
    serve_origin: str | None
    serve_path: str | None
    has_in_band_sync: bool
    captures_logs: bool = True
    """What user code logs while it works on a run is sent to the server."""
    captures_prints: bool = True
    """And what it prints."""

    @property
    def mode(self) -> str:
        """``dev`` or ``cloud``, as the protocol calls them."""
        return SERVER_KIND_DEV if self.is_dev else SERVER_KIND_CLOUD

    @property
    def signing_keys(self) -> list[str]:
        """The signing key, then its fallback."""
        return [key for key in (self.signing_key, self.signing_key_fallback) if key]

    def api_url(self, path: str) -> str:
        """Return a URL of the server's API; raise ``ConfigError`` when no server is set."""
        return f"{_required(self.api_origin)}{path}"

    def event_url(self) -> str:
        """Return the URL that takes events; raise ``ConfigError`` when no server, or no event key, is set."""
        key = self.event_key or (DEV_EVENT_KEY if self.is_dev else None)
        if key is None:
            raise ConfigError(
                "there is no event key: set STEPWELL_EVENT_KEY to one of the server's,"
                " or STEPWELL_DEV=1 to use a local dev server"
            )
        return f"{_required(self.event_origin)}/e/{quote(key, safe='')}"


def read_settings(
    environ: Mapping[str, str],
    *,
    url: str | None = None,
    event_key: str | None = None,
    signing_key: str | None = None,
    signing_key_fallback: str | None = None,
    env: str | None = None,
    is_dev: bool | None = None,
    capture_logs: bool | None = None,
    capture_prints: bool | None = None,
    serve_origin: str | None = None,
    serve_path: str | None = None,
) -> Settings:
    """Merge arguments and environment. Arguments win, then ``STEPWELL_…``, then ``INNGEST_…``.

    Without a word about it an app is in production: ``is_dev``, or ``STEPWELL_DEV=1`` (or a URL), says otherwise.
    Raises ``ConfigError`` for URLs that aren't any, and in production for a malformed signing key.
    """

    def read(*names: str) -> str | None:
        for prefix in ("STEPWELL_", "INNGEST_"):
            for name in names:
                if value := environ.get(prefix + name, "").strip():
                    return value
        return None

    dev = read("DEV")
    dev_url = dev if dev is not None and "://" in dev else None
    if is_dev is None:
        is_dev = dev is not None and dev.lower() not in _FALSE
    default = (dev_url or DEV_ORIGIN) if is_dev else None
    base = read("URL", "BASE_URL")
    settings = Settings(
        is_dev=is_dev,
        api_origin=_origin(url or read("API_BASE_URL", "API_ORIGIN") or base or default),
        event_origin=_origin(url or read("EVENT_API_BASE_URL", "EVENT_API_ORIGIN") or base or default),
        event_key=event_key or read("EVENT_KEY"),
        signing_key=signing_key or read("SIGNING_KEY"),
        signing_key_fallback=signing_key_fallback or read("SIGNING_KEY_FALLBACK"),
        env=env or read("ENV"),
        serve_origin=_origin(serve_origin or read("SERVE_ORIGIN", "SERVE_HOST")),
        serve_path=serve_path or read("SERVE_PATH"),
        captures_logs=_is_on(capture_logs, read("CAPTURE_LOGS")),
        captures_prints=_is_on(capture_prints, read("CAPTURE_PRINTS")),
        has_in_band_sync=(read("ALLOW_IN_BAND_SYNC") or "1").lower() not in _FALSE,
    )
    if not is_dev:
        for key in settings.signing_keys:
            hashed_key(key)
    return settings


def _is_on(given: bool | None, text: str | None) -> bool:
    return given if given is not None else (text or "1").lower() not in _FALSE


def _origin(url: str | None) -> str | None:
    if url is None:
        return None
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{url!r} is not the URL of a server; write it like http://stepwell.internal:8288")
    return url.rstrip("/")


def _required(origin: str | None) -> str:
    if origin is None:
        raise ConfigError(
            "there is no server to talk to: the app is in production mode (the default), so set STEPWELL_URL"
            " to the server's URL, or STEPWELL_DEV=1 to use a local dev server"
        )
    return origin
