"""Waiting for runs to end."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from stepwell.engine.endings import Endings
from stepwell.errors import StoreUnavailable
from stepwell.protocol.ids import RunId

A, B = RunId("a"), RunId("b")


async def nowhere(_ids: Collection[RunId]) -> Collection[RunId]:
    return ()


async def waiting(endings: Endings, *run_ids: RunId) -> list[asyncio.Task[bool]]:
    tasks = [asyncio.create_task(endings.wait(run_id, 10.0)) for run_id in run_ids]
    await asyncio.sleep(0)
    return tasks


async def test_all_who_wait_for_a_run_are_told_of_its_end_at_once() -> None:
    endings = Endings(nowhere, look_s=60.0)
    first, second, other = await waiting(endings, A, A, B)

    endings.tell(A)

    assert await asyncio.gather(first, second) == [True, True]
    assert not other.done()
    other.cancel()
    await endings.stop()


async def test_ends_elsewhere_are_seen_by_one_look_for_all_even_after_one_that_failed() -> None:
    asked: list[set[RunId]] = []

    async def look(ids: Collection[RunId]) -> Collection[RunId]:
        asked.append(set(ids))
        if len(asked) == 1:
            raise StoreUnavailable("away")
        return ids

    endings = Endings(look, look_s=0.01)

    assert await asyncio.gather(*await waiting(endings, A, B, B)) == [True] * 3
    assert asked == [{A, B}, {A, B}]
    await endings.stop()


async def test_who_has_waited_long_enough_is_told_that_it_goes_on() -> None:
    endings = Endings(nowhere, look_s=60.0)

    assert await endings.wait(A, 0.01) is False
    endings.tell(A)
    await endings.stop()
