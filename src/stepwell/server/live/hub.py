"""Collects what changes while pages are open, and hands it to each of them at its own pace.

What the engine tells is noted in a batch. The batch is closed at most every ``STREAM_PACE_S``, and soon after a silence; it
gets a number, and the newest batches are kept. A page is only a place among these numbers: it takes what came after it,
all in one message. So a page that reads slowly costs no memory, one that comes back goes on at its place, and one
whose place is gone is told to read everything again (``reset``).

While no page is open, and none has left just now, nothing is noted. Numbers begin anew after that, under another name.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Sequence
from typing import Final, NamedTuple

from stepwell.engine.core.model import Function, Intake, Transition
from stepwell.engine.watch import NoWatcher
from stepwell.limits import STREAM_KEPT_MAX, STREAM_LINGER_S, STREAM_PACE_S, STREAMS_MAX
from stepwell.protocol.ids import RunId
from stepwell.server.live.changes import Batch, Changes, Topics, told
from stepwell.store.interface import Result

_SOON_S: Final = 0.01  # what comes together with the first change after a silence


class Heard(NamedTuple):
    """What a page hears next."""

    cursor: str
    """Where it is then."""
    changes: Changes | None
    """None where its place is gone, and it must read everything again."""


class Hub(NoWatcher):
    """Watches the engine for pages. Everything is called on the event loop."""

    def __init__(self) -> None:
        self.is_closed = False
        self.page_count = 0
        self._is_on = False
        self._asked_for: dict[RunId, int] = {}
        """Runs that pages ask for by their ids, with how many do."""
        self._batch = Batch()
        self._begin_anew()
        self._closed_at = float("-inf")
        self._timer: asyncio.TimerHandle | None = None
        self._turning_off: asyncio.TimerHandle | None = None
        self._next: asyncio.Future[None] | None = None

    def _begin_anew(self) -> None:
        self._name = secrets.token_hex(4)
        self._last = 0
        """The number of the newest batch."""
        self._kept: deque[Batch] = deque(maxlen=STREAM_KEPT_MAX)

    # -- what happens -------------------------------------------------------------------------------------------

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        if not self._is_on:
            return
        self._batch.add_event(intake.event.id)
        for run in intake.runs:
            if run.id not in result.gathered:
                self._batch.add_run(run.id, is_new=True, is_asked_for=run.id in self._asked_for)
        self._grew()

    def changed(self, transition: Transition, function: Function) -> None:
        if self._is_on:
            id = transition.run.id
            self._batch.add_run(id, is_new=False, is_asked_for=id in self._asked_for)
            self._grew()

    def touched(self, runs: Sequence[RunId]) -> None:
        if self._is_on and runs:
            for id in runs:
                self._batch.add_run(id, is_new=False, is_asked_for=id in self._asked_for)
            self._grew()

    def functions_changed(self) -> None:
        if self._is_on:
            self._batch.has_functions = True
            self._grew()

    def doubted(self) -> None:
        if self._is_on:
            self._batch.is_doubtful = self._batch.has_functions = True
            self._grew()

    def _grew(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            delay_s = max(_SOON_S, self._closed_at + STREAM_PACE_S - loop.time())
            self._timer = loop.call_later(delay_s, self._close_batch)

    def _close_batch(self) -> None:
        self._timer = None
        self._closed_at = asyncio.get_running_loop().time()
        batch, self._batch = self._batch, Batch()
        if batch.is_empty:
            return
        self._last += 1
        self._kept.append(batch)
        self._wake()

    def _wake(self) -> None:
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    # -- pages --------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Tell whether as many pages are open as may be."""
        return self.page_count >= STREAMS_MAX

    def join(self, topics: Topics, cursor: str | None = None) -> Page:
        """Take up a page, at the place where it was or, without a cursor, from now on. It must ``leave``."""
        self.page_count += 1
        self._is_on = True
        if self._turning_off is not None:
            self._turning_off.cancel()
            self._turning_off = None
        for id in topics.run_ids:
            self._asked_for[id] = self._asked_for.get(id, 0) + 1
        return Page(self, topics, self._last if cursor is None else self._place_of(cursor))

    def leave(self, topics: Topics) -> None:
        """Forget a page."""
        self.page_count -= 1
        for id in topics.run_ids:
            self._asked_for[id] -= 1
            if not self._asked_for[id]:
                del self._asked_for[id]
        if not self.page_count:
            self._turning_off = asyncio.get_running_loop().call_later(STREAM_LINGER_S, self._turn_off)

    def _turn_off(self) -> None:
        self._turning_off = None
        self._is_on = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._batch = Batch()
        self._begin_anew()

    def close(self) -> None:
        """Let all pages go: the server stops."""
        self.is_closed = True
        self._wake()
        for timer in (self._timer, self._turning_off):
            if timer is not None:
                timer.cancel()

    def cursor(self, place: int) -> str:
        """Return what a page that comes back says of its place."""
        return f"{self._name}-{place}"

    def _place_of(self, cursor: str) -> int | None:
        name, _, number = cursor.partition("-")
        if name != self._name or not (number.isdecimal() and number.isascii()):
            return None
        place = int(number)
        return place if place <= self._last else None

    def since(self, place: int | None) -> tuple[int, list[Batch] | None]:
        """Return the newest place, and what came after another; None where that is gone."""
        if place is None or self._last - place > len(self._kept):
            return self._last, None
        count = self._last - place
        return self._last, [self._kept[index] for index in range(len(self._kept) - count, len(self._kept))]

    async def more(self) -> None:
        """Wait until a batch is closed, or the hub."""
        if self.is_closed:
            return
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._next)


class Page:
    """A page that is open, and its place."""

    def __init__(self, hub: Hub, topics: Topics, place: int | None) -> None:
        self._hub, self._topics, self._place = hub, topics, place

    @property
    def cursor(self) -> str:
        """Where it is: at the end, where its place is gone."""
        return self._hub.cursor(self._hub.since(self._place)[0] if self._place is None else self._place)

    async def next(self) -> Heard | None:
        """Wait for what the page hears next; None when it hears no more, since the server stops."""
        while not self._hub.is_closed:
            self._place, batches = self._hub.since(self._place)
            if batches is None:
                return Heard(self.cursor, None)
            changes = told(batches, self._topics) if batches else None
            if changes is not None:
                return Heard(self.cursor, changes)
            await self._hub.more()
        return None

    def leave(self) -> None:
        """Hear no more."""
        self._hub.leave(self._topics)
