"""The queue: who gets which job, in which order."""

from __future__ import annotations

import msgspec

from stepwell.engine.core.model import Job
from stepwell.protocol.ids import RunId
from stepwell.store.request import ClaimRequest, ReleaseRequest, Result, Want
from tests.store.database import QUEUE, Database, Worker
from tests.unit.engine.making import T0, error, event_of, function_of, op, ops

OTHER = function_of("other-g").id


async def queued(worker: Worker, count: int, *, first: int = 1) -> list[Job]:
    """Start runs, their jobs free and due one millisecond after the other."""
    jobs: list[Job] = []
    for number in range(first, first + count):
        worker.now = T0 + number
        _, [intake] = await worker.ingest(event_of(number))
        jobs += intake.jobs
    return jobs


async def test_the_oldest_due_jobs_are_claimed_first_up_to_the_limit(worker: Worker) -> None:
    jobs = await queued(worker, 5)

    first = await worker.claim(limit=2)
    second = await worker.claim(limit=2)
    rest = await worker.claim(limit=2)

    claimed = [claim.job.run_id for claim in [*first, *second, *rest]]
    assert claimed == [job.run_id for job in jobs]
    assert [len(first), len(second), len(rest)] == [2, 2, 1]


async def test_no_more_than_the_limit_is_claimed_whatever_the_planner_knows(worker: Worker, database: Database) -> None:
    """Here it believes that there are no jobs, as after an idle time: joining in the other order then looks cheap."""
    await queued(worker, 500)
    database.execute("delete from job")
    for statement in ("vacuum", "analyze"):
        database.execute(statement)
    await queued(worker, 3, first=501)

    assert len(await worker.claim(limit=1)) == 1


async def test_a_claimed_job_is_leased_and_tells_the_version_of_its_run(worker: Worker) -> None:
    [job] = await queued(worker, 1)

    [claim] = await worker.claim()

    assert claim.job == msgspec.structs.replace(
        job, owner=worker.store.replica_id, generation=job.generation + 1, leased_at=worker.now
    )
    assert claim.run_version == 0
    assert (await worker.state(job.run_id)).jobs[job.id] == claim.job


async def test_a_job_that_is_not_due_waits(worker: Worker) -> None:
    await worker.ingest(event_of(ts=T0 + 60_000))

    assert await worker.claim() == []
    assert await worker.store.next_due([QUEUE]) == [(QUEUE, T0 + 60_000)]

    worker.now = T0 + 60_000
    assert len(await worker.claim()) == 1


async def test_a_job_is_claimed_once(worker: Worker) -> None:
    await queued(worker, 3)
    claims = [worker.claiming(QUEUE, limit=2) for _ in range(3)]

    results = await worker.submit_together(claims)

    runs = [claim.job.run_id for found in results if isinstance(found, Result) for claim in found.claimed]
    assert len(runs) == len(set(runs)) == 3


async def test_partitions_do_not_disturb_each_other(worker: Worker) -> None:
    await worker.sync("other", function_of("other-g", app="other"))
    await worker.ingest(*(event_of(number) for number in range(1, 6)))

    wants = [Want(QUEUE, 2, QUEUE), Want(OTHER, 4, OTHER), Want("nobody", 3, "nobody")]
    found = await worker.store.submit(ClaimRequest(wants, worker.now))

    partitions = [claim.job.partition for claim in found.claimed]
    assert (partitions.count(QUEUE), partitions.count(OTHER)) == (2, 4)
    assert dict(found.next_due) == {QUEUE: T0, OTHER: T0, "nobody": None}
    assert sorted(await worker.store.partitions()) == [QUEUE, OTHER]


async def test_a_claim_with_no_room_tells_the_next_due_time_only(worker: Worker) -> None:
    await queued(worker, 1)

    found = await worker.store.submit(worker.claiming(QUEUE, limit=0))

    assert found.claimed == []
    assert found.next_due == [(QUEUE, T0 + 1)]


async def test_partitions_are_those_with_jobs_that_nobody_has(worker: Worker) -> None:
    assert await worker.store.partitions() == []
    await queued(worker, 1)
    await worker.ingest(event_of(9, ts=T0 + 99_000))
    assert await worker.store.partitions() == [QUEUE]

    await worker.claim()
    assert await worker.store.partitions() == [QUEUE]  # the one that is due later

    worker.now = T0 + 99_000
    await worker.claim()
    assert await worker.store.partitions() == []


async def test_a_backlog_is_of_due_jobs_that_nobody_has_each_partition_counted_to_a_limit(worker: Worker) -> None:
    async def backlog(partitions_max: int = 10, count_max: int = 10) -> list[tuple[str, int]]:
        found = await worker.store.backlog(now=worker.now, partitions_max=partitions_max, count_max=count_max)
        return sorted(found)

    await worker.sync("other", function_of("other-g", app="other"))
    assert await backlog() == []
    await worker.ingest(*(event_of(number) for number in range(1, 4)))
    await worker.ingest(event_of(9, ts=T0 + 99_000))

    assert await backlog() == [(QUEUE, 3), (OTHER, 3)]
    assert await backlog(count_max=2) == [(QUEUE, 2), (OTHER, 2)]
    assert len(await backlog(partitions_max=1)) == 1

    await worker.claim()
    assert await backlog() == [(QUEUE, 0), (OTHER, 3)]


# -- born leased, only if free --------------------------------------------------------------------------------------


async def test_a_job_is_not_born_leased_while_an_older_one_of_its_partition_waits(worker: Worker) -> None:
    [older] = await queued(worker, 1)
    worker.now += 10

    result, [intake] = await worker.ingest(event_of(2, ts=worker.now), is_leased=True)

    assert result.leased == frozenset()
    [job] = (await worker.state(intake.runs[0].id)).jobs.values()
    assert (job.owner, job.leased_at) == (None, None)
    assert [claim.job.run_id for claim in await worker.claim()] == [older.run_id, intake.runs[0].id]


async def test_an_older_job_that_is_not_due_does_not_stand_in_the_way(worker: Worker) -> None:
    await worker.ingest(event_of(1, ts=T0 + 60_000))

    result, _ = await worker.ingest(event_of(2), is_leased=True)

    assert len(result.leased) == 1


async def test_a_job_of_another_partition_does_not_stand_in_the_way(worker: Worker) -> None:
    await queued(worker, 1)
    await worker.sync("other", function_of("other-g", app="other"))
    worker.now += 10

    result, [intake] = await worker.ingest(event_of(2, ts=worker.now), is_leased=True)

    other = next(job for job in intake.jobs if job.partition == OTHER)
    assert result.leased == {(other.run_id, other.id)}


async def test_a_leased_older_job_does_not_stand_in_the_way(worker: Worker) -> None:
    await worker.run(event_of(1))
    worker.now += 10

    result, _ = await worker.ingest(event_of(2, ts=worker.now), is_leased=True)

    assert len(result.leased) == 1


async def test_a_follow_up_keeps_the_age_of_its_run_and_is_not_overtaken(worker: Worker) -> None:
    run, job = await worker.run(event_of(1))
    await queued(worker, 2, first=2)
    transition = worker.transition(await worker.state(run.id), job, ops(op("StepRun", "a", data=1)), is_leased=True)

    result = await worker.store.submit(worker.commit(transition))

    assert result.leased == {(run.id, transition.jobs[0].id)}


async def test_jobs_of_one_statement_do_not_stand_in_each_others_way(worker: Worker) -> None:
    result, _ = await worker.ingest(*(event_of(number) for number in range(1, 300)), is_leased=True)

    assert len(result.leased) == 299


# -- releases -------------------------------------------------------------------------------------------------------


async def test_a_released_job_can_be_claimed_again_and_its_old_lease_is_void(worker: Worker) -> None:
    run, job = await worker.run(event_of())

    await worker.store.submit(ReleaseRequest([job]))

    [claim] = await worker.claim()
    assert claim.job.generation > job.generation
    assert claim.job.lost_count == 0
    transition = worker.transition(await worker.state(run.id), job, error())
    assert (await worker.store.submit(worker.commit(transition))).verdict == "lost"


async def test_a_release_passes_over_jobs_that_are_not_ours_any_more(worker: Worker) -> None:
    one, one_job = await worker.run(event_of(1))
    two, two_job = await worker.run(event_of(2))
    three, three_job = await worker.run(event_of(3))
    await worker.reply(one.id, one_job, ops(op("StepRun", "a", data=1)), is_leased=True)
    await worker.store.submit(ReleaseRequest([two_job]))
    await worker.claim()
    gone = msgspec.structs.replace(one_job, run_id=RunId("01X" + "0" * 23))

    await worker.store.submit(ReleaseRequest([one_job, two_job, three_job, gone]))

    owners = {id: [job.owner for job in (await worker.state(id)).jobs.values()] for id in (one.id, two.id, three.id)}
    assert owners == {one.id: [worker.store.replica_id], two.id: [worker.store.replica_id], three.id: [None]}


async def test_releasing_twice_changes_nothing(worker: Worker, database: Database) -> None:
    _, job = await worker.run(event_of())
    await worker.store.submit(ReleaseRequest([job]))
    before = database.query("select owner, generation from job")

    await worker.store.submit(ReleaseRequest([job]))

    assert database.query("select owner, generation from job") == before


async def test_a_release_and_a_claim_of_one_transaction_hand_the_job_over(worker: Worker) -> None:
    _, job = await worker.run(event_of())

    _, found = await worker.submit_together([ReleaseRequest([job]), worker.claiming(QUEUE, limit=1)])

    assert isinstance(found, Result)
    assert [claim.job.id for claim in found.claimed] == [job.id]
