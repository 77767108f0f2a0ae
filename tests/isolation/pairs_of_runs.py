"""Two writers of the same runs: replies, ends of sleeps, cancellations. One at a time, each from the newest version."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from stepwell.engine.core.jobs import attempt_id
from stepwell.engine.core.model import JobKind, RunStatus
from stepwell.engine.core.partition import TIMERS
from stepwell.protocol.event import FINISHED
from stepwell.protocol.sync import Trigger
from stepwell.store.request import Verdict
from tests.isolation.acting import (
    answering,
    attempts,
    begin,
    cancelling,
    commit,
    commit_together,
    finishing,
    run_of_a_group,
    statuses,
    waking,
)
from tests.isolation.stepping import Order
from tests.isolation.world import Case, World
from tests.unit.engine.making import event_of, function_of, op, ops, result, step_id


async def two_steps_of_a_group(world: World) -> Case:
    """Commit/commit: both steps are in the memo, once, and exactly one discovery follows."""
    one, two = await begin(world, "one", "two")
    state, [a, b] = await run_of_a_group(one, "a", "b")
    await world.rows("update job set owner = 'two' where id = ?", b.id)
    b = msgspec.structs.replace(b, owner=two.store.replica_id)
    state.put(b)

    async def promise(order: Order) -> None:
        assert order.results == [Verdict.COMMITTED, Verdict.COMMITTED]
        after = await one.state(state.run.id)
        assert sorted(after.stack) == sorted([step_id("a"), step_id("b")])
        assert [job.kind for job in after.jobs.values()] == [JobKind.DISCOVER]

    return Case(
        [
            lambda: commit(one, state, finishing(one, a)),
            lambda: commit(two, state, finishing(two, b)),
        ],
        promise,
    )


async def a_step_and_the_end_of_a_sleep(world: World) -> Case:
    """Commit/fire: both are in the memo, once, and exactly one discovery follows."""
    one, two = await begin(world, "one", "two")
    state, [a, _] = await run_of_a_group(one, "a", "sleep")
    one.now = two.now = one.now + 3_600_000
    [timer] = await two.claim(TIMERS)
    state = await one.state(state.run.id)

    async def promise(order: Order) -> None:
        assert order.results == [Verdict.COMMITTED, Verdict.COMMITTED]
        after = await one.state(state.run.id)
        assert sorted(after.stack) == sorted([step_id("a"), step_id("sleep")])
        assert [job.kind for job in after.jobs.values()] == [JobKind.DISCOVER]

    return Case(
        [
            lambda: commit(one, state, finishing(one, a)),
            lambda: commit(two, state, waking(two, timer.job)),
        ],
        promise,
    )


async def a_commit_and_its_repetition(world: World) -> Case:
    """Commit/commit of one transition by two writers of one replica, as after a lost answer: it counts once."""
    one, again = await begin(world, "one", "one")
    run, job = await one.run(event_of())
    state = await one.state(run.id)
    reply = ops(op("StepRun", "a", data=1), op("StepPlanned", "b"))

    async def promise(order: Order) -> None:
        assert sorted(order.results) == [Verdict.COMMITTED, Verdict.LOST]
        after = await one.state(run.id)
        assert (after.run.version, after.stack) == (1, [step_id("a")])
        assert await attempts(world, run.id) == [(attempt_id(job), "ok")]

    return Case(
        [
            lambda: commit(one, state, answering(one, job, reply)),
            lambda: commit(again, state, answering(again, job, reply)),
        ],
        promise,
    )


async def a_step_and_a_cancellation(world: World) -> Case:
    """Commit/cancel: the run is cancelled; the step is in the memo or its attempt is lost; no job is left."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(event_of())
    state = await one.state(run.id)

    async def promise(order: Order) -> None:
        verdict, cancelled = order.results
        assert cancelled is Verdict.COMMITTED
        after = await one.state(run.id)
        assert after.run.status is RunStatus.CANCELLED
        is_committed = verdict is Verdict.COMMITTED
        assert after.stack == ([step_id("a")] if is_committed else [])
        assert await attempts(world, run.id) == [(attempt_id(job), "ok" if is_committed else "lost")]

    reply = ops(op("StepRun", "a", data=1), op("StepPlanned", "b"))
    return Case(
        [
            lambda: commit(one, state, answering(one, job, reply)),
            lambda: commit(two, state, cancelling(two)),
        ],
        promise,
    )


async def a_result_and_a_cancellation(world: World) -> Case:
    """Commit/cancel: the run ends once, as the winner says; and once it is told that it ended."""
    listener = function_of("app-ends", triggers=[Trigger(event=FINISHED)])
    one, two = await begin(world, "one", "two", functions=[function_of(), listener])
    run, job = await one.run(event_of())
    state = await one.state(run.id)

    async def promise(order: Order) -> None:
        assert sorted(order.results) == [Verdict.COMMITTED, Verdict.LOST]
        after = await one.state(run.id)
        has_result = order.results[0] is Verdict.COMMITTED
        assert after.run.status is (RunStatus.COMPLETED if has_result else RunStatus.CANCELLED)
        assert after.run.output == (b'"done"' if has_result else b"{}")
        assert await world.rows("select count(*) from event where name = ?", FINISHED) == [(1,)]
        assert await world.rows("select count(*) from run where function_id = ?", listener.id) == [(1,)]

    return Case(
        [
            lambda: commit(one, state, answering(one, job, result(b'"done"'))),
            lambda: commit(two, state, cancelling(two)),
        ],
        promise,
    )


async def two_cancellations(world: World) -> Case:
    """Cancel/cancel: the run is cancelled once."""
    one, two = await begin(world, "one", "two")
    state, _ = await run_of_a_group(one, "a", "b")

    async def promise(order: Order) -> None:
        assert sorted(order.results) == [Verdict.COMMITTED, Verdict.LOST]
        assert await world.rows("select count(*) from event where name like '%cancelled'") == [(1,)]

    return Case(
        [
            lambda: commit(one, state, cancelling(one)),
            lambda: commit(two, state, cancelling(two)),
        ],
        promise,
    )


async def a_claim_and_a_cancellation(world: World) -> Case:
    """Claim/cancel: whoever claims the job of a run that is being cancelled changes nothing by its reply."""
    one, two = await begin(world, "one", "two")
    _, [intake] = await one.ingest(event_of())
    state = await two.state(intake.runs[0].id)

    async def claim_and_work() -> Verdict | None:
        for claimed in await one.claim():
            newest = await one.state(claimed.job.run_id)
            return await commit(one, newest, answering(one, claimed.job, result()))
        return None

    async def promise(order: Order) -> None:
        verdict, cancelled = order.results
        assert (verdict is Verdict.COMMITTED) != (cancelled is Verdict.COMMITTED)
        after = await one.state(state.run.id)
        assert after.run.status is (RunStatus.CANCELLED if cancelled is Verdict.COMMITTED else RunStatus.COMPLETED)

    return Case([claim_and_work, lambda: commit(two, state, cancelling(two))], promise)


async def batches_of_the_same_runs(world: World) -> Case:
    """Two transactions that write the same two runs, named in opposite order: none is the victim of a deadlock."""
    one, two = await begin(world, "one", "two")
    first, [a, _] = await run_of_a_group(one, "a", "b", number=1)
    second, [c, _] = await run_of_a_group(one, "c", "d", number=2)

    async def promise(order: Order) -> None:
        verdicts, cancelled = order.results
        assert cancelled == [Verdict.COMMITTED, Verdict.COMMITTED]
        for state, step, verdict in zip((first, second), ("a", "c"), verdicts, strict=True):
            after = await one.state(state.run.id)
            assert after.run.status is RunStatus.CANCELLED
            assert after.stack == ([step_id(step)] if verdict is Verdict.COMMITTED else [])

    return Case(
        [
            lambda: commit_together(one, [(first, finishing(one, a)), (second, finishing(one, c))]),
            lambda: commit_together(two, [(second, cancelling(two)), (first, cancelling(two))]),
        ],
        promise,
    )


async def batches_of_all_kinds(world: World) -> Case:
    """Two transactions that each take in an event, commit to a run and end the other's run: no deadlock, all is done."""
    one, two = await begin(world, "one", "two")
    first, [a, _] = await run_of_a_group(one, "a", "b", number=1)
    second, [c, _] = await run_of_a_group(one, "c", "d", number=2)
    await world.rows("update job set owner = 'two' where run_id = ?", second.run.id)
    c = msgspec.structs.replace(c, owner=two.store.replica_id)
    second = await two.state(second.run.id)
    sent = [one.intake(event_of(3, id="x")), one.intake(event_of(4, id="y"))]
    sent_again = [two.intake(event_of(5, id="y")), two.intake(event_of(6, id="x"))]

    async def promise(order: Order) -> None:
        [stepped, ended], [stepped_too, ended_too] = order.results
        assert ended is ended_too is Verdict.COMMITTED
        for state, step, verdict in ((first, "a", stepped), (second, "c", stepped_too)):
            after = await one.state(state.run.id)
            assert after.run.status is RunStatus.CANCELLED
            assert after.stack == ([step_id(step)] if verdict is Verdict.COMMITTED else [])
        assert await statuses(world) == ["cancelled", "cancelled", "queued", "queued", "skipped", "skipped"]

    return Case(
        [
            lambda: commit_together(one, [(first, finishing(one, a)), (second, cancelling(one))], one.ingestion(*sent)),
            lambda: commit_together(
                two, [(second, finishing(two, c)), (first, cancelling(two))], two.ingestion(*sent_again)
            ),
        ],
        promise,
    )


async def an_ingest_and_a_cancellation(world: World) -> Case:
    """Ingest/cancel in one transaction, against the same the other way round: no deadlock, all is done."""
    one, two = await begin(world, "one", "two")
    first, _ = await run_of_a_group(one, "a", number=1)
    second, _ = await run_of_a_group(one, "b", number=2)
    sent = one.ingestion(one.intake(event_of(3, id="x"), is_leased=True))
    sent_again = two.ingestion(two.intake(event_of(4, id="x"), is_leased=True))

    async def promise(order: Order) -> None:
        assert order.results == [[Verdict.COMMITTED], [Verdict.COMMITTED]]
        assert await statuses(world) == ["cancelled", "cancelled", "queued", "skipped"]

    return Case(
        [
            lambda: commit_together(one, [(first, cancelling(one))], sent),
            lambda: commit_together(two, [(second, cancelling(two))], sent_again),
        ],
        promise,
    )


async def an_end_and_a_registration(world: World) -> Case:
    """Commit/sync: an end that is told after a function was registered for it starts that function."""
    one, two = await begin(world, "one", "two")
    listener = function_of("other-ends", app="other", triggers=[Trigger(event=FINISHED)])
    run, job = await one.run(event_of())
    state = await one.state(run.id)

    async def promise(order: Order) -> None:
        assert order.results[0] is Verdict.COMMITTED
        rows = await world.rows("select status from run where function_id = ?", listener.id)
        is_after = order.place("two: commit") < order.place("one: replica_fence", is_last=True)
        assert rows == ([("queued",)] if is_after else [])

    return Case(
        [
            lambda: commit(one, state, answering(one, job, result())),
            lambda: two.store.submit(two.registration("other", listener)),
        ],
        promise,
    )


PAIRS: Final[tuple[Callable[[World], Awaitable[Case]], ...]] = (
    two_steps_of_a_group,
    a_step_and_the_end_of_a_sleep,
    a_commit_and_its_repetition,
    a_step_and_a_cancellation,
    a_result_and_a_cancellation,
    two_cancellations,
    a_claim_and_a_cancellation,
    batches_of_the_same_runs,
    batches_of_all_kinds,
    an_ingest_and_a_cancellation,
    an_end_and_a_registration,
)
