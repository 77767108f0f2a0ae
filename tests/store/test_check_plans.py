"""The reconciler's walks read what they are asked for and no more, whatever the planner knows of the tables."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import pytest

from stepwell.store.found import Walk
from stepwell.store.migrate import migrate
from stepwell.store.postgres_link import HOT_PATH, WALK
from stepwell.store.query import load_queries
from tests.postgres import Installation, Postgres, installations
from tests.store.database import migrated

OPEN: Final = 5_000
ENDED: Final = 50_000
CHECKS: Final = tuple(f"check_{walk}" for walk in Walk)
REPAIRS: Final = tuple(name for name in load_queries("postgres") if name.startswith("repair_"))
STANDINGS: Final = tuple(name for name in load_queries("postgres") if name.startswith("standing_"))
FILL: Final = f"""
insert into event
select 'E' || lpad(i::text, 25, '0'), 'dev', 'a', 'x', i, i, 0, 'x', null from generate_series(1, {ENDED}) as i;
insert into run
select 'R' || lpad(i::text, 25, '0'), 'dev', 'f', 1, 'E' || lpad(i::text, 25, '0'),
  case when i <= {OPEN} then 'running' else 'completed' end, 3, 1, 0, i, i, case when i <= {OPEN} then null else i end,
  case when i <= {OPEN} then null else 'x'::bytea end, null, null, 'f', null, null, 0
from generate_series(1, {ENDED}) as i;
insert into attempt
select 'R' || lpad(i::text, 25, '0'), 's', 'x', 't', 0, 1, 2, 'error', null, null from generate_series(1, {ENDED}) as i;
insert into job
select 'R' || lpad(i::text, 25, '0'), '0.0', 'f' || i % 100, 'discover', 's', '', '', 0, 1, 0, 0, 0, i, i, null, 0, null, null, null, null
from generate_series(1, {OPEN}) as i;
insert into wait
select 'R' || lpad(i::text, 25, '0'), '0.0', 'dev', 'event', 'a', '', '', null, i, i from generate_series(1, {OPEN}) as i;
insert into slot select 'k' || i % 100, 'R' || lpad(i::text, 25, '0'), '0.0' from generate_series(1, {OPEN}) as i;
insert into flow select 'k' || i, 'x', i from generate_series(1, {OPEN}) as i;
insert into signal select 'dev', 's' || i, 'i', 'x', i from generate_series(1, {OPEN}) as i;
insert into gathering
select 'G' || lpad(i::text, 25, '0'), 'dev', 'f', 'batch', 'k' || i, 0, i, i, 1, 1, 1 from generate_series(1, {OPEN}) as i;
"""
VALUES: Final[dict[str, Any]] = {
    "after": "",
    "after_job": "",
    "after_run": "",
    "after_name": "",
    "after_id": "",
    "now": OPEN,
    "before": OPEN // 2,
    "sent_before": OPEN // 2,
    "limit": 500,
    "run_id": f"R{1:025d}",
    "key": "k1",
}
TABLES: Final = "run, job, wait, slot, flow, signal, gathering, event, attempt"


async def planned(connection: Any, name: str, mode: str) -> list[str]:
    """Return the plan of a query as the store runs it."""
    query = load_queries("postgres")[name]
    text, parameters = query.postgres()
    values = [
        [1] * 100 if kind == "bigint" else [f"R{number:025d}" for number in range(100)] for _, kind in query.columns
    ]
    transaction = connection.transaction()
    await transaction.start()
    try:
        if name in CHECKS:
            settings = f"set local plan_cache_mode = {mode}{WALK}"
        elif name in REPAIRS:
            settings = "; ".join(f"set local {key} = '{value}'" for key, value in HOT_PATH.items())
        else:
            settings = f"set local plan_cache_mode = {mode}"
        await connection.execute(settings)
        found = await connection.fetch(f"explain {text}", *values, *(VALUES[key] for key in parameters))
        return [row[0] for row in found]
    finally:
        await transaction.rollback()


def faults(name: str, lines: list[str]) -> list[str]:
    """Return the lines of a plan that read more than was asked for. There are few functions, and few sweeps."""
    small = re.compile(r"Seq Scan on (function|sweep)\b")
    return [
        line
        for line in lines
        if ("Seq Scan" in line and not small.search(line))
        or "hashed" in line
        or (name in CHECKS and ("Sort" in line or "Bitmap" in line))
    ]


@pytest.mark.parametrize("installation", [pytest.param(each, id=each.name) for each in installations()])
async def test_on_postgresql_no_table_is_scanned(
    installation: Installation, postgres_of: Callable[[Installation], Postgres]
) -> None:
    server = postgres_of(installation)
    plans: dict[tuple[str, str], list[str]] = {}
    with server.database(template=migrated(server)) as url:
        connection: Any = await asyncpg.connect(url, server_settings={"search_path": "stepwell"})
        await connection.execute(FILL)
        for known in ("unknown", "analyzed"):
            if known == "analyzed":
                await connection.execute(f"analyze {TABLES}")
            for name in (*CHECKS, *REPAIRS, *(STANDINGS if known == "analyzed" else ())):
                for mode in ("force_generic_plan", "force_custom_plan"):
                    plans[name, f"{known}, {mode}"] = await planned(connection, name, mode)
        await connection.close()

    assert {key: lines for key, lines in plans.items() if faults(key[0], lines)} == {}


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("check_runs", "SEARCH run USING INDEX run_open (id>?)"),
        ("check_runs", "SEARCH job USING PRIMARY KEY (run_id=?)"),
        ("check_jobs", "SEARCH job USING PRIMARY KEY ((run_id,id)>(?,?))"),
        ("check_waits", "SEARCH wait USING PRIMARY KEY ((run_id,job_id)>(?,?))"),
        ("check_waits", "SEARCH job USING PRIMARY KEY (run_id=? AND id=?)"),
        ("check_slots", "SEARCH slot USING PRIMARY KEY ((key,run_id,job_id)>(?,?,?))"),
        ("check_flow", "SEARCH flow USING PRIMARY KEY (key>?)"),
        ("check_signals", "SEARCH signal USING PRIMARY KEY ((environment,name,id)>(?,?,?))"),
        ("check_gatherings", "SEARCH gathering USING PRIMARY KEY (run_id>?)"),
        ("repair_jobs", "SEARCH job USING PRIMARY KEY (run_id=? AND id=?)"),
        ("repair_waits", "SEARCH wait USING PRIMARY KEY (run_id=? AND job_id=?)"),
        ("repair_slots", "SEARCH slot USING COVERING INDEX slot_run (run_id=? AND key=? AND job_id=?)"),
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
