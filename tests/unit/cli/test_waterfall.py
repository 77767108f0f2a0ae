"""A run drawn in time."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from stepwell.cli.answers import Failure, Row, RunView, Timeline
from stepwell.cli.waterfall import waterfall

T0 = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)


def at(seconds: float | None) -> str | None:
    return None if seconds is None else (T0 + datetime.timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def row(title: str | None, start: float | None, end: float | None, **more: Any) -> Row:
    fields: dict[str, Any] = {
        "kind": "attempt",
        "status": "completed",
        "title": title,
        "attempt": 0,
        "started_at": at(start),
        "ended_at": at(end),
        "due_at": None,
        "retry_at": None,
        "error": None,
        "waiting": None,
    }
    return Row(**fields | more)


def run_of(*rows: Row, end: float | None, now: float = 10.0) -> Timeline:
    run = RunView(
        id="R",
        status="running" if end is None else "completed",
        function="f",
        event_id="E",
        event_name="a",
        queued_at=at(0) or "",
        started_at=at(0),
        ended_at=at(end),
        reason=None,
        output=None,
        error=None,
        waiting=None,
    )
    return Timeline(now=at(now) or "", run=run, rows=list(rows))


def drawn(timeline: Timeline, width: int = 80) -> list[str]:
    return ["".join(span.text for span in line).rstrip() for line in waterfall(timeline, width)]


def bar(line: str) -> tuple[int, int]:
    """Return where the bar of a line begins and how long it is."""
    cells = [index for index, char in enumerate(line) if char in "━┄"]
    assert cells == list(range(cells[0], cells[-1] + 1))
    return cells[0], len(cells)


def test_bars_are_to_scale_and_in_order() -> None:
    lines = drawn(run_of(row("a", 0, 2), row("b", 2, 8), row("c", 4, 8), end=8))

    (a, a_length), (b, b_length), (c, c_length) = map(bar, lines)
    assert b == a + a_length
    assert abs(b_length - 3 * a_length) <= 2
    assert b < c
    assert c + c_length == b + b_length
    assert [line.split()[1] for line in lines] == ["a", "b", "c"]
    assert [line.split()[-1] for line in lines] == ["2s", "6s", "4s"]


def test_a_long_sleep_leaves_room_for_the_calls_around_it() -> None:
    day = 86_400.0
    rows = (row("a", 0, 1), row("wait", 1, 3 * day + 1, kind="sleep"), row("b", 3 * day + 1, 3 * day + 2))

    a, wait, b = drawn(run_of(*rows, end=3 * day + 2))

    assert bar(a)[1] > bar(wait)[1] > 1
    assert abs(bar(a)[1] - bar(b)[1]) <= 1
    assert "┄" in wait
    assert wait.endswith("3d")


def test_a_run_that_only_sleeps_is_to_scale() -> None:
    rows = (row("x", 0, 2, kind="sleep"), row("y", 2, 4, kind="sleep"))

    x, y = drawn(run_of(*rows, end=4))

    assert abs(bar(x)[1] - bar(y)[1]) <= 1
    assert "┄" not in x + y


def test_what_is_in_progress_reaches_until_now() -> None:
    done, running = drawn(run_of(row("a", 0, 5), row("b", 5, None, status="running"), end=None, now=10))

    assert abs(bar(done)[1] - bar(running)[1]) <= 1
    assert running.endswith("5s")


def test_what_has_not_begun_has_a_reason_and_no_bar() -> None:
    waiting = row(None, None, None, kind="job", status="waiting", attempt=1, waiting="attempt 2 is due")

    _, line = drawn(run_of(row("a", 0, 5), waiting, end=None))

    assert "━" not in line
    assert "(function) #2" in line
    assert line.endswith("attempt 2 is due")


def test_an_error_is_said_in_one_line() -> None:
    failed = row("pay", 0, 1, status="retrying", error=Failure("E", "first\nsecond"))

    [line] = drawn(run_of(failed, end=None))

    assert line.endswith("E: first second")


def test_a_moment_has_a_bar_of_one_cell() -> None:
    lines = drawn(run_of(row("a", 0, 0), row("b", 0, 100), row("c", 100, 100), end=100))

    assert [bar(line)[1] for line in (lines[0], lines[2])] == [1, 1]


@pytest.mark.parametrize("width", [0, 40, 80, 300])
def test_lines_fit_the_width_as_long_as_it_is_sane(width: int) -> None:
    rows = [row("a" * 100, 0, 1), row("b", 1, 2)]

    lines = drawn(run_of(*rows, end=2), width)

    assert all(len(line) <= max(width, 70) for line in lines)
    assert all(bar(line)[1] >= 1 for line in lines)


def test_a_run_that_was_only_queued_has_no_rows() -> None:
    assert drawn(run_of(end=None, now=0)) == []


def test_a_clock_that_went_back_breaks_nothing() -> None:
    [line] = drawn(run_of(row("a", 5, 3), end=1, now=0))

    assert bar(line)[1] >= 1
