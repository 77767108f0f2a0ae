"""Repairs by several at once: each fault is mended once, and what was mended meanwhile is left alone."""

from __future__ import annotations

import asyncio

from stepwell.engine.core.revive import revive
from stepwell.protocol.ids import ReplicaId
from stepwell.store.found import Fault, Walk
from stepwell.store.interface import Store
from stepwell.store.postgres import PostgresStore
from stepwell.store.request import RepairRequest, Result
from tests.store.database import Database, PostgresDatabase, Worker
from tests.unit.engine.making import T0, event_of

LATER = T0 + 3_600_000


async def another(database: Database, store: Store) -> Store:
    """Return a second replica where the database takes one; SQLite has one, which asks twice."""
    if not isinstance(database, PostgresDatabase):
        return store
    other = PostgresStore(database.url, ReplicaId("replica-2"), is_migrating=False)
    await other.start(now=T0)
    return other


async def test_a_stuck_run_gets_one_job_from_two_replicas(worker: Worker, database: Database) -> None:
    stores = [worker.store, await another(database, worker.store)]
    ids = [(await worker.run(event_of(number)))[0].id for number in range(1, 40)]
    database.execute("delete from job")
    states = await worker.store.load_runs(ids)
    revived = [
        (revive(state, worker.registry.by_id[state.run.function_id], at=LATER), state.run.version)
        for state in states.values()
    ]

    results: list[Result] = await asyncio.gather(
        *(store.submit(RepairRequest({}, revived, LATER)) for store in stores for _ in range(3))
    )

    assert sum(result.mended[Fault.STUCK_RUN] for result in results) == len(ids)
    assert database.query("select count(*) from job") == [(len(ids),)]
    assert {row.fault for row in await worker.store.check(Walk.RUNS, (), now=LATER, limit=100)} == {None}
    if stores[1] is not stores[0]:
        await stores[1].stop()


async def test_what_is_left_over_is_deleted_once_by_two_replicas(worker: Worker, database: Database) -> None:
    stores = [worker.store, await another(database, worker.store)]
    keys = [("k", f"R{number}", "") for number in range(200)]
    for key in keys:
        database.execute(f"insert into slot (key, run_id, job_id) values ('{key[0]}', '{key[1]}', '')")
    found = {Fault.SLOT_OF_ENDED_RUN: keys}

    results: list[Result] = await asyncio.gather(
        *(store.submit(RepairRequest(found, [], LATER)) for store in stores for _ in range(3))
    )

    assert sum(result.mended[Fault.SLOT_OF_ENDED_RUN] for result in results) == len(keys)
    assert database.query("select count(*) from slot") == [(0,)]
    if stores[1] is not stores[0]:
        await stores[1].stop()


async def test_a_slot_that_is_taken_by_a_call_is_left_alone(worker: Worker, database: Database) -> None:
    run, job = await worker.run(event_of())
    database.execute(f"insert into slot (key, run_id, job_id) values ('k', '{run.id}', '{job.id}')")
    key = ("k", str(run.id), str(job.id))

    assert [row.fault for row in await worker.store.check(Walk.SLOTS, (), now=LATER, limit=10)] == [None]
    done = await worker.store.submit(RepairRequest({Fault.SLOT_WITHOUT_LEASE: [key]}, [], LATER))

    assert done.mended == {Fault.SLOT_WITHOUT_LEASE: 0}
    assert database.query("select count(*) from slot") == [(1,)]


async def test_a_job_of_a_run_that_goes_on_is_left_alone(worker: Worker, database: Database) -> None:
    run, job = await worker.run(event_of())
    key = (str(run.id), str(job.id))

    done = await worker.store.submit(RepairRequest({Fault.JOB_OF_ENDED_RUN: [key]}, [], LATER))

    assert done.mended == {Fault.JOB_OF_ENDED_RUN: 0}
    assert database.query("select count(*) from job") == [(1,)]
