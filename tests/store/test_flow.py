"""Flow control when events come in (protocol 11): what is skipped, gathered or cancelled in the transaction that starts runs."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from stepwell.engine.core.model import Event, Function, JobKind, Pause, PauseMode
from stepwell.engine.core.partition import TIMERS
from stepwell.engine.core.trigger import start_gathered
from stepwell.limits import EVENT_ID_WINDOW_MS
from stepwell.protocol.sync import BatchConfig, DebounceConfig, RateLimitConfig, SingletonConfig
from stepwell.store.found import RunFilter
from stepwell.store.interface import Store
from stepwell.store.request import Fire, FireRequest, PauseRequest, Result, Verdict
from tests.store.database import Database, Worker
from tests.unit.engine.making import DEV, T0, function_of, result

HOUR: Final = 3_600_000
KEY: Final = "event.data.key"


def with_rules(slug: str = "app-f", **config: Any) -> Function:
    function = function_of(slug)
    return msgspec.structs.replace(function, config=msgspec.structs.replace(function.config, **config))


async def begin(store: Store, **config: Any) -> Worker:
    return await Worker(store).begin(with_rules(**config))


def sent(worker: Worker, number: int, *, id: str | None = None, **data: Any) -> Event:
    return worker.event(number, data=data, id=id)


async def send(worker: Worker, number: int, *, id: str | None = None, **data: Any) -> Result:
    found, _ = await worker.ingest(sent(worker, number, id=id, **data))
    return found


async def statuses(worker: Worker) -> list[tuple[str, str | None]]:
    runs = await worker.store.list_runs(RunFilter(DEV, limit=100))
    return [(run.status.value, run.reason) for run in reversed(runs)]


# -- rate limits and idempotency --------------------------------------------------------------------------------------


async def test_starts_beyond_the_rate_are_skipped_with_the_reason(store: Store) -> None:
    worker = await begin(store, rate_limit=RateLimitConfig(limit=2, period="1h", key=KEY))

    found = [await send(worker, number, key=key) for number, key in enumerate("aabaa", 1)]

    assert [list(one.skipped.values()) for one in found] == [[], [], [], ["rate_limited"], ["rate_limited"]]
    assert (await statuses(worker))[-1] == ("skipped", "rate_limited")
    worker.now += HOUR
    assert (await send(worker, 9, key="a")).skipped == {}


async def test_a_rate_counts_within_one_transaction(store: Store) -> None:
    worker = await begin(store, rate_limit=RateLimitConfig(limit=2, period="1h"))

    found, _ = await worker.ingest(*(sent(worker, number) for number in range(1, 6)))

    assert list(found.skipped.values()) == ["rate_limited"] * 3
    assert [status for status, _ in await statuses(worker)] == ["queued"] * 2 + ["skipped"] * 3


async def test_an_idempotency_value_starts_a_function_once_in_24_hours(store: Store) -> None:
    worker = await begin(store, idempotency=KEY)
    await send(worker, 1, key="x")
    await send(worker, 2, key="y")

    worker.now += EVENT_ID_WINDOW_MS - 1
    assert list((await send(worker, 3, key="x")).skipped.values()) == ["idempotency"]
    worker.now += 1
    assert (await send(worker, 4, key="x")).skipped == {}


async def test_an_idempotency_value_is_no_event_id(store: Store) -> None:
    worker = await begin(store, idempotency=KEY)

    await send(worker, 1, id="x", key="y")

    assert list((await send(worker, 2, id="y", key="x")).skipped.values()) == []
    assert list((await send(worker, 3, id="x", key="z")).skipped.values()) == ["duplicate_event_id"]


async def test_what_is_skipped_for_its_event_id_uses_up_no_rate(store: Store) -> None:
    worker = await begin(store, rate_limit=RateLimitConfig(limit=2, period="1h"))
    await send(worker, 1, id="x")
    await send(worker, 2, id="x")

    assert (await send(worker, 3)).skipped == {}
    assert list((await send(worker, 4)).skipped.values()) == ["rate_limited"]


# -- singletons -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_together", [False, True])
async def test_a_singleton_skips_whoever_comes_while_one_goes_on(store: Store, is_together: bool) -> None:
    worker = await begin(store, singleton=SingletonConfig(mode="skip", key=KEY))
    events = [sent(worker, number, key=key) for number, key in enumerate("aab", 1)]

    if is_together:
        found, _ = await worker.ingest(*events)
        reasons = list(found.skipped.values())
    else:
        reasons = [reason for event in events for reason in (await worker.ingest(event))[0].skipped.values()]

    assert reasons == ["singleton"]
    assert await statuses(worker) == [("queued", None), ("skipped", "singleton"), ("queued", None)]


async def test_after_its_end_a_singleton_may_start_again(store: Store, database: Database) -> None:
    worker = await begin(store, singleton=SingletonConfig(mode="skip"))
    _, [intake] = await worker.ingest(sent(worker, 1))
    [claimed] = await worker.claim(intake.jobs[0].partition)

    await worker.carry_out(claimed.job.run_id, claimed.job, result(b"1"))

    assert database.query("select * from slot") == []
    assert (await send(worker, 2)).skipped == {}


async def test_a_singleton_that_is_cancelled_ends_before_the_next_begins(store: Store) -> None:
    worker = await begin(store, singleton=SingletonConfig(mode="cancel"))
    _, [first] = await worker.ingest(sent(worker, 1))
    partition = first.jobs[0].partition
    [_] = await worker.claim(partition)
    worker.now += 10

    found, [second] = await worker.ingest(sent(worker, 2))

    assert (found.skipped, found.resumed) == ({}, (first.runs[0].id,))
    blocked = await worker.store.submit(worker.claiming(partition))
    assert (blocked.claimed, [name for name, _ in blocked.blocked]) == ([], [partition])
    [cancel] = await worker.claim(TIMERS)
    assert (cancel.job.run_id, cancel.job.kind, cancel.job.title) == (first.runs[0].id, JobKind.CANCEL, "singleton")
    await worker.store.submit(await worker.cancellation(first.runs[0].id))
    assert [found.job.run_id for found in await worker.claim(partition)] == [second.runs[0].id]


async def test_of_singletons_of_one_transaction_the_last_goes_on(store: Store) -> None:
    worker = await begin(store, singleton=SingletonConfig(mode="cancel"))

    _, intakes = await worker.ingest(*(sent(worker, number) for number in range(1, 4)))

    assert {found.job.run_id for found in await worker.claim(TIMERS)} == {intake.runs[0].id for intake in intakes[:2]}


# -- batches and debounces --------------------------------------------------------------------------------------------


async def fires(worker: Worker) -> list[Fire]:
    """Make the runs of the gatherings that are due."""
    found: list[Fire] = []
    for gathering, events in await worker.store.due_gatherings(now=worker.now, limit=10):
        function = worker.registry.by_id[gathering.function_id]
        started = start_gathered(gathering, events[0], function, worker.registry, now=worker.now)
        found.append(Fire(gathering.version, gathering.key, events[0], started))
    return found


def firing(worker: Worker, found: list[Fire]) -> FireRequest:
    return FireRequest(DEV, worker.registry.revision, found, worker.now)


async def test_a_batch_starts_one_run_for_its_events(store: Store) -> None:
    worker = await begin(store, batch_events=BatchConfig(max_size=3, timeout="10s", key=KEY))
    events = [sent(worker, number, key=key) for number, key in enumerate("aabaa", 1)]

    found, intakes = await worker.ingest(*events)

    assert found.skipped == {}
    assert len(found.gathered) == 5
    assert len(set(found.gathered.values())) == 3  # a full one of a, one of b, and the next of a
    assert found.gathering_due == T0
    assert await statuses(worker) == []
    [full] = await fires(worker)
    done = await worker.store.submit(firing(worker, [full]))
    assert done.fired == {full.start.run.id}
    state = await worker.state(full.start.run.id)
    assert state.run.is_batch
    assert state.run.event_id == events[0].id
    assert list(state.events) == [events[number].body for number in (0, 1, 3)]
    assert full.start.run.id == intakes[0].runs[0].id
    assert await worker.store.next_gathering_due() == T0 + 10_000


async def test_the_run_of_a_batch_is_listed_for_each_of_its_events(store: Store) -> None:
    worker = await begin(store, batch_events=BatchConfig(max_size=2, timeout="10s"))
    events = [sent(worker, number) for number in (1, 2, 3)]
    await worker.ingest(*events)
    [full] = await fires(worker)
    await worker.store.submit(firing(worker, [full]))

    found = [await store.list_runs(RunFilter(DEV, event_id=event.id)) for event in events]

    assert [[run.id for run in runs] for runs in found] == [[full.start.run.id], [full.start.run.id], []]


async def test_a_batch_that_was_open_is_filled_and_the_next_is_opened(store: Store) -> None:
    worker = await begin(store, batch_events=BatchConfig(max_size=2, timeout="10s"))
    await send(worker, 1)
    worker.now += 5_000

    found, _ = await worker.ingest(sent(worker, 2), sent(worker, 3))

    assert len(set(found.gathered.values())) == 2
    assert [len(events) for _, events in await store.due_gatherings(now=worker.now, limit=9)] == [2]
    assert [len(events) for _, events in await store.due_gatherings(now=worker.now + 10_000, limit=9)] == [2, 1]


async def test_a_gathering_is_fired_once(store: Store) -> None:
    worker = await begin(store, batch_events=BatchConfig(max_size=2, timeout="10s"))
    await worker.ingest(sent(worker, 1), sent(worker, 2))
    due = await fires(worker)

    results = await worker.submit_together([firing(worker, due), firing(worker, due)])
    again = await worker.store.submit(firing(worker, due))

    assert sorted(len(found.fired) for found in results if isinstance(found, Result)) == [0, 1]
    assert (again.verdict, again.fired) == (Verdict.COMMITTED, frozenset())
    assert await statuses(worker) == [("queued", None)]


async def test_a_debounce_starts_with_its_last_event(store: Store) -> None:
    worker = await begin(store, debounce=DebounceConfig(period="10s"))
    first = await send(worker, 1)
    seen_too_early = worker.now + 10_000
    worker.now += 9_000
    last = sent(worker, 2)
    await worker.ingest(last)

    assert await store.due_gatherings(now=seen_too_early, limit=9) == []
    worker.now += 10_000
    due = await fires(worker)
    await worker.store.submit(firing(worker, due))

    [run] = await worker.store.list_runs(RunFilter(DEV))
    assert (run.event_id, run.is_batch) == (last.id, False)
    assert await worker.store.list_runs(RunFilter(DEV, event_id=sent(worker, 1).id)) == []
    assert [run.id] == list(first.gathered.values())
    assert await store.next_gathering_due() is None


async def test_a_debounce_that_got_another_event_since_it_was_seen_is_not_fired(store: Store) -> None:
    worker = await begin(store, debounce=DebounceConfig(period="10s"))
    await send(worker, 1)
    worker.now += 10_000
    due = await fires(worker)
    await send(worker, 2)

    found = await worker.store.submit(firing(worker, due))

    assert (found.verdict, found.fired) == (Verdict.COMMITTED, frozenset())
    assert await statuses(worker) == []
    assert await store.next_gathering_due() == worker.now + 10_000


async def test_a_debounce_starts_at_its_time_out_whatever_comes(store: Store) -> None:
    worker = await begin(store, debounce=DebounceConfig(period="10s", timeout="15s"))
    await send(worker, 1)
    for number in (2, 3):
        worker.now += 7_000
        await send(worker, number)

    assert await store.next_gathering_due() == T0 + 15_000


async def test_a_gathering_that_was_planned_with_older_functions_is_stale(store: Store) -> None:
    worker = await begin(store, batch_events=BatchConfig(max_size=2, timeout="10s"))
    await worker.ingest(sent(worker, 1), sent(worker, 2))
    request = firing(worker, await fires(worker))
    await worker.sync("other", function_of("other-g", app="other"))

    assert (await worker.store.submit(request)).verdict is Verdict.STALE

    assert (await worker.store.submit(firing(worker, await fires(worker)))).fired != frozenset()


# -- paused functions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "status"), [(PauseMode.DROP, ("skipped", "paused")), (PauseMode.HOLD, ("queued", None))]
)
async def test_a_paused_function_starts_nothing(
    worker: Worker, mode: PauseMode, status: tuple[str, str | None]
) -> None:
    function_id = function_of().id
    pause = Pause(worker.now, mode, is_stopped=False)
    before = worker.registry.revision

    found = await worker.store.submit(PauseRequest(DEV, before, function_id, pause))
    stale = await worker.store.submit(PauseRequest(DEV, before, function_id, None))
    await worker.refresh()

    assert (found.verdict, stale.verdict) == (Verdict.COMMITTED, Verdict.STALE)
    assert worker.registry.by_id[function_id].pause == pause
    _, [intake] = await worker.ingest(sent(worker, 1))
    assert await statuses(worker) == [status]
    assert await worker.claim(intake.jobs[0].partition) == []
    await worker.store.submit(PauseRequest(DEV, worker.registry.revision, function_id, None))
    await worker.refresh()
    assert len(await worker.claim(intake.jobs[0].partition)) == (mode is PauseMode.HOLD)
