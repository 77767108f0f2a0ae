"""The promises of the design (section 4), as checks: at each call, at each commit, and at rest."""

from __future__ import annotations

import asyncio
import itertools
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from stepwell.engine.core.model import Event, Job
from stepwell.engine.core.state import RunState
from stepwell.engine.transport import OutgoingCall
from stepwell.limits import LOST_ATTEMPTS_MAX
from stepwell.protocol.ids import ReplicaId
from stepwell.store.interface import (
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
from stepwell.store.read import load_runs
from tests.simulation.app import Execution, Program
from tests.simulation.replica import TAKE_OVER_S, Replica

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
            "select id from run where status in ('queued', 'running') and id not in (select run_id from job)"
        ):
            self._world.fail(f"{run_id}: isn't finished and has no job")
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
            if part == "jobs" and self._world.is_shared:  # others lease them without changing the run
                mine, theirs = _without_leases(mine.values()), _without_leases(theirs.values())
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
        for *lease, partition, due_at in world.query(
            "select run_id, id, generation, partition, due_at from job where owner is null"
        ):
            job = (*lease, due_at)
            since = free_since[job] = self._free_since.get(job, world.loop.time())
            if max(due_at, world.now() - round((world.loop.time() - since) * 1000)) <= world.now() - LOOK_S * 1000:
                for replica in world.serving:
                    if self._is_well(replica, LOOK_S) and replica.engine.free_calls(partition):
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
        if world.query("select 1 from job"):
            world.fail("at rest, there are jobs left")
        self._check_runs()
        self._check_attempts()

    def _check_runs(self) -> None:
        """Each accepted event has exactly one run, or a skip, for each function that it matches."""
        world = self._world
        names = dict(world.query("select id, slug from function"))
        rows = world.query(
            "select run.id, run.function_id, run.event_id, run.status, run.reason, run.original_run_id, run.output"
            " from run"
        )
        by_event: dict[tuple[str, str], list[str]] = {}
        taken: dict[tuple[str, str], int] = {}
        failed: list[str] = []
        for id, function_id, event_id, status, reason, original, output in rows:
            slug = names[function_id]
            if original is None:
                by_event.setdefault((event_id, slug), []).append(id)
            if status == "skipped":
                if reason != "duplicate_event_id":
                    world.fail(f"{id}: skipped because of {reason}")
                continue
            if status == "failed" and slug == world.programs[0].slug:
                failed.append(id)
            if original is None and event_id in world.accepted and world.accepted[event_id].has_own_id:
                key = (world.accepted[event_id].event_id, slug)
                taken[key] = taken.get(key, 0) + 1
            self._check_end(id, world.app.programs[slug], status, reason, output)
        for (event_id, slug), runs in by_event.items():
            if len(runs) != 1:
                world.fail(f"event {event_id} started {slug} {len(runs)} times")
        for key, count in taken.items():
            if count != 1 and world.is_steady:
                world.fail(f"event id {key[0]} started {key[1]} {count} times within 24 hours")
        stored = {row[0] for row in world.query("select id from event")}
        for event in world.accepted.values():
            if event.id not in stored:
                world.fail(f"event {event.id} was acknowledged and is gone")
            for program in world.programs:
                if _matches(program, event) and (event.id, program.slug) not in by_event:
                    world.fail(f"event {event.id} ({event.name}) did not start {program.slug}")
                if not _matches(program, event) and (event.id, program.slug) in by_event:
                    world.fail(f"event {event.id} ({event.name}) started {program.slug}")
        self._check_failure_handlers(failed)
        self._check_ticks()

    def _check_end(self, id: str, program: Program, status: str, reason: str, output: bytes) -> None:
        world = self._world
        if status == "cancelled" and id not in world.cancelled:
            world.fail(f"{id}: nobody cancelled it")
        if reason == "attempts_lost":
            lost = world.query(
                f"select max(lost_count) from (select count(*) as lost_count from attempt"
                f" where run_id = '{id}' and outcome = 'lost' group by step_id)"
            )
            if lost[0][0] < LOST_ATTEMPTS_MAX:
                world.fail(f"{id}: failed because of {lost[0][0]} lost attempts")
        elif status != "cancelled" and id not in world.disturbed:
            expected = "completed" if program.ends_well() else "failed"
            if status != expected:
                world.fail(f"{id}: {status}, not {expected} ({output})")
        if status == "completed" and json.loads(output) != {"of": id}:
            world.fail(f"{id}: its output is {output}")

    def _check_failure_handlers(self, failed: Sequence[str]) -> None:
        """Each failed run of the function with a failure handler has started that once."""
        handled: dict[str, int] = {}
        for (body,) in self._world.query(
            "select event.body from run join event on event.id = run.event_id"
            " join function on function.id = run.function_id"
            " where function.slug = 'one-failure' and run.original_run_id is null"
        ):
            run_id = json.loads(body)["data"]["run_id"]
            handled[run_id] = handled.get(run_id, 0) + 1
        if handled != dict.fromkeys(failed, 1):
            self._world.fail(f"failed runs {sorted(failed)} have handlers {handled}")

    def _check_ticks(self) -> None:
        """A schedule ticks once for each of its times."""
        times = [
            json.loads(body)["data"]["fireAt"]
            for (body,) in self._world.query("select body from event where name = 'inngest/scheduled.timer'")
        ]
        if len(set(times)) != len(times):
            self._world.fail(f"a schedule ticked twice at one time: {sorted(times)}")
        if self._world.is_steady and any(program.cron for program in self._world.programs) and not times:
            self._world.fail("a schedule never ticked")

    def _check_attempts(self) -> None:
        """Attempts of a job count up without gaps, lost ones use up no retries, and steps point to theirs."""
        world = self._world
        jobs: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        for run_id, id, attempt, outcome, started_at, ended_at in world.query(
            "select run_id, id, attempt, outcome, started_at, ended_at from attempt"
        ):
            job_id, _, generation = id.rpartition(".")
            jobs.setdefault((run_id, job_id), []).append((int(generation), attempt, outcome))
            if ended_at < started_at:
                world.fail(f"{run_id}: attempt {id} ended before it started")
        for (run_id, job_id), attempts in jobs.items():
            attempts.sort()
            counted = [attempt for _, attempt, outcome in attempts if outcome != "lost"]
            if counted != list(range(len(counted))):
                world.fail(f"{run_id}: the attempts of job {job_id} are {attempts}")
            for before, after in itertools.pairwise(attempts):
                if after[1] != before[1] + (before[2] == "error"):
                    world.fail(f"{run_id}: attempts of job {job_id} don't follow each other: {attempts}")
            if any(outcome in ("ok", "failed") for _, _, outcome in attempts[:-1]):
                world.fail(f"{run_id}: job {job_id} went on after its end: {attempts}")
        for run_id, id in world.query("select run_id, id from attempt where instr(cast(error as text), 'NothingToDo')"):
            world.fail(f"{run_id}: attempt {id} was a call for nothing: the app had seen less than was known")
        for run_id, step_id, position, memo, outcome in world.query(
            "select step.run_id, step.id, step.position, step.memo, attempt.outcome from step"
            " left join attempt on attempt.run_id = step.run_id and attempt.id = step.attempt_id"
            " where step.op <> 'Sleep'"
        ):
            expected = "failed" if memo.startswith(b'{"error"') else "ok"
            if outcome != expected:
                world.fail(f"{run_id}: the result of step {step_id[:8]} (position {position}) came by {outcome}")
        for (run_id,) in world.query(
            "select run_id from step group by run_id having min(position) <> 0 or max(position) <> count(*) - 1"
        ):
            world.fail(f"{run_id}: its steps aren't numbered from 0 without gaps")


def _app_of(call: OutgoingCall) -> str:
    return urlsplit(call.url).netloc


def _without_leases(jobs: Iterable[Job]) -> list[Any]:
    return sorted(
        (msgspec.structs.replace(job, owner=None, leased_at=None, generation=0, lost_count=0) for job in jobs),
        key=lambda job: job.id,
    )


def _matches(program: Program, event: Event) -> bool:
    number = json.loads(event.body)["data"]["n"]
    patterns = {event.name, *(["a/*"] if event.name.startswith("a/") else [])}
    return bool(patterns & set(program.events)) and (program.condition is None or number > 3)
