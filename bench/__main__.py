"""Measure Stepwell beside the floor server, in the same run, and print a table of medians and ratios.

    ./dev bench                             all workloads, five rounds, on SQLite
    ./dev bench --rounds 3 noop steps3
    ./dev bench --signed                    with signing keys, in production mode
    ./dev bench --db postgres               on a private PostgreSQL, a database each; with replicas and statements
    ./dev bench blocked waits resolve       waits and flow control under load
    ./dev bench --db postgres replicas --replicas 1,2
    ./dev bench pages                       what open pages of the dashboard cost, and how soon they hear

Both servers run at once but only one is measured at a time, in turns, so that a noisy machine is noisy for both. The
floor server does the least that a durable server can do (``yardstick/floor_server.py``): the ratio says what the rest
of ours costs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import flow, pages, replicas
from bench.server import YARDSTICK, Server, floor, idle, stepwell
from bench.statements import LOG_SETTINGS, counted
from tests.postgres import Postgres, system, wheel

WORKLOAD_S: Final = 300
IDLE_S: Final = 5.0
IDLE_STATEMENTS_S: Final = 30.0
"""Long enough for several heartbeats."""
TEXTS_SHOWN_MAX: Final = 30
TEXT_CHARS_MAX: Final = 100

Line = dict[str, Any]


class Measure(NamedTuple):
    """One row of the table: a figure read from a workload's line."""

    title: str
    unit: str
    read: Callable[[Line], float | None]
    is_rate: bool = True


class Workload(NamedTuple):
    """A workload of the yardstick, with its size and the figures to show."""

    arguments: tuple[str, ...]
    measures: tuple[Measure, ...]
    has_floor: bool = True


def field(*path: str) -> Callable[[Line], float | None]:
    def read(line: Line) -> float | None:
        value: Any = line
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    return read


def only(workload: str, read: Callable[[Line], float | None]) -> Callable[[Line], float | None]:
    return lambda line: read(line) if line["workload"] == workload else None


WORKLOADS: Final = {
    "noop": Workload(("noop", "--n", "3000"), (Measure("runs without steps", "runs/s", field("runs_per_s")),)),
    "steps3": Workload(("steps3", "--n", "1000"), (Measure("three steps", "steps/s", field("steps_per_s")),)),
    "ingest": Workload(
        ("ingest", "--n", "3"),
        (
            Measure("events, one a request", "events/s", only("ingest-batch1", field("events_per_s"))),
            Measure("events, 100 a request", "events/s", only("ingest-batch100", field("events_per_s"))),
        ),
    ),
    "latency": Workload(
        ("latency", "--n", "200"),
        (
            Measure("send to first call, p50", "ms", field("first_call_ms", "p50"), is_rate=False),
            Measure("send to first call, p99", "ms", field("first_call_ms", "p99"), is_rate=False),
            Measure("between steps, p50", "ms", field("between_steps_ms", "p50"), is_rate=False),
        ),
    ),
    "seq1000": Workload(("seq1000",), (Measure("1,000 steps in a row", "s", field("seconds"), is_rate=False),)),
    "fanout10": Workload(("fanout10",), (Measure("fan-out of 10", "runs/s", field("runs_per_s")),)),
    "par500": Workload(
        ("par500",), (Measure("500 parallel steps", "s", field("seconds"), is_rate=False),), has_floor=False
    ),
    "sleepers": Workload(
        ("sleepers", "--sleep", "15"),
        (Measure("10,000 sleepers, all called in", "s", field("drain_s"), is_rate=False),),
        has_floor=False,
    ),
}
PAGES: Final = "pages"
BESIDE_PAGES: Final = Workload(("steps3", "--n", "5000"), ())
"""Long enough for pages to read what they show several times."""
POSTGRES_WORKLOADS: Final = ("statements", "replicas")
STATEMENT_LOADS: Final = (
    ("many runs at once", ("steps3", "--n", "500"), 3 * 500),
    ("20 runs a second", ("latency", "--n", "100"), 3 * 100),
)
"""Title, workload of three steps a run, and its steps."""


def measure(server: Server, workload: Workload) -> list[Line]:
    """Run one workload against one server and return its lines."""
    command = [sys.executable, "-B", str(YARDSTICK / "bench.py"), "--server", server.url, "--workload"]
    command += [*workload.arguments, "--pid", str(server.pid), *server.arguments]
    done = subprocess.run(command, capture_output=True, timeout=WORKLOAD_S, text=True, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for line in lines:
        if "error" in line or line.get("lost") or line.get("steps_run_twice") or line.get("final_calls_twice"):
            raise SystemExit(f"{server.name}: {json.dumps(line)}\n{done.stderr}")
    return lines


def report(names: Iterable[str], servers: Sequence[Server], rounds: int) -> None:
    print(f"{'':34} {'floor':>10} {'stepwell':>10} {'':9} {'ratio':>6}   (medians of {rounds})")
    for name in names:
        workload = WORKLOADS[name]
        lines: dict[str, list[Line]] = {server.name: [] for server in servers}
        for _ in range(rounds):
            for server in servers:
                if workload.has_floor or server.name != "floor":
                    lines[server.name] += measure(server, workload)
        for row in workload.measures:
            found = {
                server: [value for line in some if (value := row.read(line)) is not None]
                for server, some in lines.items()
            }
            medians = {server: statistics.median(values) for server, values in found.items() if values}
            ours, least = medians["stepwell"], medians.get("floor")
            shown = f"{least:10,.1f}" if least is not None else f"{'-':>10}"
            ratio = "" if least is None else f"{ours / least if row.is_rate else least / ours:6.2f}"
            print(f"{row.title:34} {shown} {ours:10,.1f} {row.unit:9} {ratio:>6}", flush=True)


def report_statements(postgres: Postgres, db: str, server: Server, *, with_texts: bool) -> None:
    """Print what PostgreSQL is asked: for a step under load, for a step alone, and in a minute with nothing to do."""
    print()
    for title, arguments, steps in STATEMENT_LOADS:
        with counted(postgres, db) as found:
            measure(server, Workload(arguments, ()))
        print(f"{title:34} {found.total() / steps:10.2f} statements a step", flush=True)
        show_texts(found if with_texts else Counter())
    with counted(postgres, db) as found:
        time.sleep(IDLE_STATEMENTS_S)
    print(f"{'with nothing to do':34} {found.total() * 60 / IDLE_STATEMENTS_S:10.2f} statements a minute", flush=True)
    show_texts(found if with_texts else Counter())


def show_texts(found: Counter[str]) -> None:
    for text, count in found.most_common(TEXTS_SHOWN_MAX):
        print(f"{count:8} {text[:TEXT_CHARS_MAX]}")


@contextmanager
def databases(kind: str, folder: Path) -> Generator[tuple[Callable[[str], str], Postgres | None]]:
    """Give what makes a new database of a name, and the PostgreSQL that it is on, if any."""
    if kind == "sqlite":
        yield lambda name: str(folder / f"{name}.db"), None
        return
    installation = system() or wheel()
    print(f"PostgreSQL {installation.version}, durable")
    with Postgres(installation, is_durable=True, settings=LOG_SETTINGS) as postgres:
        yield lambda name: postgres.create_database(), postgres


def main() -> int:
    options = parsed()
    with (
        tempfile.TemporaryDirectory(prefix="stepwell-bench-") as name,
        databases(options.db, folder := Path(name)) as (create_database, postgres),
    ):
        workloads = [workload for workload in options.workloads if workload in WORKLOADS]
        if workloads:
            our_db = create_database("ours")
            with (
                floor(create_database("floor"), folder) as least,
                stepwell(our_db, folder, is_signed=options.signed) as ours,
            ):
                used, rss_mb = idle(ours, IDLE_S)
                report(workloads, [least, ours], options.rounds)
                after, rss_after_mb = idle(ours, IDLE_S)
                print(f"\nidle: {used:.2f} % of a core, {rss_mb:.0f} MB; ", end="")
                print(f"after the load {after:.2f} %, {rss_after_mb:.0f} MB", flush=True)
        cases = [workload for workload in options.workloads if workload in flow.CASES]
        if cases:
            flow.report(create_database, folder, cases, is_signed=options.signed)
        if PAGES in options.workloads:
            pages.report(
                create_database,
                folder,
                lambda server: measure(server, BESIDE_PAGES)[0]["steps_per_s"],
                rounds=options.rounds,
                is_signed=options.signed,
                is_shared=postgres is not None,
            )
        if postgres is not None and "statements" in options.workloads:
            db = create_database("statements")
            with stepwell(db, folder, is_signed=options.signed) as ours:
                report_statements(postgres, db, ours, with_texts=options.texts)
        if postgres is not None and "replicas" in options.workloads:
            replicas.report(
                lambda: create_database("replicas"),
                folder,
                options.replicas,
                rounds=options.rounds,
                is_signed=options.signed,
            )
    return 0


class Options(argparse.Namespace):
    """What the command line says."""

    workloads: list[str]
    db: str
    rounds: int
    replicas: list[int]
    signed: bool
    texts: bool


def parsed() -> Options:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0] if __doc__ else None)
    known = [*WORKLOADS, *flow.CASES, PAGES, *POSTGRES_WORKLOADS]
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(known)}; default all")
    parser.add_argument("--db", choices=("sqlite", "postgres"), default="sqlite", help="default sqlite")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--signed", action="store_true", help="production mode, signed both ways")
    parser.add_argument(
        "--replicas",
        type=counts,
        default=[1, 2, 4],
        metavar="N,N",
        help="numbers of replicas to compare; default 1,2,4",
    )
    parser.add_argument("--texts", action="store_true", help="show which statements were counted")
    options = parser.parse_args(namespace=Options())
    possible = known if options.db == "postgres" else [*WORKLOADS, *flow.CASES, PAGES]
    options.workloads = options.workloads or possible
    unknown = sorted(set(options.workloads) - set(possible))
    if unknown:
        parser.error(f"no such workload on {options.db}: {', '.join(unknown)}")
    return options


def counts(text: str) -> list[int]:
    return sorted({int(number) for number in text.split(",")})


if __name__ == "__main__":
    sys.exit(main())
