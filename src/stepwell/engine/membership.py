"""This replica among the others: it beats, reaps the dead, finds its own orphans, and knows whether it may still call.

A replica whose beats don't get through may have been declared dead, without knowing it yet. It starts no calls once
half of the time has passed after which others would take over. All of this rests while the database is this process's
alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import Job, JobKind
from stepwell.engine.executor import Executor
from stepwell.engine.scheduler import Scheduler
from stepwell.errors import StoreClosed, StoreError
from stepwell.protocol.ids import EnvironmentId
from stepwell.store.found import Lease
from stepwell.store.interface import Fenced, Store
from stepwell.store.news import News
from stepwell.store.request import Beat, BeatRequest, ReapRequest, ReleaseRequest

_BEATS_PER_TAKE_OVER: Final = 5
_ORPHANS_EVERY: Final = 2  # beats; an orphan is seen twice before it is released
_LOOK_EVERY: Final = 15  # beats: what a lost notification costs at most
_POLL_S: Final = 1.0  # where no news arrives
_ROUND_TRIP_S_MAX: Final = 1.0  # a slower beat says too little about the time

log = structlog.get_logger("stepwell.membership")


class Membership:
    """Keeps this replica alive in the eyes of the others. ``synced`` is called with the revision of the functions at
    each beat, ``released`` when jobs were released that nobody works on any more. ``work`` returns another number than
    before whenever this replica has done something.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        environment: EnvironmentId,
        take_over_s: float,
        synced: Callable[[int], None],
        released: Callable[[], None],
        work: Callable[[], int],
    ) -> None:
        self._store, self._clock, self._environment = store, clock, environment
        self._synced, self._released, self._work = synced, released, work
        self._beat_s = take_over_s / _BEATS_PER_TAKE_OVER
        # A beat may be missed by others for as long as one takes to come, and reaping waits for the next: together the
        # time after which work must have been taken over.
        self._silent_ms = round(take_over_s * 1000 * (_BEATS_PER_TAKE_OVER - 1) / _BEATS_PER_TAKE_OVER)
        self._beaten_at = self._beating_since = float("-inf")
        self._rounds = 0
        self._must_look = False
        self._beaten = asyncio.Event()
        self._suspects: frozenset[Lease] = frozenset()
        self._checked = -1
        self.is_alone = True
        """Whether there is nobody to offer work to, as the last beat saw it, or news told since."""
        self.is_eldest = True
        """Whether this replica does what one of them should do, as the last beat saw it. For a while two may think so."""
        self.work_of_all = 0
        """Another number than before whenever any replica has done something, as the last beat saw it."""

    @property
    def may_call(self) -> bool:
        """Tell whether others surely hold this replica for alive."""
        return not self._store.is_shared or self._clock.elapsed() - self._beaten_at < self._silent_ms / 2000

    @property
    def _may_judge(self) -> bool:
        """Tell whether this replica may declare others dead.

        After an outage of the database all look dead to the one that comes back first. So whoever missed beats itself
        gives the others as long as they may be silent.
        """
        return (self._beaten_at - self._beating_since) * 1000 >= self._silent_ms

    async def enter(self) -> None:
        """Take the database's time. Raises ``StoreError``."""
        if self._store.is_shared:
            await self._beat()

    async def run(self, scheduler: Scheduler, executor: Executor) -> None:
        """Beat until cancelled. Raises ``Fenced`` once this replica was declared dead.

        What follows a beat is done beside it: reads and releases may wait for the database for longer than the others
        wait for the next beat.
        """
        if not self._store.is_shared:
            return
        self._suspects, self._checked = frozenset(), -1
        tending = asyncio.get_running_loop().create_task(self._tend(scheduler, executor))
        try:
            while True:
                await asyncio.sleep(self._beat_s if self._store.is_heard else min(self._beat_s, _POLL_S))
                try:
                    await self._round()
                except Fenced:
                    raise
                except StoreClosed:
                    return
                except StoreError as error:
                    log.debug("beat.missed", error=str(error))
                except Exception:
                    log.exception("membership.broke")
        finally:
            tending.cancel()
            await asyncio.wait([tending])

    async def _round(self) -> None:
        beat = await self._beat()
        self._rounds += 1
        self._synced(beat.revisions.get(self._environment, 0))
        is_reaping = beat.dead_count > 0 and self._may_judge
        self._must_look |= is_reaping or self._rounds % _LOOK_EVERY == 0 or not self._store.is_heard
        try:
            if is_reaping:
                await self._store.submit(ReapRequest(self._silent_ms, self._clock.now()))
                log.warning("replicas.reaped", hint="a replica was silent for too long: its work is taken over")
                self._store.tell(News({}, is_left=True))
                self._released()
        finally:  # it may have gone through, too, when its outcome never arrived
            self._beaten.set()

    async def _tend(self, scheduler: Scheduler, executor: Executor) -> None:
        """After beats, look for work that others left, and for orphans. What fails is done after the next beat."""
        orphans_at = self._rounds
        while True:
            await self._beaten.wait()
            self._beaten.clear()
            try:
                must_look, self._must_look = self._must_look, False
                if must_look:
                    await scheduler.look()
                if self._rounds - orphans_at >= _ORPHANS_EVERY:
                    orphans_at = self._rounds
                    await self._release_orphans(scheduler, executor)
            except StoreClosed:
                return
            except StoreError as error:
                log.debug("look.missed", error=str(error))
                self._must_look = True
            except Exception:
                log.exception("membership.broke")

    async def _beat(self) -> Beat:
        before = self._clock.elapsed()
        result = await self._store.submit(BeatRequest(self._silent_ms, self._work()))
        after = self._clock.elapsed()
        assert result.beat is not None, "a beat was answered without what it saw"
        if after - before < _ROUND_TRIP_S_MAX:
            self._clock.set(result.beat.now, (before + after) / 2)
        elif self._beaten_at == float("-inf"):  # the first one must do: rather too late than too early
            self._clock.set(result.beat.now, after)
        if before - self._beaten_at > self._silent_ms / 2000 and self._beaten_at != float("-inf"):
            self._beating_since = before
        self._beaten_at = before
        self.is_alone = result.beat.replica_count == 1
        self.is_eldest = result.beat.elder_count == 0
        self.work_of_all = result.beat.work
        return result.beat

    async def _release_orphans(self, scheduler: Scheduler, executor: Executor) -> None:
        """Release jobs that are leased to this replica and that it doesn't hold.

        They come from a commit whose outcome never arrived. One that is just being handed over is not yet held either,
        so only what is seen twice counts; when the answer comes even later, the executor drops it.
        """
        checked = executor.lease_count
        if checked == self._checked and not self._suspects and self._rounds % _LOOK_EVERY:
            return  # nothing was leased since all was well, unless an old commit still went through in the database
        unheld = frozenset(lease for lease in await self._store.leases() if not executor.holds(lease))
        orphans = unheld & self._suspects
        self._suspects, self._checked = unheld - orphans, checked
        if orphans:
            log.warning("jobs.orphaned", count=len(orphans), hint="their commits were answered by nobody; released")
            executor.disown(orphans)
            await self._store.submit(ReleaseRequest([self._as_job(lease) for lease in orphans], is_lost=True))
            self._released()
            await scheduler.look()

    def _as_job(self, lease: Lease) -> Job:
        """Return what a release needs to know of a job."""
        return Job(
            run_id=lease.run_id,
            id=lease.job_id,
            partition="",
            kind=JobKind.DISCOVER,
            step_id="",
            due_at=0,
            created_at=0,
            max_attempts=1,
            generation=lease.generation,
            owner=self._store.replica_id,
        )
