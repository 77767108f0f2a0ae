"""Fault points: each statement of each transaction, and each commit, of a small scene is made to fail in turn.

Chance finds what is likely. This finds the rest: a scene without other faults is played once for each point, and each
time all promises are checked, and that the runs end soon.
"""

from __future__ import annotations

import asyncio
import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from stepwell.errors import StoreUnavailable
from stepwell.store.request import CommitRequest, Request
from tests.simulation.app import Parallel, Program, Sleep, Step
from tests.simulation.database import Killed
from tests.simulation.faults import Faults
from tests.simulation.world import World, failure_handler

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.simulation.database import SimulatedStore

RECOVERY_S_MAX = 60.0
"""What a fault may cost at most: a take-over, a look at what nobody told of, and the scene itself."""
PAUSE_S = 25.0


class Kind(StrEnum):
    """What happens at a point. The first three strike before a statement, the others after a commit."""

    UNAVAILABLE = "the database is gone"
    REFUSED = "the database refuses"
    CRASH = "the process dies"
    CRASH_AFTER = "the process dies after a commit"
    UNKNOWN = "the answer to a commit is lost"
    PAUSED = "the process is paused before it hears of its commit"

    @property
    def is_after_commit(self) -> bool:
        return self in (Kind.CRASH_AFTER, Kind.UNKNOWN, Kind.PAUSED)


class FaultPoints:
    """Counts points, and strikes at one of them; with none, it only counts."""

    def __init__(self, kind: Kind, at: int | None = None) -> None:
        self.kind, self._at = kind, at
        self.count = 0
        self._is_over = False
        self._requests: Sequence[Request] = ()

    def begin(self, requests: Sequence[Request]) -> None:
        """Note what is being written."""
        self._requests = requests

    def close(self) -> None:
        """Strike no more: the scene is over."""
        self._is_over = True

    def _is_here(self) -> bool:
        if self._is_over:
            return False
        self.count += 1
        return self.count == self._at

    def before_statement(self, store: SimulatedStore, name: str) -> None:
        if self.kind.is_after_commit or not self._is_here():
            return
        store.world.tell(f"{self.kind} at {name}", replica=store.replica_id)
        match self.kind:
            case Kind.REFUSED:
                for request in self._requests:
                    if isinstance(request, CommitRequest):  # its reply counts as one that can't be stored
                        store.world.disturbed.add(request.transition.run.id)
                raise sqlite3.IntegrityError(self.kind)
            case Kind.CRASH:
                raise Killed
            case _:
                raise StoreUnavailable(self.kind)

    def after_commit(self, store: SimulatedStore) -> None:
        if not self.kind.is_after_commit or not self._is_here():
            return
        store.world.tell(self.kind, replica=store.replica_id)
        match self.kind:
            case Kind.CRASH_AFTER:
                store.replica.crash("after a commit")
                raise Killed
            case Kind.UNKNOWN:
                raise StoreUnavailable(self.kind)
            case _:
                store.world.loop.run_as(None, store.world.trouble.pause, store.replica, PAUSE_S)


PROGRAMS = (
    Program("one-fails", (Step("s", fails=1),), 0, 2, ("a",)),
    Program(
        "one-group",
        (Parallel(((Step("s1"),), (Step("s2", fails=1),), (Sleep("s3", 300),))), Step("s4")),
        1,
        2,
        ("b",),
    ),
    Program(
        "two-race",
        (Parallel(((Step("s1", took_ms=200),), (Sleep("s2", 20),)), is_race=True), Step("s3")),
        1,
        1,
        ("b",),
        app="two",
    ),
    failure_handler("one-fails"),
)


class Scene(World):
    """Some events to small functions that have all there is: a group, a race, sleeps, retries, failures."""

    absences_s = (0.0, 5.0)

    def __init__(self, folder: Path, *, replicas: int, kind: Kind, at: int | None = None) -> None:
        super().__init__(0, folder, faults=Faults(), replicas=replicas, programs=PROGRAMS)
        self.points = self._points = FaultPoints(kind, at)
        self.calls_per_app_max = 2
        self.retry_constant_ms = 100

    @property
    def count(self) -> int:
        """How many points there were."""
        return self._points.count

    async def _play(self) -> None:
        self.keep_all()
        await self.ask(self.sync_all)
        await asyncio.gather(self.send(1, "a"), self.send(2, "b", own_id="own"))
        await self.send(3, "b", own_id="own")
        before = self.loop.time()
        while self.query("select 1 from run where status in ('queued', 'running') limit 1"):
            await asyncio.sleep(0.5)
            if self.loop.time() > before + RECOVERY_S_MAX:
                jobs = self.query("select run_id, id, kind, owner, generation from job")
                self.fail(f"the fault cost more than {RECOVERY_S_MAX} s: jobs {jobs[:3]}")
        await asyncio.sleep(3)
        self._points.close()
        await self.all_serve()
        await asyncio.sleep(5)
        self.promises.check_rest()
