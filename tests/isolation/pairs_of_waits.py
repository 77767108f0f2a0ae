"""Two at one wait: its beginning, what ends it, its time-out, the end of its run. It ends once, and nothing slips past."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from stepwell.engine.core.change import Policy
from stepwell.engine.core.model import Function, Job, JobKind, Run
from stepwell.engine.core.partition import TIMERS
from stepwell.engine.core.run import checkpoint
from stepwell.engine.core.state import RunState
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import CancelConfig, Trigger
from stepwell.store.request import DropRequest, Result, SignalRequest, Verdict
from tests.isolation.acting import answering, begin, cancelling, commit, reap, waking
from tests.isolation.stepping import Order
from tests.isolation.world import Case, World
from tests.store.database import Worker
from tests.unit.engine.making import DEV, function_of, op, ops, result, step_id, ulid

HOUR: Final = 3_600_000


def with_rules(slug: str = "app-f", *, event: str = "a", **config: Any) -> Function:
    function = function_of(slug, triggers=[Trigger(event=event)])
    return msgspec.structs.replace(function, config=msgspec.structs.replace(function.config, **config))


def waiting_reply(code: str = "WaitForEvent", **opts: Any) -> Any:
    """Make the reply of a function that waits for an hour: for the event ``b``, where nothing else is said."""
    opts = {"timeout": "1h", **({"event": "b"} if code == "WaitForEvent" else {}), **opts}
    return ops(op(code, "w", opts=opts))


async def waiting(worker: Worker, number: int = 1, code: str = "WaitForEvent", **opts: Any) -> Run:
    """Start a run that waits."""
    run, job = await worker.run(worker.event(number))
    await worker.carry_out(run.id, job, waiting_reply(code, **opts))
    return run


async def ended_by(world: World, run_id: RunId) -> list[Any]:
    """Return by which events the waits of a run, which have not been applied yet, were ended."""
    rows = await world.rows("select resolved_by from job where run_id = ? and kind = 'wait'", run_id)
    return [row[0] for row in rows]


def resumed(order: Order) -> int:
    """Count how often the sides were told that a run goes on."""
    return sum(len(found.resumed) for found in order.results if isinstance(found, Result))


# -- events -----------------------------------------------------------------------------------------------------------


async def a_wait_that_looks_back_and_its_event(world: World) -> Case:
    """Commit/ingest: whichever comes first, the event ends the wait."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(one.event(1))
    one.now = two.now = one.now + 10
    event = two.event(2, "b")
    wait = one.carrying_out(one.transition(await one.state(run.id), job, waiting_reply(since="run_start")))
    sent = two.ingestion(two.intake(event))

    async def promise(order: Order) -> None:
        assert await ended_by(world, run.id) == [event.id], "the event slipped past the wait"
        assert resumed(order) == 1

    return Case([lambda: one.store.submit(wait), lambda: two.store.submit(sent)], promise)


async def a_wait_and_its_event(world: World) -> Case:
    """Commit/ingest without looking back: an event that came after the wait began ends it."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(one.event(1))
    event = two.event(2, "b")
    wait = one.carrying_out(one.transition(await one.state(run.id), job, waiting_reply()))
    sent = two.ingestion(two.intake(event))

    async def promise(order: Order) -> None:
        found = await ended_by(world, run.id)
        assert found in ([event.id], [None])
        assert resumed(order) == (found == [event.id])
        if order.place("one: commit") < order.place("two: event_insert"):
            assert found == [event.id]

    return Case([lambda: one.store.submit(wait), lambda: two.store.submit(sent)], promise)


async def an_event_and_the_time_out(world: World) -> Case:
    """Ingest/fire: the wait ends by one of them, and only one counts."""
    one, two = await begin(world, "one", "two")
    run = await waiting(one)
    event = one.event(2, "b")
    two.now += HOUR
    [claimed] = await two.claim(TIMERS)
    state = await two.state(run.id)
    sent = one.ingestion(one.intake(event))

    async def promise(order: Order) -> None:
        found, verdict = order.results
        state = await two.state(run.id)
        if found.resumed:
            assert verdict is Verdict.LOST, "the wait ended twice"
            assert await ended_by(world, run.id) == [event.id]
            assert state.memo == {}
        else:
            assert verdict is Verdict.COMMITTED
            assert state.memo == {step_id("w"): b"null"}

    return Case([lambda: one.store.submit(sent), lambda: commit(two, state, waking(two, claimed.job))], promise)


async def an_event_and_the_claim_of_the_time_out(world: World) -> Case:
    """Ingest/claim: whoever has the job afterwards has it with the event, or can't end it."""
    one, two = await begin(world, "one", "two")
    run = await waiting(one)
    event = one.event(2, "b")
    two.now += HOUR
    sent = one.ingestion(one.intake(event))

    async def promise(order: Order) -> None:
        assert order.results[0].resumed == (run.id,)
        for claimed in order.results[1].claimed:
            is_ended = claimed.job.resolved_by is not None
            verdict = await commit(two, await two.state(run.id), waking(two, claimed.job))
            assert verdict is (Verdict.COMMITTED if is_ended else Verdict.LOST)
        for claimed in await two.claim(TIMERS):
            assert await commit(two, await two.state(run.id), waking(two, claimed.job)) is Verdict.COMMITTED
        assert (await two.state(run.id)).memo == {step_id("w"): event.body}

    return Case([lambda: one.store.submit(sent), lambda: two.store.submit(two.claiming(TIMERS))], promise)


async def two_events_for_one_wait(world: World) -> Case:
    """Ingest/ingest: one of them ends the wait, once."""
    one, two = await begin(world, "one", "two")
    run = await waiting(one)
    events = [one.event(2, "b"), two.event(3, "b")]
    requests = [worker.ingestion(worker.intake(event)) for worker, event in zip((one, two), events, strict=True)]

    async def promise(order: Order) -> None:
        winners = [event.id for event, found in zip(events, order.results, strict=True) if found.resumed]
        assert len(winners) == 1, "the wait ended twice"
        assert await ended_by(world, run.id) == winners

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


async def events_for_the_same_waits(world: World) -> Case:
    """Ingest/ingest of two names each, in opposite order, that two runs wait for: both go on, once."""
    one, two = await begin(world, "one", "two")
    runs = [await waiting(one, number, event=name) for number, name in ((1, "b"), (2, "c"))]
    first = [one.intake(one.event(number, name)) for number, name in ((3, "b"), (4, "c"))]
    second = [two.intake(two.event(number, name)) for number, name in ((5, "c"), (6, "b"))]

    async def promise(order: Order) -> None:
        assert resumed(order) == 2
        for run in runs:
            [event_id] = await ended_by(world, run.id)
            assert event_id is not None

    return Case(
        [
            lambda: one.store.submit(one.ingestion(*first)),
            lambda: two.store.submit(two.ingestion(*second)),
        ],
        promise,
    )


async def an_event_and_a_cancellation(world: World) -> Case:
    """Ingest/cancel of the run that waits: it is cancelled, and nothing is left of it."""
    one, two = await begin(world, "one", "two")
    run = await waiting(one)
    state = await two.state(run.id)
    sent = one.ingestion(one.intake(one.event(2, "b")))

    async def promise(order: Order) -> None:
        assert order.results[1] is Verdict.COMMITTED
        assert await world.rows("select status from run") == [("cancelled",)]

    return Case([lambda: one.store.submit(sent), lambda: commit(two, state, cancelling(two))], promise)


async def an_event_that_cancels_and_the_end(world: World) -> Case:
    """Ingest of an event that both cancels the run and ends its wait/cancel: what comes too late can be dropped."""
    one, two = await begin(world, "one", "two", functions=[with_rules(cancel=[CancelConfig(event="b")])])
    run = await waiting(one)
    state = await two.state(run.id)
    sent = one.ingestion(one.intake(one.event(2, "b")))

    async def promise(order: Order) -> None:
        assert order.results[1] is Verdict.COMMITTED
        assert await world.rows("select status from run") == [("cancelled",)]
        await two.store.submit(DropRequest([run.id]))
        assert await world.rows("select id from job") == []

    return Case([lambda: one.store.submit(sent), lambda: commit(two, state, cancelling(two))], promise)


async def two_events_that_cancel(world: World) -> Case:
    """Ingest/ingest of events that cancel a run by one rule: one does."""
    one, two = await begin(world, "one", "two", functions=[with_rules(cancel=[CancelConfig(event="b")])])
    run, _ = await one.run(one.event(1))
    requests = [worker.ingestion(worker.intake(worker.event(n, "b"))) for n, worker in ((2, one), (3, two))]

    async def promise(order: Order) -> None:
        assert resumed(order) == 1
        assert await world.rows("select run_id from job where kind = 'cancel'") == [(run.id,)]

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


# -- invoked functions ------------------------------------------------------------------------------------------------


async def invoked(world: World) -> tuple[Worker, Worker, Run, Job]:
    """Start a run that waits for another, whose first job is leased by the first of two replicas."""
    child = with_rules("app-child", event="never")
    one, two = await begin(world, "one", "two", functions=[function_of(), child])
    run, job = await one.run(one.event(1))
    opts = {"function_id": "app-child", "payload": {"data": {}}, "timeout": "1h"}
    await one.carry_out(run.id, job, ops(op("InvokeFunction", "w", opts=opts)))
    [claimed] = await one.claim(child.id)
    return one, two, run, claimed.job


async def a_childs_end_and_the_time_out(world: World) -> Case:
    """Commit/fire: the step has the child's result or the time-out, never both."""
    one, two, run, job = await invoked(world)
    two.now += HOUR
    [claimed] = await two.claim(TIMERS)
    child, parent = await one.state(job.run_id), await two.state(run.id)

    async def promise(order: Order) -> None:
        ended, verdict = order.results
        assert ended is Verdict.COMMITTED
        for again in await two.claim(TIMERS):
            assert verdict is Verdict.LOST, "the wait ended twice"
            verdict = await commit(two, await two.state(run.id), waking(two, again.job))
        assert verdict is Verdict.COMMITTED
        [memo] = (await two.state(run.id)).memo.values()
        assert memo == b'{"data":1}' or b"InngestInvokeTimeoutError" in memo

    return Case(
        [
            lambda: commit(one, child, answering(one, job, result(b"1"))),
            lambda: commit(two, parent, waking(two, claimed.job)),
        ],
        promise,
    )


async def a_childs_end_and_the_parents(world: World) -> Case:
    """Commit/cancel of the parent: both end."""
    one, two, run, job = await invoked(world)
    child, parent = await one.state(job.run_id), await two.state(run.id)

    async def promise(order: Order) -> None:
        assert order.results == [Verdict.COMMITTED, Verdict.COMMITTED]
        assert sorted(await world.rows("select status from run")) == [("cancelled",), ("completed",)]

    return Case(
        [
            lambda: commit(one, child, answering(one, job, result(b"1"))),
            lambda: commit(two, parent, cancelling(two)),
        ],
        promise,
    )


# -- signals ----------------------------------------------------------------------------------------------------------


def signal(worker: Worker, number: int = 1) -> SignalRequest:
    """Make a signal that is kept where nobody waits for it."""
    return SignalRequest(DEV, ulid(number, "S"), "go", b"%d" % number, True, worker.now)


async def kept(world: World) -> int:
    return (await world.rows("select count(*) from signal"))[0][0]


async def a_signal_and_its_wait(world: World) -> Case:
    """Signal/commit of a wait that takes what was kept: the signal ends the wait, whichever comes first."""
    one, two = await begin(world, "one", "two")
    run, job = await two.run(two.event(1))
    reply = waiting_reply("WaitForSignal", signal="go", keep=True)
    wait = two.carrying_out(two.transition(await two.state(run.id), job, reply))

    async def promise(order: Order) -> None:
        assert resumed(order) == 1, "the signal slipped past the wait"
        assert await kept(world) == 0

    return Case([lambda: one.store.submit(signal(one)), lambda: two.store.submit(wait)], promise)


async def two_signals(world: World) -> Case:
    """Signal/signal for one wait: it gets one, and the other is kept."""
    one, two = await begin(world, "one", "two")
    run = await waiting(one, code="WaitForSignal", signal="go")

    async def promise(order: Order) -> None:
        assert sorted(str(found.signalled) for found in order.results) == sorted([run.id, "None"])
        assert resumed(order) == 1
        assert await kept(world) == 1

    return Case([lambda: one.store.submit(signal(one, 1)), lambda: two.store.submit(signal(two, 2))], promise)


async def a_signal_and_the_time_out(world: World) -> Case:
    """Signal/fire: the signal ends the wait, or it is kept, and its sender is told which."""
    one, two = await begin(world, "one", "two")
    run = await waiting(one, code="WaitForSignal", signal="go")
    two.now += HOUR
    [claimed] = await two.claim(TIMERS)
    state = await two.state(run.id)

    async def promise(order: Order) -> None:
        found, verdict = order.results
        assert found.signalled == (run.id if verdict is Verdict.LOST else None), "the signal was lost"
        assert await kept(world) == (0 if verdict is Verdict.LOST else 1), "the signal was lost"
        assert (found.resumed == (run.id,)) == (verdict is Verdict.LOST)

    return Case([lambda: one.store.submit(signal(one)), lambda: commit(two, state, waking(two, claimed.job))], promise)


async def two_waits_for_a_signal(world: World) -> Case:
    """Commit/commit: one run has the signal for itself, the other hears of it."""
    one, two = await begin(world, "one", "two")
    requests: list[Any] = []
    for number, worker in ((1, one), (2, two)):
        run, job = await worker.run(worker.event(number))
        reply = waiting_reply("WaitForSignal", signal="go")
        requests.append(worker.carrying_out(worker.transition(await worker.state(run.id), job, reply)))

    async def promise(order: Order) -> None:
        verdicts = sorted(found.verdict for found in order.results)
        assert verdicts == [Verdict.COMMITTED, Verdict.CONFLICT], "two runs wait for one signal"
        assert len(await world.rows("select run_id from wait")) == 1

    return Case([lambda: one.store.submit(requests[0]), lambda: two.store.submit(requests[1])], promise)


# -- checkpoints ------------------------------------------------------------------------------------------------------


def checkpointing(worker: Worker, job: Job) -> Callable[[RunState], Any]:
    """Report a step of a call that goes on, as long as the job has that lease."""

    def compute(state: RunState) -> Any:
        held = state.jobs.get(job.id)
        if state.run.status.is_final or held is None or held.generation != job.generation:
            return None
        return checkpoint(
            state,
            job,
            [op("StepRun", "a", data=1)],
            started_at=worker.now,
            at=worker.now,
            function=worker.registry.by_id[state.run.function_id],
            policy=Policy(),
        )

    return compute


async def a_checkpoint_and_the_reply(world: World) -> Case:
    """Checkpoint/commit through two replicas: the reply counts, and the checkpoint if it came before."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(one.event(1))
    state = await one.state(run.id)

    async def promise(order: Order) -> None:
        reply, report = order.results
        assert reply is Verdict.COMMITTED
        steps = [step_id("a"), step_id("b")] if report is Verdict.COMMITTED else [step_id("b")]
        assert (await one.state(run.id)).stack == steps

    return Case(
        [
            lambda: commit(one, state, answering(one, job, ops(op("StepRun", "b", data=2)))),
            lambda: commit(two, state, checkpointing(two, job)),
        ],
        promise,
    )


async def a_checkpoint_and_the_reaper(world: World) -> Case:
    """Checkpoint/reap of the call's replica: it counts before, and is refused after."""
    one, two, owner = await begin(world, "one", "two", "three")
    run, job = await owner.run(owner.event(1))
    state = await one.state(run.id)
    await world.silence(owner)

    async def promise(order: Order) -> None:
        report = order.results[0]
        after = await two.state(run.id)
        assert after.stack == ([step_id("a")] if report is Verdict.COMMITTED else [])
        [left] = after.jobs.values()
        assert (left.kind, left.owner) == (JobKind.DISCOVER, None)
        if order.place("two: commit") < order.place("one: run_lock"):
            assert report is not Verdict.COMMITTED, "a checkpoint of an old lease counted"

    return Case([lambda: commit(one, state, checkpointing(one, job)), lambda: reap(two)], promise)


PAIRS: Final[tuple[Callable[[World], Awaitable[Case]], ...]] = (
    a_wait_that_looks_back_and_its_event,
    a_wait_and_its_event,
    an_event_and_the_time_out,
    an_event_and_the_claim_of_the_time_out,
    two_events_for_one_wait,
    events_for_the_same_waits,
    an_event_and_a_cancellation,
    an_event_that_cancels_and_the_end,
    two_events_that_cancel,
    a_childs_end_and_the_time_out,
    a_childs_end_and_the_parents,
    a_signal_and_its_wait,
    two_signals,
    a_signal_and_the_time_out,
    two_waits_for_a_signal,
    a_checkpoint_and_the_reply,
    a_checkpoint_and_the_reaper,
)
