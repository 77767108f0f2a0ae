"""What replicas tell each other: hints that save a wait, and what pages that are open at others want to hear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from stepwell.protocol.ids import (
    EventId,
    ReplicaId,
    RunId,
)


class Changed(NamedTuple):
    """What changed at one replica, for pages that are open at others."""

    new_runs: Sequence[RunId] = ()
    runs: Sequence[RunId] = ()
    """Others that changed."""
    events: Sequence[EventId] = ()
    logged: Sequence[RunId] = ()
    """Runs that have new log lines."""
    has_more_runs: bool = False
    has_more_events: bool = False
    has_more_lines: bool = False
    """There are more than are named."""
    is_doubtful: bool = False
    """Something changed of which nobody knows what."""
    to: ReplicaId | None = None
    """The one replica that this is for."""


class Viewing(NamedTuple):
    """What the pages want to hear that are open at one replica. It holds for some seconds."""

    runs: bool = False
    events: bool = False
    logs: bool = False
    run_ids: Sequence[RunId] = ()
    """Runs of which they want to hear in any case."""
    log_run_ids: Sequence[RunId] = ()
    """Runs of whose new log lines they want to hear in any case."""

    def has_all_of(self, other: Viewing) -> bool:
        """Tell whether whoever is told this is told all that another asks for."""
        return (
            self.runs >= other.runs
            and self.events >= other.events
            and self.logs >= other.logs
            and (self.runs or set(self.run_ids) >= set(other.run_ids))
            and (self.logs or set(self.log_run_ids) >= set(other.log_run_ids))
        )


class News(NamedTuple):
    """What one replica tells the others: hints that save them a wait, never needed for a result."""

    due: Mapping[str, int]
    """Partitions with work that the teller leaves to others, with its due time."""
    is_synced: bool = False
    """The functions changed."""
    is_left: bool = False
    """A replica left its work: look at all partitions."""
    room: tuple[str, ...] = ()
    """Concurrency keys that have room again."""
    is_new: bool = False
    """The teller has begun to listen: it doesn't know what the others view, and what it told before may be lost."""
    viewing: Viewing | None = None
    changed: Changed | None = None
    by: ReplicaId | None = None
    """Who tells it; the store says so."""
