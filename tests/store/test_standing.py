"""What is read to say where a run stands: exact, of one moment, and as quick however many others wait."""

from __future__ import annotations

import re
import sqlite3

import msgspec
import pytest

from stepwell.engine.core.rules import rules_of
from stepwell.engine.core.standing import Used, limitings
from stepwell.limits import LINE_COUNTED_MAX
from stepwell.protocol.ids import RunId
from stepwell.protocol.sync import ConcurrencyConfig
from stepwell.store.interface import Store
from stepwell.store.migrate import migrate
from stepwell.store.query import load_queries
from tests.store.database import Database, Worker
from tests.unit.engine.making import T0, event_of, function_of, op, ops, ulid

PLAIN = function_of()
LIMITED = msgspec.structs.replace(
    PLAIN, config=msgspec.structs.replace(PLAIN.config, concurrency=ConcurrencyConfig(limit=2))
)


def waiting_before(database: Database, partition: str, count: int) -> None:
    """Put jobs into a partition that were due long ago."""
    database.execute(
        "insert into job (run_id, id, partition, kind, step_id, title, op, attempt, max_attempts, stack_current,"
        " is_joined, lost_count, due_at, created_at, generation) with recursive n(i) as"
        f" (select 1 union all select i + 1 from n where i < {count})"
        f" select 'R' || i, '0.0', '{partition}', 'discover', 's', '', '', 0, 1, 0, 0, 0, 1000 + i, 1, 0 from n"
    )


@pytest.mark.parametrize(
    ("waiting", "counted"),
    [(0, 0), (7, 7), (LINE_COUNTED_MAX, LINE_COUNTED_MAX), (3 * LINE_COUNTED_MAX, LINE_COUNTED_MAX + 1)],
)
async def test_a_place_in_line_is_counted_up_to_a_limit(
    worker: Worker, database: Database, waiting: int, counted: int
) -> None:
    _, [intake] = await worker.ingest(event_of())
    if waiting:
        waiting_before(database, PLAIN.id, waiting)

    standing = await worker.store.load_standing(intake.runs[0].id, lambda _: [], now=T0)

    assert standing is not None
    assert standing.before == {"0.0": counted}


async def test_those_who_use_a_key_are_counted_and_some_are_named(store: Store, database: Database) -> None:
    worker = await Worker(store).begin(LIMITED)
    _, [intake] = await worker.ingest(event_of())
    rules = rules_of(LIMITED.config)
    [limiting] = limitings(intake.runs[0].partition, LIMITED, rules)
    for number in range(20):
        database.execute(
            f"insert into slot (key, run_id, job_id) values ('{limiting.key}', '{ulid(number, 'Z')}', '0')"
        )

    standing = await store.load_standing(
        intake.runs[0].id, lambda partition: limitings(partition, LIMITED, rules), now=T0
    )

    assert standing is not None
    assert standing.used == {limiting.key: Used(20, tuple(RunId(ulid(number, "Z")) for number in range(6)))}


async def test_a_run_that_is_not_due_is_asked_for_no_place(worker: Worker) -> None:
    run, job = await worker.run(event_of())
    await worker.reply(run.id, job, ops(op("Sleep", "nap", value="1h")))

    standing = await worker.store.load_standing(run.id, lambda _: [], now=T0)

    assert standing is not None
    assert (len(standing.jobs), standing.before) == (1, {})


async def test_a_run_that_is_not_there_stands_nowhere(worker: Worker) -> None:
    assert await worker.store.load_standing(RunId(ulid(1)), lambda _: [], now=T0) is None


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("standing_waits", r"SEARCH wait USING PRIMARY KEY \(run_id=\?\)"),
        ("standing_failures", r"SEARCH attempt USING PRIMARY KEY \(run_id=\?\)"),
        ("standing_before", r"SEARCH job USING (COVERING )?INDEX job_due \(partition=\? AND due_at<\?\)"),
        ("standing_users", r"SEARCH slot USING PRIMARY KEY \(key=\?\)"),
    ],
)
def test_each_question_has_its_index(name: str, index: str) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, now=1)
    query = load_queries("sqlite")[name]
    text = query.sqlite(16 if query.columns else 0)

    lines = [row[3] for row in db.execute(f"explain query plan {text}", ["1"] * text.count("?"))]
    db.close()

    assert any(re.match(index, line) for line in lines), lines
