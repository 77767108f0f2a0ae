"""Schedules against a model that looks at every minute around a change of the clock."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from stepwell.engine.core.cron import parse_cron

MINUTE = datetime.timedelta(minutes=1)
HOURS_AROUND = 8

# Zone and instant of a change: forward and back, of an hour and of half an hour, at night and at midnight.
CHANGES = [
    ("America/New_York", "2026-03-08T07:00+00:00"),
    ("America/New_York", "2026-11-01T06:00+00:00"),
    ("Europe/Berlin", "2026-03-29T01:00+00:00"),
    ("Europe/Berlin", "2026-10-25T01:00+00:00"),
    ("Australia/Lord_Howe", "2026-10-03T15:30+00:00"),
    ("Australia/Lord_Howe", "2026-04-04T15:00+00:00"),
    ("Africa/Cairo", "2026-04-23T22:00+00:00"),
    ("Africa/Cairo", "2026-10-29T21:00+00:00"),
    ("Pacific/Chatham", "2026-09-26T14:00+00:00"),
    ("Pacific/Chatham", "2026-04-04T14:00+00:00"),
]

MINUTES = {
    "*": range(60),
    "*/15": range(0, 60, 15),
    "*/20": range(0, 60, 20),
    "*/30": (0, 30),
    "0": (0,),
    "30": (30,),
    "15,45": (15, 45),
    "0-59/10": range(0, 60, 10),
    "50-59": range(50, 60),
}
HOURS = {
    "*": range(24),
    "*/2": range(0, 24, 2),
    "0": (0,),
    "1": (1,),
    "2": (2,),
    "3": (3,),
    "1-3": (1, 2, 3),
    "2,3": (2, 3),
    "23": (23,),
    "0-23": range(24),
}
WEEKDAYS = {"*": range(7), "0": (0,), "6": (6,), "5,6": (5, 6), "1-5": range(1, 6)}


def model(minute: str, hour: str, weekday: str, *, zone: ZoneInfo, change: datetime.datetime) -> list[int]:
    """List all fires around a change, in ms, by asking of every minute what the clock shows."""

    def matches(wall: datetime.datetime) -> bool:
        return (
            wall.minute in MINUTES[minute] and wall.hour in HOURS[hour] and wall.isoweekday() % 7 in WEEKDAYS[weekday]
        )

    follows_clock = minute.startswith("*") or hour.startswith("*")
    first = change - datetime.timedelta(hours=HOURS_AROUND)
    found: set[datetime.datetime] = set()
    for step in range(HOURS_AROUND * 2 * 60):
        at = first + step * MINUTE
        shown = at.astimezone(zone)
        if matches(shown) and (shown.fold == 0 or follows_clock):
            found.add(at)
    before = (change - MINUTE).astimezone(zone).utcoffset()
    after = change.astimezone(zone).utcoffset()
    assert before is not None
    assert after is not None
    missing = (change + before).replace(tzinfo=None)
    for step in range(max(0, (after - before) // MINUTE)):
        wall = missing + step * MINUTE
        if matches(wall) and not (follows_clock and matches(wall + (after - before))):
            found.add(change)
    return [int(at.timestamp()) * 1000 for at in sorted(found)]


@settings(max_examples=300, deadline=None)
@given(
    place=st.sampled_from(CHANGES),
    minute=st.sampled_from(sorted(MINUTES)),
    hour=st.sampled_from(sorted(HOURS)),
    weekday=st.sampled_from(sorted(WEEKDAYS)),
)
@example(place=CHANGES[5], minute="*/15", hour="2", weekday="*")
@example(place=CHANGES[4], minute="*/15", hour="3", weekday="*")
def test_around_a_change_of_the_clock_every_fire_is_as_the_model_says(
    place: tuple[str, str], minute: str, hour: str, weekday: str
) -> None:
    name, instant = place
    change = datetime.datetime.fromisoformat(instant)
    expected = model(minute, hour, weekday, zone=ZoneInfo(name), change=change)
    start = int(change.timestamp()) * 1000 - HOURS_AROUND * 3_600_000 - 1
    end = start + HOURS_AROUND * 2 * 3_600_000

    schedule = parse_cron(f"TZ={name} {minute} {hour} * * {weekday}")
    found: list[int] = []
    at = schedule.next_after(start)
    while at is not None and at <= end:
        found.append(at)
        at = schedule.next_after(at)

    assert found == expected


def field(low: int, high: int, *, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    pair = st.tuples(number, number).map(sorted)
    one = st.one_of(
        st.just("*"),
        number.map(str),
        pair.map(lambda ends: f"{ends[0]}-{ends[1]}"),
        st.integers(1, high).map(lambda step: f"*/{step}"),
        st.builds(lambda ends, step: f"{ends[0]}-{ends[1]}/{step}", pair, st.integers(1, 20)),
        *([st.sampled_from(names)] if names else []),
    )
    return st.lists(one, min_size=1, max_size=2).map(",".join)


DATES = st.one_of(  # a day that no month has is refused
    st.tuples(field(1, 28, names=("L", "LW", "31")), st.sampled_from(["*", "*/2", "JAN", "MAR-NOV"])),
    st.tuples(field(1, 28, names=("L", "LW")), field(1, 12, names=("JAN", "MAR-NOV"))),
)
SCHEDULES = st.builds(
    lambda zone, minute, hour, date, weekday: f"TZ={zone} {minute} {hour} {' '.join(date)} {weekday}",
    st.sampled_from([name for name, _ in CHANGES] + ["UTC", "Asia/Kolkata", "America/Havana"]),
    field(0, 59),
    field(0, 23),
    DATES,
    field(0, 7, names=("MON", "5L", "1#2")),
)
INSTANTS = st.integers(1_577_836_800_000, 2_208_988_800_000) | st.builds(
    lambda place, minutes: int(datetime.datetime.fromisoformat(place[1]).timestamp()) * 1000 + minutes * 60_000,
    st.sampled_from(CHANGES),
    st.integers(-300, 300),
)


@settings(max_examples=200, deadline=None)
@given(cron=SCHEDULES, now_ms=INSTANTS)
def test_fire_times_rise_and_each_is_the_next_a_moment_before_it(cron: str, now_ms: int) -> None:
    schedule = parse_cron(cron)

    for _ in range(4):
        at = schedule.next_after(now_ms)
        if at is None:
            return
        assert at > now_ms
        assert schedule.next_after(at - 1) == at
        now_ms = at


@settings(max_examples=200, deadline=None)
@given(cron=SCHEDULES, now_ms=INSTANTS, chance=st.floats(0, 1))
def test_nothing_fires_between_now_and_the_next_fire(cron: str, now_ms: int, chance: float) -> None:
    schedule = parse_cron(cron)
    at = schedule.next_after(now_ms)
    if at is None:
        return

    between = now_ms + int((at - 1 - now_ms) * chance)

    assert schedule.next_after(between) == at
