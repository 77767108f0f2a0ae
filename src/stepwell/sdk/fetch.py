"""Requests that the server makes for a run while none of its code runs: to any URL, and to AI providers (protocol 4.8)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias
from urllib.parse import urlsplit

import msgspec

from stepwell.errors import StepUsageError
from stepwell.protocol.canonical import Json
from stepwell.protocol.ops import OpCode
from stepwell.sdk.event import as_object
from stepwell.sdk.wait import plain
from stepwell.sdk.wanted import Asked, Wanted

AiFormat: TypeAlias = Literal["openai-chat", "anthropic", "gemini", "bedrock"] | str
"""How a provider wants its key: ``anthropic`` as ``x-api-key``, ``gemini`` in the query, all others as a bearer token."""

INFER_TYPE = "step.ai.infer"


class FetchResponse(msgspec.Struct, frozen=True):
    """What a server answered, whatever its status: what ``step.fetch`` returns."""

    status_code: int
    headers: dict[str, str] = {}
    """Several values of one name are joined by commas."""
    text: str = ""
    url: str = ""

    @property
    def is_ok(self) -> bool:
        """The status is a 2xx."""
        return 200 <= self.status_code < 300

    def header(self, name: str) -> str | None:
        """Return a header, whatever the case of its name."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), None)

    def json(self) -> Json:
        """Read the body as JSON; raise ``ValueError`` when it isn't."""
        return msgspec.json.decode(self.text)


def fetching(
    id: str,
    url: str,
    *,
    method: str,
    headers: Mapping[str, str] | None,
    body: str | bytes | None,
    json: Any,
) -> Wanted:
    """Ask for a request. Raises ``StepUsageError`` for one that can't be."""
    _check_url(id, url)
    sent = dict(headers or {})
    if json is not None:
        if body is not None:
            raise StepUsageError(f"step {id!r}: give either body or json")
        body = msgspec.json.encode(plain(id, json))
        if not any(name.lower() == "content-type" for name in sent):
            sent["content-type"] = "application/json"
    opts: dict[str, Json] = {"url": url, "method": method.upper(), "headers": plain(id, sent)}
    if body is not None:
        opts["body"] = plain(id, _text(id, body))
    return Wanted(id, asked=Asked(OpCode.GATEWAY, opts))


def as_response(memo: Json) -> FetchResponse:
    """Read what came of a request."""
    fields = as_object(memo)
    return FetchResponse(
        status_code=int(fields.get("status_code") or 0),
        headers={str(name): str(value) for name, value in as_object(fields.get("headers")).items()},
        text=str(fields.get("body") or ""),
        url=str(fields.get("url") or ""),
    )


def inferring(
    id: str,
    *,
    url: str,
    format: AiFormat,  # noqa: A002 - what the protocol calls it
    auth_key: str,
    headers: Mapping[str, str] | None,
    body: Mapping[str, Any],
) -> Wanted:
    """Ask for a request to an AI provider. Raises ``StepUsageError`` for one that can't be."""
    _check_url(id, url)
    opts: dict[str, Json] = {
        "type": INFER_TYPE,
        "url": url,
        "headers": plain(id, dict(headers or {})),
        "auth_key": auth_key,
        "format": format,
        "body": plain(id, body),
    }
    return Wanted(id, asked=Asked(OpCode.AI_GATEWAY, opts))


def _check_url(id: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except (ValueError, TypeError, AttributeError):
        is_url = False
    if not is_url:
        raise StepUsageError(f"step {id!r}: {url!r} is no URL that the server can fetch; write https://…")


def _text(id: str, body: str | bytes) -> str:
    if isinstance(body, str):
        return body
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise StepUsageError(f"step {id!r}: a body travels as text, and this isn't UTF-8; encode it (base64)") from None
