"""Which partitions have work, and whose turn it is.

A partition is *ready* when it has a due job and room, *blocked* when it has a due job and a limit is full, or else it is due
at a time to come. The ready ones of a lane take turns, so that a flood in one delays the others by no more than one call.
Nothing here is needed to be right: a time that is too early costs one query, and none is ever too late.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush
from itertools import islice
from typing import Final, NamedTuple

_OLD_KEPT: Final = 64  # entries that are no longer needed, at least, before they are swept out


class Turn(NamedTuple):
    """A partition whose turn it is, and how many jobs it may have."""

    partition: str
    limit: int


class WaitingLine:
    """The partitions of this replica, as far as it knows. ``lane`` tells what a partition's jobs share slots with."""

    def __init__(self, lane: Callable[[str], str]) -> None:
        self._lane = lane
        self._due: dict[str, int] = {}
        self._ready: OrderedDict[str, OrderedDict[str, None]] = OrderedDict()
        """Of each lane that has some, whose turn it is next."""
        self._stands_in: dict[str, str] = {}
        """The lane of each ready partition."""
        self._future: list[tuple[int, str]] = []
        """A heap; what isn't in ``_due`` with the same time is old."""
        self._blocked: dict[str, frozenset[str]] = {}
        self._by_key: dict[str, set[str]] = {}
        """The blocked partitions of each full key."""
        self._apart: dict[str, None] = {}
        """Ready partitions that are a lane of their own: their function may only have to become known."""

    def notice(self, partition: str, due_at: int, now: int) -> bool:
        """Note that a partition has a job; tell whether it may be looked at earlier than was known."""
        known = self._due.get(partition)
        if known is not None and known <= due_at:
            return False
        self._due[partition] = due_at
        if partition in self._blocked:
            return False
        self._place(partition, due_at, now)
        return True

    def set(self, partition: str, due_at: int | None, now: int) -> None:
        """Note when a partition has work again, as a claim has seen it."""
        self._unready(partition)
        self._unblock(partition)
        if due_at is None:
            self._due.pop(partition, None)
            return
        self._due[partition] = due_at
        self._place(partition, due_at, now)

    def block(self, partition: str, due_at: int, keys: Iterable[str]) -> None:
        """Note that a partition has work and no room, until one of the keys has."""
        self._unready(partition)
        self._unblock(partition)
        self._due[partition] = due_at
        self._blocked[partition] = frozenset(keys)
        for key in self._blocked[partition]:
            self._by_key.setdefault(key, set()).add(partition)

    def room(self, keys: Iterable[str], now: int) -> bool:
        """Note that keys have room again; tell whether a partition waited for one."""
        freed = {partition for key in keys for partition in self._by_key.get(key, ())}
        for partition in sorted(freed, key=lambda partition: (self._due[partition], partition)):
            self._unblock(partition)
            self._place(partition, self._due[partition], now)
        return bool(freed)

    def recheck(self, now: int) -> None:
        """Look at all blocked partitions again: a limit may have changed, or word of room been lost."""
        self.room(list(self._by_key), now)

    def turns(self, free: Callable[[str], int], now: int, *, count_max: int, jobs_max: int) -> list[Turn]:
        """Return whose turn it is, within the free slots of their lanes; each goes to the end of its line.

        Lanes take turns, too, where ``count_max`` is too low for all.
        """
        self._promote(now)
        turns: list[Turn] = []
        for lane, ready in list(self._ready.items()):
            slots = free(lane)
            count = min(slots, count_max - len(turns))
            if count <= 0:
                continue
            chosen = list(islice(ready, count))
            share, more = divmod(slots, len(chosen))
            for partition in (*chosen[more:], *chosen[:more]):  # those that get one more now, get it last again
                ready.move_to_end(partition)
            self._ready.move_to_end(lane)
            turns += [
                Turn(partition, min(jobs_max, share + (number < more))) for number, partition in enumerate(chosen)
            ]
        return turns

    @property
    def is_empty(self) -> bool:
        """Tell that no partition is known to have work, now or later, but for what is blocked."""
        return not (self._ready or self._future)

    def others_wait(self, partition: str, now: int) -> bool:
        """Tell whether a partition of the same lane, other than this one, is ready."""
        self._promote(now)
        ready = self._ready.get(self._lane(partition))
        return (
            bool(ready)
            and (len(ready) > 1 or partition not in ready)
            and any(self._due[other] <= now for other in ready if other != partition)
        )

    def has_turn(self, free: Callable[[str], int], now: int) -> bool:
        """Tell whether something is ready that there is a slot for."""
        self._promote(now)
        return any(free(lane) > 0 for lane in self._ready)

    def is_ready(self, lane: str, now: int) -> bool:
        """Tell whether a lane has something that is ready."""
        self._promote(now)
        return lane in self._ready

    def is_idle(self, now: int) -> bool:
        """Tell that nothing is due now, but for what is blocked."""
        self._promote(now)
        return not self._ready

    def next_at(self) -> int | None:
        """Return when something comes to be due that isn't yet."""
        while self._future and self._is_old(*self._future[0]):
            heappop(self._future)
        return self._future[0][0] if self._future else None

    @property
    def blocked(self) -> Mapping[str, frozenset[str]]:
        """The partitions that have no room, and the keys that are full."""
        return self._blocked

    def _place(self, partition: str, due_at: int, now: int) -> None:
        if due_at <= now:
            lane = self._stands_in.setdefault(partition, self._lane(partition))
            self._ready.setdefault(lane, OrderedDict())[partition] = None
            if lane == partition:
                self._apart[partition] = None
        else:
            heappush(self._future, (due_at, partition))
            if len(self._future) > 2 * len(self._due) + _OLD_KEPT:
                # Each look at a partition that has a job far ahead leaves another entry for that.
                self._future = list({entry for entry in self._future if not self._is_old(*entry)})
                heapify(self._future)

    def _promote(self, now: int) -> None:
        """Bring all that is ready into the line in which it stands now."""
        for partition in [partition for partition in self._apart if self._lane(partition) != partition]:
            self._unready(partition)
            self._place(partition, self._due[partition], now)
        while self._future and self._future[0][0] <= now:
            due_at, partition = heappop(self._future)
            if not self._is_old(due_at, partition):
                self._place(partition, due_at, now)

    def _is_old(self, due_at: int, partition: str) -> bool:
        return self._due.get(partition) != due_at or partition in self._blocked

    def _unready(self, partition: str) -> None:
        lane = self._stands_in.pop(partition, None)
        if lane is None:
            return
        del self._ready[lane][partition]
        if not self._ready[lane]:
            del self._ready[lane]
        self._apart.pop(partition, None)

    def _unblock(self, partition: str) -> None:
        for key in self._blocked.pop(partition, ()):
            partitions = self._by_key[key]
            partitions.discard(partition)
            if not partitions:
                del self._by_key[key]
