"""Draws a run in time: a row for each attempt, sleep and waiting call, with a bar from its start to its end.

The bars are to scale, but for stretches in which no call is under way: a sleep of three days would leave no room for
the calls around it. Such a stretch is drawn shorter, and dotted.
"""

from __future__ import annotations

import datetime
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from stepwell.cli.answers import Row, Timeline
from stepwell.protocol.duration import rough_text

_BAR_MIN: Final = 12
_LABEL_MAX: Final = 36
_AROUND: Final = 17  # the mark, the duration, and the spaces between
_IDLE_SHARE: Final = 0.2
"""The most that an idle stretch gets, as a share of the time in which something was called."""

_MARKS: Final = {
    "completed": ("✓", "green"),
    "retrying": ("↻", "yellow"),
    "failed": ("✗", "bold red"),
    "lost": ("?", "yellow"),
    "running": ("▶", "bold cyan"),
    "waiting": ("…", "magenta"),
    "sleeping": ("z", "blue"),
}


class Span(NamedTuple):
    """A piece of a line: its text and its style."""

    text: str
    style: str = ""


class Bar(NamedTuple):
    """Where a row is in time, in Unix ms; both are None for what hasn't begun."""

    start: int | None
    end: int | None


def waterfall(timeline: Timeline, width: int) -> list[list[Span]]:
    """Return the lines of a drawing that is ``width`` characters wide at most, but for long errors."""
    now = _ms(timeline.now)
    bars = [_bar(row, now) for row in timeline.rows]
    label_width = min(_LABEL_MAX, max((len(_label(row)) for row in timeline.rows), default=0))
    room = width - label_width - _AROUND
    room = max(_BAR_MIN, room // 2 if any(_note(row) for row in timeline.rows) else room)
    scale = _Scale(timeline, bars, room, now)
    return [_line(row, bar, scale, label_width, room) for row, bar in zip(timeline.rows, bars, strict=True)]


def _line(row: Row, bar: Bar, scale: _Scale, label_width: int, room: int) -> list[Span]:
    mark, style = _MARKS[row.status]
    label = _label(row)
    label = label if len(label) <= label_width else label[: label_width - 1] + "…"
    spans = [Span(f"  {mark} ", style), Span(f"{label:{label_width}}  ")]
    took = ""
    if bar.start is None or bar.end is None:
        spans.append(Span(" " * room))
    else:
        spans += scale.draw(bar.start, bar.end, style)
        took = rough_text(bar.end - bar.start)
    spans.append(Span(f"  {took:>7}", "dim"))
    note = _note(row)
    if note:
        spans.append(Span(f"  {note}", style if row.status in ("failed", "retrying") else "dim"))
    return spans


class _Scale:
    """From time to columns: true while something is called, shortened where nothing is."""

    def __init__(self, timeline: Timeline, bars: Sequence[Bar], room: int, now: int) -> None:
        start = _ms(timeline.run.queued_at)
        end = _ms(timeline.run.ended_at) if timeline.run.ended_at is not None else now
        called = [
            (bar.start, bar.end)
            for row, bar in zip(timeline.rows, bars, strict=True)
            if row.kind == "attempt" and bar.start is not None and bar.end is not None
        ]
        edges = {start, max(start + 1, end)}
        edges.update(edge for bar in bars for edge in bar if edge is not None)
        self._edges = sorted(edges)
        stretches = list(pairwise(self._edges))
        self._is_idle = [not any(a < right and left < b for a, b in called) for left, right in stretches]
        busy_ms = sum(
            right - left for (left, right), is_idle in zip(stretches, self._is_idle, strict=True) if not is_idle
        )
        idle_max = busy_ms * _IDLE_SHARE if busy_ms else float("inf")
        weights = [
            min(idle_max, right - left) if is_idle else right - left
            for (left, right), is_idle in zip(stretches, self._is_idle, strict=True)
        ]
        self._shortened = [
            is_idle and weight < right - left
            for (left, right), is_idle, weight in zip(stretches, self._is_idle, weights, strict=True)
        ]
        total = sum(weights) or 1
        self._columns = [0.0]
        for weight in weights:
            self._columns.append(self._columns[-1] + room * weight / total)
        self._room = room

    def draw(self, start: int, end: int, style: str) -> list[Span]:
        """Return the bar from one time to another, with the empty columns before and after it."""
        left = min(self._room - 1, round(self._column(start)))
        right = min(self._room, max(left + 1, round(self._column(end))))
        cells = "".join("┄" if self._is_short_at(column + 0.5) else "━" for column in range(left, right))
        return [Span(" " * left), Span(cells, style), Span(" " * (self._room - right))]

    def _column(self, at: int) -> float:
        """Each bar's edges are among the edges, so that no time in between is ever asked for."""
        return self._columns[max(0, bisect_right(self._edges, at) - 1)]

    def _is_short_at(self, column: float) -> bool:
        return self._shortened[min(len(self._shortened) - 1, max(0, bisect_right(self._columns, column) - 1))]


def _bar(row: Row, now: int) -> Bar:
    if row.started_at is None:
        return Bar(None, None)
    start = _ms(row.started_at)
    return Bar(start, max(start, _ms(row.ended_at) if row.ended_at is not None else now))


def _label(row: Row) -> str:
    name = row.title or "(function)"
    return f"{name} #{row.attempt + 1}" if row.attempt else name


def _note(row: Row) -> str:
    if row.waiting is not None:
        return row.waiting
    return " ".join(f"{row.error.name}: {row.error.message}".split()) if row.error is not None else ""


def _ms(text: str) -> int:
    return round(datetime.datetime.fromisoformat(text).timestamp() * 1000)
