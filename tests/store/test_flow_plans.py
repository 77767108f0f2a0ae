"""On PostgreSQL, too, waits and flow control are looked up by indexes, whatever the planner knows of the tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import asyncpg
import pytest

from stepwell.store.postgres_link import HOT_PATH
from stepwell.store.query import load_queries
from tests.postgres import Installation, Postgres, installations
from tests.store.database import migrated

ROWS: Final = 100_000
FILL: Final = f"""
insert into event
select 'E' || lpad(i::text, 25, '0'), 'dev', 'a', 'x', i, i, 0, 'x', null
from generate_series(1, {ROWS}) as i;
insert into job
select 'R' || lpad(i::text, 25, '0'), '0.0', 'timers', 'wait', 's', '', '', 0, 1, 0, 0, 0, i, 1, null, 0, null,
  null, null, null
from generate_series(1, {ROWS}) as i;
insert into wait (run_id, job_id, environment, kind, name, path, value, condition, created_at, expires_at)
select 'R' || lpad(i::text, 25, '0'), '0.0', 'dev', case when i % 100 = 0 then 'signal' else 'event' end,
  'a' || (i % 2), '["data","order"]', i::text, null, 1, 2
from generate_series(1, {ROWS}) as i;
insert into signal select 'dev', 'a', 'S' || i, 'x', 1 from generate_series(1, {ROWS}) as i;
insert into slot select 'k' || (i % 1000), 'R' || i, '' from generate_series(1, {ROWS}) as i;
insert into flow select 'k' || i, 'x', 1 from generate_series(1, {ROWS}) as i;
insert into gathering
select 'R' || i, 'dev', 'f' || (i % 10), 'batch', 'k' || i, 0, 1, i, 1, 1, 1
from generate_series(1, {ROWS}) as i;
insert into gathered select 'R' || i, 'E' || lpad(i::text, 25, '0') from generate_series(1, {ROWS}) as i;
"""
LOOK_UPS: Final = (
    *("event_insert", "job_resolve", "job_waiting_for", "job_keep"),
    *("wait_paths", "wait_match", "wait_signal", "wait_take", "wait_drop", "wait_look_back"),
    *("signal_take", "slot_count", "slot_holders", "slot_free", "slot_drop", "flow_load"),
    *("gathering_load", "gathering_due", "gathering_next_due", "gathering_take", "gathered_load"),
)
VALUES: Final[dict[str, Any]] = {"now": 1, "limit": 100, "environment": "dev", "name": "a", "after": "", "since": 1}
OF_TYPES: Final[dict[str, Callable[[int], Any]]] = {
    "text": lambda number: f"k{number}",
    "bigint": lambda number: number,
    "bytea": lambda _number: b"x",
}


async def planned(connection: Any, name: str) -> list[str]:
    """Return the plan of a query with the settings with which the store runs it."""
    query = load_queries("postgres")[name]
    text, parameters = query.postgres()
    rows = [[OF_TYPES[kind](number) for number in range(50)] for _, kind in query.columns]
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("; ".join(f"set local {key} = '{value}'" for key, value in HOT_PATH.items()))
        found = await connection.fetch(f"explain {text}", *rows, *(VALUES[key] for key in parameters))
        return [row[0] for row in found]
    finally:
        await transaction.rollback()


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
                await connection.execute("analyze")
            for name in LOOK_UPS:
                plans[name, known] = await planned(connection, name)
        await connection.close()

    scanned = {key: lines for key, lines in plans.items() if any("Seq Scan" in line for line in lines)}
    assert scanned == {}
    assert all(any("Index" in line for line in lines) for lines in plans.values())
