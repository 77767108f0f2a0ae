"""Fill a database with history, as a year of a small company leaves it: for the dashboard, which must stay fast on it.

    python -m bench.history big.db                          1,000,000 runs, 5,000,000 attempts, 30 days
    python -m bench.history postgresql://… --runs 100000

A server on the database takes in the functions; the rows of events, runs, steps and attempts then go in by the drivers'
fastest way, in the order of their ids. Two runs stand out and are printed: one of 1,000 steps with five attempts each, and
one with an output of 5 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.server import stepwell
from bench.yardstick.nullapp import App
from stepwell.engine.ids import IdSource
from stepwell.protocol.ids import step_hash

Row = tuple[Any, ...]

SPAN_MS: Final = 30 * 86_400_000
FUNCTIONS: Final = 20
LONG_STEPS: Final = 1000
LONG_ATTEMPTS: Final = 5
LARGE_BYTES: Final = 5_000_000
_STEPS: Final = ("load", "charge", "notify")
_CHUNK_RUNS: Final = 10_000
_ENVIRONMENT: Final = "dev"
_SCHEMA: Final = "stepwell"

COLUMNS: Final = {
    "event": ("id", "environment", "name", "event_id", "ts", "received_at", "is_internal", "body"),
    "run": (
        *("id", "environment", "function_id", "function_version", "event_id", "status", "version", "request_version"),
        *("is_plan_forced", "queued_at", "started_at", "ended_at", "output", "reason", "partition", "is_batch"),
    ),
    "step": ("run_id", "id", "position", "op", "title", "memo", "started_at", "ended_at", "attempt_id"),
    "attempt": (
        *("run_id", "id", "step_id", "title", "attempt", "started_at", "ended_at", "outcome", "error", "retry_at"),
    ),
}
_ERRORS: Final = (
    ("TimeoutError", "the payment provider did not answer within 10 s"),
    ("ValueError", "invoice has no customer"),
    ("ConnectionError", "crm.example.com refused the connection"),
)


class Function(NamedTuple):
    """A function that the database knows."""

    id: str
    slug: str


class Marked(NamedTuple):
    """The runs that stand out."""

    long: str
    large: str


class History:
    """Makes the rows of ended runs; the same seed makes the same, but for the time."""

    def __init__(self, functions: Sequence[Function], runs: int, *, now: int, seed: int = 1) -> None:
        self._functions, self._count, self._now = functions, runs, now
        self._chance = random.Random(seed)
        self._at = now - SPAN_MS
        self._ids = IdSource(lambda: self._at)

    def chunks(self) -> Iterator[dict[str, list[Row]]]:
        """Yield the rows of some thousand runs at a time, by table."""
        rows: dict[str, list[Row]] = {table: [] for table in COLUMNS}
        for number in range(self._count):
            self._at = self._now - SPAN_MS + SPAN_MS * number // self._count
            self._add(rows, number)
            if (number + 1) % _CHUNK_RUNS == 0:
                yield rows
                rows = {table: [] for table in COLUMNS}
        yield rows

    def marked(self) -> tuple[dict[str, list[Row]], Marked]:
        """Return the rows of the runs that stand out."""
        rows: dict[str, list[Row]] = {table: [] for table in COLUMNS}
        self._at = self._now
        long = self._begin(rows, self._functions[0], 0)
        at = self._now
        for position in range(LONG_STEPS):
            title = f"step {position}"
            for attempt in range(LONG_ATTEMPTS):
                is_last = attempt == LONG_ATTEMPTS - 1
                self._try(rows, long, position, title, attempt, at, failed_with=None if is_last else _ERRORS[0])
                at += 40
            self._keep(rows, long, position, title, at - 40, f"{position}.0.{LONG_ATTEMPTS}")
        self._end(rows, long, self._functions[0], "completed", at, b'{"data":"done"}')
        large = self._begin(rows, self._functions[1], 0)
        items = [{"number": number, "text": "x" * 60} for number in range(LARGE_BYTES // 80)]
        self._try(rows, large, 0, "", 0, at, failed_with=None)
        self._end(rows, large, self._functions[1], "completed", at, json.dumps(items, separators=(",", ":")).encode())
        return rows, Marked(long[0], large[0])

    def _add(self, rows: dict[str, list[Row]], number: int) -> None:
        chance, function = self._chance, self._functions[number % len(self._functions)]
        run = self._begin(rows, function, number)
        at = self._at + chance.randint(1, 50)
        error = chance.choice(_ERRORS)
        is_failed, is_cancelled, is_skipped = (chance.random() < share for share in (0.04, 0.01, 0.01))
        if is_skipped:
            self._end(rows, run, function, "skipped", self._at, None, reason="rate_limited")
            return
        for position, title in enumerate(_STEPS):
            tries = 3 if position == 1 else 1
            for attempt in range(tries):
                is_good = attempt == tries - 1 and not (is_failed and position == len(_STEPS) - 1)
                self._try(rows, run, position, title, attempt, at, failed_with=None if is_good else error)
                at += chance.randint(5, 400)
            if not (is_failed and position == len(_STEPS) - 1):
                self._keep(rows, run, position, title, at, f"{position}.0.{tries}")
        if is_failed:
            output = json.dumps({"name": error[0], "message": error[1], "stack": f"{error[0]}: {error[1]}"}).encode()
            self._end(rows, run, function, "failed", at, output)
        elif is_cancelled:
            self._end(rows, run, function, "cancelled", at, b"null", reason="cancelled by a user")
        else:
            self._end(rows, run, function, "completed", at, b'{"ok":true}')

    def _begin(self, rows: dict[str, list[Row]], function: Function, number: int) -> tuple[str, str, int]:
        event_id, run_id = self._ids(), self._ids()
        name = f"shop/{function.slug.rpartition('-')[2]}.created"
        data = {"user_id": number % 5_000, "amount": number % 997, "plan": "pro" if number % 3 else "free"}
        body = json.dumps(
            {"data": data, "id": event_id, "name": name, "ts": self._at, "user": {}}, separators=(",", ":")
        ).encode()
        rows["event"].append((event_id, _ENVIRONMENT, name, event_id, self._at, self._at, 0, body))
        return run_id, event_id, self._at

    def _try(
        self,
        rows: dict[str, list[Row]],
        run: tuple[str, str, int],
        position: int,
        title: str,
        attempt: int,
        at: int,
        *,
        failed_with: tuple[str, str] | None,
    ) -> None:
        error = json.dumps({"name": failed_with[0], "message": failed_with[1]}).encode() if failed_with else None
        outcome, retry_at = ("error", at + 1000) if error else ("ok", None)
        id = f"{position}.0.{attempt + 1}"
        rows["attempt"].append((run[0], id, step_hash(title), title, attempt, at, at + 30, outcome, error, retry_at))

    def _keep(
        self, rows: dict[str, list[Row]], run: tuple[str, str, int], position: int, title: str, at: int, attempt: str
    ) -> None:
        memo = b'{"data":{"ok":true,"step":%d}}' % position
        rows["step"].append((run[0], step_hash(title), position, "Step", title, memo, at, at + 30, attempt))

    def _end(
        self,
        rows: dict[str, list[Row]],
        run: tuple[str, str, int],
        function: Function,
        status: str,
        at: int,
        output: bytes | None,
        *,
        reason: str | None = None,
    ) -> None:
        id, event_id, queued_at = run
        started_at = None if status == "skipped" else min(queued_at + 5, at)
        rows["run"].append(
            (
                *(id, _ENVIRONMENT, function.id, 1, event_id, status, 4, 2),
                *(0, queued_at, started_at, at, output, reason, function.id, 0),
            )
        )


def fill(db: str, runs: int) -> Marked:
    """Fill a database; return the runs that stand out."""
    asyncio.run(_register(db))
    if db.startswith("postgresql://"):
        return asyncio.run(_fill_postgres(db, runs))
    return _fill_sqlite(db, runs)


async def _register(db: str) -> None:
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder, stepwell(db, Path(folder)) as server:
        app = App(server.url, app_id="shop", event_key="bench", signing_key=None)
        for number in range(FUNCTIONS):
            app.fn(f"f{number:02}", f"shop/f{number:02}.created", lambda _call: (200, None))
        await app.start()
        await app.register()


def _fill_sqlite(db: str, runs: int) -> Marked:
    connection = sqlite3.connect(db)
    connection.execute("pragma synchronous = off")
    functions = [Function(*row) for row in connection.execute("select id, slug from function order by slug")]
    history = History(functions, runs, now=_now())

    def insert(rows: dict[str, list[Row]]) -> None:
        for table, columns in COLUMNS.items():
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"insert into {table} ({', '.join(columns)}) values ({marks})", rows[table])
        connection.commit()

    for chunk in _told(history.chunks(), runs):
        insert(chunk)
    rows, marked = history.marked()
    insert(rows)
    connection.execute("analyze")
    connection.execute("pragma wal_checkpoint(truncate)")
    connection.close()
    return marked


async def _fill_postgres(db: str, runs: int) -> Marked:
    import asyncpg

    connection = await asyncpg.connect(db)
    found = await connection.fetch(f"select id, slug from {_SCHEMA}.function order by slug")
    history = History([Function(row["id"], row["slug"]) for row in found], runs, now=_now())

    async def insert(rows: dict[str, list[Row]]) -> None:
        for table, columns in COLUMNS.items():
            await connection.copy_records_to_table(
                table, schema_name=_SCHEMA, columns=columns, records=rows[table], timeout=600
            )

    for chunk in _told(history.chunks(), runs):
        await insert(chunk)
    rows, marked = history.marked()
    await insert(rows)
    await connection.execute("vacuum analyze")
    await connection.close()
    return marked


def _told(chunks: Iterable[dict[str, list[Row]]], runs: int) -> Iterator[dict[str, list[Row]]]:
    began, count = time.monotonic(), 0
    for chunk in chunks:
        yield chunk
        count += len(chunk["run"])
        print(f"\r{count:,} of {runs:,} runs, {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def _now() -> int:
    return time.time_ns() // 1_000_000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.history", description="Fill a database with history.")
    parser.add_argument("db", help="a new SQLite file, or the URL of an empty PostgreSQL database")
    parser.add_argument("--runs", type=int, default=1_000_000)
    options = parser.parse_args()
    marked = fill(options.db, options.runs)
    print(f"a run of {LONG_STEPS:,} steps: {marked.long}")
    print(f"a run with {LARGE_BYTES:,} bytes of output: {marked.large}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
