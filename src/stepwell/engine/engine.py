"""The engine: the executor, the scheduler and the store as one thing with the verbs that servers use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Final, NamedTuple

import msgspec
import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.change import Policy
from stepwell.engine.core.endpoint import begin, is_endpoint
from stepwell.engine.core.model import App, Event, Function, Intake, Job, Pause, Run, RunStatus
from stepwell.engine.core.partition import FETCHES, TIMERS
from stepwell.engine.core.trigger import Registry, start, start_again
from stepwell.engine.endings import Endings
from stepwell.engine.executor import CheckpointVerdict, Executor, Fetching
from stepwell.engine.ids import IdSource
from stepwell.engine.intake import Registries
from stepwell.engine.janitor import Janitor, Retention
from stepwell.engine.logbook import Logbook
from stepwell.engine.membership import Membership
from stepwell.engine.reconciler import Reconciler
from stepwell.engine.sampler import Sampler
from stepwell.engine.scheduler import Scheduler
from stepwell.engine.slots import Slots
from stepwell.engine.transport import Transport
from stepwell.engine.watch import NoWatcher, Watcher
from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import CALLS_PER_APP_MAX, FETCHES_AT_ONCE_MAX, TAKE_OVER_S, TIMERS_AT_ONCE_MAX
from stepwell.protocol.checkpoint import Checkpoint
from stepwell.protocol.ids import AppId, EnvironmentId, EventId, FunctionId, JobId, ReplicaId, RunId
from stepwell.protocol.ops import Op
from stepwell.store.interface import Fenced, Store
from stepwell.store.news import News
from stepwell.store.request import (
    IngestRequest,
    LeaveRequest,
    PauseRequest,
    Result,
    SettingRequest,
    SignalRequest,
    SyncRequest,
    Verdict,
    WakeRequest,
)

_OFFSET: Final = "clock_offset_ms"
_QUIET_POLL_S: Final = 0.005
_QUIET_S_MAX: Final = 30.0
_STALE_TRIES_MAX: Final = 10
_INGEST_PATIENCE_S: Final = 5.0
_INGEST_RETRY_S: Final = 0.2
_LEAVE_S_MAX: Final = 5.0
_ENTER_RETRY_S: Final = 1.0

log = structlog.get_logger("stepwell.engine")


class Accepted(NamedTuple):
    """What became of ingested events: what each started, as it was planned, and what was not started after all."""

    intakes: Sequence[Intake]
    result: Result


class Engine:
    """Runs functions: takes events in, works on jobs, keeps schedules. One environment for now."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        *,
        environment: EnvironmentId,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        policy: Policy | None = None,
        watcher: Watcher | None = None,
        calls_per_app_max: int = CALLS_PER_APP_MAX,
        take_over_s: float = TAKE_OVER_S,
        retention: Retention | None = None,
        fetcher: Fetching | None = None,
        is_reconciling: bool = False,
        is_sampling: bool = False,
    ) -> None:
        self.store = store
        self.environment = environment
        self.clock = clock or Clock()
        self.ids = ids or IdSource(self.clock.now)
        self._transport = transport
        self._policy = policy or Policy()
        self._watcher = watcher or NoWatcher()
        self.registries = Registries(store, self._watcher.functions_changed)
        self._fetcher = fetcher
        self._calls_per_app_max = calls_per_app_max
        self._membership = Membership(
            store, self.clock, environment, take_over_s, self._functions_seen, self._watcher.doubted, self._work
        )
        self._janitor: Janitor | None = None
        if retention is not None:
            self._janitor = Janitor(store, self.clock, environment, retention, self._watcher.touched)
        self.reconciler = Reconciler(store, self.clock, self.registries, inserted=self._revived, look=self._look_at_all)
        self.endings = Endings(self._ended_elsewhere)
        self.logbook = Logbook(store, self.clock, self.ids, self._watcher)
        self.sampler = Sampler(
            store, self.clock, lambda: self.registry, self._activity, lambda: self._membership.is_eldest
        )
        self._is_reconciling, self._is_sampling = is_reconciling, is_sampling
        self._is_stopping = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._travel = asyncio.Lock()
        self._make_loops()

    def _make_loops(self) -> None:
        """Make what works under one replica id: after a fence nothing of it may go on."""
        self._slots = Slots(
            self._calls_per_app_max, self._slot_freed, {TIMERS: TIMERS_AT_ONCE_MAX, FETCHES: FETCHES_AT_ONCE_MAX}
        )
        self._scheduler = Scheduler(
            self.store, self.clock, self.ids, self._slots, self.registries, self.environment, self.tell
        )
        self._executor = Executor(
            self.store,
            self._transport,
            self.clock,
            self.ids,
            self._slots,
            self.registries,
            self._policy,
            self._watcher,
            self._scheduler,
            lambda: self._membership.may_call,
            self._fetcher,
            self.endings,
        )
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the store and begin to work. Raises ``StoreError`` when the store can't be opened."""
        await self.store.start(now=self.clock.now())
        await self._membership.enter()
        offset = await self.store.load_setting(_OFFSET)
        self.clock.offset_ms = int(offset) if offset is not None else 0
        await self.store.add_environment(self.environment, now=self.clock.now())
        self.store.listen(self._heard)  # what is heard is looked up in the environment
        await self.registries.refresh(self.environment)
        await self._start_loops()
        self._spawn(self._stay_a_member())
        if self._janitor is not None:
            self._spawn(self._janitor.run())
        if self._is_reconciling:
            self._spawn(self.reconciler.run())
        if self._is_sampling:
            self._spawn(self.sampler.run())

    async def _start_loops(self) -> None:
        self.store.tell(News({}, is_new=True))  # whoever was alone until now isn't any more
        await self._scheduler.start()
        self._working = asyncio.get_running_loop().create_task(self._scheduler.run(self._executor))

    def begin_drain(self) -> None:
        """Claim and begin no more, while what is under way goes on."""
        self._is_stopping = True
        self._executor.begin_drain()

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """Claim no more, let calls under way finish for ``grace_s``, leave the rest to others, commit and close."""
        self.begin_drain()
        await self._executor.drain(grace_s)
        await self.endings.stop()
        await self.logbook.stop()
        await self._cancel([*self._tasks, *([self._working] if self._working is not None else [])])
        try:
            async with asyncio.timeout(_LEAVE_S_MAX):
                await self.sampler.stop()
                await self.store.submit(LeaveRequest(self.clock.now()))
            self.store.tell(News({}, is_left=True))
        except (StoreError, TimeoutError) as error:
            log.warning("replica.not_left", error=str(error), hint="others take its work over soon")
        await self.store.stop()

    async def _cancel(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- among the others ---------------------------------------------------------------------------------------

    async def _stay_a_member(self) -> None:
        """Beat; after a fence, drop all work and enter again as a new replica."""
        while True:
            try:
                await self._membership.run(self._scheduler, self._executor)
                return
            except Fenced:
                log.warning(
                    "replica.fenced",
                    replica_id=self.store.replica_id,
                    hint="it was silent for too long, and others took its work over; it enters again as a new one",
                )
            if self._working is not None:
                await self._cancel([self._working])
            await self._executor.abandon()
            while not self._is_stopping:
                try:
                    await self.store.enter(ReplicaId(self.ids()))
                    await self._membership.enter()
                    self._make_loops()
                    await self._start_loops()
                    self._watcher.doubted()  # others have released what it worked on
                    break
                except StoreClosed:
                    return
                except StoreError:
                    await asyncio.sleep(_ENTER_RETRY_S)

    def _work(self) -> int:
        return self._executor.lease_count + self._scheduler.inserted_count

    def _activity(self) -> tuple[int, int]:
        """Return another value than before whenever a replica has begun something, or left something in the queue."""
        return self._work(), self._membership.work_of_all

    def unready(self) -> str | None:
        """Return why this replica should get no requests now; None when it should."""
        if self._is_stopping:
            return "it is stopping"
        if self.store.outage is not None:
            return self.store.outage
        if not self._membership.may_call:
            return "its last beats did not reach the database"
        return None

    @property
    def is_deaf(self) -> bool:
        """Tell whether there are other replicas, and what they tell doesn't arrive here."""
        return not (self._membership.is_alone or self.store.is_heard)

    def tell(self, news: News) -> None:
        """Tell the others, if there are any."""
        if not self._membership.is_alone:
            self.store.tell(news)

    def _heard(self, news: News) -> None:
        self._membership.is_alone = False
        for partition, due_at in news.due.items():
            self._scheduler.notice(partition, due_at)
        if news.room:
            self._scheduler.hear_room(news.room)
        if news.is_synced or news.is_left:
            self._spawn(self._look(news))
        self._watcher.heard(news)

    async def _look(self, news: News) -> None:
        try:
            if news.is_synced:
                await self._refresh()
            if news.is_left:
                await self._scheduler.look()
        except StoreError as error:  # the next look, after some beats at most, sees the same
            log.debug("news.unused", error=str(error))

    def _functions_seen(self, revision: int) -> None:
        """Note the revision of the functions, as a beat saw it."""
        if revision > self.registry.revision:
            self._spawn(self._look(News({}, is_synced=True)))

    async def _refresh(self) -> None:
        await self.registries.refresh(self.environment)
        self._scheduler.recheck()
        await self._scheduler.reload_schedules()

    @property
    def registry(self) -> Registry:
        """The registered functions, as last read."""
        return self.registries.of(self.environment)

    @property
    def busy(self) -> int:
        """Return how many jobs this replica works on: calls, and timers that it ends."""
        return self._executor.busy

    def free_calls(self, app: AppId) -> int:
        """Return how many more calls to an app may go out from this replica now."""
        return self._slots.free(app)

    async def _look_at_all(self) -> None:
        await self._scheduler.look()

    def _revived(self, job: Job) -> None:
        self._scheduler.inserted(job.partition, job.due_at)
        self._watcher.touched([job.run_id])

    def _slot_freed(self, partition: str) -> None:
        self._scheduler.slot_freed(partition)

    # -- events -------------------------------------------------------------------------------------------------

    async def ingest(self, events: Sequence[Event]) -> Accepted:
        """Store events and start what they trigger. When it returns, all of it is on disk.

        A database that can't be used is tried again for some seconds: an event that was stored all the same is known
        by its id. Raises ``StoreError`` when the database refused.
        """
        return await self._take_in(
            lambda registry, now: [self._start(event, registry, now) for event in events],
            patience_s=_INGEST_PATIENCE_S,
        )

    async def invoke(self, event: Event, function: Function) -> Run:
        """Start one function directly with an event, whatever its triggers say."""
        accepted = await self._take_in(
            lambda registry, now: [start(event, registry, now=now, new_id=self.ids, only=function)]
        )
        return accepted.intakes[0].runs[0]

    def _start(self, event: Event, registry: Registry, now: int) -> Intake:
        return start(event, registry, now=now, new_id=self.ids)

    async def _take_in(self, plan: Callable[[Registry, int], list[Intake]], *, patience_s: float = 0.0) -> Accepted:
        deadline = self.clock.elapsed() + patience_s
        tries = 0
        is_doubtful = False
        planned: list[Intake] = []
        planned_for = -1
        while tries < _STALE_TRIES_MAX:
            now = self.clock.now()
            registry, executor = self.registry, self._executor
            # What is tried again is the same, as long as the functions are: a commit of unknown outcome may have
            # stored it, and then the runs have these ids.
            if planned_for != registry.revision:
                planned, planned_for = plan(registry, now), registry.revision
            intakes = [executor.lease_intake(intake, now) for intake in planned]

            def done(result: Result, intakes: Sequence[Intake] = intakes, executor: Executor = executor) -> None:
                if result.verdict is Verdict.COMMITTED:
                    executor.took_in(intakes, result)

            request = IngestRequest(self.environment, registry.revision, intakes, now, done)
            try:
                result = await self.store.submit(request)
            except (StoreUnavailable, Fenced):
                executor.give_back(intakes)
                is_doubtful = True
                if self.clock.elapsed() > deadline:
                    raise
                await asyncio.sleep(_INGEST_RETRY_S)
                continue
            except StoreError:
                executor.give_back(intakes)
                raise
            if result.verdict is Verdict.COMMITTED:
                if is_doubtful:  # an earlier try may have stored it, unseen
                    self._watcher.doubted()
                return Accepted(intakes, result)
            executor.give_back(intakes)
            tries += 1
            await self.registries.refresh(self.environment)
        raise StoreError("the functions changed at each try: send the events again")

    async def send_signal(self, name: str, data: bytes, *, keep: bool, key: str | None = None) -> RunId | None:
        """Let the run go on that waits for a signal, and return it; None where none does.

        With ``keep``, the signal waits for a run that asks for kept ones. One whose ``key`` was used within 24 hours is
        the same, sent again: it changes nothing. ``data`` is canonical.
        """
        executor = self._executor

        def done(result: Result) -> None:
            executor.took_in((), result)

        request = SignalRequest(self.environment, self.ids(), name, data, keep, self.clock.now(), key, done)
        result = await self.store.submit(request)
        return result.signalled

    # -- runs ---------------------------------------------------------------------------------------------------

    async def checkpoint(self, sent: Checkpoint) -> CheckpointVerdict:
        """Store steps that a call reports while it goes on (protocol 7.2). It may be another replica's call."""
        job, _, generation = sent.request_id.removeprefix(f"{sent.run_id}.").rpartition(".")
        if not sent.request_id:  # it doesn't say which dispatch it is: of its job, the one that is under way
            job, generation = sent.qi_id.removeprefix(f"{sent.run_id}."), ""
        elif not generation.isdecimal():
            return CheckpointVerdict.STALE
        if not job or sent.qi_id != f"{sent.run_id}.{job}":
            return CheckpointVerdict.STALE
        run_id = RunId(sent.run_id)
        state = self._executor.warm_state(run_id)
        if state is None:
            state = (await self.store.load_runs([run_id])).get(run_id)
        if state is None:
            return CheckpointVerdict.GONE
        function = await self.registries.find(state.run)
        now = self.clock.now()
        ran_ms = max(0, sent.ts - sent.request_started_at) if sent.request_started_at else 0
        lease = int(generation) if generation else None
        return await self._executor.checkpoint(state, function, JobId(job), lease, sent.steps, now - ran_ms)

    async def begin_in_app(self, run_id: RunId, data: bytes, function: Function) -> bool:
        """Store a run of a durable endpoint that has begun in the app (protocol 7.4); False when it is there already.

        ``data`` is that of its event, in canonical form. It has done nothing yet: ``report`` follows.
        """
        accepted = await self._take_in(
            lambda registry, now: [begin(run_id, data, function, registry, now=now, new_id=self.ids)]
        )
        return EventId(run_id) not in accepted.result.duplicate

    async def report(self, run_id: RunId, ops: Sequence[Op], *, request_version: int = 2) -> CheckpointVerdict:
        """Store what the app reports of a run that began there, and go on with what it asks for (protocol 7.4)."""
        state = self._executor.warm_state(run_id)
        if state is None:
            state = (await self.store.load_runs([run_id])).get(run_id)
        if state is None:
            return CheckpointVerdict.GONE
        function = await self.registries.find(state.run)
        if not is_endpoint(function):
            return CheckpointVerdict.STALE
        return await self._executor.report(state, function, ops, request_version)

    async def _ended_elsewhere(self, ids: Collection[RunId]) -> Collection[RunId]:
        return () if self._membership.is_alone else await self.store.ended_runs(list(ids))

    async def cancel(self, run_id: RunId, *, reason: str = "api") -> bool | None:
        """Cancel a run. None when there is none with this id, False when it had ended already."""
        state = (await self.store.load_runs([run_id])).get(run_id)
        if state is None:
            return None
        return await self._executor.cancel(state, await self.registries.find(state.run), reason)

    async def skip_sleep(self, run_id: RunId, job_id: JobId) -> bool:
        """End a sleep of a run now; False when it doesn't go on. For dev only."""
        now = self.clock.now()

        def done(result: Result) -> None:
            if result.verdict is Verdict.COMMITTED:
                self._scheduler.inserted(TIMERS, now)

        result = await self.store.submit(WakeRequest(run_id, job_id, now, done))
        return result.verdict is Verdict.COMMITTED

    async def rerun(self, run_id: RunId) -> Run | None:
        """Start a new run of the same function for the same event. None when there is no run with this id.

        It may be skipped, as what it returns says: a singleton runs beside no other.
        """
        detail = await self.store.load_run(run_id)
        if detail is None:
            return None
        function = await self.registries.find(detail.run)
        bodies: Sequence[bytes] = ()
        if detail.run.is_batch and (state := (await self.store.load_runs([run_id])).get(run_id)) is not None:
            bodies = state.events

        def plan(_registry: Registry, now: int) -> list[Intake]:
            event = msgspec.structs.replace(detail.event, ts=min(detail.event.ts, now))
            start = start_again(event, function, self.registry, now=now, run_id=RunId(self.ids()), again=run_id)
            if bodies:
                run = msgspec.structs.replace(start.run, is_batch=True)
                start = msgspec.structs.replace(start, run=run, bodies=tuple(bodies))
            return [Intake(event=detail.event, starts=(start,), is_stored=True)]

        accepted = await self._take_in(plan)
        if detail.event.id in accepted.result.duplicate:
            return None  # it was pruned meanwhile
        run = accepted.intakes[0].runs[0]
        reason = accepted.result.skipped.get(run.id)
        if reason is not None:
            run = msgspec.structs.replace(run, status=RunStatus.SKIPPED, ended_at=run.queued_at, reason=reason)
        return run

    # -- functions ----------------------------------------------------------------------------------------------

    async def pause(self, function_id: FunctionId, pause: Pause | None) -> bool:
        """Pause a function, or let it go on. False when there is none with this id."""
        for _ in range(_STALE_TRIES_MAX):
            registry = self.registry
            if function_id not in registry.by_id:
                return False
            request = PauseRequest(self.environment, registry.revision, function_id, pause)
            result = await self.store.submit(request)
            await self._refresh()
            if result.verdict is Verdict.COMMITTED:
                self.store.tell(News({}, is_synced=True))
                return True
        raise StoreError("the functions changed at each try: pause again")

    # -- apps ---------------------------------------------------------------------------------------------------

    async def sync(self, plan: Callable[[Registry, Sequence[App], int], SyncRequest | None]) -> bool:
        """Register an app as ``plan`` has it, and tell whether anything changed; None of a plan means no change.

        Raises what ``plan`` raises, then nothing has changed.
        """
        for _ in range(_STALE_TRIES_MAX):
            apps = await self.store.load_apps(self.environment)
            request = plan(self.registry, apps, self.clock.now())
            if request is None:
                return False
            result = await self.store.submit(request)
            await self.registries.refresh(self.environment)
            if result.verdict is Verdict.COMMITTED:
                self._scheduler.recheck()
                await self._scheduler.reload_schedules()
                self.store.tell(News({}, is_synced=True))
                return True
        raise StoreError("the functions changed at each try: sync again")

    # -- time travel --------------------------------------------------------------------------------------------

    async def skip(self, duration_ms: int) -> int:
        """Move the clock ahead from due time to due time, and return the new now.

        Between two moves it waits until nothing runs and nothing is due, at most ``_QUIET_S_MAX`` each, so that a
        sleep of one day and then two ends within three, and each tick of a schedule fires. For dev only.
        """
        async with self._travel:
            target = self.clock.now() + duration_ms
            while True:
                # An app may be listed before the scheduler has heard of its schedules.
                await self._scheduler.reload_schedules()
                await self._quiet()
                due = self._scheduler.next_due_after(self.clock.now())
                to = target if due is None else min(due, target)
                await self._move_to(to)
                if to >= target:
                    await self._quiet()
                    return self.clock.now()

    async def _move_to(self, at: int) -> None:
        """Keep the new offset before it counts: a restart mustn't turn time back."""
        offset = self.clock.offset_ms + max(0, at - self.clock.now())
        await self.store.submit(SettingRequest(_OFFSET, str(offset)))
        if offset != self.clock.offset_ms:
            self.clock.offset_ms = offset
            self._watcher.doubted()  # what shows the time shows another
        self._scheduler.wake()

    async def _quiet(self) -> None:
        deadline = asyncio.get_running_loop().time() + _QUIET_S_MAX
        while not (self._executor.busy == 0 and self._scheduler.is_idle):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_QUIET_POLL_S)
