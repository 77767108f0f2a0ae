"""The store on SQLite: one file, one process, one writer.

A writer thread owns the only connection that writes; group commit makes one transaction of all that waits
(``group_commit.py``, ``sqlite_batch.py``). Readers have connections of their own, which in WAL mode never wait for the
writer. ``synchronous=FULL``: what is committed survives a power cut. The write-ahead log is copied back by a thread of
its own, off the writer's path.

The process holds a lock on ``<file>.lock`` as long as it lives, so that a second server on the same file is refused
rather than allowed to take the first one's jobs. Simulations share a file among several replicas of one process.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import IO, Final, TypeVar

from stepwell.engine.core.model import App, Event, Function, Gathering, Run, Span
from stepwell.engine.core.standing import Limiting, Standing
from stepwell.engine.core.state import RunState
from stepwell.errors import QueryTimeout, StoreError, StoreUnavailable
from stepwell.limits import MIB, READ_S_MAX
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
from stepwell.store.group_commit import GroupCommit
from stepwell.store.insight import Questions
from stepwell.store.migrate import migrate, refuse_unmigrated
from stepwell.store.news import News
from stepwell.store.query import Statement, load_queries
from stepwell.store.read import Reading
from stepwell.store.request import BeatRequest, ReapRequest, Request, Result
from stepwell.store.rows import Row

T = TypeVar("T")

_READERS: Final = 2
_STEPS_BETWEEN_LOOKS: Final = 20_000  # of SQLite's machine, at the clock: a millisecond or so
_STATEMENTS_CACHED: Final = 512
_CHECKPOINT_COMMITS: Final = 500  # group commits between two rounds of copying back
_WAL_BYTES_MAX: Final = (
    256 * MIB
)  # from here on the writer waits for the checkpoint, so that the log can't grow for ever
_ALL_OTHERS_MS: Final = -(1 << 60)  # however late their last beat
_ROWS_MAX: Final = 128  # a power of two; the widest table has 17 columns, SQLite takes 32,766 values
_UNAVAILABLE: Final = frozenset(
    (sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR)
)
# Where SQLite was built to overwrite what is deleted, as Debian's is, a large run's end would be written once more.
_PRAGMAS: Final = (
    "pragma busy_timeout = 10000; pragma foreign_keys = on; pragma temp_store = memory; pragma secure_delete = fast;"
)


_CACHE_KIB: Final = 8 * 1024
"""Of the writer: with SQLite's own 2 MiB, an insert costs twice as much once the tables have a hundred thousand rows."""


def _wall_ms() -> int:
    return time.time_ns() // 1_000_000


class SQLiteStore:
    """See ``interface.Store``, which this implements, for what each verb promises."""

    def __init__(
        self,
        path: str | Path,
        replica_id: ReplicaId,
        *,
        is_threaded: bool = True,
        is_durable: bool = True,
        is_shared: bool = False,
        is_migrating: bool = True,
        db_now: Callable[[], int] = _wall_ms,
    ) -> None:
        self.replica_id = replica_id
        self.is_shared = is_shared
        self._is_migrating: Final = is_migrating
        self._db_now = db_now
        self._path: Final = Path(path)
        self._is_threaded: Final = is_threaded
        self._synchronous: Final = "full" if is_durable else "off"
        self._commits = GroupCommit(self._write, is_threaded=is_threaded, probe=BeatRequest(0))
        self._readers = ThreadPoolExecutor(_READERS, "stepwell-reader") if is_threaded else None
        self._askers = ThreadPoolExecutor(_READERS, "stepwell-asker") if is_threaded else None
        self.insight = Questions(self._ask)
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock: IO[str] | None = None
        self._checkpointer: _Checkpointer | None = None

    async def start(self, *, now: int) -> None:
        """Open the file, migrate it, enter this replica, and release the jobs of dead ones.

        Raises ``StoreError`` when another server has the file, or it is no database.
        """
        if not self.is_shared:
            self._lock = _lock(self._path)
        try:
            self._writer = self._connect()
            self._writer.execute("pragma journal_mode = wal")
            self._writer.execute(f"pragma synchronous = {self._synchronous}")
            self._writer.execute("pragma wal_autocheckpoint = 0")
            self._writer.execute(f"pragma cache_size = -{_CACHE_KIB}")
            if self._is_migrating:
                migrate(self._writer, now=now)
            else:
                refuse_unmigrated(self._writer)
            self._sql = Statements(self._writer, self._db_now)
            await self.enter(self.replica_id)
            if not self.is_shared:
                self._write([ReapRequest(_ALL_OTHERS_MS, now)])
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} can't be opened as a database: {error}") from error
        if self._is_threaded:
            self._checkpointer = _Checkpointer(self._connect, self._path)
        self._commits.start()

    async def stop(self) -> None:
        """Finish what was submitted and close. May be called after a ``start`` that failed."""
        await self._commits.stop()
        if self._checkpointer is not None:
            await asyncio.to_thread(self._checkpointer.stop)
        for threads in (self._readers, self._askers):
            if threads is not None:
                await asyncio.to_thread(threads.shutdown)
        for db in self._connections:
            db.close()
        self._connections.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def submit(self, request: Request) -> asyncio.Future[Result]:
        return self._commits.submit(request)

    async def add_environment(self, environment: EnvironmentId, *, now: int) -> None:
        try:
            self._sql.run(Statement("environment_upsert", parameters={"id": environment, "now": now}))
        except sqlite3.Error as error:
            raise self._failure(error, "written") from error

    async def enter(self, replica_id: ReplicaId) -> None:
        self.replica_id = replica_id
        self._sql.run(Statement("replica_insert", parameters={"id": replica_id}))

    def tell(self, news: News) -> None:
        """Tell nobody: one process has the file."""

    def listen(self, hear: Callable[[News], None]) -> None:
        """Hear nothing."""

    def measure(self, observe: Callable[[float, int], None]) -> None:
        self._commits.observe = observe

    @property
    def is_heard(self) -> bool:
        return True

    @property
    def outage(self) -> str | None:
        return self._commits.outage

    async def load_functions(self, environment: EnvironmentId) -> tuple[int, list[Function]]:
        return await self._read(read.load_functions(environment))

    async def is_awaited(self, environment: EnvironmentId, name: str) -> bool:
        return await self._read(read.is_awaited(environment, name))

    async def load_apps(self, environment: EnvironmentId) -> list[App]:
        return await self._read(read.load_apps(environment))

    async def load_runs(self, ids: Sequence[RunId]) -> dict[RunId, RunState]:
        return await self._read(read.load_runs(ids))

    async def ended_runs(self, ids: Sequence[RunId]) -> list[RunId]:
        return await self._read(read.ended_runs(ids))

    async def leases(self) -> list[Lease]:
        return await self._read(read.leases(self.replica_id))

    async def partitions(self) -> list[str]:
        return await self._read(read.partitions())

    async def backlog(self, *, now: int, partitions_max: int, count_max: int) -> list[tuple[str, int]]:
        return await self._read(read.backlog(now, partitions_max, count_max))

    async def next_due(self, partitions: Sequence[str]) -> list[tuple[str, int | None]]:
        return await self._read(read.next_due(partitions))

    async def due_schedules(self, *, now: int, limit: int) -> list[DueSchedule]:
        return await self._read(read.due_schedules(now, limit))

    async def next_schedule_due(self) -> int | None:
        return await self._read(read.next_schedule_due())

    async def load_schedules(self, environment: EnvironmentId) -> list[Schedule]:
        return await self._read(read.load_schedules(environment))

    async def has_sweeps(self) -> bool:
        return await self._read(read.has_sweeps())

    async def due_gatherings(self, *, now: int, limit: int) -> list[tuple[Gathering, list[Event]]]:
        return await self._read(read.due_gatherings(now, limit))

    async def next_gathering_due(self) -> int | None:
        return await self._read(read.next_gathering_due())

    async def load_credentials(self) -> Credentials:
        return await self._read(load_credentials())

    async def load_setting(self, key: str) -> str | None:
        return await self._read(read.load_setting(key))

    async def list_runs(self, which: RunFilter) -> list[Run]:
        return await self._read(lists.list_runs(which))

    async def list_events(self, which: EventFilter) -> list[Event]:
        return await self._read(lists.list_events(which))

    async def list_lines(self, which: LogFilter) -> LogPage:
        return await self._ask(lambda: read_log.list_lines(which))

    async def count_lines(self, run_id: RunId) -> int:
        return await self._ask(lambda: read_log.count_lines(run_id))

    async def load_spans(self, run_id: RunId) -> tuple[list[Span], dict[AttemptId, str]]:
        return await self._ask(lambda: read_log.load_spans(run_id))

    async def load_event(self, id: EventId) -> Event | None:
        return await self._read(read.load_event(id))

    async def event_names(self, ids: Sequence[EventId]) -> dict[EventId, str]:
        return await self._read(read.event_names(ids))

    async def load_run(self, id: RunId) -> RunDetail | None:
        return await self._read(read.load_run(id))

    async def load_aftermath(self, id: EventId, *, limit: int) -> Aftermath:
        return await self._read(read.load_aftermath(id, limit))

    async def find_run(self, id: RunId) -> Run | None:
        return await self._read(read.find_run(id))

    async def load_standing(
        self, id: RunId, limitings: Callable[[str], Sequence[Limiting]], *, now: int
    ) -> Standing | None:
        return await self._read(read.load_standing(id, limitings, now))

    async def walk_runs(
        self, function_id: FunctionId, *, after: str, ended_before: int, limit: int, count_max: int
    ) -> list[Aged]:
        return await self._read(read.walk_runs(function_id, after, ended_before, limit, count_max))

    async def walk_events(
        self, environment: EnvironmentId, *, after: str, received_before: int, limit: int
    ) -> list[Aged]:
        return await self._read(read.walk_events(environment, after, received_before, limit))

    async def walk_samples(self, function_id: FunctionId, *, after: int, until: int, limit: int) -> list[Minute]:
        return await self._read(read.walk_samples(function_id, after, until, limit))

    async def check(self, walk: Walk, after: tuple[str, ...], *, now: int, limit: int) -> list[Checked]:
        return await self._read(read.check(walk, after, now, limit))

    async def walk_event_keys(self, after: tuple[str, str], *, limit: int) -> list[EventKey]:
        return await self._read(read.walk_event_keys(after, limit))

    # -- inside -------------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS_CACHED
        )
        db.executescript(_PRAGMAS)
        self._connections.append(db)
        return db

    def _write(self, requests: Sequence[Request]) -> list[Result]:
        db = self._writer
        batch = Batch(self.replica_id, requests, is_alone=True)
        try:
            db.execute("begin immediate")
            run_plan(batch.plan(), self._sql)
            db.execute("commit")
        except BaseException as error:
            if db.in_transaction:
                db.execute("rollback")
            if isinstance(error, sqlite3.Error) and _is_outage(error):
                if self._checkpointer is not None:
                    self._checkpointer.make_room()
                raise self._failure(error, "written") from error
            raise
        if self._checkpointer is not None:
            self._checkpointer.committed()
        return batch.results

    async def _read(self, plan: Reading[T]) -> T:
        try:
            if self._readers is None:
                return self._read_now(plan)
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, plan)
        except sqlite3.Error as error:
            raise self._failure(error, "read") from error

    async def _ask(self, plan: Callable[[], Reading[T]]) -> T:
        """Read for the dashboard, on threads of its own, and only for so long, the wait for a thread included."""
        end = time.monotonic() + READ_S_MAX
        try:
            if self._askers is None:
                return self._read_now(plan(), end)
            return await asyncio.get_running_loop().run_in_executor(self._askers, lambda: self._read_now(plan(), end))
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise QueryTimeout.after(READ_S_MAX) from error
            raise self._failure(error, "read") from error

    def _failure(self, error: sqlite3.Error, what: str) -> StoreError:
        kind = StoreUnavailable if _is_outage(error) else StoreError
        return kind(f"{self._path} can't be {what}: {error}")

    def _read_now(self, plan: Reading[T], end: float | None = None) -> T:
        """Read in one transaction, so that all of it is of one moment. At ``end``, monotonic, it is broken off."""
        if end is not None and time.monotonic() > end:
            raise QueryTimeout.after(READ_S_MAX)
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
            db.execute("pragma query_only = on")
        if end is not None:
            db.set_progress_handler(lambda: time.monotonic() > end, _STEPS_BETWEEN_LOOKS)
        db.execute("begin")
        try:
            return run_plan(plan, Statements(db))
        finally:
            db.set_progress_handler(None, 0)
            if db.in_transaction:  # an error of the disk may have ended it
                db.execute("commit")


def _is_outage(error: sqlite3.Error) -> bool:
    """Tell whether a failure is mended by waiting: a full disk, say."""
    # Errors of the driver itself have no code.
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF in _UNAVAILABLE


class Statements:
    """Runs statements on one connection. ``db_now`` is the database's time, which SQLite has from its process."""

    def __init__(self, db: sqlite3.Connection, db_now: Callable[[], int] = _wall_ms) -> None:
        self._db = db
        self._db_now = db_now
        self._queries = load_queries("sqlite")

    def run(self, statement: Statement | read.Text) -> list[Row]:
        """Run one statement and return what comes back, over all chunks of its rows."""
        if isinstance(statement, read.Text):
            return self._db.execute(*statement).fetchall()
        query = self._queries[statement.name]
        values = statement.parameters
        rest = [self._db_now() if key == "db_now" else values[key] for key in query.parameters]
        if statement.rows is None:
            return self._db.execute(_text(statement.name, 0), rest).fetchall()
        found: list[Row] = []
        for chunk in _chunks(statement.rows):
            flat = [value for row in chunk for value in row]
            found += self._db.execute(_text(statement.name, len(chunk)), flat + rest).fetchall()
        return found


def run_plan(plan: Generator[Statement | read.Text, Sequence[Row], T], sql: Statements) -> T:
    """Run a plan's statements, one after the other, and return its result."""
    try:
        statement = next(plan)
        while True:
            statement = plan.send(sql.run(statement))
    except StopIteration as end:
        return end.value


@cache
def _text(name: str, row_count: int) -> str:
    return load_queries("sqlite")[name].sqlite(row_count)


def _chunks(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Cut rows into chunks whose sizes are powers of two, so that few different texts are prepared."""
    at = 0
    while at < len(rows):
        size = min(_ROWS_MAX, 1 << ((len(rows) - at).bit_length() - 1))
        yield rows[at : at + size]
        at += size


class _Checkpointer:
    """Copies the write-ahead log back into the database, beside the writer."""

    def __init__(self, connect: Callable[[], sqlite3.Connection], path: Path) -> None:
        self._connect = connect
        self._wal = Path(f"{path}-wal")
        self._wakes = threading.Event()
        self._is_stopped = False
        self._commits = 0
        self._thread = threading.Thread(target=self._run, name="stepwell-checkpoint", daemon=True)
        self._thread.start()

    def committed(self) -> None:
        """Count a commit: called by the writer after each."""
        self._commits += 1
        if self._commits % _CHECKPOINT_COMMITS == 0:
            self._wakes.set()

    def make_room(self) -> None:
        """Copy back now: a log that was copied is overwritten from its start, which takes no more of a full disk."""
        self._wakes.set()

    def stop(self) -> None:
        self._is_stopped = True
        self._wakes.set()
        self._thread.join()

    def _run(self) -> None:
        db = self._connect()
        while True:
            self._wakes.wait()
            self._wakes.clear()
            if self._is_stopped:
                return
            mode = "restart" if self._wal_bytes() > _WAL_BYTES_MAX else "passive"
            # A full disk, say: the log is as good as before, and the next round tries again.
            with contextlib.suppress(sqlite3.Error):
                db.execute(f"pragma wal_checkpoint({mode})").fetchall()

    def _wal_bytes(self) -> int:
        try:
            return self._wal.stat().st_size
        except FileNotFoundError:
            return 0


def _lock(path: Path) -> IO[str]:
    """Take the file for this process. Raises ``StoreError`` when another one has it."""
    lock_path = Path(f"{path}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = lock_path.open("a+")
    except OSError as error:
        raise StoreError(f"the database {path} can't be made: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise StoreError(
            f"the database {path} is in use by another Stepwell server (process {holder}):"
            " stop it, or use another file with --db"
        ) from None
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock
