"""Schedules: what is taken, what is refused, and what happens when the clock changes."""

from __future__ import annotations

import datetime

import pytest

from stepwell.engine.core.cron import parse_cron
from stepwell.errors import CronError
from stepwell.limits import CRON_CHARS_MAX


def ms(text: str) -> int:
    return int(datetime.datetime.fromisoformat(text).timestamp()) * 1000


def fires(cron: str, *, after: str, count: int) -> list[str]:
    """List the next fire times as a clock in the schedule's zone shows them, with its offset."""
    schedule = parse_cron(cron)
    now_ms: int | None = ms(after)
    found: list[str] = []
    for _ in range(count):
        now_ms = schedule.next_after(now_ms)
        if now_ms is None:
            break
        found.append(datetime.datetime.fromtimestamp(now_ms / 1000, schedule.zone).isoformat(timespec="minutes"))
    return found


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("* * * * *", ["2026-01-01T00:01+00:00", "2026-01-01T00:02+00:00"]),
        ("*/30 * * * *", ["2026-01-01T00:30+00:00", "2026-01-01T01:00+00:00"]),
        ("0 9 * * 1-5", ["2026-01-01T09:00+00:00", "2026-01-02T09:00+00:00", "2026-01-05T09:00+00:00"]),
        ("0 9 * * MON", ["2026-01-05T09:00+00:00"]),
        ("0 0 * JUL 7", ["2026-07-05T00:00+00:00"]),
        ("0 0 L * *", ["2026-01-31T00:00+00:00", "2026-02-28T00:00+00:00"]),
        ("0 0 * * 5L", ["2026-01-30T00:00+00:00"]),
        ("0 0 * * 1#2", ["2026-01-12T00:00+00:00"]),
        # Day of month or of week, as in cron, when neither is a star.
        ("0 0 13 * 5", ["2026-01-02T00:00+00:00", "2026-01-09T00:00+00:00", "2026-01-13T00:00+00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00+00:00", "2032-02-29T00:00+00:00"]),
        ("59 23 31 12 *", ["2026-12-31T23:59+00:00"]),
        ("  0   9 * * *  ", ["2026-01-01T09:00+00:00"]),
        ("@hourly", ["2026-01-01T01:00+00:00", "2026-01-01T02:00+00:00"]),
        ("@daily", ["2026-01-02T00:00+00:00"]),
        ("@midnight", ["2026-01-02T00:00+00:00"]),
        ("@weekly", ["2026-01-04T00:00+00:00"]),
        ("@monthly", ["2026-02-01T00:00+00:00"]),
        ("@Yearly", ["2027-01-01T00:00+00:00"]),
        ("@annually", ["2027-01-01T00:00+00:00"]),
        ("TZ=Europe/Paris 0 9 * * *", ["2026-01-01T09:00+01:00"]),
        ("CRON_TZ=Asia/Kolkata 0 9 * * *", ["2026-01-01T09:00+05:30"]),
        ("TZ=America/New_York @daily", ["2026-01-01T00:00-05:00"]),
        ("TZ=UTC 0 0 1 1 *", ["2027-01-01T00:00+00:00"]),
    ],
)
def test_a_schedule_fires_when_cron_would(cron: str, expected: list[str]) -> None:
    assert fires(cron, after="2026-01-01T00:00+00:00", count=len(expected)) == expected


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # New York, 1 November 2026: 01:00-02:00 comes twice. A fixed time fires on the first pass only.
        (
            "TZ=America/New_York 30 1 * * *",
            "2026-10-31T12:00-04:00",
            ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"],
        ),
        # Asked within the second pass, it has fired already.
        ("TZ=America/New_York 30 1 * * *", "2026-11-01T01:15-05:00", ["2026-11-02T01:30-05:00"]),
        (
            "TZ=America/New_York 0,30 1,2 * * *",
            "2026-11-01T00:00-04:00",
            ["2026-11-01T01:00-04:00", "2026-11-01T01:30-04:00", "2026-11-01T02:00-05:00", "2026-11-01T02:30-05:00"],
        ),
        # What follows the clock fires on both.
        (
            "TZ=America/New_York */30 * * * *",
            "2026-11-01T00:59-04:00",
            [
                "2026-11-01T01:00-04:00",
                "2026-11-01T01:30-04:00",
                "2026-11-01T01:00-05:00",
                "2026-11-01T01:30-05:00",
                "2026-11-01T02:00-05:00",
            ],
        ),
        (
            "TZ=America/New_York 15 * * * *",
            "2026-11-01T01:20-04:00",
            ["2026-11-01T01:15-05:00", "2026-11-01T02:15-05:00"],
        ),
        # New York, 8 March 2026: 02:00-03:00 is missing. A fixed time moves to right after it, once.
        (
            "TZ=America/New_York 30 2 * * *",
            "2026-03-07T12:00-05:00",
            ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"],
        ),
        (
            "TZ=America/New_York 0,15,30 2,3 * * *",
            "2026-03-08T01:00-05:00",
            ["2026-03-08T03:00-04:00", "2026-03-08T03:15-04:00", "2026-03-08T03:30-04:00"],
        ),
        # An hourly schedule loses nothing: an hour passes between the two.
        (
            "TZ=America/New_York 15 * * * *",
            "2026-03-08T00:30-05:00",
            ["2026-03-08T01:15-05:00", "2026-03-08T03:15-04:00"],
        ),
        # This one would lose its only hour.
        (
            "TZ=America/New_York */30 2 * * *",
            "2026-03-08T01:00-05:00",
            ["2026-03-08T03:00-04:00", "2026-03-09T02:00-04:00"],
        ),
        # Berlin, 25 October and 29 March 2026.
        (
            "TZ=Europe/Berlin 30 2 * * *",
            "2026-10-24T12:00+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"],
        ),
        (
            "TZ=Europe/Berlin 30 2 * * *",
            "2026-03-28T12:00+01:00",
            ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"],
        ),
        ("TZ=Europe/Berlin 0 9 * * *", "2026-03-28T12:00+01:00", ["2026-03-29T09:00+02:00"]),
        # Lord Howe, 5 April 2026: half an hour, 01:30-02:00, comes twice.
        (
            "TZ=Australia/Lord_Howe 45 1 * * *",
            "2026-04-04T12:00+11:00",
            ["2026-04-05T01:45+11:00", "2026-04-06T01:45+10:30"],
        ),
        (
            "TZ=Australia/Lord_Howe */15 1-2 * * *",
            "2026-04-05T01:20+11:00",
            [
                "2026-04-05T01:30+11:00",
                "2026-04-05T01:45+11:00",
                "2026-04-05T01:30+10:30",
                "2026-04-05T01:45+10:30",
                "2026-04-05T02:00+10:30",
                "2026-04-05T02:15+10:30",
            ],
        ),
        # Lord Howe, 4 October 2026: half an hour, 02:00-02:30, is missing.
        (
            "TZ=Australia/Lord_Howe 15 2 * * *",
            "2026-10-03T12:00+10:30",
            ["2026-10-04T02:30+11:00", "2026-10-05T02:15+11:00"],
        ),
        (
            "TZ=Australia/Lord_Howe */15 3 * * *",
            "2026-10-04T01:50+10:30",
            ["2026-10-04T03:00+11:00", "2026-10-04T03:15+11:00"],
        ),
        # Cairo, 24 April 2026: midnight is missing.
        ("TZ=Africa/Cairo @daily", "2026-04-23T12:00+02:00", ["2026-04-24T01:00+03:00", "2026-04-25T00:00+03:00"]),
        # A leap day in a zone ahead of UTC.
        ("TZ=Pacific/Auckland 0 6 29 2 *", "2026-01-01T00:00+00:00", ["2028-02-29T06:00+13:00"]),
    ],
)
def test_no_fire_is_lost_or_doubled_when_the_clock_changes(cron: str, after: str, expected: list[str]) -> None:
    assert fires(cron, after=after, count=len(expected)) == expected


def test_the_next_fire_is_strictly_later_to_the_millisecond() -> None:
    schedule = parse_cron("0 9 * * *")
    nine = ms("2026-01-01T09:00+00:00")

    assert schedule.next_after(nine - 1) == nine
    assert schedule.next_after(nine - 1001) == nine
    assert schedule.next_after(nine) == nine + 86_400_000
    assert schedule.next_after(nine + 1) == nine + 86_400_000


@pytest.mark.parametrize(("cron", "now"), [("0 0 */31 * 1#2", "2026-01-01T00:00"), ("@yearly", "9999-06-01T00:00")])
def test_a_schedule_that_never_fires_again_has_no_next_time(cron: str, now: str) -> None:
    assert parse_cron(cron).next_after(ms(f"{now}+00:00")) is None


def test_a_time_beyond_the_calendar_has_no_next_time() -> None:
    assert parse_cron("* * * * *").next_after(10**18) is None


def test_schedules_with_the_same_text_are_equal() -> None:
    assert parse_cron("TZ=Europe/Paris 0 9 * * *") == parse_cron("TZ=Europe/Paris 0 9 * * *")
    assert parse_cron("0 9 * * *") != parse_cron("TZ=Europe/Paris 0 9 * * *")


@pytest.mark.parametrize(
    ("cron", "problem"),
    [
        ("", "has 0 fields; a schedule has five: minute, hour, day-of-month, month, day-of-week"),
        ("* * * *", "has 4 fields"),
        ("0 * * * * *", "has 6 fields"),
        ("60 * * * *", "the minute '60' is not valid; use 0-59"),
        ("*/0 * * * *", "the minute '*/0' is not valid"),
        ("* 24 * * *", "the hour '24' is not valid; use 0-23"),
        ("* * 0 * *", "the day-of-month '0' is not valid"),
        ("* * * 13 *", "the month '13' is not valid; use 1-12 or JAN-DEC"),
        ("* * * * 8", "the day-of-week '8' is not valid"),
        ("* * * * FRI-MON", "the day-of-week 'FRI-MON' is not valid"),
        ("? * * * *", "the minute '?' is not valid"),
        ("5- * * * *", "the minute '5-' is not valid"),
        ("0 0 31 4,6 *", "there is no day 31 in month 4,6"),
        ("0 0 30 2 *", "there is no day 30 in month 2"),
        ("@reboot", "unknown nickname '@reboot'; there are @yearly"),
        ("@every 5m", "has 2 fields"),
        ("TZ=Mars/Base 0 0 * * *", "unknown time zone 'Mars/Base'"),
        ("TZ=America 0 0 * * *", "unknown time zone 'America'"),
        ("TZ=../../etc/passwd 0 0 * * *", "unknown time zone"),
        ("TZ=/etc/localtime 0 0 * * *", "unknown time zone"),
        ("TZ=localtime 0 0 * * *", "unknown time zone"),
        ("TZ=right/UTC 0 0 * * *", "unknown time zone"),
        ("TZ= 0 0 * * *", "has 6 fields"),
        ("TZ=UTC", "has 1 fields"),
    ],
)
def test_a_bad_schedule_is_refused_with_the_field_and_the_reason(cron: str, problem: str) -> None:
    with pytest.raises(CronError) as raised:
        parse_cron(cron)

    assert problem in str(raised.value)


def test_the_length_of_a_schedule_is_limited() -> None:
    longest = "0 0 * * *".ljust(CRON_CHARS_MAX)

    parse_cron(longest)
    with pytest.raises(CronError, match="256 characters; at most 255 are allowed"):
        parse_cron(longest + " ")
