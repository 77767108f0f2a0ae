"""The executor: takes leased jobs, calls the app, commits what came back, and hands on the jobs that follow.

    leased job ──▶ warm state ──▶ call ──▶ advance ──▶ commit ──▶ leased follow-up ──▶ …

Each leased job has one task here, and holds one slot of its partition from lease to commit. Replies of one run are
advanced in sequence, under the run's lock. A commit that the database refuses for now is tried until it goes through:
what the app did isn't thrown away because of a full disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import Final, Protocol, TypeAlias, TypeVar

import msgspec
import structlog

from stepwell.engine.clock import Clock
from stepwell.engine.core.change import Answered, Policy
from stepwell.engine.core.endpoint import report
from stepwell.engine.core.fetch import FetchRequest, FetchResult, fetch_failed, read_fetch
from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import (
    Attempt,
    Function,
    Intake,
    Job,
    JobKind,
    OpsReply,
    Outcome,
    RunStatus,
    Start,
    Transition,
    WaitKind,
)
from stepwell.engine.core.partition import TIMERS
from stepwell.engine.core.reply import server_error
from stepwell.engine.core.run import advance, cancel, checkpoint, fail_lost, fire, guard, settle_fetch
from stepwell.engine.core.state import RunState
from stepwell.engine.endings import Endings
from stepwell.engine.ids import IdSource
from stepwell.engine.intake import Registries, take_in
from stepwell.engine.outgoing import outgoing_call
from stepwell.engine.slots import Slots
from stepwell.engine.transport import Transport
from stepwell.engine.warm import LiveRun, WarmRuns
from stepwell.engine.watch import Watcher
from stepwell.errors import FetchError, StoreClosed, StoreError, StoreUnavailable
from stepwell.limits import LOST_ATTEMPTS_MAX
from stepwell.protocol.ids import JobId, RunId
from stepwell.protocol.ops import ENDS, Op, OpCode
from stepwell.store.found import Lease
from stepwell.store.interface import Fenced, Store
from stepwell.store.request import Claimed, CommitRequest, DropRequest, Fire, ReleaseRequest, Result, Verdict

_REFUSED_DELAYS_S: Final = (0.1, 0.5, 1.0, 2.0)
_MAY_CALL_POLL_S: Final = 0.1
_SWEEP_POLL_S: Final = 0.2  # while a wait may not time out, since an event that came before may end it

log = structlog.get_logger("stepwell.executor")

T = TypeVar("T")

Compute: TypeAlias = Callable[[RunState, Policy], Transition]
"""What makes a transition of a run's newest state."""


class Queue(Protocol):
    """What the executor tells the scheduler, and asks it."""

    def inserted(self, partition: str, due_at: int) -> None:
        """Note a job that was left in the queue."""
        ...

    def gathered(self, due_at: int) -> None:
        """Note a gathering, and when it is due."""
        ...

    def sweep(self) -> None:
        """Note that an event ends more waits than one transaction should."""
        ...

    def room(self, keys: Sequence[str]) -> None:
        """Note concurrency keys that have room again."""
        ...

    def must_yield(self, partition: str) -> bool:
        """Tell whether jobs of other partitions wait for the slot that a job of this one has."""
        ...


class Fetching(Protocol):
    """Makes the requests of steps."""

    async def fetch(self, request: FetchRequest) -> FetchResult: ...


class CheckpointVerdict(StrEnum):
    """What became of a checkpoint."""

    COMMITTED = "committed"
    STALE = "stale"  # the call that sent it isn't the job's any more
    GONE = "gone"  # its run has ended, or never was


class _NotLeased(Exception):
    """The job of a checkpoint isn't leased as its sender thinks."""


class _NotTaken(Exception):
    """A report changes nothing: why, and where the run is."""

    def __init__(self, verdict: CheckpointVerdict, status: RunStatus) -> None:
        super().__init__(verdict)
        self.verdict, self.status = verdict, status


class Executor:
    """Works on leased jobs. ``may_call`` tells whether this replica surely counts as alive."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        clock: Clock,
        ids: IdSource,
        slots: Slots,
        registries: Registries,
        policy: Policy,
        watcher: Watcher,
        queue: Queue,
        may_call: Callable[[], bool],
        fetcher: Fetching | None = None,
        endings: Endings | None = None,
    ) -> None:
        self._store, self._transport, self._clock, self._ids = store, transport, clock, ids
        self._slots, self._registries, self._policy = slots, registries, policy
        self._watcher, self._queue, self._may_call = watcher, queue, may_call
        self._fetcher, self._endings = fetcher, endings
        self._warm = WarmRuns()
        self._held: set[tuple[str, str, int]] = set()
        self._disowned: set[tuple[str, str, int]] = set()
        self.lease_count = 0
        """Leases asked for so far."""
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_draining = False

    @property
    def busy(self) -> int:
        """Return how many jobs are being worked on."""
        return len(self._tasks)

    def holds(self, lease: Lease) -> bool:
        """Tell whether a job that is leased to this replica is being worked on, or about to be."""
        return lease in self._held

    def disown(self, leases: Iterable[Lease]) -> None:
        """Note that leases are given back which aren't held: should they be handed over after all, they are dropped."""
        self._disowned.update(leases)

    # -- jobs in ------------------------------------------------------------------------------------------------

    def lease(self, jobs: Iterable[Job], now: int) -> list[Job]:
        """Mark those due jobs as leased to this replica for which there is a slot, which is reserved."""
        return [
            self._leased(job, now)
            if job.due_at <= now
            and not self.is_draining
            and self._registries.may_lease(job.partition)
            and self._slots.reserve(self._lane(job))
            else job
            for job in jobs
        ]

    def lease_intake(self, intake: Intake, now: int) -> Intake:
        """Lease the first jobs that an intake starts, as far as there are slots."""
        if not intake.starts:
            return intake
        jobs = self.lease(intake.jobs, now)
        starts = tuple(
            start if job is start.job else msgspec.structs.replace(start, job=job)
            for start, job in zip(intake.starts, jobs, strict=True)
        )
        return msgspec.structs.replace(intake, starts=starts)

    def _lane(self, job: Job) -> str:
        return self._registries.lane(job.partition)

    def _inserted(self, job: Job, state: RunState, result: Result, live: LiveRun | None = None) -> None:
        """Take over a job after it was inserted: begin it if it got its lease, else note it.

        A job that wanted a lease and didn't get it gives its slot back. A follow-up goes on with its own ``live`` run:
        the one that is warm may be older.
        """
        if job.owner is None:
            self._wait_for_slot(state, job)
        elif (job.run_id, job.id) in result.leased:
            self._begin(live or self._warm.put(state), job)
        else:
            self._slots.release(self._lane(job))
            waiting = msgspec.structs.replace(job, owner=None, leased_at=None)
            state.put(waiting)
            self._wait_for_slot(state, waiting)

    def _wait_for_slot(self, state: RunState, job: Job) -> None:
        """Leave a job in the queue; what is due already is likely to be claimed soon, and kept warm."""
        if job.due_at <= self._clock.now():
            self._warm.put(state)
        self._queue.inserted(job.partition, job.due_at)

    def claimed(self, claims: Sequence[Claimed]) -> None:
        """Take over jobs that were claimed from the queue; their slots are reserved already."""
        self.lease_count += len(claims)
        claims = [claim for claim in claims if not self._is_disowned(claim.job)]
        self._held.update(_key(claim.job) for claim in claims)
        self._watcher.touched([claim.job.run_id for claim in claims])
        cold: list[Claimed] = []
        for claim in claims:
            live = self._warm.get(claim.job.run_id, claim.run_version)
            if live is None:
                cold.append(claim)
            else:
                live.state.put(claim.job)
                self._begin(live, claim.job)
        if cold:
            self._spawn(self._load_and_begin(cold))

    async def _load_and_begin(self, claims: Sequence[Claimed]) -> None:
        states = await self._until_accepted(lambda: self._store.load_runs([claim.job.run_id for claim in claims]))
        for state in states.values():
            await self._until_accepted(partial(self._registries.find, state.run))
        for claim in claims:
            state = states.get(claim.job.run_id)
            if state is None:  # it was cancelled and pruned since
                self._drop(claim.job)
                await self._until_accepted(partial(self._store.submit, DropRequest([claim.job.run_id])))
                continue
            live = self._warm.get(claim.job.run_id) or self._warm.put(state)
            live.users += 1
            self._spawn(self._work_cold(live, state, claim.job))

    async def _work_cold(self, live: LiveRun, loaded: RunState, job: Job) -> None:
        """Work on a job whose run was read from the database: under the lock, since a commit may be on its way."""
        async with live.lock:
            if live.state.run.version < loaded.run.version:
                self._warm.replace(live, loaded)
            if not live.state.run.status.is_final:
                live.state.put(job)
        await self._work(live, job)

    def _is_disowned(self, job: Job) -> bool:
        """Tell whether a job was given back before it was handed over, and then forget it: its answer came too late."""
        if _key(job) not in self._disowned:
            return False
        self._disowned.discard(_key(job))
        self._release(job)
        return True

    def _leased(self, job: Job, now: int) -> Job:
        self.lease_count += 1
        return msgspec.structs.replace(job, owner=self._store.replica_id, generation=job.generation + 1, leased_at=now)

    def _begin(self, live: LiveRun, job: Job) -> None:
        self._held.add(_key(job))
        live.users += 1
        self._spawn(self._work(live, job))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, StoreClosed):
            log.error("executor.job_broke", exc_info=error)

    # -- one job ------------------------------------------------------------------------------------------------

    async def _work(self, live: LiveRun, job: Job) -> None:
        """Work on a job, and then on the job of its run that follows at once, until there is none."""
        try:
            following: Job | None = job
            while following is not None:
                job = following
                try:
                    await self._work_once(live, job)
                except StoreClosed:
                    raise
                except Exception:
                    log.exception("executor.job_broke", run_id=job.run_id)
                    await self._let_go(job)
                finally:
                    self._held.discard(_key(job))
                following, live.following = live.following, None
        finally:
            live.users -= 1

    async def _let_go(self, job: Job) -> None:
        """Give back a job whose work broke off by a bug of ours: it counts as lost, so that it doesn't go on for ever."""
        self._slots.release(self._lane(job))
        await self._until_accepted(lambda: self._store.submit(ReleaseRequest([job], is_lost=True)))
        self._released(job)

    async def _work_once(self, live: LiveRun, job: Job) -> None:
        function = self._registries.function(live.state.run)
        if self._is_disowned(job):
            return
        if live.state.run.status.is_final:  # it was cancelled since the job was claimed
            self._warm.drop(live.state.run.id)
            self._release(job)
            if job.kind.is_guard:  # it may have come when the run's jobs were gone already
                await self._until_accepted(lambda: self._store.submit(DropRequest([job.run_id])))
        elif job.lost_count >= LOST_ATTEMPTS_MAX:
            at = self._clock.now()
            await self._commit(live, job, function, lambda state, _: fail_lost(state, job, function, at=at))
        elif job.kind in (JobKind.TIMER, JobKind.WAIT):
            await self._commit(live, job, function, lambda state, _: fire(state, job, at=self._clock.now()))
        elif job.kind.is_guard:
            if live.state.run.status is RunStatus.QUEUED:  # another replica may have begun it meanwhile
                async with live.lock:
                    await self._reload(live)
            await self._commit(live, job, function, lambda state, _: guard(state, job, function, at=self._clock.now()))
        elif await self._may_begin():
            await (self._fetch if job.kind is JobKind.FETCH else self._call)(live, job, function)
        else:
            await self._until_accepted(lambda: self._store.submit(ReleaseRequest([job])))
            self._release(job)
            self._released(job)

    def _released(self, job: Job) -> None:
        """Tell that a job waits in the queue again."""
        self._queue.inserted(job.partition, job.due_at)
        self._give_room(job)
        self._watcher.touched([job.run_id])

    async def _may_begin(self) -> bool:
        """Wait until this replica surely counts as alive, and tell whether it may begin something: not while it drains."""
        while not self._may_call() and not self.is_draining:  # noqa: ASYNC110 - time makes it false, a beat true
            await asyncio.sleep(_MAY_CALL_POLL_S)
        return not self.is_draining

    async def _call(self, live: LiveRun, job: Job, function: Function) -> None:
        started_at = self._clock.now()
        stack_seen = len(live.state.stack)
        try:
            reply = await self._transport.call(outgoing_call(live.state, job, function))
        except Exception as error:
            log.exception("executor.call_broke", run_id=live.state.run.id)
            reply = server_error("internal_error", f"the server has a bug in making this call: {error!r}")
        answered = Answered(
            reply=reply,
            started_at=started_at,
            ended_at=self._clock.now(),
            chance=self._ids.chance.random(),
            stack_seen=stack_seen,
        )
        await self._commit(
            live,
            job,
            function,
            lambda state, policy: self._advance(state, job, answered, function, policy),
            dropped=lambda state: _lost(state, job, answered),
            refused=lambda error: self._refusing(job, answered, function, error),
        )

    def _refusing(self, job: Job, answered: Answered, function: Function, error: StoreError) -> Compute:
        refused = server_error("not_stored", f"what the app answered can't be stored: {error}")
        reply = msgspec.structs.replace(refused, exchange=answered.reply.exchange)
        return lambda state, policy: self._advance(state, job, answered._replace(reply=reply), function, policy)

    def _advance(self, state: RunState, job: Job, answered: Answered, function: Function, policy: Policy) -> Transition:
        """Advance a run; a bug of ours becomes a failed attempt, since a run must never be stuck."""
        try:
            return advance(state, job, answered, function, policy)
        except Exception as error:
            log.exception("executor.advance_broke", run_id=state.run.id)
            reply = server_error("internal_error", f"the server has a bug in handling this reply: {error!r}")
            return advance(state, job, answered._replace(reply=reply), function, policy)

    async def _fetch(self, live: LiveRun, job: Job, function: Function) -> None:
        """Make the request of a step. No app is called for it."""
        started_at = self._clock.now()
        op = OpCode(job.op)
        try:
            assert self._fetcher is not None, "a server makes the requests of steps"
            assert job.payload is not None, "a fetch has a request"
            result = await self._fetcher.fetch(read_fetch(op, job.payload))
        except FetchError as refused:
            result = fetch_failed(op, str(refused), is_retriable=False)
        except Exception as broken:
            log.exception("executor.fetch_broke", run_id=live.state.run.id)
            result = fetch_failed(op, f"the server has a bug: {broken!r}", is_retriable=True)
        chance = self._ids.chance.random()
        answered = Answered(OpsReply(ops=()), started_at, self._clock.now(), chance, stack_seen=0)
        await self._commit(
            live,
            job,
            function,
            lambda state, policy: settle_fetch(state, job, result, answered, function, policy),
            dropped=lambda state: _lost(state, job, answered),
        )

    # -- commits ------------------------------------------------------------------------------------------------

    async def cancel(self, state: RunState, function: Function, reason: str) -> bool:
        """Cancel a run; False when it had ended already."""
        live = self._warm.put(state)
        live.users += 1
        try:
            return await self._commit(
                live,
                None,
                function,
                lambda state, _: cancel(state, function, at=self._clock.now(), reason=reason),
            )
        finally:
            live.users -= 1

    def warm_state(self, run_id: RunId) -> RunState | None:
        """Return a run that is in memory."""
        live = self._warm.get(run_id)
        return live.state if live is not None else None

    async def checkpoint(
        self,
        state: RunState,
        function: Function,
        job_id: JobId,
        generation: int | None,
        ops: Sequence[Op],
        started_at: int,
    ) -> CheckpointVerdict:
        """Commit steps of a call that goes on, whoever made it: the job's lease is the fence, not the replica.

        Without a ``generation`` it is whichever lease the job has.
        ``state`` is read from the database, unless the run is warm here.
        """

        def compute(state: RunState, policy: Policy) -> Transition | None:
            job = state.jobs.get(job_id)
            if job is None or job.owner is None or generation not in (None, job.generation):
                raise _NotLeased
            at = self._clock.now()
            return checkpoint(state, job, ops, started_at=started_at, at=at, function=function, policy=policy)

        try:
            transition = await self._take(state, function, compute)
        except _NotTaken as refused:
            return refused.verdict
        # What broke a limit has ended the run: the app has nothing more to do for it.
        is_over = transition is not None and transition.is_final
        return CheckpointVerdict.GONE if is_over else CheckpointVerdict.COMMITTED

    async def report(
        self, state: RunState, function: Function, ops: Sequence[Op], request_version: int
    ) -> CheckpointVerdict:
        """Commit what the app reports of a run that began there (``core/endpoint.py``), and take up what it asks for.

        ``state`` is read from the database, unless the run is warm here.
        """

        def compute(state: RunState, policy: Policy) -> Transition | None:
            return report(
                state,
                ops,
                request_version=request_version,
                at=self._clock.now(),
                chance=self._ids.chance.random(),
                function=function,
                policy=policy,
            )

        try:
            await self._take(state, function, compute)
        except _NotTaken as refused:
            is_told_again = refused.status is RunStatus.COMPLETED and any(op.code in ENDS for op in ops)
            return CheckpointVerdict.COMMITTED if is_told_again else refused.verdict
        return CheckpointVerdict.COMMITTED

    async def _take(
        self, state: RunState, function: Function, compute: Callable[[RunState, Policy], Transition | None]
    ) -> Transition | None:
        """Commit what an app reports of a run without being asked, again from the newest state while it is stale.

        Returns what was committed, None if there was nothing new. Raises ``_NotTaken``, and ``StoreError``.
        """
        live = self._warm.put(state)
        live.users += 1
        policy = self._policy
        is_fresh = False
        try:
            async with live.lock:
                while True:
                    status = live.state.run.status
                    if status.is_final:
                        raise _NotTaken(CheckpointVerdict.GONE, status)
                    try:
                        transition = compute(live.state, policy)
                    except _NotLeased:  # the state in memory may be old
                        if is_fresh:
                            raise _NotTaken(CheckpointVerdict.STALE, status) from None
                    else:
                        if transition is None:
                            return None
                        request = self._request(live, None, function, transition)
                        try:
                            result = await self._store.submit(request)
                        except StoreError:
                            self._give_back(request)
                            raise
                        if result.verdict is Verdict.COMMITTED:
                            return transition
                        self._give_back(request)
                        if result.verdict is Verdict.CONFLICT:
                            policy = _knowing_conflicts(policy, transition)
                            continue
                    await self._reload(live)
                    is_fresh = True
        finally:
            live.users -= 1

    async def _commit(
        self,
        live: LiveRun,
        job: Job | None,
        function: Function,
        compute: Compute,
        dropped: Callable[[RunState], Transition] | None = None,
        refused: Callable[[StoreError], Compute] | None = None,
    ) -> bool:
        """Advance a run and commit, again from the newest state while it is stale. False when nothing was written.

        ``dropped`` makes what is kept of a reply whose run or job has ended meanwhile, ``refused`` what becomes of one
        that the database won't have, however often it is tried.
        """
        async with live.lock:
            tries = 0
            is_lost = False
            policy = self._policy
            while True:
                state = live.state
                if not state.run.status.is_final and not is_lost:
                    transition = compute(state, policy)
                elif dropped is not None:
                    transition = dropped(state)
                else:
                    self._release(job)
                    return False
                request = self._request(live, job, function, transition)
                try:
                    result = await self._store.submit(request)
                except StoreError as error:
                    self._give_back(request)
                    if job is None or isinstance(error, StoreClosed):  # a wish from outside may be made again
                        raise
                    if isinstance(error, Fenced):
                        self._drop(job)
                        self._warm.drop(state.run.id)
                        return False
                    await _refused(error, tries)
                    tries += 1
                    if refused is not None and not isinstance(error, StoreUnavailable):
                        compute = refused(error)
                    continue
                if result.verdict is Verdict.COMMITTED:
                    return True
                self._give_back(request)
                if result.verdict is Verdict.CONFLICT:
                    policy = _knowing_conflicts(policy, transition)
                    continue
                if result.verdict is Verdict.LOST:
                    self._watcher.touched([state.run.id])  # the attempt was kept
                    self._release(job)
                    self._warm.drop(state.run.id)
                    return False
                await self._reload(live)
                is_lost = job is not None and not _is_leased(live.state, job)
                if job is not None and job.kind is JobKind.WAIT and live.state.run.version == state.run.version:
                    await asyncio.sleep(_SWEEP_POLL_S)

    async def _reload(self, live: LiveRun) -> None:
        """Read a run and the functions anew: a commit was stale. The run's lock must be held."""
        run = live.state.run
        await self._until_accepted(lambda: self._registries.refresh(run.environment))
        states = await self._until_accepted(lambda: self._store.load_runs([run.id]))
        self._warm.replace(live, states[run.id])
        self._watcher.touched([run.id])  # by a commit, perhaps, whose outcome never arrived

    def _request(self, live: LiveRun, job: Job | None, function: Function, transition: Transition) -> CommitRequest:
        """Make the commit of a transition. Its effects in memory are made after it, before anything else."""
        now = self._clock.now()
        registry = self._registries.of(transition.run.environment)
        intakes: Sequence[Intake] = ()
        if transition.events or transition.invocations:
            taken = take_in(transition, registry, function, now=now, new_id=self._ids)
            intakes = [self.lease_intake(intake, now) for intake in taken.intakes]
            if taken.resolutions:
                resolutions = (*transition.resolutions, *taken.resolutions)
                transition = msgspec.structs.replace(transition, resolutions=resolutions)
        if transition.jobs:
            jobs = self._lease_follow_ups(transition.jobs, job, now)
            transition = msgspec.structs.replace(transition, jobs=tuple(jobs))

        def done(result: Result) -> None:
            if result.verdict is Verdict.COMMITTED:
                self._committed(live, job, function, transition, intakes, result)

        return CommitRequest(
            transition=transition,
            environment=transition.run.environment,
            revision=registry.revision if transition.events or transition.invocations else None,
            intakes=intakes,
            done=done,
        )

    def _lease_follow_ups(self, jobs: Sequence[Job], ended: Job | None, now: int) -> list[Job]:
        """Lease what can go on at once: the first in the lane of the job that ended takes over its slot.

        Unless others wait for that: then it gets in line, in which it keeps its place.
        """
        leased: list[Job] = []
        inherited = self._lane(ended) if ended is not None else None
        for job in jobs:
            if job.due_at > now or self.is_draining or not self._registries.may_lease(job.partition):
                leased.append(job)
                continue
            lane = self._lane(job)
            if lane == inherited and not self._queue.must_yield(job.partition):
                inherited = None
                leased.append(self._leased(job, now))
            elif lane != inherited and self._slots.reserve(lane):
                leased.append(self._leased(job, now))
            else:
                leased.append(job)
        return leased

    def _heir(self, transition: Transition, ended: Job | None) -> Job | None:
        """Return the follow-up that takes over the slot of the job that ended, if any does."""
        if ended is None:
            return None
        lane = self._lane(ended)
        return next((job for job in transition.jobs if job.owner is not None and self._lane(job) == lane), None)

    def _committed(
        self,
        live: LiveRun,
        job: Job | None,
        function: Function,
        transition: Transition,
        intakes: Sequence[Intake],
        result: Result,
    ) -> None:
        """Make the effects in memory of a committed transition: state, slots, leased jobs, those who watch."""
        if job is not None and self._heir(transition, job) is None:
            self._slots.release(self._lane(job))
        settled = tuple(
            follow_up
            if follow_up.owner is None or (follow_up.run_id, follow_up.id) in result.leased
            else msgspec.structs.replace(follow_up, owner=None, leased_at=None)
            for follow_up in transition.jobs
        )
        before = live.state.memo_bytes
        live.state.apply(msgspec.structs.replace(transition, jobs=settled))
        self._warm.grew(live, live.state.memo_bytes - before)
        if transition.is_final:
            self._warm.drop(transition.run.id)
            if self._endings is not None:
                self._endings.tell(transition.run.id)
        for follow_up in transition.jobs:
            if job is not None and live.following is None and (follow_up.run_id, follow_up.id) in result.leased:
                live.following = follow_up
                self._held.add(_key(follow_up))
            else:
                self._inserted(follow_up, live.state, result, live)
        self.took_in(intakes, result)
        if transition.job is not None:
            self._give_room(transition.job)
        if transition.is_final and "|" in transition.run.partition:
            self._queue.room(self._registries.slot_keys(transition.run.partition))
        self._watcher.changed(transition, function)

    def _give_room(self, job: Job) -> None:
        """Tell that a job is no longer counted among those of its concurrency keys."""
        if "|" in job.partition:
            self._queue.room(self._registries.slot_keys(job.partition))

    def took_in(self, intakes: Sequence[Intake], result: Result) -> None:
        """Take over what committed intakes started, and what they let go on."""
        now = self._clock.now()
        for intake in intakes:
            if not intake.starts:
                if intake.event.id not in result.duplicate:
                    self._watcher.took_in(intake, (), result)
                continue
            if intake.event.id in result.duplicate:
                self.give_back([intake])
                continue
            for start in intake.starts:
                self._started(start, intake.event.body, result)
            functions = [self._registries.function(start.run) for start in intake.starts]
            self._watcher.took_in(intake, functions, result)
        if result.resumed:
            self._queue.inserted(TIMERS, now)
            self._watcher.touched(result.resumed)
        if result.gathering_due is not None:
            self._queue.gathered(result.gathering_due)
        if result.is_swept:
            self._queue.sweep()

    def _started(self, start: Start, event: bytes, result: Result, events: Sequence[bytes] = ()) -> None:
        run, job = start.run, start.job
        if run.id in result.skipped or run.id in result.gathered:
            if job.owner is not None:
                self._slots.release(self._lane(job))
            return
        for guard_job in start.guards:
            self._queue.inserted(guard_job.partition, guard_job.due_at)
        self._inserted(job, RunState(run, event, (), (job, *start.guards), events or start.bodies), result)

    def fired(self, fires: Sequence[tuple[Fire, Sequence[bytes]]], result: Result) -> None:
        """Take over the runs of gatherings, each with the bodies of its events."""
        for (_, _, event, start), bodies in fires:
            if start.run.id in result.fired:
                self._started(start, bodies[0], result, bodies)
                intake = Intake(event, (start,), is_stored=True)
                self._watcher.took_in(intake, [self._registries.function(start.run)], result)
            else:
                self.give_back_starts([start])
        if result.resumed:
            self._queue.inserted(TIMERS, self._clock.now())
            self._watcher.touched(result.resumed)

    def give_back(self, intakes: Sequence[Intake]) -> None:
        """Give back the slots that were reserved for jobs that weren't inserted."""
        for intake in intakes:
            self.give_back_starts(intake.starts)

    def give_back_starts(self, starts: Iterable[Start]) -> None:
        """Give back the slots that were reserved for first jobs that weren't inserted."""
        for start in starts:
            if start.job.owner is not None:
                self._slots.release(self._lane(start.job))

    def _give_back(self, request: CommitRequest) -> None:
        """Give back the slots that a commit reserved: all but the one of the job that it ends."""
        ended = request.transition.job
        heir = self._heir(request.transition, ended) if ended is not None and ended.owner is not None else None
        for job in request.transition.jobs:
            if job.owner is not None and job is not heir:
                self._slots.release(self._lane(job))
        self.give_back(request.intakes)

    def _release(self, job: Job | None) -> None:
        if job is not None:
            self._slots.release(self._lane(job))

    def _drop(self, job: Job | None) -> None:
        """Forget a job that isn't ours any more."""
        self._release(job)
        if job is not None:
            self._held.discard(_key(job))

    async def _until_accepted(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try until the database takes it."""
        tries = 0
        while True:
            try:
                return await attempt()
            except StoreClosed:
                raise
            except StoreError as error:
                await _refused(error, tries)
                tries += 1

    # -- the end ------------------------------------------------------------------------------------------------

    def begin_drain(self) -> None:
        """Begin no more calls; what is leased and hasn't begun is given back."""
        self.is_draining = True
        self._slots.close()

    async def drain(self, grace_s: float) -> None:
        """Begin no more calls, wait for those under way up to ``grace_s``, then break off the rest.

        What is broken off stays leased, until this replica leaves.
        """
        self.begin_drain()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        await self.abandon()

    async def abandon(self) -> None:
        """Break off all work: it isn't ours any more."""
        self.begin_drain()
        while self._tasks:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.wait(self._tasks)


def _is_leased(state: RunState, job: Job) -> bool:
    """Tell whether a lease still holds, by a state that was read after it was given; one that is warm may be older.

    It doesn't where an earlier try went through although its outcome never arrived, or where others have the job now.
    """
    found = state.jobs.get(job.id)
    return found is not None and (found.owner, found.generation) == (job.owner, job.generation)


def _knowing_conflicts(policy: Policy, transition: Transition) -> Policy:
    """Return the policy for another try, in which the run knows that its signals are taken."""
    signals = frozenset(wait.name for wait in transition.waits if wait.kind is WaitKind.SIGNAL)
    return policy._replace(conflicting=signals)


def _key(job: Job) -> tuple[str, str, int]:
    return (job.run_id, job.id, job.generation)


async def _refused(error: StoreError, tries: int) -> None:
    """Wait after the database refused, longer each time: a full disk is no reason to forget a reply."""
    delay_s = _REFUSED_DELAYS_S[min(tries, len(_REFUSED_DELAYS_S) - 1)]
    if not isinstance(error, StoreUnavailable):  # of that the store has one line for all
        log.warning("store.refused", error=str(error), retry_in_s=delay_s)
    await asyncio.sleep(delay_s)


def _lost(state: RunState, job: Job, answered: Answered) -> Transition:
    """Keep the attempt of a reply that came after its run or its job had ended; it changes nothing else."""
    run = state.run
    if not run.status.is_final:
        run = msgspec.structs.replace(run, version=run.version + 1)  # the job's fence decides, not the run's version
    attempt = Attempt(
        run_id=state.run.id,
        id=attempt_id(job),
        step_id=job.step_id,
        title=job.title,
        attempt=job.attempt,
        started_at=answered.started_at,
        ended_at=answered.ended_at,
        outcome=Outcome.LOST,
        exchange=answered.reply.exchange,
    )
    return Transition(run=run, at=answered.ended_at, job=job, attempt=attempt)
