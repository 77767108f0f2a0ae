"""The databases that the contract is tested on, and a replica that works on one as the engine does."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

import asyncpg
import msgspec

from stepwell.engine.core.change import Answered, Policy
from stepwell.engine.core.model import (
    App,
    Event,
    Function,
    FunctionChange,
    Intake,
    Job,
    Reply,
    Run,
    Transition,
)
from stepwell.engine.core.partition import parse
from stepwell.engine.core.run import advance, cancel, fire
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trigger import Registry, start
from stepwell.engine.ids import ulid_text
from stepwell.engine.intake import take_in
from stepwell.engine.wants import want
from stepwell.protocol.canonical import encode
from stepwell.protocol.ids import AppId, EnvironmentId, FunctionId, ReplicaId, RunId
from stepwell.store.interface import Store
from stepwell.store.migrate_postgres import connected, migrate_postgres
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_link import numbered
from stepwell.store.request import (
    Claimed,
    ClaimRequest,
    CommitRequest,
    IngestRequest,
    ReapRequest,
    Request,
    Result,
    SyncRequest,
    Verdict,
    Want,
)
from stepwell.store.sqlite import SQLiteStore
from tests.postgres import Postgres
from tests.unit.engine.making import DEV, T0, event_of, function_of, ulid

QUEUE: Final = function_of().id
"""The partition of a function without limits is named for it: that of ``app-f``."""


class Database(Protocol):
    """One database that survives its replicas."""

    async def open(self, replica: str = "replica-1") -> Store:
        """Start a replica. On SQLite it takes over from all before it."""
        ...

    async def crash(self, store: Store) -> None:
        """End a replica without its saying good-bye: what it leased stays leased."""
        ...

    async def close(self) -> None: ...

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Look at the rows themselves."""
        ...

    def execute(self, sql: str, *values: Any) -> None:
        """Change rows behind the store's back."""
        ...


class SQLiteDatabase:
    """SQLite in a file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "stepwell.db"
        self._open: list[SQLiteStore] = []

    async def open(self, replica: str = "replica-1") -> Store:
        store = SQLiteStore(self.path, ReplicaId(replica), is_durable=False)
        self._open.append(store)
        await store.start(now=T0)
        return store

    async def crash(self, store: Store) -> None:
        await store.stop()  # it says nothing to the database
        self._open = [other for other in self._open if other is not store]

    async def close(self) -> None:
        for store in self._open:
            await store.stop()

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.path)
        try:
            return db.execute(sql, values).fetchall()
        finally:
            db.close()

    def execute(self, sql: str, *values: Any) -> None:
        db = sqlite3.connect(self.path)
        try:
            db.execute(sql, values)
            db.commit()
        finally:
            db.close()


class PostgresDatabase:
    """PostgreSQL, with a database for each test, made from one that is migrated."""

    def __init__(self, server: Postgres, template: str) -> None:
        self._server = server
        self.url = server.create_database(template=template)
        self._open: list[PostgresStore] = []

    async def open(self, replica: str = "replica-1") -> Store:
        store = PostgresStore(self.url, ReplicaId(replica), is_migrating=False)
        self._open.append(store)
        await store.start(now=T0)
        await store.submit(ReapRequest(-(1 << 60), T0))  # as on SQLite: all others are dead
        return store

    async def crash(self, store: Store) -> None:
        await store.stop()  # it says nothing to the database
        self._open = [other for other in self._open if other is not store]

    async def close(self) -> None:
        for store in self._open:
            await store.stop()
        await asyncio.to_thread(self._server.drop_database, self.url)

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return asyncio.run_coroutine_threadsafe(self._fetch(sql, values), _other_loop()).result(10)

    def execute(self, sql: str, *values: Any) -> None:
        self.query(sql, *values)

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(self.url, server_settings={"search_path": "stepwell"})
        try:
            return [tuple(row) for row in await connection.fetch(numbered(sql), *values)]
        finally:
            await connection.close()


@cache
def _other_loop() -> asyncio.AbstractEventLoop:
    """Return a loop on a thread of its own: tests look at rows between two lines."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@cache
def migrated(server: Postgres) -> str:
    """Return a database to copy: migrated, and otherwise empty."""
    url = server.create_database()

    async def migrate() -> None:
        async with connected(url) as connection:
            await migrate_postgres(connection, schema="stepwell", now=T0)

    asyncio.run_coroutine_threadsafe(migrate(), _other_loop()).result(30)
    return url


class Worker:
    """Does with a store what the engine does, one step at a time, at a time that tests choose."""

    def __init__(self, store: Store, *, environment: EnvironmentId = DEV) -> None:
        self.store = store
        self.environment = environment
        self.now = T0
        self.registry = Registry(environment, 0, [])
        numbers = itertools.count(1)
        self.new_id: Callable[[], str] = lambda: ulid(next(numbers), "R")

    async def begin(self, *functions: Function) -> Worker:
        """Make the environment, and register functions as those of their apps."""
        await self.store.add_environment(self.environment, now=self.now)
        for app, members in itertools.groupby(functions, key=lambda function: function.app_id):
            await self.sync(app, *members)
        await self.refresh()
        return self

    async def refresh(self) -> None:
        revision, functions = await self.store.load_functions(self.environment)
        self.registry = Registry(self.environment, revision, functions)

    def registration(
        self,
        app: str,
        *functions: Function,
        archived: Sequence[FunctionId] = (),
        crons: Sequence[tuple[str, int | None]] = (),
        revision: int | None = None,
        is_removed: bool = False,
    ) -> SyncRequest:
        """Make the registration of an app; its first function has the schedules."""
        return SyncRequest(
            app=app_of(app, environment=self.environment),
            revision=self.registry.revision if revision is None else revision,
            changes=[
                FunctionChange(
                    function=function,
                    name=function.slug,
                    config=encode(msgspec.to_builtins(function.config)),
                    is_changed=True,
                    crons=tuple(crons) if index == 0 else (),
                )
                for index, function in enumerate(functions)
            ],
            archived=archived,
            now=self.now,
            is_removed=is_removed,
        )

    async def sync(
        self,
        app: str,
        *functions: Function,
        archived: Sequence[FunctionId] = (),
        crons: Sequence[tuple[str, int | None]] = (),
        is_removed: bool = False,
    ) -> Result:
        """Register an app as things are now."""
        await self.refresh()
        request = self.registration(app, *functions, archived=archived, crons=crons, is_removed=is_removed)
        result = await self.store.submit(request)
        await self.refresh()
        return result

    # -- events -----------------------------------------------------------------------------------------------------

    def event(self, number: int, name: str = "a", *, data: Any = None, id: str | None = None) -> Event:
        """Make an event that is received now, with an id of this time; with ``id`` its sender chose that."""
        internal = ulid_text(self.now, number.to_bytes(10, "big"))
        event = event_of(number, name, data=data, ts=self.now, id=id or internal)
        return msgspec.structs.replace(event, id=internal, has_own_id=id is not None)

    def intake(self, event: Event, *, is_leased: bool = False) -> Intake:
        intake = start(event, self.registry, now=self.now, new_id=self.new_id)
        return self.leased_intake(intake) if is_leased else intake

    def leased_intake(self, intake: Intake) -> Intake:
        """Have the first jobs of an intake leased to this replica, those that are due."""
        starts = tuple(
            msgspec.structs.replace(found, job=self.leased(found.job)) if found.job.due_at <= self.now else found
            for found in intake.starts
        )
        return msgspec.structs.replace(intake, starts=starts)

    def leased(self, job: Job) -> Job:
        return msgspec.structs.replace(
            job, owner=self.store.replica_id, generation=job.generation + 1, leased_at=self.now
        )

    def ingestion(self, *intakes: Intake, revision: int | None = None) -> IngestRequest:
        revision = self.registry.revision if revision is None else revision
        return IngestRequest(self.environment, revision, intakes, self.now)

    async def ingest(self, *events: Event, is_leased: bool = False) -> tuple[Result, list[Intake]]:
        intakes = [self.intake(event, is_leased=is_leased) for event in events]
        return await self.store.submit(self.ingestion(*intakes)), intakes

    async def run(self, event: Event) -> tuple[Run, Job]:
        """Start the one run of an event; its job is leased."""
        result, [intake] = await self.ingest(event, is_leased=True)
        assert result.leased == {(intake.runs[0].id, intake.jobs[0].id)}
        return intake.runs[0], intake.jobs[0]

    # -- runs -------------------------------------------------------------------------------------------------------

    async def state(self, run_id: RunId) -> RunState:
        return (await self.store.load_runs([run_id]))[run_id]

    def claiming(self, *partitions: str, limit: int = 10) -> ClaimRequest:
        """Make a claim of partitions, within the limits of their functions."""
        wants: list[Want] = []
        for partition in partitions:
            function = self.registry.by_id.get(parse(partition).function_id)
            wanted = want(partition, limit, function, function and self.registry.rules(function))
            if wanted is not None:
                wants.append(wanted)
        return ClaimRequest(wants, self.now)

    async def claim(self, *partitions: str, limit: int = 10) -> list[Claimed]:
        return list((await self.store.submit(self.claiming(*(partitions or (QUEUE,)), limit=limit))).claimed)

    def transition(self, state: RunState, job: Job, reply: Reply, *, is_leased: bool = False) -> Transition:
        answered = Answered(
            reply=reply, started_at=self.now, ended_at=self.now, chance=0.0, stack_seen=len(state.stack)
        )
        function = self.registry.by_id[state.run.function_id]
        transition = advance(state, job, answered, function, Policy())
        if is_leased:
            jobs = tuple(self.leased(new) if new.due_at <= self.now else new for new in transition.jobs)
            transition = msgspec.structs.replace(transition, jobs=jobs)
        return transition

    def commit(self, transition: Transition, *intakes: Intake, revision: int | None = None) -> CommitRequest:
        return CommitRequest(transition, self.environment, revision, intakes)

    def carrying_out(self, transition: Transition) -> CommitRequest:
        """Make the commit of a transition, with the events that it sends, the functions that it invokes, and their runs."""
        function = self.registry.by_id[transition.run.function_id]
        taken = take_in(transition, self.registry, function, now=self.now, new_id=self.new_id)
        transition = msgspec.structs.replace(transition, resolutions=(*transition.resolutions, *taken.resolutions))
        asks = bool(transition.events or transition.invocations)
        return self.commit(transition, *taken.intakes, revision=self.registry.revision if asks else None)

    async def carry_out(self, run_id: RunId, job: Job, reply: Reply) -> Result:
        """Advance a leased job from the database's state, and commit it with all that it starts."""
        return await self.store.submit(self.carrying_out(self.transition(await self.state(run_id), job, reply)))

    async def reply(self, run_id: RunId, job: Job, reply: Reply, *, is_leased: bool = False) -> Transition:
        """Advance a leased job from the database's state, and commit."""
        transition = self.transition(await self.state(run_id), job, reply, is_leased=is_leased)
        result = await self.store.submit(self.commit(transition))
        assert result.verdict is Verdict.COMMITTED
        return transition

    async def fire(self, run_id: RunId, job: Job) -> Result:
        return await self.store.submit(self.commit(fire(await self.state(run_id), job, at=self.now)))

    async def cancellation(self, run_id: RunId) -> CommitRequest:
        state = await self.state(run_id)
        return self.commit(cancel(state, self.registry.by_id[state.run.function_id], at=self.now, reason="api"))

    async def submit_together(self, requests: Iterable[Request]) -> list[Result | BaseException]:
        """Submit requests that are likely to be one transaction."""
        futures = [self.store.submit(request) for request in requests]
        found: list[Result | BaseException] = []
        for future in futures:
            try:
                found.append(await future)
            except Exception as error:
                found.append(error)
        return found


def app_of(name: str, *, environment: EnvironmentId = DEV) -> App:
    return App(
        id=AppId(name),
        environment=environment,
        name=name,
        transport="http",
        url=f"http://localhost:3000/{name}",
        sdk="py:v1",
        framework="flask",
        version="1",
        checksum="sum",
        synced_at=T0,
    )
