"""Lines for a terminal: one for each thing that happens, in columns, coloured where that can be seen.

A thread does the writing, so that a terminal that was stopped (Ctrl-S) or a slow pipe doesn't stop the server.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import queue
import threading
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple, TextIO

_TEXT_CHARS_MAX: Final = 400
_WORD_WIDTH: Final = 9
_SUBJECT_WIDTH_MIN: Final = 16
_SUBJECT_WIDTH_MAX: Final = 44
_STOP_S_MAX: Final = 1.0

_COLOURS: Final[Mapping[str, str]] = {
    "event": "36",
    "cron": "36",
    "step": "2",
    "sleep": "34",
    "retry": "33",
    "completed": "32",
    "failed": "1;31",
    "cancelled": "35",
    "skipped": "2",
    "app": "1;36",
    "server": "1",
    "warning": "1;33",
}
_DIM: Final = "2"


class Line(NamedTuple):
    """One thing that happened: when (Unix ms), what in a word, to what, and the rest."""

    at: int
    word: str
    subject: str
    text: str


class Terminal:
    """Writes lines to a stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_coloured = stream.isatty() and "NO_COLOR" not in os.environ
        self._width = _SUBJECT_WIDTH_MIN
        self._day: datetime.date | None = None
        self._texts: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._is_writing = False
        self._thread = threading.Thread(target=self._run, name="stepwell-terminal", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, if the stream takes it."""
        self._texts.put(None)
        self._thread.join(_STOP_S_MAX)

    @property
    def is_busy(self) -> bool:
        """Tell that the stream hasn't taken all that was written."""
        return self._is_writing or not self._texts.empty()

    def write(self, lines: Iterable[Line], left_out: str = "") -> None:
        """Write lines at once, and a word on those that were too many."""
        text = "".join(self._rows(lines))
        if left_out:
            text += self._paint(_DIM, f"{'':10}… and {left_out}") + "\n"
        self._texts.put(text)

    def _rows(self, lines: Iterable[Line]) -> Iterable[str]:
        for line in lines:
            when = datetime.datetime.fromtimestamp(line.at / 1000).astimezone()
            if self._day not in (None, when.date()):
                yield self._paint(_DIM, f"── {when:%A, %d %B %Y} ──") + "\n"
            self._day = when.date()
            yield self._row(line, when)

    def _row(self, line: Line, when: datetime.datetime) -> str:
        subject = printable(line.subject)
        self._width = max(self._width, min(_SUBJECT_WIDTH_MAX, len(subject)))
        columns = (
            self._paint(_DIM, f"{when:%H:%M:%S}"),
            self._paint(_COLOURS.get(line.word, ""), f"{line.word:{_WORD_WIDTH}}"),
            f"{subject:{self._width}}",
            printable(line.text),
        )
        return "  ".join(columns).rstrip() + "\n"

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._is_coloured and colour else text

    def _run(self) -> None:
        while (text := self._texts.get()) is not None:
            self._is_writing = True
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                self._stream.write(text)
                self._stream.flush()
            self._is_writing = False


def printable(text: str) -> str:
    """Make one line of text from outside: without line breaks, nor what a terminal would obey."""
    text = " ".join(text[: 2 * _TEXT_CHARS_MAX].split())
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _TEXT_CHARS_MAX else f"{text[:_TEXT_CHARS_MAX]}…"
