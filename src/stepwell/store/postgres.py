"""The store on PostgreSQL: any number of replicas share one database, which does the coordination.

Writing requests are committed in groups by a few writers, each on a connection of its own (``group_commit.py``); beats
and reaping have another, so that they wait for nobody. What a statement means is in ``batch.py`` and ``read.py``, which
SQLite shares. News goes out by NOTIFY on its own connection, coalesced: inside the commits it would put them in line.

A connection that breaks is made anew by whoever needs it next. All that can be mended by waiting (a restart, a
fail-over, a full disk, a time-out) is raised as ``StoreUnavailable``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

from stepwell.engine.core.model import App, Event, Function, Gathering, Run, Span
from stepwell.engine.core.standing import Limiting, Standing
from stepwell.engine.core.state import RunState
from stepwell.errors import QueryTimeout, StoreError, StoreUnavailable
from stepwell.limits import READ_S_MAX
from stepwell.protocol.ids import AttemptId, EnvironmentId, EventId, FunctionId, ReplicaId, RunId
from stepwell.store import lists, read, read_log
from stepwell.store.access import load_credentials
from stepwell.store.batch import Batch
from stepwell.store.found import (
    Aftermath,
    Aged,
    Checked,
    Credentials,
    DueSchedule,
    EventFilter,
    EventKey,
    Lease,
    LogFilter,
    LogPage,
    Minute,
    RunDetail,
    RunFilter,
    Schedule,
    Walk,
)
from stepwell.store.group_commit import ConcurrentGroupCommit, Outage
from stepwell.store.insight import Questions
from stepwell.store.migrate_postgres import connected, migrate_postgres, refuse_unmigrated_postgres
from stepwell.store.news import News
from stepwell.store.postgres_link import (
    CONFLICTS,
    HOT_PATH,
    WALK,
    Connection,
    Hosts,
    Link,
    Links,
    Patience,
    is_outage,
    run_plan,
    run_statement,
    unavailable,
)
from stepwell.store.postgres_news import NewsChannel
from stepwell.store.query import Statement
from stepwell.store.read import Reading
from stepwell.store.request import BeatRequest, ReapRequest, Request, Result
from stepwell.store.url import shown_url

T = TypeVar("T")

_CONFLICT_TRIES_MAX: Final = 5
_BEAT_SHARE: Final = 0.4  # of the take-over time: a second beat must have its chance before the others lose patience


class PostgresStore:
    """See ``interface.Store``, which this implements, for what each verb promises."""

    def __init__(
        self,
        url: str,
        replica_id: ReplicaId,
        *,
        schema: str = "stepwell",
        is_pooled: bool = False,
        listen_url: str | None = None,
        connection_count: int = 6,
        take_over_s: float = 10.0,
        is_migrating: bool = True,
        patience: Patience | None = None,
    ) -> None:
        self.replica_id = replica_id
        self.is_shared = True
        self._url, self._schema, self._is_migrating = url, schema, is_migrating
        self._is_pooled, self._patience = is_pooled, patience or Patience()
        self._beat_s = take_over_s * _BEAT_SHARE
        # A replica that stops in the middle of a transaction must not hold its locks for longer than it may be silent.
        idle_ms = round(take_over_s * 400)
        writing = {"idle_in_transaction_session_timeout": str(idle_ms), **HOT_PATH}
        hosts = Hosts(url)
        writer_count = max(1, connection_count // 2)
        self._writers = [self._link(hosts, writing) for _ in range(writer_count)]
        self._vital_link = self._link(hosts, writing)
        self._vital_use = asyncio.Lock()
        reading = {"idle_in_transaction_session_timeout": str(idle_ms), "jit": "off"}
        reader_count = max(1, connection_count - writer_count - 1)
        self._readers = Links([self._link(hosts, reading) for _ in range(reader_count)], patience=self._patience)
        # The engine's own reads find a connection, whatever the dashboard asks.
        self._asking = asyncio.Semaphore(max(1, reader_count - 1))
        self.insight = Questions(self._ask)
        self._outage = Outage(lambda: self._commits.is_idle)
        self._commits = ConcurrentGroupCommit(self._write, writer_count, self._outage)
        self._vital = ConcurrentGroupCommit(self._write_vital, 1, self._outage, is_vital=True)
        self._news: NewsChannel | None = None
        if not is_pooled:
            self._news = NewsChannel(self._link(hosts, {}), schema, replica_id)
        elif listen_url is not None:
            self._news = NewsChannel(self._link(Hosts(listen_url), {}, is_direct=True), schema, replica_id)

    def _link(self, hosts: Hosts, settings: dict[str, str], *, is_direct: bool = False) -> Link:
        timeout_ms = round(self._patience.statement_s * 1000)
        return Link(
            hosts,
            {"search_path": f'"{self._schema}"', "statement_timeout": str(timeout_ms), **settings},
            is_pooled=self._is_pooled and not is_direct,
            patience=self._patience,
        )

    async def start(self, *, now: int) -> None:
        """Migrate the database and enter this replica.

        Raises ``StoreUnavailable`` when it can't be reached, ``StoreError`` when it can't be used.
        """
        try:
            async with connected(self._url, connect_s=self._patience.connect_s) as connection:
                if self._is_migrating:
                    await migrate_postgres(connection, schema=self._schema, now=now, is_pooled=self._is_pooled)
                else:
                    await refuse_unmigrated_postgres(connection, schema=self._schema)
            await self.enter(self.replica_id)
        except StoreError as error:
            raise type(error)(f"{shown_url(self._url)}: {error}") from error
        self._commits.start()
        self._vital.start()
        if self._news is not None:
            self._news.start()

    async def stop(self) -> None:
        """Finish what was submitted and close. What a database that doesn't answer holds up is given up."""
        await self._commits.stop()
        await self._vital.stop()
        if self._news is not None:
            await self._news.stop()
        for link in (*self._writers, self._vital_link, *self._readers.all):
            await link.close()

    def submit(self, request: Request) -> asyncio.Future[Result]:
        if isinstance(request, BeatRequest | ReapRequest):
            return self._vital.submit(request)
        return self._commits.submit(request)

    async def enter(self, replica_id: ReplicaId) -> None:
        self.replica_id = replica_id
        if self._news is not None:
            self._news.replica_id = replica_id
        await self._write_plain(Statement("replica_insert", parameters={"id": replica_id}))

    def tell(self, news: News) -> None:
        """Tell the other replicas; behind a proxy without a listening address they poll instead."""
        if self._news is not None:
            self._news.tell(news)

    def listen(self, hear: Callable[[News], None]) -> None:
        if self._news is not None:
            self._news.hear = hear

    def measure(self, observe: Callable[[float, int], None]) -> None:
        self._commits.observe = observe

    @property
    def is_heard(self) -> bool:
        return self._news is not None and self._news.is_connected

    @property
    def outage(self) -> str | None:
        return self._outage.reason

    async def add_environment(self, environment: EnvironmentId, *, now: int) -> None:
        await self._write_plain(Statement("environment_upsert", parameters={"id": environment, "now": now}))

    async def load_functions(self, environment: EnvironmentId) -> tuple[int, list[Function]]:
        return await self._read(lambda: read.load_functions(environment))

    async def is_awaited(self, environment: EnvironmentId, name: str) -> bool:
        return await self._read(lambda: read.is_awaited(environment, name))

    async def load_apps(self, environment: EnvironmentId) -> list[App]:
        return await self._read(lambda: read.load_apps(environment))

    async def load_runs(self, ids: Sequence[RunId]) -> dict[RunId, RunState]:
        return await self._read(lambda: read.load_runs(ids))

    async def ended_runs(self, ids: Sequence[RunId]) -> list[RunId]:
        return await self._read(lambda: read.ended_runs(ids))

    async def leases(self) -> list[Lease]:
        return await self._read(lambda: read.leases(self.replica_id))

    async def partitions(self) -> list[str]:
        return await self._read(read.partitions)

    async def backlog(self, *, now: int, partitions_max: int, count_max: int) -> list[tuple[str, int]]:
        return await self._read(lambda: read.backlog(now, partitions_max, count_max))

    async def next_due(self, partitions: Sequence[str]) -> list[tuple[str, int | None]]:
        return await self._read(lambda: read.next_due(partitions))

    async def due_schedules(self, *, now: int, limit: int) -> list[DueSchedule]:
        return await self._read(lambda: read.due_schedules(now, limit))

    async def next_schedule_due(self) -> int | None:
        return await self._read(read.next_schedule_due)

    async def load_schedules(self, environment: EnvironmentId) -> list[Schedule]:
        return await self._read(lambda: read.load_schedules(environment))

    async def has_sweeps(self) -> bool:
        return await self._read(read.has_sweeps)

    async def due_gatherings(self, *, now: int, limit: int) -> list[tuple[Gathering, list[Event]]]:
        return await self._read(lambda: read.due_gatherings(now, limit))

    async def next_gathering_due(self) -> int | None:
        return await self._read(read.next_gathering_due)

    async def load_credentials(self) -> Credentials:
        return await self._read(load_credentials)

    async def load_setting(self, key: str) -> str | None:
        return await self._read(lambda: read.load_setting(key))

    async def list_runs(self, which: RunFilter) -> list[Run]:
        return await self._read(lambda: lists.list_runs(which))

    async def list_events(self, which: EventFilter) -> list[Event]:
        return await self._read(lambda: lists.list_events(which))

    async def list_lines(self, which: LogFilter) -> LogPage:
        return await self._ask(lambda: read_log.list_lines(which))

    async def count_lines(self, run_id: RunId) -> int:
        return await self._ask(lambda: read_log.count_lines(run_id))

    async def load_spans(self, run_id: RunId) -> tuple[list[Span], dict[AttemptId, str]]:
        return await self._ask(lambda: read_log.load_spans(run_id))

    async def load_event(self, id: EventId) -> Event | None:
        return await self._read(lambda: read.load_event(id))

    async def event_names(self, ids: Sequence[EventId]) -> dict[EventId, str]:
        return await self._read(lambda: read.event_names(ids))

    async def load_run(self, id: RunId) -> RunDetail | None:
        return await self._read(lambda: read.load_run(id))

    async def load_aftermath(self, id: EventId, *, limit: int) -> Aftermath:
        return await self._read(lambda: read.load_aftermath(id, limit))

    async def find_run(self, id: RunId) -> Run | None:
        return await self._read(lambda: read.find_run(id))

    async def load_standing(
        self, id: RunId, limitings: Callable[[str], Sequence[Limiting]], *, now: int
    ) -> Standing | None:
        return await self._read(lambda: read.load_standing(id, limitings, now))

    async def walk_runs(
        self, function_id: FunctionId, *, after: str, ended_before: int, limit: int, count_max: int
    ) -> list[Aged]:
        return await self._read(
            lambda: read.walk_runs(function_id, after, ended_before, limit, count_max), settings=WALK
        )

    async def walk_events(
        self, environment: EnvironmentId, *, after: str, received_before: int, limit: int
    ) -> list[Aged]:
        return await self._read(lambda: read.walk_events(environment, after, received_before, limit), settings=WALK)

    async def walk_samples(self, function_id: FunctionId, *, after: int, until: int, limit: int) -> list[Minute]:
        return await self._read(lambda: read.walk_samples(function_id, after, until, limit), settings=WALK)

    async def check(self, walk: Walk, after: tuple[str, ...], *, now: int, limit: int) -> list[Checked]:
        return await self._read(lambda: read.check(walk, after, now, limit), settings=WALK)

    async def walk_event_keys(self, after: tuple[str, str], *, limit: int) -> list[EventKey]:
        return await self._read(lambda: read.walk_event_keys(after, limit), settings=WALK)

    # -- inside -------------------------------------------------------------------------------------------------

    async def _write(self, number: int, requests: Sequence[Request]) -> list[Result]:
        return await self._write_on(self._writers[number], requests)

    async def _write_vital(self, _number: int, requests: Sequence[Request]) -> list[Result]:
        """Beat, or reap. A beat that takes too long is given up: the next one finds a better connection, or host."""
        is_beat = all(isinstance(request, BeatRequest) for request in requests)
        try:
            async with asyncio.timeout(self._beat_s if is_beat else None), self._vital_use:
                return await self._write_on(self._vital_link, requests)
        except TimeoutError as error:
            raise StoreUnavailable(f"PostgreSQL did not answer a beat within {self._beat_s:g} s") from error

    async def _write_on(self, link: Link, requests: Sequence[Request]) -> list[Result]:
        """Commit a batch. Two batches that locked each other out are tried again."""

        async def work(connection: Connection) -> list[Result]:
            batch = Batch(self.replica_id, requests)
            await run_plan(batch.plan(), connection)
            return batch.results

        return await self._transact(link, work)

    async def _write_plain(self, statement: Statement) -> None:
        async with self._vital_use:
            await self._transact(self._vital_link, lambda connection: run_statement(statement, connection))

    async def _read(self, plan: Callable[[], Reading[T]], *, settings: str = "") -> T:
        """Read in one transaction, so that all of it is of one moment."""
        try:
            return await self._transact(
                self._readers,
                lambda connection: run_plan(plan(), connection),
                mode=f" isolation level repeatable read read only{settings}",
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise StoreError(f"the database can't be read: {error}") from error

    async def _ask(self, plan: Callable[[], Reading[T]]) -> T:
        """Read for the dashboard, only for so long, the wait for a connection included."""
        end = asyncio.get_running_loop().time() + READ_S_MAX

        async def work(connection: Connection) -> T:
            try:
                return await run_plan(_until(end, plan()), connection)
            except asyncpg.QueryCanceledError as error:
                raise QueryTimeout.after(READ_S_MAX) from error

        # Compiling a question takes longer than answering it; a pooled session has no settings of its own.
        limit = f"; set local statement_timeout = {round(READ_S_MAX * 1000)}; set local jit = off"
        async with self._turn_to_ask():
            try:
                return await self._transact(
                    self._readers, work, mode=f" isolation level repeatable read read only{limit}"
                )
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                raise StoreError(f"the database can't be read: {error}") from error

    @asynccontextmanager
    async def _turn_to_ask(self) -> AsyncGenerator[None]:
        try:
            await asyncio.wait_for(self._asking.acquire(), READ_S_MAX)
        except TimeoutError:
            raise QueryTimeout.after(READ_S_MAX) from None
        try:
            yield
        finally:
            self._asking.release()

    async def _transact(self, link: Link | Links, work: Callable[[Connection], Awaitable[T]], *, mode: str = "") -> T:
        tries = 0
        while True:
            try:
                return await link.transact(work, mode=mode)
            except CONFLICTS as error:
                tries += 1
                if tries == _CONFLICT_TRIES_MAX:
                    raise StoreUnavailable(f"the database kept refusing a transaction: {error}") from error
            except Exception as error:
                if not is_outage(error):
                    raise
                self._doubt(error)
                raise unavailable(error) from error

    def _doubt(self, error: BaseException) -> None:
        """Look at the other connections, too, after one failed: those that only listen or read may not notice."""
        if self._news is not None:
            self._news.check()
        is_standby = isinstance(error, asyncpg.ReadOnlySQLTransactionError)
        if is_standby or isinstance(error, TimeoutError):
            # What is read at a standby grows old, without an error; of a silent server, each would have to find out.
            for link in (*self._writers, self._vital_link, *self._readers.all):
                link.suspect()
        if is_standby and self._news is not None:
            self._news.reconnect()


def _until(end: float, plan: Reading[T]) -> Reading[T]:
    """Run a plan, and no more of its statements once the event loop's time is past ``end``."""
    now = asyncio.get_running_loop().time
    try:
        statement = next(plan)
        while True:
            if now() > end:
                raise QueryTimeout.after(READ_S_MAX)
            statement = plan.send((yield statement))
    except StopIteration as done:
        result: T = done.value
        return result
