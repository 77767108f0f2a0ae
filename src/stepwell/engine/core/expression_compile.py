"""From the tree of an expression to closures, one a node, that read the variables as they are.

Nothing is converted, so the cost doesn't grow with the event. A closure is given a *frame*: the variables, now, the
steps left, and a slot for the variable of each macro.

The steps bound an evaluation. A turn of a macro costs one, and so does each ``CHARGE_PER_STEP`` of weight that an
operator or function reads. No ``||`` absorbs running out of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from stepwell.engine.core.expression_functions import FUNCTIONS, compile_pattern, shifted
from stepwell.engine.core.expression_tree import Call, Has, ListOf, Literal, Macro, MapOf, Name, Node, Select, error_at
from stepwell.engine.core.expression_values import (
    OPERATORS,
    Failure,
    Value,
    contained,
    equal,
    indexed,
    truth,
    type_name,
    weigh,
)

Frame: TypeAlias = dict[str, Any]
Evaluator: TypeAlias = Callable[[Frame], Value]

_UNUSED_VARIABLE: Final = "vars"  # known everywhere (protocol 10), and always null
CHARGE_PER_STEP: Final = 500  # keeps the work of a step under 100 us, and so an evaluation about a second

# Keys of the frame that no variable can have.
NOW: Final = "@now"
STEPS: Final = "@steps"

_NOW_FUNCTIONS: Final = {"now_plus": 1, "now_minus": -1}


class Exhausted(Exception):
    """The steps are used up. Not a ``Failure``: nothing may absorb it."""


def compile_tree(tree: Node, text: str, names: tuple[str, ...]) -> Evaluator:
    """Compile a tree; ``text`` is its source, ``names`` the variables that there are.

    Raises ``ExpressionError`` with line and column for unknown names, wrong numbers of arguments and bad patterns.
    """
    return _Compiler(text, names).compile(tree, {})


class _Compiler:
    """Makes closures of nodes. A scope maps the variables of the macros around to their slots in the frame.

    Each macro has a slot of its own, so that a variable that hides another needn't be put back.
    """

    def __init__(self, text: str, names: tuple[str, ...]) -> None:
        self._text = text
        self._names = names
        self._slots = 0

    def compile(self, node: Node, scope: Mapping[str, str]) -> Evaluator:
        match node:
            case Literal(value):
                return lambda _: value
            case Name() | Select():
                return self._path(node, scope)
            case Has(operand, field):
                return _has(self.compile(operand, scope), field)
            case ListOf(items):
                parts = [self.compile(item, scope) for item in items]
                return lambda frame: [part(frame) for part in parts]
            case MapOf(entries):
                return _map_of([(self.compile(key, scope), self.compile(value, scope)) for key, value in entries])
            case Call(function, arguments):
                if function in _LOGIC_COMPILERS:
                    return _LOGIC_COMPILERS[function](*(self.compile(argument, scope) for argument in arguments))
                if function in OPERATORS:
                    return self._operator(node, scope)
                return self._function(node, scope)
            case Macro():
                return self._macro(node, scope)

    def _path(self, node: Name | Select, scope: Mapping[str, str]) -> Evaluator:
        """Compile a variable and the fields selected from it as one closure: the commonest part of all."""
        fields: list[str] = []
        start: Node = node
        while isinstance(start, Select):
            fields.append(start.field)
            start = start.operand
        fields.reverse()
        if not isinstance(start, Name):
            return _selected(self.compile(start, scope), fields)
        if start.name in scope:
            return _variable(scope[start.name], fields)
        if start.name in self._names or start.name == _UNUSED_VARIABLE:
            return _variable(start.name, fields)
        known = f"is only {self._names[0]}" if len(self._names) == 1 else f"are {' and '.join(self._names)}"
        raise error_at(self._text, start.at, f"unknown variable {start.name!r}: here there {known}")

    def _operator(self, node: Call, scope: Mapping[str, str]) -> Evaluator:
        parts = [self.compile(argument, scope) for argument in node.arguments]
        match node:
            case Call("_==_" | "_!=_" as function, (_, Literal(value))):
                return _equals_literal(parts[0], value, wanted=function == "_==_")
            case Call("_==_" | "_!=_" as function, (Literal(value), _)):
                return _equals_literal(parts[1], value, wanted=function == "_==_")
            case Call("_[_]"):
                return _indexed(*parts)
            case Call("@in"):
                return _contained(*parts)
            case _:
                return _called(OPERATORS[node.function], parts)

    def _function(self, node: Call, scope: Mapping[str, str]) -> Evaluator:
        arguments = [self.compile(argument, scope) for argument in node.arguments]
        self._check_call(node)
        if node.function in _NOW_FUNCTIONS:
            return _from_now(arguments[0], _NOW_FUNCTIONS[node.function])
        call = FUNCTIONS[node.function].call
        match node:
            case Call("matches", (_, Literal(str(pattern)))):
                try:
                    compile_pattern(pattern)  # only to refuse it now
                except Failure as failure:
                    raise error_at(self._text, node.at, str(failure)) from None
            case _:
                pass
        return _called(call, arguments)

    def _check_call(self, node: Call) -> None:
        name = node.function
        if name in _NOW_FUNCTIONS:
            arity, is_allowed = 1, not node.is_method
        elif name in FUNCTIONS:
            function = FUNCTIONS[name]
            arity, is_allowed = function.arity, function.is_method if node.is_method else function.is_function
        else:
            near = difflib.get_close_matches(name, (*FUNCTIONS, *_NOW_FUNCTIONS, *_MACRO_COMPILERS), n=1)
            hint = f"; did you mean {near[0]}()?" if near else ""
            raise error_at(self._text, node.at, f"unknown function {name}(){hint}")
        if not is_allowed:
            form = f"{name}(x)" if node.is_method else f"x.{name}(…)"
            raise error_at(self._text, node.at, f"{name}() is written {form}")
        if len(node.arguments) != arity:
            wanted = arity - node.is_method
            raise error_at(self._text, node.at, f"{name}() takes {wanted} argument{'' if wanted == 1 else 's'} here")

    def _macro(self, node: Macro, scope: Mapping[str, str]) -> Evaluator:
        self._slots += 1
        slot = f"@{self._slots}"
        items = self.compile(node.items, scope)
        inner = {**scope, node.variable: slot}

        def turns(frame: Frame) -> Iterator[None]:
            return _turns(frame, slot, items(frame), node.kind)

        condition = self.compile(node.condition, inner) if node.condition is not None else None
        transform = self.compile(node.transform, inner) if node.transform is not None else None
        return _MACRO_COMPILERS[node.kind](turns, condition, transform)


# Reading


def _variable(slot: str, fields: list[str]) -> Evaluator:
    """Read a variable's field at any depth; null where something is missing on the way.

    Only a dict has an item for a string: all other values raise TypeError, and for a missing key a dict KeyError.
    """
    match fields:
        case []:
            return lambda frame: frame.get(slot)
        case [first]:

            def one(frame: Frame) -> Value:
                try:
                    return frame[slot][first]
                except (KeyError, TypeError):
                    return None

            return one
        case [first, second]:

            def two(frame: Frame) -> Value:
                try:
                    return frame[slot][first][second]
                except (KeyError, TypeError):
                    return None

            return two
        case _:

            def deep(frame: Frame) -> Value:
                try:
                    value = frame[slot]
                    for field in fields:
                        value = value[field]
                except (KeyError, TypeError):
                    return None
                return value

            return deep


def _selected(operand: Evaluator, fields: list[str]) -> Evaluator:
    def select(frame: Frame) -> Value:
        value = operand(frame)
        for field in fields:
            value = indexed(value, field)
        return value

    return select


def _indexed(container: Evaluator, key: Evaluator) -> Evaluator:
    return lambda frame: indexed(container(frame), key(frame))


def _has(operand: Evaluator, field: str) -> Evaluator:
    def has(frame: Frame) -> bool:
        value = operand(frame)
        kind: type[object] = value.__class__
        return kind is dict and field in value

    return has


def _map_of(entries: list[tuple[Evaluator, Evaluator]]) -> Evaluator:
    def make(frame: Frame) -> Value:
        made: dict[Any, Value] = {}
        for key_of, value_of in entries:
            key = key_of(frame)
            if type(key) is not str and type(key) is not int:
                raise Failure(f"a map's key must be a string or an int, not {type_name(key)}")
            if key in made:
                raise Failure(f"a map has the key {key!r} twice")
            made[key] = value_of(frame)
        return made

    return make


# Logic


def _and(left: Evaluator, right: Evaluator) -> Evaluator:
    def both(frame: Frame) -> bool:
        try:
            if not truth(left(frame)):
                return False
        except Failure:
            if truth(right(frame)):
                raise
            return False
        return truth(right(frame))

    return both


def _or(left: Evaluator, right: Evaluator) -> Evaluator:
    def either(frame: Frame) -> bool:
        try:
            if truth(left(frame)):
                return True
        except Failure:
            if truth(right(frame)):
                return True
            raise
        return truth(right(frame))

    return either


def _not(operand: Evaluator) -> Evaluator:
    return lambda frame: not truth(operand(frame))


def _choice(condition: Evaluator, chosen: Evaluator, otherwise: Evaluator) -> Evaluator:
    return lambda frame: chosen(frame) if truth(condition(frame)) else otherwise(frame)


_LOGIC_COMPILERS: Final[Mapping[str, Callable[..., Evaluator]]] = {
    "_&&_": _and,
    "_||_": _or,
    "!_": _not,
    "_?_:_": _choice,
}


# Operators and functions


def _equals_literal(operand: Evaluator, literal: Value, *, wanted: bool) -> Evaluator:
    """Compile ``==`` (``wanted``) or ``!=`` with a constant, where half of the type questions are answered now."""
    if literal is None or type(literal) is bool:
        return lambda frame: (operand(frame) is literal) is wanted
    if type(literal) is str:
        return lambda frame: (operand(frame) == literal) is wanted
    return lambda frame: equal(operand(frame), literal) is wanted


def _contained(item: Evaluator, container: Evaluator) -> Evaluator:
    def find(frame: Frame) -> bool:
        wanted = item(frame)
        among = container(frame)
        if type(among) is list:  # a map is not searched
            _charge(frame, wanted)
            _charge(frame, among)
        return contained(wanted, among)

    return find


def _called(call: Callable[..., Value], arguments: list[Evaluator]) -> Evaluator:
    """Compile an operator or function. It pays for the size of what it reads, since a macro may repeat it."""
    if len(arguments) == 1:
        (only,) = arguments

        def unary(frame: Frame) -> Value:
            value = only(frame)
            _charge(frame, value)
            return call(value)

        return unary
    left, right = arguments

    def binary(frame: Frame) -> Value:
        first = left(frame)
        second = right(frame)
        if type(first) in _SIZED:
            _charge(frame, first)
        if type(second) in _SIZED:
            _charge(frame, second)
        return call(first, second)

    return binary


_SIZED: Final = frozenset((str, list, dict))


def _charge(frame: Frame, value: Value) -> None:
    if type(value) is str and len(value) < CHARGE_PER_STEP:
        return
    steps = frame[STEPS]
    limit = steps * CHARGE_PER_STEP
    size = weigh(value, limit)
    if size > limit:
        raise Exhausted
    frame[STEPS] = steps - size // CHARGE_PER_STEP


def _from_now(duration: Evaluator, sign: int) -> Evaluator:
    def compute(frame: Frame) -> Value:
        now_ms = frame[NOW]
        if now_ms is None:
            raise Failure("now_plus() and now_minus() can't be used here: the time isn't given")
        return shifted(now_ms, duration(frame), sign)

    return compute


# Macros


def _turns(frame: Frame, slot: str, items: Value, kind: str) -> Iterator[None]:
    """Put each item in the slot in turn, a map's keys for a map; each turn costs a step."""
    kind_of_items: type[object] = items.__class__
    if kind_of_items is not list and kind_of_items is not dict:
        raise Failure(f"{kind}(): needs a list or a map, not {type_name(items)}")
    for item in items:
        steps = frame[STEPS] - 1
        if steps < 0:
            raise Exhausted
        frame[STEPS] = steps
        frame[slot] = item
        yield


_Turns: TypeAlias = Callable[[Frame], Iterator[None]]


def _quantifier(*, decisive: bool) -> Callable[[_Turns, Evaluator, None], Evaluator]:
    """Make ``exists`` (decided by a true item) or ``all`` (by a false one). A failure counts only if nothing decides."""

    def compile_quantifier(turns: _Turns, condition: Evaluator, _: None) -> Evaluator:
        def quantify(frame: Frame) -> bool:
            failed: Failure | None = None
            for _ in turns(frame):
                try:
                    if truth(condition(frame)) is decisive:
                        return decisive
                except Failure as failure:
                    failed = failure
            if failed is not None:
                raise failed
            return not decisive

        return quantify

    return compile_quantifier


def _exists_one(turns: _Turns, condition: Evaluator, _: None) -> Evaluator:
    return lambda frame: sum(truth(condition(frame)) for _ in turns(frame)) == 1


def _list_made(turns: _Turns, condition: Evaluator | None, transform: Evaluator) -> Evaluator:
    if condition is None:
        return lambda frame: [transform(frame) for _ in turns(frame)]
    return lambda frame: [transform(frame) for _ in turns(frame) if truth(condition(frame))]


_MACRO_COMPILERS: Final[Mapping[str, Callable[..., Evaluator]]] = {
    "all": _quantifier(decisive=False),
    "exists": _quantifier(decisive=True),
    "exists_one": _exists_one,
    "filter": _list_made,
    "map": _list_made,
}
