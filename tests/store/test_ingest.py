"""Events in: stored once, with what they start."""

from __future__ import annotations

import msgspec
import pytest

from stepwell.engine.core.model import Event, Intake, RunStatus
from stepwell.errors import StoreError
from stepwell.limits import EVENT_ID_WINDOW_MS
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import Trigger
from stepwell.store.found import RunFilter
from stepwell.store.request import Result, Verdict
from tests.store.database import QUEUE, Database, Worker
from tests.unit.engine.making import DEV, T0, event_of, function_of, ulid


async def statuses(worker: Worker) -> list[str]:
    return [run.status.value for run in await worker.store.list_runs(RunFilter(DEV))]


def received(event: Event, at: int) -> Event:
    return msgspec.structs.replace(event, received_at=at, ts=at)


async def test_an_event_is_stored_with_its_run_and_its_job(worker: Worker) -> None:
    event = event_of(data={"n": 1})

    result, [intake] = await worker.ingest(event)

    assert result.verdict is Verdict.COMMITTED
    assert result == Result(Verdict.COMMITTED)
    assert await worker.store.load_event(event.id) == msgspec.structs.replace(event, has_own_id=False)
    state = await worker.state(intake.runs[0].id)
    assert state.run == intake.runs[0]
    assert state.event == event.body
    assert list(state.jobs.values()) == list(intake.jobs)


async def test_an_event_that_starts_nothing_is_stored(worker: Worker) -> None:
    event = event_of(name="nobody listens")

    await worker.ingest(event)

    assert await worker.store.load_event(event.id) is not None
    assert await statuses(worker) == []


async def test_the_original_of_a_rounded_event_is_kept(worker: Worker) -> None:
    event = msgspec.structs.replace(event_of(), original=b'{"n":9007199254740993}')

    await worker.ingest(event)

    stored = await worker.store.load_event(event.id)
    assert stored is not None
    assert stored.original == b'{"n":9007199254740993}'


async def test_one_event_fans_out(store: Worker, worker: Worker) -> None:
    functions = [function_of(f"app-{n}", triggers=[Trigger(event="fan")]) for n in range(10)]
    await worker.sync("app", *functions)

    _, [intake] = await worker.ingest(event_of(name="fan"))

    assert len(intake.runs) == 10
    assert await statuses(worker) == ["queued"] * 10


async def test_a_leased_job_is_one_that_nobody_else_claims(worker: Worker) -> None:
    _, job = await worker.run(event_of())

    assert job.owner == worker.store.replica_id
    assert await worker.claim() == []
    assert await worker.store.next_due([QUEUE]) == [(QUEUE, None)]


async def test_a_batch_that_was_planned_with_older_functions_is_stale_and_changes_nothing(worker: Worker) -> None:
    intake = worker.intake(event_of())
    request = worker.ingestion(intake)
    await worker.sync("other", function_of("other-g", app="other"))

    result = await worker.store.submit(request)

    assert result.verdict is Verdict.STALE
    assert await worker.store.load_event(intake.event.id) is None
    assert await statuses(worker) == []


async def test_a_sync_in_the_same_transaction_makes_an_ingest_stale(worker: Worker) -> None:
    intake = worker.intake(event_of())

    registration = worker.registration("other", function_of("other-g", app="other"))

    results = await worker.submit_together([registration, worker.ingestion(intake)])

    assert [getattr(found, "verdict", found) for found in results] == [Verdict.COMMITTED, Verdict.STALE]
    assert await worker.store.load_event(intake.event.id) is None


# -- sent again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_together", [False, True])
async def test_a_seeded_event_that_is_sent_again_starts_nothing_again(worker: Worker, is_together: bool) -> None:
    event = msgspec.structs.replace(event_of(), is_seeded=True)
    requests = [worker.ingestion(worker.intake(event, is_leased=True)) for _ in range(2)]

    if is_together:
        first, second = await worker.submit_together(requests)
    else:
        first, second = [await worker.store.submit(request) for request in requests]

    assert isinstance(first, Result)
    assert isinstance(second, Result)
    assert (first.duplicate, second.duplicate) == (frozenset(), {event.id})
    assert (len(first.leased), len(second.leased)) == (1, 0)
    assert await statuses(worker) == ["running"]


async def test_a_seeded_event_twice_in_one_request_counts_once(worker: Worker) -> None:
    event = msgspec.structs.replace(event_of(), is_seeded=True)

    result, _ = await worker.ingest(event, event, is_leased=True)

    assert result.duplicate == {event.id}
    assert await statuses(worker) == ["running"]


async def test_of_a_batch_that_is_sent_again_only_the_new_events_start(worker: Worker) -> None:
    one, two = (msgspec.structs.replace(event_of(n), is_seeded=True) for n in (1, 2))
    await worker.ingest(one)

    result, _ = await worker.ingest(one, two)

    assert result.duplicate == {one.id}
    assert await statuses(worker) == ["queued"] * 2


# -- the window of an event id --------------------------------------------------------------------------------------


async def test_a_second_event_with_the_same_id_is_stored_and_its_run_is_skipped_with_the_reason(worker: Worker) -> None:
    await worker.ingest(event_of(1, id="order-1"))

    result, [intake] = await worker.ingest(event_of(2, id="order-1"), is_leased=True)

    run = intake.runs[0]
    assert result.skipped == {run.id: "duplicate_event_id"}
    assert result.leased == frozenset()
    assert await worker.store.load_event(intake.event.id) is not None
    state = await worker.state(run.id)
    assert (state.run.status, state.run.reason, state.run.ended_at) == (RunStatus.SKIPPED, "duplicate_event_id", T0)
    assert state.jobs == {}


@pytest.mark.parametrize("is_one_request", [False, True])
async def test_of_two_events_with_one_id_in_one_transaction_one_starts(worker: Worker, is_one_request: bool) -> None:
    events = [event_of(n, id="order-1") for n in (1, 2, 3)]
    intakes = [worker.intake(event, is_leased=True) for event in events]

    if is_one_request:
        results = [await worker.store.submit(worker.ingestion(*intakes))]
    else:
        results = await worker.submit_together([worker.ingestion(intake) for intake in intakes])

    found = [result for result in results if isinstance(result, Result)]
    assert sum(len(result.leased) for result in found) == 1
    assert sum(len(result.skipped) for result in found) == 2
    assert sorted(await statuses(worker)) == ["running", "skipped", "skipped"]


@pytest.mark.parametrize(("after_ms", "status"), [(EVENT_ID_WINDOW_MS - 1, "skipped"), (EVENT_ID_WINDOW_MS, "queued")])
async def test_the_window_lasts_24_hours(worker: Worker, after_ms: int, status: str) -> None:
    await worker.ingest(event_of(1, id="order-1"))
    worker.now += after_ms

    await worker.ingest(received(event_of(2, id="order-1"), worker.now))

    assert (await statuses(worker))[0] == status


async def test_a_skipped_event_does_not_lengthen_the_window(worker: Worker) -> None:
    await worker.ingest(event_of(1, id="order-1"))
    await worker.ingest(received(event_of(2, id="order-1"), T0 + EVENT_ID_WINDOW_MS - 1))

    await worker.ingest(received(event_of(3, id="order-1"), T0 + EVENT_ID_WINDOW_MS))

    assert await statuses(worker) == ["queued", "skipped", "queued"]


async def test_the_window_is_that_of_one_function(worker: Worker) -> None:
    await worker.ingest(event_of(1, id="order-1"))
    await worker.sync("other", function_of("other-g", app="other"))

    result, [intake] = await worker.ingest(event_of(2, id="order-1"))

    by_function = {run.function_id: run.id for run in intake.runs}
    assert result.skipped == {by_function[function_of().id]: "duplicate_event_id"}
    assert sorted(await statuses(worker)) == ["queued", "queued", "skipped"]


async def test_events_without_an_id_of_their_own_are_all_different(worker: Worker) -> None:
    await worker.ingest(event_of(1), event_of(2))

    assert await statuses(worker) == ["queued", "queued"]


async def test_a_run_that_is_started_again_for_a_stored_event_is_not_skipped(worker: Worker) -> None:
    event = event_of(1, id="order-1")
    await worker.ingest(event)
    again = msgspec.structs.replace(worker.intake(event, is_leased=True), is_stored=True)

    result = await worker.store.submit(worker.ingestion(again))

    assert result.leased == {(again.runs[0].id, again.jobs[0].id)}
    assert result.duplicate == frozenset()
    assert await statuses(worker) == ["running", "queued"]


# -- atomicity ------------------------------------------------------------------------------------------------------


def with_run_id(intake: Intake, id: RunId) -> Intake:
    """Give the one run of an intake the id of another run."""
    [found] = intake.starts
    run = msgspec.structs.replace(found.run, id=id)
    return msgspec.structs.replace(intake, starts=(msgspec.structs.replace(found, run=run),))


async def test_one_offending_request_fails_alone(worker: Worker, database: Database) -> None:
    """The batch is tried again in halves until the offender is alone."""
    good = [worker.intake(event_of(number)) for number in range(1, 8)]
    bad = worker.intake(event_of(9))
    bad = with_run_id(bad, good[0].runs[0].id)
    intakes = [*good[:4], bad, *good[4:]]

    results = await worker.submit_together([worker.ingestion(intake) for intake in intakes])

    assert isinstance(results.pop(4), StoreError)
    assert [result for result in results if isinstance(result, BaseException)] == []
    assert await statuses(worker) == ["queued"] * 7
    assert await worker.store.load_event(bad.event.id) is None
    assert database.query("select count(*) from job") == [(7,)]


async def test_a_request_is_whole_or_nothing(worker: Worker) -> None:
    good, bad = worker.intake(event_of(1)), worker.intake(event_of(2))
    bad = with_run_id(bad, good.runs[0].id)

    with pytest.raises(StoreError):
        await worker.store.submit(worker.ingestion(good, bad))

    assert await worker.store.load_event(good.event.id) is None
    assert await statuses(worker) == []


async def test_a_large_batch_is_one_transaction_of_many_statements(worker: Worker) -> None:
    events = [event_of(number) for number in range(1, 1_001)]

    result, intakes = await worker.ingest(*events, is_leased=True)

    assert len(result.leased) == 1_000
    states = await worker.store.load_runs([intake.runs[0].id for intake in intakes])
    assert len(states) == 1_000


async def test_runs_that_are_not_there_are_left_out(worker: Worker) -> None:
    run, _ = await worker.run(event_of())

    states = await worker.store.load_runs([run.id, type(run.id)(ulid(999, "R"))])

    assert list(states) == [run.id]
