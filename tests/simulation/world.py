"""A seeded world: the real engine on the real SQLite store, a simulated app, senders, and everything that goes wrong.

Replicas come and go in the middle of commits, the network loses calls and answers, disks are full, clocks jump, runs are
cancelled and started again, apps are synced. While it goes on and when it has come to rest, the promises of the design
(section 4) are checked. The same seed gives the same world: ``python -m tests.simulation SEED`` tells its story.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from multidict import CIMultiDict
from structlog.testing import capture_logs

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import App, Event, Reply
from stepwell.engine.core.registration import plan_sync
from stepwell.engine.core.reply import read_reply, server_error
from stepwell.engine.core.run import Policy
from stepwell.engine.core.trigger import Registry
from stepwell.engine.engine import Engine
from stepwell.engine.ids import IdSource, ulid_text
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import StoreClosed, StoreError, StoreUnavailable
from stepwell.protocol.canonical import encode
from stepwell.protocol.event import event_body
from stepwell.protocol.ids import EnvironmentId, EventId, ReplicaId, RunId
from stepwell.protocol.sync import SyncBody
from stepwell.store.interface import CommitRequest, Request, Result, SyncRequest, Verdict
from stepwell.store.read import Reading, load_runs
from stepwell.store.sqlite import SQLiteStore
from tests.simulation.app import Execution, Program, SimulatedApp, make_program
from tests.simulation.loop import NoRest, NothingLeft, SimulatedLoop

T = TypeVar("T")

DEV = EnvironmentId("dev")
T0 = 1_767_225_600_000
TROUBLE_S = 180.0
"""How long things go wrong."""
REST_S_MAX = 60 * 86_400.0
"""How long the world may take to come to rest: the longest sleeps and retries, several times over."""
TURNS_MAX = 150_000
"""How many turns of the loop a world may take: ten times what a busy one takes."""
CRASHES_MAX = 6  # fewer than the attempts in a row that may get lost


class Killed(BaseException):
    """The process ends here."""


class PromiseBroken(AssertionError):
    """What the simulation is for."""


@dataclass
class Faults:
    """How likely each fault is, by occasion."""

    crash_before_commit: float = 0.0
    crash_after_commit: float = 0.0
    crash_per_minute: float = 0.0
    disk_full: float = 0.0
    read_error: float = 0.0
    refused: float = 0.0
    lost_reply: float = 0.0
    slow: float = 0.0
    doubled_commit: float = 0.0
    forgotten_run: float = 0.0
    clock_step: float = 0.0

    @classmethod
    def made_up(cls, chance: Random) -> Faults:
        """Choose a kind of trouble: each world has some faults often, some seldom, and some not at all."""
        faults = cls()
        often = {"crash_per_minute": 4.0, "slow": 0.1, "clock_step": 0.05}
        for name in vars(faults):
            likely = often.get(name, 0.02)
            setattr(faults, name, chance.choice([0.0, 0.0, likely / 4, likely]))
        return faults


class SimulatedStore(SQLiteStore):
    """The real store, whose process may die around a commit, and whose disk may be full."""

    def __init__(self, world: World, replica: Replica, path: Path, id: ReplicaId) -> None:
        super().__init__(path, id, is_threaded=False, is_durable=False)
        self._world, self._replica = world, replica

    def submit(self, request: Request) -> asyncio.Future[Result]:
        if self._replica.is_dead:
            raise StoreClosed("the process is dead")
        future = super().submit(request)
        if isinstance(request, CommitRequest) and self._world.strikes("doubled_commit"):
            future.add_done_callback(lambda future: self._double(request, future))
        return future

    def _double(self, request: CommitRequest, future: asyncio.Future[Result]) -> None:
        """Commit once more what was committed: it must change nothing."""
        if self._replica.is_dead or future.cancelled() or future.exception() is not None:
            return
        if future.result().verdict is not Verdict.COMMITTED:
            return
        self._world.tell("a commit is done again", run=request.transition.run.id)
        again = super().submit(request._replace(done=None))
        again.add_done_callback(lambda again: self._doubled(request, again))

    def _doubled(self, request: CommitRequest, again: asyncio.Future[Result]) -> None:
        if not again.cancelled() and again.exception() is None and again.result().verdict is Verdict.COMMITTED:
            self._world.fail(f"{request.transition.run.id}: the same transition was committed twice")

    def _write(self, requests: Sequence[Request]) -> list[Result]:
        world = self._world
        if self._replica.is_dead:
            raise Killed
        if world.strikes("disk_full"):
            world.tell("the disk is full")
            raise StoreUnavailable("database or disk is full")
        if world.may_crash("crash_before_commit"):
            self._replica.crash("before a commit")
            raise Killed
        results = super()._write(requests)
        world.committed(self._writer, requests, results)
        if world.may_crash("crash_after_commit"):
            self._replica.crash("after a commit")
            raise Killed
        return results

    def _read_now(self, plan: Reading[T]) -> T:
        if self._world.strikes("read_error"):
            raise sqlite3.OperationalError("disk I/O error")
        return super()._read_now(plan)

    def kill(self) -> None:
        """Let go of the file as the operating system does when a process ends."""
        for db in self._connections:
            db.close()
        if self._lock is not None:
            self._lock.close()


class Replica:
    """One server process."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.is_dead = False
        self.died = asyncio.Event()
        self.tasks: set[asyncio.Task[Any]] = set()
        chance = Random(f"{world.seed}/{number}")
        clock = Clock(world.wall_ms, elapsed=world.loop.time)
        ids = IdSource(clock.now, chance)
        self.store = SimulatedStore(world, self, world.path, ReplicaId(f"replica-{number}"))
        self.engine = Engine(
            self.store,
            self,
            environment=DEV,
            clock=clock,
            ids=ids,
            policy=Policy(retry_constant_ms=world.retry_constant_ms),
            calls_per_app_max=world.calls_per_app_max,
        )

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task of this process: it, and what it starts, ends with the process."""
        context = contextvars.copy_context()
        context.run(_process.set, self)
        return asyncio.get_running_loop().create_task(work, context=context)

    async def call(self, call: OutgoingCall) -> Reply:
        """Carry a call to the app, over a network that may lose it."""
        world = self.world
        if world.strikes("refused"):
            world.disturbed.add(call.run_id)
            await asyncio.sleep(0.001)
            return server_error("http_unreachable", "Unable to reach SDK URL: connection refused")
        await asyncio.sleep(world.latency_s())
        is_lost = world.strikes("lost_reply")
        answer = world.deliver(self, call)
        if is_lost:
            world.tell("an answer is lost", run=call.run_id)
            world.disturbed.add(call.run_id)
            world.abandon(call.request_id)
            await asyncio.sleep(world.latency_s())
            return server_error("http_unreachable", "it closed the connection before it answered")
        status, headers, body = await asyncio.shield(answer)
        await asyncio.sleep(world.latency_s())
        return read_reply(status, CIMultiDict(headers), body, now_ms=self.engine.clock.now(), url=call.url)

    def crash(self, when: str) -> None:
        """End at once. What the app is doing for it goes on, and is never heard of again."""
        if self.is_dead:
            return
        self.world.tell(f"crash {when}", replica=self.number)
        self.is_dead = True
        self.store.kill()
        self.world.abandon_all(self)
        for task in sorted(self.tasks, key=lambda task: task.get_name()):
            task.cancel()
        self.died.set()


_process: contextvars.ContextVar[Replica | None] = contextvars.ContextVar("process", default=None)


class World:
    """Everything there is, from one seed."""

    def __init__(self, seed: int, folder: Path, *, faults: Faults | None = None) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.path = folder / f"world-{seed}.db"
        self.faults = faults if faults is not None else Faults.made_up(self.chance)
        self.story: list[str] = []
        self.broken: list[str] = []
        self.is_troubled = True
        self.clock_skew_ms = 0
        self.crashes_left = CRASHES_MAX
        self.calls_per_app_max = self.chance.choice([1, 2, 4, 100])
        self.retry_constant_ms = self.chance.choice([None, 0, 1_000])
        self.programs = [
            make_program(self.chance, f"{app}-f{number}", app) for app in ("one", "two") for number in range(2)
        ]
        failing = self.programs[0].slug
        self.programs.append(
            Program(
                slug="one-failure",
                nodes=(),
                retries=1,
                version=1,
                events=("inngest/function.failed",),
                condition=f"event.data.function_id == '{failing}'",
            )
        )
        if self.chance.random() < 0.3:
            cron = Program("one-cron", (), 1, 2, (), cron=self.chance.choice(["* * * * *", "*/2 * * * *"]))
            self.programs.append(cron)
        self.app = SimulatedApp(self.programs, self.began, self.fail)
        self.loop = SimulatedLoop(Random(f"{seed}/loop"), turns_max=TURNS_MAX)
        self.replica: Replica | None = None
        self._is_over = asyncio.Event()
        """Set when a promise is broken: what comes after it says little."""
        self.arrived = asyncio.Event()
        """Set while a replica serves."""
        self.accepted: dict[str, Event] = {}
        self.refused: set[str] = set()
        """Events that were given up before they were acknowledged."""
        self.reruns: set[str] = set()
        self.cancelled: set[str] = set()
        self.disturbed: set[str] = set()
        """Runs of which the network lost something: their retries are used up by more than their own code."""
        self.recorded: set[tuple[str, str]] = set()
        self.ended: set[str] = set()
        self._abandoned: set[str] = set()
        self._callers: dict[str, Replica] = {}
        self._answers: set[asyncio.Task[Any]] = set()

    # -- chance and time ----------------------------------------------------------------------------------------

    def strikes(self, fault: str) -> bool:
        """Tell whether a fault happens now."""
        likely = getattr(self.faults, fault)
        return self.is_troubled and likely > 0 and self.chance.random() < likely

    def may_crash(self, fault: str) -> bool:
        if self.crashes_left == 0 or self.replica is None or not self.arrived.is_set() or not self.strikes(fault):
            return False
        self.crashes_left -= 1
        return True

    def wall_ms(self) -> int:
        """Return what the clock on the wall shows."""
        return T0 + round(self.loop.time() * 1000) + self.clock_skew_ms

    def latency_s(self) -> float:
        if self.strikes("slow"):
            return self.chance.choice([1.0, 10.0, 600.0])
        return self.chance.choice([0.0, 0.001, 0.003])

    def tell(self, what: str, **about: object) -> None:
        details = " ".join(f"{key}={value}" for key, value in about.items())
        self.story.append(f"{self.loop.time():12.3f}  {what}  {details}".rstrip())

    def fail(self, promise: str) -> None:
        """Note a broken promise."""
        if promise not in self.broken:
            self.tell("BROKEN", promise=promise)
            self.broken.append(promise)
            self._is_over.set()

    # -- the app ------------------------------------------------------------------------------------------------

    def deliver(self, replica: Replica, call: OutgoingCall) -> asyncio.Task[tuple[int, dict[str, str], bytes]]:
        """Hand a call to the app: it works on it even when its caller dies."""
        slug = parse_qs(urlsplit(call.url).query)["fnId"][0]
        self._callers[call.request_id] = replica
        self.tell("call", run=call.run_id, of=slug, step=call.step_id[:8], request=call.request_id[-8:])
        context = contextvars.copy_context()
        context.run(_process.set, None)
        work = self.app.serve(slug, call.step_id, call.body, call.request_id)
        answer = self.loop.create_task(work, context=context)
        self._answers.add(answer)
        answer.add_done_callback(self._answered)
        return answer

    def _answered(self, answer: asyncio.Task[Any]) -> None:
        self._answers.discard(answer)
        if not answer.cancelled() and (error := answer.exception()) is not None:
            self.fail(f"the simulated app broke: {error!r}")

    def began(self, execution: Execution) -> None:
        """Check that a step's body may run now."""
        key = (execution.run_id, execution.step)
        execution.is_abandoned = execution.caller in self._abandoned
        if key in self.recorded and not execution.is_abandoned:
            self.fail(f"{execution.run_id}: step {execution.step[:8]} runs again after its result was recorded")
        for other in self.app.ledger.by_step.get(key, ()):
            if not other.is_over and not other.is_abandoned:
                self.fail(f"{execution.run_id}: step {execution.step[:8]} runs twice at the same time")

    def abandon(self, request_id: str) -> None:
        self._abandoned.add(request_id)
        for execution in self.app.ledger.executions:
            if execution.caller == request_id:
                execution.is_abandoned = True

    def abandon_all(self, replica: Replica) -> None:
        for request_id, caller in list(self._callers.items()):
            if caller is replica:
                self.abandon(request_id)
                del self._callers[request_id]

    # -- what is committed --------------------------------------------------------------------------------------

    def committed(self, db: sqlite3.Connection, requests: Sequence[Request], results: Sequence[Result]) -> None:
        """Look at a transaction right after it: what is recorded stays, what has ended has ended."""
        for request, result in zip(requests, results, strict=True):
            if not isinstance(request, CommitRequest) or result.verdict is not Verdict.COMMITTED:
                continue
            transition = request.transition
            run_id = transition.run.id
            self.tell("commit", run=run_id, version=transition.run.version, status=transition.run.status.value)
            if run_id in self.ended:
                self.fail(f"{run_id}: changed after its end")
            if transition.is_final:
                self.ended.add(run_id)
            for step in transition.steps:
                if (run_id, step.id) in self.recorded:
                    self.fail(f"{run_id}: step {step.id[:8]} was recorded twice")
                self.recorded.add((run_id, step.id))
        stuck = db.execute(
            "select id from run where status in ('queued', 'running') and id not in (select run_id from job)"
        ).fetchall()
        for (run_id,) in stuck:
            self.fail(f"{run_id}: isn't finished and has no job")
        left = db.execute(
            "select run.id from job join run on run.id = job.run_id where run.status not in ('queued', 'running')"
        ).fetchall()
        for (run_id,) in left:
            self.fail(f"{run_id}: is finished and has jobs")

    # -- the story ----------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Let it happen. Raises ``PromiseBroken``."""
        self.loop.set_task_factory(_spawn)
        self.loop.set_exception_handler(self._unexpected)
        try:
            with capture_logs() as logs:
                try:
                    self.loop.run_until_complete(self._until_broken())
                except NothingLeft:
                    self.fail("everybody waits for what will never happen")
                except NoRest:
                    self.fail("it never comes to rest")
                except Exception as error:
                    self.fail(f"the world itself broke: {error!r}")
                for line in logs:
                    if line["log_level"] in ("error", "critical") and line["event"] != "database.unavailable":
                        self.fail(f"the engine logged an error: {line['event']} {line.get('exc_info') or ''}")
        finally:
            if self.replica is not None:
                self.replica.store.kill()
            self.loop.grant(1_000)
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
            self.loop.close()
        if self.broken:
            raise PromiseBroken(
                f"seed {self.seed}: {self.broken[0]}"
                + (f" (and {len(self.broken) - 1} more)" if len(self.broken) > 1 else "")
                + f"\nreplay it: python -m tests.simulation {self.seed}"
            )

    def _unexpected(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, Killed):
            self.fail(f"{context['message']}: {error!r}")

    async def _until_broken(self) -> None:
        over = asyncio.create_task(self._is_over.wait())
        playing = asyncio.create_task(self._play())
        await asyncio.wait([playing, over], return_when=asyncio.FIRST_COMPLETED)
        over.cancel()
        if playing.done():
            playing.result()

    async def _play(self) -> None:
        keeper = asyncio.create_task(self._keep_serving())
        await self._while_serving(self._sync_all)
        actors = [asyncio.create_task(self._send(number)) for number in range(self.chance.randint(3, 12))]
        actors += [asyncio.create_task(self._meddle()), asyncio.create_task(self._trouble())]
        await asyncio.gather(*actors)
        await self._rest()
        keeper.cancel()
        await asyncio.wait([keeper])

    async def _keep_serving(self) -> None:
        """Start a replica, and another one whenever it has died."""
        number = 0
        while True:
            number += 1
            replica = self.replica = Replica(self, number)
            self.tell("start", replica=number)
            starting = replica.run(replica.engine.start())
            try:
                await asyncio.wait([starting])
                starting.result()
            except StoreError as error:
                self.tell("did not start", why=error)
                replica.crash("at its start")
                await asyncio.sleep(1)
                continue
            self.arrived.set()
            try:
                await replica.died.wait()
            finally:
                self.arrived.clear()
            await asyncio.sleep(self.chance.choice([0.0, 0.1, 5.0, 60.0]))

    async def _while_serving(self, work: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Ask whichever replica serves, until one has answered."""
        while True:
            await self.arrived.wait()
            replica = self.replica
            assert replica is not None
            asked = replica.run(work(replica.engine))
            died = asyncio.create_task(replica.died.wait())
            await asyncio.wait([asked, died], return_when=asyncio.FIRST_COMPLETED)
            died.cancel()
            if asked.done() and not asked.cancelled():
                error = asked.exception()
                if error is None:
                    return asked.result()
                if not isinstance(error, StoreError):
                    raise error
            await asyncio.sleep(0.1 + self.chance.random())

    async def _sync_all(self, engine: Engine, *, changed: str | None = None, without: str | None = None) -> None:
        for app in sorted({program.app for program in self.programs}):
            programs = [program for program in self.programs if program.app == app and program.slug != without]
            body = _registration(app, programs, changed)

            def plan(registry: Registry, apps: Sequence[App], now: int, body: SyncBody = body) -> SyncRequest | None:
                made = plan_sync(body, registry, apps, now=now)
                if not made.is_modified:
                    return None
                return SyncRequest(made.app, registry.revision, made.changes, made.archived, now)

            await engine.sync(plan)

    async def _send(self, number: int) -> None:
        """Send an event until it is acknowledged, as a client that gives it a seed does."""
        await asyncio.sleep(self.chance.random() * TROUBLE_S * 0.8)
        name = self.chance.choice(["a", "b", "a/b.c", "nobody listens"])
        own_id = f"own-{self.chance.randint(1, 3)}" if self.chance.random() < 0.3 else None
        delay_ms = self.chance.choice([0, 0, 0, 30_000])
        id = EventId(ulid_text(T0 + number, number.to_bytes(10, "big")))

        async def send(engine: Engine) -> Event:
            now = engine.clock.now()
            event = Event(
                id=id,
                environment=DEV,
                name=name,
                event_id=own_id or id,
                ts=now + delay_ms,
                received_at=now,
                body=event_body(name=name, id=own_id or id, ts=now + delay_ms, data=encode({"n": number})),
                is_seeded=True,
                has_own_id=own_id is not None,
            )
            await engine.ingest([event])
            return event

        self.accepted[id] = await self._while_serving(send)
        self.tell("acknowledged", event=name, id=id[-6:], own_id=own_id)

    async def _meddle(self) -> None:
        """Cancel runs, start them again, change functions."""
        while self.loop.time() < TROUBLE_S:
            await asyncio.sleep(self.chance.random() * 40)
            runs = [
                run_id
                for (run_id,) in self.query("select id from run where status <> 'skipped' order by id")
                if run_id not in self.cancelled
            ]
            deed = self.chance.random()
            if deed < 0.25 and runs:
                run_id = RunId(self.chance.choice(runs))
                self.cancelled.add(run_id)
                self.tell("cancel", run=run_id)
                await self._while_serving(lambda engine, run_id=run_id: engine.cancel(run_id))
            elif deed < 0.4 and runs:
                run_id = RunId(self.chance.choice(runs))
                self.reruns.add(run_id)
                self.tell("rerun", run=run_id)
                await self._while_serving(lambda engine, run_id=run_id: engine.rerun(run_id))
            elif deed < 0.7:
                slug = self.chance.choice(self.programs).slug
                self.tell("sync", changed=slug)
                await self._while_serving(lambda engine, slug=slug: self._sync_all(engine, changed=slug))

    async def _trouble(self) -> None:
        """Crash now and then, step the clock, forget what is warm, until the trouble is over."""
        while self.loop.time() < TROUBLE_S:
            await asyncio.sleep(1)
            replica = self.replica
            if self.strikes("clock_step"):
                self.clock_skew_ms += self.chance.choice([-3_600_000, -500, 1_000, 3_600_000])
                self.tell("the clock is set", skew_ms=self.clock_skew_ms)
            if replica is None or not self.arrived.is_set():
                continue
            if self.chance.random() < self.faults.crash_per_minute / 60 and self.crashes_left > 0:
                self.crashes_left -= 1
                replica.crash("out of the blue")
            elif self.strikes("forgotten_run") or self.chance.random() < self.faults.forgotten_run:
                warm = replica.engine._executor._warm
                for run_id in list(warm._runs):
                    warm.drop(run_id)
        self.is_troubled = False
        self.tell("the trouble is over")

    async def _rest(self) -> None:
        """Wait until everything has ended, then look at all of it."""
        await self._while_serving(lambda engine: self._sync_all(engine, without="one-cron"))
        deadline = self.loop.time() + REST_S_MAX
        wait_s = 1.0
        while self.query("select 1 from run where status in ('queued', 'running') limit 1"):
            if self.loop.time() > deadline:
                stuck = self.query("select id, function_id, status from run where status in ('queued', 'running')")
                jobs = self.query("select run_id, id, kind, due_at, owner from job")
                self.fail(f"runs are stuck: {stuck[:3]} with jobs {jobs[:5]}")
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 3_600)
            self._compare_warm_runs()
        await asyncio.sleep(3_600)  # answers to runs that were cancelled come late
        self._compare_warm_runs()
        self._check_engine()
        self._check_runs()
        self._check_attempts()

    # -- the checks ---------------------------------------------------------------------------------------------

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Look into the database from outside."""
        db = sqlite3.connect(self.path)
        try:
            return db.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            db.close()

    def _compare_warm_runs(self) -> None:
        """A state in memory is the fold of what was committed: it equals the one that the database gives."""
        replica = self.replica
        if replica is None or replica.is_dead or not self.arrived.is_set():
            return
        warm = replica.engine._executor._warm
        for run_id, live in warm._runs.items():
            if live.lock.locked():
                continue
            loaded = replica.store._read_now(load_runs([run_id])).get(run_id)
            if loaded is not None and loaded.run.version == live.state.run.version:
                for part in ("run", "memo", "stack", "steps_sorted", "memo_bytes", "jobs", "pending", "joined"):
                    mine, theirs = getattr(live.state, part), getattr(loaded, part)
                    if mine != theirs:
                        self.fail(f"{run_id}: {part} in memory is {mine}, in the database {theirs}")

    def _check_engine(self) -> None:
        replica = self.replica
        assert replica is not None
        engine = replica.engine
        if engine._executor.busy or engine._slots.used:
            self.fail(f"at rest, {engine._executor.busy} jobs are worked on and {engine._slots.used} slots are used")
        if self.query("select 1 from job"):
            self.fail("at rest, there are jobs left")

    def _check_runs(self) -> None:
        """Each accepted event has exactly one run, or a skip, for each function that it matches."""
        names = dict(self.query("select id, slug from function"))
        rows = self.query(
            "select run.id, run.function_id, run.event_id, run.status, run.reason, run.original_run_id, run.output"
            " from run"
        )
        by_event: dict[tuple[str, str], list[str]] = {}
        taken: dict[tuple[str, str], int] = {}
        failed: list[str] = []
        for id, function_id, event_id, status, reason, original, output in rows:
            slug = names[function_id]
            program = self.app.programs[slug]
            if original is None:
                by_event.setdefault((event_id, slug), []).append(id)
            if status == "skipped":
                if reason != "duplicate_event_id":
                    self.fail(f"{id}: skipped because of {reason}")
                continue
            if status == "failed" and slug == self.programs[0].slug:
                failed.append(id)
            if original is None and event_id in self.accepted and self.accepted[event_id].has_own_id:
                key = (self.accepted[event_id].event_id, slug)
                taken[key] = taken.get(key, 0) + 1
            if status == "cancelled" and id not in self.cancelled:
                self.fail(f"{id}: nobody cancelled it")
            if status != "cancelled" and id not in self.disturbed:
                expected = "completed" if program.ends_well() else "failed"
                if status != expected:
                    self.fail(f"{id}: {status}, not {expected} ({output})")
            if status == "completed" and json.loads(output) != {"of": id}:
                self.fail(f"{id}: its output is {output}")
        for (event_id, slug), runs in by_event.items():
            if len(runs) != 1:
                self.fail(f"event {event_id} started {slug} {len(runs)} times")
        for key, count in taken.items():
            if count != 1:
                self.fail(f"event id {key[0]} started {key[1]} {count} times within 24 hours")
        stored = {row[0] for row in self.query("select id from event")}
        for event in self.accepted.values():
            if event.id not in stored:
                self.fail(f"event {event.id} was acknowledged and is gone")
            for program in self.programs:
                if _matches(program, event) and (event.id, program.slug) not in by_event:
                    self.fail(f"event {event.id} ({event.name}) did not start {program.slug}")
                if not _matches(program, event) and (event.id, program.slug) in by_event:
                    self.fail(f"event {event.id} ({event.name}) started {program.slug}")
        self._check_failure_handlers(failed)
        self._check_ticks()

    def _check_failure_handlers(self, failed: Sequence[str]) -> None:
        """Each failed run of the function with a failure handler has started that once."""
        handled: dict[str, int] = {}
        for (body,) in self.query(
            "select event.body from run join event on event.id = run.event_id"
            " join function on function.id = run.function_id"
            " where function.slug = 'one-failure' and run.original_run_id is null"
        ):
            run_id = json.loads(body)["data"]["run_id"]
            handled[run_id] = handled.get(run_id, 0) + 1
        if handled != dict.fromkeys(failed, 1):
            self.fail(f"failed runs {sorted(failed)} have handlers {handled}")

    def _check_ticks(self) -> None:
        """A schedule ticks once for each of its times."""
        times = [
            json.loads(body)["data"]["fireAt"]
            for (body,) in self.query("select body from event where name = 'inngest/scheduled.timer'")
        ]
        if len(set(times)) != len(times):
            self.fail(f"a schedule ticked twice at one time: {sorted(times)}")
        is_steady = self.faults.clock_step == 0  # a clock that was set back by hours stands still
        if is_steady and any(program.cron for program in self.programs) and not times:
            self.fail("a schedule never ticked")

    def _check_attempts(self) -> None:
        """Attempts of a job count up without gaps, lost ones use up no retries, and steps point to theirs."""
        jobs: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        for run_id, id, attempt, outcome in self.query("select run_id, id, attempt, outcome from attempt"):
            job_id, _, generation = id.rpartition(".")
            jobs.setdefault((run_id, job_id), []).append((int(generation), attempt, outcome))
        for (run_id, job_id), attempts in jobs.items():
            attempts.sort()
            counted = [attempt for _, attempt, outcome in attempts if outcome != "lost"]
            if counted != list(range(len(counted))):
                self.fail(f"{run_id}: the attempts of job {job_id} are {attempts}")
            for before, after in itertools.pairwise(attempts):
                if after[1] != before[1] + (before[2] == "error"):
                    self.fail(f"{run_id}: attempts of job {job_id} don't follow each other: {attempts}")
            if any(outcome in ("ok", "failed") for _, _, outcome in attempts[:-1]):
                self.fail(f"{run_id}: job {job_id} went on after its end: {attempts}")
        for run_id, id in self.query("select run_id, id from attempt where instr(cast(error as text), 'NothingToDo')"):
            self.fail(f"{run_id}: attempt {id} was a call for nothing: the app had seen less than was known")
        for run_id, step_id, position, memo, outcome in self.query(
            "select step.run_id, step.id, step.position, step.memo, attempt.outcome from step"
            " left join attempt on attempt.run_id = step.run_id and attempt.id = step.attempt_id"
            " where step.op <> 'Sleep'"
        ):
            expected = "failed" if memo.startswith(b'{"error"') else "ok"
            if outcome != expected:
                self.fail(f"{run_id}: the result of step {step_id[:8]} (position {position}) came by {outcome}")
        for (run_id,) in self.query(
            "select run_id from step group by run_id having min(position) <> 0 or max(position) <> count(*) - 1"
        ):
            self.fail(f"{run_id}: its steps aren't numbered from 0 without gaps")


def _spawn(loop: asyncio.AbstractEventLoop, work: Any, context: contextvars.Context | None = None) -> asyncio.Task[Any]:
    """Make a task, and note to which process it belongs."""
    task = asyncio.Task(work, loop=loop, context=context)
    process = (context or contextvars.copy_context()).get(_process)
    if process is not None:
        process.tasks.add(task)
        task.add_done_callback(process.tasks.discard)
        if process.is_dead:
            task.cancel()
    return task


def _matches(program: Program, event: Event) -> bool:
    number = json.loads(event.body)["data"]["n"]
    patterns = {event.name, *(["a/*"] if event.name.startswith("a/") else [])}
    return bool(patterns & set(program.events)) and (program.condition is None or number > 3)


def _registration(app: str, programs: Sequence[Program], changed: str | None) -> SyncBody:
    functions: list[msgspec.Raw] = []
    for program in programs:
        triggers: list[dict[str, str]] = [
            {"event": name, **({"expression": program.condition} if program.condition else {})}
            for name in program.events
        ]
        if program.cron:
            triggers.append({"cron": program.cron})
        url = f"http://app-{app}/api?fnId={program.slug}&stepId=step"
        config = {
            "id": program.slug,
            "name": f"{program.slug} anew" if program.slug == changed else program.slug,
            "triggers": triggers,
            "steps": {
                "step": {
                    "id": "step",
                    "runtime": {"type": "http", "url": url},
                    "retries": {"attempts": program.retries},
                }
            },
        }
        functions.append(msgspec.Raw(msgspec.json.encode(config)))
    return SyncBody(url=f"http://app-{app}/api", appname=app, functions=functions)
