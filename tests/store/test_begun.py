"""A run whose first call is in progress is running, wherever it is shown, though its row doesn't say so yet."""

from __future__ import annotations

import pytest

from stepwell.engine.core.model import Job, JobKind, Run, RunStatus
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import Trigger
from stepwell.store.found import EventFilter, RunFilter
from stepwell.store.request import ReleaseRequest
from tests.store.database import Database, Worker
from tests.unit.engine.making import DEV, T0, error, event_of, function_of, op, ops

QUEUED, RUNNING, COMPLETED = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.COMPLETED
SEEN = T0 + 500


@pytest.fixture
async def line(worker: Worker) -> tuple[Run, Job, Run]:
    """A run that is called, since ``SEEN``, and one behind it."""
    _, [first] = await worker.ingest(event_of(1))
    _, [second] = await worker.ingest(event_of(2))
    worker.now = SEEN
    [claimed] = await worker.claim(limit=1)
    assert claimed.job.run_id == first.runs[0].id
    return first.runs[0], claimed.job, second.runs[0]


async def listed(worker: Worker, *statuses: RunStatus, **fields: object) -> list[RunId]:
    which = RunFilter(DEV, statuses=frozenset(statuses))._replace(**fields)
    found = [run.id for run in (await worker.store.insight.find_runs(which)).runs]
    assert found == [run.id for run in await worker.store.list_runs(which)]
    return found


async def test_a_called_run_is_shown_running_since_its_lease(worker: Worker, line: tuple[Run, Job, Run]) -> None:
    called, _, waiting = line
    store, insight = worker.store, worker.store.insight

    async def views(run: Run) -> list[Run | None]:
        details = [
            await store.load_run(run.id),
            await store.load_standing(run.id, lambda _: [], now=SEEN),
            await insight.load_outline(run.id, after=None),
            await insight.load_spans(run.id),
        ]
        return [
            *(detail.run if detail is not None else None for detail in details),
            await store.find_run(run.id),
            *await store.list_runs(RunFilter(DEV, event_id=run.event_id)),
            *(await insight.find_runs(RunFilter(DEV, event_id=run.event_id))).runs,
            *(await insight.runs_by_id(DEV, [run.id])).runs,
            *(await store.load_aftermath(run.event_id, limit=2)).runs,
        ]

    assert [(run.status, run.started_at) for run in await views(called) if run is not None] == [(RUNNING, SEEN)] * 9
    assert [(run.status, run.started_at) for run in await views(waiting) if run is not None] == [(QUEUED, None)] * 9


async def test_the_engine_computes_with_what_is_stored(worker: Worker, line: tuple[Run, Job, Run]) -> None:
    called, _, _ = line

    state = await worker.state(called.id)

    assert (state.run.status, state.run.started_at) == (QUEUED, None)


async def test_filters_find_a_called_run_among_the_running(worker: Worker, line: tuple[Run, Job, Run]) -> None:
    called, _, waiting = line
    function = (function_of().id,)

    for fields in ({}, {"function_ids": function}, {"event_name": "a"}, {"queued_from": T0}):
        assert await listed(worker, RUNNING, **fields) == [called.id]
        assert await listed(worker, RUNNING, COMPLETED, **fields) == [called.id]
        assert await listed(worker, QUEUED, **fields) == [waiting.id]
        assert await listed(worker, QUEUED, RunStatus.FAILED, **fields) == [waiting.id]
        assert await listed(worker, QUEUED, COMPLETED, **fields) == [waiting.id]
        assert await listed(worker, QUEUED, RUNNING, **fields) == [waiting.id, called.id]
    assert await listed(worker, RUNNING, event_id=called.event_id) == [called.id]
    assert await listed(worker, QUEUED, event_id=called.event_id) == []


async def test_a_called_run_is_counted_among_the_running(worker: Worker, line: tuple[Run, Job, Run]) -> None:
    counts = await worker.store.insight.count_runs(DEV, None, start=T0, end=T0 + 1_000, bucket_ms=1_000)

    assert counts.unfinished == {QUEUED: 1, RUNNING: 1}


async def test_the_runs_of_an_event_are_shown_running(worker: Worker, line: tuple[Run, Job, Run]) -> None:
    found = await worker.store.insight.find_events(EventFilter(DEV))

    assert [[run.status for run in found.runs[event.id]] for event in found.events] == [[QUEUED], [RUNNING]]


async def test_a_reply_says_more_exactly_when_it_started(worker: Worker, line: tuple[Run, Job, Run]) -> None:
    called, job, _ = line
    worker.now = SEEN + 7

    await worker.reply(called.id, job, error())

    run = await worker.store.find_run(called.id)
    assert run is not None
    assert (run.status, run.started_at) == (RUNNING, SEEN + 7)
    assert await listed(worker, RUNNING) == [called.id]


async def test_a_run_whose_call_was_given_back_is_queued_again(worker: Worker, line: tuple[Run, Job, Run]) -> None:
    called, job, waiting = line

    await worker.store.submit(ReleaseRequest([job]))

    run = await worker.store.find_run(called.id)
    assert run is not None
    assert (run.status, run.started_at) == (QUEUED, None)
    assert await listed(worker, QUEUED) == [waiting.id, called.id]


async def test_a_guard_that_is_worked_on_begins_nothing(worker: Worker, database: Database) -> None:
    await worker.sync("app", function_of("app-g", triggers=[Trigger(event="b")], timeouts={"start": "1s"}))
    _, [intake] = await worker.ingest(event_of(1, "b"))
    database.execute(
        "update job set owner = ?, leased_at = ? where kind = ?", "replica-1", T0 + 1_000, JobKind.TIMEOUT.value
    )
    assert database.query("select count(*) from job where owner is not null") == [(1,)]

    run = await worker.store.find_run(intake.runs[0].id)

    assert run is not None
    assert (run.status, run.started_at) == (QUEUED, None)
    assert await listed(worker, QUEUED) == [run.id]
    assert await listed(worker, RUNNING) == []


async def test_invoked_runs_are_shown_running(worker: Worker) -> None:
    await worker.sync("app", function_of(), function_of("app-g", triggers=[Trigger(event="b")]))
    parent, job = await worker.run(event_of(1))
    invoked = op("InvokeFunction", "w", opts={"function_id": "app-g", "payload": {"data": {}}, "timeout": "1h"})
    transition = worker.transition(await worker.state(parent.id), job, ops(invoked))
    request = worker.carrying_out(transition)
    intakes = [worker.leased_intake(intake) for intake in request.intakes]
    await worker.store.submit(request._replace(intakes=intakes))

    relatives = await worker.store.insight.load_relatives(parent.id)
    standing = await worker.store.load_standing(parent.id, lambda _: [], now=T0)

    assert standing is not None
    assert [child.status for child in relatives.children] == [RUNNING]
    assert [child.status for child in standing.children] == [RUNNING]
