"""Backoff and ``Retry-After`` (protocol 4.9.2, 4.6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stepwell.engine.core.retry import parse_retry_after, retry_delay_ms

NOW_MS = 1_767_225_600_000  # Thu, 01 Jan 2026 00:00:00 GMT


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [
        (0, 15),
        (1, 30),
        (2, 60),
        (3, 120),
        (4, 300),
        (5, 600),
        (6, 1200),
        (7, 2400),
        (8, 3600),
        (9, 7200),
        (10, 7200),
        (19, 7200),
    ],
)
def test_the_delay_follows_the_table_and_the_jitter(attempt: int, seconds: int) -> None:
    assert retry_delay_ms(attempt, 0.0) == seconds * 1000
    assert retry_delay_ms(attempt, 0.5) == (seconds + 15) * 1000
    assert retry_delay_ms(attempt, 1 - 2**-53) == (seconds + 30) * 1000 - 1


@pytest.mark.parametrize("attempt", [0, 4, 19])
def test_a_constant_replaces_the_table_and_the_jitter(attempt: int) -> None:
    assert retry_delay_ms(attempt, 0.9, constant_ms=1_000) == 1_000
    assert retry_delay_ms(attempt, 0.9, constant_ms=0) == 0


@pytest.mark.parametrize(
    ("text", "delay_ms"),
    [
        ("2", 2_000),
        (" 120 ", 120_000),
        ("86399", 86_399_000),
        # RFC 3339, as the SDKs write it
        ("2026-01-01T00:01:00Z", 60_000),
        ("2026-01-01T00:01:00.500Z", 60_500),
        ("2026-01-01T01:01:00+01:00", 60_000),
        ("2026-01-01T00:01:00.250000+00:00", 60_250),
        ("2026-01-01t00:01:00z", 60_000),
        ("2026-01-01 00:01:00Z", 60_000),
        ("2026-01-01T00:01:00", 60_000),
        # the three HTTP dates
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60_000),
        ("Thursday, 01-Jan-26 00:01:00 GMT", 60_000),
        ("Thu Jan  1 00:01:00 2026", 60_000),
        # clipped to 1 s … 24 h
        ("0", 1_000),
        ("1", 1_000),
        ("86401", 86_400_000),
        ("9999999", 86_400_000),
        ("2020-01-01T00:00:00Z", 1_000),
        ("2026-01-01T00:00:00.999Z", 1_000),
        ("2030-01-01T00:00:00Z", 86_400_000),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 1_000),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str, delay_ms: int) -> None:
    assert parse_retry_after(text, NOW_MS) == delay_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "-1",
        "+1",
        "1.5",
        "10000000",
        "20260102",
        "٣",
        "1e3",
        "2026-01-01",
        "2026-13-01T00:00:00Z",
        "2026-01-01T25:00:00Z",
        "Thu, 99 Jan 2026 00:01:00 GMT",
        "Thu, 01 Jan 2026",
        "1 " * 100,
    ],
)
def test_any_other_retry_after_is_ignored(text: str) -> None:
    assert parse_retry_after(text, NOW_MS) is None


@given(st.text(alphabet="0123456789:-+TZ .,ADFGJMNSTadehnouy²", max_size=70) | st.text(max_size=70))
def test_no_header_is_too_strange(text: str) -> None:
    delay_ms = parse_retry_after(text, NOW_MS)

    assert delay_ms is None or 1_000 <= delay_ms <= 86_400_000
