"""The database of the isolation tests: replicas on it, each with a connection of its own, rows that can be set back, and
what must hold whatever the order was.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from random import Random
from typing import Any, Final, NamedTuple, Self, TypeAlias, TypeVar
from urllib.parse import urlsplit

import asyncpg

from stepwell.engine.core.trigger import Registry
from stepwell.protocol.ids import JobId, ReplicaId, RunId
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_link import numbered
from stepwell.store.query import load_queries
from stepwell.store.request import CommitRequest, IngestRequest, Request, Result, TickRequest, Verdict
from tests.isolation.stepping import Order, Schema, Side, SteppedConnection, Stepper, Walk
from tests.postgres import Postgres
from tests.store.database import Worker, migrated
from tests.unit.engine.making import ulid

T = TypeVar("T")

_SIDE_NAMES: Final = ("one", "two", "three")
_LETTERS: Final = "ABC"  # of the ids that their replicas make
_FIRST_NEW: Final = 1000
"""The number from which on ids are made in each order anew, so that equal orders end with equal rows."""
_PATIENCE_S: Final = 1000.0
"""A side may stand still in the middle of a transaction for as long as it takes to play another, or to debug it."""
_VACUUM_EVERY: Final = 200
"""Orders: rows that were set back leave dead ones, which scans step over; the server has no autovacuum."""

Work: TypeAlias = Callable[[], Awaitable[Any]]


class Case(NamedTuple):
    """A race from rows that are there: what each side does, and what is promised."""

    sides: Sequence[Work]
    promise: Callable[[Order], Awaitable[None]]
    """Is called after each order, when nobody is stopped any more: it may go on with the replicas."""
    may_deadlock: bool = False
    """PostgreSQL may have to end a transaction, which the store then begins anew."""


class SteppedStore(PostgresStore):
    """A side's store: every transaction is stepped, on one connection; and what its replica was told of its jobs."""

    def __init__(self, url: str, side: Side, schema: Callable[[], Schema]) -> None:
        super().__init__(url, ReplicaId(""), take_over_s=_PATIENCE_S)
        self._side, self._schema_now = side, schema
        self.told: set[tuple[RunId, JobId, int]] = set()
        self.commits: list[RunId] = []

    async def _transact(self, link: Any, work: Callable[[Any], Awaitable[T]], *, mode: str = "") -> T:
        async def stepped(connection: Any) -> T:
            is_reading = "read only" in mode
            connection = SteppedConnection(connection, self._side, self._schema_now(), is_reading=is_reading)
            result = await work(connection)
            await connection.before_commit()
            return result

        return await super()._transact(self._writers[0], stepped, mode=mode)

    def submit(self, request: Request) -> asyncio.Future[Result]:
        return asyncio.ensure_future(self._submit_alone(request))

    async def _submit_alone(self, request: Request) -> Result:
        return (await self.submit_batch(request))[0]

    async def submit_batch(self, *requests: Request) -> list[Result]:
        """Commit requests in one transaction; again when it was the victim of a deadlock."""
        results = await self._write_on(self._writers[0], requests)
        for request, result in zip(requests, results, strict=True):
            self._note(request, result)
        return results

    def _note(self, request: Request, result: Result) -> None:
        match request:
            case CommitRequest(transition=transition, intakes=intakes):
                jobs = [*transition.jobs, *(job for intake in intakes for job in intake.jobs)]
                if result.verdict is Verdict.COMMITTED:
                    self.commits.append(transition.run.id)
            case IngestRequest(intakes=intakes):
                jobs = [job for intake in intakes for job in intake.jobs]
            case TickRequest(ticks=ticks):
                jobs = [job for tick in ticks if tick.intake is not None for job in tick.intake.jobs]
            case _:
                jobs = []
        self.told |= {(job.run_id, job.id, job.generation) for job in jobs if (job.run_id, job.id) in result.leased}
        self.told |= {(job.run_id, job.id, job.generation) for job, _ in result.claimed}


class World:
    """A database with up to three replicas (or writers of one), and the stepper that plays them."""

    def __init__(self, url: str, admin: Any, drop: Callable[[], None]) -> None:
        self._admin, self._drop = admin, drop
        self._schema = Schema({}, {})
        self._reset = ""
        self._reset_count = 0
        self.sides = [Side(name) for name in _SIDE_NAMES]
        self._stores = [SteppedStore(url, side, lambda: self._schema) for side in self.sides]
        self.workers: list[Worker] = []
        self._given: list[tuple[Worker, Registry, int]] = []

    @classmethod
    async def open(cls, server: Postgres) -> Self:
        """Make a database on a server."""
        url = server.create_database(template=migrated(server))
        name = urlsplit(url).path.removeprefix("/")
        # Only a superuser may set it, and a deadlock must not hold a test up for a second.
        server.psql(f"alter database {name} set deadlock_timeout = '10ms'")
        admin: Any = await asyncpg.connect(
            server.admin_url(url), server_settings={"search_path": "stepwell", "session_replication_role": "replica"}
        )
        return cls(url, admin, lambda: server.drop_database(url))

    async def close(self) -> None:
        for store in self._stores:
            await store.stop()
        await self._admin.close()
        await asyncio.to_thread(self._drop)

    async def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look at the rows, or change them behind the store's back."""
        return [tuple(row) for row in await self._admin.fetch(numbered(sql), *values)]

    async def replicas(self, *ids: str) -> list[Worker]:
        """Enter replicas; the sides have their connections in this order. An id twice is another writer of it."""
        self.workers = []
        for store, id, letter in zip(self._stores, ids, _LETTERS, strict=False):
            if any(other.store.replica_id == id for other in self.workers):
                store.replica_id = ReplicaId(id)
            else:
                await store.enter(ReplicaId(id))
            worker = Worker(store)
            worker.new_id = _ids(letter, first=1)
            self.workers.append(worker)
        return self.workers

    async def silence(self, worker: Worker) -> None:
        """Let a replica not have beaten for a long time."""
        await self.rows("update replica set beat_at = 0 where id = ?", worker.store.replica_id)

    # -- orders -----------------------------------------------------------------------------------------------------

    async def play(
        self,
        given: Callable[[World], Awaitable[Case]],
        *,
        is_pruned: bool = True,
        orders_max: int | None = None,
        chance: Random | None = None,
    ) -> Walk:
        """Make a case once, and play its orders, each from the same rows. Raises at the first broken promise."""
        stepper = Stepper(self._admin, is_pruned=is_pruned)
        self._schema = await Schema.of(self._admin, load_queries("postgres").values())
        tables = sorted(self._schema.references)
        await self._admin.execute("".join(f"delete from {table};" for table in tables))
        case = await given(self)
        self._given = [(worker, worker.registry, worker.now) for worker in self.workers]
        await self._admin.execute(
            "drop schema if exists before cascade; create schema before;"
            + "".join(f"create table before.{table} as table {table};" for table in tables)
        )
        self._reset = "".join(
            f"delete from {table}; insert into {table} select * from before.{table};" for table in tables
        )
        self.outcomes: set[str] = set()

        async def check(order: Order) -> None:
            assert case.may_deadlock or order.deadlock_count == 0, "the order of locks was not kept: a deadlock"
            self.outcomes.add(await self._outcome())
            await self.check()
            await case.promise(order)
            await self.check()

        return await stepper.walk(
            self.sides[: len(case.sides)],
            case.sides,
            self._set_back,
            check,
            orders_max=orders_max,
            chance=chance,
        )

    async def _outcome(self) -> str:
        """Return all rows, but for the times of beats."""
        tables = sorted(self._schema.references)
        rows = await self._admin.fetch(
            " union all ".join(
                f"select '{table} ' || {'id' if table == 'replica' else f'{table}.*::text'} from {table}"
                for table in tables
            )
        )
        return "\n".join(sorted(row[0] for row in rows))

    async def _set_back(self) -> None:
        for (worker, registry, now), letter in zip(self._given, _LETTERS, strict=False):
            worker.registry, worker.now, worker.new_id = registry, now, _ids(letter, first=_FIRST_NEW)
        for store in self._stores:
            store.told.clear()
            store.commits.clear()
        await self._admin.execute(self._reset)
        self._reset_count += 1
        if self._reset_count % _VACUUM_EVERY == 0:
            await self._admin.execute("vacuum")

    async def check(self) -> None:
        """Check what must hold after each transaction, whatever happens."""
        broken = [row[0] for row in await self._admin.fetch(_PROMISES)]
        broken += await self._wrong_versions()
        broken += await self._untold_leases()
        assert not broken, "; ".join(broken)

    async def _wrong_versions(self) -> Iterable[str]:
        """A run's version rises by one with each commit that was acknowledged, and with nothing else."""
        rows = await self._admin.fetch(
            "select run.id, run.version, coalesce(older.version, 0)"
            " from run left join before.run as older on older.id = run.id"
        )
        commits = [id for store in self._stores for id in store.commits]
        return [
            f"run {id} is at version {version}, after {commits.count(id)} commits from {older}"
            for id, version, older in rows
            if version != older + commits.count(id)
        ]

    async def _untold_leases(self) -> Iterable[str]:
        """A job that is leased to a replica which wasn't told of it would wait for ever."""
        rows = await self._admin.fetch(
            "select run_id, id, generation, owner from job where owner is not null"
            " except select run_id, id, generation, owner from before.job"
        )
        return [
            f"{owner} doesn't know that it has job {id} of run {run_id}"
            for run_id, id, generation, owner in rows
            if not any((run_id, id, generation) in store.told for store in self._stores if store.replica_id == owner)
        ]


def _ids(letter: str, *, first: int) -> Callable[[], str]:
    numbers = itertools.count(first)
    return lambda: ulid(next(numbers), letter)


_PROMISES: Final = """
select 'run ' || run.id || ' is stuck: it is not finished and has no job'
from run
where run.status in ('queued', 'running')
  and not exists (select 1 from job where job.run_id = run.id and job.kind not in ('cancel', 'timeout'))
union all
select 'job ' || job.id || ' is left of run ' || job.run_id || ', which has ended'
from job
join run on run.id = job.run_id
where run.ended_at is not null
  and job.kind <> 'cancel'  -- it may come too late, and is dropped by whoever claims it
union all
select 'wait ' || wait.job_id || ' is left of run ' || wait.run_id || ', which has ended'
from wait
join run on run.id = wait.run_id
where run.ended_at is not null
union all
select 'wait ' || wait.job_id || ' of run ' || wait.run_id || ' is left, and its job is resolved or gone'
from wait
left join job on job.run_id = wait.run_id and job.id = wait.job_id
where wait.kind <> 'cancel'
  and (job.id is null or job.memo is not null or job.resolved_by is not null)
union all
select 'run ' || job.run_id || ' waits in job ' || job.id || ' for what nothing will bring it'
from job
where job.kind = 'wait'
  and job.op = 'WaitForEvent'
  and job.memo is null
  and job.resolved_by is null
  and not exists (select 1 from wait where wait.run_id = job.run_id and wait.job_id = job.id)
union all
select 'slot ' || slot.key || ' is left of run ' || slot.run_id || ', which has ended'
from slot
join run on run.id = slot.run_id
where run.ended_at is not null
union all
select 'slot ' || slot.key || ' of job ' || slot.job_id || ' of run ' || slot.run_id || ' is left, and nobody has the job'
from slot
left join job on job.run_id = slot.run_id and job.id = slot.job_id
where slot.job_id <> ''
  and job.owner is null
union all
select 'run ' || gathering.run_id || ' has begun, and its events are still gathered'
from gathering
where gathering.run_id in (select run.id from run)
union all
select 'gathering ' || gathering.run_id || ' counts ' || gathering.event_count || ' events'
from gathering
where gathering.event_count <> (select count(*) from gathered where gathered.run_id = gathering.run_id)
union all
select 'job ' || job.id || ' of run ' || job.run_id || ' is leased to ' || job.owner || ', which is dead'
from job
where job.owner is not null
  and job.owner not in (select replica.id from replica)
union all
select 'run ' || job.run_id || ' has two discoveries'
from job
where job.kind = 'discover'
group by job.run_id
having count(*) > 1
union all
select 'the memo of run ' || step.run_id || ' has a place twice, or a gap'
from step
group by step.run_id
having count(distinct step.position) <> count(*) or min(step.position) <> 0 or max(step.position) <> count(*) - 1
union all
select 'step ' || step.title || ' of run ' || step.run_id || ' is in the memo, and is to be done again'
from step
join job on job.run_id = step.run_id and job.step_id = step.id
union all
select 'step ' || step.title || ' of run ' || step.run_id || ' is in the memo by an attempt that is lost'
from step
left join attempt on attempt.run_id = step.run_id and attempt.id = step.attempt_id
where step.attempt_id is not null
  and (attempt.outcome is null or attempt.outcome = 'lost')
union all
select 'attempt ' || attempt.id || ' of run ' || attempt.run_id || ' has ended, and its lease has not'
from attempt
join job on job.run_id = attempt.run_id and job.id || '.' || job.generation = attempt.id
where job.owner is not null
union all
select 'step ' || attempt.title || ' of run ' || attempt.run_id || ' succeeded twice'
from attempt
where attempt.outcome = 'ok'
  and attempt.step_id <> 'step'
group by attempt.run_id, attempt.step_id, attempt.title
having count(*) > 1
union all
select 'run ' || run.id || ' has no event'
from run
where run.event_id not in (select event.id from event)
union all
select 'step ' || step.title || ' is left of run ' || step.run_id || ', which is gone'
from step
where step.run_id not in (select run.id from run)
union all
select 'attempt ' || attempt.id || ' is left of run ' || attempt.run_id || ', which is gone'
from attempt
where attempt.run_id not in (select run.id from run)
union all
select 'event ' || run.event_id || ' started function ' || run.function_id || ' twice'
from run
where run.original_run_id is null
group by run.event_id, run.function_id
having count(*) > 1
"""
