"""An event loop with virtual time: it never waits, and a seed decides the order in which ready things happen."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any


class NothingLeft(Exception):
    """Everybody waits for something that will never happen."""


class NoRest(Exception):
    """So much has happened that it will never end."""


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Jumps to the next timer when nothing is ready, and shuffles what is."""

    _ready: Any  # asyncio's own: a deque of handles
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, chance: Random, *, turns_max: int = 1_000_000) -> None:
        super().__init__()
        self._chance = chance
        self._turns_left = turns_max
        self._at_s = 0.0

    def grant(self, turns: int) -> None:
        """Allow this many turns from now on."""
        self._turns_left = turns

    def time(self) -> float:
        return self._at_s

    def _run_once(self) -> None:
        self._turns_left -= 1
        if self._turns_left < 0:
            raise NoRest
        if self._ready:
            handles = list(self._ready)
            self._chance.shuffle(handles)
            self._ready.clear()
            self._ready.extend(handles)
        elif self._scheduled:
            self._at_s = max(self._at_s, self._scheduled[0].when())
        else:
            raise NothingLeft
        super()._run_once()  # pyright: ignore[reportAttributeAccessIssue] # asyncio's own
