"""Ops as the SDKs write them (protocol 4.8)."""

from __future__ import annotations

import msgspec
import pytest

from stepwell.protocol.ops import Op, OpCode


def read(text: str) -> Op:
    return msgspec.json.decode(text, type=Op)


@pytest.mark.parametrize("code", list(OpCode))
def test_op_codes_are_compared_without_case(code: OpCode) -> None:
    for text in (code.value, code.value.lower(), code.value.upper()):
        assert read(f'{{"id":"a","op":"{text}"}}').code is code


def test_an_unknown_op_has_no_code() -> None:
    assert read('{"id":"a","op":"StepDance"}').code is None


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ('{"id":"h","op":"StepRun","name":"n","displayName":"d"}', "d"),
        ('{"id":"h","op":"StepRun","name":"n","displayName":null}', "n"),
        ('{"id":"h","op":"StepRun","name":"n","displayName":""}', "n"),
        ('{"id":"h","op":"StepRun","name":null}', "h"),
        ('{"id":"h","op":"StepRun"}', "h"),
    ],
)
def test_what_is_shown_falls_back_to_the_id(text: str, title: str) -> None:
    assert read(text).title == title


@pytest.mark.parametrize("opts", ["null", "{}", '{"x":null}', '{"y":1}', "[]", '"x"', "3"])
def test_options_may_have_any_shape(opts: str) -> None:
    assert read(f'{{"id":"h","op":"Sleep","opts":{opts}}}').option("x") is None


def test_an_op_of_javascript_is_read_with_all_that_it_dumps() -> None:
    op = read(
        '{"id":"86f7","op":"StepRun","name":"a","displayName":"a","opts":{"input":[1,2]},"data":{"total":12},'
        '"timing":{"a":1763985601000000000,"b":21000000},"userland":{"id":"a"},"mode":"x","rawArgs":[],"promise":{}}'
    )

    assert op.code is OpCode.STEP_RUN
    assert bytes(op.data) == b'{"total":12}'
    assert op.option("input") == [1, 2]


def test_absent_data_is_null() -> None:
    assert bytes(read('{"id":"h","op":"StepRun"}').data) == b"null"


@pytest.mark.parametrize(
    ("timing", "ran_ms"),
    [
        ('{"a":1763985601000000000,"b":21000000}', 21),
        ('{"a":1,"b":0}', 0),
        ('{"a":1,"b":1.5e6}', 2),
        ('{"a":1,"b":-1}', None),
        ('{"a":1,"b":1e300}', None),
        ('{"a":1,"b":"2"}', None),
        ('{"a":1}', None),
        ("[]", None),
        ("null", None),
    ],
)
def test_how_long_a_step_ran_is_read_where_it_can_be(timing: str, ran_ms: int | None) -> None:
    assert read(f'{{"id":"h","op":"StepRun","timing":{timing}}}').ran_ms == ran_ms
