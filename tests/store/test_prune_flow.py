"""Retention of what flow control and waits leave: events of batches and debounces, waits and slots of pruned runs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from stepwell.engine.core.model import Function, Run
from stepwell.engine.core.trigger import start_gathered
from stepwell.engine.janitor import Retention
from stepwell.limits import DAY_MS, PRUNE_WEIGHT_MAX
from stepwell.protocol.sync import BatchConfig, DebounceConfig
from stepwell.store.interface import Store
from stepwell.store.request import Fire, FireRequest, Pruned, Verdict
from tests.store.database import Database, Worker
from tests.store.past import KEPT_MS, LATE_MS, Past
from tests.unit.engine.making import function_of, result

BATCH = BatchConfig(max_size=3, timeout="60s")
DEBOUNCE = DebounceConfig(period="7d")
TABLES = ("run", "event", "gathered", "gathering", "wait", "slot")
NOTHING = dict.fromkeys(TABLES, 0)


def configured(**config: Any) -> Function:
    function = function_of()
    return msgspec.structs.replace(function, config=msgspec.structs.replace(function.config, **config))


async def past_with(store: Store, database: Database, **config: Any) -> Past:
    return Past(await Worker(store).begin(configured(**config)), database)


async def fire_all(past: Past) -> list[Run]:
    """Start the runs of what is due."""
    worker = past.worker
    runs: list[Run] = []
    for gathering, [event, *_] in await worker.store.due_gatherings(now=past.now, limit=10):
        function = worker.registry.by_id[gathering.function_id]
        start = start_gathered(gathering, event, function, worker.registry, now=past.now)
        start = msgspec.structs.replace(start, job=worker.leased(start.job))
        request = FireRequest(
            worker.environment,
            worker.registry.revision,
            [Fire(gathering.version, gathering.key, event, start)],
            past.now,
        )
        made = await worker.store.submit(request)
        assert (made.verdict, made.fired) == (Verdict.COMMITTED, {start.run.id})
        await worker.reply(start.run.id, start.job, result(b"1"))
        runs.append(start.run)
    return runs


async def test_the_events_of_a_batch_go_with_its_run(store: Store, database: Database) -> None:
    past = await past_with(store, database, batch_events=BATCH)
    for _ in range(3):
        await past.worker.ingest(past.event())
    await fire_all(past)
    assert past.counts(*TABLES) == NOTHING | {"run": 1, "event": 3, "gathered": 3}
    janitor = past.janitor()

    past.now += KEPT_MS + LATE_MS
    first = await janitor.sweep_once()
    past.now += DAY_MS
    second = await janitor.sweep_once()

    assert past.counts(*TABLES) == NOTHING
    assert (first.runs, first.events + second.events) == (1, 3)


async def test_the_events_of_a_batch_stay_as_long_as_its_run(store: Store, database: Database) -> None:
    past = await past_with(store, database, batch_events=BATCH)
    for _ in range(3):
        await past.worker.ingest(past.event())
    [run] = await fire_all(past)

    past.now += KEPT_MS + LATE_MS
    pruned = await past.sweep(Retention(KEPT_MS, {"app-f": None}))

    assert pruned == Pruned()
    state = await past.worker.state(run.id)
    assert len(state.events) == 3


async def test_an_event_that_waits_in_a_debounce_stays(store: Store, database: Database) -> None:
    past = await past_with(store, database, debounce=DEBOUNCE)
    await past.worker.ingest(past.event())
    await past.worker.ingest(past.event())

    past.now += DAY_MS
    assert await past.sweep(DAY_MS // 2) == Pruned()

    past.now += 7 * DAY_MS
    await fire_all(past)
    past.now += DAY_MS
    janitor = past.janitor(DAY_MS // 2)
    await janitor.sweep_once()
    past.now += DAY_MS
    await janitor.sweep_once()
    assert past.counts(*TABLES) == NOTHING


@pytest.mark.parametrize("table", ["wait", "slot"])
async def test_what_a_pruned_run_has_left_goes_with_it(store: Store, database: Database, table: str) -> None:
    past = await past_with(store, database)
    run = await past.ended()
    if table == "wait":
        database.execute(
            "insert into wait (run_id, job_id, environment, kind, name, path, value, created_at, expires_at)"
            f" values ('{run.id}', 'cancel.0', 'dev', 'cancel', 'b', '', '', 1, 2)"
        )
    else:
        database.execute(f"insert into slot (key, run_id, job_id) values ('k', '{run.id}', '')")
    assert past.counts(table) == {table: 1}

    past.now += KEPT_MS + LATE_MS
    await past.sweep()

    assert past.counts(*TABLES) == NOTHING


async def test_a_run_of_very_many_events_is_deleted_in_pieces(store: Store, database: Database) -> None:
    past = await past_with(store, database)
    run = await past.ended()
    count = 2 * PRUNE_WEIGHT_MAX
    database.execute(
        "insert into gathered (run_id, event_id) with recursive n(i) as"
        f" (select 1 union all select i + 1 from n where i < {count})"
        f" select '{run.id}', 'E' || i from n"
    )

    past.now += KEPT_MS + LATE_MS
    pruned = await past.sweep()

    assert pruned.rows >= count
    assert past.counts(*TABLES) == NOTHING
