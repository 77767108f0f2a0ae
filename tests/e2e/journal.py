"""What the app of the kill tests notes, so that it outlives a ``kill -9``: a line for each thing, written at once.

The result of a step is the name of the execution that made it: whoever meets the result knows where it came from.
Times are ``time.monotonic()``, which all processes of a machine share.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path
from typing import TypeAlias

import msgspec


class Began(msgspec.Struct, frozen=True, tag=True):
    """A step's body begins, in a call that stands for one attempt."""

    execution: str
    run: str
    step: str
    attempt: str
    """The id of the attempt, as the table ``attempt`` has it; each lease of a job has its own."""
    app_pid: int
    caller_pid: int | None
    """The replica that calls; None when it was gone before it could be told."""
    at: float

    @property
    def job(self) -> str:
        """The job that was called for."""
        return self.attempt.rpartition(".")[0]

    @property
    def generation(self) -> int:
        """How often the job had been leased or released."""
        return int(self.attempt.rpartition(".")[2])


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A step's body comes to its end, by itself."""

    execution: str
    at: float
    is_failed: bool


class Answered(msgspec.Struct, frozen=True, tag=True):
    """A call is answered, as far as the app can tell."""

    run: str
    attempt: str
    at: float


class Saw(msgspec.Struct, frozen=True, tag=True):
    """A handler is told a step's result."""

    run: str
    step: str
    value: str


class Finished(msgspec.Struct, frozen=True, tag=True):
    """A handler comes to its end; more than once, when that was not recorded."""

    run: str


Entry: TypeAlias = Began | Ended | Answered | Saw | Finished
_decode = msgspec.json.Decoder(Entry).decode


class JournalWriter:
    """Appends to a journal."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, entry: Entry) -> None:
        """Write an entry by one system call, so that it is there as a whole or not at all."""
        os.write(self._file, msgspec.json.encode(entry) + b"\n")


class Journal:
    """Reads a journal, also while it is written."""

    def __init__(self, path: Path) -> None:
        self.entries: list[Entry] = []
        self._file = path.open("rb")
        self._rest = b""
        self._lock = threading.Lock()
        self._finished: Counter[str] = Counter()

    def close(self) -> None:
        """Read no more."""
        self._file.close()

    def read(self) -> list[Entry]:
        """Return all that was noted up to now."""
        with self._lock:
            *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
            new = [_decode(line) for line in lines]
            self._finished.update(entry.run for entry in new if isinstance(entry, Finished))
            self.entries += new
            return self.entries

    @property
    def finished_count(self) -> int:
        """How many runs' handlers have come to their end."""
        self.read()
        return len(self._finished)
