"""Every query on the hot path is served by an index: a plan that scans a table grows with history."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from stepwell.engine.core.model import RunStatus
from stepwell.protocol.ids import EnvironmentId, EventId, FunctionId, RunId
from stepwell.store.counts import count_runs
from stepwell.store.found import EventFilter, RunFilter
from stepwell.store.lists import find_events, list_runs
from stepwell.store.migrate import migrate
from stepwell.store.query import load_queries
from stepwell.store.read import Reading, find_run
from stepwell.store.sqlite import Statements, run_plan

# A full scan of ``v`` is a look at the rows of the statement itself, and ``schedule`` holds no history.
BIG_TABLES = (
    *("run", "job", "event", "step", "attempt", "event_key"),
    *("wait", "signal", "slot", "flow", "gathering", "gathered", "sample"),
)

QUERIES = load_queries("sqlite")


@pytest.fixture(scope="module")
def db() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db, now=1)
    yield db
    db.close()


def plan(db: sqlite3.Connection, text: str) -> list[str]:
    count = text.count("?")
    return [row[3] for row in db.execute(f"explain query plan {text}", ["1"] * count)]


def scans(lines: list[str]) -> list[str]:
    """Return the steps of a plan that read a big table without looking anything up in an index."""
    tables = "|".join(BIG_TABLES)
    return [line for line in lines if re.match(rf"SCAN (?:{tables}|older)\b", line)]


@pytest.mark.parametrize("name", sorted(QUERIES))
def test_no_query_scans_a_table_that_grows(db: sqlite3.Connection, name: str) -> None:
    query = QUERIES[name]
    for row_count in (1, 128) if query.columns else (0,):
        text = query.sqlite(row_count)

        lines = plan(db, text)

        if name in ("job_partitions", "job_backlog"):
            # Its first row is the least partition, which the due index gives without going on.
            assert all("job_due" in line for line in scans(lines)), lines
        elif name == "slot_sweep":
            # When a replica died: there are as many slots as calls and runs under way.
            assert scans(lines) == ["SCAN slot USING COVERING INDEX slot_run"], lines
        else:
            assert scans(lines) == [], lines


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("job_claim", "SEARCH job USING INDEX job_due (partition=? AND due_at<?)"),
        ("job_next_due", "job_due (partition=?)"),
        ("job_backlog", "SEARCH job USING INDEX job_due (partition=? AND due_at<?)"),
        ("job_insert", "SEARCH older USING INDEX job_due (partition=? AND due_at<?)"),
        ("job_end", "SEARCH job USING PRIMARY KEY"),
        ("job_drop", "SEARCH job USING PRIMARY KEY (run_id=?)"),
        ("job_load", "SEARCH job USING PRIMARY KEY (run_id=?)"),
        ("step_load", "SEARCH step USING PRIMARY KEY (run_id=?)"),
        ("attempt_load", "SEARCH attempt USING PRIMARY KEY (run_id=?)"),
        ("run_versions", "SEARCH run USING PRIMARY KEY (id=?)"),
        ("run_update", "SEARCH run USING PRIMARY KEY (id=?)"),
        ("run_load", "SEARCH event USING PRIMARY KEY (id=?)"),
        ("job_resolve", "SEARCH job USING PRIMARY KEY (run_id=? AND id=?)"),
        ("job_waiting_for", "SEARCH job USING PRIMARY KEY (run_id=?)"),
        ("job_keep", "SEARCH job USING PRIMARY KEY (run_id=? AND id=?)"),
        ("event_insert", "SEARCH wait USING INDEX wait_match (environment=? AND name=?)"),
        ("wait_paths", "SEARCH wait USING INDEX wait_match (environment=? AND name=? AND path>?)"),
        ("wait_match", "SEARCH wait USING INDEX wait_match (environment=? AND name=? AND path=? AND value=?)"),
        ("wait_signal", "SEARCH wait USING INDEX wait_signal (environment=? AND name=?)"),
        ("wait_take", "SEARCH wait USING PRIMARY KEY (run_id=? AND job_id=?)"),
        ("wait_drop", "SEARCH wait USING PRIMARY KEY (run_id=?)"),
        ("wait_look_back", "SEARCH event USING INDEX event_name (environment=? AND name=? AND id>?)"),
        ("signal_take", "SEARCH kept USING PRIMARY KEY (environment=? AND name=?)"),
        ("slot_count", "SEARCH slot USING PRIMARY KEY (key=?)"),
        ("slot_holders", "SEARCH slot USING PRIMARY KEY (key=?)"),
        ("slot_free", "SEARCH slot USING COVERING INDEX slot_run (run_id=?)"),
        ("slot_drop", "SEARCH slot USING COVERING INDEX slot_run (run_id=?)"),
        ("flow_load", "SEARCH flow USING PRIMARY KEY (key=?)"),
        ("gathering_load", "SEARCH gathering USING INDEX gathering_key (function_id=? AND key=?)"),
        ("gathering_due", "SEARCH gathering USING INDEX gathering_due (due_at<?)"),
        ("gathering_next_due", "gathering_due"),
        ("gathering_take", "SEARCH gathering USING PRIMARY KEY (run_id=?)"),
        ("gathered_load", "SEARCH gathered USING PRIMARY KEY (run_id=?)"),
        ("schedule_due", "schedule_due (next_at<?)"),
        ("schedule_next_due", "schedule_due"),
    ],
)
def test_a_hot_query_uses_its_index(db: sqlite3.Connection, name: str, index: str) -> None:
    query = QUERIES[name]

    lines = plan(db, query.sqlite(16))

    assert any(index in line for line in lines), lines


DEV = EnvironmentId("dev")


@pytest.mark.parametrize(
    ("which", "index"),
    [
        (RunFilter(DEV), "SCAN run"),  # the newest of all: the primary key backwards, up to the limit
        (RunFilter(DEV, function_ids=(FunctionId("f"),)), "run_function (function_id=?"),
        (RunFilter(DEV, function_ids=(FunctionId("f"),), before="x"), "run_function (function_id=? AND id<?)"),
        (RunFilter(DEV, event_id=EventId("e")), "run_event (event_id=?"),
        (RunFilter(DEV, before="x"), "SEARCH run USING PRIMARY KEY (id<?)"),
        (RunFilter(DEV, statuses=frozenset([RunStatus.FAILED])), "run_failed (environment=?)"),
        (RunFilter(DEV, statuses=frozenset([RunStatus.FAILED]), before="x"), "run_failed (environment=? AND id<?)"),
        (RunFilter(DEV, statuses=frozenset([RunStatus.CANCELLED])), "run_cancelled (environment=?)"),
        (RunFilter(DEV, statuses=frozenset([RunStatus.SKIPPED])), "run_skipped (environment=?)"),
        (
            RunFilter(DEV, statuses=frozenset([RunStatus.QUEUED])),
            "SCAN job",
        ),  # the newest of what is pending, up to the limit
        (
            RunFilter(DEV, statuses=frozenset([RunStatus.RUNNING]), before="x"),
            "SEARCH job USING PRIMARY KEY (run_id<?)",
        ),
    ],
)
def test_a_list_of_runs_uses_its_index_and_sorts_nothing(db: sqlite3.Connection, which: RunFilter, index: str) -> None:
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    run_plan(list_runs(which), Statements(db))
    db.set_trace_callback(None)

    lines = plan(db, asked[-1])

    assert any(index in line for line in lines), lines
    assert not any("TEMP B-TREE" in line for line in lines), lines


@pytest.mark.parametrize(
    ("reading", "lookup"),
    [
        (list_runs(RunFilter(DEV, statuses=frozenset([RunStatus.RUNNING]))), "INDEX job_owner"),
        (list_runs(RunFilter(DEV, statuses=frozenset([RunStatus.QUEUED, RunStatus.COMPLETED]))), "INDEX job_owner"),
        (count_runs(DEV, None, start=0, end=1, bucket_ms=1), "INDEX job_owner"),
        (find_run(RunId("r")), "PRIMARY KEY (run_id=?)"),
    ],
)
def test_a_first_call_in_progress_is_found_by_an_index(
    db: sqlite3.Connection, reading: Reading[object], lookup: str
) -> None:
    """Jobs are many where many runs sleep: among them, those of one run or those that are leased are looked up."""
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    run_plan(reading, Statements(db))
    db.set_trace_callback(None)

    lines = [line for line in plan(db, asked[-1]) if re.match(r"(SCAN|SEARCH) called\b", line)]

    assert lines
    assert all(lookup in line for line in lines), lines


def test_what_the_events_of_a_page_wait_in_is_looked_up(db: sqlite3.Connection) -> None:
    """By the few events of the page, whatever waits beside them."""
    row = "('{0}', 'dev', 'e', '{0}', 1, 1, 0, x'7b7d')".format("0" * 26)
    db.execute(f"insert into event (id, environment, name, event_id, ts, received_at, is_internal, body) values {row}")
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    run_plan(find_events(EventFilter(DEV)), Statements(db))
    db.set_trace_callback(None)
    [text] = [text for text in asked if "join gathering" in text]

    lines = plan(db, text)

    assert any("gathered_event (event_id=?" in line for line in lines), lines
    assert any("SEARCH gathering USING PRIMARY KEY (run_id=?)" in line for line in lines), lines


def test_a_list_of_events_of_one_name_uses_its_index(db: sqlite3.Connection) -> None:
    lines = plan(db, "select id from event where environment = ? and name = ? and id < ? order by id desc limit 20")

    assert any("event_name (environment=? AND name=? AND id<?)" in line for line in lines), lines


def test_a_million_sleepers_do_not_slow_a_claim(tmp_path: Path) -> None:
    """The partial index holds only jobs that nobody has, in the order of their due time: 20,000 stand for a million."""
    db = sqlite3.connect(tmp_path / "db", isolation_level=None)
    migrate(db, now=1)
    db.execute(
        """
        with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        insert into job
        select printf('%026d', i), '0.0', 'app', 'timer', 's', '', '', 0, 1, 0, 0, 0, 1000000 + i, 1, null, 0, null,
          null, null, null
        from n
        """
    )
    claim = QUERIES["job_claim"]
    values = {"owner": "me", "now": 500, "partition": "app", "later": "app", "limit": 10}
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    db.set_progress_handler(count, 100)
    rows = db.execute(claim.sqlite(), [values[key] for key in claim.parameters]).fetchall()
    due = db.execute(QUERIES["job_next_due"].sqlite(1), ["app"]).fetchone()
    db.set_progress_handler(None, 0)
    db.close()

    assert rows == []
    assert due == ("app", 1_000_001)
    assert steps < 5  # hundreds of instructions of SQLite's machine, not tens of thousands
