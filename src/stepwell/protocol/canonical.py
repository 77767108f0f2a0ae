"""JSON in its canonical form (RFC 8785, JCS), made once when a payload enters.

The protocol sends calls in this form so that every SDK verifies the same bytes (protocol 5.2). The fast path is sorted
msgspec; it equals JCS unless the value holds a float, an integer beyond 2**53, or a key outside the BMP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec
import rfc8785

from stepwell.limits import JSON_DEPTH_MAX

Json: TypeAlias = Any
"""Users' JSON: dict, list, str, int, float, bool or None."""

_INTEGER_MAX: Final = 2**53 - 1
_SCALAR: Final = re.compile(rb"(?:null|true|false|0|-?[1-9][0-9]{0,14})\Z")
_SPECIAL_NUMBER: Final = re.compile(rb"[0-9](?:[.eE]|[0-9]{15})")
"""What may be a float or a big integer; text that looks like one only costs the slow path."""

_ASTRAL: Final = re.compile(rb"[\xf0-\xf4]")
_DEPTH_SUSPECT: Final = 100  # fewer brackets than this can't reach the depth limit


class Canonical(NamedTuple):
    """A payload in canonical form."""

    encoded: bytes
    value: Json
    original: bytes | None
    """The bytes as they came, where JCS had to change a value (integers beyond 2**53 are rounded), else None."""


class NotJson(ValueError):
    """The bytes are not JSON that can be passed on; the message says why."""


def decode(raw: bytes) -> Json:
    """Decode JSON; raise ``NotJson`` for anything malformed or nested too deeply."""
    try:
        return msgspec.json.decode(raw)
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise NotJson(str(error)) from None


def canonical(raw: bytes) -> Canonical:
    """Bring JSON bytes into canonical form.

    Raises ``NotJson`` for malformed JSON, lone surrogates, numbers beyond a double, and nesting over
    ``JSON_DEPTH_MAX``.
    """
    if _SCALAR.match(raw):
        return Canonical(raw, decode(raw), None)
    value = decode(raw)
    if raw.count(b"[") + raw.count(b"{") > _DEPTH_SUSPECT and _depth_over(value, JSON_DEPTH_MAX):
        raise NotJson(f"nested deeper than {JSON_DEPTH_MAX} levels")
    encoded, is_rounded = _encode(value, is_plain=_SPECIAL_NUMBER.search(raw) is None)
    return Canonical(encoded, value, raw if is_rounded else None)


def encode(value: Json) -> bytes:
    """Encode a JSON value in canonical form; raise ``NotJson`` where that can't be done."""
    match value:
        case str():
            return encode_text(value)
        case None | bool():
            return msgspec.json.encode(value)
        case int() if -_INTEGER_MAX <= value <= _INTEGER_MAX:
            return b"%d" % value
        case _:
            return _encode(value, is_plain=False)[0]


def encode_text(text: str) -> bytes:
    """Encode one string in canonical form."""
    try:
        return msgspec.json.encode(text)
    except UnicodeEncodeError:
        raise NotJson("a string holds a lone surrogate") from None


def _encode(value: Json, *, is_plain: bool) -> tuple[bytes, bool]:
    try:
        if is_plain:
            encoded = msgspec.json.encode(value, order="sorted")
            if encoded.isascii() or _ASTRAL.search(encoded) is None:
                return encoded, False
        big: list[int] = []
        return rfc8785.dumps(_round(value, big)), bool(big)
    except RecursionError:
        raise NotJson("nested too deeply") from None
    except UnicodeEncodeError:
        raise NotJson("a string holds a lone surrogate") from None
    except (rfc8785.CanonicalizationError, OverflowError, TypeError) as error:
        raise NotJson(str(error)) from None


def _round(value: Json, big: list[int]) -> Json:
    """Make of each integer beyond 2**53 the double that JavaScript would read, noting it in ``big``; the rest stays."""
    match value:
        case bool():
            return value
        case int():
            if -_INTEGER_MAX <= value <= _INTEGER_MAX:
                return value
            big.append(value)
            return float(value)
        case dict():
            members = cast("dict[str, Json]", value)
            return {key: _round(item, big) for key, item in members.items()}
        case list():
            return [_round(item, big) for item in cast("list[Json]", value)]
        case _:
            return value


def _depth_over(value: Json, limit: int) -> bool:
    level = _containers([value])
    for _ in range(limit):
        level = [inner for outer in level for inner in _containers(outer)]
    return bool(level)


def _containers(outer: Json) -> list[Json]:
    """Return the objects and arrays that an object or array holds."""
    items: Iterable[Json] = cast("dict[str, Json]", outer).values() if isinstance(outer, dict) else outer
    return [item for item in items if isinstance(item, (dict, list))]
