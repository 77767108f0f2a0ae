"""Errors as the protocol writes them: what SDKs report, and what the server says itself (protocol 2.6, 4.6.1, 4.9.4)."""

from __future__ import annotations

from typing import cast

import msgspec

from stepwell.engine.core.model import ErrorBody
from stepwell.protocol.canonical import Json, NotJson, decode, encode, encode_text


def standard_error(raw: Json, *, fallback: str) -> ErrorBody:
    """Make a standard error of whatever an SDK reports as one (protocol 4.6.1).

    A string that holds JSON is parsed once more; missing names and messages get defaults.
    """
    if isinstance(raw, str):
        try:
            inner: Json = decode(raw.encode("utf-8", "replace"))
        except NotJson:
            inner = None
        if not isinstance(inner, dict):
            return ErrorBody(name="Error", message=raw or fallback)
        raw = cast("dict[str, Json]", inner)
    if not isinstance(raw, dict):
        return ErrorBody(name="Error", message=fallback)
    fields = cast("dict[str, Json]", raw)
    name, message, stack = fields.get("name"), fields.get("message"), fields.get("stack")
    return ErrorBody(
        name=name if isinstance(name, str) and name else "Error",
        message=message if isinstance(message, str) and message else fallback,
        stack=stack if isinstance(stack, str) and stack else None,
        cause=_raw_or_none(fields.get("cause")),
        data=_raw_or_none(fields.get("data")),
    )


def server_error_body(error: ErrorBody) -> bytes:
    """Encode the output of a run that failed by an error that the server made (protocol 4.9.4)."""
    return b'{"error":' + error_json(error, f"{error.name}: {error.message}") + b"}"


def _raw_or_none(value: Json) -> msgspec.Raw | None:
    if value is None:
        return None
    try:
        return msgspec.Raw(encode(value))
    except NotJson:
        return None


def error_json(error: ErrorBody, text: str | None = None) -> bytes:
    """Encode a standard error in canonical form: only the keys that SDKs may see (protocol 4.4)."""
    fields: dict[str, bytes] = {"name": _text(error.name), "message": _text(error.message)}
    if error.stack is not None:
        fields["stack"] = _text(error.stack)
    if error.cause is not None:
        fields["cause"] = bytes(error.cause)
    if error.data is not None:
        fields["data"] = bytes(error.data)
    if text is not None:
        fields["error"] = _text(text)
    return b"{" + b",".join(b'"%b":%b' % (key.encode(), fields[key]) for key in sorted(fields)) + b"}"


def _text(text: str) -> bytes:
    return encode_text(text.encode("utf-8", "replace").decode())
