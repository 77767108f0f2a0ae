"""Waits that are too many for one transaction are ended in turns, and others come between: here each turn ends one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import pytest

from stepwell.engine.core.model import Event, Run
from stepwell.engine.core.partition import TIMERS
from stepwell.engine.core.run import fire
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import CancelConfig
from stepwell.store import waiting as store_waiting
from stepwell.store.request import DropRequest, Result, SweepRequest, Verdict
from tests.isolation.acting import begin, cancelling, commit
from tests.isolation.pairs_of_waits import HOUR, ended_by, waiting, with_rules
from tests.isolation.stepping import Order
from tests.isolation.test_broken import Broken, instead
from tests.isolation.world import Case, World
from tests.store.database import Worker


async def swept(world: World, *, count: int = 2) -> tuple[Worker, Worker, list[Run], Event]:
    """Let runs wait for an event that has come and was left to sweeps."""
    one, two = await begin(world, "one", "two")
    runs = [await waiting(one, number) for number in range(1, count + 1)]
    event = one.event(9, "b")
    found, _ = await one.ingest(event)
    assert found.is_swept
    assert found.resumed == ()
    return one, two, runs, event


async def sweep(worker: Worker) -> list[RunId]:
    """Sweep as long as there is something to sweep; return the runs that go on."""
    resumed: list[RunId] = []
    while True:
        found = await worker.store.submit(SweepRequest(worker.now))
        resumed += found.resumed
        if not found.is_swept:
            return resumed


async def turn(worker: Worker) -> list[RunId]:
    """Sweep once."""
    return list((await worker.store.submit(SweepRequest(worker.now))).resumed)


async def is_over(world: World) -> bool:
    return await world.rows("select event_id from sweep") == []


async def two_sweeps(world: World) -> Case:
    """Sweep/sweep: each wait ends once, and none is left out."""
    one, two, runs, event = await swept(world)

    async def promise(order: Order) -> None:
        await sweep(one)
        assert await is_over(world)
        assert len([run for resumed in order.results for run in resumed]) <= len(runs), "a wait ended twice"
        for run in runs:
            assert await ended_by(world, run.id) == [event.id], "a wait was left out"

    return Case([lambda: turn(one), lambda: turn(two)], promise)


async def a_sweep_and_a_time_out(world: World) -> Case:
    """Sweep/fire of a wait whose event came in time: the event ends it, whoever is at it first."""
    one, two, runs, event = await swept(world)
    two.now += HOUR
    claimed = {found.job.run_id: found.job for found in await two.claim(TIMERS)}
    last = runs[-1].id
    transition = fire(await two.state(last), claimed[last], at=two.now)

    async def promise(order: Order) -> None:
        assert order.results[1].verdict in (Verdict.STALE, Verdict.LOST), "timed out though the event came in time"
        await sweep(one)
        assert await ended_by(world, last) == [event.id]

    return Case([lambda: sweep(one), lambda: two.store.submit(two.commit(transition))], promise)


async def an_event_for_sweeps_and_a_time_out(world: World) -> Case:
    """Ingest/fire: the wait ends by one of them, and only one counts."""
    one, two = await begin(world, "one", "two")
    runs = [await waiting(one, number) for number in (1, 2)]
    event = one.event(9, "b")
    sent = one.ingestion(one.intake(event))
    two.now += HOUR
    claimed = {found.job.run_id: found.job for found in await two.claim(TIMERS)}
    transition = fire(await two.state(runs[0].id), claimed[runs[0].id], at=two.now)

    async def promise(order: Order) -> None:
        verdict = order.results[1].verdict
        await sweep(one)
        assert await is_over(world)
        # Where the time-out was first, the other wait was the only one, which the event itself ended.
        expected = [] if verdict is Verdict.COMMITTED else [event.id]
        assert await ended_by(world, runs[0].id) == expected
        assert await ended_by(world, runs[1].id) == [event.id]

    return Case([lambda: one.store.submit(sent), lambda: two.store.submit(two.commit(transition))], promise)


async def a_sweep_and_another_event(world: World) -> Case:
    """Sweep/ingest of a second event: waits are ended by the first, and both sweeps come to an end."""
    one, two, runs, event = await swept(world)
    sent = two.ingestion(two.intake(two.event(10, "b")))

    async def promise(order: Order) -> None:
        assert isinstance(order.results[1], Result)
        await sweep(one)
        assert await is_over(world)
        for run in runs:
            assert await ended_by(world, run.id) == [event.id], "the second event was faster"

    return Case([lambda: turn(one), lambda: two.store.submit(sent)], promise)


async def a_sweep_and_a_cancellation(world: World) -> Case:
    """Sweep/cancel of one of the runs: it is cancelled, and the others go on."""
    one, two, runs, event = await swept(world)
    state = await two.state(runs[-1].id)

    async def promise(order: Order) -> None:
        assert order.results[1] is Verdict.COMMITTED
        await sweep(one)
        assert await ended_by(world, runs[0].id) == [event.id]

    return Case([lambda: turn(one), lambda: commit(two, state, cancelling(two))], promise)


async def a_sweep_that_cancels_and_the_end(world: World) -> Case:
    """Sweep of an event that cancels runs and ends their waits/cancel of one: nothing waits for the other for ever."""
    one, two = await begin(world, "one", "two", functions=[with_rules(cancel=[CancelConfig(event="b")])])
    run = await waiting(one)
    found, _ = await one.ingest(one.event(9, "b"))
    assert found.is_swept
    state = await two.state(run.id)

    async def promise(order: Order) -> None:
        assert order.results[1] is Verdict.COMMITTED
        await sweep(one)
        assert await is_over(world)
        await two.store.submit(DropRequest([run.id]))
        assert await world.rows("select id from job") == []

    return Case([lambda: turn(one), lambda: commit(two, state, cancelling(two))], promise)


PAIRS: Final = (
    two_sweeps,
    a_sweep_and_a_time_out,
    an_event_for_sweeps_and_a_time_out,
    a_sweep_and_another_event,
    a_sweep_and_a_cancellation,
    a_sweep_that_cancels_and_the_end,
)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("given", [pytest.param(given, id=given.__name__) for given in PAIRS])
async def test_every_order_keeps_the_promise(
    world: World, monkeypatch: pytest.MonkeyPatch, given: Callable[[World], Awaitable[Case]]
) -> None:
    monkeypatch.setattr(store_waiting, "WAITS_ENDED_MAX", 1)

    walk = await world.play(given)

    assert walk.is_whole
    assert walk.order_count > 1, "the sides never meet: this tests nothing"


BROKEN: Final = [
    Broken(
        "a time-out that doesn't ask for sweeps",
        instead("wait_swept", "select v.run_id, v.job_id from v where false"),
        a_sweep_and_a_time_out,
        "timed out though the event came in time",
    ),
    Broken(
        "an event that doesn't wait for the sweep of another",
        instead("sweep_pending", "select v.environment, v.name from v where false"),
        a_sweep_and_another_event,
        "the second event was faster",
    ),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("broken", [pytest.param(broken, id=broken.name) for broken in BROKEN])
async def test_a_broken_variant_is_caught(world: World, monkeypatch: pytest.MonkeyPatch, broken: Broken) -> None:
    monkeypatch.setattr(store_waiting, "WAITS_ENDED_MAX", 1)
    broken.breaks(monkeypatch)

    with pytest.raises(AssertionError, match=broken.says):
        await world.play(broken.pair)
