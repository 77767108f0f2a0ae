"""Collects what changes while pages are open, and hands it to each of them at its own pace.

What happens is noted in a batch. Batches are closed at most every ``STREAM_PACE_S``, and soon after a silence; they get
numbers, and the newest are kept. A page is only a place among these numbers: it takes what came after it, all in one
message. So a page that reads slowly costs no memory, one that comes back goes on at its place, and one whose place is
gone is told to read everything again.

Replicas tell each other what their pages ask for (``Viewing``), and only what is asked for is told (``Changed``). While
no page is open here, none has left just now, and no other replica has one, nothing is noted. When it is noted again, the
numbers begin anew under another name.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

from stepwell.engine.core.model import Function, Intake, LogLine, Transition
from stepwell.engine.watch import NoWatcher
from stepwell.errors import StoreError
from stepwell.limits import (
    STREAM_KEPT_BYTES_MAX,
    STREAM_KEPT_MAX,
    STREAM_LINES_SEEN_MAX,
    STREAM_LINGER_S,
    STREAM_PACE_S,
    STREAM_POLL_S,
    STREAMS_MAX,
    VIEWED_RUNS_MAX,
    VIEWING_KEPT_S,
    VIEWING_S,
)
from stepwell.protocol.ids import LogId, ReplicaId, RunId
from stepwell.server.live.changes import Batch, Told, Topics, Wanted, told, told_to_others, wanted
from stepwell.server.live.others import Others
from stepwell.store.news import Changed, News, Viewing
from stepwell.store.request import Result

_SOON_S: Final = 0.01  # what comes together with the first change after a silence


class Heard:
    """What a page hears next: where it is then, and what it is told; None where its place is gone.

    Pages with the same topics at the same place hear the same thing. Whoever writes it down first keeps it in ``text``.
    """

    __slots__ = ("cursor", "text", "told")

    def __init__(self, cursor: str, told: Told | None) -> None:
        self.cursor, self.told = cursor, told
        self.text: bytes | None = None


class Hub(NoWatcher):
    """Watches the engine for pages. Everything is called on the event loop."""

    def __init__(self) -> None:
        self.is_closed = False
        self._others: Others | None = None
        self._is_on = False
        """Whether anybody wants to hear anything: all that it costs while nobody does is to look at this."""
        self._pages: Counter[Topics] = Counter()
        self._wanted = Wanted()
        self._views: dict[ReplicaId, tuple[Viewing, float]] = {}
        """What pages at other replicas ask for, each with when that ends."""
        self._own, self._foreign = Batch(), Batch()
        """What has changed since the batches before, here and elsewhere."""
        self._name = secrets.token_hex(4)
        self._last = 0
        """The number of the newest batch."""
        self._kept: deque[Batch] = deque()
        self._kept_bytes = 0
        self._heard: dict[tuple[int, Topics], Heard | None] = {}
        """What pages hear that are at some place, since the newest batch."""
        self._closed_at = self._told_at = float("-inf")
        self._closing: asyncio.TimerHandle | None = None
        self._tending: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._next: asyncio.Future[None] | None = None
        self._seen: dict[LogId, None] = {}
        """The latest lines that were noted: those that other replicas stored are read more than once."""
        self._to_read: set[RunId | None] = set()
        """Runs that have lines which other replicas stored; None stands for all."""
        self._read_at: dict[RunId | None, int] = {}
        """When their lines were read before."""
        self._reading: asyncio.Task[None] | None = None

    def meet(self, others: Others) -> None:
        """Tell other replicas, from now on, what there is to tell them."""
        self._others = others

    @property
    def page_count(self) -> int:
        """Return how many pages are open."""
        return self._pages.total()

    @property
    def is_full(self) -> bool:
        """Tell whether as many pages are open as may be."""
        return self.page_count >= STREAMS_MAX

    # -- what happens -------------------------------------------------------------------------------------------

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        if not self._is_on:
            return
        self._own.add_event(intake.event.id)
        for start in intake.starts:
            id = start.run.id
            if id not in result.gathered:
                self._own.add_run(id, self._wanted, is_new=True)
        self._grew()

    def changed(self, transition: Transition, function: Function) -> None:
        if self._is_on:
            self._own.add_run(transition.run.id, self._wanted)
            self._grew()

    def touched(self, runs: Sequence[RunId]) -> None:
        if self._is_on and runs:
            for id in runs:
                self._own.add_run(id, self._wanted)
            self._grew()

    def logged(self, lines: Sequence[LogLine]) -> None:
        if self._is_on:
            self._note_lines(self._own, lines)
            self._grew()

    def functions_changed(self) -> None:
        if self._is_on:  # other replicas notice by themselves
            self._foreign.has_functions = True
            self._grew()

    def doubted(self) -> None:
        if self._is_on:
            self._own.is_doubtful = True
            self._grew()

    def heard(self, news: News) -> None:
        if news.viewing is not None and news.by is not None:
            self._view(news.by, news.viewing)
        if not self._is_on:
            return
        if news.is_new and self._pages:
            self._tell_viewing()
        if news.is_left or news.is_new:
            self._doubt_others()
        if news.changed is not None:
            self._note(news.changed)
            self._grew()

    def _view(self, by: ReplicaId, view: Viewing) -> None:
        """Tell, from now on, what pages of another replica want to hear. What they missed before they read again."""
        before = self._views.get(by)
        self._views[by] = (view, _now() + VIEWING_KEPT_S)
        self._settle()
        if self._others is not None and not (before is not None and before[0].has_all_of(view)):
            self._others.tell(News({}, changed=Changed(is_doubtful=True, to=by)))

    def _note(self, changed: Changed) -> None:
        for ids, is_new in ((changed.new_runs, True), (changed.runs, False)):
            for id in ids:
                self._foreign.add_run(id, self._wanted, is_new=is_new)
        for id in changed.events:
            self._foreign.add_event(id)
        self._foreign.has_more_runs |= changed.has_more_runs
        self._foreign.has_more_events |= changed.has_more_events
        self._foreign.is_doubtful |= changed.is_doubtful
        if changed.logged or changed.has_more_lines:
            self._read_soon(changed)

    def _doubt_others(self) -> None:
        self._foreign.is_doubtful = True
        self._grew()

    # -- lines --------------------------------------------------------------------------------------------------

    def _note_lines(self, batch: Batch, lines: Sequence[LogLine]) -> None:
        for line in lines:
            if line.id not in self._seen:
                self._seen[line.id] = None
                batch.add_line(line, self._wanted)
        while len(self._seen) > STREAM_LINES_SEEN_MAX:
            del self._seen[next(iter(self._seen))]

    def _read_soon(self, changed: Changed) -> None:
        """Read the lines that another replica has stored, as far as pages here ask for them."""
        if self._wanted.has_logs:
            self._to_read.add(None)
        ids = self._wanted.log_run_ids
        self._to_read |= ids if changed.has_more_lines else ids.intersection(changed.logged)
        if self._to_read and self._reading is None:
            self._reading = asyncio.get_running_loop().create_task(self._read_lines())

    async def _read_lines(self) -> None:
        try:
            while self._to_read and self._others is not None and not self.is_closed:
                run_id = self._to_read.pop()
                now = self._others.now()
                try:
                    lines, has_more = await self._others.read_lines(run_id, self._read_at.get(run_id, now))
                except StoreError:
                    self._doubt_others()
                    continue
                self._read_at[run_id] = now
                self._note_lines(self._foreign, lines)
                if has_more and run_id is None:
                    self._foreign.has_more_lines = True
                elif has_more and run_id is not None:
                    self._foreign.logged[run_id] = False
                self._grew()
        finally:
            self._reading = None

    # -- batches ------------------------------------------------------------------------------------------------

    def _grew(self) -> None:
        if self._closing is None:
            delay_s = max(_SOON_S, self._closed_at + STREAM_PACE_S - _now())
            self._closing = asyncio.get_running_loop().call_later(delay_s, self._close_batches)

    def _close_batches(self) -> None:
        self._closing, self._closed_at = None, _now()
        batches = (self._own, self._foreign)
        self._own, self._foreign = Batch(), Batch()
        self._heard.clear()
        self._tell_changed(batches[0])
        for batch in batches:
            if not batch.is_empty:
                self._last += 1
                self._kept.append(batch)
                self._kept_bytes += batch.line_bytes
        while len(self._kept) > STREAM_KEPT_MAX or self._kept_bytes > STREAM_KEPT_BYTES_MAX:
            self._kept_bytes -= self._kept.popleft().line_bytes
        self._wake()

    def _wake(self) -> None:
        if self._next is not None:
            self._next.set_result(None)
            self._next = None

    # -- other replicas -----------------------------------------------------------------------------------------

    def _tell_changed(self, batch: Batch) -> None:
        if not self._views or self._others is None:
            return
        expired = [by for by, (_, until) in self._views.items() if until < _now()]
        for by in expired:
            del self._views[by]
        if expired:
            self._settle()
        changed = told_to_others(batch, [view for view, _ in self._views.values()])
        if changed is not None:
            self._others.tell(News({}, changed=changed))

    def _tell_viewing(self) -> None:
        self._told_at = _now()
        if self._others is None:
            return
        mine = wanted(self._pages, ())
        has_all_runs = len(mine.run_ids) > VIEWED_RUNS_MAX
        has_all_logs = len(mine.log_run_ids) > VIEWED_RUNS_MAX
        view = Viewing(
            runs=has_all_runs or any(topics.runs for topics in self._pages),
            events=any(topics.events for topics in self._pages),
            logs=has_all_logs or mine.has_logs,
            run_ids=() if has_all_runs else list(mine.run_ids),
            log_run_ids=() if has_all_logs else list(mine.log_run_ids),
        )
        self._others.tell(News({}, viewing=view))

    def _tend(self) -> None:
        """While pages are open, tell others of them; where nothing is heard of the others, anything may have changed."""
        self._tending = asyncio.get_running_loop().call_later(STREAM_POLL_S, self._tend)
        if self._others is not None and self._others.is_deaf:
            self._doubt_others()
        elif _now() - self._told_at >= VIEWING_S:
            self._tell_viewing()

    # -- pages --------------------------------------------------------------------------------------------------

    def join(self, topics: Topics, cursor: str | None = None) -> Page:
        """Take up a page, at the place where it was or, without a cursor, from now on. It must ``leave``."""
        place = self._last if cursor is None else self._place_of(cursor)
        self._pages[topics] += 1
        self._settle()
        if self._pages[topics] == 1:
            self._tell_viewing()
        return Page(self, topics, place)

    def leave(self, topics: Topics) -> None:
        """Forget a page."""
        self._pages -= Counter((topics,))
        self._settle()

    def _settle(self) -> None:
        """Begin or stop to note, as there are pages or none."""
        self._wanted = wanted(self._pages, [view for view, _ in self._views.values()])
        self._read_at = {id: at for id, at in self._read_at.items() if id in self._wanted.log_run_ids or id is None}
        if self._pages:
            self._lingering = _cancelled(self._lingering)
            if self._tending is None:
                self._tend()
        elif self._tending is not None:
            self._tending = _cancelled(self._tending)
            if not self.is_closed:
                self._lingering = asyncio.get_running_loop().call_later(STREAM_LINGER_S, self._linger_no_more)
        is_on = bool(self._pages or self._views or self._lingering)
        if self._is_on and not is_on:
            self._closing = _cancelled(self._closing)
            self._own, self._foreign = Batch(), Batch()
            self._kept.clear()
            self._kept_bytes = 0
            self._heard.clear()
            self._seen.clear()
            self._name, self._last = secrets.token_hex(4), 0
        self._is_on = is_on

    def _linger_no_more(self) -> None:
        self._lingering = None
        self._settle()

    def close(self) -> None:
        """Let all pages go: the server stops."""
        self.is_closed = True
        self._wake()
        self._closing, self._lingering = _cancelled(self._closing), _cancelled(self._lingering)
        self._tending = _cancelled(self._tending)
        self._is_on = False
        if self._reading is not None:
            self._reading.cancel()

    def cursor(self, place: int) -> str:
        """Return what a page that comes back says of its place."""
        return f"{self._name}-{place}"

    def _place_of(self, cursor: str) -> int | None:
        name, _, number = cursor.partition("-")
        if name != self._name or not (number.isdecimal() and number.isascii() and len(number) < 20):
            return None
        place = int(number)
        return place if place <= self._last else None

    @property
    def last(self) -> int:
        """Return the newest place."""
        return self._last

    def hear(self, place: int | None, topics: Topics) -> Heard | None:
        """Return what a page hears that is at some place; None when it is nothing."""
        if place == self._last:
            return None
        if place is None or self._last - place > len(self._kept):
            return Heard(self.cursor(self._last), None)
        key = (place, topics)
        if key not in self._heard:
            first = len(self._kept) - (self._last - place)
            message = told([self._kept[index] for index in range(first, len(self._kept))], topics)
            self._heard[key] = Heard(self.cursor(self._last), message) if message is not None else None
        return self._heard[key]

    async def more(self) -> None:
        """Wait until batches are closed, or the hub."""
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
        """Where it is; where its place is gone, the newest."""
        return self._hub.cursor(self._hub.last if self._place is None else self._place)

    async def next(self) -> Heard | None:
        """Wait for what the page hears next; None when it hears no more, since the server stops."""
        while not self._hub.is_closed:
            heard, self._place = self._hub.hear(self._place, self._topics), self._hub.last
            if heard is not None:
                return heard
            await self._hub.more()
        return None

    def leave(self) -> None:
        """Hear no more."""
        self._hub.leave(self._topics)


def _now() -> float:
    return asyncio.get_running_loop().time()


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    """Cancel a timer, if there is one."""
    if timer is not None:
        timer.cancel()
