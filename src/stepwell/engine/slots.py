"""How much may be under way: one count for each lane, which is an app, or what needs no app (timers, fetches).

A slot is reserved before a job is leased and given back when its reply is committed, or passed on to the follow-up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Slots:
    """What is under way at this replica. A slow app fills its own slots and delays no other.

    ``freed`` is told of each lane that has room again; ``limits`` are those of lanes that have another than ``limit``.
    """

    def __init__(self, limit: int, freed: Callable[[str], None], limits: Mapping[str, int] | None = None) -> None:
        self.limit = limit
        self._freed = freed
        self._limits = dict(limits or {})
        self._used: dict[str, int] = {}

    @property
    def used(self) -> int:
        """Return how many slots are taken, over all lanes."""
        return sum(self._used.values())

    def close(self) -> None:
        """Give out no more slots."""
        self.limit = 0
        self._limits.clear()

    def free(self, lane: str) -> int:
        """Return how many more calls may go out."""
        return max(0, self._limits.get(lane, self.limit) - self._used.get(lane, 0))

    def reserve(self, lane: str, count: int = 1) -> bool:
        """Take slots, all or none."""
        used = self._used.get(lane, 0)
        if used + count > self._limits.get(lane, self.limit):
            return False
        self._used[lane] = used + count
        return True

    def release(self, lane: str, count: int = 1) -> None:
        """Give slots back."""
        left = self._used[lane] - count
        assert left >= 0, "a slot was given back twice"
        if left:
            self._used[lane] = left
        else:
            del self._used[lane]
        self._freed(lane)
