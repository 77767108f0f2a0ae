"""Waiting for runs to end: those of this replica say so at once; for the others one look is made for all who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from stepwell.errors import StoreError
from stepwell.limits import ENDPOINT_LOOK_S
from stepwell.protocol.ids import RunId

log = structlog.get_logger("stepwell.endings")


class Endings:
    """Those who wait for ends of runs. ``ended`` tells which of some runs have ended, by the database."""

    def __init__(
        self, ended: Callable[[Collection[RunId]], Awaitable[Collection[RunId]]], *, look_s: float = ENDPOINT_LOOK_S
    ) -> None:
        self._ended, self._look_s = ended, look_s
        self._waiting: dict[RunId, list[asyncio.Future[None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    def tell(self, run_id: RunId) -> None:
        """Note that a run has ended."""
        for waiter in self._waiting.pop(run_id, ()):
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self, run_id: RunId, timeout_s: float) -> bool:
        """Wait until a run has ended. False when it hasn't after ``timeout_s``.

        Whoever wants to know looks whether it has ended after this began: an end just before it is seen late.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(run_id, []).append(waiter)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(timeout_s):
                await waiter
        except TimeoutError:
            return False
        finally:
            waiters = self._waiting.get(run_id, [])
            if waiter in waiters:
                waiters.remove(waiter)
                if not waiters:
                    del self._waiting[run_id]
        return True

    async def _look(self) -> None:
        try:
            while True:
                await asyncio.sleep(self._look_s)
                if not self._waiting:
                    return
                try:
                    ended = await self._ended(list(self._waiting))
                except StoreError as error:  # the next look sees the same
                    log.debug("endings.not_seen", error=str(error))
                    continue
                for run_id in ended:
                    self.tell(run_id)
        finally:
            self._looking = None

    async def stop(self) -> None:
        """Look no more."""
        looking = self._looking
        if looking is not None:
            looking.cancel()
            await asyncio.wait([looking])
