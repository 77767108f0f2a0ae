"""Read what an app answered: (status, headers, body) to a ``Reply`` (protocol 4.6, 4.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from stepwell.engine.core.failure import server_error_body, standard_error
from stepwell.engine.core.model import ErrorBody, ErrorReply, OpsReply, Reply, ResultReply
from stepwell.engine.core.retry import parse_retry_after
from stepwell.limits import OPS_PER_REPLY_MAX, REPLY_BYTES_MAX
from stepwell.protocol import headers as names
from stepwell.protocol.canonical import NotJson, canonical, decode, encode_text
from stepwell.protocol.ops import Op

_decode_ops: Final = msgspec.json.Decoder(list[Op]).decode
_decode_op: Final = msgspec.json.Decoder(Op).decode
_EXCERPT_CHARS: Final = 300


class _Envelope(msgspec.Struct):
    """The one object of a streamed answer (protocol 4.7)."""

    status: int
    body: msgspec.Raw = msgspec.Raw(b"null")
    headers: dict[str, str] = {}


_decode_envelope: Final = msgspec.json.Decoder(_Envelope).decode


def read_reply(status: int, headers: Mapping[str, str], body: bytes, *, now_ms: int, url: str) -> Reply:
    """Turn an HTTP response into a reply. Header names are looked up as ``protocol.headers`` spells them.

    Never raises for what an app sends: an answer that can't be understood becomes a retriable ``ErrorReply``.
    """
    is_sdk = names.SDK in headers
    if status == 201 and is_sdk:
        try:
            envelope = _decode_envelope(body.strip())
            inner = bytes(envelope.body)
            if inner.startswith(b'"'):
                inner = msgspec.json.decode(inner, type=str).encode()
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return server_error("invalid_reply", f"{url} streamed an answer that isn't one: {error}")
        inner_headers = {names.ANSWERED.get(name.lower(), name): value for name, value in envelope.headers.items()}
        headers = {name: headers[name] for name in names.ANSWERED.values() if name in headers} | inner_headers
        status, body = envelope.status, inner
    no_retry = _flag(headers.get(names.NO_RETRY))
    retry_after = headers.get(names.RETRY_AFTER)
    retry_after_ms = parse_retry_after(retry_after, now_ms) if retry_after is not None else None
    # An SDK that streams has said that it is one before it looked at the signature.
    if not is_sdk or (status == 401 and names.SDK_HANDLED in headers):
        return _not_an_sdk(status, headers, body, url)
    if status == 206:
        return _read_ops(body, headers, no_retry, retry_after_ms, url)
    if status == 200 and not no_retry:
        try:
            return ResultReply(canonical(body).encoded if body.strip() else b"null")
        except NotJson as error:
            return server_error("invalid_reply", f"{url} returned a result that isn't JSON: {error}")
    return ErrorReply(
        error=standard_error(_json_or_text(body), fallback=_excerpt(body) or "Unknown error"),
        output=_output(body),
        no_retry=no_retry,
        retry_after_ms=retry_after_ms,
    )


def server_error(code: str, message: str) -> ErrorReply:
    """Make the retriable reply for a call that got no usable answer (protocol 4.9.4)."""
    error = ErrorBody(name=code, message=message)
    return ErrorReply(error=error, output=server_error_body(error), code=code)


def too_large(url: str) -> ErrorReply:
    """Make the reply for an answer over ``REPLY_BYTES_MAX``; it isn't retried, the answer would be as large again."""
    error = ErrorBody(name="output_too_large", message=f"{url} answered with more than {REPLY_BYTES_MAX} bytes")
    return ErrorReply(error=error, output=server_error_body(error), code="output_too_large", no_retry=True)


def _read_ops(
    body: bytes, headers: Mapping[str, str], no_retry: bool | None, retry_after_ms: int | None, url: str
) -> Reply:
    version = headers.get(names.REQ_VERSION)
    try:
        ops = _decode_ops(body) if body.lstrip()[:1] == b"[" else [_decode_op(body)]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return server_error("invalid_reply", f"{url} answered 206 with ops that can't be read: {error}")
    if len(ops) > OPS_PER_REPLY_MAX:
        return server_error("invalid_reply", f"{url} answered with {len(ops)} ops; the limit is {OPS_PER_REPLY_MAX}")
    return OpsReply(
        ops=ops,
        request_version=int(version) if version in ("0", "1", "2") else 0,
        no_retry=no_retry,
        retry_after_ms=retry_after_ms,
    )


def _not_an_sdk(status: int, headers: Mapping[str, str], body: bytes, url: str) -> ErrorReply:
    """Explain an answer without ``X-Inngest-SDK``: a proxy's, another program's, or a refused signature."""
    if status == 401 and names.SDK_HANDLED in headers:
        return server_error(
            "sig_verification_failed",
            f"the app at {url} refused our signature: is its signing key the one this server was started with?",
        )
    if 300 <= status < 400:
        to = headers.get("Location")
        return server_error("http_not_ok", f"{url} redirects ({status}) to {to}: register the app with that URL")
    if status >= 400:
        error = ErrorBody(
            name="Server returned a fatal error",
            message=f"Your server returned HTTP {status} before the SDK responded.",
        )
        return ErrorReply(error=error, output=_error_output(error), code="http_not_ok")
    return server_error(
        "not_sdk", f"{url} answered {status}, but not as an SDK (no {names.SDK} header): {_excerpt(body)}"
    )


def _error_output(error: ErrorBody) -> bytes:
    return b'{"message":%b,"name":%b}' % (encode_text(error.message), encode_text(error.name))


def _flag(text: str | None) -> bool | None:
    return None if text is None else text.strip().lower() == "true"


def _json_or_text(body: bytes) -> object:
    try:
        return decode(body)
    except NotJson:
        return _excerpt(body)


def _output(body: bytes) -> bytes:
    try:
        return canonical(body).encoded
    except NotJson:
        return encode_text(body[:REPLY_BYTES_MAX].decode("utf-8", "replace"))


def _excerpt(body: bytes) -> str:
    return body[:_EXCERPT_CHARS].decode("utf-8", "replace").strip()
