"""Two at one key of flow control: its limit holds, and room that is given back is found."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from stepwell.engine.core.model import Job
from stepwell.engine.core.partition import TIMERS
from stepwell.engine.core.trigger import start_gathered
from stepwell.protocol.sync import (
    BatchConfig,
    ConcurrencyConfig,
    DebounceConfig,
    RateLimitConfig,
    SingletonConfig,
    ThrottleConfig,
)
from stepwell.store.request import Claimed, Fire, FireRequest, ReleaseRequest, Result, Verdict
from tests.isolation.acting import answering, begin, cancelling, commit, reap, statuses
from tests.isolation.pairs_of_waits import with_rules
from tests.isolation.stepping import Order
from tests.isolation.world import Case, World
from tests.store.database import Worker
from tests.unit.engine.making import DEV, op, ops, result

ONE: Final[dict[str, Any]] = {"concurrency": ConcurrencyConfig(limit=1)}
ONE_RUN: Final[dict[str, Any]] = {"run_concurrency": ConcurrencyConfig(limit=1)}


async def queued(worker: Worker, count: int, *, first: int = 1) -> list[Job]:
    """Start runs, each a little later than the one before; their jobs are free."""
    jobs: list[Job] = []
    for number in range(first, first + count):
        worker.now += 1
        _, intakes = await worker.ingest(worker.event(number))
        jobs += intakes[0].jobs
    return jobs


def claimed(found: Any) -> Sequence[Claimed]:
    return found.claimed if isinstance(found, Result) else ()


async def slots(world: World) -> int:
    return (await world.rows("select count(*) from slot"))[0][0]


# -- concurrency ------------------------------------------------------------------------------------------------------


async def two_claims_of_a_key(world: World) -> Case:
    """Claim/claim with room for one: one gets a job, and the other hears that there is no room."""
    one, two = await begin(world, "one", "two", functions=[with_rules(**ONE)])
    jobs = await queued(one, 3)
    two.now = one.now
    partition = jobs[0].partition

    async def promise(order: Order) -> None:
        assert sum(len(claimed(found)) for found in order.results) == 1, "the limit was broken"
        assert await slots(world) == 1
        assert all(partition in dict(found.blocked) for found in order.results)

    return Case(
        [lambda: one.store.submit(one.claiming(partition)), lambda: two.store.submit(two.claiming(partition))], promise
    )


async def claims_of_the_same_keys(world: World) -> Case:
    """Claim/claim of two partitions that share a key, in opposite order: no more than the key has room for."""
    rule: dict[str, Any] = {"concurrency": ConcurrencyConfig(limit=1, scope="env", key="'shared'")}
    one, two = await begin(world, "one", "two", functions=[with_rules(**rule), with_rules("app-g", **rule)])
    _, [intake] = await one.ingest(one.event(1))
    partitions = [job.partition for job in intake.jobs]
    assert len(partitions) == 2

    async def promise(order: Order) -> None:
        assert sum(len(claimed(found)) for found in order.results) == 1, "the limit was broken"
        assert await slots(world) == 1

    return Case(
        [
            lambda: one.store.submit(one.claiming(*partitions)),
            lambda: two.store.submit(two.claiming(*reversed(partitions))),
        ],
        promise,
    )


async def a_claim_and_the_end_of_a_call(world: World) -> Case:
    """Claim/commit that gives the only slot back: nobody is over the limit, and the room is found."""
    one, two = await begin(world, "one", "two", functions=[with_rules(**ONE)])
    jobs = await queued(one, 2)
    two.now = one.now
    partition = jobs[0].partition
    [held] = await one.claim(partition)
    state = await one.state(held.job.run_id)

    async def promise(order: Order) -> None:
        ended, found = order.results
        assert ended is Verdict.COMMITTED
        assert len(claimed(found)) == await slots(world) <= 1, "the limit was broken"
        assert len(claimed(found)) + len(await two.claim(partition)) == 1, "the room was lost"

    return Case(
        [
            lambda: commit(one, state, answering(one, held.job, ops(op("Sleep", "s", value="1h")))),
            lambda: two.store.submit(two.claiming(partition)),
        ],
        promise,
    )


async def a_claim_and_the_end_of_a_run(world: World) -> Case:
    """Claim/commit that ends the only run that may go on: the next begins, after it."""
    one, two = await begin(world, "one", "two", functions=[with_rules(**ONE_RUN)])
    jobs = await queued(one, 2)
    two.now = one.now
    partition = jobs[0].partition
    [held] = await one.claim(partition)
    state = await one.state(held.job.run_id)

    async def promise(order: Order) -> None:
        ended, found = order.results
        assert ended is Verdict.COMMITTED
        assert len(claimed(found)) == await slots(world) <= 1, "the limit was broken"
        assert len(claimed(found)) + len(await two.claim(partition)) == 1, "the room was lost"

    return Case(
        [
            lambda: commit(one, state, answering(one, held.job, result(b"1"))),
            lambda: two.store.submit(two.claiming(partition)),
        ],
        promise,
    )


async def a_claim_and_a_cancellation(world: World) -> Case:
    """Claim/cancel of the run whose job is claimed: it has no slot afterwards."""
    one, two = await begin(world, "one", "two", functions=[with_rules(**ONE, **ONE_RUN)])
    [job] = await queued(one, 1)
    two.now = one.now
    state = await two.state(job.run_id)

    async def promise(order: Order) -> None:
        assert order.results[1] is Verdict.COMMITTED
        assert await slots(world) == 0, "a slot is left of a run that has ended"

    return Case(
        [lambda: one.store.submit(one.claiming(job.partition)), lambda: commit(two, state, cancelling(two))], promise
    )


async def a_claim_and_a_release(world: World) -> Case:
    """Claim/release of the job that has the only slot: it is somebody's, with its slot, or nobody's, without."""
    one, two = await begin(world, "one", "two", functions=[with_rules(**ONE)])
    [job] = await queued(one, 1)
    two.now = one.now
    [held] = await one.claim(job.partition)

    async def promise(order: Order) -> None:
        found = claimed(order.results[1])
        assert len(found) == await slots(world)
        assert len(found) + len(await two.claim(job.partition)) == 1, "the room was lost"

    return Case(
        [
            lambda: one.store.submit(ReleaseRequest([held.job])),
            lambda: two.store.submit(two.claiming(job.partition)),
        ],
        promise,
    )


async def a_claim_and_the_reaper_of_a_slot(world: World) -> Case:
    """Claim/reap of whoever has the only slot: the room is found by this claim or the next."""
    one, two, owner = await begin(world, "one", "two", "three", functions=[with_rules(**ONE)])
    jobs = await queued(owner, 2)
    one.now = two.now = owner.now
    partition = jobs[0].partition
    [_] = await owner.claim(partition)
    await world.silence(owner)

    async def promise(order: Order) -> None:
        found = claimed(order.results[0])
        assert len(found) == await slots(world) <= 1, "the limit was broken"
        assert len(found) + len(await one.claim(partition)) == 1, "the room was lost"

    return Case([lambda: one.store.submit(one.claiming(partition)), lambda: reap(two)], promise)


async def two_claims_of_a_throttle(world: World) -> Case:
    """Claim/claim of what may start once a minute: one starts, and both know when the next may."""
    one, two = await begin(
        world, "one", "two", functions=[with_rules(throttle=ThrottleConfig(limit=1, period="1m", burst=1))]
    )
    jobs = await queued(one, 3)
    two.now = one.now
    partition = jobs[0].partition

    async def promise(order: Order) -> None:
        count = sum(len(claimed(found)) for found in order.results)
        assert count == 1, "the limit was broken"
        assert await one.claim(partition) == []

    return Case(
        [lambda: one.store.submit(one.claiming(partition)), lambda: two.store.submit(two.claiming(partition))], promise
    )


# -- gatherings -------------------------------------------------------------------------------------------------------


async def firing(worker: Worker) -> FireRequest:
    """Make the runs of the gatherings that are due."""
    fires: list[Fire] = []
    for gathering, events in await worker.store.due_gatherings(now=worker.now, limit=9):
        function = worker.registry.by_id[gathering.function_id]
        found = start_gathered(gathering, events[0], function, worker.registry, now=worker.now)
        fires.append(Fire(gathering.version, gathering.key, events[0], found))
    return FireRequest(DEV, worker.registry.revision, fires, worker.now)


async def gathered(world: World) -> list[int]:
    """Return how many events are in each run, or to be."""
    rows = await world.rows("select count(*) from gathered group by run_id order by 1")
    return [row[0] for row in rows]


def an_event_and_the_fire(config: Any, counts: tuple[list[int], list[int]]) -> Callable[[World], Awaitable[Case]]:
    async def given(world: World) -> Case:
        one, two = await begin(world, "one", "two", functions=[with_rules(**config)])
        await one.ingest(one.event(1))
        one.now = two.now = one.now + 10_000
        fire = await firing(two)
        sent = one.ingestion(one.intake(one.event(2)))

        async def promise(order: Order) -> None:
            found, fired = order.results
            assert fired.verdict is Verdict.COMMITTED
            assert len(found.gathered) == 1
            assert await statuses(world) == ["queued"] * len(fired.fired)
            assert await gathered(world) == counts[len(fired.fired)], "fired though an event joined it"
            is_before = order.place("two: commit") < order.place("one: replica_fence", is_last=True)
            assert fired.fired or not is_before

        return Case([lambda: one.store.submit(sent), lambda: two.store.submit(fire)], promise)

    return given


async def an_event_and_the_fire_of_a_debounce(world: World) -> Case:
    """Ingest/fire of a debounce: the event puts it off, or is in the next."""
    return await an_event_and_the_fire({"debounce": DebounceConfig(period="10s")}, ([2], [1, 1]))(world)


async def an_event_and_the_fire_of_a_batch(world: World) -> Case:
    """Ingest/fire of a batch whose time is over: the event is in it, and it is fired later, or it is in the next."""
    config: dict[str, Any] = {"batch_events": BatchConfig(max_size=5, timeout="10s")}
    return await an_event_and_the_fire(config, ([2], [1, 1]))(world)


async def two_fires(world: World) -> Case:
    """Fire/fire: a gathering that both see due starts one run."""
    one, two = await begin(world, "one", "two", functions=[with_rules(debounce=DebounceConfig(period="10s"))])
    await one.ingest(one.event(1))
    one.now = two.now = one.now + 10_000
    requests = [await firing(one), await firing(two)]

    async def promise(order: Order) -> None:
        assert sum(len(found.fired) for found in order.results) == 1, "the gathering was fired twice"
        assert await statuses(world) == ["queued"]

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


async def two_events_that_open_a_batch(world: World) -> Case:
    """Ingest/ingest of the first events of a batch: they are in one."""
    config: dict[str, Any] = {"batch_events": BatchConfig(max_size=5, timeout="10s")}
    one, two = await begin(world, "one", "two", functions=[with_rules(**config)])
    requests = [one.ingestion(one.intake(one.event(1))), two.ingestion(two.intake(two.event(2)))]

    async def promise(_order: Order) -> None:
        assert await gathered(world) == [2]

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


async def two_events_that_fill_a_batch(world: World) -> Case:
    """Ingest/ingest that fill a batch for two: the third event is in the next."""
    config: dict[str, Any] = {"batch_events": BatchConfig(max_size=2, timeout="10s")}
    one, two = await begin(world, "one", "two", functions=[with_rules(**config)])
    await one.ingest(one.event(1))
    requests = [one.ingestion(one.intake(one.event(2))), two.ingestion(two.intake(two.event(3)))]

    async def promise(_order: Order) -> None:
        assert await gathered(world) == [1, 2]

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


# -- singletons and rates ---------------------------------------------------------------------------------------------


async def two_singletons(world: World) -> Case:
    """Ingest/ingest: one starts, and one is skipped."""
    one, two = await begin(world, "one", "two", functions=[with_rules(singleton=SingletonConfig(mode="skip"))])
    requests = [one.ingestion(one.intake(one.event(1))), two.ingestion(two.intake(two.event(2)))]

    async def promise(_order: Order) -> None:
        assert await statuses(world) == ["queued", "skipped"], "two singletons go on"
        assert await slots(world) == 1

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


async def two_singletons_that_cancel(world: World) -> Case:
    """Ingest/ingest: the later cancels the earlier, and no more than one is claimed."""
    one, two = await begin(world, "one", "two", functions=[with_rules(singleton=SingletonConfig(mode="cancel"))])
    intakes = [one.intake(one.event(1)), two.intake(two.event(2))]
    partition = intakes[0].jobs[0].partition

    async def promise(order: Order) -> None:
        cancelled = [run for found in order.results for run in found.resumed]
        assert len(cancelled) == 1, "two singletons go on"
        assert await world.rows("select run_id from job where kind = 'cancel'") == [(cancelled[0],)]
        assert await one.claim(partition) == []
        assert await commit(one, await one.state(cancelled[0]), cancelling(one)) is Verdict.COMMITTED
        assert [found.job.run_id for found in await one.claim(partition)] != cancelled

    return Case(
        [
            lambda: one.store.submit(one.ingestion(intakes[0])),
            lambda: two.store.submit(two.ingestion(intakes[1])),
        ],
        promise,
    )


async def a_singleton_and_the_end_of_another(world: World) -> Case:
    """Ingest/commit of the end: the new one starts or is skipped, and holds its slot if it started."""
    one, two = await begin(world, "one", "two", functions=[with_rules(singleton=SingletonConfig(mode="skip"))])
    [job] = await queued(two, 1)
    [held] = await two.claim(job.partition)
    state = await two.state(job.run_id)
    sent = one.ingestion(one.intake(one.event(2)))

    async def promise(order: Order) -> None:
        found, ended = order.results
        assert ended is Verdict.COMMITTED
        assert await statuses(world) == ["completed", "skipped" if found.skipped else "queued"]
        assert await slots(world) == (0 if found.skipped else 1)
        if order.place("two: commit") < order.place("one: replica_fence"):
            assert not found.skipped

    return Case(
        [lambda: one.store.submit(sent), lambda: commit(two, state, answering(two, held.job, result(b"1")))], promise
    )


async def a_singleton_that_cancels_and_the_end(world: World) -> Case:
    """Ingest/commit of the end of the run that it would cancel: the new one goes on; what came too late is dropped."""
    one, two = await begin(world, "one", "two", functions=[with_rules(singleton=SingletonConfig(mode="cancel"))])
    [job] = await queued(two, 1)
    [held] = await two.claim(job.partition)
    state = await two.state(job.run_id)
    sent = one.ingestion(one.intake(one.event(2)))

    async def promise(order: Order) -> None:
        assert order.results[1] is Verdict.COMMITTED
        assert await statuses(world) == ["completed", "queued"]
        for late in await one.claim(TIMERS):
            assert late.job.run_id == job.run_id
        assert len(await one.claim(job.partition)) == 1, "the room was lost"

    return Case(
        [lambda: one.store.submit(sent), lambda: commit(two, state, answering(two, held.job, result(b"1")))], promise
    )


async def two_starts_at_the_limit_of_a_rate(world: World) -> Case:
    """Ingest/ingest with one start left: one starts, and one is skipped."""
    rule = RateLimitConfig(limit=2, period="1h")
    one, two = await begin(world, "one", "two", functions=[with_rules(rate_limit=rule)])
    await one.ingest(one.event(1))
    requests = [one.ingestion(one.intake(one.event(2))), two.ingestion(two.intake(two.event(3)))]

    async def promise(_order: Order) -> None:
        assert await statuses(world) == ["queued", "queued", "skipped"], "the limit was broken"

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


PAIRS: Final[tuple[Callable[[World], Awaitable[Case]], ...]] = (
    two_claims_of_a_key,
    claims_of_the_same_keys,
    a_claim_and_the_end_of_a_call,
    a_claim_and_the_end_of_a_run,
    a_claim_and_a_cancellation,
    a_claim_and_a_release,
    a_claim_and_the_reaper_of_a_slot,
    two_claims_of_a_throttle,
    an_event_and_the_fire_of_a_debounce,
    an_event_and_the_fire_of_a_batch,
    two_fires,
    two_events_that_open_a_batch,
    two_events_that_fill_a_batch,
    two_singletons,
    two_singletons_that_cancel,
    a_singleton_and_the_end_of_another,
    a_singleton_that_cancels_and_the_end,
    two_starts_at_the_limit_of_a_rate,
)
