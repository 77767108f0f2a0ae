"""The scheduler: claims due jobs, fires due schedules, and otherwise sleeps until the next due time or a wake-up.

It knows for each partition a time before which nothing of it is due. Whoever inserts a job tells it (``notice``), in
the order of the commits; a time that is too early costs one query, and none is ever too late.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.cron import parse_cron
from stepwell.engine.core.model import Function, Tick
from stepwell.engine.core.trigger import Registry, internal_event, start, start_gathered
from stepwell.engine.executor import Executor
from stepwell.engine.ids import IdSource
from stepwell.engine.intake import Registries
from stepwell.engine.slots import Slots
from stepwell.engine.waiting_line import WaitingLine
from stepwell.errors import CronError, StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import CLAIM_BATCH_MAX
from stepwell.protocol.canonical import encode
from stepwell.protocol.duration import duration_ms, time_text
from stepwell.protocol.event import TIMER
from stepwell.protocol.ids import EnvironmentId
from stepwell.store.found import DueSchedule
from stepwell.store.interface import Fenced, Store
from stepwell.store.news import News
from stepwell.store.request import ClaimRequest, Fire, FireRequest, Result, SweepRequest, TickRequest, Verdict, Want

_TICKS_MAX: Final = 100
_GATHERINGS_MAX: Final = 100
_WANTS_MAX: Final = 200  # partitions that one claim looks at
_PAUSED: Final = "paused"  # the key that partitions of paused functions wait for
_UNKNOWN: Final = "unknown"  # that of partitions whose functions aren't there
_NEVER: Final = 1 << 62
_REFUSED_DELAY_S: Final = 1.0
_UNKNOWN_DELAY_MS: Final = 1_000
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
        tell: Callable[[News], None],
    ) -> None:
        self._store, self._clock, self._ids, self._slots = store, clock, ids, slots
        self._registries, self._environment, self._tell = registries, environment, tell
        self._line = WaitingLine(registries.lane)
        self._noticed: dict[str, int] = {}
        """What was noticed since the last claim began: its answer may be older."""
        self._has_room: set[str] = set()
        """Keys that got room since the last claim began, likewise."""
        self._schedule_due: int | None = None
        self._gathering_due: int | None = None
        self._reloading = asyncio.Lock()
        self._wakes = asyncio.Event()
        self.inserted_count = 0
        """Jobs that this replica left in the queue so far."""
        self._is_busy = False
        self._is_sweeping = False

    async def start(self) -> None:
        """Learn what waits in the queue."""
        await self.look()
        await self.reload_schedules()

    async def look(self) -> None:
        """Learn what waits in the queue: others may have left it there."""
        self.recheck()
        for partition, due_at in await self._store.next_due(await self._store.partitions()):
            if due_at is not None:
                self.notice(partition, due_at)
        self.gathered(await self._store.next_gathering_due())
        self._is_sweeping |= await self._store.has_sweeps()

    def recheck(self) -> None:
        """Look at what had no room again: limits may have changed, or word of room been lost."""
        self._line.recheck(self._clock.now())
        self._wakes.set()

    def inserted(self, partition: str, due_at: int) -> None:
        """Note a job that this replica inserted for anybody; others hear of it where this one can't take it soon."""
        self.inserted_count += 1
        self.notice(partition, due_at)
        if due_at <= self._clock.now() and self._slots.free(self._registries.lane(partition)) == 0:
            self._tell(News({partition: due_at}))

    def notice(self, partition: str, due_at: int) -> None:
        """Note a job that nobody has."""
        self._noticed[partition] = min(due_at, self._noticed.get(partition, due_at))
        if self._line.notice(partition, due_at, self._clock.now()):
            self._wakes.set()

    def gathered(self, due_at: int | None) -> None:
        """Note when a gathering is due."""
        if due_at is not None and (self._gathering_due is None or due_at < self._gathering_due):
            self._gathering_due = due_at
            self._wakes.set()

    def sweep(self) -> None:
        """Note that an event ends more waits than one transaction should."""
        self._is_sweeping = True
        self._wakes.set()

    def room(self, keys: Sequence[str]) -> None:
        """Note concurrency keys that have room again, and tell the others, whose jobs may wait for it."""
        self.hear_room(keys)
        self._tell(News({}, room=tuple(keys)))

    def hear_room(self, keys: Sequence[str]) -> None:
        """Note concurrency keys that have room again."""
        self._has_room.update(keys)
        if self._line.room(keys, self._clock.now()):
            self._wakes.set()

    def must_yield(self, partition: str) -> bool:
        """Tell whether jobs of other partitions wait for the slot that a job of this one has."""
        return not self._line.is_empty and self._line.others_wait(partition, self._clock.now())

    def slot_freed(self, lane: str) -> None:
        """Look again, if the lane has work that waits for a slot."""
        if not self._line.is_empty and self._line.is_ready(lane, self._clock.now()):
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
        """Tell that nothing is due now and nothing is being claimed. What waits for room is for others to let go on."""
        now = self._clock.now()
        return (
            not (self._is_busy or self._is_sweeping)
            and self._line.is_idle(now)
            and min(self._schedule_at, self._gathering_at) > now
        )

    def next_due_after(self, now: int) -> int | None:
        """Return when something is due next, leaving out what is due already and waits for a slot."""
        times = (self._line.next_at(), self._schedule_due, self._gathering_due)
        return min((at for at in times if at is not None and at > now), default=None)

    @property
    def _schedule_at(self) -> int:
        return self._schedule_due if self._schedule_due is not None else _NEVER

    @property
    def _gathering_at(self) -> int:
        return self._gathering_due if self._gathering_due is not None else _NEVER

    async def run(self, executor: Executor) -> None:
        """Work until cancelled, or drained. A database that refuses is asked again after a second."""
        while not executor.is_draining:
            self._wakes.clear()
            try:
                self._is_busy = True
                await self._tick(executor)
                await self._fire(executor)
                await self._sweep(executor)
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
        if self._is_sweeping or self._line.has_turn(self._slots.free, now):
            await asyncio.sleep(0)
            return
        next_at = self._line.next_at()
        times = [self._schedule_at, self._gathering_at, *([next_at] if next_at is not None else [])]
        delay_s = min(_SLEEP_S_MAX, self._clock.until(min(times)) / 1000)
        try:
            async with asyncio.timeout(delay_s):
                await self._wakes.wait()
        except TimeoutError:
            pass

    # -- the queue ----------------------------------------------------------------------------------------------

    async def _claim(self, executor: Executor) -> None:
        now = self._clock.now()
        wants: list[Want] = []
        turns = self._line.turns(self._slots.free, now, count_max=_WANTS_MAX, jobs_max=CLAIM_BATCH_MAX)
        if not all(self._registries.is_known(turn.partition) for turn in turns):
            # Other replicas told of jobs of functions that are new. What they are counted for isn't known without them.
            await self._registries.refresh(self._environment)
            for partition in [turn.partition for turn in turns if not self._registries.is_known(turn.partition)]:
                self._line.block(partition, now, (_UNKNOWN,))
            self._wakes.set()
            return
        for partition, limit in turns:
            want = self._registries.want(partition, limit)
            if want is None:
                self._line.block(partition, now, (_PAUSED,))
            elif self._slots.reserve(self._registries.lane(partition), limit):
                wants.append(want)
        if not wants:
            return
        self._noticed.clear()
        self._has_room.clear()

        def done(result: Result) -> None:
            claimed = Counter(self._registries.lane(claim.job.partition) for claim in result.claimed)
            reserved: Counter[str] = Counter()
            for want in wants:
                reserved[self._registries.lane(want.partition)] += want.limit
            for lane, count in reserved.items():
                if count > claimed[lane]:
                    self._slots.release(lane, count - claimed[lane])
            self._claimed(result, now)
            executor.claimed(result.claimed)

        try:
            await self._store.submit(ClaimRequest(wants, now, done))
        except StoreError:
            for want in wants:
                self._slots.release(self._registries.lane(want.partition), want.limit)
            executor.lease_count += 1  # the database may have leased some all the same: they are looked for
            raise

    def _claimed(self, result: Result, now: int) -> None:
        """Note what a claim saw. What was noticed meanwhile may have been committed after it looked."""
        full = {partition: keys for partition, keys in result.blocked if self._has_room.isdisjoint(keys)}
        for partition, due_at in result.next_due:
            known = [at for at in (due_at, self._noticed.get(partition)) if at is not None]
            if known and min(known) <= now and partition in full:
                self._line.block(partition, min(known), full[partition])
                continue
            self._line.set(partition, min(known) if known else None, now)
            if known and min(known) <= now and self._slots.free(self._registries.lane(partition)) == 0:
                self._tell(News({partition: min(known)}))

    # -- sweeps -------------------------------------------------------------------------------------------------

    async def _sweep(self, executor: Executor) -> None:
        """End some of the waits that an event ends which are too many for one transaction; then others have their turn."""
        if not self._is_sweeping:
            return
        self._is_sweeping = False

        def done(result: Result) -> None:
            executor.took_in((), result)

        try:
            await self._store.submit(SweepRequest(self._clock.now(), done))
        except StoreError:
            self._is_sweeping = True
            raise

    # -- gatherings ---------------------------------------------------------------------------------------------

    async def _fire(self, executor: Executor) -> None:
        """Start the runs of batches and debounces whose time has come."""
        now = self._clock.now()
        if self._gathering_at > now:
            return
        registry = self._registries.of(self._environment)
        fires: list[tuple[Fire, list[bytes]]] = []
        has_unknown = False
        for gathering, events in await self._store.due_gatherings(now=now, limit=_GATHERINGS_MAX):
            function = registry.by_id.get(gathering.function_id)
            if function is None:
                has_unknown = True
                continue
            event = events[0]
            start = start_gathered(gathering, event, function, registry, now=now)
            start = msgspec.structs.replace(start, job=executor.lease([start.job], now)[0])
            fires.append((Fire(gathering.version, gathering.key, event, start), [event.body for event in events]))
        if fires:

            def done(result: Result) -> None:
                if result.verdict is Verdict.COMMITTED:
                    executor.fired(fires, result)

            request = FireRequest(self._environment, registry.revision, [fire for fire, _ in fires], now, done)
            try:
                result = await self._store.submit(request)
            except StoreError:
                executor.give_back_starts([fire.start for fire, _ in fires])
                raise
            if result.verdict is Verdict.STALE:
                executor.give_back_starts([fire.start for fire, _ in fires])
                await self._registries.refresh(self._environment)
        next_at = await self._store.next_gathering_due()
        if has_unknown and next_at is not None and next_at <= now:
            # Another replica may have registered the function just now; one that isn't there is the reconciler's work.
            await self._registries.refresh(self._environment)
            next_at = now + _UNKNOWN_DELAY_MS
        self._gathering_due = None
        self.gathered(next_at)

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
        jitter_ms = _jitter_ms(function, schedule.cron)
        if jitter_ms:
            delay_ms = self._ids.chance.randrange(jitter_ms)
            starts = tuple(
                msgspec.structs.replace(one, job=msgspec.structs.replace(one.job, due_at=one.job.due_at + delay_ms))
                for one in intake.starts
            )
            intake = msgspec.structs.replace(intake, starts=starts)
        intake = executor.lease_intake(intake, now)
        return Tick(schedule.function_id, schedule.cron, schedule.next_at, next_at, intake)


def _jitter_ms(function: Function, cron: str) -> int:
    """Return by how much at most the runs of a schedule start later than their time."""
    for trigger in function.config.triggers:
        if trigger.cron == cron and trigger.jitter:
            return duration_ms(trigger.jitter)
    return 0
