"""Expressions: the protocol's semantics (section 10) row by row, then limits, refusals and keys."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from stepwell.engine.core.expression import Expression, compile_expression, to_key
from stepwell.engine.core.expression_parts import paths
from stepwell.engine.core.expression_text import written, written_path
from stepwell.errors import ExpressionError
from stepwell.limits import EXPRESSION_CHARS_MAX, EXPRESSION_STEPS_MAX

BOTH = ("event", "async")
NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
BIG = 2**70
VARIABLES: dict[str, Any] = {
    "event": {
        "name": "user.created",
        "id": "01J",
        "ts": NOW_MS,
        "user": None,
        "data": {
            "id": "u1",
            "n": 150,
            "whole": 150.0,
            "half": 1.5,
            "zero": 0,
            "yes": True,
            "no": False,
            "nil": None,
            "empty": "",
            "list": [1, 2.0, "a", None, True],
            "ids": [3, 1, 2],
            "none": [],
            "map": {"k": 1, "with space": 2},
            "big": BIG,
            "huge": 10**400,
            "broken": "\ud800",
            "text": "Grüße, Ünal",
            "json": '{"a": [1, {"b": 2}]}',
            "b64": "aGVsbG8=",
            "at": "2026-01-01T01:00:00+01:00",
            "users": [{"id": "a", "age": 17}, {"id": "b", "age": 30}],
        },
    },
    "async": {"name": "user.confirmed", "data": {"id": "u1", "n": 150.0, "ids": [3, 1, 2]}},
}

ROWS: list[tuple[str, Any]] = [
    # paths: what is missing is null, at any depth
    ("event.name", "user.created"),
    ("event.data.id", "u1"),
    ("event.data.missing", None),
    ("event.data.a.b.c.d", None),
    ("event.data.a.b == null", True),
    ("event.data.a.b != null", False),
    ("event.data.n.x", None),
    ("event.data.id.x", None),
    ("event.data.list.x", None),
    ("event.user.email", None),
    ("vars", None),
    ("event.data['id']", "u1"),
    ('event.data["map"]["with space"]', 2),
    ("event.data.list[0]", 1),
    ("event.data.list[1.0]", 2.0),
    ("event.data.list[99]", None),
    ("event.data.list[-1]", None),
    ("event.data.list['0']", None),
    ("event.data.list[true]", None),
    ("event.data.id[0]", None),
    ("event.data.users[1].id", "b"),
    ("event.data.users[5].id", None),
    ("event.data[event.data.id]", None),
    ("event.data[event.data.list]", None),
    ("{1: 'a'}[1.0]", "a"),
    ("{1: 'a'}[true]", None),
    # equality: numbers by value, unlike types unequal
    ("1 == 1.0", True),
    ("event.data.n == event.data.whole", True),
    ("event.data.n == async.data.n", True),
    ("event.data.id == async.data.id", True),
    ("event.data.id != async.data.id", False),
    ("event.data.n == '150'", False),
    ("event.data.yes == 1", False),
    ("1 == event.data.yes", False),
    ("event.data.yes == true", True),
    ("event.data.zero == false", False),
    ("event.data.no == event.data.zero", False),
    ("event.data.nil == false", False),
    ("event.data.empty == null", False),
    ("null == event.data.missing", True),
    ("event.data.ids == [3, 1, 2.0]", True),
    ("event.data.ids == async.data.ids", True),
    ("event.data.ids == [3, 1]", False),
    ("[true] == [1]", False),
    ("{'k': true} == {'k': 1}", False),
    ("event.data.map == {'with space': 2.0, 'k': 1}", True),
    ("event.data.map == {'k': 1}", False),
    ("event.data.ids == event.data.map", False),
    ("event.data.map != {'k': 1}", True),
    ("1u == 1", True),
    ("event.data.big == event.data.big", True),
    ("event.data.big == 1180591620717411303424.0", True),
    # ordering: unlike types are false, not an error
    ("event.data.n > 100.5", True),
    ("event.data.n <= 150", True),
    ("event.data.whole >= 150", True),
    ("event.data.id < 'u2'", True),
    ("'a' < 'B'", False),
    ("event.data.id > 1", False),
    ("event.data.id <= 1", False),
    ("event.data.nil < 1", False),
    ("event.data.missing >= 0", False),
    ("event.data.yes > 0", False),
    ("false < true", True),
    ("event.data.ids < [4]", False),
    ("event.data.big > 9223372036854775807", True),
    # + with a string on either side
    ("event.data.id + '-' + event.data.n", "u1-150"),
    ("event.data.whole + ''", "150"),
    ("'' + event.data.half", "1.5"),
    ("'x' + event.data.missing + 'y'", "xy"),
    ("'' + true", "true"),
    ("event.data.big + ''", str(BIG)),
    ("'' + event.data.ids", "[3,1,2]"),
    ("'' + {'b': 1, 'a': 2.0}", '{"a":2,"b":1}'),
    # arithmetic
    ("1 + 2", 3),
    ("event.data.n + event.data.half", 151.5),
    ("event.data.n - 1", 149),
    ("event.data.half * 2", 3.0),
    ("7 / 2", 3),
    ("-7 / 2", -3),
    ("7.0 / 2", 3.5),
    ("-7 % 2", -1),
    ("7 % -2", 1),
    ("event.data.whole % 100", 50),
    ("-event.data.n", -150),
    ("[1] + ['a']", [1, "a"]),
    ("1.0 / 0.0 > 1000", True),
    ("-1.0 / 0.0 < 0", True),
    ("0.0 / 0.0 == 0.0 / 0.0", False),
    # truth
    ("event.data.id && event.data.n", True),
    ("event.data.empty || event.data.zero || event.data.nil || event.data.no", False),
    ("!event.data.empty", True),
    ("!event.data.id", False),
    ("!event.data.none", False),
    ("event.data.missing ? 'yes' : 'no'", "no"),
    ("event.data.id ? 'yes' : 'no'", "yes"),
    ("0.0 || false", False),
    # && and || decide with one side, whatever the other
    ("1/0 == 1 || true", True),
    ("true || 1/0 == 1", True),
    ("1/0 == 1 && false", False),
    ("false && 1/0 == 1", False),
    ("true ? 1 : 1/0", 1),
    # in, has, size
    ("2 in event.data.ids", True),
    ("2.0 in event.data.ids", True),
    ("'a' in event.data.list", True),
    ("'b' in event.data.list", False),
    ("true in [1]", False),
    ("[1] in [[1.0]]", True),
    ("'k' in event.data.map", True),
    ("1 in event.data.map", False),
    ("[] in event.data.map", False),
    ("'a' in event.data.missing", False),
    ("has(event.data.id)", True),
    ("has(event.data.nil)", True),
    ("has(event.data.missing)", False),
    ("has(event.data.a.b.c)", False),
    ("has(event.data.id.x)", False),
    ("size(event.data.list)", 5),
    ("event.data.map.size()", 2),
    ("size(event.data.text)", 11),
    # macros
    ("event.data.users.exists(u, u.age > 18)", True),
    ("event.data.users.all(u, u.age > 18)", False),
    ("event.data.users.exists_one(u, u.age > 18)", True),
    ("event.data.users.map(u, u.id)", ["a", "b"]),
    ("event.data.users.filter(u, u.age > 18).map(u, u.id)", ["b"]),
    ("event.data.users.map(u, u.age > 18, u.id + '!')", ["b!"]),
    ("event.data.map.exists(k, k == 'k')", True),
    ("[].all(x, false)", True),
    ("[].exists(x, true)", False),
    ("[0, 1].exists(x, 1 / x == 1)", True),
    ("[1, 0].all(x, 1 / x == 5)", False),
    ("event.data.ids.filter(x, event.data.ids.exists(y, y > x))", [1, 2]),
    ("[[1, 2], [3]].map(x, x.map(x, x * 10))", [[10, 20], [30]]),
    ("[1, 2].exists(event, event == 2)", True),
    ("[[1], [2]].map(x, [5].map(x, x).size() + x[0])", [2, 3]),
    # functions
    ("event.name.startsWith('user.')", True),
    ("event.name.endsWith('.created')", True),
    ("event.name.contains('r.c')", True),
    ("event.name.matches('^user[.][a-z]+$')", True),
    ("matches(event.name, 'x')", False),
    ("event.name.matches(event.data.id)", False),
    ("uppercase(event.data.text)", "GRÜSSE, ÜNAL"),
    ("lowercase(event.data.text)", "grüße, ünal"),
    ("event.data.text.lowerAscii()", "grüße, Ünal"),
    ("event.data.text.upperAscii()", "GRüßE, ÜNAL"),
    ("b64decode(event.data.b64)", "hello"),
    ("json_parse(event.data.json).a[1].b", 2),
    ("date(event.data.at) == date(event.ts)", True),
    ("date(event.ts) < now_plus('1h30m')", True),
    ("date(event.ts) < now_minus('1s')", False),
    ("date(event.ts) > 0", False),
    ("now_plus('1d')", "2026-01-02T00:00:00.000Z"),
    ("'at ' + date(event.data.at)", "at 2026-01-01T00:00:00.000Z"),
    ("[date(date(0))]", ["1970-01-01T00:00:00.000Z"]),
    ("int(1.9)", 1),
    ("int('-12')", -12),
    ("int(date(event.ts))", 1_767_225_600),
    ("int(true)", 1),
    ("uint('7')", 7),
    ("double('1e3')", 1000.0),
    ("double(2)", 2.0),
    ("string(event.data.whole)", "150"),
    ("string(true)", "true"),
    ("bool('true')", True),
    ("bool('f')", False),
    ("bool(event.data.yes)", True),
    # literals
    ("{'a': [1, null, 'x'], 'b': {}}", {"a": [1, None, "x"], "b": {}}),
    ("{1: 'a'}", {"1": "a"}),
    ("'it\\'s'", "it's"),
    ('"\\u00e9" == "é"', True),
]


@pytest.mark.parametrize(("text", "value"), ROWS, ids=[text for text, _ in ROWS])
def test_an_expression_has_the_value_that_the_protocol_gives_it(text: str, value: Any) -> None:
    result = compile_expression(text, BOTH).evaluate(VARIABLES, now_ms=NOW_MS)

    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("1 / 0", "division by zero"),
        ("1 % 0", "division by zero"),
        ("event.data.half % 2", "whole numbers"),
        ("1.0 / 0.0", "not a JSON number"),
        ("[0.0 / 0.0]", "not a JSON number"),
        ("9223372036854775807 * 9223372036854775807", "overflow"),
        ("event.data.big - 1", "overflow"),
        ("event.data.huge * 1.5", "*: overflow"),
        ("double(event.data.huge)", "needs a number"),
        ("event.data.broken.matches('a')", "lone surrogate"),
        ("json_parse(event.data.broken)", "not JSON"),
        ("'' + [event.data.broken]", "can't be written as text"),
        ("null + 1", "null and int"),
        ("true - 1", "bool and int"),
        ("-event.data.id", "not string"),
        ("'a' in event.data.id", "list or a map"),
        ("size(event.data.missing)", "not null"),
        ("event.data.missing.startsWith('a')", "needs a string, not null"),
        ("event.data.missing.all(x, x)", "needs a list or a map, not null"),
        ("[1, 0].all(x, 1 / x > 0)", "division by zero"),
        ("[0].exists(x, 1 / x > 0)", "division by zero"),
        ("1 / 0 == 1 || false", "division by zero"),
        ("1 / 0 == 1 || size(null) == 1", "not null"),
        ("true && 1 / 0 == 1", "division by zero"),
        ("1 / 0 == 1 && true", "division by zero"),
        ("uppercase(1)", "uppercase(): needs a string"),
        ("b64decode('!')", "base64"),
        ("b64decode('/w==')", "UTF-8"),
        ("json_parse('{')", "not JSON"),
        ("date('soon')", "RFC 3339"),
        ("date(1e300)", "RFC 3339"),
        ("now_plus('soon')", "'soon' is not a duration"),
        ("now_plus(5)", "string like '1h30m'"),
        ("now_plus('9999999d')", "date()"),
        ("int('0x1')", "can't convert this string"),
        ("int('99999999999999999999')", "out of range"),
        ("int(1e30)", "out of range"),
        ("uint(-1)", "out of range"),
        ("double('a')", "needs a number"),
        ("string(null)", "can't convert a null"),
        ("bool(1)", "needs a bool"),
        ("{true: 1}", "a map's key"),
        ("{'a': 1, 'a': 2}", "twice"),
        ("event.name.matches('(' + event.data.empty)", "RE2"),
    ],
)
def test_an_expression_without_a_value_says_why_and_tests_false(text: str, problem: str) -> None:
    expression = compile_expression(text)

    with pytest.raises(ExpressionError) as raised:
        expression.evaluate(VARIABLES, now_ms=NOW_MS)

    assert problem in str(raised.value)
    assert text in str(raised.value)


@pytest.mark.parametrize("text", ["1 / 0", "'a' + 1 - 2", "size(null)", "[1].map(x, x / 0)"])
def test_an_evaluation_error_counts_as_false(text: str) -> None:
    assert compile_expression(text).test(VARIABLES) is False


@pytest.mark.parametrize(
    ("text", "is_true"),
    [("event.data.id", True), ("event.data.none", True), ("event.data.zero", False), ("event.nothing", False)],
)
def test_a_value_tests_as_its_truth(text: str, is_true: bool) -> None:
    assert compile_expression(text).test(VARIABLES) is is_true


def test_variables_that_are_not_given_are_null() -> None:
    assert compile_expression("async.data.id == null && vars == null", BOTH).test({"event": {}}) is True


def test_the_time_is_an_argument_and_never_read_from_a_clock() -> None:
    expression = compile_expression("now_minus('1h')")

    assert expression.evaluate({}, now_ms=3_600_000) == "1970-01-01T00:00:00.000Z"
    with pytest.raises(ExpressionError, match="the time isn't given"):
        expression.evaluate({})


def test_an_evaluation_leaves_the_variables_as_they_were() -> None:
    before = json.dumps(VARIABLES)

    compile_expression("event.data.ids.map(x, [x] + event.data.ids)").evaluate(VARIABLES)

    assert json.dumps(VARIABLES) == before
    assert sorted(VARIABLES) == ["async", "event"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1, column 1"),
        ("event.data ==", "line 1, column 14: Syntax error: mismatched input the end of the text"),
        ("event.id === 'a'", "write == to compare"),
        ("event.id = 'a'", "write == to compare"),
        ("event.id ==\n  $", "line 2, column 3"),
        ("'open", "line 1, column 1"),
        ("evnt.id == 1", "line 1, column 1: unknown variable 'evnt': here there is only event"),
        ("event.id == 1 || async.id == 1", "line 1, column 18: unknown variable 'async': here there is only event"),
        ("event.data.list.all(x, y)", "line 1, column 24: unknown variable 'y'"),
        ("[1].all(x, true) && x", "unknown variable 'x'"),
        ("event.id == '1' &&\n  startWith(event.id, 'a')", "line 2, column 12: unknown function startWith()"),
        ("event.id.startWith('a')", "did you mean startsWith()?"),
        ("[1].existsOne(x, true)", "unknown variable 'x'"),
        ("frobnicate(1)", "unknown function frobnicate()"),
        ("startsWith('a', 'b')", "startsWith() is written x.startsWith(…)"),
        ("event.int()", "int() is written int(x)"),
        ("size(1, 2)", "size() takes 1 argument here"),
        ("event.id.startsWith()", "startsWith() takes 1 argument here"),
        ("now_plus()", "now_plus() takes 1 argument here"),
        ("event.id.matches('(')", "missing )"),
        ("event.id.matches('(?=a)')", "RE2"),
        ("event.id.matches('((((a{1000}){1000}){1000}){1000})')", "RE2"),
        ("b'bytes'", "bytes are not supported"),
        ("Point{x: 1}", "Point{} is not supported"),
        ("has(event)", "has() argument must be a field selection"),
        ("1 + 18446744073709551616", "invalid int literal"),
        ("(" * 40 + "1" + ")" * 40, "nested too deeply"),
        ("1" + " + 1" * 40, "chains too many operators"),
        ("'\ud800'", "lone surrogate"),
        ("a.?b", "unsupported syntax"),
    ],
)
def test_a_bad_expression_is_refused_when_it_is_compiled(text: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as raised:
        compile_expression(text)

    assert problem in str(raised.value)


def test_the_length_of_an_expression_is_limited() -> None:
    longest = "'" + "a" * (EXPRESSION_CHARS_MAX - 2) + "'"

    assert compile_expression(longest).evaluate({}) == longest[1:-1]
    with pytest.raises(ExpressionError, match="10,001 characters; at most 10,000 are allowed"):
        compile_expression(longest + " ")


def test_a_long_condition_is_taken() -> None:
    text = " || ".join(f"event.data.n == {number}" for number in range(300))

    assert compile_expression(text).test(VARIABLES) is True


def test_macros_may_be_nested_as_deep_as_the_parser_allows() -> None:
    text = "[1].exists(x, " * 30 + "x == 1" + ")" * 30

    assert compile_expression(text).test({}) is True


@pytest.mark.parametrize(
    "text", ["event.list.exists(x, x == -1)", "event.list.map(x, x)", "event.list.exists_one(x, false)"]
)
def test_the_steps_of_macros_are_limited(text: str) -> None:
    expression = compile_expression(text)
    at_limit = {"event": {"list": [0] * EXPRESSION_STEPS_MAX}}
    over_limit = {"event": {"list": [0] * (EXPRESSION_STEPS_MAX + 1)}}

    expression.evaluate(at_limit)
    with pytest.raises(ExpressionError, match="takes more than 10,000 steps"):
        expression.evaluate(over_limit)
    assert expression.test(over_limit) is False


def test_nested_macros_share_one_budget_that_nothing_absorbs() -> None:
    ten = "[1,2,3,4,5,6,7,8,9,10]"
    nested = "".join(f"{ten}.map(x{depth}, " for depth in range(6)) + "1" + ")" * 6

    with pytest.raises(ExpressionError, match="steps"):
        compile_expression(f"true && ({nested} == 1 || true)").evaluate({})
    with pytest.raises(ExpressionError, match="steps"):
        compile_expression(f"[1].exists(y, {nested} == 1) || true").evaluate({})


@pytest.mark.parametrize(
    "text",
    [
        # Each level doubles what the one below made; the object stays small, reading it would never end.
        "[1]" + ".map(x, [x, x])" * 28,
        "[1]" + ".map(x, [x, x])" * 28 + " == " + "[1]" + ".map(x, [x, x])" * 28,
        "[1]" + ".map(x, {'a': x, 'b': x})" * 28 + " in [1]",
        "'' + [1]" + ".map(x, [x, x])" * 28,
        "['aaaaaaaa']" + ".map(x, x + x)" * 28,
        "[[1]]" + ".map(x, x + x)" * 28,
        "event.long.exists(x, event.text.matches('(a|b)*c'))",
        "event.long.exists(x, event.text.contains('b'))",
        "event.long.exists(x, [x] in event.long)",
        "event.long.exists(x, event.long == [x] + event.long)",
        "event.long.exists(x, uppercase(event.text) == 'a')",
    ],
)
def test_no_small_expression_takes_for_ever(text: str) -> None:
    variables = {"event": {"long": list(range(9_000)), "text": "a" * 200_000}}

    with pytest.raises(ExpressionError, match="steps"):
        compile_expression(text).evaluate(variables)


def test_deep_values_compare_without_running_out_of_stack() -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    variables = {"event": {"data": deep}, "async": {"data": deep}}

    assert compile_expression("event.data == async.data", BOTH).evaluate(variables) is True
    with pytest.raises(ExpressionError, match="nested too deeply"):
        compile_expression("event.data").evaluate(variables)
    assert compile_expression("event.data + '' == ''").test(variables) is False


def test_an_expression_is_compiled_once() -> None:
    assert compile_expression("event.data.once") is compile_expression("event.data.once")
    assert repr(compile_expression("event.data.once")) == "Expression('event.data.once')"


@pytest.mark.parametrize("text", [text for text, _ in ROWS])
def test_an_expression_written_again_is_the_same(text: str) -> None:
    again = written(compile_expression(text, BOTH).tree)

    assert written(compile_expression(again, BOTH).tree) == again
    assert compile_expression(again, BOTH).evaluate(VARIABLES, now_ms=NOW_MS) == compile_expression(
        text, BOTH
    ).evaluate(VARIABLES, now_ms=NOW_MS)


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("((event.a)) &&(event.b&&  event.c)||(event.d)", "event.a && event.b && event.c || event.d"),
        ("event.a && (event.b || event.c)", "event.a && (event.b || event.c)"),
        ("!(event.a == 1) && !event.b", "!(event.a == 1) && !event.b"),
        ("-(1) - (-1) - (2 - 3)", "-(1) - -1 - (2 - 3)"),
        ("-(-event.a)", "-(-event.a)"),
        ("!(-event.a)", "!(-event.a)"),
        ("(1 + 2) * 3 % (4 * 5)", "(1 + 2) * 3 % (4 * 5)"),
        ("(event.a < 1) == (event.b in [1, 2.5])", "event.a < 1 == (event.b in [1, 2.5])"),
        ("event.a ? 1 : event.b ? 2 : 3", "event.a ? 1 : event.b ? 2 : 3"),
        ("(event.a ? 1 : 2) ? (event.b ? 3 : 4) : 5", "(event.a ? 1 : 2) ? (event.b ? 3 : 4) : 5"),
        ("(event.a + event.b).size()", "(event.a + event.b).size()"),
        ("event['a'][0]['b c'][\"in\"][event.i]", 'event.a[0]["b c"]["in"][event.i]'),
        ("{'a': 1}.a == null || {1: [true, false]}[1]", '{"a": 1}.a == null || {1: [true, false]}[1]'),
        ("event.s == r'\\d' || event.s == 'it\\'s\\n'", 'event.s == "\\\\d" || event.s == "it\'s\\n"'),
        ("18446744073709551615u == 5u", "18446744073709551615u == 5"),
        ("matches(event.a, 'x') || event.a.matches('x')", 'matches(event.a, "x") || event.a.matches("x")'),
        (
            "event.l.map(x, x > 1, x * 2).exists(y, has(y.z)) || event.l.filter(x, x > 1)",
            "event.l.map(x, x > 1, x * 2).exists(y, has(y.z)) || event.l.filter(x, x > 1)",
        ),
    ],
)
def test_an_expression_is_written_with_the_parentheses_it_needs(text: str, again: str) -> None:
    assert written(compile_expression(text).tree) == again


def test_a_conjunction_is_taken_apart_in_order() -> None:
    expression = compile_expression("(event.a && event.b == 1) && (event.c || event.d) && !(event.e && event.f)")

    assert [term.text for term in expression.terms()] == [
        "event.a",
        "event.b == 1",
        "event.c || event.d",
        "!(event.e && event.f)",
    ]


def test_what_is_no_conjunction_is_its_own_term() -> None:
    expression = compile_expression("event.a  ||  event.b")

    assert expression.terms() == (expression,)


def test_a_term_evaluates_by_itself_and_points_into_the_whole_text() -> None:
    first, second = compile_expression("event.a == 1 &&\n event.b.matches('x')").terms()

    assert (first.test({"event": {"a": 1}}), first.test({"event": {"a": 2}})) == (True, False)
    with pytest.raises(ExpressionError, match="line 2, column 17"):
        second.check_restricted()


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("event.a.b == 1 && event['a']['c'] == event.a.b", ["event.a.b", "event.a.c"]),
        ("event.a.b == 1 && event.a == 2", ["event.a"]),
        ("has(event.a.b) && event.c[event.d].e", ["event.a.b", "event.c", "event.d"]),
        ("event.l.exists(x, x.a == event.b && [x].all(event, event.c))", ["event.l", "event.b"]),
        ("event.l.map(x, x.a, event.b)[0].c == {'k': event.d}", ["event.l", "event.b", "event.d"]),
        ("event.l.filter(x, x.a)", ["event.l"]),
        ("1 == 1", []),
    ],
)
def test_an_expression_knows_what_it_reads(text: str, read: list[str]) -> None:
    assert [written_path(path) for path in paths(compile_expression(text).tree)] == read


@pytest.mark.parametrize(
    "text",
    [
        "event.data.id == async.data.id",
        "event.data['id'] == async.data.ids[0] && async.data.n >= 3",
        "!(async.data.id in ['a', 'b']) || async.data.done",
        "int(async.data.n) > 1 && uint(async.data.n) < 5u && double(async.data.n) != 2.5",
        "async.data.kind == 'a' ? async.data.x == -1 : true",
    ],
)
def test_the_restricted_form_allows_conditions(text: str) -> None:
    compile_expression(text, BOTH).check_restricted()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("event.data.a + 1 == async.data.a", "line 1, column 14: + is not allowed here"),
        ("async.data.a == -event.data.a", "- is not allowed here"),
        ("async.data.a % 2 == 0", "% is not allowed here"),
        ("true &&\n async.name.startsWith('a')", "line 2, column 23: startsWith() is not allowed here"),
        ("string(async.data.a) == 'a'", "string() is not allowed here"),
        ("size(async.data.a) == 1", "size() is not allowed here"),
        ("async.data.ids.exists(x, x == 1)", "exists() is not allowed here"),
        ("async.data.ids.filter(x, x == 1) == []", "filter() is not allowed here"),
        ("has(async.data.a)", "has() is not allowed here"),
        ("date(async.ts) > now_plus('1h')", "date() is not allowed here"),
        ("{'a': 1 + 2}.a == async.data.a", "+ is not allowed here"),
    ],
)
def test_the_restricted_form_names_what_it_refuses(text: str, problem: str) -> None:
    expression: Expression = compile_expression(text, BOTH)

    with pytest.raises(ExpressionError) as raised:
        expression.check_restricted()

    assert problem in str(raised.value)
    assert "only logic, comparisons, indexing, in, int(), uint() and double() are" in str(raised.value)


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("a b", "a b"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (150, "150"),
        (150.0, "150"),
        (1.5, "1.5"),
        (2**60 + 1, "1152921504606846977"),
        ([1, "a", None], '[1,"a",null]'),
        ({"b": 1, "a": 2.0}, '{"a":2,"b":1}'),
    ],
)
def test_a_key_is_the_string_itself_or_the_json_of_the_value(value: Any, key: str) -> None:
    assert to_key(value) == key


@pytest.mark.parametrize(
    "value", [math.inf, [math.nan], ["\ud800"], 10**5_000], ids=["inf", "nan", "surrogate", "digits"]
)
def test_what_json_cannot_hold_is_no_key(value: Any) -> None:
    with pytest.raises(ExpressionError, match="no key can be made of this value"):
        to_key(value)
