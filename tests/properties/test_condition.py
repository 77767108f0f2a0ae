"""Conditions taken apart for an index, against the same condition evaluated whole with both events."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from stepwell.engine.core.condition import holds, prepare, value_at
from stepwell.engine.core.expression import compile_expression
from stepwell.protocol.canonical import canonical

NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
NAMES = ["a", "b", "c d"]
LITERALS = ["null", "true", "false", "0", "1", "1.0", "2.5", "9007199254740993", "''", "'x'", "'1'", "[1]", "{'b': 1}"]

NUMBERS = st.sampled_from([0, 1, 1.0, -0.0, 2.5, 2**53, 2**53 + 1, 2.0**53, 2**64, 1e300])
SCALARS = st.none() | st.booleans() | NUMBERS | st.sampled_from(["", "x", "1", "é", "\0"])
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.sampled_from(NAMES), SCALARS, max_size=2)
EVENTS = st.fixed_dictionaries({"data": st.dictionaries(st.sampled_from(NAMES), VALUES)}, optional={"id": SCALARS})

FIELDS = st.lists(st.sampled_from(NAMES), max_size=2).map(lambda names: "".join(f'["{name}"]' for name in names))
PATHS = st.builds("{}{}{}".format, st.sampled_from(["event", "async"]), st.sampled_from([".data", ".id", ""]), FIELDS)
KNOWN = st.sampled_from(["size(event.data)", "event.data.a + 1", "event.id + '-' + event.data.b", "date(event.data.a)"])
OPERANDS = PATHS | PATHS | st.sampled_from(LITERALS) | KNOWN
COMPARISONS = st.builds("{} {} {}".format, OPERANDS, st.sampled_from(["==", "==", "==", "!=", "<", ">="]), OPERANDS)
EQUALITIES = st.builds('event.data["{0}"] == async.data["{0}"]'.format, st.sampled_from(NAMES))
OTHERS = st.builds(
    str.format,
    st.sampled_from(
        [
            "{}",
            "!({})",
            "has(event.data.a) == has(async.data.a) && {}",
            "async.data.a in [event.data.a, {}]",
            "[1, 2].exists(event, event == async.data.a || {})",
            "date(async.data.a) < now_plus('1h') || {}",
            "event.data.a / async.data.a == 1 || {}",
        ]
    ),
    PATHS,
)
TERMS = st.recursive(
    COMPARISONS | EQUALITIES | OTHERS,
    lambda inner: (
        st.builds("({} && {})".format, inner, inner)
        | st.builds("({} && {})".format, inner, inner)
        | st.builds("({} || {})".format, inner, inner)
        | st.builds("({} ? {} : {})".format, inner, inner, inner)
    ),
    max_leaves=4,
)
CONDITIONS = st.lists(EQUALITIES | TERMS, min_size=1, max_size=3).map(" && ".join)


@settings(max_examples=600, deadline=None)
@given(text=CONDITIONS, trigger=EVENTS, incoming=EVENTS, is_same=st.booleans())
@example(text="event.data.a == async.data.a", trigger={"data": {"a": 1}}, incoming={"data": {"a": 1.0}}, is_same=False)
@example(text="event.data.a == async.data.a", trigger={"data": {}}, incoming={"data": {"a": None}}, is_same=False)
def test_index_and_rest_together_say_what_the_whole_condition_says(
    text: str, trigger: Any, incoming: Any, is_same: bool
) -> None:
    trigger, incoming = (msgspec.json.decode(msgspec.json.encode(it)) for it in (trigger, incoming))
    if is_same:  # so that equalities are often true
        incoming = {**trigger, "data": {**incoming["data"], **trigger["data"]}}
    wanted = compile_expression(text, ("event", "async")).test({"event": trigger, "async": incoming}, now_ms=NOW_MS)

    condition = prepare(text, trigger)

    is_found = (
        not condition.is_never
        and value_at(canonical(msgspec.json.encode(incoming)).encoded, condition.path) == condition.value
    )
    found = is_found and holds(condition.rest, incoming, now_ms=NOW_MS)
    event(f"indexed {condition.path != ''}, {wanted}")
    assert found is wanted
