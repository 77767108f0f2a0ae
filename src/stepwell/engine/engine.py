"""The engine: the executor, the scheduler and the store as one thing with the verbs that servers use."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import App, Event, Function, Intake, Run
from stepwell.engine.core.run import Policy
from stepwell.engine.core.trigger import Registry, new_run, start, start_job
from stepwell.engine.executor import Executor
from stepwell.engine.ids import IdSource
from stepwell.engine.intake import Registries
from stepwell.engine.scheduler import Scheduler
from stepwell.engine.slots import Slots
from stepwell.engine.transport import Transport
from stepwell.engine.watch import NoWatcher, Watcher
from stepwell.errors import StoreError
from stepwell.limits import CALLS_PER_APP_MAX
from stepwell.protocol.ids import AppId, EnvironmentId, RunId
from stepwell.store.interface import IngestRequest, Result, SettingRequest, Store, SyncRequest, Verdict

_OFFSET: Final = "clock_offset_ms"
_QUIET_POLL_S: Final = 0.005
_QUIET_S_MAX: Final = 30.0
_STALE_TRIES_MAX: Final = 10


class Accepted(NamedTuple):
    """What became of ingested events: what each started, as it was planned, and which runs were skipped."""

    intakes: Sequence[Intake]
    skipped: frozenset[RunId]


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
    ) -> None:
        self.store = store
        self.environment = environment
        self.clock = clock or Clock()
        self.ids = ids or IdSource(self.clock.now)
        self.registries = Registries(store)
        self._slots = Slots(calls_per_app_max, self._slot_freed)
        self._scheduler = Scheduler(store, self.clock, self.ids, self._slots, self.registries, environment)
        self._executor = Executor(
            store,
            transport,
            self.clock,
            self.ids,
            self._slots,
            self.registries,
            policy or Policy(),
            watcher or NoWatcher(),
            self._scheduler.notice,
        )
        self._loop_task: asyncio.Task[None] | None = None
        self._travel = asyncio.Lock()

    async def start(self) -> None:
        """Open the store and begin to work. Raises ``StoreError`` when the store can't be opened."""
        await self.store.start(now=self.clock.now())
        offset = await self.store.load_setting(_OFFSET)
        self.clock.offset_ms = int(offset) if offset is not None else 0
        await self.store.add_environment(self.environment, now=self.clock.now())
        await self.registries.refresh(self.environment)
        await self._scheduler.start()
        self._loop_task = asyncio.get_running_loop().create_task(self._scheduler.run(self._executor))

    async def stop(self, *, grace_s: float = 10.0) -> None:
        """Claim no more, let calls under way finish for ``grace_s``, commit and close."""
        await self._executor.drain(grace_s)
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.wait([self._loop_task])
        await self.store.stop()

    @property
    def registry(self) -> Registry:
        """The registered functions, as last read."""
        return self.registries.of(self.environment)

    def free_calls(self, app: AppId) -> int:
        """Return how many more calls to an app may go out from this replica now."""
        return self._slots.free(app)

    def _slot_freed(self, partition: str) -> None:
        self._scheduler.slot_freed(partition)

    # -- events -------------------------------------------------------------------------------------------------

    async def ingest(self, events: Sequence[Event]) -> Accepted:
        """Store events and start what they trigger. When it returns, all of it is on disk.

        Raises ``StoreError`` when the database refused: then nothing was stored.
        """
        return await self._take_in(lambda registry, now: [self._start(event, registry, now) for event in events])

    async def invoke(self, event: Event, function: Function) -> Run:
        """Start one function directly with an event, whatever its triggers say."""
        accepted = await self._take_in(
            lambda registry, now: [start(event, registry, now=now, new_id=self.ids, only=function)]
        )
        return accepted.intakes[0].runs[0]

    def _start(self, event: Event, registry: Registry, now: int) -> Intake:
        return start(event, registry, now=now, new_id=self.ids)

    async def _take_in(self, plan: Callable[[Registry, int], list[Intake]]) -> Accepted:
        for _ in range(_STALE_TRIES_MAX):
            now = self.clock.now()
            registry = self.registry
            intakes = [
                msgspec.structs.replace(intake, jobs=tuple(self._executor.lease(intake.jobs, now)))
                if intake.jobs
                else intake
                for intake in plan(registry, now)
            ]

            def done(result: Result, intakes: Sequence[Intake] = intakes) -> None:
                if result.verdict is Verdict.COMMITTED:
                    self._executor.took_in(intakes, result)

            request = IngestRequest(self.environment, registry.revision, intakes, now, done)
            try:
                result = await self.store.submit(request)
            except StoreError:
                self._executor.give_back(intakes)
                raise
            if result.verdict is Verdict.COMMITTED:
                return Accepted(intakes, result.skipped)
            self._executor.give_back(intakes)
            await self.registries.refresh(self.environment)
        raise StoreError("the functions changed at each try: send the events again")

    # -- runs ---------------------------------------------------------------------------------------------------

    async def cancel(self, run_id: RunId, *, reason: str = "api") -> bool | None:
        """Cancel a run. None when there is none with this id, False when it had ended already."""
        state = (await self.store.load_runs([run_id])).get(run_id)
        if state is None:
            return None
        return await self._executor.cancel(state, self.registries.function(state.run), reason)

    async def rerun(self, run_id: RunId) -> Run | None:
        """Start a new run of the same function for the same event. None when there is no run with this id."""
        detail = await self.store.load_run(run_id)
        if detail is None:
            return None
        function = self.registries.function(detail.run)

        def plan(_registry: Registry, now: int) -> list[Intake]:
            run = new_run(detail.event, function, now=now, run_id=RunId(self.ids()), again=run_id)
            job = start_job(run, function, due_at=now)
            return [Intake(event=detail.event, runs=(run,), jobs=(job,), is_stored=True)]

        accepted = await self._take_in(plan)
        return accepted.intakes[0].runs[0]

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
                await self._scheduler.reload_schedules()
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
        self.clock.offset_ms = offset
        self._scheduler.wake()

    async def _quiet(self) -> None:
        deadline = asyncio.get_running_loop().time() + _QUIET_S_MAX
        while not (self._executor.busy == 0 and self._scheduler.is_idle):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_QUIET_POLL_S)
