"""Takes in the lines and spans of runs, and the steps that they begin, and has them stored beside what runs need, without holding it up.

One request is under way at a time, with whatever came while the one before was: so a transaction has few of them, however
many apps write, and those who send wait for their answer as long as the database is slow. What waits is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import BegunStep, LogLine, Span
from stepwell.engine.watch import Watcher
from stepwell.errors import StoreUnavailable
from stepwell.limits import LOG_BATCH_MAX, LOG_WAITING_MAX
from stepwell.protocol.ids import LogId
from stepwell.store.interface import Store
from stepwell.store.request import Logged, LogRequest

log = structlog.get_logger("stepwell.logbook")


class Noted(NamedTuple):
    """What became of the lines and spans of one sender: those of unknown runs, and those that were too many."""

    unknown_lines: int = 0
    unknown_spans: int = 0
    dropped_lines: int = 0
    dropped_spans: int = 0
    """All that were sent for a run that is full; some may have fitted in."""


class _Entry(NamedTuple):
    lines: Sequence[LogLine]
    spans: Sequence[Span]
    begun: Sequence[BegunStep]
    noted: asyncio.Future[Noted]

    @property
    def size(self) -> int:
        return len(self.lines) + len(self.spans) + len(self.begun)


class Logbook:
    """Stores lines and spans."""

    def __init__(self, store: Store, clock: Clock, new_id: Callable[[], str], watcher: Watcher) -> None:
        self._store, self._clock, self._new_id, self._watcher = store, clock, new_id, watcher
        self._waiting: deque[_Entry] = deque()
        self._size = 0
        self._writing: asyncio.Task[None] | None = None

    async def write(
        self, lines: Sequence[LogLine], spans: Sequence[Span] = (), begun: Sequence[BegunStep] = ()
    ) -> Noted:
        """Store lines, which get their ids here, spans, and which steps runs are at.

        Raises ``StoreError``; then none were stored.

        The instants of the lines are of the app's clock: time travel is added, and none is later than now.
        """
        if self._size + len(lines) + len(spans) + len(begun) > LOG_WAITING_MAX:
            raise StoreUnavailable(f"{self._size} lines and spans wait for the database, which is as many as may")
        entries: list[_Entry] = []
        for start in range(0, max(len(lines), len(spans), len(begun)), LOG_BATCH_MAX):
            if entries:
                await asyncio.sleep(0)  # to name thousands takes a while: others have the event loop in between
            part = slice(start, start + LOG_BATCH_MAX)
            entries.append(self._take_in(lines[part], spans[part], begun[part]))
        noted = await asyncio.gather(*(entry.noted for entry in entries))
        return Noted(*(sum(counts) for counts in zip(*noted, strict=True)))

    def _take_in(self, lines: Sequence[LogLine], spans: Sequence[Span], begun: Sequence[BegunStep]) -> _Entry:
        now, ahead_ms, loop = self._clock.now(), self._clock.offset_ms, asyncio.get_running_loop()
        entry = _Entry(
            [
                msgspec.structs.replace(line, id=LogId(self._new_id()), at=max(0, min(line.at + ahead_ms, now)))
                for line in lines
            ],
            [msgspec.structs.replace(span, started_at=span.started_at + ahead_ms) for span in spans],
            begun,
            loop.create_future(),
        )
        self._waiting.append(entry)
        self._size += entry.size
        if self._writing is None:
            self._writing = loop.create_task(self._write())
        return entry

    async def stop(self) -> None:
        """Wait until what was taken in is stored."""
        if self._writing is not None:
            await asyncio.wait([self._writing])

    async def _write(self) -> None:
        try:
            while self._waiting:
                await self._commit(self._take())
        finally:
            self._writing = None

    def _take(self) -> list[_Entry]:
        """Return what is stored together: at least one sender's, however much that is."""
        taken = [self._waiting.popleft()]
        size = taken[0].size
        while self._waiting and size + self._waiting[0].size <= LOG_BATCH_MAX:
            taken.append(self._waiting.popleft())
            size += taken[-1].size
        self._size -= size
        return taken

    async def _commit(self, entries: Sequence[_Entry]) -> None:
        request = LogRequest(
            lines=[line for entry in entries for line in entry.lines],
            spans=[span for entry in entries for span in entry.spans],
            now=self._clock.now(),
            begun=[step for entry in entries for step in entry.begun],
        )
        try:
            result = await self._store.submit(request)
        except Exception as error:  # noqa: BLE001 - a bug, too, is for those who sent these: others go on
            for entry in entries:
                if not entry.noted.done():  # its sender has gone away
                    entry.noted.set_exception(type(error)(*error.args))
            return
        assert result.logged is not None, "a request with lines was answered without what became of them"
        try:
            if result.logged.lines:
                self._watcher.logged(result.logged.lines)
            if result.logged.begun:
                self._watcher.touched(sorted(result.logged.begun))
        except Exception:
            log.exception("logbook.watcher_broke")
        for entry in entries:
            if not entry.noted.done():
                entry.noted.set_result(_noted(entry, result.logged))


def _noted(entry: _Entry, logged: Logged) -> Noted:
    known, full, full_of_spans = logged.runs, logged.full_of_lines, logged.full_of_spans
    kept: set[str] = {line.id for line in logged.lines} if full else set()
    return Noted(
        unknown_lines=sum(line.run_id not in known for line in entry.lines),
        unknown_spans=sum(span.run_id not in known for span in entry.spans),
        dropped_lines=sum(line.run_id in full and line.id not in kept for line in entry.lines),
        dropped_spans=sum(span.run_id in full_of_spans for span in entry.spans),
    )
