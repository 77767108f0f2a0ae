"""Limits at the claim: as many jobs of a partition as its keys have room for, and room again when they end."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import pytest

from stepwell.engine.core.model import Job
from stepwell.engine.core.partition import later
from stepwell.protocol.sync import ConcurrencyConfig, ThrottleConfig
from stepwell.store.interface import Store
from stepwell.store.request import ReleaseRequest, Result
from tests.store.database import Database, Worker
from tests.store.test_flow import begin, sent, with_rules
from tests.unit.engine.making import error, op, ops, result

KEY: Final = "event.data.key"
STEPS: Final[dict[str, Any]] = {"concurrency": ConcurrencyConfig(limit=2, key=KEY)}
RUNS: Final[dict[str, Any]] = {"run_concurrency": ConcurrencyConfig(limit=2, key=KEY)}
STEP: Final = ops(op("StepRun", "s", data=1))


async def queued(worker: Worker, keys: str, *, first: int = 1) -> list[Job]:
    """Start a run for each key; their jobs are free."""
    _, intakes = await worker.ingest(*(sent(worker, number, key=key) for number, key in enumerate(keys, first)))
    return [intake.jobs[0] for intake in intakes]


def slots(database: Database) -> int:
    return database.query("select count(*) from slot")[0][0]


@pytest.mark.parametrize("config", [pytest.param(STEPS, id="calls"), pytest.param(RUNS, id="runs")])
async def test_no_more_are_claimed_than_a_key_has_room_for(store: Store, database: Database, config: Any) -> None:
    worker = await begin(store, **config)
    jobs = await queued(worker, "aaabb")
    a, b = jobs[0].partition, jobs[3].partition

    found = await store.submit(worker.claiming(a, b))

    partitions = [one.job.run_id for one in found.claimed]
    assert sorted(partitions) == sorted(job.run_id for job in (*jobs[:2], *jobs[3:]))
    assert {one.job.partition for one in found.claimed} == {later(a), later(b)}
    [key_a] = [keys for name, keys in found.blocked if name == a]
    assert len(key_a) == 1
    assert slots(database) == 4
    again = await store.submit(worker.claiming(a))
    assert (again.claimed, dict(again.blocked)) == ([], {a: key_a})


async def test_two_claims_of_one_transaction_share_the_room(store: Store) -> None:
    worker = await begin(store, **STEPS)
    [job, *_] = await queued(worker, "aaaa")

    results = await worker.submit_together([worker.claiming(job.partition) for _ in range(3)])

    assert sum(len(found.claimed) for found in results if isinstance(found, Result)) == 2


async def test_a_call_gives_its_slot_back_when_it_ends(store: Store, database: Database) -> None:
    worker = await begin(store, **STEPS)
    jobs = await queued(worker, "aaa")
    partition = jobs[0].partition
    one, _ = await worker.claim(partition)

    await worker.carry_out(one.job.run_id, one.job, STEP)

    assert slots(database) == 1
    assert later(partition) == partition
    assert len(await worker.claim(partition)) == 1


async def test_a_run_gives_its_slot_back_when_it_ends(store: Store, database: Database) -> None:
    worker = await begin(store, **RUNS)
    jobs = await queued(worker, "aaa")
    partition = jobs[0].partition
    one, two = await worker.claim(partition)
    after = await worker.carry_out(one.job.run_id, one.job, STEP)
    assert after.leased == frozenset()
    [follow_up] = await worker.claim(later(partition))  # a run that has its slot needs none to go on
    assert slots(database) == 2

    await worker.carry_out(one.job.run_id, follow_up.job, result(b"1"))
    await worker.store.submit(await worker.cancellation(two.job.run_id))

    assert slots(database) == 0
    assert [found.job.run_id for found in await worker.claim(partition)] == [jobs[2].run_id]


async def test_a_call_that_failed_gives_its_slot_back_until_its_retry(store: Store, database: Database) -> None:
    worker = await begin(store, **STEPS)
    [job] = await queued(worker, "a")
    [claimed] = await worker.claim(job.partition)

    await worker.carry_out(job.run_id, claimed.job, error())

    assert slots(database) == 0


async def test_a_released_job_gives_its_slot_back(store: Store, database: Database) -> None:
    worker = await begin(store, **STEPS)
    jobs = await queued(worker, "aaa")
    claimed = await worker.claim(jobs[0].partition)

    await worker.store.submit(ReleaseRequest([claimed[0].job]))

    assert slots(database) == 1
    assert len(await worker.claim(jobs[0].partition)) == 1


async def test_a_release_that_comes_again_does_not_take_the_slot_of_the_next_lease(
    store: Store, database: Database
) -> None:
    """As after a lost answer: the job isn't ours by that lease any more, and is passed over."""
    worker = await begin(store, **STEPS)
    [job] = await queued(worker, "a")
    [claimed] = await worker.claim(job.partition)
    await worker.store.submit(ReleaseRequest([claimed.job]))
    [_] = await worker.claim(job.partition)
    assert slots(database) == 1

    await worker.store.submit(ReleaseRequest([claimed.job]))

    assert slots(database) == 1


async def test_jobs_of_the_dead_give_their_slots_back_and_runs_keep_theirs(store: Store, database: Database) -> None:
    worker = await begin(store, **STEPS, **RUNS)
    jobs = await queued(worker, "aaa")
    partition = jobs[0].partition
    assert len(await worker.claim(partition)) == 2
    assert slots(database) == 4
    await database.crash(store)

    again = Worker(await database.open("replica-2"))
    await again.refresh()

    assert slots(database) == 2
    assert len(await again.claim(later(partition))) == 2
    assert await again.claim(partition) == []


async def test_a_limit_is_that_of_the_newest_configuration(store: Store) -> None:
    worker = await begin(store, **STEPS)
    jobs = await queued(worker, "aaaa")
    newer = with_rules(concurrency=ConcurrencyConfig(limit=3, key=KEY))
    await worker.sync("app", msgspec.structs.replace(newer, version=2))

    assert len(await worker.claim(jobs[0].partition)) == 3


async def test_functions_share_the_room_of_a_key_of_the_environment(store: Store) -> None:
    rule = {"concurrency": ConcurrencyConfig(limit=3, key=KEY, scope="env")}
    worker = await Worker(store).begin(with_rules("app-f", **rule), with_rules("app-g", **rule))
    _, [one, two] = await worker.ingest(sent(worker, 1, key="a"), sent(worker, 2, key="a"))
    partitions = sorted({job.partition for intake in (one, two) for job in intake.jobs})
    assert len(partitions) == 2

    found = await store.submit(worker.claiming(*partitions))

    assert len(found.claimed) == 3
    assert {name for name, _ in found.blocked} >= {partitions[1]}


async def test_a_throttle_spreads_starts_and_tells_when_the_next_may_be(store: Store) -> None:
    worker = await begin(store, throttle=ThrottleConfig(limit=1, period="10s", burst=2))
    jobs = await queued(worker, "aaaa")
    partition = jobs[0].partition
    begun = worker.now

    found = await store.submit(worker.claiming(partition))

    assert [one.job.run_id for one in found.claimed] == [job.run_id for job in jobs[: len(found.claimed)]]
    assert 1 <= len(found.claimed) <= 3
    [(_, next_at)] = found.next_due
    assert next_at is not None
    assert next_at > begun
    worker.now = next_at - 1
    assert await worker.claim(partition) == []
    worker.now = next_at
    assert len(await worker.claim(partition)) == 1


async def test_an_unused_throttle_is_not_used_up_by_a_claim_that_finds_nothing(store: Store) -> None:
    worker = await begin(store, throttle=ThrottleConfig(limit=1, period="10s"))
    [job] = await queued(worker, "a")
    [_] = await worker.claim(job.partition)
    worker.now += 10_000
    for _ in range(3):
        assert await worker.claim(job.partition) == []

    [second] = await queued(worker, "a", first=2)

    assert [found.job.run_id for found in await worker.claim(second.partition)] == [second.run_id]
