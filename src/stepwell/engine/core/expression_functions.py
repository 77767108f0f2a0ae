"""The functions of expressions (protocol 10), as a table. None of them looks beyond its arguments."""

from __future__ import annotations

import base64
import functools
import math
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import re2  # pyright: ignore[reportMissingTypeStubs]: it has none

from stepwell.engine.core.expression_values import (
    INT64_MAX,
    INT64_MIN,
    UINT64_MAX,
    Failure,
    Time,
    Value,
    is_number,
    to_text,
    type_name,
)
from stepwell.errors import DurationError
from stepwell.protocol.canonical import Json, NotJson, decode
from stepwell.protocol.duration import duration_ms, parse_time

_TIME_MIN_MS: Final = -62_135_596_800_000  # 0001-01-01
_TIME_MAX_MS: Final = 253_402_300_799_999  # 9999-12-31
_DURATION_CHARS_MAX: Final = 64
_PATTERN_BYTES_MAX: Final = 2**20  # memory of one compiled pattern; they are cached
_PATTERNS_CACHED: Final = 128
_RE2: Final[Any] = re2


class Function(NamedTuple):
    """A function of the language; ``arity`` counts a method's receiver."""

    call: Callable[..., Value]
    arity: int
    is_function: bool = True
    """May be written ``f(x)``."""
    is_method: bool = False
    """May be written ``x.f()``."""


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Compile a pattern of ``matches()``; raise ``Failure`` where RE2 refuses it.

    RE2 and not ``re``: its time is linear in the text, whatever the pattern.
    """
    try:
        search = _compile(pattern).search
    except (_RE2.error, UnicodeEncodeError) as error:
        raise Failure(f"matches(): {pattern!r} is not a pattern that RE2 takes: {_reason(error)}") from None

    def matches(text: str) -> bool:
        try:
            return search(text) is not None
        except UnicodeEncodeError:
            raise Failure("matches(): the string holds a lone surrogate") from None

    return matches


@functools.lru_cache(_PATTERNS_CACHED)
def _compile(pattern: str) -> Any:
    options = _RE2.Options()
    options.log_errors = False
    options.max_mem = _PATTERN_BYTES_MAX
    return _RE2.compile(pattern, options)


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


def _of_strings(name: str, call: Callable[..., Value]) -> Callable[..., Value]:
    """Guard a function that takes nothing but strings."""

    def guarded(*values: Value) -> Value:
        for value in values:
            if type(value) is not str:
                raise Failure(f"{name}(): needs a string, not {type_name(value)}")
        return call(*values)

    return guarded


def _size(value: Value) -> int:
    kind: type[object] = value.__class__
    if kind is str or kind is list or kind is dict:
        return len(value)
    raise Failure(f"size(): needs a string, a list or a map, not {type_name(value)}")


def _ascii_case(first: str, last: str, distance: int) -> Callable[[str], str]:
    table = {code: code + distance for code in range(ord(first), ord(last) + 1)}
    return lambda text: text.translate(table)


def _b64decode(text: str) -> str:
    try:
        return base64.b64decode(text, validate=True).decode()
    except ValueError:
        raise Failure("b64decode(): the string is not base64 of UTF-8 text") from None


def _json_parse(text: str) -> Json:
    try:
        return decode(text.encode())
    except (NotJson, UnicodeEncodeError) as error:
        raise Failure(f"json_parse(): the string is not JSON: {error}") from None


def _date(value: Value) -> Time:
    if type(value) is Time:
        return value
    at_ms: float | None = value if is_number(value) else None
    if type(value) is str:
        at_ms = parse_time(value)
    if at_ms is None or not _TIME_MIN_MS <= at_ms <= _TIME_MAX_MS:
        raise Failure("date(): needs RFC 3339 text or Unix milliseconds")
    return Time(int(at_ms))


def shifted(now_ms: int, duration: Value, sign: int) -> Time:
    """Compute ``now_plus(duration)`` (``sign`` 1) and ``now_minus(duration)`` (``sign`` -1)."""
    if type(duration) is not str or len(duration) > _DURATION_CHARS_MAX:
        raise Failure("now_plus() and now_minus() need a string like '1h30m'")
    try:
        return _date(now_ms + sign * duration_ms(duration))
    except DurationError as error:
        raise Failure(str(error)) from None


_INTEGER: Final = re.compile(r"\s*[+-]?[0-9]{1,20}\s*", re.ASCII)


def _integer(name: str, lowest: int, highest: int) -> Callable[[Value], int]:
    def convert(value: Value) -> int:
        match value:
            case Time(at_ms):
                whole = at_ms // 1000
            case str() if _INTEGER.fullmatch(value):
                whole = int(value)
            case float() if math.isfinite(value):
                whole = int(value)
            case bool() | int():
                whole = int(value)
            case _:
                raise Failure(f"{name}(): can't convert this {type_name(value)}")
        if not lowest <= whole <= highest:
            raise Failure(f"{name}(): out of range")
        return whole

    return convert


def _double(value: Value) -> float:
    try:
        if is_number(value) or (type(value) is str and value.isascii() and "_" not in value):
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise Failure("double(): needs a number, or a string that holds one")


def _string(value: Value) -> str:
    if value is None or type(value) is list or type(value) is dict:
        raise Failure(f"string(): can't convert a {type_name(value)}")
    return to_text(value)


_BOOLS: Final = {
    text: text[0] in "1tT" for text in ("1", "t", "true", "TRUE", "True", "0", "f", "false", "FALSE", "False")
}


def _bool(value: Value) -> bool:
    if type(value) is bool:
        return value
    if type(value) is str and value in _BOOLS:
        return _BOOLS[value]
    raise Failure("bool(): needs a bool, or a string such as 'true' or 'false'")


def _matches(text: str, pattern: str) -> bool:
    return compile_pattern(pattern)(text)


def _functions() -> dict[str, Function]:
    functions = {
        "size": Function(_size, 1, is_method=True),
        "date": Function(_date, 1, is_method=True),
        "int": Function(_integer("int", INT64_MIN, INT64_MAX), 1),
        "uint": Function(_integer("uint", 0, UINT64_MAX), 1),
        "double": Function(_double, 1),
        "string": Function(_string, 1),
        "bool": Function(_bool, 1),
    }
    of_strings = {
        "startsWith": Function(str.startswith, 2, is_function=False, is_method=True),
        "endsWith": Function(str.endswith, 2, is_function=False, is_method=True),
        "contains": Function(operator.contains, 2, is_function=False, is_method=True),
        "matches": Function(_matches, 2, is_method=True),
        "lowerAscii": Function(_ascii_case("A", "Z", 32), 1, is_method=True),
        "upperAscii": Function(_ascii_case("a", "z", -32), 1, is_method=True),
        "lowercase": Function(str.lower, 1, is_method=True),
        "uppercase": Function(str.upper, 1, is_method=True),
        "b64decode": Function(_b64decode, 1, is_method=True),
        "json_parse": Function(_json_parse, 1, is_method=True),
    }
    for name, function in of_strings.items():
        functions[name] = function._replace(call=_of_strings(name, function.call))
    return functions


FUNCTIONS: Final[Mapping[str, Function]] = _functions()
