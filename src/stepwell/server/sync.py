"""Asks an app for its functions: the PUT to its serve URL (protocol 3.1, 3.2), and what the answer means (3.8).

In dev the app registers itself, by a POST to ``/fn/register`` while our PUT waits. In production the PUT is signed and
asks for the functions in the answer (in-band), which must be signed in turn; an app that would rather register itself
may.
"""

from __future__ import annotations

import socket
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from stepwell.engine.clock import real_ms
from stepwell.engine.core.model import App
from stepwell.engine.transport.client import Client, TooManyRedirects
from stepwell.engine.transport.connection import Response, TooLarge
from stepwell.errors import FunctionConfigError
from stepwell.limits import REGISTER_BODY_BYTES_MAX, SYNC_TIMEOUT_MS
from stepwell.protocol import headers as names
from stepwell.protocol.canonical import Json, encode
from stepwell.protocol.signature import sign, verify
from stepwell.protocol.sync import plain_url, read_sync
from stepwell.server.context import Context
from stepwell.server.register import apply_sync

_URL_CHARS_MAX: Final = 2_000
_EXCERPT_CHARS: Final = 300
_FOLLOWED: Final = (301, 302, 307, 308)
"""Redirects that keep PUT a PUT."""


class SyncOutcome(NamedTuple):
    """What came of asking an app. ``code`` is None when it worked, else one of protocol 3.8."""

    code: str | None
    message: str = ""
    """The URL, what it answered, and the fix, in one line."""
    app: App | None = None
    """The app under this URL; None also where it registered itself under another."""
    is_modified: bool = False


class _Said(msgspec.Struct, frozen=True):
    message: Json = None
    error: Json = None
    code: Json = None


def new_client() -> Client:
    """Make a client for talking to apps' serve URLs. The caller closes it."""
    # An app may close an idle connection at the moment of the next poll: each request has its own.
    return Client(idle_s=0, body_bytes_max=REGISTER_BODY_BYTES_MAX)


async def sync_url(context: Context, url: str, client: Client | None = None) -> SyncOutcome:
    """Ask the app at a URL for its functions. Whatever goes wrong is in the outcome."""
    wrong = _wrong_url(url)
    if wrong is not None:
        return SyncOutcome("invalid_url", f"{url[:200]} can't be synced: {wrong}")
    if client is not None:
        return await _sync(context, url, client)
    async with new_client() as own:
        return await _sync(context, url, own)


async def _sync(context: Context, url: str, client: Client) -> SyncOutcome:
    known = await _app_at(context, url)
    try:
        answer = await _put(context, url, client)
    except TimeoutError:
        return SyncOutcome("unreachable", f"{url} did not answer within {SYNC_TIMEOUT_MS // 1000} s: is the app stuck?")
    except TooManyRedirects:
        return SyncOutcome("unreachable", f"{url} redirects again and again: give the URL that it leads to")
    except TooLarge:
        return SyncOutcome("invalid_reply", f"{url} answered with more than {REGISTER_BODY_BYTES_MAX} bytes")
    except (OSError, ValueError) as error:
        return SyncOutcome("unreachable", f"{url} can't be reached: {_why(error)}")
    if answer.status != 200 or names.SDK not in answer.headers:
        return _failed(context, url, answer)
    if answer.headers.get(names.SYNC_KIND) == names.SYNC_IN_BAND:
        return await _register(context, url, answer)
    app = await _app_at(context, url)
    return SyncOutcome(None, app=app, is_modified=app is not None and app != known)


async def _put(context: Context, url: str, client: Client) -> Response:
    body = encode({"url": url})
    headers = {
        "User-Agent": "Stepwell",
        "Content-Type": "application/json",
        names.SERVER_KIND: context.settings.kind,
    }
    if context.settings.signing_key is not None:
        headers[names.SIGNATURE] = sign(context.settings.signing_key, body, real_ms() // 1000)
    if not context.settings.is_dev:
        headers[names.SYNC_KIND] = names.SYNC_IN_BAND
    timeout_s = SYNC_TIMEOUT_MS / 1000
    return await client.request("PUT", url, timeout_s=timeout_s, headers=headers, body=body, follows=_FOLLOWED)


async def _register(context: Context, url: str, answer: Response) -> SyncOutcome:
    """Register from an in-band answer, if it is signed with our key."""
    signature = answer.headers.get(names.SIGNATURE)
    if (
        not context.settings.is_dev
        and verify(context.settings.signing_keys, answer.body, signature, real_ms() // 1000) is None
    ):
        return SyncOutcome(
            "unauthorized", f"{url} answered with functions that aren't signed with this server's signing key"
        )
    try:
        synced = await apply_sync(context, read_sync(answer.body))
    except FunctionConfigError as error:
        return SyncOutcome("invalid_function", f"{url} has a function that can't be registered: {error}")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return SyncOutcome("invalid_reply", f"{url} answered with a registration that can't be read: {error}")
    return SyncOutcome(None, app=synced.app, is_modified=synced.is_modified)


def _failed(context: Context, url: str, answer: Response) -> SyncOutcome:
    """Say what an answer means that isn't a registration, and what to do."""
    said = _said(answer.body)
    told = f" ({said})" if said else ""
    match answer.status:
        case 401:
            fix = (
                "the app is in production mode: start it with INNGEST_DEV=1"
                if context.settings.is_dev
                else "its signing key isn't this server's: INNGEST_SIGNING_KEY must be the --signing-key"
            )
            return SyncOutcome("unauthorized", f"{url} answered 401{told}: {fix}")
        case 403:
            return SyncOutcome("forbidden", f"{url} answered 403{told}: something before the app refuses this server")
        case 404:
            return SyncOutcome(
                "url_not_found", f"{url} answered 404: nothing is served there; check the path, often /api/inngest"
            )
        case status if status >= 500:
            return SyncOutcome(
                "internal_server_error", f"{url} answered {status}{told}: the app's own log has the details"
            )
        case status if names.SDK not in answer.headers and names.SDK_HANDLED not in answer.headers:
            return SyncOutcome(
                "not_sdk",
                f"{url} answered {status}, but not as an SDK (no {names.SDK} header): check the port and the path",
            )
        case status:
            return SyncOutcome("sync_refused", f"{url} answered {status}{told or ', without a reason'}")


def _wrong_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for one that is no number
    except ValueError as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "it must be like http://localhost:3000/api/inngest"
    if len(url) > _URL_CHARS_MAX:
        return f"it has {len(url)} characters; the limit is {_URL_CHARS_MAX}"
    return None


async def _app_at(context: Context, url: str) -> App | None:
    apps = await context.engine.store.load_apps(context.engine.environment)
    # Frameworks that redirect a mount's path to the same with a slash make the app register that one.
    wanted = plain_url(url).rstrip("/")
    return next((app for app in apps if app.url.rstrip("/") == wanted and app.archived_at is None), None)


def _said(body: bytes) -> str:
    """Return the message in an app's answer, or its beginning."""
    try:
        said = msgspec.json.decode(body, type=_Said)
        texts = [text for text in (said.message, said.error, said.code) if isinstance(text, str)]
        return _one_line(texts[0]) if texts else ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    return "" if body.lstrip()[:1] == b"<" else _one_line(body[: 4 * _EXCERPT_CHARS].decode("utf-8", "replace"))


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_EXCERPT_CHARS]


def _why(error: Exception) -> str:
    match error:
        case ConnectionRefusedError():
            return "connection refused; is the app running, and on this port?"
        case socket.gaierror():
            return "its host name isn't known"
        case _:
            return _one_line(str(error)) or type(error).__name__
