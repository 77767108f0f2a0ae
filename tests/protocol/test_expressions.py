"""Expressions (protocol 10): each is a trigger of a function of its own, and one event asks them all."""

from __future__ import annotations

import pytest

from tests.protocol.world import Function, World, done

DATA = {
    "a": 1,
    "f": 1.0,
    "s": "text",
    "list": [1, 2, 3],
    "map": {"k": "v", "n": None},
    "yes": True,
    "no": False,
    "b64": "aGk=",
    "json": '{"x":[1]}',
    "time": "2026-01-02T03:04:05Z",
    "zero": 0,
    "empty": "",
    "id": 7,
}
TRUE = [
    "event.data.a == 1",
    "event.data.a == event.data.f",
    "event.data.a < 1.5",
    "event.data.missing == null",
    "event.data.x.y.z == null",
    "event.data.map.n == null",
    "event.data.s != 1",
    "!(event.data.s < 3)",
    "!(event.data.s > null)",
    "!(event.data.missing > 1)",
    "event.data.s + '-' + event.data.id == 'text-7'",
    "'x' + event.data.missing == 'x'",
    "event.data.s && event.data.a",
    "!(event.data.zero || event.data.empty || event.data.missing || event.data.no)",
    "!event.data.missing",
    "(event.data.s ? 1 : 2) == 1",
    'event.data["s"] == "text"',
    "event.data.list[0] == 1",
    "2 in event.data.list",
    "'k' in event.data.map",
    "has(event.data.s) && !has(event.data.missing)",
    "size(event.data.list) == 3 && size(event.data.s) == 4",
    "event.data.list.exists(x, x > 2)",
    "event.data.list.all(x, x > 0)",
    "size(event.data.list.filter(x, x > 1)) == 2",
    "event.data.list.map(x, x * 2)[2] == 6",
    "event.data.s.startsWith('te') && event.data.s.endsWith('xt') && event.data.s.contains('ex')",
    "event.data.s.matches('^t.*t$')",
    "uppercase(event.data.s) == 'TEXT' && lowercase('TEXT') == event.data.s",
    "b64decode(event.data.b64) == 'hi'",
    "json_parse(event.data.json).x[0] == 1",
    "date(event.data.time) < date('2026-02-01T00:00:00Z')",
    "date(event.ts) > now_minus('10m') && date(event.ts) < now_plus('10m')",
    "event.name == 'expressions/x'",
    "event.id == 'own' && event.v == '1' && event.user.u == 1 && event.ts > 0",
    "event.data.a + 1 == 2 && event.data.a * 3 == 3 && 7 % 4 == 3",
    "event.data.yes == true && event.data.no == false",
    "event.data.list == [1, 2, 3]",
]
FALSE = [
    "event.data.missing == 1",
    "event.data.s == 1",
    "event.data.s < 3",
    "event.data.x.y > 0",
    "event.data.zero",
    "event.data.list.exists(x, x > 9)",
    "event.data.a / 0 == 1",
    "event.data.s.startsWith('x')",
]


@pytest.fixture(scope="module")
def asked(world: World) -> dict[str, Function]:
    functions = world.app(
        **{
            f"f{number}": (done(), {"triggers": [{"event": "expressions/x", "expression": text}]})
            for number, text in enumerate([*TRUE, *FALSE])
        }
    )
    world.send({"name": "expressions/x", "data": DATA, "id": "own", "v": "1", "user": {"u": 1}})
    return dict(zip([*TRUE, *FALSE], functions, strict=True))


@pytest.mark.parametrize(("text", "calls"), [*((text, 1) for text in TRUE), *((text, 0) for text in FALSE)])
def test_an_expression(asked: dict[str, Function], text: str, calls: int) -> None:
    assert len(asked[text].calls) == calls


@pytest.mark.parametrize(
    ("key", "groups"),
    [
        ("event.data.k", [[1, 1.0], ["1"], [True], [None, "null"], ["x"]]),
        ("event.data.k.missing", [["a", "b", None]]),
    ],
)
def test_keys(world: World, key: str, groups: list[list[object]]) -> None:
    function = world.function(done(), batchEvents={"maxSize": 50, "timeout": "10s", "key": key})
    world.send(*({"name": function.event, "data": {"k": value}} for group in groups for value in group))
    world.skip("11s")
    found = sorted(len(call.body["events"]) for call in function.calls)
    merged = sorted(len(group) for group in groups)
    # A number and its text, as JSON writes it, are one key; so is null and "null".
    assert found in (
        merged,
        sorted([len(groups[0]) + 1, *(len(group) for group in groups[2:])]) if len(groups) > 1 else [],
    )
