"""The promises of the design (section 4), as checks: at each call, at each commit, and at rest."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from stepwell.engine.core.model import Job, JobKind
from stepwell.engine.core.partition import FETCHES, TIMERS, later
from stepwell.engine.core.state import RunState
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.ids import ReplicaId
from stepwell.store.read import load_runs
from stepwell.store.request import (
    BeatRequest,
    ClaimRequest,
    CommitRequest,
    IngestRequest,
    LeaveRequest,
    ReapRequest,
    Request,
    Result,
    Verdict,
)
from tests.simulation.account import Account
from tests.simulation.app import Execution
from tests.simulation.flow import Usage
from tests.simulation.replica import TAKE_OVER_S, Replica
from tests.simulation.waits import Waits

if TYPE_CHECKING:
    from tests.simulation.database import SimulatedStore
    from tests.simulation.world import World

LATENCY_S = 0.5
"""What a take-over may take on top, for a few round trips to the database."""
LOOK_S = 35.0
"""After which a job that nobody told of is found: fifteen beats, and the last of them."""
AHEAD_MS_MAX = 500  # half of what a beat that sets the clock may take


class Promises:
    """Watches a world, and tells it which promise was broken."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.recorded: set[tuple[str, str]] = set()
        self.ended: set[str] = set()
        self.gone: set[ReplicaId] = set()
        """Replicas that were reaped, or have left: nothing may be written by them."""
        self.take_overs = 0
        """Deaths of which it was checked that others took over in time."""
        self._ids: dict[ReplicaId, Replica] = {}
        self._abandoned: set[str] = set()
        """Calls of which nobody waits for the answer any more, or which will change nothing: their caller died, say."""
        self._made: dict[ReplicaId, list[str]] = {}
        """All calls of each replica. One that dies may have had an answer that it didn't commit yet."""
        self._out: dict[str, str] = {}
        """The call under way for each job."""
        self._calls: Counter[tuple[Replica, str]] = Counter()
        """How many calls each replica has under way, by app."""
        self._nows: dict[Replica, int] = {}
        self.waits = Waits(world)
        self._slugs: dict[str, str] = {}
        self.starts: dict[str, int] = {}
        """When each run was first claimed, by the database's time or that of whoever has it for itself."""
        self._claims: Counter[str] = Counter()
        """How many jobs of each partition were claimed so far."""
        self._usage: Usage | None = None
        self._free_since: dict[tuple[Any, ...], float] = {}
        """Since when each job that nobody has, at its generation, was seen so."""

    # -- replicas -----------------------------------------------------------------------------------------------

    def entered(self, replica: Replica, id: ReplicaId) -> None:
        self._ids[id] = replica

    def died(self, replica: Replica) -> None:
        """Note that a replica was killed. Others take its work over in time."""
        self._end(replica)
        self.silent(replica)

    def silent(self, replica: Replica) -> None:
        """Note that a replica is silent from now on."""
        if self._world.is_shared:
            work = self._watch_take_over(replica, replica.store.replica_id, self._world.loop.time())
            self._world.look_after(self._world.loop.run_as(None, self._world.loop.create_task, work))

    async def _watch_take_over(self, replica: Replica, id: ReplicaId, at: float) -> None:
        await asyncio.sleep(TAKE_OVER_S + LATENCY_S)
        if not (replica.is_dead or replica.is_paused) or replica.ill_at > at:
            return  # it came back meanwhile
        world = self._world
        # Whoever missed beats itself gives the others time before it judges them.
        since = at - TAKE_OVER_S
        well = [other for other in world.serving if not other.is_paused and other.ill_at < since]
        if not well or not world.is_well or world.database.ill_at >= since:
            return
        self.take_overs += 1
        if world.query(f"select 1 from replica where id = '{id}'"):
            world.fail(f"{id} wasn't reaped {TAKE_OVER_S} s after its death")

    def stopped(self, replica: Replica, began_at: float, grace_s: float) -> None:
        """Note that a replica has stopped in good order: it has left, and in time."""
        self._end(replica)
        world, id = self._world, replica.store.replica_id
        if world.database.ill_at >= began_at or replica.ill_at >= began_at or not world.is_well:
            return
        if world.loop.time() - began_at > grace_s + LATENCY_S:
            world.fail(f"{id} took {world.loop.time() - began_at:.1f} s to stop with a grace of {grace_s} s")
        if world.query(f"select 1 from replica where id = '{id}'"):
            world.fail(f"{id} has stopped, and hasn't left")

    def _end(self, replica: Replica) -> None:
        for id, owner in self._ids.items():
            if owner is replica:
                self._abandoned.update(self._made.pop(id, ()))

    # -- calls --------------------------------------------------------------------------------------------------

    def called(self, replica: Replica, call: OutgoingCall) -> None:
        """Check that a replica may make this call: it lives in the eyes of the others, and nobody else makes it."""
        id = replica.store.replica_id
        self._made.setdefault(id, []).append(call.request_id)
        if id in self.gone:
            self.abandon(call.request_id)
            if not self._world.database.is_stepped:
                self._world.fail(f"{id} makes a call after it was reaped")
        self._calls[replica, _app_of(call)] += 1
        if self._calls[replica, _app_of(call)] > self._world.calls_per_app_max:
            self._world.fail(f"{id} makes more than {self._world.calls_per_app_max} calls to {_app_of(call)}")
        job = call.request_id.rpartition(".")[0]
        other = self._out.get(job)
        if other is not None and other not in self._abandoned:
            self._world.fail(f"two calls are made at the same time for job {job}: {other} and {call.request_id}")
        self._out[job] = call.request_id

    def returned(self, replica: Replica, call: OutgoingCall) -> None:
        self._calls[replica, _app_of(call)] -= 1
        job = call.request_id.rpartition(".")[0]
        if self._out.get(job) == call.request_id:
            del self._out[job]

    def abandon(self, request_id: str) -> None:
        """Note that the answer to a call will change nothing."""
        self._abandoned.add(request_id)

    def began(self, execution: Execution) -> None:
        """Check that a step's body may run now, and that it is explained why it runs again."""
        key = (execution.run_id, execution.step)
        is_abandoned = execution.caller in self._abandoned
        what = f"{execution.run_id}: step {execution.step[:8]}"
        if key in self.recorded and not is_abandoned:
            self._world.fail(f"{what} runs again after its result was recorded")
        for other in self._world.app.ledger.by_step.get(key, ()):
            if is_abandoned or other.caller in self._abandoned:
                continue
            if not other.is_over:
                self._world.fail(f"{what} runs twice at the same time")
            if other.attempt == execution.attempt:
                self._world.fail(f"{what} runs again in its attempt {other.attempt}, and nothing explains it")

    # -- what is committed --------------------------------------------------------------------------------------

    def submitted(self, replica: Replica, request: Request) -> None:
        """Check a replica's time: it never goes backwards, and is the database's where that is shared."""
        if not isinstance(request, IngestRequest | ClaimRequest):
            return
        world = self._world
        if request.now < self._nows.get(replica, 0):
            world.fail(f"the clock of replica {replica.number} went back to {request.now}")
        self._nows[replica] = request.now
        if world.is_shared and not world.database.is_stepped and request.now > world.database.now() + AHEAD_MS_MAX:
            world.fail(f"the clock of replica {replica.number} is ahead of the database's")

    def committed(self, store: SimulatedStore, requests: Sequence[Request], results: Sequence[Result]) -> None:
        """Look at a transaction right after it: what is recorded stays, what has ended has ended."""
        db = store._writer
        if store.replica_id in self.gone:
            self._world.fail(f"{store.replica_id} wrote something after it was reaped")
        for request, result in zip(requests, results, strict=True):
            if isinstance(request, CommitRequest) and result.verdict is Verdict.COMMITTED:
                self._note_transition(request)
            elif isinstance(request, ClaimRequest):
                for claim in result.claimed:
                    self._claims[claim.job.partition.partition("|")[0]] += 1
                    if claim.job.id == "0.0":
                        self.starts.setdefault(claim.job.run_id, request.now)
        self.waits.committed(requests, results)
        if any(isinstance(request, ReapRequest | LeaveRequest) for request in requests):
            alive = {id for (id,) in db.execute("select id from replica")}
            gone = [id for id in self._ids if id not in alive and id not in self.gone]
            self.gone.update(gone)
            is_reaped = any(isinstance(request, ReapRequest) for request in requests)
            for id in gone:
                self._world.tell("gone", replica=id)
                is_its_name = self._ids[id].store.replica_id == id  # else it has entered anew
                if is_reaped and is_its_name and self._is_well(self._ids[id], TAKE_OVER_S):
                    self._world.fail(f"{id} was reaped, and lives")
                self._abandoned.update(self._made.pop(id, ()))
        if not all(isinstance(request, BeatRequest) for request in requests):
            self._check_jobs(db)
            for excess in self.usage(db).over(db) if self._world.has_flow else ():
                self._world.fail(excess)

    def usage(self, db: sqlite3.Connection) -> Usage:
        """Return the count of what is under way, with the functions as they are registered."""
        if self._usage is None or db.execute("select count(*) from function").fetchone()[0] != len(self._slugs):
            self._slugs = dict(db.execute("select id, slug from function"))
            self._usage = Usage(self._world.app.programs, self._slugs)
        return self._usage

    def _is_well(self, replica: Replica, for_s: float) -> bool:
        """Tell that nothing has kept a replica from its work, and from the database, for so long."""
        world = self._world
        since = world.loop.time() - for_s
        is_ill = replica.is_dead or replica.is_paused or replica.ill_at >= since
        return replica.is_serving and not is_ill and world.is_well and world.database.ill_at < since

    def _note_transition(self, request: CommitRequest) -> None:
        world, transition = self._world, request.transition
        run_id = transition.run.id
        world.tell("commit", run=run_id, version=transition.run.version, status=transition.run.status.value)
        if run_id in self.ended:
            world.fail(f"{run_id}: changed after its end")
        if transition.is_final:
            self.ended.add(run_id)
        for step in transition.steps:
            if (run_id, step.id) in self.recorded:
                world.fail(f"{run_id}: step {step.id[:8]} was recorded twice")
            self.recorded.add((run_id, step.id))

    def _check_jobs(self, db: sqlite3.Connection) -> None:
        for (run_id,) in db.execute(
            "select id from run where status in ('queued', 'running')"
            " and id not in (select run_id from job where kind not in ('cancel', 'timeout'))"
        ):
            self._world.fail(f"{run_id}: isn't finished and has no job that brings it on")
        for (run_id,) in db.execute(
            "select run.id from job join run on run.id = job.run_id where run.status not in ('queued', 'running')"
        ):
            self._world.fail(f"{run_id}: is finished and has jobs")
        for run_id, owner in db.execute(
            "select run_id, owner from job where owner is not null and owner not in (select id from replica)"
        ):
            self._world.fail(f"{run_id}: a job is leased to {owner}, which isn't there")

    # -- at rest ------------------------------------------------------------------------------------------------

    def compare_warm_runs(self) -> None:
        """A state in memory is the fold of what was committed: it equals the one that the database gives."""
        for replica in self._world.serving:
            for run_id, live in replica.engine._executor._warm._runs.items():
                if live.lock.locked():
                    continue
                loaded = replica.store._read_now(load_runs([run_id])).get(run_id)
                if loaded is not None and loaded.run.version == live.state.run.version:
                    self._compare(live.state, loaded)

    def _compare(self, warm: RunState, loaded: RunState) -> None:
        for part in ("run", "memo", "stack", "steps_sorted", "memo_bytes", "jobs", "pending", "joined"):
            mine, theirs = getattr(warm, part), getattr(loaded, part)
            if part == "jobs":
                mine, theirs = _own(mine.values()), _own(theirs.values())
            # Others lease them without changing the run, and so does the scheduler, where a limit is asked first.
            if part == "jobs" and (self._world.is_shared or "|" in warm.run.partition):
                mine, theirs = _without_leases(mine), _without_leases(theirs)
            if mine != theirs:
                self._world.fail(f"{warm.run.id}: {part} in memory is {mine}, in the database {theirs}")

    async def check_settled(self) -> None:
        """Once the trouble is over for a while: all that is due is worked on, by those who have it."""
        world = self._world
        if not world.is_steady:  # a clock that was set back makes everything late
            return
        ids = sorted(id for (id,) in world.query("select id from replica"))
        if ids != sorted(replica.store.replica_id for replica in world.serving):
            world.fail(f"the database has the replicas {ids}")
        for replica in world.serving:
            revision, _ = await replica.run(replica.engine.store.load_functions(replica.engine.environment))
            if replica.engine.registry.revision != revision:
                world.fail(f"replica {replica.number} doesn't know the functions of revision {revision}")
        await self._look_twice(self._neglected)

    async def watch(self) -> None:
        """See to it that nobody leaves due work alone, while the trouble goes on."""
        while self._world.is_troubled:
            await asyncio.sleep(5)
            if self._world.is_steady:
                await self._look_twice(self._left_alone)

    async def _look_twice(self, look: Callable[[], set[str]]) -> None:
        """Fail by what is seen twice: what is being handed over is no more so after a second."""
        before = look()
        await asyncio.sleep(1)
        for neglect in sorted(before & look()):
            self._world.fail(neglect)

    def _left_alone(self) -> set[str]:
        """Return the due jobs that nobody has for long, although somebody is well and has a slot for them."""
        world, found, free_since = self._world, set[str](), dict[tuple[Any, ...], float]()
        for *lease, partition, due_at, slug, event_id, status in world.query(
            "select job.run_id, job.id, generation, job.partition, due_at, slug, event_id, run.status"
            " from job join run on run.id = run_id"
            " join function on function.id = run.function_id where owner is null and paused_at is null"
        ):
            job = (*lease, due_at)
            if partition not in (TIMERS, FETCHES) and self._world.app.programs[slug].flow:
                # Others may have been faster, again and again: what counts is that nobody gets the room.
                if "throttle" in self._world.app.programs[slug].flow and status == "queued":
                    continue
                db = next(replica.store._writer for replica in world.serving) if world.serving else None
                if db is None or not self.usage(db).has_room(db, slug, event_id):
                    continue
                job = (*job, sum(self._claims.values()))
            since = free_since[job] = self._free_since.get(job, world.loop.time())
            if max(due_at, world.now() - round((world.loop.time() - since) * 1000)) <= world.now() - LOOK_S * 1000:
                for replica in world.serving:
                    if self._is_well(replica, LOOK_S) and _has_slot(replica, partition):
                        found.add(f"job {job} is due, and replica {replica.number} doesn't take it")
        self._free_since = free_since
        return found

    def _neglected(self) -> set[str]:
        world, found = self._world, self._left_alone()
        replicas = {replica.store.replica_id: replica for replica in world.serving}
        for *lease, owner in world.query("select run_id, id, generation, owner from job where owner is not null"):
            if owner in replicas and tuple(lease) not in replicas[owner].engine._executor._held:
                found.add(f"job {lease} is leased to {owner}, which doesn't hold it")
        for id, replica in replicas.items():
            used, executor = replica.engine._slots._used, replica.engine._executor
            if executor.busy == 0 and used:
                found.add(f"{id} works on nothing, and uses the slots {used}")
        return found

    def check_rest(self) -> None:
        """When everything has ended, look at all of it."""
        world = self._world
        self.compare_warm_runs()
        for replica in world.serving:
            executor, slots = replica.engine._executor, replica.engine._slots
            if executor.busy or slots.used or executor._held:
                world.fail(
                    f"at rest, replica {replica.number} works on {executor.busy} jobs, uses {slots.used} slots,"
                    f" holds {executor._held}"
                )
        for table in ("job", "wait", "slot", "gathering", "sweep"):
            if left := world.query(f"select * from {table} limit 3"):
                world.fail(f"at rest, there is a {table} left: {left}")
        Account(world).check()


def _has_slot(replica: Replica, partition: str) -> bool:
    return replica.engine._slots.free(replica.engine.registries.lane(partition)) > 0


def _app_of(call: OutgoingCall) -> str:
    return urlsplit(call.url).netloc


def _own(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs as far as only the run's own transitions change them: what it waits for comes from others."""
    return sorted(
        (
            msgspec.structs.replace(job, due_at=0, memo=None, resolved_by=None) if job.kind is JobKind.WAIT else job
            for job in jobs
            if job.kind is not JobKind.CANCEL
        ),
        key=lambda job: job.id,
    )


def _without_leases(jobs: Iterable[Job]) -> list[Any]:
    return sorted(
        (
            msgspec.structs.replace(
                job, owner=None, leased_at=None, generation=0, lost_count=0, partition=later(job.partition)
            )
            for job in jobs
        ),
        key=lambda job: job.id,
    )
