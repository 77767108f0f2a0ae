"""What is printed: tables, lines and drawings. Colour and motion on a terminal, plain text elsewhere."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from stepwell.cli.answers import RunSummary, Timeline
from stepwell.cli.waterfall import waterfall
from stepwell.protocol.duration import rough_text

_PLAIN_WIDTH: Final = 120
_OUTPUT_CHARS_MAX: Final = 2_000
_STYLES: Final = {
    "queued": "magenta",
    "running": "cyan",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "yellow",
    "skipped": "dim",
}


def is_terminal() -> bool:
    """Tell whether somebody is looking."""
    return _console().is_terminal


def status_text(status: str) -> Text:
    """Colour a run's status."""
    return Text(status, _STYLES.get(status, ""))


def clock_text(at: str | None) -> str:
    """Write an instant in local time; without the date when that is today."""
    if at is None:
        return ""
    when = datetime.datetime.fromisoformat(at).astimezone()
    is_today = when.date() == datetime.datetime.now().astimezone().date()
    return f"{when:%H:%M:%S}" if is_today else f"{when:%Y-%m-%d %H:%M:%S}"


def run_took(run: RunSummary) -> str:
    """Write how long a run took from its event to its end."""
    if run.ended_at is None:
        return ""
    ended, queued = (datetime.datetime.fromisoformat(at) for at in (run.ended_at, run.queued_at))
    return rough_text(max(0, round((ended - queued).total_seconds() * 1000)))


def table(columns: Sequence[str], rows: Sequence[Sequence[str | Text]], *, empty: str) -> None:
    """Print rows under their headings, whole: ids can be copied, and other programs can read them."""
    if not rows:
        print(empty)
        return
    cells = [[Text(name, "dim") for name in columns]]
    cells += [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    widths = [max(row[index].cell_len for row in cells) for index in range(len(columns))]
    console = _console()
    for row in cells:
        line = Text()
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell)
            line.append(" " * (width - cell.cell_len + 2))
        line.rstrip()
        console.print(line, soft_wrap=True)


def run_line(run: RunSummary) -> None:
    """Print a run in one line."""
    took = run_took(run)
    line = Text()
    line.append(f"{clock_text(run.ended_at or run.queued_at)}  ", "dim")
    line.append(f"{run.status:9}  ", _STYLES.get(run.status, ""))
    line.append(f"{run.function:28}  {took:>7}  ")
    line.append(f"{run.id}  {run.event_name}", "dim")
    _console().print(line, soft_wrap=True)


def draw(moments: Iterator[Timeline]) -> None:
    """Draw a run; on a terminal again and again in its place, as long as there are newer moments of it."""
    console = _console()
    if not console.is_terminal:
        last: Timeline | None = None
        for moment in moments:
            last = moment
        assert last is not None
        console.print(_drawing(last, console.width), soft_wrap=True)
        return
    first = next(moments)
    with Live(_drawing(first, console.width), console=console, auto_refresh=False) as live:
        try:
            for moment in moments:
                live.update(_drawing(moment, console.width), refresh=True)
        except KeyboardInterrupt:
            return


def _drawing(timeline: Timeline, width: int) -> Group:
    run = timeline.run
    head = Text()
    head.append(run.function, "bold")
    head.append(f"  {run.status}", _STYLES.get(run.status, ""))
    took = run_took(run)
    head.append(f" in {took}" if took else "", "")
    head.append(f" ({run.reason})" if run.reason else "", "dim")
    under = Text(f"run {run.id}  event {run.event_name} {run.event_id}  queued {clock_text(run.queued_at)}", "dim")
    lines = [head, under, Text()]
    for spans in waterfall(timeline, width):
        line = Text(no_wrap=True, overflow="ignore")
        for span in spans:
            line.append(span.text, span.style)
        line.rstrip()
        lines.append(line)
    if run.waiting is not None:
        lines += [Text(), Text(f"not running: {run.waiting}", "magenta")]
    if run.error is not None:
        lines += [Text(), Text(f"{run.error.name}: {run.error.message}", "bold red")]
        lines += [Text(run.error.stack.rstrip(), "dim")] if run.error.stack else []
    elif run.status == "completed":
        lines += [Text(), _output(run.output)]
    return Group(*lines)


def _output(value: object) -> Text:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    if len(text) > _OUTPUT_CHARS_MAX:
        text = f"{text[:_OUTPUT_CHARS_MAX]}…  (all of it: --json)"
    return Text(f"output {text}")


def _console() -> Console:
    """Make a console for standard output as it is now. A pipe has no width: lines there stay whole."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    return console
