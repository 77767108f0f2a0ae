"""What the operators of expressions do to values (protocol 10). Looser than CEL where the protocol says so.

Values are decoded JSON, plus ``Time`` while an expression is being evaluated. Types are told apart by ``type(x) is``:
it is the fastest test, and a bool must not pass for an int.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from stepwell.protocol.canonical import Json, encode
from stepwell.protocol.duration import time_text

Value: TypeAlias = Any
"""Json or Time."""

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
UINT64_MAX: Final = 2**64 - 1
CHARS_PER_ITEM: Final = 16  # C reads so many characters while Python looks at one item


class Failure(Exception):
    """This part of the expression has no value. ``&&`` and ``||`` may still decide without it, as in CEL."""


class Time(NamedTuple):
    """An instant, as ``date()`` and ``now_plus()`` make it."""

    at_ms: int


_ORDERED: Final = frozenset((int, float, str, bool, Time))
_TYPE_NAMES: Final[Mapping[type, str]] = {
    type(None): "null",
    bool: "bool",
    int: "int",
    float: "double",
    str: "string",
    list: "list",
    dict: "map",
    Time: "time",
}


def type_name(value: Value) -> str:
    """Name a value's type in CEL's words, for messages."""
    return _TYPE_NAMES[type(value)]


def truth(value: Value) -> bool:
    """Coerce to bool: null, false, 0 and "" are false; all else is true, empty lists and maps too."""
    return bool(value) or type(value) is list or type(value) is dict


def is_number(value: Value) -> bool:
    """Tell whether a value is an int or a double."""
    return type(value) is int or type(value) is float


# Comparison


def equal(left: Value, right: Value) -> bool:
    """Compare for equality: numbers by value, lists and maps item by item, unlike types never equal."""
    kind: type[object] = left.__class__
    if kind is list or kind is dict:
        return _equal_deep(left, right)
    if kind is type(right):
        return left == right
    return is_number(left) and is_number(right) and left == right


def unequal(left: Value, right: Value) -> bool:
    """Compare for inequality: the opposite of ``equal``."""
    return not equal(left, right)


def _equal_deep(left: Value, right: Value) -> bool:
    # Not recursive: JSON nests deeper than Python's stack likes. Not Python's own ==: to it, [true] == [1].
    pairs = [(left, right)]
    while pairs:
        left, right = pairs.pop()
        kind: type[object] = left.__class__
        other: type[object] = right.__class__
        if kind is list:
            if other is not list or len(left) != len(right):
                return False
            pairs.extend(zip(left, right, strict=True))
        elif kind is dict:
            if other is not dict or left.keys() != right.keys():
                return False
            pairs.extend((item, right[key]) for key, item in left.items())
        elif not equal(left, right):
            return False
    return True


def ordering(compare: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    """Make of ``operator.lt`` and its like a comparison that is false, not an error, for values without an order."""

    def ordered(left: Value, right: Value) -> bool:
        if type(left) is type(right):
            return type(left) in _ORDERED and compare(left, right)
        return is_number(left) and is_number(right) and compare(left, right)

    return ordered


def contained(item: Value, container: Value) -> bool:
    """Compute ``item in container``: an equal item of a list, or a key of a map. Nothing is in null."""
    kind: type[object] = container.__class__
    if kind is list:
        if type(item) is str:
            return item in container  # equal to nothing but a str: safe at the speed of C
        return any(equal(item, other) for other in container)
    if kind is dict:
        return (type(item) is str or is_number(item)) and item in container
    if container is None:
        return False
    raise Failure(f"in: needs a list or a map on its right, not {type_name(container)}")


def indexed(container: Value, key: Value) -> Value:
    """Compute ``container[key]``: null where there is nothing."""
    kind: type[object] = container.__class__
    if kind is dict:
        return container.get(key) if type(key) is str or is_number(key) else None
    if kind is list:
        if type(key) is float and key.is_integer():
            key = int(key)
        if type(key) is int and 0 <= key < len(container):
            return container[key]
    return None


# Arithmetic


def add(left: Value, right: Value) -> Value:
    """Compute ``+``: concatenation when either side is a string (null is ""), joined lists, or a sum."""
    if type(left) is str or type(right) is str:
        return to_text(left) + to_text(right)
    kinds: tuple[type[object], type[object]] = (left.__class__, right.__class__)
    if kinds == (list, list):
        return left + right
    return _calculated("+", operator.add, left, right)


def subtract(left: Value, right: Value) -> Value:
    """Compute ``-`` of two numbers."""
    return _calculated("-", operator.sub, left, right)


def multiply(left: Value, right: Value) -> Value:
    """Compute ``*`` of two numbers."""
    return _calculated("*", operator.mul, left, right)


def divide(left: Value, right: Value) -> Value:
    """Compute ``/``: ints truncate towards zero; doubles follow IEEE 754, so that 1.0/0.0 is infinite."""
    return _calculated("/", _quotient, left, right)


def modulo(left: Value, right: Value) -> Value:
    """Compute ``%`` of two whole numbers; the result has the sign of the left one."""
    return _calculated("%", _remainder, left, right)


def negate(value: Value) -> Value:
    """Compute unary ``-`` of a number."""
    if not is_number(value):
        raise Failure(f"-: needs a number, not {type_name(value)}")
    return _in_range("-", -value)


def _calculated(symbol: str, calculate: Callable[[Any, Any], Value], left: Value, right: Value) -> Value:
    if not (is_number(left) and is_number(right)):
        raise Failure(f"{symbol}: can't be applied to {type_name(left)} and {type_name(right)}")
    try:
        return _in_range(symbol, calculate(left, right))
    except OverflowError:  # an int too large for a double
        raise Failure(f"{symbol}: overflow") from None


def _in_range(symbol: str, number: float) -> float:
    # JSON brings larger ints, and they compare; but arithmetic must not grow numbers without end.
    if type(number) is int and not INT64_MIN <= number <= UINT64_MAX:
        raise Failure(f"{symbol}: overflow of a 64-bit integer")
    return number


def _quotient(left: float, right: float) -> float:
    if type(left) is int and type(right) is int:
        if right == 0:
            raise Failure("/: division by zero")
        quotient = abs(left) // abs(right)
        return quotient if (left < 0) == (right < 0) else -quotient
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def _remainder(left: float, right: float) -> int:
    # JSON doesn't tell 7 from 7.0, so a whole double will do.
    if left != left // 1 or right != right // 1:
        raise Failure("%: needs whole numbers")
    left, right = int(left), int(right)
    if right == 0:
        raise Failure("%: division by zero")
    remainder = abs(left) % abs(right)
    return -remainder if left < 0 else remainder


# Text and JSON


def to_text(value: Value) -> str:
    """Write a value as concatenation shows it: null as "", numbers in their JSON form, lists and maps as JSON."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    if type(value) is Time:
        return time_text(value.at_ms)
    try:
        if type(value) is int:
            return str(value)  # exact, where JCS would round beyond 2**53
        return encode(to_json(value)).decode()
    except ValueError as error:
        raise Failure(f"can't be written as text: {error}") from None


def to_json(value: Value) -> Json:
    """Turn the result of an expression into JSON: times as RFC 3339 text, keys of maps as text.

    Raises ``Failure`` for NaN and the infinities.
    """
    kind: type[object] = value.__class__
    if kind is list:
        return [to_json(item) for item in value]
    if kind is dict:
        return {to_text(key): to_json(item) for key, item in value.items()}
    if kind is Time:
        return time_text(value.at_ms)
    if kind is float and not math.isfinite(value):
        raise Failure(f"{value} is not a JSON number")
    return value


def weigh(value: Value, limit: int) -> int:
    """Estimate the work of reading a value; stop past ``limit``. An item counts one, as do ``CHARS_PER_ITEM`` of text.

    A list that appears twice counts twice: a few nested macros make a small object that is endless to read.
    """
    total = 0
    pending = [value]
    while pending and total <= limit:
        value = pending.pop()
        total += 1
        kind: type[object] = value.__class__
        if kind is str:
            total += len(value) // CHARS_PER_ITEM
        elif kind is list:
            pending.extend(value)
        elif kind is dict:
            pending.extend(value.values())
    return total


OPERATORS: Final[Mapping[str, Callable[..., Value]]] = {
    "_==_": equal,
    "_!=_": unequal,
    "_<_": ordering(operator.lt),
    "_<=_": ordering(operator.le),
    "_>_": ordering(operator.gt),
    "_>=_": ordering(operator.ge),
    "@in": contained,
    "_[_]": indexed,
    "_+_": add,
    "_-_": subtract,
    "_*_": multiply,
    "_/_": divide,
    "_%_": modulo,
    "-_": negate,
}
