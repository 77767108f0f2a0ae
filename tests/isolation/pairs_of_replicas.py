"""Two replicas and the queue: claims, the reaper, the drain, orphans. Each job is somebody's, and only one's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import Job, JobKind
from stepwell.engine.core.partition import TIMERS
from stepwell.protocol.ids import FunctionId, RunId
from stepwell.store.found import Sample
from stepwell.store.interface import Fenced
from stepwell.store.request import (
    BeatRequest,
    Claimed,
    LeaveRequest,
    ReapRequest,
    ReleaseRequest,
    Result,
    SampleRequest,
    Verdict,
)
from tests.isolation.acting import (
    SILENT_MS,
    answering,
    attempts,
    begin,
    cancelling,
    commit,
    commit_together,
    finishing,
    is_there,
    reap,
    run_of_a_group,
    together,
)
from tests.isolation.stepping import Order
from tests.isolation.world import Case, World
from tests.store.database import QUEUE, Worker
from tests.unit.engine.making import event_of, op, ops, step_id


async def jobs_of(world: World) -> list[tuple[Any, ...]]:
    """Return who has which job: run, job, owner, generation, lost attempts in a row."""
    return await world.rows("select run_id, id, owner, generation, lost_count from job order by run_id, id")


async def free_jobs(worker: Worker, count: int) -> list[Job]:
    """Start runs whose jobs nobody has, due one millisecond after the other."""
    jobs: list[Job] = []
    for number in range(1, count + 1):
        _, [intake] = await worker.ingest(event_of(number, ts=worker.now + number))
        jobs += intake.jobs
    worker.now += count
    return jobs


# -- the reaper -------------------------------------------------------------------------------------------------------


async def a_commit_and_the_reaper(world: World) -> Case:
    """Commit/reap: the commit is there whole and its follow-up in good hands, or it is fenced and its job is released."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(event_of())
    state = await one.state(run.id)
    await world.silence(one)

    async def promise(order: Order) -> None:
        verdict = order.results[0]
        is_reaped = not await is_there(world, one)
        after = await two.state(run.id)
        [left] = after.jobs.values()
        if isinstance(verdict, Fenced):
            assert is_reaped
            assert after.stack == []
            assert (left.id, left.owner, left.generation, left.lost_count) == (job.id, None, job.generation + 1, 1)
            assert await attempts(world, run.id) == [(attempt_id(job), "lost")]
            return
        assert verdict is Verdict.COMMITTED
        assert after.stack == [step_id("a")]
        assert left.kind is JobKind.DISCOVER
        expected = (None, 2) if is_reaped else ("one", 1)
        assert (left.owner, left.generation) == expected, "a release raises the generation"
        await reap(two)
        [left] = (await two.state(run.id)).jobs.values()
        assert (left.owner, left.generation) == (None, 2), "a release raises the generation"

    return Case(
        [lambda: commit(one, state, answering(one, job, ops(op("StepRun", "a", data=1)))), lambda: reap(two)], promise
    )


async def an_ingest_and_the_reaper(world: World) -> Case:
    """Ingest/reap: an event that was accepted has a run whose job isn't left with the dead."""
    one, two = await begin(world, "one", "two")
    await world.silence(one)
    request = one.ingestion(one.intake(event_of(), is_leased=True))

    async def promise(order: Order) -> None:
        is_fenced = isinstance(order.results[0], Fenced)
        assert len(await world.rows("select id from event")) == (0 if is_fenced else 1)
        await reap(two)
        assert [row[2:4] for row in await jobs_of(world)] == ([] if is_fenced else [(None, 2)])

    return Case([lambda: one.store.submit(request), lambda: reap(two)], promise)


async def a_late_commit_and_the_take_over(world: World) -> Case:
    """A paused replica's commit/reap, claim and commit by another: the step has one result, the winner's."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(event_of())
    state = await one.state(run.id)
    await world.silence(one)

    async def take_over() -> Verdict | None:
        await reap(two)
        for claimed in await two.claim():
            newest = await two.state(run.id)
            reply = ops(op("StepRun", "b" if newest.stack else "a", data=2))
            return await commit(two, newest, answering(two, claimed.job, reply))
        return None

    async def promise(order: Order) -> None:
        late, taken_over = order.results
        after = await two.state(run.id)
        memo = {step: after.memo[step_id(step)] for step in ("a", "b") if step_id(step) in after.memo}
        assert taken_over in {Verdict.COMMITTED, None}
        if late is Verdict.COMMITTED:
            assert memo == {"a": b'{"data":1}'} | ({} if taken_over is None else {"b": b'{"data":2}'})
        else:
            assert isinstance(late, Fenced)
            assert memo == {"a": b'{"data":2}'}
            assert taken_over is Verdict.COMMITTED

    reply = ops(op("StepRun", "a", data=1))
    return Case([lambda: commit(one, state, answering(one, job, reply)), take_over], promise)


async def a_step_and_the_reaper_of_its_sibling(world: World) -> Case:
    """Commit/reap of another job of the run: the step is in the memo, and its sibling is free, once."""
    one, two, dead = await begin(world, "one", "two", "dead")
    state, [a, b] = await run_of_a_group(one, "a", "b")
    await world.rows("update job set owner = 'dead' where id = ?", b.id)
    await world.silence(dead)
    state = await one.state(state.run.id)

    async def promise(order: Order) -> None:
        assert order.results[0] is Verdict.COMMITTED
        assert (await one.state(state.run.id)).stack == [step_id("a")]
        assert await jobs_of(world) == [(state.run.id, b.id, None, b.generation + 1, 1)]

    return Case([lambda: commit(one, state, finishing(one, a)), lambda: reap(two)], promise)


async def cancellations_and_the_reaper(world: World) -> Case:
    """Cancel/reap, of two runs whose jobs the dead had: no job is left, and no deadlock."""
    one, two, dead = await begin(world, "one", "two", "dead")
    states = [(await run_of_a_group(one, "a", "b", number=number))[0] for number in (1, 2)]
    await world.rows("update job set owner = 'dead'")
    await world.silence(dead)

    async def promise(order: Order) -> None:
        assert order.results[0] == [Verdict.COMMITTED, Verdict.COMMITTED]
        assert await jobs_of(world) == []

    changes = [(state, cancelling(one)) for state in reversed(states)]
    return Case([lambda: commit_together(one, changes), lambda: reap(two)], promise)


async def two_reapers(world: World) -> Case:
    """Reap/reap: a dead replica's jobs are released once, each with one lost attempt."""
    one, two, dead = await begin(world, "one", "two", "dead")
    state, [a, b] = await run_of_a_group(one, "a", "b")
    await world.rows("update job set owner = 'dead'")
    await world.silence(dead)

    async def promise(_order: Order) -> None:
        assert not await is_there(world, dead)
        run_id = state.run.id
        assert await jobs_of(world) == [(run_id, job.id, None, job.generation + 1, 1) for job in (a, b)]
        lost = [id for id, outcome in await attempts(world, run_id) if outcome == "lost"]
        assert lost == [attempt_id(job) for job in (a, b)]

    return Case([lambda: reap(one), lambda: reap(two)], promise)


async def a_beat_and_the_reaper(world: World) -> Case:
    """Beat/reap: a replica that has beaten keeps its jobs; one that was reaped knows, and has none."""
    one, two = await begin(world, "one", "two")
    _, job = await one.run(event_of())
    await world.silence(one)

    async def promise(order: Order) -> None:
        is_reaped = not await is_there(world, one)
        assert isinstance(order.results[0], Fenced) is is_reaped, "a replica was reaped though it has beaten"
        [(_, _, owner, generation, _)] = await jobs_of(world)
        assert (owner, generation) == ((None, job.generation + 1) if is_reaped else ("one", job.generation))

    return Case([lambda: one.store.submit(BeatRequest(SILENT_MS)), lambda: reap(two)], promise)


async def two_that_take_each_other_for_dead(world: World) -> Case:
    """Beat and reap/beat and reap, after a pause of both: one of them lives on, at least."""
    one, two = await begin(world, "one", "two")
    await one.run(event_of(1))
    await two.run(event_of(2))
    await world.silence(one)
    await world.silence(two)

    async def promise(order: Order) -> None:
        fenced = [isinstance(found, Fenced) for found in order.results]
        assert fenced == [not await is_there(world, one), not await is_there(world, two)]
        assert not all(fenced)

    def beat_and_reap(worker: Worker) -> Any:
        return lambda: together(worker, BeatRequest(SILENT_MS), ReapRequest(SILENT_MS, worker.now))

    return Case([beat_and_reap(one), beat_and_reap(two)], promise)


# -- claims -----------------------------------------------------------------------------------------------------------


def keys(found: Result | Fenced) -> set[tuple[RunId, str]]:
    """Return what a claim got."""
    return set() if isinstance(found, Fenced) else {(claimed.job.run_id, claimed.job.id) for claimed in found.claimed}


async def two_claims(world: World) -> Case:
    """Claim/claim: no job is leased twice; one that nobody got is told of, and got by the next claim."""
    one, two = await begin(world, "one", "two")
    jobs = await free_jobs(one, 3)
    request = one.claiming(QUEUE, limit=2)

    async def promise(order: Order) -> None:
        first, second = order.results
        assert keys(first).isdisjoint(keys(second)), "a job was claimed twice"
        assert len(keys(first) | keys(second)) == 3
        assert await one.claim() == []
        assert {(job.run_id, job.id) for job in jobs} == keys(first) | keys(second)

    return Case([lambda: one.store.submit(request), lambda: two.store.submit(request)], promise)


async def two_claims_of_less(world: World) -> Case:
    """Claim/claim that leave a job: at least one of them hears that there is one."""
    one, two = await begin(world, "one", "two")
    jobs = await free_jobs(one, 3)
    request = one.claiming(QUEUE, limit=1)

    async def promise(order: Order) -> None:
        first, second = order.results
        assert len(keys(first) | keys(second)) == 2
        assert keys(first) | keys(second) == {(job.run_id, job.id) for job in jobs[:2]}
        assert any(due is not None and due <= one.now for found in (first, second) for _, due in found.next_due)
        assert [claimed.job.run_id for claimed in await one.claim()] == [jobs[2].run_id]

    return Case([lambda: one.store.submit(request), lambda: two.store.submit(request)], promise)


async def a_claim_and_the_reaper(world: World) -> Case:
    """Claim/reap of the claimer: what it got is released again, or it got nothing."""
    one, two = await begin(world, "one", "two")
    await free_jobs(one, 2)
    two.now = one.now
    await world.silence(one)

    async def promise(order: Order) -> None:
        found, _ = order.results
        is_reaped = not await is_there(world, one)
        if isinstance(found, Fenced):
            expected = (None, 0)
        else:
            assert len(found.claimed) == 2
            expected = (None, 2) if is_reaped else ("one", 1)
        assert [row[2:4] for row in await jobs_of(world)] == [expected, expected]
        await reap(two)
        assert len(await two.claim()) == 2

    return Case([lambda: one.store.submit(one.claiming(QUEUE, TIMERS, limit=9)), lambda: reap(two)], promise)


async def a_claim_and_the_reaper_of_another(world: World) -> Case:
    """Claim/reap: what the dead had is claimed as soon as it is released, and not before."""
    one, two, dead = await begin(world, "one", "two", "dead")
    run, job = await one.run(event_of())
    await world.rows("update job set owner = 'dead'")
    await world.silence(dead)

    async def promise(order: Order) -> None:
        found, _ = order.results
        is_claimed = order.place("two: commit") < order.place("one: job_claim")
        assert [claimed.job.run_id for claimed in found.claimed] == ([run.id] if is_claimed else [])
        owner, generation = ("one", job.generation + 2) if is_claimed else (None, job.generation + 1)
        assert await jobs_of(world) == [(run.id, job.id, owner, generation, 1)]
        # Who came too early looks again, since the reaper tells all that there is work.

    return Case([lambda: one.store.submit(one.claiming(QUEUE, TIMERS, limit=9)), lambda: reap(two)], promise)


async def an_ingest_and_a_claim(world: World) -> Case:
    """Ingest/claim: a job that is born leased is nobody else's; one that isn't, is claimed or waits."""
    one, two = await begin(world, "one", "two")
    [older] = await free_jobs(one, 1)
    two.now = one.now = one.now + 1
    intake = one.intake(event_of(2, ts=one.now), is_leased=True)
    [job] = intake.jobs

    async def promise(order: Order) -> None:
        ingested, claimed = order.results
        got = keys(claimed)
        assert (older.run_id, older.id) in got
        assert not ingested.leased & got
        [owner] = [row[2] for row in await jobs_of(world) if row[0] == job.run_id]
        is_leased = (job.run_id, job.id) in ingested.leased
        assert owner == ("one" if is_leased else "two" if (job.run_id, job.id) in got else None)

    return Case(
        [
            lambda: one.store.submit(one.ingestion(intake)),
            lambda: two.store.submit(two.claiming(QUEUE, TIMERS, limit=9)),
        ],
        promise,
    )


# -- drain and orphans ------------------------------------------------------------------------------------------------


async def a_drain_and_a_claim(world: World) -> Case:
    """Release and leave/claim: what hasn't begun uses up nothing, what has is lost, and all of it finds a new owner."""
    one, two = await begin(world, "one", "two")
    (run, waiting), (other, begun) = [await one.run(event_of(number)) for number in (1, 2)]

    async def drain() -> None:
        await one.store.submit(ReleaseRequest([waiting]))
        await one.store.submit(LeaveRequest(one.now))

    async def promise(order: Order) -> None:
        assert not await is_there(world, one)
        claims: list[Claimed] = [*order.results[1], *await two.claim()]
        assert sorted((claimed.job.run_id, claimed.job.lost_count) for claimed in claims) == [
            (run.id, 0),
            (other.id, 1),
        ]
        assert await attempts(world, run.id) == []
        assert await attempts(world, other.id) == [(attempt_id(begun), "lost")]
        assert [row[2:4] for row in await jobs_of(world)] == [("two", 3), ("two", 3)]

    return Case([drain, two.claim], promise)


async def a_leave_and_a_commit(world: World) -> Case:
    """Leave/commit by another writer of the replica: the commit is there whole and its follow-up free, or it is fenced."""
    one, writer, two = await begin(world, "one", "one", "two")
    run, job = await one.run(event_of())
    state = await one.state(run.id)
    reply = ops(op("StepRun", "a", data=1))

    async def promise(order: Order) -> None:
        verdict = order.results[1]
        after = await two.state(run.id)
        assert after.stack == ([] if isinstance(verdict, Fenced) else [step_id("a")])
        [left] = after.jobs.values()
        assert (left.owner, left.generation) == (None, 2)

    return Case(
        [lambda: one.store.submit(LeaveRequest(one.now)), lambda: commit(writer, state, answering(writer, job, reply))],
        promise,
    )


async def a_release_with_the_leave_and_a_commit(world: World) -> Case:
    """Release and leave in one transaction/commit of the same job: they may lock each other out, and one begins anew."""
    one, writer, two = await begin(world, "one", "one", "two")
    run, job = await one.run(event_of())
    state = await one.state(run.id)
    reply = ops(op("StepRun", "a", data=1))

    async def promise(order: Order) -> None:
        verdict = order.results[1]
        after = await two.state(run.id)
        assert after.stack == ([step_id("a")] if verdict is Verdict.COMMITTED else [])
        [left] = after.jobs.values()
        assert (left.owner, left.generation) == (None, 2)

    return Case(
        [
            lambda: together(one, ReleaseRequest([job]), LeaveRequest(one.now)),
            lambda: commit(writer, state, answering(writer, job, reply)),
        ],
        promise,
        may_deadlock=True,
    )


async def an_adoption_and_a_commit(world: World) -> Case:
    """Release of an orphan, and claim by the same replica/its commit after all: the commit is whole, or it is lost."""
    one, again = await begin(world, "one", "one")
    run, job = await one.run(event_of())
    state = await one.state(run.id)

    async def adopt() -> tuple[Result, Verdict | None]:
        await again.store.submit(ReleaseRequest([job], is_lost=True))
        return await work_on_what_is_due()

    async def work_on_what_is_due() -> tuple[Result, Verdict | None]:
        found = await again.store.submit(again.claiming(QUEUE, limit=9))
        for claimed in found.claimed:
            newest = await again.state(run.id)
            reply = ops(op("StepRun", "a", data=2))
            return found, await commit(again, newest, answering(again, claimed.job, reply))
        return found, None

    async def promise(order: Order) -> None:
        late, (found, adopted) = order.results
        if late is Verdict.LOST and adopted is None:
            # The late commit was looking at the row, so the claim passed it over, and heard that there is more.
            assert found.next_due == [(QUEUE, job.due_at)]
            _, adopted = await work_on_what_is_due()
        outcomes = {(Verdict.COMMITTED, None), (Verdict.LOST, Verdict.COMMITTED)}
        assert (late, adopted) in outcomes, "the commit ended a lease that isn't its own"
        is_late = late is Verdict.LOST
        after = await one.state(run.id)
        assert after.memo == {step_id("a"): b'{"data":2}' if is_late else b'{"data":1}'}
        assert (attempt_id(job), "lost" if is_late else "ok") in await attempts(world, run.id)

    reply = ops(op("StepRun", "a", data=1))
    return Case([lambda: commit(one, state, answering(one, job, reply)), adopt], promise)


async def two_releases(world: World) -> Case:
    """Release of an orphan/release and new claim of the same job: a release that comes late takes nothing away."""
    one, again, two = await begin(world, "one", "one", "two")
    run, job = await one.run(event_of())

    async def release_and_claim() -> Result:
        await again.store.submit(ReleaseRequest([job]))
        return await again.store.submit(again.claiming(QUEUE, limit=9))

    async def promise(order: Order) -> None:
        found: Result = order.results[1]
        if not found.claimed:  # the other release was looking at the row
            assert found.next_due == [(QUEUE, job.due_at)]
        [claimed] = found.claimed or await again.claim()
        assert claimed.job == msgspec.structs.replace(job, generation=3, lost_count=claimed.job.lost_count)
        expected = [(run.id, job.id, "one", 3, claimed.job.lost_count)]
        assert await jobs_of(world) == expected, "the late release took the new lease away"
        assert await two.claim() == []

    return Case([lambda: one.store.submit(ReleaseRequest([job], is_lost=True)), release_and_claim], promise)


async def two_samples(world: World) -> Case:
    """Sample/sample of the same minutes, in opposite order: of each the most is kept."""
    one, two = await begin(world, "one", "two")
    seen = [Sample(FunctionId(id), 0, backlog, 5 - backlog) for id, backlog in (("f", 1), ("g", 2))]
    also = [Sample(FunctionId(id), 0, backlog, 5 - backlog) for id, backlog in (("g", 1), ("f", 2))]

    async def promise(_order: Order) -> None:
        kept = await world.rows("select function_id, backlog, running from sample order by function_id")
        assert kept == [("f", 2, 4), ("g", 2, 4)]

    return Case([lambda: one.store.submit(SampleRequest(seen)), lambda: two.store.submit(SampleRequest(also))], promise)


PAIRS: Final[tuple[Callable[[World], Awaitable[Case]], ...]] = (
    a_commit_and_the_reaper,
    an_ingest_and_the_reaper,
    a_late_commit_and_the_take_over,
    a_step_and_the_reaper_of_its_sibling,
    cancellations_and_the_reaper,
    two_reapers,
    a_beat_and_the_reaper,
    two_that_take_each_other_for_dead,
    two_claims,
    two_claims_of_less,
    a_claim_and_the_reaper,
    a_claim_and_the_reaper_of_another,
    an_ingest_and_a_claim,
    a_drain_and_a_claim,
    a_leave_and_a_commit,
    a_release_with_the_leave_and_a_commit,
    an_adoption_and_a_commit,
    two_releases,
    two_samples,
)
