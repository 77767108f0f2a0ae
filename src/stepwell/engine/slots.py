"""How many calls may be in flight: one count for each partition of the queue.

A slot is reserved before a job is leased and given back when its reply is committed, or passed on to the follow-up.
"""

from __future__ import annotations

from collections.abc import Callable


class Slots:
    """The calls in flight of this replica. A slow app fills its own slots and delays no other.

    ``freed`` is told of each partition that has room again.
    """

    def __init__(self, limit: int, freed: Callable[[str], None]) -> None:
        self.limit = limit
        self._freed = freed
        self._used: dict[str, int] = {}

    @property
    def used(self) -> int:
        """Return how many slots are taken, over all partitions."""
        return sum(self._used.values())

    def close(self) -> None:
        """Give out no more slots."""
        self.limit = 0

    def free(self, partition: str) -> int:
        """Return how many more calls may go out."""
        return max(0, self.limit - self._used.get(partition, 0))

    def reserve(self, partition: str, count: int = 1) -> bool:
        """Take slots, all or none."""
        used = self._used.get(partition, 0)
        if used + count > self.limit:
            return False
        self._used[partition] = used + count
        return True

    def release(self, partition: str, count: int = 1) -> None:
        """Give slots back."""
        left = self._used[partition] - count
        assert left >= 0, "a slot was given back twice"
        if left:
            self._used[partition] = left
        else:
            del self._used[partition]
        self._freed(partition)
