"""The syntax of expressions: CEL text to a tree of our own.

Google's parser does the parsing (it brings its limits, nesting of 32 above all, and messages with line and column);
nobody but this module imports it. It hands over a ``cel.expr.ParsedExpr`` in protobuf, which is turned here into nodes
that know nothing of it, so that another parser can take its place.

The parser has already written out the macros (``exists``, ``all``, ``exists_one``, ``map``, ``filter``) as general
folds. We put them back together as ``Macro`` nodes: there is no other source of folds, and a macro that is known as
such needs no accumulator, stops early, and appends to a list instead of copying it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cel_expr_python import cel  # pyright: ignore[reportMissingTypeStubs]: its stubs aren't marked as such
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from stepwell.errors import ExpressionError
from stepwell.limits import EXPRESSION_CHARS_MAX


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: None | bool | int | float | str
    at: int


@dataclass(frozen=True, slots=True)
class Name:
    """A root variable (``event``), or the variable of a macro around it."""

    name: str
    at: int


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.field``, also where it was written ``operand["field"]``."""

    operand: Node
    field: str
    at: int


@dataclass(frozen=True, slots=True)
class Has:
    """``has(operand.field)``."""

    operand: Node
    field: str
    at: int


@dataclass(frozen=True, slots=True)
class Call:
    """An operator (``_==_``, ``!_``, ``@in``, ``_[_]``, …) or a function. A method's receiver is its first argument."""

    function: str
    arguments: tuple[Node, ...]
    is_method: bool
    at: int


@dataclass(frozen=True, slots=True)
class ListOf:
    """``[a, b]``."""

    items: tuple[Node, ...]
    at: int


@dataclass(frozen=True, slots=True)
class MapOf:
    """``{k: v}``."""

    entries: tuple[tuple[Node, Node], ...]
    at: int


@dataclass(frozen=True, slots=True)
class Macro:
    """``items.kind(variable, condition)``; ``transform`` is what ``map`` and ``filter`` put in the new list."""

    kind: str
    """``all``, ``exists``, ``exists_one``, ``map`` or ``filter``."""
    variable: str
    items: Node
    condition: Node | None
    transform: Node | None
    at: int


Node: TypeAlias = Literal | Name | Select | Has | Call | ListOf | MapOf | Macro


def parse(text: str) -> Node:
    """Parse CEL source text; raise ``ExpressionError`` with line and column where it isn't CEL that we support."""
    if len(text) > EXPRESSION_CHARS_MAX:
        raise ExpressionError(
            f"the expression has {len(text):,} characters; at most {EXPRESSION_CHARS_MAX:,} are allowed"
        )
    try:
        text.encode()
        wrapped = _environment().compile(text, disable_check=True).serialize()
    except UnicodeEncodeError:
        raise ExpressionError("the expression holds a lone surrogate, which is not text") from None
    except RuntimeError as error:
        raise ExpressionError(_explain(str(error))) from None
    parsed = _fields("ParsedExpr", _fields("Any", wrapped)["value"])
    source = _fields("SourceInfo", parsed.get("source_info", b""))
    positions = [_fields("Position", entry) for entry in source.get("positions", ())]
    reader = _Reader(text, {entry["key"]: entry.get("value", 0) for entry in positions})
    return reader.node(parsed["expr"])


def children(node: Node) -> tuple[Node, ...]:
    """Return the nodes directly below a node, in source order."""
    match node:
        case Literal() | Name():
            return ()
        case Select(operand) | Has(operand):
            return (operand,)
        case Call(_, arguments):
            return arguments
        case ListOf(items):
            return items
        case MapOf(entries):
            return tuple(part for entry in entries for part in entry)
        case Macro(_, _, items, condition, transform):
            return (items, *(part for part in (condition, transform) if part is not None))


def walk(node: Node) -> Iterator[Node]:
    """Yield a node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def error_at(text: str, at: int, message: str) -> ExpressionError:
    """Make an error that points at a character offset in the source text."""
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return ExpressionError(f"line {line}, column {column}: {message}")


class _Reader:
    """Builds nodes from the parser's messages. ``positions`` are character offsets by expression id."""

    def __init__(self, text: str, positions: Mapping[int, int]) -> None:
        self._text = text
        self._positions = positions

    def node(self, encoded: bytes) -> Node:
        expr = _fields("Expr", encoded)
        at = self._positions.get(expr.pop("id", 0), 0)
        ((kind, content),) = expr.items()
        fields = _fields(kind, content)
        match kind:
            case "Constant":
                return self._literal(fields, at)
            case "Ident":
                return Name(fields["name"], at)
            case "Select":
                made = Has if fields.get("test_only", False) else Select
                return made(self.node(fields["operand"]), fields["field"], at)
            case "Call":
                return self._call(fields, at)
            case "List":
                return ListOf(self._nodes(fields.get("elements", ())), at)
            case "Map":
                return self._map(fields, at)
            case _:
                return self._macro(fields, at)

    def _nodes(self, encoded: Iterator[bytes] | tuple[bytes, ...]) -> tuple[Node, ...]:
        return tuple(self.node(item) for item in encoded)

    def _literal(self, fields: Mapping[str, Any], at: int) -> Literal:
        ((kind, value),) = fields.items()
        if kind == "bytes_value":
            raise error_at(self._text, at, "bytes are not supported: events are JSON; write a string")
        return Literal(None if kind == "null_value" else value, at)

    def _call(self, fields: Mapping[str, Any], at: int) -> Node:
        arguments = self._nodes(fields.get("args", ()))
        is_method = "target" in fields
        if is_method:
            arguments = (self.node(fields["target"]), *arguments)
        match fields["function"], arguments:
            case "_[_]", (container, Literal(str(key))):
                return Select(container, key, at)
            case function, _:
                return Call(function, arguments, is_method, at)

    def _map(self, fields: Mapping[str, Any], at: int) -> MapOf:
        if fields.get("message_name"):
            raise error_at(self._text, at, f"{fields['message_name']}{{}} is not supported: events are JSON")
        entries = [_fields("Entry", entry) for entry in fields.get("entries", ())]
        return MapOf(tuple((self.node(entry["map_key"]), self.node(entry["value"])) for entry in entries), at)

    def _macro(self, fields: Mapping[str, Any], at: int) -> Macro:
        """Recognise a macro by the fold that the parser made of it.

        ===========  ==========  =========================================
        macro        start       step
        ===========  ==========  =========================================
        all          true        ``acc && condition``
        exists       false       ``acc || condition``
        exists_one   0           ``condition ? acc + 1 : acc``
        map          []          ``acc + [transform]``
        filter, map  []          ``condition ? acc + [transform] : acc``
        ===========  ==========  =========================================
        """
        variable = fields["iter_var"]
        items = self.node(fields["iter_range"])
        step = self.node(fields["loop_step"])
        match self.node(fields["accu_init"]), step:
            case Literal(True), Call("_&&_", (_, condition)):
                return Macro("all", variable, items, condition, None, at)
            case Literal(False), Call("_||_", (_, condition)):
                return Macro("exists", variable, items, condition, None, at)
            case Literal(0), Call("_?_:_", (condition, _, _)):
                return Macro("exists_one", variable, items, condition, None, at)
            case ListOf(()), Call("_+_", (_, ListOf((transform,)))):
                return Macro("map", variable, items, None, transform, at)
            case ListOf(()), Call("_?_:_", (condition, Call("_+_", (_, ListOf((transform,)))), _)):
                kind = "filter" if transform == Name(variable, transform.at) else "map"
                return Macro(kind, variable, items, condition, transform, at)
            case _:
                raise error_at(self._text, at, "this macro is not supported")


@functools.cache
def _environment() -> cel.Env:
    return cel.NewEnv(variables={})


_PLACE: Final = re.compile(r"ERROR: [^:]*:(\d+):(\d+): (.+)")
_NO_LINE: Final = 2**32 - 1


def _explain(report: str) -> str:
    """Make one sentence of the parser's report."""
    if "recursion" in report:
        return "the expression is nested too deeply, or chains too many operators: at most 32 levels are allowed"
    found = _PLACE.search(report)
    if found is None or int(found[1]) == _NO_LINE:
        return report
    problem = found[3].split(" expecting {")[0].replace("'<EOF>'", "the end of the text")
    hint = "; write == to compare" if "error at: '=" in problem else ""
    return f"line {found[1]}, column {found[2]}: {problem}{hint}"


# The messages of the public package cel.expr that a parsed expression is made of, under short names. Fields that hold
# another message are declared as bytes, which is the same on the wire: each level is decoded by its own call, so that
# protobuf's nesting limit (100, which fifteen nested macros pass) doesn't apply. A trailing * means repeated.
_SCHEMA: Final[Mapping[str, Mapping[str, tuple[int, str]]]] = {
    "Any": {"value": (2, "bytes")},
    "ParsedExpr": {"expr": (2, "bytes"), "source_info": (3, "bytes")},
    "SourceInfo": {"positions": (4, "bytes*")},
    "Position": {"key": (1, "int64"), "value": (2, "int32")},
    "Expr": {
        "id": (2, "int64"),
        "Constant": (3, "bytes"),
        "Ident": (4, "bytes"),
        "Select": (5, "bytes"),
        "Call": (6, "bytes"),
        "List": (7, "bytes"),
        "Map": (8, "bytes"),
        "Fold": (9, "bytes"),
    },
    "Constant": {
        "null_value": (1, "int32"),
        "bool_value": (2, "bool"),
        "int64_value": (3, "int64"),
        "uint64_value": (4, "uint64"),
        "double_value": (5, "double"),
        "string_value": (6, "string"),
        "bytes_value": (7, "bytes"),
    },
    "Ident": {"name": (1, "string")},
    "Select": {"operand": (1, "bytes"), "field": (2, "string"), "test_only": (3, "bool")},
    "Call": {"target": (1, "bytes"), "function": (2, "string"), "args": (3, "bytes*")},
    "List": {"elements": (1, "bytes*")},
    "Map": {"message_name": (1, "string"), "entries": (2, "bytes*")},
    "Entry": {"map_key": (3, "bytes"), "value": (4, "bytes")},
    "Fold": {
        "iter_var": (1, "string"),
        "iter_range": (2, "bytes"),
        "accu_init": (4, "bytes"),
        "loop_step": (6, "bytes"),
    },
}


def _message_classes() -> Mapping[str, type[Message]]:
    """Declare the schema to protobuf, in a pool of its own so that nothing else in the process can collide with it."""
    file = descriptor_pb2.FileDescriptorProto(name="expression.proto", package="stepwell.expression")
    for name, fields in _SCHEMA.items():
        declared = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            scalar = kind.rstrip("*")
            declared.field.add(
                name=field,
                number=number,
                type=descriptor_pb2.FieldDescriptorProto.Type.Value(f"TYPE_{scalar.upper()}"),
                label=descriptor_pb2.FieldDescriptorProto.Label.Value(
                    "LABEL_OPTIONAL" if scalar == kind else "LABEL_REPEATED"
                ),
            )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"stepwell.expression.{name}"))
        for name in _SCHEMA
    }


_CLASSES: Final = _message_classes()


def _fields(kind: str, encoded: bytes) -> dict[str, Any]:
    """Decode one message to the fields that are present in it."""
    return {field.name: value for field, value in _CLASSES[kind].FromString(encoded).ListFields()}
