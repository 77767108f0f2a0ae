"""Retention finds and deletes by indexes: a plan that scans a table grows with history, and so does one that sorts it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import pytest

from stepwell.store.migrate import migrate
from stepwell.store.postgres_link import HOT_PATH, WALK
from stepwell.store.query import load_queries
from tests.postgres import Installation, Postgres, installations
from tests.store.database import migrated

ROWS: Final = 100_000
WALKS: Final = ("run_walk", "run_weight", "event_walk", "event_key_walk", "sample_walk")
DELETIONS: Final = (
    "prune_lock_runs",
    "prune_attempts",
    "prune_steps",
    "prune_some_attempts",
    "prune_some_steps",
    "prune_log",
    "prune_some_log",
    "prune_spans",
    "prune_some_spans",
    "prune_tallies",
    "prune_runs",
    "prune_lock_events",
    "prune_events",
    "prune_keys",
    "prune_samples",
    "event_keep",
)
FILL: Final = f"""
insert into event
select 'E' || lpad(i::text, 25, '0'), 'dev', 'a', 'x', i, i, 0, 'x', null
from generate_series(1, {ROWS}) as i;
insert into run
select 'R' || lpad(i::text, 25, '0'), 'dev', 'f' || (i % 10), 1, 'E' || lpad(i::text, 25, '0'), 'completed', 3, 1, 0,
  i, i, i, 'x', null, null, 'f', null, null, 0
from generate_series(1, {ROWS}) as i;
insert into step
select 'R' || lpad(i::text, 25, '0'), 's', 1, 'op', 't', 'm', null, 1, 2, null, null
from generate_series(1, {ROWS}) as i;
insert into attempt
select 'R' || lpad(i::text, 25, '0'), 's', 'x', 't', 0, 1, 2, 'ok', null, null
from generate_series(1, {ROWS}) as i;
insert into log
select 'R' || lpad(i::text, 25, '0'), 'L' || lpad(i::text, 25, '0'), 'a', 0, 's', 't', 1, 20, 'l', 'm', null, 0, null
from generate_series(1, {ROWS}) as i;
insert into span
select 'R' || lpad(i::text, 25, '0'), 's', null, 'n', 1, 2, 'ok', null
from generate_series(1, {ROWS}) as i;
insert into log_tally select 'R' || lpad(i::text, 25, '0'), 1, 1, 1 from generate_series(1, {ROWS}) as i;
insert into event_key select 'f', 'e' || i, i from generate_series(1, {ROWS}) as i;
insert into sample select 'f' || (i % 10), i, 1, 1, 1 from generate_series(1, {ROWS}) as i;
"""
VALUES: Final[dict[str, Any]] = {
    "function_id": "f1",
    "after": "",
    "limit": 100,
    "count_max": 2_000,
    "environment": "dev",
    "received_before": ROWS // 2,
    "event_id": "",
    "now": ROWS // 2,
    "run_id": f"R{1:025d}",
    "until": ROWS // 2,
}


def test_every_query_of_retention_is_looked_at() -> None:
    names = [name for name in load_queries("postgres") if name.startswith("prune") or name.endswith("_walk")]

    assert set(names) <= {*WALKS, *DELETIONS}


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


async def planned(connection: Any, name: str, plan_mode: str) -> list[str]:
    """Return the plan of a query as the store runs it: deletions with the hot path's settings, walks with theirs."""
    query = load_queries("postgres")[name]
    text, parameters = query.postgres()
    ids = [f"{'E' if 'event' in name else 'R'}{number:025d}" for number in range(100)]
    values: list[list[Any]] = [ids for _ in query.columns]
    if name == "prune_keys":
        values = [["f"] * 100, [f"e{number}" for number in range(100)]]
    elif name == "prune_samples":
        values = [["f1"] * 100, list(range(100))]
    known = VALUES | ({"after": 0} if name == "sample_walk" else {})
    transaction = connection.transaction()
    await transaction.start()
    try:
        if name in DELETIONS:
            settings = "; ".join(f"set local {key} = '{value}'" for key, value in HOT_PATH.items())
        else:
            settings = f"set local plan_cache_mode = {plan_mode}{WALK}"
        await connection.execute(settings)
        rows = await connection.fetch(f"explain {text}", *values, *(known[key] for key in parameters))
        return [row[0] for row in rows]
    finally:
        await transaction.rollback()


def faults(name: str, lines: list[str]) -> list[str]:
    """Return the lines of a plan that read more than was asked for."""
    is_walk = name in WALKS
    return [
        line
        for line in lines
        if "Seq Scan" in line or "hashed" in line or (is_walk and ("Sort" in line or "Bitmap" in line))
    ]


@pytest.mark.parametrize("installation", [pytest.param(each, id=each.name) for each in installations()])
async def test_on_postgresql_no_table_is_scanned(
    installation: Installation, postgres_of: Callable[[Installation], Postgres]
) -> None:
    """Whatever the planner knows of the tables, and whether or not it knows the values."""
    server = postgres_of(installation)
    plans: dict[tuple[str, str], list[str]] = {}
    with server.database(template=migrated(server)) as url:
        connection: Any = await asyncpg.connect(url, server_settings={"search_path": "stepwell"})
        await connection.execute(FILL)

        for known in ("unknown", "analyzed"):
            if known == "analyzed":
                await connection.execute("analyze run, event, step, attempt, event_key, log, span, log_tally, sample")
            for name in WALKS:
                for mode in ("force_generic_plan", "force_custom_plan"):
                    plans[name, f"{known}, {mode}"] = await planned(connection, name, mode)
            for name in DELETIONS:
                plans[name, known] = await planned(connection, name, "")
        await connection.close()

    assert {key: lines for key, lines in plans.items() if faults(key[0], lines)} == {}


# -- SQLite -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("run_walk", "SEARCH run USING INDEX run_function (function_id=? AND id>?)"),
        ("run_weight", "SEARCH attempt USING PRIMARY KEY (run_id=?)"),
        ("run_weight", "SEARCH step USING PRIMARY KEY (run_id=?)"),
        ("run_weight", "SEARCH run USING PRIMARY KEY (id=?)"),
        ("event_walk", "SEARCH event USING PRIMARY KEY (id>?)"),
        ("event_walk", "SEARCH run USING COVERING INDEX run_event (event_id=?)"),
        ("event_key_walk", "SEARCH event_key USING PRIMARY KEY ((function_id,event_id)>(?,?))"),
        ("prune_attempts", "SEARCH attempt USING PRIMARY KEY (run_id=?)"),
        ("prune_steps", "SEARCH step USING PRIMARY KEY (run_id=?)"),
        ("prune_some_attempts", "SEARCH attempt USING PRIMARY KEY (run_id=? AND id=?)"),
        ("prune_runs", "SEARCH run USING PRIMARY KEY (id=?)"),
        ("prune_events", "SEARCH event USING PRIMARY KEY (id=?)"),
        ("prune_keys", "SEARCH event_key USING PRIMARY KEY (function_id=? AND event_id=?)"),
        ("sample_walk", "SEARCH sample USING PRIMARY KEY (function_id=? AND at>? AND at<?)"),
        ("prune_samples", "SEARCH sample USING PRIMARY KEY (function_id=? AND at=?)"),
    ],
)
def test_on_sqlite_each_look_up_has_its_index(name: str, index: str) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, now=1)
    query = load_queries("sqlite")[name]
    text = query.sqlite(64 if query.columns else 0)

    lines = [row[3] for row in db.execute(f"explain query plan {text}", ["1"] * text.count("?"))]
    db.close()

    assert any(re.sub(r"\s+", " ", line).startswith(index) for line in lines), lines
    assert not [line for line in lines if "TEMP B-TREE FOR ORDER BY" in line], lines
