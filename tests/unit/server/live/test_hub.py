"""The hub: who hears what, when, and from which place on. Time is virtual."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from stepwell.engine.core.model import LogLine, Transition
from stepwell.limits import (
    STREAM_ITEMS_MAX,
    STREAM_KEPT_BYTES_MAX,
    STREAM_KEPT_MAX,
    STREAM_LINES_BYTES_MAX,
    STREAM_LINGER_S,
    STREAM_PACE_S,
    STREAM_POLL_S,
    STREAMS_MAX,
    VIEWING_KEPT_S,
    VIEWING_S,
)
from stepwell.protocol.ids import LogId, ReplicaId, RunId
from stepwell.server.live.changes import Told, Topics
from stepwell.server.live.hub import Heard, Hub, Page
from stepwell.server.live.others import Lines
from stepwell.store.news import News
from tests.simulation.loop import SimulatedLoop
from tests.unit.engine.making import Machine, function_of

RUNS = Topics(runs=True)
LOG_MESSAGE_BYTES = 16_000
A, B = RunId("a"), RunId("b")


def play(work: Callable[[], Awaitable[None]]) -> None:
    """Run a test on a loop whose time never waits."""

    async def main() -> None:
        await work()

    loop = SimulatedLoop(Random(0))
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def now() -> float:
    return asyncio.get_running_loop().time()


async def heard(page: Page, *, within_s: float = 1.0) -> Heard | None:
    """Wait for what a page hears; fails when it hears nothing in time."""
    async with asyncio.timeout(within_s):
        return await page.next()


async def changes(page: Page) -> Told:
    """Wait for the changes that a page hears."""
    got = await heard(page)
    assert got is not None
    assert got.told is not None
    return got.told


async def is_silent(page: Page, for_s: float) -> bool:
    """Tell whether a page hears nothing for some time."""
    try:
        await heard(page, within_s=for_s)
    except TimeoutError:
        return True
    return False


def told_of(**what: Any) -> Told:
    """A message that tells this and nothing else."""
    return Told({}, [], has_functions=False, lines=[], is_partial=False)._replace(**what)


class Wire:
    """Joins two hubs as the store joins replicas."""

    def __init__(self) -> None:
        self.hubs = {ReplicaId("one"): Hub(), ReplicaId("two"): Hub()}
        self.told: list[News] = []
        self.stored: list[LogLine] = []
        """Lines, in the order of their ids, which are numbers."""
        self.is_deaf = False
        self._under_way: deque[tuple[Hub, News]] = deque()
        for id, hub in self.hubs.items():
            hub.meet(_End(self, id))

    @property
    def both(self) -> tuple[Hub, Hub]:
        one, two = self.hubs.values()
        return one, two

    def tell(self, by: ReplicaId, news: News) -> None:
        self.told.append(news)
        for id, hub in self.hubs.items():
            if id != by and (news.changed is None or news.changed.to in (None, id)):
                self._under_way.append((hub, news._replace(by=by)))
                asyncio.get_running_loop().call_soon(self._arrive)

    def _arrive(self) -> None:
        hub, news = self._under_way.popleft()
        hub.heard(news)


class _End:
    """What one hub knows of the other."""

    def __init__(self, wire: Wire, id: ReplicaId) -> None:
        self._wire, self._id = wire, id

    @property
    def is_deaf(self) -> bool:
        return self._wire.is_deaf

    def tell(self, news: News) -> None:
        self._wire.tell(self._id, news)

    def now(self) -> int:
        return 0

    async def read_lines(self, run_id: RunId | None, since: int) -> Lines:
        await asyncio.sleep(0.01)
        found = [line for line in self._wire.stored if run_id in (None, line.run_id)]
        return Lines(found[:STREAM_ITEMS_MAX], len(found) > STREAM_ITEMS_MAX)


def test_what_changes_is_heard_soon_and_then_at_most_every_tenth_of_a_second() -> None:
    async def work() -> None:
        hub = Hub()
        page = hub.join(RUNS)
        at: list[float] = []
        for _ in range(3):
            hub.touched([A])
            await heard(page)
            at.append(now())

        assert at[0] < 0.05
        assert [round(later - earlier, 6) for earlier, later in pairwise(at)] == [STREAM_PACE_S] * 2
        hub.close()

    play(work)


def test_pages_with_the_same_topics_share_a_message() -> None:
    async def work() -> None:
        hub = Hub()
        first, second, other = hub.join(RUNS), hub.join(RUNS), hub.join(Topics(runs=True, events=True))
        hub.touched([A])

        assert await heard(first) is await heard(second)
        assert (await changes(other)).runs == {A: False}
        hub.touched([B])
        assert (await changes(first)).runs == {B: False}
        hub.close()

    play(work)


def test_what_changes_at_once_is_one_message() -> None:
    async def work() -> None:
        hub = Hub()
        page = hub.join(RUNS)
        hub.touched([A])
        hub.touched([B, A])

        assert (await changes(page)).runs == {A: False, B: False}
        assert await is_silent(page, 60)
        hub.close()

    play(work)


def test_a_transition_is_a_change_of_its_run() -> None:
    async def work() -> None:
        hub = Hub()
        page = hub.join(RUNS)
        run = Machine().state.run
        hub.changed(Transition(run=run, at=0), function_of())

        assert (await changes(page)).runs == {run.id: False}
        hub.close()

    play(work)


def test_without_pages_nothing_is_noted() -> None:
    async def work() -> None:
        hub = Hub()
        hub.touched([A])
        hub.doubted()
        hub.functions_changed()
        page = hub.join(Topics(runs=True, functions=True))

        assert await is_silent(page, 60)
        hub.close()

    play(work)


def test_a_page_that_comes_back_goes_on_where_it_was() -> None:
    async def work() -> None:
        hub = Hub()
        page = hub.join(RUNS)
        hub.touched([A])
        got = await heard(page)
        assert got is not None
        page.leave()
        hub.touched([B])
        await asyncio.sleep(STREAM_LINGER_S - 1)
        again = hub.join(RUNS, got.cursor)

        assert again.cursor == got.cursor
        assert (await changes(again)).runs == {B: False}
        hub.close()

    play(work)


def test_a_page_that_comes_back_too_late_reads_everything_again() -> None:
    async def work() -> None:
        hub = Hub()
        page = hub.join(RUNS)
        cursor = page.cursor
        page.leave()
        await asyncio.sleep(STREAM_LINGER_S + 1)
        hub.touched([A])
        again = hub.join(RUNS, cursor)

        got = await heard(again)
        assert got is not None
        assert (got.cursor, got.told) == (again.cursor, None)
        assert got.cursor != cursor
        hub.touched([B])
        assert (await changes(again)).runs == {B: False}
        hub.close()

    play(work)


@pytest.mark.parametrize(
    "cursor", ["", "nope", "other-3", "-", "{name}-", "{name}--1", "{name}-99", "{name}-" + "9" * 99]
)
def test_a_cursor_that_is_not_known_means_to_read_everything_again(cursor: str) -> None:
    async def work() -> None:
        hub = Hub()
        name = hub.join(RUNS).cursor.partition("-")[0]
        page = hub.join(RUNS, cursor.format(name=name))

        got = await heard(page)
        assert got is not None
        assert got.told is None
        hub.close()

    play(work)


def test_a_page_that_reads_too_slowly_reads_everything_again() -> None:
    async def work(batch_count: int) -> Heard | None:
        hub = Hub()
        page = hub.join(RUNS)
        for _ in range(batch_count):
            hub.touched([A])
            await asyncio.sleep(STREAM_PACE_S)
        await asyncio.sleep(1)
        got = await heard(page)
        hub.close()
        return got

    async def both() -> None:
        just = await work(STREAM_KEPT_MAX)
        more = await work(STREAM_KEPT_MAX + 1)
        assert just is not None
        assert just.told is not None
        assert more is not None
        assert more.told is None

    play(both)


def test_pages_hear_no_more_when_the_server_stops() -> None:
    async def work() -> None:
        hub = Hub()
        page = hub.join(RUNS)
        asyncio.get_running_loop().call_later(5, hub.close)

        assert await heard(page, within_s=6) is None
        assert await heard(page) is None

    play(work)


def test_a_server_has_so_many_pages() -> None:
    async def work() -> None:
        hub = Hub()
        pages = [hub.join(RUNS) for _ in range(STREAMS_MAX - 1)]
        assert not hub.is_full
        pages.append(hub.join(RUNS))
        assert hub.is_full
        pages.pop().leave()
        assert not hub.is_full
        hub.close()

    play(work)


# -- among replicas -------------------------------------------------------------------------------------------------


def test_a_page_hears_of_what_changes_at_another_replica() -> None:
    async def work() -> None:
        wire = Wire()
        here, there = wire.both
        page = here.join(Topics(runs=True, run_ids=frozenset((B,))))
        assert (await changes(page)).is_partial, "what the other changed before it knew of the page"
        there.touched([A])

        assert await changes(page) == told_of(runs={A: False})
        here.close()
        there.close()

    play(work)


def test_nothing_is_told_while_nobody_views() -> None:
    async def work() -> None:
        wire = Wire()
        here, there = wire.both
        there.touched([A])
        await asyncio.sleep(100)
        assert wire.told == []

        page = here.join(RUNS)
        await asyncio.sleep(1)
        page.leave()
        await asyncio.sleep(VIEWING_KEPT_S + 1)
        wire.told.clear()
        there.touched([A])
        await asyncio.sleep(100)
        assert wire.told == []
        here.close()
        there.close()

    play(work)


def test_a_page_that_stays_open_hears_for_as_long() -> None:
    async def work() -> None:
        wire = Wire()
        here, there = wire.both
        page = here.join(RUNS)
        assert (await changes(page)).is_partial
        await asyncio.sleep(10 * VIEWING_S)
        there.touched([A])

        assert (await changes(page)).runs == {A: False}
        here.close()
        there.close()

    play(work)


def test_what_was_heard_is_not_told_again() -> None:
    async def work() -> None:
        wire = Wire()
        here, there = wire.both
        pages = [hub.join(RUNS) for hub in (here, there)]
        await asyncio.sleep(1)
        wire.told.clear()
        there.touched([A])
        await asyncio.sleep(1)

        assert [news.changed.runs for news in wire.told if news.changed is not None] == [[A]]
        assert len(pages) == 2
        here.close()
        there.close()

    play(work)


def test_a_replica_that_begins_to_listen_is_told_of_the_pages() -> None:
    async def work() -> None:
        wire = Wire()
        here, _ = wire.both
        page = here.join(RUNS)
        await changes(page)
        wire.told.clear()
        here.heard(News({}, is_new=True, by=ReplicaId("two")))

        assert [news.viewing.runs for news in wire.told if news.viewing is not None] == [True]
        assert (await changes(page)).is_partial, "what it had to tell before may be lost"
        here.close()

    play(work)


def test_pages_read_again_and_again_where_nothing_is_heard_of_others() -> None:
    async def work() -> None:
        wire = Wire()
        wire.is_deaf = True
        here, _ = wire.both
        page = here.join(RUNS)
        at: list[float] = []
        for _ in range(3):
            got = await heard(page, within_s=STREAM_POLL_S + 1)
            assert got is not None
            assert got.told is not None
            assert got.told.is_partial
            at.append(now())

        assert at[2] - at[1] == pytest.approx(STREAM_POLL_S)
        here.close()

    play(work)


# -- lines ----------------------------------------------------------------------------------------------------------


def line_of(number: int, run_id: RunId = A) -> LogLine:
    return LogLine(id=LogId(f"{number:09}"), run_id=run_id, at=0, level=20, logger="", message=f"line {number}")


def test_a_page_hears_the_lines_of_its_run_as_they_are_stored() -> None:
    async def work() -> None:
        hub = Hub()
        page, of_all = hub.join(Topics(log_run_ids=frozenset((A,)))), hub.join(Topics(logs=True))
        hub.logged([line_of(1), line_of(2, B)])

        assert await changes(page) == told_of(lines=[line_of(1)])
        assert await changes(of_all) == told_of(lines=[line_of(1), line_of(2, B)])
        hub.close()

    play(work)


def test_a_page_hears_each_line_that_another_replica_stored_once() -> None:
    async def work() -> None:
        wire = Wire()
        here, there = wire.both
        page, of_all = here.join(Topics(log_run_ids=frozenset((A,)))), here.join(Topics(logs=True))
        assert (await changes(page)).is_partial
        assert (await changes(of_all)).is_partial
        for number in range(1, 4):
            wire.stored.append(line_of(number))
            there.logged(wire.stored[-1:])
            assert await changes(page) == told_of(lines=[line_of(number)])
            assert await changes(of_all) == told_of(lines=[line_of(number)])
        wire.stored.append(line_of(4, B))
        there.logged(wire.stored[-1:])

        assert await changes(of_all) == told_of(lines=[line_of(4, B)])
        assert await is_silent(page, 60)
        here.close()
        there.close()

    play(work)


def test_more_lines_than_can_be_read_at_once_are_for_the_page_to_read() -> None:
    async def work() -> None:
        wire = Wire()
        here, there = wire.both
        page = here.join(Topics(log_run_ids=frozenset((A,))))
        assert (await changes(page)).is_partial
        wire.stored += [line_of(number) for number in range(STREAM_ITEMS_MAX + 1)]
        there.logged(wire.stored)
        got = await changes(page)

        assert (len(got.lines), got.is_partial) == (STREAM_ITEMS_MAX, True)
        here.close()
        there.close()

    play(work)


def test_long_lines_do_not_fill_the_memory() -> None:
    async def work() -> None:
        hub = Hub()
        page = hub.join(Topics(logs=True))
        long = "x" * LOG_MESSAGE_BYTES
        batch_count = 2 * STREAM_KEPT_BYTES_MAX // STREAM_LINES_BYTES_MAX
        for batch in range(batch_count):
            hub.logged([replace(line_of(1_000 * batch + number), message=long) for number in range(100)])
            await asyncio.sleep(STREAM_PACE_S)
        await asyncio.sleep(1)
        late = await heard(page)

        assert late is not None
        assert late.told is None, "what it missed was more than is kept"
        hub.close()

    play(work)
