"""A question of the dashboard that takes too long is broken off, and nobody else notices."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest

from stepwell.errors import QueryTimeout
from stepwell.protocol.ids import RunId
from stepwell.store.found import LogFilter, RunFilter
from stepwell.store.interface import Store
from stepwell.store.read import Text
from tests.postgres import Postgres
from tests.store.database import PostgresDatabase, Worker, migrated
from tests.unit.engine.making import DEV, event_of


def endless(*_: Any) -> Generator[Text, Any, Any]:
    yield Text(
        "with recursive n (i) as (select 1 union all select i + 1 from n where i < 1000000000) select count(*) from n",
        (),
    )


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.insight.find_runs(RunFilter(DEV)),
        lambda store: store.list_lines(LogFilter(DEV)),
        lambda store: store.load_spans(RunId("x")),
    ],
    ids=["runs", "lines", "spans"],
)
async def test_a_question_that_takes_too_long_is_broken_off(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, ask: Callable[[Store], Awaitable[Any]]
) -> None:
    for module in ("sqlite", "postgres"):
        monkeypatch.setattr(f"stepwell.store.{module}.READ_S_MAX", 0.1)
    with monkeypatch.context() as context:
        context.setattr("stepwell.store.lists.find_runs", endless)
        context.setattr("stepwell.store.read_log.list_lines", endless)
        context.setattr("stepwell.store.read_log.load_spans", endless)
        with pytest.raises(QueryTimeout, match=r"longer than 0\.1 s: narrow the time range"):
            await ask(worker.store)

    await worker.run(event_of())

    assert len((await worker.store.insight.find_runs(RunFilter(DEV))).runs) == 1
    assert worker.store.outage is None


async def test_the_wait_for_a_turn_counts(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "postgres"):
        monkeypatch.setattr(f"stepwell.store.{module}.READ_S_MAX", 0.2)
    monkeypatch.setattr("stepwell.store.lists.find_runs", endless)
    began = time.monotonic()

    ends = await asyncio.gather(
        *(worker.store.insight.find_runs(RunFilter(DEV)) for _ in range(30)), return_exceptions=True
    )

    assert {type(end) for end in ends} == {QueryTimeout}
    assert time.monotonic() - began < 2


async def test_a_question_of_many_statements_has_no_more_time(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    def many(_: Any) -> Generator[Text, Any, Any]:
        for _ in range(1_000):
            yield Text(
                "with recursive n (i) as (select 1 union all select i + 1 from n where i < 30000) select count(*) from n",
                (),
            )

    for module in ("sqlite", "postgres"):
        monkeypatch.setattr(f"stepwell.store.{module}.READ_S_MAX", 0.2)
    monkeypatch.setattr("stepwell.store.lists.find_runs", many)
    began = time.monotonic()

    with pytest.raises(QueryTimeout):
        await worker.store.insight.find_runs(RunFilter(DEV))

    assert time.monotonic() - began < 2


async def test_no_question_is_compiled(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL compiles what it believes to be dear, which took 500 ms of questions that take 5."""

    def setting(_: Any) -> Generator[Text, Any, list[Any]]:
        rows = yield Text("select setting from pg_settings where name = 'jit'", ())
        return [row[0] for row in rows]

    database = PostgresDatabase(postgres, migrated(postgres))
    monkeypatch.setattr("stepwell.store.lists.find_runs", setting)

    store = await database.open()
    try:
        assert await store.insight.find_runs(RunFilter(DEV)) == ["off"]
    finally:
        await database.close()
