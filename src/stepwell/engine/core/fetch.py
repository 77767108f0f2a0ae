"""Requests that the server makes for a step: from an op's options, and back to a memo (protocol 4.8, 4.4).

``step.fetch`` (Gateway) asks any URL, and any answer is a success. ``step.ai.infer`` (AIGateway) asks a provider of
models, whose refusal is a failure. Keys and headers are users' secrets: no error that is made here holds one.
"""

from __future__ import annotations

import base64
import codecs
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import msgspec

from stepwell.engine.core.model import ErrorBody
from stepwell.engine.core.retry import parse_retry_after
from stepwell.errors import FetchError
from stepwell.limits import (
    FETCH_ERROR_CHARS_MAX,
    FETCH_HEADERS_CHARS_MAX,
    FETCH_OPTIONS_BYTES_MAX,
    FETCH_URL_CHARS_MAX,
    STEP_OUTPUT_BYTES_MAX,
)
from stepwell.protocol.canonical import Json, NotJson, canonical, decode, encode, encode_text
from stepwell.protocol.ops import OpCode

DECODED: Final = frozenset(("identity", "gzip", "x-gzip", "deflate"))
"""The content encodings that can be asked for."""

_METHOD: Final = re.compile(r"[A-Z][A-Z0-9_-]{0,31}")
_NOT_FETCHED: Final = frozenset(("CONNECT", "TRACE", "TRACK"))
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SECRET_NAME: Final = re.compile(r"auth|cookie|credential|key|password|secret|signature|token", re.IGNORECASE)
_SECRET_CHARS_MIN: Final = 8
"""Shorter values aren't looked for in errors: they would blot out words."""

_OF_CONNECTION: Final = frozenset(
    ("connection", "keep-alive", "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding",
     "upgrade")
)  # fmt: skip
"""Headers about one connection: neither the user's to set nor part of an answer."""

_OURS: Final = _OF_CONNECTION | {"content-length", "expect", "host"}
"""Headers that are passed over in a request, as a browser's ``fetch`` does: they follow from the rest of it."""

_OF_BODY: Final = frozenset(("content-encoding", "content-language", "content-location", "content-type"))
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_TEXT: Final = re.compile(
    r"utf-(8|16|16-le|16-be|32|32-le|32-be)|ascii|iso8859-\d+|cp(125\d|866|874|932|949|950)|koi8-[ru]|mac-\w+"
    r"|shift_jis\w*|euc_(jp|kr)|iso2022_jp\w*|gb2312|gbk|gb18030|big5\w*"
)
"""Charsets that a body is read in. Python's other codecs aren't charsets of pages, and some take quadratic time."""


class FetchRequest(msgspec.Struct, frozen=True):
    """A request to make for a step. Names of headers are in lower case, each once."""

    op: OpCode
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""
    secrets: tuple[str, ...] = ()
    """What must not be in an error, although the other side may send it back."""

    def __repr__(self) -> str:
        """Tell what the request is without its secrets, which may be in all of its parts."""
        return f"FetchRequest({self.op.value}, {self.method})"

    def shown(self) -> Json:
        """Return the request as people are shown it, without its secrets."""
        url, _, query = self.url.partition("?")
        parts = [part.partition("=") for part in query.split("&")]
        asked = "&".join(f"{name}=***" if _SECRET_NAME.search(name) else f"{name}{is_}{of}" for name, is_, of in parts)
        try:
            body = decode(self.body)
        except NotJson:
            body = self.body.decode("utf-8", "replace")
        shown: Json = {
            "method": self.method,
            "url": f"{url}?{asked}" if query else url,
            "headers": {name: "***" if _SECRET_NAME.search(name) else value for name, value in self.headers.items()},
            "body": body,
        }
        text = msgspec.json.encode(shown).decode()
        for secret in self.secrets:  # which may be in any part of it
            text = text.replace(msgspec.json.encode(secret).decode()[1:-1], "***")
        return decode(text.encode())

    def redirected(self, status: int, url: str, *, is_same_origin: bool) -> FetchRequest:
        """Return the request that follows a redirect to another URL, as the Fetch standard has it.

        What may be a secret goes to no other origin.
        """
        method, headers, body = self.method, dict(self.headers), self.body
        becomes_get = method not in ("GET", "HEAD") if status == 303 else method == "POST" and status in (301, 302)
        if becomes_get:
            method, body = "GET", b""
            headers = {name: value for name, value in headers.items() if name not in _OF_BODY}
        if not is_same_origin:
            headers = {name: value for name, value in headers.items() if not _SECRET_NAME.search(name)}
        return msgspec.structs.replace(self, url=url, method=method, headers=headers, body=body)

    def follows(self, status: int) -> bool:
        """Tell whether a redirect of this status is followed. A model's provider is asked by POST, or not at all."""
        return status in ((307, 308) if self.op is OpCode.AI_GATEWAY else (301, 302, 303, 307, 308))


class Answer(NamedTuple):
    """What came back."""

    url: str
    """The URL that answered: that of the request, or where it led."""
    status: int
    fields: tuple[tuple[str, str], ...]
    """All headers, in order."""
    body: bytes
    """Decoded: its content encoding is undone."""


class Fetched(msgspec.Struct, frozen=True):
    """The step succeeded."""

    memo: bytes
    original: bytes | None = None
    """The provider's body as it came, where the canonical form had to round a number."""


class FetchFailed(msgspec.Struct, frozen=True):
    """The step failed, or this attempt of it, if it is retriable and there are attempts left."""

    error: ErrorBody
    is_retriable: bool
    retry_after_ms: int | None = None
    """What the other side asks for."""


FetchResult: TypeAlias = Fetched | FetchFailed


class _GatewayOptions(msgspec.Struct):
    url: str
    method: str | None = None
    headers: dict[str, str] | None = None
    body: str | None = None


class _AIGatewayOptions(msgspec.Struct):
    url: str
    body: msgspec.Raw
    headers: dict[str, str] | None = None
    auth_key: str | None = None
    format: str | None = None


_Options = TypeVar("_Options")


# -- the request ------------------------------------------------------------------------------------------------------


def read_fetch(op: OpCode, options: bytes) -> FetchRequest:
    """Read an op's ``opts``, JSON. Raises ``FetchError`` for what can't be asked; no attempt can mend it."""
    if len(options) > FETCH_OPTIONS_BYTES_MAX:
        raise FetchError(f"the request has {len(options)} bytes; the limit is {FETCH_OPTIONS_BYTES_MAX}")
    if op is OpCode.AI_GATEWAY:
        return _inference(_decoded(options, _AIGatewayOptions))
    assert op is OpCode.GATEWAY
    given = _decoded(options, _GatewayOptions)
    method = (given.method or "POST").upper()
    if _METHOD.fullmatch(method) is None or method in _NOT_FETCHED:
        raise FetchError(f"{method[:40]!r} is no method that can be fetched with - at `$.method`")
    url, user = _checked_url(given.url)
    headers = user | _checked_headers(given.headers)
    return FetchRequest(
        op=op,
        method=method,
        url=url,
        headers=headers,
        body=(given.body or "").encode(),
        secrets=_secrets(headers),
    )


def _inference(given: _AIGatewayOptions) -> FetchRequest:
    body = bytes(given.body)
    if body == b"null":
        raise FetchError("a request to a model needs a body - at `$.body`")
    url, own = given.url, _checked_headers(given.headers)
    headers = {"content-type": "application/json"}
    if key := given.auth_key:
        match (given.format or "").lower():
            case "anthropic":
                headers["x-api-key"] = key
            case "gemini":
                url = _with_key(url, key)
            case "bedrock":
                headers["authorization"] = key
            case _:
                headers["authorization"] = f"Bearer {key}"
        _check_value(key, "$.auth_key")
    url, user = _checked_url(url)
    headers = user | headers | own
    return FetchRequest(
        op=OpCode.AI_GATEWAY,
        method="POST",
        url=url,
        headers=headers,
        body=body,
        secrets=_secrets(headers, given.auth_key),
    )


def _decoded(options: bytes, kind: type[_Options]) -> _Options:
    try:
        return msgspec.json.decode(options, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # it names the place, never a value
        raise FetchError(f"the request can't be read: {error}") from None


def _checked_url(url: str) -> tuple[str, dict[str, str]]:
    """Return a URL that has what a request needs, without fragment, and its user as a header."""
    if len(url) > FETCH_URL_CHARS_MAX:
        raise FetchError(f"the URL has {len(url)} characters; the limit is {FETCH_URL_CHARS_MAX} - at `$.url`")
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
        parts = None
    if parts is None or not is_whole:
        raise FetchError("the URL must be like https://example.com/path - at `$.url`")
    user: dict[str, str] = {}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        user["authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return plain_url(url), user


def plain_url(url: str) -> str:
    """Return a URL without user and fragment. Raises ``ValueError`` for what is none."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment=""))


def _with_key(url: str, key: str) -> str:
    """Put a key into a query, in place of one that is there: SDKs put it there, too."""
    base, _, query = url.partition("#")[0].partition("?")
    kept = [part for part in query.split("&") if part and not part.startswith("key=")]
    return f"{base}?{'&'.join([*kept, 'key=' + quote(key, safe='')])}"


def _checked_headers(given: Mapping[str, str] | None) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in (given or {}).items():
        if _NAME.fullmatch(name) is None:
            raise FetchError(f"{name[:100]!r} is no name of a header - at `$.headers`")
        _check_value(value, f"$.headers[{name[:100]!r}]")
        if name.lower() not in _OURS:
            headers[name.lower()] = value
    size = sum(len(name) + len(value) + 4 for name, value in headers.items())
    if size > FETCH_HEADERS_CHARS_MAX:
        raise FetchError(f"the headers have {size} characters; the limit is {FETCH_HEADERS_CHARS_MAX} - at `$.headers`")
    codings = {coding.partition(";")[0].strip().lower() for coding in headers.get("accept-encoding", "").split(",")}
    if not codings <= DECODED:
        # HTTP libraries offer all that they can decode themselves; here it is decoded by us.
        headers["accept-encoding"] = "identity"
    return {"user-agent": "Stepwell"} | headers


def _check_value(value: str, path: str) -> None:
    if _CONTROL.search(value) is not None:
        raise FetchError(f"its value can't be sent in a header: it holds a control character - at `{path}`")


def _secrets(headers: Mapping[str, str], key: str | None = None) -> tuple[str, ...]:
    """Return what may be secret in a request, the longest first, so that no part of one is left."""
    found = {value for name, value in headers.items() if _SECRET_NAME.search(name)}
    found |= {value.rpartition(" ")[2] for value in found}
    if key is not None:
        found |= {key, quote(key, safe="")}
    return tuple(sorted((secret for secret in found if len(secret) >= _SECRET_CHARS_MIN), key=lambda s: (-len(s), s)))


# -- the memo ---------------------------------------------------------------------------------------------------------


def memo_of(request: FetchRequest, answer: Answer, *, now_ms: int) -> FetchResult:
    """Make a step's memo of an HTTP answer, or the failure that it is (protocol 4.4)."""
    if request.op is OpCode.AI_GATEWAY:
        return _inferred(request, answer, now_ms)
    memo = b'{"data":{"body":%b,"headers":%b,"status_code":%d,"url":%b}}' % (
        encode_text(_text(answer)),
        encode(_shown_headers(answer)),
        answer.status,
        encode_text(answer.url),
    )
    return _within_limit(request.op, Fetched(memo))


def fetch_failed(
    op: OpCode,
    why: str,
    *,
    is_retriable: bool,
    data: bytes | None = None,
    text: str | None = None,
    retry_after_ms: int | None = None,
) -> FetchFailed:
    """Make the failure of a step: ``why`` is for people, ``data`` the body that came back as JSON, ``text`` as text."""
    name, of = ("AIGatewayError", "AI") if op is OpCode.AI_GATEWAY else ("GatewayError", "gateway")
    error = ErrorBody(
        name=name,
        message=f"Error making {of} request: {why}",
        stack=text,
        data=None if data is None else msgspec.Raw(data),
    )
    return FetchFailed(error=error, is_retriable=is_retriable, retry_after_ms=retry_after_ms)


def answer_too_large(op: OpCode) -> FetchFailed:
    """Make the failure of a step whose answer is over its limit. It isn't retried: it would be as large again."""
    why = f"the answer has more than {STEP_OUTPUT_BYTES_MAX} bytes, the limit for a step: fetch it in the app instead"
    return fetch_failed(op, why, is_retriable=False)


def _inferred(request: FetchRequest, answer: Answer, now_ms: int) -> FetchResult:
    if answer.status > 299:
        return _refused(request, answer, f"unsuccessful status code: {answer.status}", now_ms)
    try:
        body = canonical(answer.body)
    except NotJson as error:
        return _refused(request, answer, f"the answer isn't JSON: {error}", now_ms)
    return _within_limit(request.op, Fetched(b'{"data":%b}' % body.encoded, body.original))


def _refused(request: FetchRequest, answer: Answer, why: str, now_ms: int) -> FetchFailed:
    """Tell what a provider said: parsed as ``data``, and as it came as ``stack``; without the request's secrets."""
    text = _text(answer)
    for secret in request.secrets:
        text = text.replace(secret, "***")
    if len(text) > FETCH_ERROR_CHARS_MAX:
        text = f"{text[:FETCH_ERROR_CHARS_MAX]}… (the first {FETCH_ERROR_CHARS_MAX} of {len(text)} characters)"
    try:
        data = canonical(text.encode()).encoded
    except NotJson:
        data = encode_text(text)
    asked = next((value for name, value in answer.fields if name.lower() == "retry-after"), None)
    return fetch_failed(
        request.op,
        why,
        is_retriable=True,
        data=data,
        text=text,
        retry_after_ms=None if asked is None else parse_retry_after(asked, now_ms),
    )


def _within_limit(op: OpCode, fetched: Fetched) -> FetchResult:
    """Return a result that may be stored. Text that isn't UTF-8, or has many control characters, grows as JSON."""
    return fetched if len(fetched.memo) <= STEP_OUTPUT_BYTES_MAX else answer_too_large(op)


def _text(answer: Answer) -> str:
    """Read a body in the charset that it names, else in UTF-8; what isn't text becomes U+FFFD."""
    kind = next((value for name, value in answer.fields if name.lower() == "content-type"), "")
    named = _CHARSET.search(kind)
    charset = "utf-8"
    if named is not None:
        with suppress(LookupError):
            charset = codecs.lookup(named[1]).name
    if charset == "utf-8" or _TEXT.fullmatch(charset) is None:
        charset = "utf-8-sig"  # without a byte order mark
    return answer.body.decode(charset, "replace")


def _shown_headers(answer: Answer) -> dict[str, str]:
    """Return the headers by their usual spelling (``Content-Type``), the values of one joined with commas."""
    is_decoded = any(name.lower() == "content-encoding" for name, _ in answer.fields)
    headers: dict[str, str] = {}
    for name, value in answer.fields:
        known = name.lower()
        # Of the body as it was sent, which isn't the one that is passed on.
        if known in _OF_CONNECTION or (is_decoded and known in ("content-encoding", "content-length")):
            continue
        shown = "-".join(part.capitalize() for part in known.split("-"))
        headers[shown] = f"{headers[shown]},{value}" if shown in headers else value
    return headers
