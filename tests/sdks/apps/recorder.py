"""What the Python apps have in common: a record of what they executed, and a way to be controlled by tests.

All apps of this folder and of ``ts/`` serve the same functions, app ``shop``; the tests say what must come of each. A step's work is ``WORK.step(…)``: it records that it ran, and fails as often as it is told to.

    steps        a, then b with a's result, then twice "again"           catch        step fails for good, is caught
    parallel     three steps at once, one fails first, then a join       broken       fails; has an on-failure handler
    mixed        a step, a sleep and a branch of two steps at once       final        may not be tried again
    race         one branch goes on while the other still sleeps         final-step   the same, thrown in a step
    nap          sleeps for and until what its event says                later        says when to be tried again
    flaky        step fails twice, then succeeds                         tell, told   sends two events from a step
    fan-a b c    three functions of one event; b fails first             large        if event.data.amount > 100
    echo         returns its event's data by a step                      any          wild.*
    heavy        results of more than 4 MB in all                        either       two events
    tick         every minute

Those of ``*_waits``, ``*_groups`` and ``*_flow`` come on top, where an SDK has what they try (``Sdk.has``).

A second app, ``moving``, has other functions each time that POST /turn/{variant} says so (``first``, ``second``).

    GET /log?run=ID      what ran: [{run, step, attempt, value, at}], ``at`` in Unix ms
    POST /send           sends the events of the body by the SDK's own client
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

Json = Any
VARIANTS: Final = ("first", "second")
HEAVY_CHARS: Final = 1_500_000
HEAVY_STEPS: Final = 3


@dataclass
class _Room:
    inside: int = 0
    most: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class Recorder:
    """Everything that this process has executed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: list[dict[str, Json]] = []
        self._rooms: dict[str, _Room] = {}

    def add(self, run: str, step: str, attempt: int, value: Json = None) -> int:
        """Record an execution; return how many there are of it by now."""
        entry = {"run": run, "step": step, "attempt": attempt, "value": value, "at": round(time.time() * 1000)}
        with self._lock:
            self._entries.append(entry)
            return sum(other["run"] == run and other["step"] == step for other in self._entries)

    def of_run(self, run: str | None) -> list[dict[str, Json]]:
        """Return the executions of a run, or all, in their order."""
        with self._lock:
            return [entry for entry in self._entries if run in (None, entry["run"])]

    async def meet(self, data: Json) -> int:
        """Enter a ``room``; wait, no longer than for ``ms``, until ``size`` have been in it at once; leave.

        Return the most there were.
        """
        room = self._rooms.setdefault(data["room"], _Room())
        async with room.changed:
            room.inside += 1
            room.most = max(room.most, room.inside)
            room.changed.notify_all()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(data["ms"] / 1000):
                    await room.changed.wait_for(lambda: room.most >= data["size"])
            room.inside -= 1
            return room.most

    def step(
        self,
        run: str,
        step: str,
        attempt: int,
        value: Json = None,
        *,
        failures: int = 0,
        error: Callable[[], Exception] = lambda: ValueError("not yet"),
    ) -> Callable[[], Json]:
        """Return a step's work: it records itself, raises the first ``failures`` times, then returns ``value``."""

        def work() -> Json:
            if self.add(run, step, attempt, value) <= failures:
                raise error()
            return value

        return work


WORK: Final = Recorder()
