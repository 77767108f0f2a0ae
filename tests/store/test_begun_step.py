"""The step that a discovery under way is at: kept with the run's tally, read while it is true, deleted with the run."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import BegunStep, Job
from stepwell.protocol.ids import RunId, StepId
from stepwell.store.interface import Store
from stepwell.store.request import Logged, LogRequest, ReleaseRequest
from tests.store.database import Database, Worker
from tests.store.past import KEPT_MS, LATE_MS, Past
from tests.store.test_log import line, messages
from tests.unit.engine.making import event_of, op, ops, step_id

UNKNOWN = RunId("01KAT3ZF00000000000000000Z")


@pytest.fixture
def past(worker: Worker, database: Database) -> Past:
    return Past(worker, database)


def begun(job: Job, name: str = "pay", **more: Any) -> BegunStep:
    fields: dict[str, Any] = {"title": name, "started_at": (job.leased_at or 0) + 5, **more}
    return BegunStep(job.run_id, attempt_id(job), step_id(name), **fields)


async def tell(worker: Worker, *steps: BegunStep) -> Logged:
    outcome = await worker.store.submit(LogRequest([], [], worker.now, steps))
    assert outcome.logged is not None
    return outcome.logged


async def read(store: Store, run_id: RunId) -> BegunStep | None:
    """Read it from each of the places that it is read from."""
    details = [await store.load_run(run_id), await store.insight.load_outline(run_id, after=None)]
    found = [detail.begun for detail in details if detail is not None]
    standing = await store.load_standing(run_id, lambda _: [], now=0)
    assert standing is not None
    assert found == [standing.begun] * 2
    return standing.begun


async def test_a_step_is_known_while_its_call_goes_on(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    assert await read(worker.store, run.id) is None

    logged = await tell(worker, begun(job))

    assert logged.begun == {run.id}
    assert await read(worker.store, run.id) == begun(job)


async def test_what_it_will_be_called_is_known(worker: Worker, past: Past) -> None:
    run, job = await past.started()

    await tell(worker, begun(job, input=b"[1]"))

    found = await read(worker.store, run.id)
    assert found is not None
    assert found.result_id == f"{attempt_id(job)}.1"
    assert msgspec.structs.replace(found, ends_call=True).result_id == attempt_id(job)
    payload = await worker.store.insight.load_row(run.id, found.result_id)
    assert payload is not None
    assert (payload.step, payload.input, payload.started_at) == (None, b"[1]", found.started_at)
    assert await worker.store.insight.load_row(run.id, f"{attempt_id(job)}.2") is None


async def test_telling_twice_changes_nothing_and_the_next_step_takes_its_place(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    await tell(worker, begun(job, input=b"[1]"))
    await tell(worker, begun(job))
    assert await read(worker.store, run.id) == begun(job)

    await tell(worker, begun(job, "pack"), begun(job, "ship", ends_call=True))

    assert await read(worker.store, run.id) == begun(job, "ship", ends_call=True)


async def test_lines_change_nothing_of_it_and_are_not_counted_with_it(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    await tell(worker, begun(job, input=b"[1]"))

    await worker.store.submit(LogRequest([line(run.id, 1)], [], 0))

    assert await read(worker.store, run.id) == begun(job, input=b"[1]")
    assert await worker.store.count_lines(run.id) == 1
    assert await messages(worker.store, run_id=run.id, with_replayed=True) == ["line 1"]


async def test_it_came_no_sooner_than_its_call(worker: Worker) -> None:
    run, job = await worker.run(event_of())

    await tell(worker, begun(job, started_at=0))

    found = await read(worker.store, run.id)
    assert found is not None
    assert found.started_at == job.leased_at


async def test_a_step_that_is_done_runs_no_more(worker: Worker, past: Past) -> None:
    run, job = await worker.run(event_of())
    await tell(worker, begun(job, "s"))
    transition = await worker.reply(run.id, job, ops(op("StepRun", "s", data=1)), is_leased=True)
    assert await read(worker.store, run.id) is None

    late = await tell(worker, begun(transition.jobs[0], "s"))

    assert late.begun == frozenset()
    assert await read(worker.store, run.id) is None


async def test_a_call_that_was_given_up_is_at_no_step(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    await tell(worker, begun(job))

    await worker.store.submit(ReleaseRequest([job], is_lost=True))

    assert await read(worker.store, run.id) is None
    assert (await tell(worker, begun(job))).begun == frozenset()
    [again] = await worker.claim()
    assert again.job.generation > job.generation
    assert await read(worker.store, run.id) is None
    assert (await tell(worker, begun(job))).begun == frozenset()
    await tell(worker, begun(again.job))
    assert await read(worker.store, run.id) == begun(again.job)


async def test_a_call_of_one_step_needs_no_telling(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    reply = ops(op("StepPlanned", "a"), op("StepPlanned", "b"))
    transition = await worker.reply(run.id, job, reply, is_leased=True)
    step = next(job for job in transition.jobs if job.title == "a")

    assert (await tell(worker, begun(step, "a"))).begun == frozenset()
    assert await read(worker.store, run.id) is None


async def test_what_is_told_of_runs_that_are_not_there_is_passed_over(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    other = begun(job)

    logged = await tell(
        worker,
        msgspec.structs.replace(other, run_id=UNKNOWN),
        begun(job),
        msgspec.structs.replace(other, attempt_id="9.9.1", step_id=StepId("x")),
    )

    assert logged.begun == {run.id}
    assert await read(worker.store, run.id) == begun(job)


async def test_it_goes_with_its_run(past: Past) -> None:
    worker = past.worker
    run, job = await past.started()
    await tell(worker, begun(job))
    assert past.counts("log_tally") == {"log_tally": 1}
    await worker.reply(run.id, job, ops(op("RunComplete", "end", data=1)))
    assert await read(worker.store, run.id) is None

    past.now += KEPT_MS + LATE_MS
    await past.sweep()

    assert past.counts("run", "log_tally") == {"run": 0, "log_tally": 0}
