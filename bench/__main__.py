"""Measure Stepwell beside the floor server, in the same run, and print a table of medians and ratios.

    ./dev bench                      all workloads, five rounds
    ./dev bench --rounds 3 noop steps3
    ./dev bench --signed             with signing keys, in production mode

Both servers run at once but only one is measured at a time, in turns, so that a noisy machine is noisy for both. The
floor server does the least that a durable server can do (``yardstick/floor_server.py``): the ratio says what the rest
of ours costs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

YARDSTICK: Final = Path(__file__).parent / "yardstick"
START_S: Final = 30
WORKLOAD_S: Final = 300
SIGNING_KEY: Final = "signkey-bench-" + "ab" * 32
EVENT_KEY: Final = "bench-event-key"

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


class Server(NamedTuple):
    """A server under measurement."""

    name: str
    url: str
    pid: int
    arguments: tuple[str, ...] = ()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def started(command: list[str], port: int, log: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run a server until the block ends; raises with its output when it doesn't come up."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + START_S
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0:4]} did not start:\n{log.read_text()[-2000:]}")
            time.sleep(0.05)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


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


def idle(server: Server, seconds: float) -> tuple[float, float]:
    """Return the share of one core that a server uses when nothing happens, and its resident megabytes."""
    ticks = os.sysconf("SC_CLK_TCK")

    def cpu() -> float:
        fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    before = cpu()
    time.sleep(seconds)
    used = (cpu() - before) / seconds * 100
    status = Path(f"/proc/{server.pid}/status").read_text()
    rss_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return used, rss_kb / 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {', '.join(WORKLOADS)}; default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--signed", action="store_true", help="production mode, signed both ways")
    options = parser.parse_args()
    unknown = set(options.workloads) - set(WORKLOADS)
    if unknown:
        parser.error(f"no such workload: {', '.join(sorted(unknown))}")
    names = options.workloads or list(WORKLOADS)
    with tempfile.TemporaryDirectory(prefix="stepwell-bench-") as folder:
        work = Path(folder)
        floor_port, our_port = free_port(), free_port()
        ours = [sys.executable, "-m", "stepwell.cli.main"]
        arguments: tuple[str, ...] = ()
        if options.signed:
            ours += ["start", "--signing-key", SIGNING_KEY, "--event-key", EVENT_KEY, "--api-token", "bench-api-token"]
            arguments = ("--signing-key", SIGNING_KEY, "--event-key", EVENT_KEY)
        else:
            ours += ["dev", "--no-discovery"]
        ours += ["--port", str(our_port), "--db", str(work / "ours.db")]
        floor = [sys.executable, str(YARDSTICK / "floor_server.py"), str(floor_port), str(work / "floor.db")]
        with (
            started(floor, floor_port, work / "floor.log") as floor_process,
            started(ours, our_port, work / "ours.log") as our_process,
        ):
            servers = [
                Server("floor", f"http://127.0.0.1:{floor_port}", floor_process.pid),
                Server("stepwell", f"http://127.0.0.1:{our_port}", our_process.pid, arguments),
            ]
            used, rss_mb = idle(servers[1], 5)
            report(names, servers, options.rounds)
            after, rss_after_mb = idle(servers[1], 5)
    print(f"\nidle: {used:.2f} % of a core, {rss_mb:.0f} MB; after the load {after:.2f} %, {rss_after_mb:.0f} MB")
    return 0


def report(names: list[str], servers: list[Server], rounds: int) -> None:
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
            ours, floor = medians["stepwell"], medians.get("floor")
            shown = f"{floor:10,.1f}" if floor is not None else f"{'-':>10}"
            ratio = "" if floor is None else f"{ours / floor if row.is_rate else floor / ours:6.2f}"
            print(f"{row.title:34} {shown} {ours:10,.1f} {row.unit:9} {ratio:>6}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
