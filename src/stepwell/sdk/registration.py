"""The app tells the server its functions, and about itself (protocol 3)."""

from __future__ import annotations

import hashlib
from typing import Any, Final
from urllib.parse import quote, urlsplit, urlunsplit

import msgspec

from stepwell.errors import ConfigError
from stepwell.protocol.signature import hashed_key
from stepwell.protocol.sync import FunctionConfig
from stepwell.sdk.function import Function
from stepwell.sdk.settings import Settings
from stepwell.sdk.version import AUTHOR, LANGUAGE, SDK, VERSION

REGISTER_PATH: Final = "/fn/register"
SCHEMA_VERSION: Final = "2024-05-24"
_CAPABILITIES: Final = {"in_band_sync": "v1", "trust_probe": "v1"}


def register_path(deploy_id: str) -> str:
    """Return the path and query of the register call; ``deploy_id`` is passed on from the PUT."""
    return f"{REGISTER_PATH}?deployId={quote(deploy_id, safe='')}" if deploy_id else REGISTER_PATH


def serve_url(settings: Settings, url: str) -> str:
    """Return the URL under which the server shall call the app: the request's, with the settings' origin and path."""
    parts = urlsplit(url)
    origin = urlsplit(settings.serve_origin) if settings.serve_origin else parts
    path = settings.serve_path or parts.path
    return urlunsplit((origin.scheme, origin.netloc, path if path.startswith("/") else f"/{path}", "", ""))


def configs(functions: list[Function[Any]], url: str) -> list[FunctionConfig]:
    """Return the configuration of each function, those of ``on_failure`` handlers behind their functions'."""
    found: list[FunctionConfig] = []
    for function in functions:
        found.append(function.config(url))
        if function.on_failure is not None:
            found.append(function.on_failure.config(url))
    return found


def register_body(app_id: str, functions: list[Function[Any]], url: str, framework: str) -> bytes:
    """Return the body of ``POST /fn/register`` (protocol 3.1)."""
    return msgspec.json.encode(
        {
            "url": url,
            "deployType": "ping",
            "framework": framework,
            "appName": app_id,
            "sdk": SDK,
            "v": "0.1",
            "capabilities": _CAPABILITIES,
            "functions": configs(functions, url),
        }
    )


def in_band_body(app_id: str, functions: list[Function[Any]], url: str, framework: str, settings: Settings) -> bytes:
    """Return the answer to an in-band PUT (protocol 3.2)."""
    return msgspec.json.encode(
        {
            "app_id": app_id,
            "env": settings.env,
            "framework": framework,
            "functions": configs(functions, url),
            "inspection": inspection(app_id, functions, framework, settings),
            "sdk": SDK,
            "sdk_author": AUTHOR,
            "sdk_language": LANGUAGE,
            "sdk_version": VERSION,
            "url": url,
        }
    )


def public_inspection(functions: list[Function[Any]], settings: Settings) -> dict[str, Any]:
    """Return what anybody may know of an app in dev mode (protocol 3.6)."""
    return {
        "function_count": len(configs(functions, "")),
        "has_event_key": settings.event_key is not None,
        "has_signing_key": settings.signing_key is not None,
        "has_signing_key_fallback": settings.signing_key_fallback is not None,
        "mode": settings.mode,
        "schema_version": SCHEMA_VERSION,
    }


def inspection(app_id: str, functions: list[Function[Any]], framework: str, settings: Settings) -> dict[str, Any]:
    """Return what a sender that has the signing key may know (protocol 3.6)."""
    event_key = settings.event_key
    return {
        **public_inspection(functions, settings),
        "authentication_succeeded": True,
        "api_origin": settings.api_origin,
        "app_id": app_id,
        "capabilities": _CAPABILITIES,
        "env": settings.env,
        "event_api_origin": settings.event_origin,
        "event_key_hash": hashlib.sha256(event_key.encode()).hexdigest() if event_key is not None else None,
        "framework": framework,
        "sdk_language": LANGUAGE,
        "sdk_version": VERSION,
        "serve_origin": settings.serve_origin,
        "serve_path": settings.serve_path,
        "signing_key_hash": _key_hash(settings.signing_key),
        "signing_key_fallback_hash": _key_hash(settings.signing_key_fallback),
    }


def _key_hash(key: str | None) -> str | None:
    try:
        return hashed_key(key) if key is not None else None
    except ConfigError:
        # In dev mode a key may be anything.
        return None
