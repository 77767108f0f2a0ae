"""Retention and whoever still has a use for what has expired. What is deleted is deleted with all that belongs to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from stepwell.engine.core.model import Intake
from stepwell.engine.core.trigger import start_again
from stepwell.limits import EVENT_ID_WINDOW_MS
from stepwell.protocol.ids import RunId
from stepwell.store.request import Pruned, PruneRequest, Verdict
from tests.isolation.acting import answering, begin, cancelling, commit, statuses
from tests.isolation.stepping import Order
from tests.isolation.world import Case, World
from tests.unit.engine.making import T0, event_of, op, ops, result


async def a_run_again_and_the_retention(world: World) -> Case:
    """Ingest of a stored event/prune of its ended run: the new run has its event, or it is not started and that is said."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(event_of())
    await one.reply(run.id, job, result())
    function = one.registry.by_id[run.function_id]
    found = start_again(event_of(), function, one.registry, now=one.now, run_id=RunId(one.new_id()), again=run.id)
    again, intake = found.run, Intake(event_of(), (found,), is_stored=True)
    prune = PruneRequest(one.now, runs=[run.id], received_before=one.now)

    async def promise(order: Order) -> None:
        started, pruned = order.results
        is_gone = bool(await world.rows("select id from event")) is False
        assert pruned.pruned == Pruned(runs=1, events=1 if is_gone else 0)
        assert started.duplicate == ({intake.event.id} if is_gone else set())
        assert await world.rows("select id from run") == ([] if is_gone else [(again.id,)])

    return Case([lambda: one.store.submit(one.ingestion(intake)), lambda: two.store.submit(prune)], promise)


async def a_late_reply_and_the_retention(world: World) -> Case:
    """Commit/prune of a run that was cancelled meanwhile: its attempt is kept with the run, or goes with it."""
    one, two = await begin(world, "one", "two")
    run, job = await one.run(event_of())
    state = await one.state(run.id)
    assert await commit(two, state, cancelling(two)) is Verdict.COMMITTED
    reply = answering(one, job, ops(op("StepRun", "a", data=1)))
    prune = PruneRequest(one.now, runs=[run.id], received_before=one.now)

    async def promise(order: Order) -> None:
        late, pruned = order.results
        assert late is Verdict.LOST
        assert await world.rows("select count(*) from attempt") == [(1 - pruned.pruned.runs,)]
        # What was passed over goes the next time.
        await two.store.submit(prune)
        assert await statuses(world) == []
        assert await world.rows("select run_id from attempt") == []

    return Case([lambda: commit(one, state, reply), lambda: two.store.submit(prune)], promise)


async def two_sweeps(world: World) -> Case:
    """Prune/prune of the same runs, in opposite order: each is deleted once, whole."""
    one, two = await begin(world, "one", "two")
    runs: list[RunId] = []
    for number in (1, 2):
        run, job = await one.run(event_of(number))
        transition = await one.reply(run.id, job, ops(op("StepRun", "a", data=1)), is_leased=True)
        await one.reply(run.id, transition.jobs[0], result())
        runs.append(run.id)

    async def promise(order: Order) -> None:
        both = [found.pruned for found in order.results]
        for table in ("run", "step", "attempt", "event"):
            assert await world.rows(f"select count(*) from {table}") == [(0,)]
        assert sum(pruned.runs for pruned in both) == sum(pruned.events for pruned in both) == 2

    return Case(
        [
            lambda: one.store.submit(PruneRequest(one.now, runs=runs, received_before=one.now)),
            lambda: two.store.submit(PruneRequest(two.now, runs=runs[::-1], received_before=two.now)),
        ],
        promise,
    )


async def a_new_window_and_the_retention(world: World) -> Case:
    """Ingest/prune of the ended window of its id: the new window is there, whoever came first."""
    one, two = await begin(world, "one", "two")
    [function] = one.registry.by_id.values()
    await world.rows("insert into event_key values (?, 'x', ?)", function.id, T0)
    sent = one.ingestion(one.intake(event_of(1, id="x")))

    async def promise(order: Order) -> None:
        assert order.results[0].skipped == {}
        windows = await world.rows("select expires_at from event_key")
        assert windows == [(T0 + EVENT_ID_WINDOW_MS,)], "the new window was deleted"

    return Case(
        [
            lambda: one.store.submit(sent),
            lambda: two.store.submit(PruneRequest(T0, keys=[(function.id, "x")])),
        ],
        promise,
    )


PAIRS: Final[tuple[Callable[[World], Awaitable[Case]], ...]] = (
    a_run_again_and_the_retention,
    a_late_reply_and_the_retention,
    two_sweeps,
    a_new_window_and_the_retention,
)
