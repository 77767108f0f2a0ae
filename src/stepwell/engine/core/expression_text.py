"""Writing an expression's tree as CEL text again, for people: a term of a condition, a field's path.

Only the parentheses that are needed are written. The text means the same as the tree, but isn't the one it came from.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from stepwell.engine.core.expression_parts import Path
from stepwell.engine.core.expression_tree import Call, Has, ListOf, Literal, Macro, MapOf, Name, Node, Select
from stepwell.engine.core.expression_values import INT64_MAX, is_number
from stepwell.protocol.canonical import encode_text

# How tightly a form binds. An operand that binds less tightly than its place asks is put in parentheses.
_CHOICE: Final = 1
_OR: Final = 2
_AND: Final = 3
_RELATION: Final = 4
_SUM: Final = 5
_PRODUCT: Final = 6
_UNARY: Final = 7
_MEMBER: Final = 8


class _Binary(NamedTuple):
    symbol: str
    level: int
    right: int
    """The level that the right operand needs."""


_BINARY: Final[Mapping[str, _Binary]] = {
    "_||_": _Binary("||", _OR, _OR),
    "_&&_": _Binary("&&", _AND, _AND),
    "_==_": _Binary("==", _RELATION, _SUM),
    "_!=_": _Binary("!=", _RELATION, _SUM),
    "_<_": _Binary("<", _RELATION, _SUM),
    "_<=_": _Binary("<=", _RELATION, _SUM),
    "_>_": _Binary(">", _RELATION, _SUM),
    "_>=_": _Binary(">=", _RELATION, _SUM),
    "@in": _Binary("in", _RELATION, _SUM),
    "_+_": _Binary("+", _SUM, _PRODUCT),
    "_-_": _Binary("-", _SUM, _PRODUCT),
    "_*_": _Binary("*", _PRODUCT, _UNARY),
    "_/_": _Binary("/", _PRODUCT, _UNARY),
    "_%_": _Binary("%", _PRODUCT, _UNARY),
}
_UNARIES: Final[Mapping[str, str]] = {"!_": "!", "-_": "-"}
_FIELD: Final = re.compile(r"(?!(?:in|true|false|null)\Z)[A-Za-z_][A-Za-z0-9_]*", re.ASCII)


def written(node: Node) -> str:
    """Write a tree as CEL text."""
    return _write(node, _CHOICE)


def written_path(path: Path) -> str:
    """Write a path as CEL text: ``event.data["order id"]``."""
    return path[0] + "".join(map(_selection, path[1:]))


def _write(node: Node, place: int) -> str:
    text, level = _form(node)
    return text if level >= place else f"({text})"


def _form(node: Node) -> tuple[str, int]:
    """Return a node's text, and how tightly it binds."""
    match node:
        case Literal(value):
            return _literal(value), _UNARY if is_number(value) else _MEMBER
        case Name(name):
            return name, _MEMBER
        case Select(operand, field):
            return _write(operand, _MEMBER) + _selection(field), _MEMBER
        case Has(operand, field):
            return f"has({_write(operand, _MEMBER)}.{field})", _MEMBER
        case ListOf(items):
            return f"[{_listed(items)}]", _MEMBER
        case MapOf(entries):
            inside = ", ".join(f"{written(key)}: {written(value)}" for key, value in entries)
            return f"{{{inside}}}", _MEMBER
        case Macro(kind, variable, items, condition, transform):
            shown = transform if kind == "map" else None  # a filter's is its variable
            parts = (variable, *(written(part) for part in (condition, shown) if part is not None))
            return f"{_write(items, _MEMBER)}.{kind}({', '.join(parts)})", _MEMBER
        case Call():
            return _call(node)


def _call(node: Call) -> tuple[str, int]:
    match node:
        case Call(function, (left, right)) if function in _BINARY:
            symbol, level, right_level = _BINARY[function]
            return f"{_write(left, level)} {symbol} {_write(right, right_level)}", level
        case Call(function, (operand,)) if function in _UNARIES:
            return _UNARIES[function] + _write(operand, _MEMBER), _UNARY
        case Call("_?_:_", (condition, chosen, otherwise)):
            return f"{_write(condition, _OR)} ? {_write(chosen, _OR)} : {written(otherwise)}", _CHOICE
        case Call("_[_]", (container, key)):
            return f"{_write(container, _MEMBER)}[{written(key)}]", _MEMBER
        case Call(function, (receiver, *arguments), is_method=True):
            return f"{_write(receiver, _MEMBER)}.{function}({_listed(arguments)})", _MEMBER
        case Call(function, arguments):
            return f"{function}({_listed(arguments)})", _MEMBER


def _listed(nodes: Iterable[Node]) -> str:
    return ", ".join(map(written, nodes))


def _selection(field: str) -> str:
    return f".{field}" if _FIELD.fullmatch(field) else f"[{_literal(field)}]"


def _literal(value: None | bool | float | str) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case str():
            return encode_text(value).decode()  # JSON's escapes are CEL's, too
        case int() if value > INT64_MAX:
            return f"{value}u"
        case int() | float():
            return repr(value)
