"""Our evaluator against Google's, wherever strict CEL gives an answer.

Ours is looser: it has answers where CEL has errors, so a CEL error proves nothing. Expressions are therefore drawn by
type, and few end in one. Not drawn is what the protocol wants otherwise than CEL even there: how ``string()`` writes
a double, and ints beyond 2**53 compared with doubles (CEL rounds them, we don't).
"""

from __future__ import annotations

import math
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from stepwell.engine.core.expression import compile_expression
from stepwell.errors import ExpressionError

NAMES = ("event", "async")
ENVIRONMENT = cel.NewEnv(
    variables={"event": cel.Type.DYN, "async": cel.Type.DYN}, extensions=[ext_strings.ExtStrings()]
)

INTS = st.integers(-5, 5) | st.sampled_from([2**53, -(2**53), 2**31])
DOUBLES = st.sampled_from([0.0, -0.0, 0.5, 1.0, -2.0, 2.5, 1e300])
STRINGS = st.sampled_from(["", "a", "b", "ab", "Ab", "é", "𝄞", "1", "-3", "true", "2.5"])
SCALARS = st.none() | st.booleans() | INTS | DOUBLES | STRINGS
DATA = st.fixed_dictionaries(
    {
        "i": INTS,
        "d": DOUBLES,
        "s": STRINGS,
        "b": st.booleans(),
        "z": SCALARS,
        "li": st.lists(INTS, max_size=4),
        "ls": st.lists(STRINGS, max_size=4),
        "lm": st.lists(st.fixed_dictionaries({"i": INTS, "s": STRINGS}), max_size=3),
        "m": st.dictionaries(st.sampled_from(["a", "b", "ab"]), SCALARS | st.lists(SCALARS, max_size=2), max_size=3),
    }
)
ROOTS = st.sampled_from(["event", "async"])

Text = st.SearchStrategy[str]


def literal(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return "'" + value + "'"
        case _:
            return repr(value)


def filled(template: str, *parts: Text) -> Text:
    return st.builds(template.format, *parts)


def field(name: str) -> Text:
    return ROOTS.map(lambda root: f"{root}.{name}")


def expressions(depth: int, ints: Text, strings: Text) -> dict[str, Text]:
    """Strategies for expressions of each type, nested to a depth; ``ints`` and ``strings`` are the leaves in scope."""
    leaves = {
        "int": ints | INTS.map(literal),
        "double": field("d") | DOUBLES.map(literal),
        "string": strings | STRINGS.map(literal),
        "bool": field("b") | st.booleans().map(literal),
        "ints": field("li") | st.lists(INTS, max_size=3).map(repr),
        "strings": field("ls"),
        "any": field("z") | field("m") | field("m.a") | field("m['b']") | field("lm") | SCALARS.map(literal),
    }
    if depth == 0:
        return leaves
    inner = expressions(depth - 1, ints, strings)
    with_x = expressions(depth - 1, ints | st.just("x"), strings)
    with_s = expressions(depth - 1, ints, strings | st.just("s"))
    any_of = st.one_of(*inner.values())
    order = st.sampled_from(["<", "<=", ">", ">="])
    quantifier = st.sampled_from(["all", "exists", "exists_one"])
    return {
        "int": leaves["int"]
        | filled("({} {} {})", inner["int"], st.sampled_from(["+", "-", "*", "/", "%"]), inner["int"])
        | filled("-({})", inner["int"])
        | filled("size({})", inner["strings"] | inner["string"])
        | filled("int({})", inner["double"] | inner["string"] | inner["bool"])
        | filled("{}[{}]", inner["ints"], inner["int"])
        | filled("({} ? {} : {})", inner["bool"], inner["int"], inner["int"]),
        "double": leaves["double"]
        | filled("({} {} {})", inner["double"], st.sampled_from(["+", "-", "*", "/"]), inner["double"])
        | filled("double({})", inner["int"] | inner["string"]),
        "string": leaves["string"]
        | filled("({} + {})", inner["string"], inner["string"])
        | filled("{}.{}()", inner["string"], st.sampled_from(["lowerAscii", "upperAscii"]))
        | filled("string({})", inner["int"] | inner["string"] | inner["bool"])
        | filled("{}[{}]", inner["strings"], inner["int"]),
        "bool": leaves["bool"]
        | filled("({} {} {})", any_of, st.sampled_from(["==", "!="]), any_of)
        | filled("({} {} {})", inner["int"] | inner["double"], order, inner["int"] | inner["double"])
        | filled("({} {} {})", inner["string"], order, inner["string"])
        | filled("({} {} {})", inner["bool"], st.sampled_from(["&&", "||", "<", ">="]), inner["bool"])
        | filled("!({})", inner["bool"])
        | filled("({} in {})", any_of, inner["ints"] | inner["strings"] | field("lm"))
        | filled("({} in {})", inner["string"], field("m"))
        | filled(
            "{}.{}({})",
            inner["string"],
            st.sampled_from(["startsWith", "endsWith", "contains", "matches"]),
            inner["string"],
        )
        | filled("has({})", field("m.a") | field("m.b") | field("nothing"))
        | filled("bool({})", inner["string"] | inner["bool"])
        | filled("{}.{}(x, {})", inner["ints"], quantifier, with_x["bool"])
        | filled("{}.{}(s, {})", inner["strings"] | field("m"), quantifier, with_s["bool"])
        | filled("{}.{}(o, o.i {} {})", field("lm"), quantifier, order, inner["int"]),
        "ints": leaves["ints"]
        | filled("({} + {})", inner["ints"], inner["ints"])
        | filled("[{}, {}]", inner["int"], inner["int"])
        | filled("{}.map(x, {})", inner["ints"], with_x["int"])
        | filled("{}.map(x, {}, {})", inner["ints"], with_x["bool"], with_x["int"])
        | filled("{}.filter(x, {})", inner["ints"], with_x["bool"])
        | filled("{}.map(o, o.i)", field("lm")),
        "strings": leaves["strings"]
        | filled("[{}, {}]", inner["string"], inner["string"])
        | filled("{}.map(s, {})", inner["strings"], with_s["string"])
        | filled("{}.map(o, o.s)", field("lm")),
        "any": leaves["any"] | filled("{{'k': {}, {}: {}}}", any_of, inner["int"], any_of) | filled("[{}]", any_of),
    }


EXPRESSIONS = st.one_of(*expressions(3, field("i"), field("s")).values())


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, list):
        return isinstance(ours, list) and len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, dict):
        by_text = {str(key): item for key, item in theirs.items()}  # ours is JSON: its keys are strings
        return (
            isinstance(ours, dict)
            and ours.keys() == by_text.keys()
            and all(same(item, by_text[key]) for key, item in ours.items())
        )
    return type(ours) is type(theirs) and ours == theirs


def is_json(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(is_json, value))
    if isinstance(value, dict):
        return all(map(is_json, value.values()))
    return not isinstance(value, float) or math.isfinite(value)


@settings(max_examples=400, deadline=None)
@given(text=EXPRESSIONS, data=DATA, other=DATA)
@example(text="[0, 1].exists(x, 1 / x == 1)", data={}, other={})
@example(text="(1 / 0 == 1) || true", data={}, other={})
@example(text="[true] == [1]", data={}, other={})
@example(text="event.m.map(x, x)", data={"m": {"b": 1}}, other={})
def test_where_strict_cel_has_an_answer_ours_is_the_same(text: str, data: Any, other: Any) -> None:
    variables = {"event": data, "async": other}
    result = ENVIRONMENT.compile(text, disable_check=True).eval(data=variables)
    theirs = result.plain_value()
    if result.type() == cel.Type.ERROR or not is_json(theirs):
        event("no answer")
        return
    event("answer")

    ours = compile_expression(text, NAMES).evaluate(variables)

    assert same(ours, theirs), f"ours {ours!r}, theirs {theirs!r}"


@settings(max_examples=200, deadline=None)
@given(text=EXPRESSIONS, data=SCALARS | st.dictionaries(st.sampled_from(["i", "s", "li", "m"]), SCALARS))
def test_on_any_data_an_expression_evaluates_or_says_why(text: str, data: Any) -> None:
    variables = {"event": data}
    try:
        expression = compile_expression(text, NAMES)
    except ExpressionError:  # a pattern that is none
        return

    assert expression.test(variables) in {True, False}
    try:
        value = expression.evaluate(variables)
    except ExpressionError:
        return
    assert is_json(value)
    assert expression.test(variables) is (bool(value) or isinstance(value, (list, dict)))
