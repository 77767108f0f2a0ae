"""The database of a world: the real SQLite store, with what goes wrong around it.

In a world of one replica the file is its own, as in production. In others it stands for PostgreSQL: each replica has
several writers and its connections are slow, break, and lose the answer to a commit; it has a clock and news of its
own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from stepwell.errors import StoreClosed, StoreUnavailable
from stepwell.protocol.ids import EnvironmentId, ReplicaId
from stepwell.store.group_commit import ConcurrentGroupCommit, Outage
from stepwell.store.news import News
from stepwell.store.query import Statement
from stepwell.store.read import Reading, Text
from stepwell.store.request import BeatRequest, CommitRequest, ReapRequest, Request, Result, Verdict
from stepwell.store.rows import Row
from stepwell.store.sqlite import SQLiteStore, Statements

if TYPE_CHECKING:
    from tests.simulation.replica import Replica
    from tests.simulation.world import World

T = TypeVar("T")


class Killed(BaseException):
    """The process ends here."""


class Database:
    """What the replicas share, but for the file: its clock, how it can be reached, and who hears news."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.skew_ms = 0
        self.is_stepped = False
        """Its clock was set at least once."""
        self.is_down = False
        self.is_slow = False
        self.ill_at = float("-inf")
        """When something last went wrong for everybody."""
        self.stores: list[SharedStore] = []

    def now(self) -> int:
        """Return the database's time, Unix ms."""
        return self._world.true_ms() + self.skew_ms

    def note_illness(self, for_s: float = 0.0) -> None:
        self.ill_at = self._world.loop.time() + for_s

    async def way(self) -> None:
        """Carry something to the database or back."""
        if self.is_down:
            await asyncio.sleep(self._world.chance.choice([0.0, 0.5, 2.0]))
            raise StoreUnavailable("the database can't be reached")
        if self.is_slow:
            await asyncio.sleep(self._world.chance.choice([0.05, 0.5, 1.5, 3.0, 8.0]))
            self.check()
        else:
            await asyncio.sleep(self._world.chance.choice([0.0, 0.0, 0.001, 0.005]))

    def check(self) -> None:
        if self.is_down:
            raise StoreUnavailable("the connection broke")

    def tell(self, teller: SharedStore, news: News) -> None:
        """Tell all others, later, or never."""
        world = self._world
        for store in self.stores:
            if store is teller or not store.is_heard:
                continue
            if world.chance.random() < world.faults.lost_news:  # even when all else is well
                world.tell("news is lost", by=teller.replica_id, to=store.replica_id)
                continue
            delay_s = world.chance.choice(world.news_delays_s)
            world.loop.run_as(store.replica, world.loop.call_later, delay_s, store.hear, news)

    def reconnect_news(self) -> None:
        """Have everybody look, since what was told meanwhile was missed."""
        for store in self.stores:
            self._world.loop.run_as(store.replica, self._world.loop.call_soon, store.reconnect_news)


class SimulatedStore(SQLiteStore):
    """The real store on a file of its own. The process may die around a commit, the disk be full."""

    _sql: Statements

    def __init__(self, world: World, replica: Replica, path: Path, id: ReplicaId) -> None:
        super().__init__(path, id, is_threaded=False, is_durable=False, db_now=replica.wall_ms)
        self._set_up(world, replica)

    def _set_up(self, world: World, replica: Replica) -> None:
        self.world, self.replica = world, replica

    def submit(self, request: Request) -> asyncio.Future[Result]:
        if self.replica.is_dead:
            raise StoreClosed("the process is dead")
        self.world.promises.submitted(self.replica, request)
        future = self._submit(request)
        if isinstance(request, CommitRequest) and self.world.strikes("doubled_commit"):
            future.add_done_callback(lambda future: self._double(request, future))
        return future

    def _submit(self, request: Request) -> asyncio.Future[Result]:
        return super().submit(request)

    def _double(self, request: CommitRequest, future: asyncio.Future[Result]) -> None:
        """Commit once more what was committed: it must change nothing."""
        if self.replica.is_dead or future.cancelled() or future.exception() is not None:
            return
        if future.result().verdict is not Verdict.COMMITTED:
            return
        self.world.tell("a commit is done again", run=request.transition.run.id)
        try:
            again = self._submit(request._replace(done=None))
        except StoreClosed:
            return
        again.add_done_callback(lambda again: self._doubled(request, again))

    def _doubled(self, request: CommitRequest, again: asyncio.Future[Result]) -> None:
        if not again.cancelled() and again.exception() is None and again.result().verdict is Verdict.COMMITTED:
            self.world.fail(f"{request.transition.run.id}: the same transition was committed twice")

    def _write(self, requests: Sequence[Request]) -> list[Result]:
        world, points = self.world, self.world.points
        if self.replica.is_dead:
            raise Killed
        if world.strikes("disk_full"):
            self.replica.note_illness()
            raise StoreUnavailable("database or disk is full")
        if world.may_crash("crash_before_commit"):
            self.replica.crash("before a commit")
            raise Killed
        if points is not None:
            points.begin(requests)
            if not isinstance(self._sql, PointedStatements):
                self._sql = PointedStatements(self._sql, lambda name: points.before_statement(self, name))
        try:
            results = super()._write(requests)
        except Killed:
            self.replica.crash("in a commit")
            raise
        try:
            world.promises.committed(self, requests, results)
        except Exception as error:  # it is no fault of the database
            world.fail(f"the world itself broke: {error!r}")
        if points is not None:
            points.after_commit(self)
        if world.may_crash("crash_after_commit"):
            self.replica.crash("after a commit")
            raise Killed
        if not self.replica.is_paused and world.may_crash("pause_after_commit"):
            world.loop.run_as(None, world.trouble.pause, self.replica)
        return results

    def _read_now(self, plan: Reading[T], end: float | None = None) -> T:
        if self.world.strikes("read_error"):
            self.replica.note_illness()
            raise sqlite3.OperationalError("disk I/O error")
        return super()._read_now(plan, end)

    async def backlog(self, *, now: int, partitions_max: int, count_max: int) -> list[tuple[str, int]]:
        self.look_count += 1
        return await super().backlog(now=now, partitions_max=partitions_max, count_max=count_max)

    async def enter(self, replica_id: ReplicaId) -> None:
        await super().enter(replica_id)
        self.world.promises.entered(self.replica, replica_id)

    def kill(self) -> None:
        """Let go of the file as the operating system does when a process ends."""
        for db in self._connections:
            db.close()
        if self._lock is not None:
            self._lock.close()


class SharedStore(SimulatedStore):
    """The real store's SQL on a file that several replicas share, behind writers and connections like PostgreSQL's."""

    def __init__(self, world: World, replica: Replica, path: Path, id: ReplicaId) -> None:
        SQLiteStore.__init__(
            self, path, id, is_threaded=False, is_durable=False, is_shared=True, db_now=world.database.now
        )
        self._set_up(world, replica)
        self._database = world.database
        self._database.stores.append(self)
        self._hear: Callable[[News], None] | None = None
        self.is_deaf = False
        self.look_count = 0
        """How often it was asked for the backlog."""
        self._outage = Outage(lambda: self._many.is_idle)
        self._many = ConcurrentGroupCommit(self._write_late, world.writer_count, self._outage)
        self._commits = self._many  # as PostgresStore has it
        self._vital = ConcurrentGroupCommit(self._write_late, 1, self._outage, is_vital=True)

    async def start(self, *, now: int) -> None:
        await self._database.way()
        await super().start(now=now)
        self._vital.start()

    async def stop(self) -> None:
        await self._vital.stop()
        await super().stop()

    def _submit(self, request: Request) -> asyncio.Future[Result]:
        return (self._vital if isinstance(request, BeatRequest | ReapRequest) else self._many).submit(request)

    async def _write_late(self, _number: int, requests: Sequence[Request]) -> list[Result]:
        await self._database.way()
        results = self._write(requests)
        if self.world.strikes("unknown_commit"):
            self.replica.note_illness()
            self.world.tell("the connection breaks in a commit", replica=self.replica_id)
            raise StoreUnavailable("the connection broke in the middle of a commit")
        await self._database.way()
        return results

    async def _read(self, plan: Reading[T]) -> T:
        await self._database.way()
        found = await super()._read(plan)
        await self._database.way()
        return found

    async def enter(self, replica_id: ReplicaId) -> None:
        await self._database.way()
        await super().enter(replica_id)

    async def add_environment(self, environment: EnvironmentId, *, now: int) -> None:
        await self._database.way()
        await super().add_environment(environment, now=now)

    @property
    def outage(self) -> str | None:
        return self._outage.reason

    # -- news ---------------------------------------------------------------------------------------------------

    def tell(self, news: News) -> None:
        if self.is_heard:
            self._database.tell(self, news)

    def listen(self, hear: Callable[[News], None]) -> None:
        self._hear = hear

    @property
    def is_heard(self) -> bool:
        return not self.is_deaf and not self._database.is_down

    def hear(self, news: News) -> None:
        if self._hear is not None and self._connections and not self.replica.is_dead:
            self._hear(news)

    def reconnect_news(self) -> None:
        """Hear again, and look at what was missed."""
        self.is_deaf = False
        if self.is_heard:
            self.hear(News({}, is_synced=True, is_left=True))

    def kill(self) -> None:
        super().kill()
        self._database.stores.remove(self)


class PointedStatements(Statements):
    """Statements with a point before each, at which something may go wrong."""

    def __init__(self, inner: Statements, point: Callable[[str], None]) -> None:
        self._inner, self._point = inner, point

    def run(self, statement: Statement | Text) -> list[Row]:
        self._point(statement.name if isinstance(statement, Statement) else "")
        return self._inner.run(statement)
