"""Group commit: whatever waits while the writer is busy is committed together, in one transaction.

A batch that fails is rolled back and tried again in halves until the offender is alone, and only it fails: a savepoint
for each member would cost far more than the rare second try.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from stepwell.errors import StoreClosed, StoreError
from stepwell.limits import COMMIT_BATCH_MAX
from stepwell.store.interface import Request, Result

Outcome = Result | StoreError
_Waiting = tuple[Request, "asyncio.Future[Result]"]


class GroupCommit:
    """Feeds batches of requests to ``write``, one at a time, on a thread of its own.

    ``write`` runs one transaction: it returns a result for each request, or raises and has written nothing. With
    ``is_threaded`` false it runs on the event loop: simulations use it, since they own the order of everything.
    """

    def __init__(self, write: Callable[[Sequence[Request]], list[Result]], *, is_threaded: bool = True) -> None:
        self._write: Final = write
        self._is_threaded: Final = is_threaded
        self._waiting: deque[_Waiting] = deque()
        self._wakes = threading.Condition()
        self._is_closed = False
        self._is_scheduled = False
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the writer on the running loop."""
        self._loop = asyncio.get_running_loop()
        if self._is_threaded:
            self._thread = threading.Thread(target=self._run, name="stepwell-writer", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Commit what waits, then take no more."""
        with self._wakes:
            self._is_closed = True
            self._wakes.notify()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        elif self._waiting:
            self._flush()

    def submit(self, request: Request) -> asyncio.Future[Result]:
        """Queue a request. The future gets its result, or ``StoreError``. Raises ``StoreClosed`` after ``stop``."""
        if self._is_closed or self._loop is None:
            raise StoreClosed("the store is closed")
        future: asyncio.Future[Result] = self._loop.create_future()
        if self._is_threaded:
            with self._wakes:
                self._waiting.append((request, future))
                self._wakes.notify()
        else:
            self._waiting.append((request, future))
            if not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        self._is_scheduled = False
        batch = list(self._waiting)
        self._waiting.clear()
        self._deliver(batch, self._commit([request for request, _ in batch]))

    def _run(self) -> None:
        assert self._loop is not None
        while True:
            with self._wakes:
                while not self._waiting:
                    if self._is_closed:
                        return
                    self._wakes.wait()
                batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), COMMIT_BATCH_MAX))]
            outcomes = self._commit([request for request, _ in batch])
            self._loop.call_soon_threadsafe(self._deliver, batch, outcomes)

    def _commit(self, requests: Sequence[Request]) -> list[Outcome]:
        try:
            return list(self._write(requests))
        except StoreError as error:
            if len(requests) == 1:
                return [error]
        except Exception as error:  # noqa: BLE001 - one bad request must not take the others with it
            if len(requests) == 1:
                failure = StoreError(f"the database refused {type(requests[0]).__name__}: {error}")
                failure.__cause__ = error
                return [failure]
        middle = len(requests) // 2
        return self._commit(requests[:middle]) + self._commit(requests[middle:])

    def _deliver(self, batch: Sequence[_Waiting], outcomes: Sequence[Outcome]) -> None:
        for (request, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, StoreError):
                if not future.done():
                    future.set_exception(outcome)
                continue
            if request.done is not None:
                self._hand_over(request.done, outcome)
            if not future.done():
                future.set_result(outcome)

    def _hand_over(self, done: Callable[[Result], None], result: Result) -> None:
        """Call a request's ``done``. A bug in it is reported, and must not keep the rest of the batch waiting."""
        assert self._loop is not None
        try:
            done(result)
        except Exception as error:  # noqa: BLE001
            message = "a committed request could not be handed over"
            self._loop.call_exception_handler({"message": message, "exception": error})
