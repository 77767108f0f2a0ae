"""An event loop with virtual time: it never waits, and a seed decides the order in which ready things happen.

Callbacks and tasks belong to a process, by a context variable that they inherit from whoever started them. A process
can be paused, as by SIGSTOP: what becomes ready for it is held back until it goes on. One that is killed is held back
for ever: not even its clean-up runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any

process: contextvars.ContextVar[object | None] = contextvars.ContextVar("process", default=None)
"""The process that the running code belongs to; None is the world around them."""


class NothingLeft(Exception):
    """Everybody waits for something that will never happen."""


class NoRest(Exception):
    """So much has happened that it will never end."""


class SimulatedTask(asyncio.Task[Any]):
    """A task that hashes by its number: a set of tasks has the same order in each play of a seed."""

    def __init__(self, work: Coroutine[Any, Any, Any], *, number: int, **rest: Any) -> None:
        self._number = number
        self.owner = process.get()
        super().__init__(work, **rest)

    def __hash__(self) -> int:
        return self._number


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when nothing is ready, and shuffles what is."""

    _ready: Any  # asyncio's own: a deque of handles
    _scheduled: list[asyncio.TimerHandle]
    _timer_cancelled_count: int

    def __init__(self, chance: Random, *, turns_max: int = 1_000_000) -> None:
        super().__init__()
        self._chance = chance
        self._turns_left = turns_max
        self._at_s = 0.0
        self._numbers = itertools.count(1)
        self._held: dict[object, list[asyncio.Handle]] = {}
        """What is ready for processes that are paused, or dead."""
        self._ghosts: list[asyncio.Task[Any]] = []
        """Tasks of killed processes: they must not be collected, which would run their clean-up."""
        self.set_task_factory(self._make_task)

    def _make_task(self, _loop: asyncio.AbstractEventLoop, work: Any, **rest: Any) -> SimulatedTask:
        return SimulatedTask(work, number=next(self._numbers), loop=self, **rest)

    def grant(self, turns: int) -> None:
        """Allow this many turns from now on."""
        self._turns_left = turns

    def time(self) -> float:
        return self._at_s

    def run_as(self, owner: object | None, work: Callable[..., Any], *arguments: Any) -> Any:
        """Call something as a process does: what it starts belongs to that process."""
        context = contextvars.copy_context()
        context.run(process.set, owner)
        return context.run(work, *arguments)

    # -- processes ----------------------------------------------------------------------------------------------

    def pause(self, owner: object) -> None:
        """Hold back everything of a process, from the end of its running callback on."""
        self._held.setdefault(owner, [])

    def resume(self, owner: object) -> None:
        """Let a paused process go on: all that has become ready for it is ready now."""
        self._ready.extend(self._held.pop(owner, ()))

    def kill(self, owner: object) -> None:
        """End a process: none of its code runs again, until the world itself ends."""
        self.pause(owner)
        self._ghosts += [task for task in asyncio.all_tasks(self) if getattr(task, "owner", None) is owner]

    def resume_all(self) -> None:
        """Let everybody run, the dead too, so that all tasks can be ended."""
        for owner in list(self._held):
            self.resume(owner)

    def _may_run(self, handle: asyncio.Handle) -> bool:
        owner = handle._context.get(process)  # asyncio's own
        if owner in self._held:
            self._held[owner].append(handle)
            return False
        return True

    # -- turns --------------------------------------------------------------------------------------------------

    def _run_once(self) -> None:
        self._turns_left -= 1
        if self._turns_left < 0:
            raise NoRest
        self._take_timers()
        if not self._ready:
            if not self._scheduled:
                raise NothingLeft
            self._at_s = max(self._at_s, self._scheduled[0].when())
            self._take_timers()
        handles = list(self._ready)
        self._ready.clear()
        if self._held:
            handles = [handle for handle in handles if self._may_run(handle)]
        if len(handles) > 1:
            self._chance.shuffle(handles)
        for handle in handles:
            # Whoever ran before it in this turn may have cancelled it, or stopped its process.
            if not handle.cancelled() and (not self._held or self._may_run(handle)):
                handle._run()

    def _take_timers(self) -> None:
        """Make ready what is due, and forget what is cancelled, up to the next timer that counts."""
        timers = self._scheduled
        while timers and (timers[0].cancelled() or timers[0].when() <= self._at_s):
            timer = heapq.heappop(timers)
            timer._scheduled = False  # asyncio's own
            if timer.cancelled():
                self._timer_cancelled_count -= 1
            else:
                self._ready.append(timer)
