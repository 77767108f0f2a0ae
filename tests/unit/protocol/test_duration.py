"""Durations and instants as text (protocol, conventions)."""

from __future__ import annotations

import contextlib
import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.errors import DurationError
from stepwell.protocol.duration import duration_ms, duration_text, parse_time, rough_text, time_text


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("2h45m", 9_900_000),
        ("1d", 86_400_000),
        ("7d", 604_800_000),
        ("2w", 1_209_600_000),
        ("30s", 30_000),
        ("1.5h", 5_400_000),
        ("500ms", 500),
        ("0s", 0),
        ("1us", 1),
        ("1001us", 2),
        ("366d", 366 * 86_400_000),
        (1, 1_000),
        (0.0015, 2),
        (0, 0),
        (datetime.timedelta(days=3), 259_200_000),
        (datetime.timedelta(microseconds=1), 1),
    ],
)
def test_a_duration_is_whole_milliseconds_rounded_up(value: str | float | datetime.timedelta, ms: int) -> None:
    assert duration_ms(value) == ms


@pytest.mark.parametrize(
    "value",
    [
        "",
        "90",
        "abc",
        "1",
        "s",
        "1x",
        "-1s",
        "1e999d",
        "9" * 400 + "d",
        "nan",
        "inf",
        -1,
        -0.5,
        float("inf"),
        float("nan"),
        datetime.timedelta(seconds=-1),
    ],
)
def test_what_is_no_duration_is_refused(value: str | float | datetime.timedelta) -> None:
    with pytest.raises(DurationError):
        duration_ms(value)


@given(st.text(alphabet="0123456789.smhdwun-+e ", max_size=12) | st.text(max_size=8))
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with contextlib.suppress(DurationError):
        assert duration_ms(text) >= 0


@given(st.integers(0, 400 * 86_400_000))
def test_a_duration_as_text_is_read_as_the_same(ms: int) -> None:
    assert duration_ms(duration_text(ms)) == ms


@pytest.mark.parametrize(("ms", "text"), [(0, "0s"), (90_000, "1m30s"), (604_801_500, "1w1s500ms"), (1, "1ms")])
def test_the_largest_unit_comes_first(ms: int, text: str) -> None:
    assert duration_text(ms) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0ms"),
        (999, "999ms"),
        (1_000, "1s"),
        (1_249, "1.2s"),
        (12_900, "12s"),
        (200_500, "3m20s"),
        (3_600_000, "1h"),
        (3_661_500, "1h1m"),
        (86_400_000 * 2 + 3_600_000 * 5, "2d5h"),
        (86_400_000 * 300, "300d"),
    ],
)
def test_rough_durations_are_for_people(ms: int, text: str) -> None:
    assert rough_text(ms) == text


@given(st.integers(-(10**12), 4 * 10**12))
def test_an_instant_as_text_is_read_as_the_same(at_ms: int) -> None:
    assert parse_time(time_text(at_ms)) == at_ms


@pytest.mark.parametrize(
    ("text", "at_ms"),
    [
        ("2026-01-01T00:00:00Z", 1_767_225_600_000),
        ("2026-01-01T00:00:00.123Z", 1_767_225_600_123),
        ("2026-01-01T02:00:00+02:00", 1_767_225_600_000),
        ("2026-01-01T00:00:00", 1_767_225_600_000),
        ("2026-01-01T00:00:00.000001Z", 1_767_225_600_000),
        ("tomorrow", None),
        ("", None),
        ("10s", None),
        ("2026-02-30T00:00:00Z", None),
        ("2026-01-01T00:00:00+99:00", None),
        ("2026-01-01T25:00:00Z", None),
    ],
)
def test_instants(text: str, at_ms: int | None) -> None:
    assert parse_time(text) == at_ms


@given(st.text(alphabet="0123456789-:T.Z+W ", max_size=30))
def test_any_text_is_an_instant_or_none(text: str) -> None:
    at_ms = parse_time(text)

    assert at_ms is None or isinstance(at_ms, int)
