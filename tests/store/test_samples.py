"""What was seen of functions, minute by minute: how it is kept, and the sampler that looks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from stepwell.engine.janitor import Retention
from stepwell.engine.sampler import Sampler
from stepwell.errors import StoreUnavailable
from stepwell.limits import DAY_MS, HOUR_MS, MINUTE_MS
from stepwell.protocol.ids import FunctionId
from stepwell.protocol.sync import Trigger
from stepwell.store.found import Minute, Sample
from stepwell.store.interface import Store
from stepwell.store.request import BeatRequest, Pruned, SampleRequest
from tests.store.conftest import DATABASES
from tests.store.database import Database, Worker
from tests.store.past import KEPT_MS, Past, Watched
from tests.unit.engine.making import T0, function_of, result

F, G = FunctionId("f"), FunctionId("g")
MINUTE = T0 - T0 % MINUTE_MS


async def put(store: Store, *samples: Sample) -> None:
    await store.submit(SampleRequest(samples))


async def found(store: Store, function_id: FunctionId = F, *, start: int = 0, bucket_ms: int = 1) -> list[Sample]:
    return sorted(await store.insight.samples(function_id, start=start, end=MINUTE + DAY_MS, bucket_ms=bucket_ms))


# -- what is kept -----------------------------------------------------------------------------------------------------


async def test_of_a_minute_that_is_there_already_the_most_counts(store: Store) -> None:
    await put(store, Sample(F, MINUTE, 5, 1, 7), Sample(G, MINUTE, 1, 1, 1))
    await put(store, Sample(F, MINUTE, 3, 2, 7), Sample(F, MINUTE + MINUTE_MS))

    assert await found(store) == [Sample(F, MINUTE, 5, 2, 7), Sample(F, MINUTE + MINUTE_MS, 0, 0, 0)]
    assert await found(store, G) == [Sample(G, MINUTE, 1, 1, 1)]


async def test_the_same_minute_may_come_twice_at_once(store: Store) -> None:
    await asyncio.gather(
        put(store, Sample(F, MINUTE, 5, 1)), put(store, Sample(F, MINUTE, 1, 5), Sample(F, MINUTE, 9, 0))
    )

    assert await found(store) == [Sample(F, MINUTE, 9, 5)]


async def test_a_bucket_has_the_most_of_its_minutes(store: Store) -> None:
    await put(store, *(Sample(F, MINUTE + at * MINUTE_MS, at, 9 - at) for at in (0, 1, 2, 5)))

    buckets = await found(store, start=MINUTE + MINUTE_MS // 2 + 1, bucket_ms=3 * MINUTE_MS)
    from_the_first = await found(store, start=MINUTE + MINUTE_MS // 2, bucket_ms=3 * MINUTE_MS)

    assert buckets == [Sample(F, MINUTE + MINUTE_MS, 2, 8), Sample(F, MINUTE + 5 * MINUTE_MS, 5, 4)]
    assert from_the_first == [Sample(F, MINUTE, 2, 9), Sample(F, MINUTE + 5 * MINUTE_MS, 5, 4)]


async def test_samples_go_with_retention(worker: Worker, database: Database) -> None:
    past = Past(worker, database)
    await worker.sync("app", function_of(), function_of("app-g", triggers=[Trigger(event="b")]))
    f, g = function_of().id, function_of("app-g").id
    old = [Sample(id, MINUTE - number * MINUTE_MS, 1) for id in (f, g) for number in range(3)]
    await put(worker.store, *old)
    past.now = MINUTE + KEPT_MS - MINUTE_MS

    pruned = await past.sweep(Retention(KEPT_MS, {"app-g": None}))

    assert pruned == Pruned(samples=2)
    assert await found(worker.store, f) == [old[0]]
    assert len(await found(worker.store, g)) == 3
    assert await worker.store.walk_samples(g, after=MINUTE - 2 * MINUTE_MS, until=MINUTE - 1, limit=9) == [
        Minute(g, MINUTE - MINUTE_MS)
    ]


# -- the sampler ------------------------------------------------------------------------------------------------------


class Sampling:
    """A sampler of a store, in a time that stands still until a test moves it."""

    def __init__(self, worker: Worker, database: Database, *, fail: Any = lambda _name, _args: None) -> None:
        self.worker = worker
        self.store: Any = Watched(worker.store, fail=fail)
        self.activity = 0
        self.is_first = True
        clock = Past(worker, database).clock()
        self.sampler = Sampler(self.store, clock, lambda: worker.registry, lambda: self.activity, lambda: self.is_first)

    async def after(self, s: float, *, is_active: bool = False) -> Sequence[str]:
        """Sample after some time; return what the store was asked."""
        self.worker.now += round(s * 1_000)
        self.activity += is_active
        self.store.asked.clear()
        await self.sampler.sample_once()
        return list(self.store.asked)

    async def kept(self) -> list[tuple[int, int, int, int]]:
        """Return what is kept of ``app-f``: by the minute since the first, the most of each kind."""
        kept = await found(self.worker.store, function_of().id)
        return [((one.at - MINUTE) // MINUTE_MS, *one[2:]) for one in kept]


LOOK = ["backlog", "calls_in_progress"]


@pytest.fixture
async def sampling(worker: Worker, database: Database) -> Sampling:
    return Sampling(worker, database)


async def wait_in_line(worker: Worker, count: int) -> None:
    await worker.ingest(*(worker.event(number) for number in range(count)))


async def test_an_idle_server_is_asked_once_and_nothing_is_written(sampling: Sampling) -> None:
    assert await sampling.after(5) == LOOK

    for _ in range(100):
        assert await sampling.after(5) == []
    assert await sampling.kept() == []


async def test_the_most_of_each_minute_is_kept_and_then_nothing(sampling: Sampling) -> None:
    worker = sampling.worker
    await wait_in_line(worker, 3)
    await sampling.after(0, is_active=True)
    [claimed] = await worker.claim(limit=1)
    await sampling.after(5, is_active=True)
    assert await sampling.kept() == []

    assert await sampling.after(55) == ["submit", *LOOK]
    assert await sampling.kept() == [(0, 3, 1, 0)]

    await worker.reply(claimed.job.run_id, claimed.job, result(b"1"))
    await sampling.after(60)
    for claim in await worker.claim():
        await worker.reply(claim.job.run_id, claim.job, result(b"1"))
    assert await sampling.after(60, is_active=True) == ["submit", *LOOK]
    assert await sampling.after(60) == ["submit"]
    assert await sampling.kept() == [(0, 3, 1, 0), (1, 2, 1, 0), (2, 2, 0, 0), (3, 0, 0, 0)]
    for _ in range(100):
        assert await sampling.after(5) == []


async def test_what_goes_on_unchanged_is_looked_at_once_a_minute(sampling: Sampling) -> None:
    await wait_in_line(sampling.worker, 3)

    asked = [await sampling.after(5 if at else 0) for at in range(36)]

    assert [at for at, one in enumerate(asked) if one] == [0, 12, 24]
    assert (asked[0], asked[12]) == (LOOK, ["submit", *LOOK])
    assert await sampling.kept() == [(0, 3, 0, 0), (1, 3, 0, 0)]


async def test_runs_that_a_limit_of_their_own_counts_are_kept(worker: Worker, sampling: Sampling) -> None:
    await worker.sync("app", function_of(version=2, concurrency={"fn": [{"limit": 2}]}))
    await wait_in_line(worker, 3)
    await worker.claim(*await worker.store.partitions())

    assert await sampling.after(0) == [*LOOK, "slot_counts"]
    await sampling.after(60)

    assert await sampling.kept() == [(0, 1, 2, 2)]


async def test_only_one_of_the_replicas_looks_and_another_goes_on(worker: Worker, database: Database) -> None:
    one, other = Sampling(worker, database), Sampling(worker, database)
    other.is_first = False
    await wait_in_line(worker, 3)
    assert (await one.after(5), await other.after(0)) == (LOOK, [])

    one.is_first, other.is_first = False, True
    await worker.claim(limit=1)
    assert (await one.after(5), await other.after(0)) == ([], LOOK)

    await one.after(60)
    await other.after(0)
    assert await one.kept() == [(0, 3, 1, 0)]
    await one.after(60)
    assert await one.after(60) == []


async def test_nothing_is_lost_but_time_while_the_database_is_away(worker: Worker, database: Database) -> None:
    failures: list[Exception] = []

    sampling = Sampling(worker, database, fail=lambda *_: failures.pop() if failures else None)
    await wait_in_line(worker, 3)
    await sampling.after(0, is_active=True)
    failures += [StoreUnavailable("away")] * 3

    for s in (60, 5, 5):
        with pytest.raises(StoreUnavailable):
            await sampling.after(s)
    assert await sampling.after(5) == ["submit", *LOOK]

    assert await sampling.kept() == [(0, 3, 0, 0)]


async def test_a_look_that_failed_is_made_up_for(worker: Worker, database: Database) -> None:
    failures: list[Exception] = [StoreUnavailable("away")]
    sampling = Sampling(worker, database, fail=lambda *_: failures.pop() if failures else None)
    with pytest.raises(StoreUnavailable):
        await sampling.after(0)

    assert await sampling.after(5) == LOOK


async def test_the_minute_under_way_is_written_at_the_end_and_gone_on_with(worker: Worker, database: Database) -> None:
    before, after = Sampling(worker, database), Sampling(worker, database)
    await wait_in_line(worker, 3)
    await before.after(5)
    assert before.sampler.seen(function_of().id) == [Sample(function_of().id, MINUTE, 3, 0, 0)]
    await before.sampler.stop()
    assert before.sampler.seen(function_of().id) == []

    await worker.claim(limit=2)
    await after.after(5)
    await after.after(60)

    assert await after.kept() == [(0, 3, 2, 0)]


# -- several replicas, which only PostgreSQL has ----------------------------------------------------------------------


@pytest.mark.parametrize("database", DATABASES[1:], indirect=True)
async def test_a_beat_tells_who_is_eldest_and_whether_anybody_works(store: Store, database: Database) -> None:
    async def beat(of: Store, *, work: int, silent_ms: int = HOUR_MS) -> tuple[int, int]:
        found = (await of.submit(BeatRequest(silent_ms, work))).beat
        assert found is not None
        return found.elder_count, found.work

    other = await database.open("replica-2")
    await store.enter(store.replica_id)  # it was reaped as the other one came

    assert await beat(store, work=3) == (0, 3)
    assert await beat(other, work=4) == (1, 7)
    assert await beat(other, work=5, silent_ms=-1) == (0, 8)  # all others are silent
    assert await beat(store, work=3) == (0, 8)
