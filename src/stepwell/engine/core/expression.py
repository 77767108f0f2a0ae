"""Expressions: CEL source text, compiled once and evaluated against plain dicts (protocol 10).

The parts: ``expression_tree`` parses, ``expression_compile`` makes closures of the tree, ``expression_values`` and
``expression_functions`` say what operators and functions do, ``expression_parts`` takes trees apart and
``expression_text`` writes them for people. This module is what the rest of the engine calls.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Final

from stepwell.engine.core.expression_compile import NOW, STEPS, Exhausted, compile_tree
from stepwell.engine.core.expression_parts import conjuncts
from stepwell.engine.core.expression_text import written
from stepwell.engine.core.expression_tree import Call, Has, Macro, Node, error_at, parse, walk
from stepwell.engine.core.expression_values import OPERATORS, Failure, Value, to_json, to_text, truth, weigh
from stepwell.errors import ExpressionError
from stepwell.limits import EXPRESSION_STEPS_MAX
from stepwell.protocol.canonical import Json

RESULT_ITEMS_MAX: Final = 250_000  # or 16 times as many characters; macros can make a result that is endless to write
EXPRESSIONS_CACHED: Final = 4_096  # a few kB each
NO_VALUE: Final = (Failure, Exhausted, RecursionError)
"""What ``Expression.value`` raises."""

_RESTRICTED: Final = frozenset(
    (
        "_&&_",
        "_||_",
        "!_",
        "_?_:_",
        "_==_",
        "_!=_",
        "_<_",
        "_<=_",
        "_>_",
        "_>=_",
        "@in",
        "_[_]",
        "int",
        "uint",
        "double",
    )
)


class Expression:
    """A compiled expression. It holds no state: threads may share it."""

    __slots__ = ("_evaluator", "_names", "_source", "text", "tree")

    def __init__(self, text: str, tree: Node, *, source: str, names: tuple[str, ...]) -> None:
        """``source`` is the text that the tree was parsed from: of a part, that of the whole."""
        self.text: Final = text
        self.tree: Final = tree
        self._source = source
        self._names = names
        self._evaluator = compile_tree(tree, source, names)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def evaluate(self, variables: Mapping[str, Json], now_ms: int | None = None) -> Json:
        """Compute the value. ``now_ms`` is the time that ``now_plus`` and ``now_minus`` start from.

        Raises ``ExpressionError`` where it has none (a function given the wrong type, division by zero, overflow), and
        where it takes more than ``EXPRESSION_STEPS_MAX`` steps.
        """
        try:
            value = self.value(variables, now_ms)
            if weigh(value, RESULT_ITEMS_MAX) > RESULT_ITEMS_MAX:
                raise Exhausted
            return to_json(value)
        except Failure as failure:
            raise ExpressionError(f"{failure} (in {_shortened(self.text)})") from None
        except Exhausted:
            raise ExpressionError(
                f"takes more than {EXPRESSION_STEPS_MAX:,} steps, or gives a result of more than "
                f"{RESULT_ITEMS_MAX:,} items (in {_shortened(self.text)})"
            ) from None
        except RecursionError:
            raise ExpressionError(f"meets a value that is nested too deeply (in {_shortened(self.text)})") from None

    def test(self, variables: Mapping[str, Json], now_ms: int | None = None) -> bool:
        """Tell whether the value counts as true. An expression that can't be evaluated is false."""
        try:
            return truth(self.value(variables, now_ms))
        except NO_VALUE:
            return False

    def value(self, variables: Mapping[str, Json], now_ms: int | None = None) -> Value:
        """Compute the value as operators see it: times aren't text yet, and numbers may be infinite.

        Raises the errors in ``NO_VALUE``.
        """
        return self._evaluator({**variables, NOW: now_ms, STEPS: EXPRESSION_STEPS_MAX})

    def terms(self) -> tuple[Expression, ...]:
        """Take a conjunction apart: this expression tests true just if each of its terms does."""
        nodes = tuple(conjuncts(self.tree))
        return tuple(map(self.part, nodes)) if len(nodes) > 1 else (self,)

    def part(self, node: Node) -> Expression:
        """Make an expression of its own of a node of the tree that is inside no macro."""
        return Expression(written(node), node, source=self._source, names=self._names)

    def check_restricted(self) -> None:
        """Check for the form that ``cancel[].if`` allows: logic, comparisons, indexing, ``in`` and number conversions.

        Raises ``ExpressionError`` that points at the first part which isn't allowed, and says what is (protocol 10).
        """
        for node in walk(self.tree):
            match node:
                case Call(function) if function not in _RESTRICTED:
                    name = function.strip("_") if function in OPERATORS else f"{function}()"
                case Has():
                    name = "has()"
                case Macro(kind):
                    name = f"{kind}()"
                case _:
                    continue
            raise error_at(
                self._source,
                node.at,
                f"{name} is not allowed here; only logic, comparisons, indexing, in, int(), uint() and double() are",
            )


def compile_once(text: str, names: tuple[str, ...] = ("event",)) -> Expression:
    """Compile CEL source text. ``names`` are the variables that it may read.

    Raises ``ExpressionError``, with line and column, for text that isn't CEL, unknown variables and functions, wrong
    numbers of arguments and bad patterns, and for text of more than ``EXPRESSION_CHARS_MAX`` characters.
    """
    return Expression(text, parse(text), source=text, names=names)


@functools.lru_cache(EXPRESSIONS_CACHED)
def compile_expression(text: str, names: tuple[str, ...] = ("event",)) -> Expression:
    """Compile an expression that is used again and again, such as a function's, or take it from a cache."""
    return compile_once(text, names)


def to_key(value: Json) -> str:
    """Make a key of a value: strings as they are, all else in its JSON form (protocol 10, "Keys").

    Raises ``ExpressionError`` for what JSON can't hold.
    """
    if value is None:
        return "null"
    try:
        return to_text(value)
    except Failure as failure:
        raise ExpressionError(f"no key can be made of this value: {failure}") from None


def _shortened(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:79] + "…")
