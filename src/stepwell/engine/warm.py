"""The runs in memory: what makes a sequential run cost no read of the database. Never needed to be right."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from stepwell.engine.core.model import Job
from stepwell.engine.core.state import RunState
from stepwell.limits import MIB
from stepwell.protocol.ids import RunId

_WARM_RUNS_MAX: Final = 5_000
_WARM_BYTES_MAX: Final = 24 * MIB


class LiveRun:
    """A run in memory: its state, the lock that puts its replies in sequence, and how many tasks use it."""

    __slots__ = ("following", "lock", "state", "users")

    def __init__(self, state: RunState) -> None:
        self.state = state
        self.lock = asyncio.Lock()
        self.users = 0
        self.following: Job | None = None
        """The leased job that the task which holds the lock goes on with."""


class WarmRuns:
    """The runs in memory: those in use, and of the others the latest, within bounds. Never needed to be right.

    A state is used only when its version is the one that the database names.
    """

    def __init__(self) -> None:
        self._runs: OrderedDict[RunId, LiveRun] = OrderedDict()
        self._bytes = 0

    def get(self, id: RunId, version: int | None = None) -> LiveRun | None:
        """Return a run, if it is here and, with ``version``, at that version."""
        live = self._runs.get(id)
        if live is None or (version is not None and live.state.run.version != version):
            return None
        self._runs.move_to_end(id)
        return live

    def put(self, state: RunState) -> LiveRun:
        """Keep a state, if its run isn't here already."""
        live = self._runs.get(state.run.id)
        if live is None:
            live = self._runs[state.run.id] = LiveRun(state)
            self._bytes += state.size_bytes
            self._evict()
        return live

    def replace(self, live: LiveRun, state: RunState) -> None:
        """Give a run a newer state. Its lock must be held."""
        if self._runs.get(state.run.id) is live:
            self._bytes += state.size_bytes - live.state.size_bytes
        live.state = state

    def grew(self, live: LiveRun, by_bytes: int) -> None:
        """Note that a state holds more than before, if it is in here."""
        if self._runs.get(live.state.run.id) is live:
            self._bytes += by_bytes

    def drop(self, id: RunId) -> None:
        """Forget a run that has ended."""
        live = self._runs.pop(id, None)
        if live is not None:
            self._bytes -= live.state.size_bytes

    def _evict(self) -> None:
        if len(self._runs) <= _WARM_RUNS_MAX and self._bytes <= _WARM_BYTES_MAX:
            return
        for id in list(self._runs):
            if self._runs[id].users == 0:
                self.drop(id)
                if len(self._runs) <= _WARM_RUNS_MAX * 3 // 4 and self._bytes <= _WARM_BYTES_MAX * 3 // 4:
                    return
