"""The contract where rules meet: bursts of throttles, reruns of singletons, what retention must keep for waits."""

from __future__ import annotations

from typing import Final

import pytest

from stepwell.engine.core.model import Event, Intake
from stepwell.engine.core.trigger import start_again
from stepwell.limits import WAITS_ENDED_MAX
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import SingletonConfig, ThrottleConfig
from stepwell.store.found import Walk
from stepwell.store.interface import Store
from stepwell.store.request import PruneRequest, Result, SweepRequest, Verdict
from tests.store.database import Database, Worker
from tests.unit.engine.making import DEV, function_of, op, ops

HOUR: Final = 3_600_000


async def test_the_state_of_a_throttle_is_kept_until_its_burst_is_forgotten(store: Store) -> None:
    """It is swept out when it expires; too early, and the burst comes again."""
    worker = await Worker(store).begin(function_of(throttle=ThrottleConfig(limit=1, period="10s", burst=20)))
    _, intakes = await worker.ingest(*(worker.event(number) for number in range(1, 51)))
    partition = intakes[0].jobs[0].partition
    begun = len(await worker.claim(partition, limit=100))

    worker.now += 25_000
    [state] = await store.check(Walk.FLOW, (), now=worker.now, limit=10)

    assert begun == 20
    assert state.fault is None


@pytest.mark.parametrize("mode", ["skip", "cancel"])
async def test_a_rerun_of_a_singleton_does_not_run_beside_another(store: Store, mode: str) -> None:
    worker = await Worker(store).begin(function_of(singleton=SingletonConfig(mode=mode)))
    event = worker.event(1)
    _, [first] = await worker.ingest(event)
    partition = first.jobs[0].partition
    [_] = await worker.claim(partition)

    found = await again(worker, event, first.runs[0].id)

    assert await worker.claim(partition) == []
    if mode == "skip":
        assert list(found.skipped.values()) == ["singleton"]
    else:
        assert found.resumed == (first.runs[0].id,)


async def again(worker: Worker, event: Event, run_id: RunId) -> Result:
    function = next(iter(worker.registry.by_id.values()))
    start = start_again(event, function, worker.registry, now=worker.now, run_id=RunId(worker.new_id()), again=run_id)
    found = await worker.store.submit(worker.ingestion(Intake(event, (start,), is_stored=True)))
    assert found.verdict is Verdict.COMMITTED
    return found


async def test_an_event_is_kept_until_all_waits_that_it_ends_have_ended(worker: Worker, database: Database) -> None:
    """The server may have been down for longer than events are kept: without the event its sweep would never end."""
    count = WAITS_ENDED_MAX + 1
    event = worker.event(count + 1, "b")
    _, intakes = await worker.ingest(*(worker.event(number) for number in range(1, count + 1)), is_leased=True)
    states = await worker.store.load_runs([intake.runs[0].id for intake in intakes])
    wait = ops(op("WaitForEvent", "w", opts={"event": "b", "timeout": "1h"}))
    await worker.submit_together(
        worker.commit(worker.transition(states[intake.runs[0].id], intake.jobs[0], wait)) for intake in intakes
    )
    found, _ = await worker.ingest(event)
    assert found.is_swept
    worker.now += 100 * HOUR

    aged = await worker.store.walk_events(DEV, after="", received_before=worker.now, limit=2_000)
    await worker.store.submit(PruneRequest(worker.now, events=[event.id], received_before=worker.now))
    while (await worker.store.submit(SweepRequest(worker.now))).is_swept:
        pass

    assert [one for one in aged if one.id == event.id and one.row_count] == []
    assert database.query("select count(*) from sweep") == [(0,)]
    assert database.query("select count(*) from job where resolved_by is null") == [(0,)]


@pytest.mark.parametrize("is_together", [False, True])
async def test_what_is_skipped_for_its_event_id_takes_no_idempotency_value(store: Store, is_together: bool) -> None:
    """No run was started with that value: the next event that has it starts one."""
    worker = await Worker(store).begin(function_of(idempotency="event.data.k"))
    events = [worker.event(number, data={"k": k}, id=id) for number, id, k in ((1, "x", 1), (2, "x", 2), (3, "y", 2))]

    if is_together:
        found, _ = await worker.ingest(*events)
        reasons = list(found.skipped.values())
    else:
        reasons = [reason for event in events for reason in (await worker.ingest(event))[0].skipped.values()]

    assert reasons == ["duplicate_event_id"]


async def test_no_run_is_cancelled_by_the_event_before_its_own_however_many_others_are(
    store: Store, database: Database
) -> None:
    """Those are too many for one transaction; when the rest of them is looked at, the run is there."""
    worker = await Worker(store).begin(function_of(cancel=[{"event": "b"}]))
    count = WAITS_ENDED_MAX + 1
    _, old = await worker.ingest(*(worker.event(number) for number in range(1, count + 1)))
    worker.now += 1_000

    found, [_, newest] = await worker.ingest(worker.event(count + 1, "b"), worker.event(count + 2))
    cancelled = [*found.resumed]
    while found.is_swept:
        found = await store.submit(SweepRequest(worker.now))
        cancelled += found.resumed

    assert sorted(cancelled) == sorted(intake.runs[0].id for intake in old)
    assert database.query("select run_id from wait") == [(newest.runs[0].id,)]
