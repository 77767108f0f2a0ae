"""A seeded world: the real engine on the real SQLite store, a simulated app, senders, and everything that goes wrong.

Replicas come and go in the middle of commits, stop in good order, are paused and come back; the network loses calls and
answers, disks are full, the database is away or slow, clocks jump, runs are cancelled and started again, apps are
synced. While it goes on and when it has come to rest, the promises of the design (section 4) are checked. The same
seed gives the same world: ``python -m tests.simulation SEED`` tells its story.
"""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import msgspec
from structlog.testing import capture_logs

from stepwell.engine.core.model import App, Event, Pause, PauseMode
from stepwell.engine.core.registration import plan_sync
from stepwell.engine.core.trigger import Registry
from stepwell.engine.engine import Engine
from stepwell.engine.executor import CheckpointVerdict
from stepwell.engine.ids import ulid_text
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import StoreError
from stepwell.protocol.canonical import encode
from stepwell.protocol.checkpoint import Checkpoint
from stepwell.protocol.event import event_body
from stepwell.protocol.ids import EventId, FunctionId, RunId
from stepwell.protocol.ops import Op
from stepwell.protocol.sync import SyncBody
from stepwell.store.request import SyncRequest
from tests.simulation.app import SIGNALS, Program, SimulatedApp, make_child, make_program
from tests.simulation.database import Database, Killed
from tests.simulation.faults import Faults
from tests.simulation.loop import NoRest, NothingLeft, SimulatedLoop
from tests.simulation.promises import Promises
from tests.simulation.replica import DEV, Replica
from tests.simulation.trouble import TROUBLE_S, Trouble

if TYPE_CHECKING:
    from tests.simulation.points import FaultPoints

T = TypeVar("T")

T0 = 1_767_225_600_000
SETTLE_S = 45.0
"""After which a lost piece of news costs nothing any more."""
REST_S_MAX = 60 * 86_400.0
"""How long the world may take to come to rest: the longest sleeps and retries, several times over."""
REST_BEAT_S = 3_600.0
"""Beats go slowly while the world rests: days pass."""
TURNS_MAX = 120_000
"""How many turns of the loop a world may take: several times what a busy one takes."""
STARTS_MAX = 300
LOSSES_MAX = {"process": 6, "database": 2}
"""How often work may get lost by what: fewer, in sum, than the attempts in a row that a job may lose."""
REPLICAS = (0, 0, 1, 2, 2, 3, 3)
"""Of how many replicas worlds are; none is one that has its file to itself."""


class PromiseBroken(AssertionError):
    """What the simulation is for."""


class World:
    """Everything there is, from one seed. ``replicas`` share one database; 0 is one with a file of its own."""

    points: FaultPoints | None = None
    absences_s: Sequence[float] = (0.0, 0.1, 5.0, 60.0)
    """How long nobody takes the place of a replica that ended."""
    is_sampling = False
    """Replicas look at how many calls wait."""
    news_delays_s: Sequence[float] = (0.0, 0.01, 0.01, 1.0)

    def __init__(
        self,
        seed: int,
        folder: Path,
        *,
        faults: Faults | None = None,
        replicas: int | None = None,
        programs: Sequence[Program] = (),
        turns_max: int = TURNS_MAX,
    ) -> None:
        self.seed = seed
        self.chance = Random(seed)
        self.path = folder / f"world-{seed}.db"
        self.faults = faults if faults is not None else Faults.made_up(self.chance)
        chosen = self.chance.choice(REPLICAS)
        count = chosen if replicas is None else replicas
        self.is_shared = count > 0
        self.replica_count = max(1, count)
        self.writer_count = self.chance.choice([1, 2, 3])
        self.is_surging = self.is_shared and self.chance.random() < 0.5
        """The next replica starts when one begins to stop, rather than when it has ended."""
        self.story: list[str] = []
        self.broken: list[str] = []
        self.is_troubled = True
        self._losses_left = dict(LOSSES_MAX)
        self.calls_per_app_max = self.chance.choice([1, 2, 4, 100])
        self.retry_constant_ms = self.chance.choice([None, 0, 1_000])
        self.loop = SimulatedLoop(Random(f"{seed}/loop"), turns_max=turns_max)
        self.promises = Promises(self)
        self.programs = list(programs) or _make_programs(self.chance)
        """What the app serves. The first one's failures are handled by ``one-failure``."""
        self.has_flow = any(program.flow for program in self.programs)
        self.app = SimulatedApp(self.programs, self.promises.began, self.fail, self._checkpoint)
        self.database = Database(self)
        self.trouble = Trouble(self)
        self.delayed: set[EventId] = set()
        """Events that were stored some time after they had come; what they start counts from then."""
        self.replicas: list[Replica] = []
        """All that live, in whatever state."""
        self._numbers = itertools.count(1)
        self._outside: sqlite3.Connection | None = None
        self._is_over = asyncio.Event()
        """Set when a promise is broken: what comes after it says little."""
        self._keepers: list[asyncio.Task[None]] = []
        self._passing: set[asyncio.Task[Any]] = set()
        """What goes on for a while: pauses, outages, stops."""
        self.accepted: dict[str, Event] = {}
        self.cancelled: set[str] = set()
        self.dropping: set[str] = set()
        """Functions that were paused so that their runs were skipped."""
        self._resuming: set[asyncio.Task[None]] = set()
        self._signals = itertools.count(1)
        self.disturbed: set[str] = set()
        """Runs of which the network lost something: their retries are used up by more than their own code."""

    # -- chance and time ----------------------------------------------------------------------------------------

    def strikes(self, fault: str) -> bool:
        """Tell whether a fault happens now."""
        likely = getattr(self.faults, fault)
        return self.is_troubled and likely > 0 and self.chance.random() < likely

    def strikes_now(self, fault: str, *, by: str | None = None) -> bool:
        """Tell whether a fault happens within this second. What may lose work says ``by`` what, and does so seldom."""
        if self.chance.random() >= getattr(self.faults, fault) / 60:
            return False
        return by is None or self.may_lose(by)

    def may_crash(self, fault: str) -> bool:
        return self.strikes(fault) and self.may_lose("process")

    def may_lose(self, by: str) -> bool:
        """Tell whether work may still get lost by a process, or by the database, and count it."""
        if self._losses_left[by] == 0:
            return False
        self._losses_left[by] -= 1
        return True

    def true_ms(self) -> int:
        """Return the time that no clock need show, Unix ms."""
        return T0 + round(self.loop.time() * 1000)

    def now(self) -> int:
        """Return the time by which things are due, Unix ms."""
        return self.database.now() if self.is_shared or not self.replicas else self.replicas[0].wall_ms()

    @property
    def is_steady(self) -> bool:
        """No clock that counts was set."""
        return not self.database.is_stepped if self.is_shared else self.faults.clock_step == 0

    @property
    def is_well(self) -> bool:
        """The database can be reached soon."""
        return not self.database.is_down and not self.database.is_slow

    def latency_s(self) -> float:
        if self.strikes("slow"):
            return self.chance.choice([1.0, 10.0, 600.0])
        return self.chance.choice([0.0, 0.001, 0.003])

    def tell(self, what: str, **about: object) -> None:
        details = " ".join(f"{key}={value}" for key, value in about.items()).replace(f"{self.path.parent}/", "")
        self.story.append(f"{self.loop.time():12.3f}  {what}  {details}".rstrip())

    def fail(self, promise: str) -> None:
        """Note a broken promise."""
        if promise not in self.broken:
            self.tell("BROKEN", promise=promise)
            self.broken.append(promise)
            self._is_over.set()

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Look into the database from outside."""
        if self._outside is None:
            self._outside = sqlite3.connect(self.path)
        try:
            return self._outside.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return []
            raise
        finally:
            if self.loop.is_closed():
                self._look_away()

    def _look_away(self) -> None:
        if self._outside is not None:
            self._outside.close()
            self._outside = None

    # -- the app ------------------------------------------------------------------------------------------------

    def deliver(self, call: OutgoingCall) -> asyncio.Task[tuple[int, dict[str, str], bytes]]:
        """Hand a call to the app: it works on it even when its caller dies."""
        slug = parse_qs(urlsplit(call.url).query)["fnId"][0]
        self.tell("call", run=call.run_id, of=slug, step=call.step_id[:8], request=call.request_id[27:])
        answer = self.loop.create_task(self.app.serve(slug, call.step_id, call.body, call.request_id))
        answer.add_done_callback(self._answered)
        return answer

    def _answered(self, answer: asyncio.Task[Any]) -> None:
        if not answer.cancelled() and (error := answer.exception()) is not None:
            self.fail(f"the simulated app broke: {error!r}")

    async def _checkpoint(self, run_id: str, caller: str, op: dict[str, Any]) -> bool:
        """Report a step of a call to any replica; False where it isn't known whether it has it."""
        await asyncio.sleep(self.latency_s())
        if not self.serving or self.strikes("refused"):
            return False
        replica = self.chance.choice(self.serving)
        step = Op(
            id=op["id"],
            op=op["op"],
            name=op["name"],
            display_name=op["displayName"],
            opts={},
            data=msgspec.Raw(msgspec.json.encode(op["data"])),
        )
        sent = Checkpoint(run_id, [step], qi_id=caller.rpartition(".")[0], request_id=caller)
        asked = replica.run(replica.engine.checkpoint(sent))
        asked.add_done_callback(_forget)
        ended = asyncio.create_task(replica.ended.wait())
        await asyncio.wait([asked, ended], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not asked.done() or asked.cancelled() or isinstance(asked.exception(), StoreError):
            return False
        verdict = asked.result()
        self.tell("checkpoint", run=run_id, step=op["name"], verdict=verdict)
        return verdict is CheckpointVerdict.COMMITTED and not self.strikes("lost_reply")

    # -- the story ----------------------------------------------------------------------------------------------

    def play(self) -> None:
        """Let it happen. Raises ``PromiseBroken``."""
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
            self._clean_up()
        if self.broken:
            raise PromiseBroken(
                f"seed {self.seed}: {self.broken[0]}"
                + (f" (and {len(self.broken) - 1} more)" if len(self.broken) > 1 else "")
                + f"\nreplay it: python -m tests.simulation {self.seed}"
            )

    def _clean_up(self) -> None:
        for replica in self.replicas:
            replica.is_dead = True
            replica.store.kill()
        self._look_away()
        self.loop.resume_all()
        self.loop.set_exception_handler(lambda _loop, _context: None)
        self.loop.grant(10_000)
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.wait(tasks, timeout=1))
        self.loop.close()

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
        self.keep_all()
        await self.ask(self.sync_all)
        is_crowded = self.chance.random() < 0.5
        count = self.chance.randint(12, 30) if is_crowded else self.chance.randint(3, 16)
        actors = [asyncio.create_task(self._send(number, is_crowded=is_crowded)) for number in range(count)]
        actors += [asyncio.create_task(self._signal()) for _ in range(self.chance.randint(0, 4))]
        actors += [asyncio.create_task(work) for work in (self._meddle(), self.trouble.run(), self.promises.watch())]
        await asyncio.gather(*actors)
        await self.all_serve()
        self.leave_alone(self.replica_count)
        await self._rest()

    def keep_all(self) -> None:
        """Have all replicas started, and others in the place of those that end."""
        self._keepers = [asyncio.create_task(self._keep_serving()) for _ in range(self.replica_count)]
        for keeper in self._keepers:
            keeper.add_done_callback(self._passed)

    def leave_alone(self, count: int) -> None:
        """Start no replica any more; ``count`` are to go on."""
        self.replica_count = count
        for keeper in self._keepers:
            keeper.cancel()

    async def all_serve(self) -> None:
        """Wait until what passes has passed and all replicas serve."""
        while self._passing:
            await asyncio.wait(self._passing)
        while len(self.serving) < self.replica_count:  # noqa: ASYNC110 - looking is simple, and time costs nothing
            await asyncio.sleep(1)

    @property
    def serving(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.is_serving]

    async def _keep_serving(self) -> None:
        """Start a replica, and another one whenever it has died or leaves."""
        while True:
            replica = Replica(self, next(self._numbers))
            if replica.number > STARTS_MAX:
                self.fail(f"after {STARTS_MAX} starts, no replica stays")
            self.replicas.append(replica)
            self.tell("start", replica=replica.number)
            starting = replica.run(replica.engine.start())
            starting.add_done_callback(_forget)
            ended = asyncio.create_task(replica.ended.wait())
            await asyncio.wait([starting, ended], return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not replica.is_dead and (error := starting.exception()) is not None:
                if not isinstance(error, StoreError | Killed):
                    raise error
                self.tell("did not start", replica=replica.number, why=error)
                replica.crash("at its start")
            if replica.is_dead:
                await asyncio.sleep(1)
                continue
            replica.note_illness()
            replica.is_serving = True
            await (replica.leaving if self.is_surging else replica.ended).wait()
            await asyncio.sleep(self.chance.choice(self.absences_s))

    def look_after(self, task: asyncio.Task[Any]) -> None:
        """Note what goes on for a while: the world rests only after it."""
        self._passing.add(task)
        self.loop.run_as(None, task.add_done_callback, self._passed)

    def _passed(self, task: asyncio.Task[Any]) -> None:
        self._passing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(f"the world itself broke: {error!r}")

    async def ask(self, work: Callable[[Engine], Coroutine[Any, Any, T]]) -> T:
        """Ask one of the replicas that serve, and another one when it fails or takes too long."""
        while True:
            if not self.serving:
                await asyncio.sleep(0.1 + self.chance.random())
                continue
            replica = self.chance.choice(self.serving)
            asked = replica.run(work(replica.engine))
            ended = asyncio.create_task(replica.ended.wait())
            patience_s = self.chance.choice([5.0, 30.0])
            await asyncio.wait([asked, ended], timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
            ended.cancel()
            if not asked.done():
                asked.add_done_callback(_forget)
            elif not asked.cancelled():
                error = asked.exception()
                if error is None:
                    return asked.result()
                if not isinstance(error, StoreError):
                    raise error
            await asyncio.sleep(0.1 + self.chance.random())

    async def sync_all(self, engine: Engine, *, changed: str | None = None, without: str | None = None) -> None:
        for app in sorted({program.app for program in self.programs}):
            programs = [program for program in self.programs if program.app == app and program.slug != without]
            body = _registration(app, programs, changed)

            def plan(registry: Registry, apps: Sequence[App], now: int, body: SyncBody = body) -> SyncRequest | None:
                made = plan_sync(body, registry, apps, now=now)
                if not made.is_modified:
                    return None
                return SyncRequest(made.app, registry.revision, made.changes, made.archived, now)

            await engine.sync(plan)

    async def _send(self, number: int, *, is_crowded: bool) -> None:
        """Send an event; in a crowd those of few names come in bursts."""
        if is_crowded:
            await asyncio.sleep(self.chance.choice([1, 20, 22, 60, 120]) + self.chance.choice([0.0, 0.01, 1.0]))
        else:
            await asyncio.sleep(self.chance.random() * TROUBLE_S * 0.8)
        few, many = ["a", "a", "a", "w", "stop"], ["a", "b", "a/b.c", "w", "stop", "nobody listens"]
        name = self.chance.choice(few if is_crowded else many)
        own_id = f"own-{self.chance.randint(1, 2)}" if self.chance.random() < (0.1 if is_crowded else 0.4) else None
        await self.send(number, name, own_id=own_id, delay_ms=self.chance.choice([0, 0, 0, 30_000]))

    async def send(self, number: int, name: str, *, own_id: str | None = None, delay_ms: int = 0) -> None:
        """Send an event until it is acknowledged, as a client that gives it a seed does."""
        id = EventId(ulid_text(T0 + number, number.to_bytes(10, "big")))

        async def ingest(engine: Engine) -> Event:
            now = engine.clock.now()
            event = Event(
                id=id,
                environment=DEV,
                name=name,
                event_id=own_id or id,
                ts=now + delay_ms,
                received_at=now,
                body=event_body(
                    name=name, id=own_id or id, ts=now + delay_ms, data=encode({"n": number, "k": number % 2})
                ),
                is_seeded=True,
                has_own_id=own_id is not None,
            )
            await engine.ingest([event])
            return event

        began = self.loop.time()
        self.accepted[id] = await self.ask(ingest)
        if self.loop.time() - began > 1:
            self.delayed.add(id)
        self.tell("acknowledged", event=name, id=id[-6:], own_id=own_id)

    async def _signal(self) -> None:
        """Send a signal; one that may have arrived and is sent again is another one."""
        await asyncio.sleep(self.chance.random() * TROUBLE_S)
        name, keep = self.chance.choice(SIGNALS), self.chance.random() < 0.5

        async def send(engine: Engine) -> RunId | None:
            return await engine.send_signal(name, encode({"signal": next(self._signals)}), keep=keep)

        self.tell("signal", name=name, run=await self.ask(send))

    async def _pause(self, slug: str) -> None:
        """Pause a function, and let it go on after a while."""
        rows = self.query(f"select id from function where slug = '{slug}'")
        if not rows:
            return
        id, mode = FunctionId(rows[0][0]), self.chance.choice(list(PauseMode))
        if mode is PauseMode.DROP:
            self.dropping.add(slug)
        is_stopped = self.chance.random() < 0.4
        self.tell("function paused", slug=slug, mode=mode, is_stopped=is_stopped)
        await self.ask(lambda engine: engine.pause(id, Pause(engine.clock.now(), mode, is_stopped)))
        await asyncio.sleep(self.chance.choice([0.0, 5.0, 60.0]))
        await self.ask(lambda engine: engine.pause(id, None))
        self.tell("function goes on", slug=slug)

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
                await self._cancel(RunId(self.chance.choice(runs)))
            elif deed < 0.4 and runs:
                run_id = RunId(self.chance.choice(runs))
                self.tell("rerun", run=run_id)
                await self.ask(lambda engine, run_id=run_id: engine.rerun(run_id))
            elif deed < 0.7:
                slug = self.chance.choice(self.programs).slug
                self.tell("sync", changed=slug)
                await self.ask(lambda engine, slug=slug: self.sync_all(engine, changed=slug))
            elif deed < 0.85 and not self._resuming:
                pausing = asyncio.create_task(self._pause(self.chance.choice(self.programs).slug))
                self._resuming.add(pausing)
                pausing.add_done_callback(self._resuming.discard)
                self.look_after(pausing)

    async def _cancel(self, run_id: RunId) -> None:
        self.cancelled.add(run_id)
        self.tell("cancel", run=run_id)
        is_cancelled = await self.ask(lambda engine: engine.cancel(run_id))
        if self.query(f"select 1 from run where id = '{run_id}' and ended_at is null"):
            self.fail(f"{run_id}: it goes on after it was cancelled, which was answered by {is_cancelled}")

    # -- rest ---------------------------------------------------------------------------------------------------

    async def _rest(self) -> None:
        """Wait until everything has ended, then look at all of it."""
        await self.ask(lambda engine: self.sync_all(engine, without="one-cron"))
        # A wish to pause that was given up, and made again elsewhere, may have been carried out after the function went on.
        for (id,) in self.query("select id from function where paused_at is not null"):
            await self.ask(lambda engine, id=id: engine.pause(id, None))
        await asyncio.sleep(SETTLE_S)
        self.promises.compare_warm_runs()
        await self.promises.check_settled()
        if self.chance.random() < 0.8:
            await self._scale_down()
        for replica in self.serving:
            membership = replica.engine._membership
            membership._beat_s, membership._silent_ms = REST_BEAT_S, round(REST_BEAT_S * 4_000)
        deadline = self.loop.time() + REST_S_MAX
        wait_s = 1.0
        while self.query(
            "select 1 from run where status in ('queued', 'running') union select 1 from gathering limit 1"
        ):
            if self.loop.time() > deadline:
                stuck = self.query("select id, function_id, status from run where status in ('queued', 'running')")
                jobs = self.query("select run_id, id, kind, due_at, owner from job")
                self.fail(f"runs are stuck: {stuck[:3]} with jobs {jobs[:5]}")
                return
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, 3_600)
            self.promises.compare_warm_runs()
        await asyncio.sleep(3_600)  # answers to runs that were cancelled come late
        self.promises.check_rest()

    async def _scale_down(self) -> None:
        """Leave one replica."""
        leaving = self.serving
        leaving.remove(self.chance.choice(leaving))
        for replica in leaving:
            await replica.stop(self.chance.choice([0.0, 5.0]))


def _forget(asked: asyncio.Task[Any]) -> None:
    """Take note of an answer that nobody waits for."""
    if not asked.cancelled():
        asked.exception()


def failure_handler(of: str) -> Program:
    """Make the function that handles another one's failures."""
    return Program(
        slug="one-failure",
        nodes=(),
        retries=1,
        version=1,
        events=("inngest/function.failed",),
        condition=f"event.data.function_id == '{of}'",
    )


def _make_programs(chance: Random) -> list[Program]:
    programs = [make_program(chance, f"{app}-f{number}", app) for app in ("one", "two") for number in range(2)]
    programs.append(failure_handler(programs[0].slug))
    programs += [make_child(chance, app) for app in ("one", "two")]
    if chance.random() < 0.3:
        cron = Program("one-cron", (), 1, 2, (), cron=chance.choice(["* * * * *", "*/2 * * * *"]))
        programs.append(cron)
    return programs


def _registration(app: str, programs: Iterable[Program], changed: str | None) -> SyncBody:
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
            **program.flow,
        }
        functions.append(msgspec.Raw(msgspec.json.encode(config)))
    return SyncBody(url=f"http://app-{app}/api", appname=app, functions=functions)
