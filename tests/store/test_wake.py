"""Ending a sleep before its time."""

from __future__ import annotations

from stepwell.engine.core.model import JobKind
from stepwell.protocol.ids import JobId
from stepwell.store.request import Verdict, WakeRequest
from tests.store.database import Worker
from tests.unit.engine.making import T0, op, ops


async def test_a_sleep_is_due_at_once_and_can_be_ended_early_only_once(worker: Worker) -> None:
    run, job = await worker.run(worker.event(1))
    await worker.reply(run.id, job, ops(op("Sleep", value="1h")))
    [asleep] = (await worker.state(run.id)).jobs.values()
    assert (asleep.kind, asleep.due_at > T0 + 3_000_000) == (JobKind.TIMER, True)

    woken = await worker.store.submit(WakeRequest(run.id, asleep.id, T0 + 10))
    again = await worker.store.submit(WakeRequest(run.id, asleep.id, T0 + 10))

    assert (woken.verdict, again.verdict) == (Verdict.COMMITTED, Verdict.REFUSED)
    state = await worker.state(run.id)
    assert state.jobs[asleep.id].due_at == T0 + 10
    assert state.run.version == 1  # what was computed from the run still holds


async def test_what_is_no_sleep_stays_as_it_is(worker: Worker) -> None:
    run, job = await worker.run(worker.event(1))

    for id in (job.id, JobId("unknown")):
        assert (await worker.store.submit(WakeRequest(run.id, id, T0))).verdict is Verdict.REFUSED

    assert (await worker.state(run.id)).jobs[job.id].due_at == job.due_at
