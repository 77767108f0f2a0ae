"""Counts of runs by when and how they ended."""

from __future__ import annotations

import pytest

from stepwell.engine.core.model import RunStatus
from stepwell.protocol.sync import Trigger
from tests.store.database import Database, Worker
from tests.store.past import Past
from tests.unit.engine.making import DEV, T0, function_of

COMPLETED = RunStatus.COMPLETED


@pytest.fixture
async def past(worker: Worker, database: Database) -> Past:
    await worker.sync("app", function_of(), function_of("app-g", triggers=[Trigger(event="b")]))
    return Past(worker, database)


async def test_ended_runs_are_counted_in_their_buckets_and_open_ones_apart(past: Past) -> None:
    for at, name in ((T0, "a"), (T0 + 999, "a"), (T0 + 1_000, "b"), (T0 + 5_000, "a")):
        past.now = at
        await past.ended(name)
    await past.started("a")

    counts = await past.worker.store.insight.count_runs(DEV, None, start=T0, end=T0 + 5_000, bucket_ms=1_000)

    assert sorted(counts.ended) == [(0, COMPLETED, 2), (1, COMPLETED, 1)]
    assert counts.unfinished == {RunStatus.RUNNING: 1}
    assert counts.counted_from is None


async def test_the_runs_of_some_functions_are_counted(past: Past) -> None:
    for name in "aab":
        await past.ended(name)
    await past.started("b")
    insight = past.worker.store.insight

    async def counted(*ids: str) -> tuple[int, int]:
        found = await insight.count_runs(
            DEV, [function_of(id).id for id in ids], start=T0, end=T0 + 1_000, bucket_ms=1_000
        )
        return sum(one.number for one in found.ended), sum(found.unfinished.values())

    assert await counted("app-f") == (2, 0)
    assert await counted("app-g") == (1, 1)
    assert await counted("app-f", "app-g") == (3, 1)
    assert await counted() == (0, 0)


async def test_only_so_many_are_counted_and_that_is_said(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stepwell.store.counts.RUNS_COUNTED_MAX", 2)
    for number in range(3):
        past.now = T0 + number * 1_000
        await past.ended()
    insight = past.worker.store.insight

    all_of_them = await insight.count_runs(DEV, None, start=T0 + 1_500, end=T0 + 9_000, bucket_ms=10_000)
    some = await insight.count_runs(DEV, None, start=T0, end=T0 + 9_000, bucket_ms=10_000)

    assert (all_of_them.counted_from, list(all_of_them.ended)) == (None, [(0, COMPLETED, 1)])
    assert (some.counted_from, list(some.ended)) == (T0 + 1_001, [(0, COMPLETED, 1)])
