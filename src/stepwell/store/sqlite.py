"""The store on SQLite: one file, one process, one writer.

A writer thread owns the only connection that writes; group commit makes one transaction of all that waits
(``group_commit.py``, ``sqlite_batch.py``). Readers have connections of their own, which in WAL mode never wait for the
writer. ``synchronous=FULL``: what is committed survives a power cut. The write-ahead log is copied back by a thread of
its own, off the writer's path.

The process holds a lock on ``<file>.lock`` as long as it lives, so that a second server on the same file is refused
rather than allowed to take the first one's jobs.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Final, TypeVar

from stepwell.engine.core.model import App, Event, Function, Job, Run, Step
from stepwell.engine.core.state import RunState
from stepwell.errors import StoreError
from stepwell.limits import MIB
from stepwell.protocol.ids import EnvironmentId, EventId, ReplicaId, RunId
from stepwell.store import sqlite_read
from stepwell.store.group_commit import GroupCommit
from stepwell.store.interface import (
    DueSchedule,
    EventFilter,
    Request,
    Result,
    RunDetail,
    RunFilter,
    Schedule,
)
from stepwell.store.migrate import migrate
from stepwell.store.rows import read_app, read_function, read_job, read_run, read_step
from stepwell.store.sqlite_batch import Batch, Statements

T = TypeVar("T")

_READERS: Final = 2
_STATEMENTS_CACHED: Final = 512
_CHECKPOINT_COMMITS: Final = 500  # group commits between two rounds of copying back
_WAL_BYTES_MAX: Final = (
    256 * MIB
)  # from here on the writer waits for the checkpoint, so that the log can't grow for ever
_PRAGMAS: Final = "pragma busy_timeout = 10000; pragma foreign_keys = on; pragma temp_store = memory;"


class SQLiteStore:
    """See ``interface.Store``, which this implements, for what each verb promises."""

    def __init__(
        self, path: str | Path, replica_id: ReplicaId, *, is_threaded: bool = True, is_durable: bool = True
    ) -> None:
        self.replica_id = replica_id
        self._path: Final = Path(path)
        self._is_threaded: Final = is_threaded
        self._synchronous: Final = "full" if is_durable else "off"
        self._commits = GroupCommit(self._write, is_threaded=is_threaded)
        self._readers = ThreadPoolExecutor(_READERS, "stepwell-reader") if is_threaded else None
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._lock: IO[str] | None = None
        self._checkpointer: _Checkpointer | None = None

    async def start(self, *, now: int) -> None:
        """Open the file, migrate it, enter this replica, and release the jobs of dead ones.

        Raises ``StoreError`` when another server has the file, or it is no database.
        """
        self._lock = _lock(self._path)
        try:
            self._writer = self._connect()
            self._writer.execute("pragma journal_mode = wal")
            self._writer.execute(f"pragma synchronous = {self._synchronous}")
            self._writer.execute("pragma wal_autocheckpoint = 0")
            migrate(self._writer, now=now)
        except sqlite3.Error as error:
            raise StoreError(f"{self._path} can't be opened as a database: {error}") from error
        self._statements = Statements(self._writer)
        self._enter(now)
        if self._is_threaded:
            self._checkpointer = _Checkpointer(self._connect, self._path)
        self._commits.start()

    async def stop(self) -> None:
        """Finish what was submitted and close. May be called after a ``start`` that failed."""
        await self._commits.stop()
        if self._checkpointer is not None:
            await asyncio.to_thread(self._checkpointer.stop)
        if self._readers is not None:
            await asyncio.to_thread(self._readers.shutdown)
        for db in self._connections:
            db.close()
        self._connections.clear()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def submit(self, request: Request) -> asyncio.Future[Result]:
        return self._commits.submit(request)

    async def add_environment(self, environment: EnvironmentId, *, now: int) -> None:
        self._statements.one("environment_upsert", id=environment, now=now)

    async def load_functions(self, environment: EnvironmentId) -> tuple[int, list[Function]]:
        def read(sql: Statements) -> tuple[int, list[Function]]:
            revision = sql.one("environment_revision", id=environment)[0][0]
            return revision, [read_function(row) for row in sql.one("function_load", environment=environment)]

        return await self._read(read)

    async def load_apps(self, environment: EnvironmentId) -> list[App]:
        return await self._read(
            lambda sql: [read_app(row, environment) for row in sql.one("app_load", environment=environment)]
        )

    async def load_runs(self, ids: Sequence[RunId]) -> dict[RunId, RunState]:
        def read(sql: Statements) -> dict[RunId, RunState]:
            rows = [(id,) for id in sorted(set(ids))]
            steps: dict[str, list[Step]] = {}
            for row in sql.many("step_load", rows):
                steps.setdefault(row[0], []).append(read_step(row))
            jobs: dict[str, list[Job]] = {}
            for row in sql.many("job_load", rows):
                jobs.setdefault(row[0], []).append(read_job(row))
            return {
                RunId(row[0]): RunState(read_run(row[:15]), row[15], steps.get(row[0], ()), jobs.get(row[0], ()))
                for row in sql.many("run_load", rows)
            }

        return await self._read(read)

    async def partitions(self) -> list[str]:
        return await self._read(lambda sql: [row[0] for row in sql.one("job_partitions")])

    async def next_due(self, partitions: Sequence[str]) -> list[tuple[str, int | None]]:
        return await self._read(
            lambda sql: [(name, sql.one("job_next_due", partition=name)[0][0]) for name in partitions]
        )

    async def due_schedules(self, *, now: int, limit: int) -> list[DueSchedule]:
        return await self._read(
            lambda sql: [DueSchedule(*row) for row in sql.one("schedule_due", now=now, limit=limit)]
        )

    async def next_schedule_due(self) -> int | None:
        return await self._read(lambda sql: sql.one("schedule_next_due")[0][0])

    async def load_schedules(self, environment: EnvironmentId) -> list[Schedule]:
        return await self._read(
            lambda sql: [Schedule(*row) for row in sql.one("schedule_load", environment=environment)]
        )

    async def load_setting(self, key: str) -> str | None:
        rows = await self._read(lambda sql: sql.one("setting_get", key=key))
        return rows[0][0] if rows else None

    async def list_runs(self, which: RunFilter) -> list[Run]:
        return await self._read_plain(lambda db: sqlite_read.list_runs(db, which))

    async def list_events(self, which: EventFilter) -> list[Event]:
        return await self._read_plain(lambda db: sqlite_read.list_events(db, which))

    async def load_event(self, id: EventId) -> Event | None:
        return await self._read_plain(lambda db: sqlite_read.load_event(db, id))

    async def event_names(self, ids: Sequence[EventId]) -> dict[EventId, str]:
        return await self._read(lambda sql: dict(sql.many("event_names", [(id,) for id in sorted(set(ids))])))

    async def load_run(self, id: RunId) -> RunDetail | None:
        return await self._read_plain(lambda db: sqlite_read.load_run(db, Statements(db), id))

    # -- inside -------------------------------------------------------------------------------------------------

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(
            self._path, isolation_level=None, check_same_thread=False, cached_statements=_STATEMENTS_CACHED
        )
        db.executescript(_PRAGMAS)
        self._connections.append(db)
        return db

    def _enter(self, now: int) -> None:
        """Enter this replica and take over from all others: SQLite has one process, so they are dead."""
        sql, me = self._statements, self.replica_id
        self._writer.execute("begin immediate")
        sql.one("replica_insert", id=me, now=now)
        sql.one("replica_reap", id=me)
        sql.one("job_lost_attempts", owner=me, now=now)
        sql.one("job_release", owner=me)
        self._writer.execute("commit")

    def _write(self, requests: Sequence[Request]) -> list[Result]:
        db = self._writer
        db.execute("begin immediate")
        try:
            results = Batch(self._statements, self.replica_id, requests).run()
            db.execute("commit")
        except BaseException:
            if db.in_transaction:
                db.execute("rollback")
            raise
        if self._checkpointer is not None:
            self._checkpointer.committed()
        return results

    async def _read(self, read: Callable[[Statements], T]) -> T:
        return await self._read_plain(lambda db: read(Statements(db)))

    async def _read_plain(self, read: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._readers is None:
                return self._read_now(read)
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, read)
        except sqlite3.Error as error:
            raise StoreError(f"the database can't be read: {error}") from error

    def _read_now(self, read: Callable[[sqlite3.Connection], T]) -> T:
        """Read in one transaction, so that all of it is of one moment."""
        db: sqlite3.Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = self._local.db = self._connect()
            db.execute("pragma query_only = on")
        db.execute("begin")
        try:
            return read(db)
        finally:
            db.execute("commit")


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
