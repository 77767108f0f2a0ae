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
from stepwell.store.interface import Fenced, Request, Result

Outcome: TypeAlias = Result | StoreError
_Waiting: TypeAlias = tuple[Request, "asyncio.Future[Result]"]

log = structlog.get_logger("stepwell.store")


class Outage:
    """Whether the database can be used, as last seen: one line in the log when that changes."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._since = 0.0

    def saw(self, error: StoreUnavailable) -> None:
        """Note that the database could not be used."""
        if self.reason is None:
            self._since = time.monotonic()
            log.error("database.unavailable", error=str(error), hint="what was accepted is safe; trying again")
        self.reason = str(error)

    def over(self) -> None:
        """Note that the database was used."""
        if self.reason is not None:
            self.reason = None
            log.warning("database.available", after_s=round(time.monotonic() - self._since, 1))


class GroupCommit:
    """Feeds batches of requests to ``write``, one at a time, on a thread of its own.

    ``write`` runs one transaction: it returns a result for each request, or raises and has written nothing. With
    ``is_threaded`` false it runs on the event loop: simulations use it, since they own the order of everything.
    """

    def __init__(self, write: Callable[[Sequence[Request]], list[Result]], *, is_threaded: bool = True) -> None:
        self._write: Final = write
        self._is_threaded: Final = is_threaded
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()  # None: it is closed
        self._is_closed = False
        self._is_scheduled = False
        self._outage = Outage()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

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
            batch = self._take()
            deliver(batch, self._commit([request for request, _ in batch]), self._outage)

    def _take(self) -> list[_Waiting]:
        """Return what waits now, at least one request; nothing once it is closed."""
        batch: list[_Waiting] = []
        with suppress(Empty):
            waiting = self._waiting.get()
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
        while batch := self._take():
            outcomes = self._commit([request for request, _ in batch])
            self._loop.call_soon_threadsafe(deliver, batch, outcomes, self._outage)

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
    must say whether the database can be used.
    """

    def __init__(self, write: Callable[[int, Sequence[Request]], Awaitable[list[Result]]], writer_count: int) -> None:
        self._write: Final = write
        self._writer_count: Final = writer_count
        self._waiting: deque[_Waiting] = deque()
        self._idle: list[asyncio.Future[None]] = []
        self._writers: list[asyncio.Task[None]] = []
        self._is_closed = False
        self.outage = Outage()

    def start(self) -> None:
        """Start the writers on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._writers = [self._loop.create_task(self._run(number)) for number in range(self._writer_count)]

    async def stop(self) -> None:
        """Commit what waits, then take no more."""
        self._is_closed = True
        for idle in self._idle:
            if not idle.done():
                idle.set_result(None)
        if self._writers:
            await asyncio.wait(self._writers)

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """Queue a request. The future gets its result, or ``StoreError``. Raises ``StoreClosed`` after ``stop``."""
        if self._is_closed or not self._writers:
            raise StoreClosed("the store is closed")
        future: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append((request, future))
        if self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
        return future

    async def _run(self, number: int) -> None:
        while True:
            while not self._waiting:
                if self._is_closed:
                    return
                idle = self._loop.create_future()
                self._idle.append(idle)
                await idle
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), COMMIT_BATCH_MAX))]
            outcomes = await self._commit(number, [request for request, _ in batch])
            deliver(batch, outcomes, self.outage)

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


def deliver(batch: Sequence[_Waiting], outcomes: Sequence[Outcome], outage: Outage) -> None:
    """Hand results over: first to each request's ``done``, then to whoever awaits it."""
    for (request, future), outcome in zip(batch, outcomes, strict=True):
        if isinstance(outcome, StoreError):
            if isinstance(outcome, StoreUnavailable):
                outage.saw(outcome)
            if not future.done():
                future.set_exception(outcome)
            continue
        outage.over()
        if request.done is not None:
            _hand_over(request.done, outcome)
        if not future.done():
            future.set_result(outcome)


def _hand_over(done: Callable[[Result], None], result: Result) -> None:
    """Call a request's ``done``. A bug in it is reported, and must not keep the rest of the batch waiting."""
    try:
        done(result)
    except Exception as error:  # noqa: BLE001
        message = "a committed request could not be handed over"
        asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})
