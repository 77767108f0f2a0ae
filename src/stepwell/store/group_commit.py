"""Group commit: whatever waits while a writer is busy is committed together, in one transaction.

A batch that fails is rolled back and tried again in halves until the offender is alone, and only it fails: a savepoint
for each member would cost far more than the rare second try. When the database can't be used at all, nothing is halved:
all of the batch fails with ``StoreUnavailable``.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias

import structlog

from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import COMMIT_BATCH_MAX
from stepwell.store.interface import Fenced
from stepwell.store.request import Request, Result

Outcome: TypeAlias = Result | StoreError
_Waiting: TypeAlias = tuple[Request, "asyncio.Future[Result]"]

log = structlog.get_logger("stepwell.store")


Observe: TypeAlias = Callable[[float, int], None]
"""Told of each transaction: its seconds, and how many requests it carried out."""

_QUIET_S: Final = 2.5  # longer than anybody pauses who was refused and tries again
_PROBE_S: Final = 3.0
_REST_S: Final = 5.0
_STOP_S: Final = 5.0


class NoRoom(StoreUnavailable):
    """The database has no connection left for this writer; those that have one may go on."""


class Outage:
    """Whether the database can be used, as last seen: one line in the log when that changes.

    A success ends an outage if it began after the last failure: what was under way before says nothing. A beat touches
    little, and may go through where nothing else does, since a table is locked or the disk is full; so it ends an outage
    of requests only when these have stopped coming. ``is_quiet`` tells whether none waits, nor is under way.
    """

    def __init__(self, is_quiet: Callable[[], bool]) -> None:
        self.reason: str | None = None
        self._is_quiet = is_quiet
        self._since = 0.0
        self._refused_at = self._missed_at = float("-inf")

    def saw(self, error: StoreUnavailable, *, is_beat: bool = False) -> None:
        """Note that the database could not be used."""
        now = time.monotonic()
        if self.reason is None:
            self._since = now
            log.error("database.unavailable", error=str(error), hint="what was accepted is safe; trying again")
        self.reason = str(error)
        if is_beat:
            self._missed_at = now
        else:
            self._refused_at = now

    def used(self, began_at: float, *, is_beat: bool = False) -> None:
        """Note that the database was used; ``began_at`` is of the monotonic clock."""
        if self.reason is None or began_at < max(self._refused_at, self._missed_at):
            return
        if is_beat and not (began_at - self._refused_at >= _QUIET_S and self._is_quiet()):
            return
        self.reason = None
        log.warning("database.available", after_s=round(time.monotonic() - self._since, 1))


class GroupCommit:
    """Feeds batches of requests to ``write``, one at a time, on a thread of its own.

    ``write`` runs one transaction: it returns a result for each request, or raises and has written nothing. With
    ``is_threaded`` false it runs on the event loop: simulations use it, since they own the order of everything.
    ``probe`` is written in an outage from time to time while there is nothing else to write: a server that nobody sends
    anything to, since it said that it isn't ready, must notice all the same that it is again.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Request]], list[Result]],
        *,
        is_threaded: bool = True,
        probe: Request | None = None,
    ) -> None:
        self._write: Final = write
        self._probe: Final = probe
        self._is_threaded: Final = is_threaded
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()  # None: it is closed
        self._is_closed = False
        self._is_scheduled = False
        self._outage = Outage(self._waiting.empty)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.observe: Observe = _unobserved

    @property
    def outage(self) -> str | None:
        """Why the database can't be written, as last seen."""
        return self._outage.reason

    def start(self) -> None:
        """Start the writer on the running loop."""
        self._loop = asyncio.get_running_loop()
        if self._is_threaded:
            self._thread = threading.Thread(target=self._run, name="stepwell-writer", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Commit what waits, then take no more."""
        self._is_closed = True
        if self._thread is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
        else:
            self._flush()

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """Queue a request. The future gets its result, or ``StoreError``. Raises ``StoreClosed`` after ``stop``."""
        if self._is_closed or self._loop is None:
            raise StoreClosed("the store is closed")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.put((request, future))
        if not self._is_threaded and not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._is_scheduled = False
        while not self._waiting.empty():
            batch, began_at = self._take(), time.monotonic()
            outcomes = self._commit([request for request, _ in batch])
            self._deliver(batch, outcomes, began_at, time.monotonic())

    def _take(self, within_s: float | None = None) -> list[_Waiting]:
        """Return what waits, at least one request; nothing once it is closed, or when nothing comes in time."""
        batch: list[_Waiting] = []
        with suppress(Empty):
            waiting = self._waiting.get(timeout=within_s)
            while waiting is not None:
                batch.append(waiting)
                if len(batch) == COMMIT_BATCH_MAX:
                    break
                waiting = self._waiting.get_nowait()
            if waiting is None:
                self._waiting.put(None)  # for the next look
        return batch

    def _run(self) -> None:
        assert self._loop is not None
        is_out = False
        while True:
            batch, began_at = self._take(_PROBE_S if is_out and self._probe is not None else None), time.monotonic()
            if batch:
                outcomes = self._commit([request for request, _ in batch])
                self._loop.call_soon_threadsafe(self._deliver, batch, outcomes, began_at, time.monotonic())
            elif self._is_closed or self._probe is None:
                return
            else:
                outcomes = self._commit([self._probe])
                self._loop.call_soon_threadsafe(self._probed, outcomes[0], began_at)
            is_out = isinstance(outcomes[-1], StoreUnavailable)

    def _deliver(
        self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome], began_at: float, ended_at: float
    ) -> None:
        deliver(batch, outcomes, self._outage, began_at)
        if isinstance(outcomes[-1], Result):
            self.observe(ended_at - began_at, len(batch))

    def _probed(self, outcome: Outcome, began_at: float) -> None:
        if isinstance(outcome, StoreUnavailable):
            self._outage.saw(outcome, is_beat=True)
        elif isinstance(outcome, Result):
            self._outage.used(began_at, is_beat=True)

    def _commit(self, requests: Sequence[Request]) -> list[Outcome]:
        try:
            return list(self._write(requests))
        except Exception as error:  # noqa: BLE001 - one bad request must not take the others with it
            failure = as_store_error(error, requests)
            if len(requests) == 1 or isinstance(failure, _WHOLE):
                return [type(failure)(*failure.args) for _ in requests] if len(requests) > 1 else [failure]
        middle = len(requests) // 2
        return self._commit(requests[:middle]) + self._commit(requests[middle:])


class ConcurrentGroupCommit:
    """Feeds batches of requests to several writers on the event loop, each of which has a transaction of its own.

    ``write(number, requests)`` runs one transaction on the connection of writer ``number``, or raises; what it raises
    must say whether the database can be used. With ``is_vital`` the requests are beats.
    """

    def __init__(
        self,
        write: Callable[[int, Sequence[Request]], Awaitable[list[Result]]],
        writer_count: int,
        outage: Outage,
        *,
        is_vital: bool = False,
    ) -> None:
        self._write: Final = write
        self._writer_count: Final = writer_count
        self._outage, self._is_vital = outage, is_vital
        self._waiting: deque[_Waiting] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._resting = 0
        self._writers: list[asyncio.Task[None]] = []
        self._is_closed = False
        self.observe: Observe = _unobserved

    @property
    def is_idle(self) -> bool:
        """Tell whether no request waits, and none is being committed."""
        return not self._waiting and len(self._idle) + self._resting == len(self._writers)

    def start(self) -> None:
        """Start the writers on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._closing: asyncio.Future[None] = self._loop.create_future()
        self._writers = [self._loop.create_task(self._run(number)) for number in range(self._writer_count)]

    async def stop(self) -> None:
        """Commit what waits, then take no more. What a database that doesn't answer holds up for long is given up.

        A second call does nothing.
        """
        if self._is_closed or not self._writers:
            self._is_closed = True
            return
        self._is_closed = True
        self._closing.set_result(None)
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        _, late = await asyncio.wait(self._writers, timeout=_STOP_S)
        for writer in late:
            writer.cancel()
        if late:
            await asyncio.wait(late)
        batch = list(self._waiting)
        self._waiting.clear()
        deliver(batch, _given_up(batch), self._outage, 0.0)

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """Queue a request. The future gets its result, or ``StoreError``. Raises ``StoreClosed`` after ``stop``."""
        if self._is_closed or not self._writers:
            raise StoreClosed("the store is closed")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((request, future))
        self._wake()
        return future

    def _wake(self) -> None:
        """Have another writer look at what waits, if one is idle."""
        if self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)

    async def _run(self, number: int) -> None:
        while True:
            while not self._waiting:
                if self._is_closed:
                    return
                idle = self._loop.create_future()
                self._idle.append(idle)
                await idle
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), COMMIT_BATCH_MAX))]
            began_at = time.monotonic()
            try:
                outcomes = await self._commit(number, [request for request, _ in batch])
            except asyncio.CancelledError:
                deliver(batch, _given_up(batch), self._outage, began_at)
                raise
            if self._resting + 1 < self._writer_count and all(isinstance(outcome, NoRoom) for outcome in outcomes):
                await self._rest(batch)
            else:
                took_s = time.monotonic() - began_at
                deliver(batch, outcomes, self._outage, began_at, is_beat=self._is_vital)
                if isinstance(outcomes[-1], Result):
                    self.observe(took_s, len(batch))

    async def _rest(self, batch: Sequence[_Waiting]) -> None:
        """Leave a batch to the writers that have a connection. Without this, one that has none would fail the next
        request as well: having failed soon, it is the first to be idle again.
        """
        self._waiting.extendleft(reversed(batch))
        self._wake()
        self._resting += 1
        try:
            await asyncio.wait([self._closing], timeout=_REST_S)
        finally:
            self._resting -= 1

    async def _commit(self, number: int, requests: Sequence[Request]) -> list[Outcome]:
        try:
            return list(await self._write(number, requests))
        except Exception as error:  # noqa: BLE001 - one bad request must not take the others with it
            failure = as_store_error(error, requests)
            if len(requests) == 1 or isinstance(failure, _WHOLE):
                return [type(failure)(*failure.args) for _ in requests] if len(requests) > 1 else [failure]
        middle = len(requests) // 2
        return await self._commit(number, requests[:middle]) + await self._commit(number, requests[middle:])


_WHOLE: Final = (StoreUnavailable, Fenced)
"""What fails whatever is in the batch."""


def as_store_error(error: Exception, requests: Sequence[Request]) -> StoreError:
    """Return what a driver raised as an error of the store."""
    if isinstance(error, StoreError):
        return error
    failure = StoreError(f"the database refused {type(requests[0]).__name__}: {error}")
    failure.__cause__ = error
    return failure


def _unobserved(_took_s: float, _request_count: int) -> None:
    pass


def _given_up(batch: Sequence[_Waiting]) -> list[Outcome]:
    return [StoreClosed("the store was closed before the database answered") for _ in batch]


def deliver(
    batch: Sequence[_Waiting], outcomes: Sequence[Outcome], outage: Outage, began_at: float, *, is_beat: bool = False
) -> None:
    """Hand results over: first to each request's ``done``, then to whoever awaits it."""
    was_used = False
    for (request, future), outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, StoreError):
            if isinstance(outcome, StoreUnavailable):
                outage.saw(outcome, is_beat=is_beat)
            if not future.done():
                future.set_exception(outcome)
            continue
        was_used = True
        if request.done is not None:
            _hand_over(request.done, outcome)
        if not future.done():
            future.set_result(outcome)
    if was_used:
        outage.used(began_at, is_beat=is_beat)


def _hand_over(done: Callable[[Result], None], result: Result) -> None:
    """Call a request's ``done``. A bug in it is reported, and must not keep the rest of the batch waiting."""
    try:
        done(result)
    except Exception as error:  # noqa: BLE001
        message = "a committed request could not be handed over"
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
