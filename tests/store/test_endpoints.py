"""What runs of durable endpoints ask of the database: a job that nobody has is ended, once, unless somebody began it."""

from __future__ import annotations

import asyncio

from stepwell.engine.core.model import Transition
from stepwell.protocol.ids import RunId
from stepwell.store.interface import Store
from stepwell.store.request import SettingRequest, Verdict
from tests.store.database import Worker
from tests.unit.engine.making import op, ops, result


async def watched(worker: Worker) -> tuple[RunId, Transition]:
    """Start a run, whose job nobody has, and compute what ends that job."""
    event = worker.event(1)
    _, [intake] = await worker.ingest(event)
    [start] = intake.starts
    state = await worker.state(start.run.id)
    return start.run.id, worker.transition(state, start.job, ops(op("Sleep", value="1h")))


async def test_a_job_that_nobody_has_is_ended_by_a_commit(worker: Worker) -> None:
    run_id, transition = await watched(worker)

    committed = await worker.store.submit(worker.commit(transition))

    assert committed.verdict is Verdict.COMMITTED
    assert set((await worker.state(run_id)).jobs) == {job.id for job in transition.jobs}


async def test_one_that_was_begun_meanwhile_is_not(worker: Worker) -> None:
    run_id, transition = await watched(worker)
    [claimed] = await worker.claim()

    lost = await worker.store.submit(worker.commit(transition))

    assert lost.verdict is Verdict.LOST
    assert set((await worker.state(run_id)).jobs) == {claimed.job.id}


async def test_ended_runs_are_told_from_others(worker: Worker) -> None:
    run, job = await worker.run(worker.event(1))
    other, _ = await worker.run(worker.event(2))
    await worker.reply(run.id, job, result())

    assert await worker.store.ended_runs([run.id, other.id, RunId("unknown")]) == [run.id]


async def test_a_kept_setting_stays_as_it_was_first(store: Store) -> None:
    requests = [SettingRequest("k", str(number), is_kept=True) for number in range(5)]
    await asyncio.gather(*(store.submit(request) for request in requests))
    first = await store.load_setting("k")

    await store.submit(SettingRequest("k", "later", is_kept=True))

    assert first in {request.value for request in requests}
    assert await store.load_setting("k") == first
    await store.submit(SettingRequest("k", "put"))
    assert await store.load_setting("k") == "put"
