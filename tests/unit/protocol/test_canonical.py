"""Canonical JSON (RFC 8785): the fast path must not be told from the slow one."""

from __future__ import annotations

import json
import sys
from typing import Any

import msgspec
import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from stepwell.limits import JSON_DEPTH_MAX
from stepwell.protocol.canonical import NotJson, canonical, decode, encode, encode_text

SAFE = st.integers(-(2**53) + 1, 2**53 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | SAFE | TEXT | FLOATS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
ANY_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT | FLOATS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.booleans(), st.sampled_from([None, 1]))
def test_what_comes_in_any_spelling_is_stored_in_the_one_of_the_standard(
    value: Any, ensure_ascii: bool, indent: int | None
) -> None:
    raw = json.dumps(value, ensure_ascii=ensure_ascii, indent=indent).encode()

    found = canonical(raw)

    assert found.encoded == rfc8785.dumps(value)
    assert found.original is None
    assert found.value == value


@given(VALUES)
def test_values_are_encoded_as_the_standard_has_it(value: Any) -> None:
    assert encode(value) == rfc8785.dumps(value)


@given(TEXT)
def test_a_text_is_encoded_as_the_standard_has_it(text: str) -> None:
    assert encode_text(text) == rfc8785.dumps(text)


@given(ANY_VALUES)
def test_the_canonical_form_of_a_canonical_form_is_itself(value: Any) -> None:
    once = canonical(json.dumps(value).encode()).encoded

    assert canonical(once).encoded == once


@given(ANY_VALUES)
def test_numbers_are_those_that_javascript_reads(value: Any) -> None:
    raw = json.dumps(value).encode()

    found = canonical(raw)

    as_javascript = json.loads(raw, parse_int=float)
    assert json.loads(found.encoded, parse_int=float) == as_javascript
    assert (found.original is None) or found.original == raw


@pytest.mark.parametrize(
    ("raw", "encoded", "is_rounded"),
    [
        (b"9007199254740991", b"9007199254740991", False),
        (b"9007199254740993", b"9007199254740992", True),
        (b"-9007199254740993", b"-9007199254740992", True),
        (b'{"a":123456789012345678901}', b'{"a":123456789012345680000}', True),
        (b"1000000000000000000000000", b"1e+24", True),
        (b"1e400", None, False),
        (b"1E5", b"100000", False),
        (b"-0", b"0", False),
        (b"-0.0", b"0", False),
        (b"1.0", b"1", False),
        (b"0.1", b"0.1", False),
        (b"1e21", b"1e+21", False),
        (b"1e-7", b"1e-7", False),
        (b"9" * 400, None, True),
    ],
)
def test_numbers(raw: bytes, encoded: bytes | None, is_rounded: bool) -> None:
    if encoded is None:
        with pytest.raises(NotJson):
            canonical(raw)
        return

    found = canonical(raw)

    assert found.encoded == encoded
    assert found.original == (raw if is_rounded else None)


def test_keys_are_in_the_order_of_utf_16() -> None:
    """An astral character sorts before U+FFFF there, not by its code point."""
    found = canonical('{"\uffff":1,"\U0001f600":2,"a":3}'.encode())

    assert found.encoded == '{"a":3,"\U0001f600":2,"\uffff":1}'.encode()


def test_the_last_of_equal_keys_counts() -> None:
    assert canonical(b'{"a":1,"a":2}').encoded == b'{"a":2}'


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b" ",
        b"nul",
        b"{",
        b"1 2",
        b"01",
        b"+1",
        b"NaN",
        b"Infinity",
        b"'a'",
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'{"a\\ud800":1}',
        b'"\xff"',
        b'"\x00"',
        b'["\xed\xa0\x80"]',
        b'{"a":1,}',
        b"[1,]",
        b'{"a" 1}',
        b"\xef\xbb\xbf1",
        b"{1:2}",
    ],
)
def test_what_is_not_json_is_refused(raw: bytes) -> None:
    with pytest.raises(NotJson):
        canonical(raw)
    with pytest.raises(NotJson):
        decode(raw)


@given(st.binary(max_size=40))
def test_bytes_of_any_kind_are_json_or_refused(raw: bytes) -> None:
    try:
        found = canonical(raw)
    except NotJson:
        return
    assert msgspec.json.decode(found.encoded) == found.value or found.original is not None


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", {"\udc00": 1}, object(), {1: 2}])
def test_values_that_json_does_not_have_are_refused(value: object) -> None:
    with pytest.raises(NotJson):
        encode(value)


def test_a_text_with_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(NotJson):
        encode_text("\ud800")


@pytest.mark.parametrize("innermost", [b"1", b"1.5", b'"\xf0\x9f\x98\x80"', b"", b"9007199254740993"])
@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_nesting_at_the_limit_is_taken_and_one_level_more_is_not(
    innermost: bytes, opened: bytes, closed: bytes
) -> None:
    """On the fast path and on the slow one alike, and with half of Python's stack in use."""
    if not innermost:
        innermost = b"[]" if opened == b"[" else b"{}"
    extra = 1 if innermost in (b"[]", b"{}") else 0

    def nested(depth: int) -> bytes:
        return opened * (depth - extra) + innermost + closed * (depth - extra)

    def deep_in_the_stack(frames: int) -> bytes:
        return canonical(nested(JSON_DEPTH_MAX)).encoded if frames == 0 else deep_in_the_stack(frames - 1)

    assert len(deep_in_the_stack(sys.getrecursionlimit() // 5)) > JSON_DEPTH_MAX
    with pytest.raises(NotJson, match="nested"):
        canonical(nested(JSON_DEPTH_MAX + 1))
    with pytest.raises(NotJson, match="nested"):
        canonical(nested(100_000))
    with pytest.raises(NotJson, match="nested"):
        decode(nested(100_000))


def test_brackets_in_strings_are_no_nesting() -> None:
    raw = json.dumps(["[" * 5000]).encode()

    assert canonical(raw).encoded == raw
