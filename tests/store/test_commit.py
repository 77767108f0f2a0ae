"""Transitions: whole or not at all, from the newest version, by the owner of the job."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import Event, JobKind, Outcome, RunStatus
from stepwell.engine.core.partition import TIMERS
from stepwell.engine.core.state import RunState
from stepwell.engine.core.trigger import internal_event, start
from stepwell.errors import StoreError
from stepwell.protocol.sync import Trigger
from stepwell.store.found import RunFilter
from stepwell.store.request import Verdict
from tests.store.database import Database, Worker
from tests.unit.engine.making import DEV, error, event_of, function_of, op, ops, result, step_id


def everything(state: RunState) -> tuple[object, ...]:
    return (state.run, state.memo, state.stack, state.steps_sorted, state.jobs, state.pending, state.joined)


async def test_a_transition_is_stored_whole(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    state = await worker.state(run.id)
    reply = ops(op("StepRun", "a", data=2**60), op("StepPlanned", "b"), op("Sleep", "nap", value="1h"))

    transition = worker.transition(state, job, reply)
    committed = await worker.store.submit(worker.commit(transition))
    state.apply(transition)

    assert committed.verdict is Verdict.COMMITTED
    assert everything(await worker.state(run.id)) == everything(state)
    detail = await worker.store.load_run(run.id)
    assert detail is not None
    assert list(detail.steps) == list(transition.steps)
    assert list(detail.attempts) == [transition.attempt]
    assert sorted(detail.jobs, key=lambda job: job.id) == sorted(transition.jobs, key=lambda job: job.id)
    assert detail.steps[0].original is not None


async def test_a_run_goes_through_all_its_steps(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    transition = await worker.reply(run.id, job, ops(op("StepRun", "a", data=1)), is_leased=True)
    transition = await worker.reply(run.id, transition.jobs[0], error(), is_leased=True)
    worker.now = transition.jobs[0].due_at
    [claimed] = await worker.claim()
    transition = await worker.reply(run.id, claimed.job, ops(op("Sleep", "nap", value="1h")))
    worker.now += 3_600_000
    [claimed] = await worker.claim(TIMERS)
    assert claimed.job.kind is JobKind.TIMER
    assert (await worker.fire(run.id, claimed.job)).verdict is Verdict.COMMITTED
    [claimed] = await worker.claim()

    await worker.reply(run.id, claimed.job, result(b'{"ok":true}'))

    detail = await worker.store.load_run(run.id)
    assert detail is not None
    assert (detail.run.status, detail.run.output, detail.run.version) == (RunStatus.COMPLETED, b'{"ok":true}', 5)
    assert [attempt.outcome for attempt in detail.attempts] == [Outcome.OK, Outcome.ERROR, Outcome.OK, Outcome.OK]
    assert [step.position for step in detail.steps] == [0, 1]
    assert detail.jobs == []


async def test_a_final_transition_removes_all_jobs_of_the_run_and_of_no_other(worker: Worker) -> None:
    run, job = await worker.run(event_of(1))
    other, _ = await worker.run(event_of(2))
    transition = await worker.reply(run.id, job, ops(op("StepPlanned", "a"), op("Sleep", "nap", value="1h")))
    worker.now += 1
    [claimed] = await worker.claim()
    assert claimed.job.step_id == step_id("a")

    transition = worker.transition(await worker.state(run.id), claimed.job, error(no_retry=True))
    await worker.store.submit(worker.commit(transition))

    assert (await worker.state(run.id)).jobs == {}
    assert len((await worker.state(other.id)).jobs) == 1


# -- stale ----------------------------------------------------------------------------------------------------------


async def test_a_transition_from_an_older_version_is_stale_and_changes_nothing(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    first = await worker.reply(run.id, job, ops(op("StepPlanned", "a"), op("StepPlanned", "b")), is_leased=True)
    state = await worker.state(run.id)
    one, two = (worker.transition(state, job, ops(op("StepRun", job.title, data=1))) for job in first.jobs)
    assert (await worker.store.submit(worker.commit(one))).verdict is Verdict.COMMITTED
    before = everything(await worker.state(run.id))

    stale = await worker.store.submit(worker.commit(two))

    assert stale.verdict is Verdict.STALE
    assert everything(await worker.state(run.id)) == before

    again = worker.transition(await worker.state(run.id), first.jobs[1], ops(op("StepRun", "b", data=1)))
    assert (await worker.store.submit(worker.commit(again))).verdict is Verdict.COMMITTED


async def test_of_two_transitions_of_one_run_in_one_transaction_one_is_stale(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    first = await worker.reply(run.id, job, ops(op("StepPlanned", "a"), op("StepPlanned", "b")), is_leased=True)
    state = await worker.state(run.id)
    transitions = [worker.transition(state, job, ops(op("StepRun", job.title, data=1))) for job in first.jobs]

    results = await asyncio.gather(*(worker.store.submit(worker.commit(transition)) for transition in transitions))

    assert [found.verdict for found in results] == [Verdict.COMMITTED, Verdict.STALE]
    assert (await worker.state(run.id)).stack == [step_id("a")]


async def test_a_commit_that_sends_events_is_stale_when_the_functions_changed(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    transition = worker.transition(await worker.state(run.id), job, result())
    revision = worker.registry.revision
    await worker.sync("other", function_of("other-g", app="other"))

    stale = await worker.store.submit(worker.commit(transition, revision=revision))
    assert stale.verdict is Verdict.STALE
    assert (await worker.state(run.id)).run.status is RunStatus.QUEUED

    good = await worker.store.submit(worker.commit(transition, revision=worker.registry.revision))
    assert good.verdict is Verdict.COMMITTED


async def test_a_commit_that_sends_none_does_not_care_about_functions(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    transition = worker.transition(await worker.state(run.id), job, ops(op("StepRun", "a", data=1)))
    await worker.sync("other", function_of("other-g", app="other"))

    assert (await worker.store.submit(worker.commit(transition))).verdict is Verdict.COMMITTED


# -- lost -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_together", [False, True])
async def test_a_commit_done_twice_counts_once(worker: Worker, is_together: bool) -> None:
    run, job = await worker.run(event_of())
    request = worker.commit(worker.transition(await worker.state(run.id), job, ops(op("StepRun", "a", data=1))))

    if is_together:
        results = await asyncio.gather(worker.store.submit(request), worker.store.submit(request))
    else:
        results = [await worker.store.submit(request), await worker.store.submit(request)]

    assert results[0].verdict is Verdict.COMMITTED
    assert results[1].verdict is Verdict.STALE
    state = await worker.state(run.id)
    assert (state.run.version, state.stack, len(state.jobs)) == (1, [step_id("a")], 1)


async def test_a_final_commit_done_twice_is_lost(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    request = worker.commit(worker.transition(await worker.state(run.id), job, result()))

    results = [await worker.store.submit(request), await worker.store.submit(request)]

    assert [found.verdict for found in results] == [Verdict.COMMITTED, Verdict.LOST]
    detail = await worker.store.load_run(run.id)
    assert detail is not None
    assert [attempt.outcome for attempt in detail.attempts] == [Outcome.OK]


@pytest.mark.parametrize(
    "change",
    [{"generation": 9}, {"owner": "replica-0"}, {"id": "9.9"}],
    ids=["another generation", "another owner", "no such job"],
)
async def test_a_reply_whose_job_is_not_ours_changes_nothing_but_is_kept_as_lost(
    worker: Worker, change: dict[str, object]
) -> None:
    run, job = await worker.run(event_of())
    state = await worker.state(run.id)
    before = everything(state)
    transition = worker.transition(state, job, ops(op("StepRun", "a", data=1), op("StepPlanned", "b")))
    transition = msgspec.structs.replace(transition, job=msgspec.structs.replace(job, **change))

    lost = await worker.store.submit(worker.commit(transition))

    assert lost.verdict is Verdict.LOST
    assert everything(await worker.state(run.id)) == before
    detail = await worker.store.load_run(run.id)
    assert detail is not None
    assert [(attempt.id, attempt.outcome) for attempt in detail.attempts] == [(attempt_id(job), Outcome.LOST)]


async def test_a_lost_reply_does_not_hold_up_a_good_one_of_the_same_transaction(worker: Worker) -> None:
    run, job = await worker.run(event_of(1))
    other, other_job = await worker.run(event_of(2))
    lost = worker.transition(await worker.state(run.id), job, ops(op("StepRun", "a", data=1)))
    lost = msgspec.structs.replace(lost, job=msgspec.structs.replace(job, generation=9))
    good = worker.transition(await worker.state(other.id), other_job, ops(op("StepRun", "a", data=1)))

    results = await asyncio.gather(*(worker.store.submit(worker.commit(transition)) for transition in (lost, good)))

    assert [found.verdict for found in results] == [Verdict.LOST, Verdict.COMMITTED]
    assert (await worker.state(run.id)).stack == []
    assert (await worker.state(other.id)).stack == [step_id("a")]


async def test_a_reply_to_a_cancelled_run_is_lost_and_kept(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    transition = worker.transition(await worker.state(run.id), job, ops(op("StepRun", "a", data=1)))
    await worker.store.submit(await worker.cancellation(run.id))

    lost = await worker.store.submit(worker.commit(transition))

    assert lost.verdict is Verdict.LOST
    detail = await worker.store.load_run(run.id)
    assert detail is not None
    assert detail.run.status is RunStatus.CANCELLED
    assert [attempt.outcome for attempt in detail.attempts] == [Outcome.LOST]
    assert detail.steps == []


async def test_a_run_is_cancelled_once(worker: Worker) -> None:
    run, _ = await worker.run(event_of())
    first, second = await worker.cancellation(run.id), await worker.cancellation(run.id)

    results = [await worker.store.submit(request) for request in (first, second)]

    assert [found.verdict for found in results] == [Verdict.COMMITTED, Verdict.LOST]
    assert (await worker.state(run.id)).jobs == {}


async def test_of_a_result_and_a_cancellation_in_one_transaction_one_wins(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    completed = worker.commit(worker.transition(await worker.state(run.id), job, result(b"1")))
    cancelled = await worker.cancellation(run.id)

    results = await asyncio.gather(worker.store.submit(completed), worker.store.submit(cancelled))

    assert sorted(found.verdict for found in results) in (
        sorted([Verdict.COMMITTED, Verdict.STALE]),
        sorted([Verdict.COMMITTED, Verdict.LOST]),
    )
    assert (await worker.state(run.id)).run.status is RunStatus.COMPLETED


# -- follow-ups and events ------------------------------------------------------------------------------------------


async def test_follow_ups_are_inserted_leased(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    reply = ops(op("StepPlanned", "a"), op("Sleep", "nap", value="1h"))
    transition = worker.transition(await worker.state(run.id), job, reply, is_leased=True)

    committed = await worker.store.submit(worker.commit(transition))

    step, timer = transition.jobs
    assert committed.leased == {(run.id, step.id)}
    assert await worker.store.next_due([TIMERS]) == [(TIMERS, timer.due_at)]


async def test_a_retry_is_the_same_job_due_later(worker: Worker) -> None:
    run, job = await worker.run(event_of())

    await worker.reply(run.id, job, error())

    [retry] = (await worker.state(run.id)).jobs.values()
    assert (retry.id, retry.attempt, retry.owner) == (job.id, 1, None)
    assert retry.generation > job.generation


async def test_events_that_a_transition_sends_start_their_runs_with_it(worker: Worker) -> None:
    handler = function_of("app-handler", triggers=[Trigger(event="inngest/function.failed")])
    await worker.sync("app", function_of(), handler)
    run, job = await worker.run(event_of())
    transition = worker.transition(await worker.state(run.id), job, error(no_retry=True))
    intakes = [
        start(sent, worker.registry, now=worker.now, new_id=worker.new_id) for sent in sent_by(worker, transition)
    ]

    committed = await worker.store.submit(worker.commit(transition, *intakes, revision=worker.registry.revision))

    assert committed.verdict is Verdict.COMMITTED
    runs = await worker.store.list_runs(RunFilter(DEV))
    assert sorted((run.function_id, run.status.value) for run in runs) == [
        (function_of().id, "failed"),
        (handler.id, "queued"),
    ]


async def test_a_commit_that_breaks_leaves_nothing_behind(worker: Worker, database: Database) -> None:
    run, job = await worker.run(event_of())
    state = await worker.state(run.id)
    before = everything(state)
    transition = worker.transition(state, job, ops(op("StepRun", "a", data=1)))
    twice = msgspec.structs.replace(transition, jobs=transition.jobs * 2)

    with pytest.raises(StoreError):
        await worker.store.submit(worker.commit(twice))

    assert everything(await worker.state(run.id)) == before
    assert database.query("select count(*) from attempt") == [(0,)]
    assert (await worker.store.submit(worker.commit(transition))).verdict is Verdict.COMMITTED


async def test_a_commit_for_a_run_that_was_pruned_is_lost_alone(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    good = worker.transition(await worker.state(run.id), job, ops(op("StepRun", "a", data=1)))
    nowhere = msgspec.structs.replace(good, run=msgspec.structs.replace(good.run, id="01X" + "0" * 23))

    results = await worker.submit_together([worker.commit(nowhere), worker.commit(good)])

    assert not isinstance(results[0], BaseException)
    assert results[0].verdict is Verdict.LOST
    assert not isinstance(results[1], BaseException)
    assert results[1].verdict is Verdict.COMMITTED


def sent_by(worker: Worker, transition: object) -> list[Event]:
    return [
        internal_event(
            draft.name,
            draft.data,
            id=worker.new_id(),
            environment=DEV,
            now=worker.now,
            event_id=draft.event_id,
        )
        for draft in transition.events  # pyright: ignore[reportAttributeAccessIssue]
    ]
