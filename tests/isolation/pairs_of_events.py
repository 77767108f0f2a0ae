"""Two ways in at once: events, schedules, and the functions that they start. What is sent twice starts once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from stepwell.engine.core.model import Event, Function, Tick
from stepwell.engine.core.trigger import start
from stepwell.protocol.sync import Trigger
from stepwell.store.request import Result, SyncRequest, TickRequest, Verdict
from tests.isolation.acting import begin, ingest, statuses
from tests.isolation.stepping import Order
from tests.isolation.world import Case, World
from tests.store.database import Worker
from tests.unit.engine.making import DEV, T0, event_of, function_of

HOUR: Final = 3_600_000
CRON: Final = "0 * * * *"


# -- events -----------------------------------------------------------------------------------------------------------


def seeded(number: int) -> Event:
    return msgspec.structs.replace(event_of(number), is_seeded=True)


async def the_same_send(world: World) -> Case:
    """Ingest/ingest of the same seeded events, in opposite order: each is stored once, and starts one run."""
    one, two = await begin(world, "one", "two")
    first = [one.intake(seeded(number), is_leased=True) for number in (1, 2)]
    second = [two.intake(seeded(number), is_leased=True) for number in (2, 1)]

    async def promise(order: Order) -> None:
        sent, again = order.results
        duplicates = sent.duplicate | again.duplicate
        assert duplicates == {seeded(1).id, seeded(2).id}
        assert len(sent.duplicate) + len(again.duplicate) == 2
        assert len(sent.leased) + len(again.leased) == 2
        assert await statuses(world) == ["queued", "queued"]

    return Case(
        [
            lambda: one.store.submit(one.ingestion(*first)),
            lambda: two.store.submit(two.ingestion(*second)),
        ],
        promise,
    )


async def the_same_event_ids(world: World) -> Case:
    """Ingest/ingest of events with the same ids of their sender, in opposite order: one run of each, one skip."""
    one, two = await begin(world, "one", "two")
    first = [one.intake(event_of(number, id=id), is_leased=True) for number, id in ((1, "x"), (2, "y"))]
    second = [two.intake(event_of(number, id=id), is_leased=True) for number, id in ((3, "y"), (4, "x"))]

    async def promise(order: Order) -> None:
        sent, again = order.results
        assert len(sent.skipped) + len(again.skipped) == 2, "each id starts the function once"
        assert len(sent.leased) + len(again.leased) == 2
        assert await statuses(world) == ["queued", "queued", "skipped", "skipped"]
        rows = await world.rows(
            "select event.event_id, count(*) from run join event on event.id = run.event_id"
            " where run.status = 'queued' group by event.event_id order by 1"
        )
        assert rows == [("x", 1), ("y", 1)]

    return Case(
        [
            lambda: one.store.submit(one.ingestion(*first)),
            lambda: two.store.submit(two.ingestion(*second)),
        ],
        promise,
    )


async def the_same_event_id_a_day_later(world: World) -> Case:
    """Ingest/ingest with an id whose window has just ended: one takes the next window."""
    one, two = await begin(world, "one", "two")
    [function] = one.registry.by_id.values()
    await world.rows("insert into event_key values (?, 'x', ?)", function.id, T0)
    first = one.ingestion(one.intake(event_of(1, id="x")))
    second = two.ingestion(two.intake(event_of(2, id="x")))

    async def promise(order: Order) -> None:
        assert sum(len(found.skipped) for found in order.results) == 1
        assert await statuses(world) == ["queued", "skipped"]

    return Case([lambda: one.store.submit(first), lambda: two.store.submit(second)], promise)


# -- registrations ----------------------------------------------------------------------------------------------------


async def an_event_and_a_registration(world: World) -> Case:
    """Ingest/sync: an event that came after a function was registered starts it; one that came before doesn't."""
    one, two = await begin(world, "one", "two")
    added = function_of("other-g", app="other")

    async def promise(order: Order) -> None:
        assert order.results[0][0].verdict is order.results[1].verdict is Verdict.COMMITTED
        is_after = order.place("two: commit") < order.place("one: replica_fence", is_last=True)
        rows = await world.rows("select function_id from run order by function_id")
        assert rows == [("id-of-app-f",), *([("id-of-other-g",)] if is_after else [])]

    return Case(
        [
            lambda: ingest(one, lambda: [one.intake(event_of())]),
            lambda: two.store.submit(two.registration("other", added)),
        ],
        promise,
    )


async def an_event_and_a_removal(world: World) -> Case:
    """Ingest/sync: an event that came after a function was removed doesn't start it."""
    one, two = await begin(world, "one", "two")
    removal = two.registration("app", archived=list(two.registry.by_id), is_removed=True)

    async def promise(order: Order) -> None:
        is_after = order.place("two: commit") < order.place("one: replica_fence", is_last=True)
        assert await statuses(world) == ([] if is_after else ["queued"])

    return Case([lambda: ingest(one, lambda: [one.intake(event_of())]), lambda: two.store.submit(removal)], promise)


async def sync(worker: Worker, make: Callable[[], SyncRequest]) -> Result:
    """Register, from the newest functions while they are stale."""
    while True:
        result = await worker.store.submit(make())
        if result.verdict is not Verdict.STALE:
            return result
        await worker.refresh()


async def two_registrations(world: World) -> Case:
    """Sync/sync of two apps: both are there, one revision after the other."""
    one, two = await begin(world, "one", "two")
    before = one.registry.revision

    async def promise(order: Order) -> None:
        assert [found.verdict for found in order.results] == [Verdict.COMMITTED, Verdict.COMMITTED]
        await one.refresh()
        assert one.registry.revision == before + 2
        assert sorted(one.registry.by_slug) == ["app-f", "g-1", "h-1"]

    return Case(
        [
            lambda: sync(one, lambda: one.registration("g", function_of("g-1", app="g"))),
            lambda: sync(two, lambda: two.registration("h", function_of("h-1", app="h"))),
        ],
        promise,
    )


async def two_registrations_of_one_app(world: World) -> Case:
    """Sync/sync of one app with different functions and schedules: the later one counts, whole."""
    one, two = await begin(world, "one", "two")
    kept = function_of(triggers=[Trigger(cron=CRON)])

    def registration(worker: Worker, added: Function, cron: str) -> SyncRequest:
        archived = [id for id in worker.registry.by_id if id not in {kept.id, added.id}]
        return worker.registration("app", kept, added, archived=archived, crons=[(cron, T0 + HOUR)])

    async def promise(order: Order) -> None:
        assert [found.verdict for found in order.results] == [Verdict.COMMITTED, Verdict.COMMITTED]
        await one.refresh()
        is_last = order.place("one: commit", is_last=True) > order.place("two: commit", is_last=True)
        expected = ["app-f", "app-g" if is_last else "app-h"]
        assert sorted(one.registry.by_slug) == expected, "the later registration counts, whole"
        assert await world.rows("select cron from schedule") == [("1 * * * *" if is_last else "2 * * * *",)]

    return Case(
        [
            lambda: sync(one, lambda: registration(one, function_of("app-g"), "1 * * * *")),
            lambda: sync(two, lambda: registration(two, function_of("app-h"), "2 * * * *")),
        ],
        promise,
    )


# -- schedules --------------------------------------------------------------------------------------------------------


async def with_a_schedule(world: World) -> tuple[Worker, Worker, Function]:
    """Register a function that is due each hour, now for the first time."""
    function = function_of(triggers=[Trigger(cron=CRON)])
    one, two = await begin(world, "one", "two")
    await one.sync("app", function, crons=[(CRON, T0)])
    await two.refresh()
    return one, two, function


async def tick(worker: Worker, number: int) -> list[Result]:
    """Fire what is due, from the newest functions while they are stale."""
    results: list[Result] = []
    while True:
        ticks: list[Tick] = []
        for due in await worker.store.due_schedules(now=worker.now, limit=9):
            function = worker.registry.by_id[due.function_id]
            event = event_of(number, "inngest/scheduled.timer")
            intake = start(event, worker.registry, now=worker.now, new_id=worker.new_id, only=function)
            intake = worker.leased_intake(intake)
            ticks.append(Tick(function.id, due.cron, due.next_at, due.next_at + HOUR, intake))
        if not ticks:
            return results
        result = await worker.store.submit(TickRequest(DEV, worker.registry.revision, ticks, worker.now))
        if result.verdict is Verdict.STALE:
            await worker.refresh()
        else:
            results.append(result)


async def two_ticks(world: World) -> Case:
    """Tick/tick: a schedule that both see due fires once, and moves on by one."""
    one, two, function = await with_a_schedule(world)

    async def promise(order: Order) -> None:
        ticked = [key for results in order.results for result in results for key in result.ticked]
        assert ticked == [(function.id, CRON)], "the schedule fires once"
        assert await statuses(world) == ["queued"]
        assert await one.store.next_schedule_due() == T0 + HOUR

    return Case([lambda: tick(one, 1), lambda: tick(two, 2)], promise)


async def a_tick_and_a_registration(world: World) -> Case:
    """Tick/sync that keeps the schedule: the tick that is due fires, once."""
    one, two, function = await with_a_schedule(world)
    registration = two.registration("app", msgspec.structs.replace(function, version=2), crons=[(CRON, T0 + HOUR)])

    async def promise(_order: Order) -> None:
        assert await statuses(world) == ["queued"]
        assert await one.store.next_schedule_due() == T0 + HOUR

    return Case([lambda: tick(one, 1), lambda: two.store.submit(registration)], promise)


async def a_tick_and_a_removal(world: World) -> Case:
    """Tick/sync that removes the schedule: it fires before, or never."""
    one, two, function = await with_a_schedule(world)
    removal = two.registration("app", archived=[function.id], is_removed=True)

    async def promise(order: Order) -> None:
        ticked = [key for result in order.results[0] for key in result.ticked]
        assert await statuses(world) == ["queued"] * len(ticked)
        assert await one.store.next_schedule_due() is None
        if order.place("two: commit") < order.place("one: replica_fence"):
            assert ticked == []

    return Case([lambda: tick(one, 1), lambda: two.store.submit(removal)], promise)


PAIRS: Final[tuple[Callable[[World], Awaitable[Case]], ...]] = (
    the_same_send,
    the_same_event_ids,
    the_same_event_id_a_day_later,
    an_event_and_a_registration,
    an_event_and_a_removal,
    two_registrations,
    two_registrations_of_one_app,
    two_ticks,
    a_tick_and_a_registration,
    a_tick_and_a_removal,
)
