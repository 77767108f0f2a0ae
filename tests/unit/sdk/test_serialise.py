"""What a step may return, and what comes back."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from typing import Any

import msgspec
import pydantic
import pytest

from stepwell import Step
from stepwell.sdk.serialise import NotSerialisable, decode, encode
from tests.unit.sdk.pretend import PretendRun, new_app


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    at: datetime.date


class Shape(msgspec.Struct):
    points: list[Point]


class User(pydantic.BaseModel):
    name: str
    joined: datetime.datetime
    colour: Colour = Colour.RED


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        ({"a": [1, 2.5, True, "ü"]}, {"a": [1, 2.5, True, "ü"]}),
        (2**70, 2**70),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (frozenset({1}), [1]),
        (Colour.RED, "red"),
        (Shape([Point(1, datetime.date(2030, 1, 31))]), {"points": [{"x": 1, "at": "2030-01-31"}]}),
        (datetime.datetime(2030, 1, 31, tzinfo=datetime.UTC), "2030-01-31T00:00:00Z"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (decimal.Decimal("1.10"), "1.10"),
        (b"\x00\xff", "AP8="),
        (
            [User(name="Ann", joined=datetime.datetime(2030, 1, 31, tzinfo=datetime.UTC))],
            [{"name": "Ann", "joined": "2030-01-31T00:00:00Z", "colour": "red"}],
        ),
    ],
)
def test_a_value_becomes_plain_json(value: Any, plain: Any) -> None:
    assert decode(encode(value)) == plain


def holding_itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (object(), "no JSON for the type builtins.object"),
        ({"user": User}, "no JSON for the type"),
        (lambda: 1, "no JSON for the type builtins.function"),
        ({(1, 2): 3}, ""),
        ("\ud800", "lone surrogate"),
        (holding_itself(), "holds itself"),
    ],
)
def test_a_value_that_json_cannot_hold_is_refused_by_its_type(value: Any, message: str) -> None:
    with pytest.raises(NotSerialisable) as caught:
        encode(value)

    assert message in str(caught.value)


async def test_code_sees_the_same_value_in_every_call() -> None:
    """The first call that has a step's result already has what JSON made of it."""
    sw = new_app()
    seen: list[Any] = []

    @sw.function("f", on="test/event")
    async def f(step: Step) -> None:
        seen.append(await step.run("a", Point, 1, datetime.date(2030, 1, 31)))
        await step.run("b", lambda: None)

    await PretendRun(sw, "f").end()

    assert seen == [{"x": 1, "at": "2030-01-31"}] * 2
