"""What the demo shows: live bars in a terminal, plain lines anywhere else."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

REFRESH_S = 0.1


@dataclass(frozen=True)
class Counter:
    """Something that is to reach a number."""

    label: str
    read: Callable[[], int]
    total: int

    @property
    def is_full(self) -> bool:
        """All of it has come."""
        return self.read() >= self.total

    def __str__(self) -> str:
        return f"{self.read()}{'' if self.is_full else f' of {self.total}'} {self.label}"


class Screen:
    """A console, and below it the bars."""

    def __init__(self) -> None:
        # A terminal that can't show a check mark still shows the line.
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="replace")  # pyright: ignore[reportAttributeAccessIssue] - just looked
        self.console = Console(highlight=False)

    def title(self, text: str, note: str = "") -> None:
        """Begin a chapter."""
        self.console.print(Text.assemble("\n", (text, "bold"), ("  " + note if note else "", "dim")))

    def line(self, mark: str, text: str, note: str = "", *, style: str = "green") -> None:
        """Say what has happened."""
        self.console.print(Text.assemble("  ", (mark, style), " ", text, ("  " + note if note else "", "dim")))

    def note(self, text: str) -> None:
        """Add a sentence."""
        self.console.print(Padding(Text(text, "dim"), (0, 0, 0, 2)))

    def command(self, text: str) -> None:
        """Show a command so that it can be copied: the terminal may break the line, we don't."""
        self.console.print(Text.assemble("  ", ("$", "dim"), " ", text), soft_wrap=True)

    def log(self, title: str, lines: str) -> None:
        """Show lines of a log as they are."""
        self.title(title)
        self.console.print(Text(lines or "(empty)"), soft_wrap=True)

    def table(self, headings: Sequence[str], rows: Sequence[tuple[str, *tuple[int, ...]]]) -> None:
        """Show a table: text, then numbers."""
        table = Table(box=None, padding=(0, 2), header_style="dim", pad_edge=False)
        table.add_column(Text(headings[0], "bold not dim"))
        for heading in headings[1:]:
            table.add_column(heading, justify="right")
        for name, *numbers in rows:
            table.add_row(f"  {name}", *(f"{number:,}" for number in numbers))
        self.console.print()
        self.console.print(table)

    @contextlib.asynccontextmanager
    async def bars(self, counters: Sequence[Counter]) -> AsyncGenerator[None]:
        """Show counters move below the lines, while they may."""
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("  {task.description:<16}"), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            tasks = [(progress.add_task(counter.label, total=counter.total), counter) for counter in counters]

            async def follow() -> None:
                while True:
                    for task, counter in tasks:
                        progress.update(task, completed=counter.read())
                    await asyncio.sleep(REFRESH_S)

            following = asyncio.create_task(follow())
            try:
                yield
            finally:
                following.cancel()
