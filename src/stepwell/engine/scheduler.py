"""The scheduler: claims due jobs, fires due schedules, and otherwise sleeps until the next due time or a wake-up.

It knows for each partition a time before which nothing of it is due. Whoever inserts a job tells it (``notice``), in
the order of the commits; a time that is too early costs one query, and none is ever too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.cron import parse_cron
from stepwell.engine.core.model import Tick
from stepwell.engine.core.trigger import Registry, internal_event, start
from stepwell.engine.executor import Executor
from stepwell.engine.ids import IdSource
from stepwell.engine.intake import Registries
from stepwell.engine.slots import Slots
from stepwell.errors import CronError, StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import CLAIM_BATCH_MAX
from stepwell.protocol.canonical import encode
from stepwell.protocol.duration import time_text
from stepwell.protocol.event import TIMER
from stepwell.protocol.ids import EnvironmentId
from stepwell.store.interface import ClaimRequest, DueSchedule, Fenced, Result, Store, TickRequest, Verdict

_TICKS_MAX: Final = 100
_REFUSED_DELAY_S: Final = 1.0
_SLEEP_S_MAX: Final = 60.0  # what a clock that was set, or a machine that was asleep, costs at most

log = structlog.get_logger("stepwell.scheduler")


class Scheduler:
    """One loop. It claims only for what there are slots, so that what it leases can be called at once."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: IdSource,
        slots: Slots,
        registries: Registries,
        environment: EnvironmentId,
        offer: Callable[[str, int], None],
    ) -> None:
        self._store, self._clock, self._ids, self._slots = store, clock, ids, slots
        self._registries, self._environment, self._offer = registries, environment, offer
        self._due: dict[str, int] = {}
        self._noticed: dict[str, int] = {}
        """What was noticed since the last claim began: its answer may be older."""
        self._schedule_due: int | None = None
        self._reloading = asyncio.Lock()
        self._wakes = asyncio.Event()
        self._is_busy = False

    async def start(self) -> None:
        """Learn what waits in the queue."""
        await self.look()
        await self.reload_schedules()

    async def look(self) -> None:
        """Learn what waits in the queue: others may have left it there."""
        for partition, due_at in await self._store.next_due(await self._store.partitions()):
            if due_at is not None:
                self.notice(partition, due_at)

    def inserted(self, partition: str, due_at: int) -> None:
        """Note a job that this replica inserted for anybody; others hear of it where this one can't take it soon."""
        self.notice(partition, due_at)
        if due_at <= self._clock.now() and self._slots.free(partition) == 0:
            self._offer(partition, due_at)

    def notice(self, partition: str, due_at: int) -> None:
        """Note a job that nobody has."""
        self._noticed[partition] = min(due_at, self._noticed.get(partition, due_at))
        known = self._due.get(partition)
        if known is None or due_at < known:
            self._due[partition] = due_at
            self._wakes.set()

    def slot_freed(self, partition: str) -> None:
        """Look again, if the partition has work that waits for a slot."""
        due_at = self._due.get(partition)
        if due_at is not None and due_at <= self._clock.now():
            self._wakes.set()

    def wake(self) -> None:
        """Look again: the clock was moved."""
        self._wakes.set()

    async def reload_schedules(self) -> None:
        """Learn when the next schedule is due: after a sync, or a tick.

        One at a time: of two reads, the one that ends last must not be the older.
        """
        async with self._reloading:
            self._schedule_due = await self._store.next_schedule_due()
        self._wakes.set()

    @property
    def is_idle(self) -> bool:
        """Tell that nothing is due now and nothing is being claimed."""
        now = self._clock.now()
        return not self._is_busy and all(due_at > now for due_at in (*self._due.values(), self._schedule_at))

    def next_due_after(self, now: int) -> int | None:
        """Return when something is due next, leaving out what is due already and waits for a slot."""
        return min(
            (at for at in (*self._due.values(), self._schedule_due) if at is not None and at > now), default=None
        )

    @property
    def _schedule_at(self) -> int:
        return self._schedule_due if self._schedule_due is not None else 1 << 62

    async def run(self, executor: Executor) -> None:
        """Work until cancelled, or drained. A database that refuses is asked again after a second."""
        while not executor.is_draining:
            self._wakes.clear()
            try:
                self._is_busy = True
                await self._tick(executor)
                await self._claim(executor)
            except StoreClosed:
                return
            except (StoreUnavailable, Fenced):  # said by the store; mended by the membership
                await asyncio.sleep(_REFUSED_DELAY_S)
                self._wakes.set()
            except StoreError as error:
                log.warning("store.refused", error=str(error), retry_in_s=_REFUSED_DELAY_S)
                await asyncio.sleep(_REFUSED_DELAY_S)
                self._wakes.set()
            except Exception:
                log.exception("scheduler.broke", retry_in_s=_REFUSED_DELAY_S)
                await asyncio.sleep(_REFUSED_DELAY_S)
                self._wakes.set()
            finally:
                self._is_busy = False
            await self._wait()

    async def _wait(self) -> None:
        """Sleep until something is due that there is a slot for, or will be by then."""
        now = self._clock.now()
        times = [at for partition, at in self._due.items() if at > now or self._slots.free(partition) > 0]
        delay_s = min(_SLEEP_S_MAX, self._clock.until(min((*times, self._schedule_at))) / 1000)
        try:
            async with asyncio.timeout(delay_s):
                await self._wakes.wait()
        except TimeoutError:
            pass

    # -- the queue ----------------------------------------------------------------------------------------------

    async def _claim(self, executor: Executor) -> None:
        now = self._clock.now()
        wants = [
            (partition, min(CLAIM_BATCH_MAX, self._slots.free(partition)))
            for partition, due_at in self._due.items()
            if due_at <= now and self._slots.free(partition) > 0
        ]
        if not wants:
            return
        for partition, count in wants:
            self._slots.reserve(partition, count)
        self._noticed.clear()

        def done(result: Result) -> None:
            claimed: dict[str, int] = {}
            for claim in result.claimed:
                claimed[claim.job.partition] = claimed.get(claim.job.partition, 0) + 1
            for partition, count in wants:
                unused = count - claimed.get(partition, 0)
                if unused:
                    self._slots.release(partition, unused)
            for partition, due_at in result.next_due:
                # What was noticed meanwhile may have been committed after the claim looked.
                known = [at for at in (due_at, self._noticed.get(partition)) if at is not None]
                if not known:
                    self._due.pop(partition, None)
                else:
                    self._due[partition] = min(known)
                    if min(known) <= now and self._slots.free(partition) == 0:
                        self._offer(partition, min(known))
            executor.claimed(result.claimed)

        try:
            await self._store.submit(ClaimRequest(wants, now, done))
        except StoreError:
            for partition, count in wants:
                self._slots.release(partition, count)
            executor.lease_count += 1  # the database may have leased some all the same: they are looked for
            raise

    # -- schedules ----------------------------------------------------------------------------------------------

    async def _tick(self, executor: Executor) -> None:
        """Fire what is due. Ticks missed while the server was down are one tick: the first missed."""
        now = self._clock.now()
        if self._schedule_at > now:
            return
        registry = self._registries.of(self._environment)
        due = await self._store.due_schedules(now=now, limit=_TICKS_MAX)
        ticks = [self._make_tick(registry, schedule, now, executor) for schedule in due]
        intakes = [tick.intake for tick in ticks if tick.intake is not None]

        def done(result: Result) -> None:
            if result.verdict is not Verdict.COMMITTED:
                return
            fired = [
                tick.intake
                for tick in ticks
                if tick.intake is not None and (tick.function_id, tick.cron) in result.ticked
            ]
            executor.took_in(fired, result)
            executor.give_back([intake for intake in intakes if intake not in fired])

        try:
            result = await self._store.submit(TickRequest(self._environment, registry.revision, ticks, now, done))
        except StoreError:
            executor.give_back(intakes)
            raise
        if result.verdict is Verdict.STALE:
            executor.give_back(intakes)
            await self._registries.refresh(self._environment)
        await self.reload_schedules()

    def _make_tick(self, registry: Registry, schedule: DueSchedule, now: int, executor: Executor) -> Tick:
        function = registry.by_id.get(schedule.function_id)
        try:
            next_at = parse_cron(schedule.cron).next_after(now)
        except CronError as error:  # it was good when the app was synced: its time zone is gone, say
            log.warning("schedule.stopped", cron=schedule.cron, error=str(error))
            function, next_at = None, None
        if function is None or function.is_archived:
            return Tick(schedule.function_id, schedule.cron, schedule.next_at, None, None)
        at_text = time_text(schedule.next_at).replace(".000Z", "Z")
        event = internal_event(
            TIMER,
            encode({"cron": schedule.cron, "scheduledAt": at_text, "fireAt": at_text}),
            id=self._ids(),
            environment=self._environment,
            now=schedule.next_at,
            event_id=at_text,
        )
        intake = start(event, registry, now=now, new_id=self._ids, only=function)
        jobs = tuple(executor.lease(intake.jobs, now))
        intake = type(intake)(event=intake.event, runs=intake.runs, jobs=jobs)
        return Tick(schedule.function_id, schedule.cron, schedule.next_at, next_at, intake)
