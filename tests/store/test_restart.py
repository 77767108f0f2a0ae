"""Starts and ends of replicas: what is leased by the dead is given back, and the dead may write no more."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import sys
from pathlib import Path

import pytest

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import Outcome
from stepwell.engine.core.partition import TIMERS
from stepwell.errors import StoreError
from stepwell.protocol.ids import ReplicaId
from stepwell.store.interface import Fenced
from stepwell.store.request import SettingRequest
from stepwell.store.sqlite import SQLiteStore, _Checkpointer
from tests.store.database import QUEUE, Database, SQLiteDatabase, Worker
from tests.unit.engine.making import T0, event_of, function_of, op, ops, step_id


async def test_what_was_committed_is_there_after_a_restart(worker: Worker, database: Database) -> None:
    run, job = await worker.run(event_of(1))
    await worker.reply(run.id, job, ops(op("StepRun", "a", data=1), op("Sleep", "nap", value="1h")))
    before = await worker.state(run.id)
    await database.crash(worker.store)

    again = Worker(await database.open("replica-2"))
    await again.refresh()

    state = await again.state(run.id)
    assert (state.run, state.memo, state.jobs) == (before.run, before.memo, before.jobs)
    assert list(again.registry.by_slug) == ["app-f"]
    assert await again.store.next_due(await again.store.partitions()) == [(TIMERS, T0 + 3_600_000)]


async def test_jobs_of_the_dead_are_released_with_a_new_generation_and_their_attempts_kept_as_lost(
    worker: Worker, database: Database
) -> None:
    run, job = await worker.run(event_of())
    await database.crash(worker.store)

    again = Worker(await database.open("replica-2"))

    [released] = (await again.state(run.id)).jobs.values()
    assert (released.owner, released.leased_at, released.lost_count, released.attempt) == (None, None, 1, 0)
    assert released.generation > job.generation
    detail = await again.store.load_run(run.id)
    assert detail is not None
    [attempt] = detail.attempts
    assert (attempt.id, attempt.outcome, attempt.started_at) == (attempt_id(job), Outcome.LOST, T0)


async def test_an_attempt_does_not_end_before_it_started(worker: Worker, database: Database) -> None:
    """The clock of the next start may be behind: time travel isn't known yet when the store is opened."""
    worker.now = T0 + 3 * 86_400_000
    run, _ = await worker.run(event_of())
    await database.crash(worker.store)

    again = Worker(await database.open("replica-2"))

    detail = await again.store.load_run(run.id)
    assert detail is not None
    assert detail.attempts[0].ended_at == detail.attempts[0].started_at == worker.now


async def test_a_sleep_that_was_about_to_end_is_no_lost_attempt(worker: Worker, database: Database) -> None:
    run, job = await worker.run(event_of())
    await worker.reply(run.id, job, ops(op("Sleep", "nap", value="1h")))
    worker.now += 3_600_000
    await worker.claim(TIMERS)
    await database.crash(worker.store)

    again = Worker(await database.open("replica-2"))

    [timer] = (await again.state(run.id)).jobs.values()
    assert (timer.lost_count, timer.owner) == (0, None)
    detail = await again.store.load_run(run.id)
    assert detail is not None
    assert [attempt.outcome for attempt in detail.attempts] == [Outcome.OK]


async def test_jobs_that_nobody_had_are_not_touched(worker: Worker, database: Database) -> None:
    await worker.ingest(event_of())
    before = database.query("select generation, lost_count from job")
    await database.crash(worker.store)

    await database.open("replica-2")

    assert database.query("select generation, lost_count from job") == before


async def test_each_loss_in_a_row_is_counted(worker: Worker, database: Database) -> None:
    run, _ = await worker.run(event_of())
    await database.crash(worker.store)
    for number in range(2, 6):
        again = Worker(await database.open(f"replica-{number}"))
        [claim] = await again.claim()
        assert claim.job.lost_count == number - 1
        assert claim.job.attempt == 0
        await database.crash(again.store)

    detail = await (await database.open("replica-6")).load_run(run.id)

    assert detail is not None
    assert [attempt.outcome for attempt in detail.attempts] == [Outcome.LOST] * 5
    assert len({attempt.id for attempt in detail.attempts}) == 5


async def test_what_was_planned_before_a_fence_is_leased_to_nobody(worker: Worker) -> None:
    """The request waits while the replica is fenced and enters again: its jobs name an owner that is gone."""
    planned = worker.ingestion(worker.intake(event_of(1), is_leased=True))
    await worker.store.enter(ReplicaId("replica-again"))

    result = await worker.store.submit(planned)

    assert result.leased == frozenset()
    [claim] = await worker.claim()
    assert claim.job.owner == "replica-again"


async def test_a_replica_that_was_declared_dead_writes_nothing(worker: Worker, database: Database) -> None:
    run, job = await worker.run(event_of(1))
    transition = worker.transition(await worker.state(run.id), job, ops(op("StepRun", "a", data=1)))
    database.execute("delete from replica")

    for request in (
        worker.commit(transition),
        worker.ingestion(worker.intake(event_of(2))),
        worker.claiming(QUEUE, limit=1),
        SettingRequest("a", "1"),
    ):
        with pytest.raises(Fenced):
            await worker.store.submit(request)

    assert (await worker.state(run.id)).stack == []
    assert await worker.store.load_setting("a") is None


# -- SQLite's own -----------------------------------------------------------------------------------------------


async def test_a_second_server_on_the_same_file_is_refused_and_harms_nothing(tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path)
    worker = await Worker(await database.open()).begin(function_of())
    run, job = await worker.run(event_of())

    second = SQLiteStore(database.path, ReplicaId("replica-2"))
    with pytest.raises(StoreError, match=rf"in use by another Stepwell server \(process {os.getpid()}\)"):
        await second.start(now=T0)
    await second.stop()

    await worker.reply(run.id, job, ops(op("StepRun", "a", data=1)))
    assert (await worker.state(run.id)).stack == [step_id("a")]
    await database.close()


_HOLDER = """
import asyncio, sys
from stepwell.store.sqlite import SQLiteStore

async def main():
    store = SQLiteStore(sys.argv[1], "replica-0")
    await store.start(now=1)
    print("started", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_another_process_holds_the_file_until_it_dies(tmp_path: Path) -> None:
    path = tmp_path / "stepwell.db"
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _HOLDER, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    assert await asyncio.wait_for(holder.stdout.readline(), 20) == b"started\n"
    second = SQLiteStore(path, ReplicaId("replica-2"))

    with pytest.raises(StoreError, match=rf"process {holder.pid}\)"):
        await second.start(now=T0)
    await second.stop()
    holder.kill()
    await holder.wait()

    third = SQLiteStore(path, ReplicaId("replica-3"))
    await third.start(now=T0)
    await third.stop()


@pytest.mark.parametrize("content", [b"this is no database" * 100])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "stepwell.db"
    path.write_bytes(content)
    store = SQLiteStore(path, ReplicaId("replica-1"))

    with pytest.raises(StoreError, match="can't be opened"):
        await store.start(now=T0)
    await store.stop()

    assert path.read_bytes() == content


async def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    store = SQLiteStore(tmp_path / "file" / "stepwell.db", ReplicaId("replica-1"))

    with pytest.raises(StoreError, match="can't be made"):
        await store.start(now=T0)
    await store.stop()


async def test_reading_a_broken_database_is_an_error_of_the_store(tmp_path: Path) -> None:
    database = SQLiteDatabase(tmp_path)
    store = await database.open()
    database.execute("drop table setting")

    with pytest.raises(StoreError, match="can't be read"):
        await store.load_setting("a")
    with pytest.raises(StoreError):
        await store.submit(SettingRequest("a", "1"))
    await database.close()


def test_a_checkpoint_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.sqlite._CHECKPOINT_COMMITS", 1)
    tries: queue.SimpleQueue[str] = queue.SimpleQueue()

    class FullDisk(sqlite3.Connection):
        def execute(self, sql: str, *_: object) -> sqlite3.Cursor:
            tries.put(sql)
            raise sqlite3.OperationalError("database or disk is full")

    connection = sqlite3.connect(":memory:", factory=FullDisk, check_same_thread=False)
    checkpointer = _Checkpointer(lambda: connection, tmp_path / "db")
    for _ in range(2):
        checkpointer.committed()
        assert "wal_checkpoint" in tries.get(timeout=5)
    checkpointer.stop()
    connection.close()


async def test_the_write_ahead_log_is_copied_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.sqlite._CHECKPOINT_COMMITS", 5)
    monkeypatch.setattr("stepwell.store.sqlite._WAL_BYTES_MAX", 50_000)
    database = SQLiteDatabase(tmp_path)
    store = await database.open()

    for number in range(300):
        await store.submit(SettingRequest("key", str(number) * 1_000))

    assert os.stat(f"{database.path}-wal").st_size < 2_000_000  # noqa: PTH116 - what writes is done
    assert await store.load_setting("key") == "299" * 1_000
    await database.close()
