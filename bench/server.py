"""The servers under measurement: how each is started, and what it costs when nothing happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

YARDSTICK: Final = Path(__file__).parent / "yardstick"
SIGNING_KEY: Final = "signkey-bench-" + "ab" * 32
EVENT_KEY: Final = "bench-event-key"
API_TOKEN: Final = "bench-api-token"
_START_S: Final = 30
_STOP_S: Final = 15
_LOG_CHARS_MAX: Final = 2000


class Server(NamedTuple):
    """A server that runs. ``arguments`` are what a workload of the yardstick must be told to be let in."""

    name: str
    url: str
    pid: int
    arguments: tuple[str, ...] = ()


@contextmanager
def floor(db: str, folder: Path) -> Generator[Server]:
    """Run the floor server on a database: a file, or a ``postgresql://`` URL."""
    port = free_port()
    command = [sys.executable, str(YARDSTICK / "floor_server.py"), str(port), db]
    with _started(command, port, folder / "floor.log") as pid:
        yield Server("floor", f"http://127.0.0.1:{port}", pid)


@contextmanager
def stepwell(db: str, folder: Path, *flags: str, is_signed: bool = False, name: str = "stepwell") -> Generator[Server]:
    """Run Stepwell on a database, for development, or signed, as in production."""
    port = free_port()
    command = [sys.executable, "-m", "stepwell.cli.main"]
    arguments: tuple[str, ...] = ()
    if is_signed:
        command += ["start", "--signing-key", SIGNING_KEY, "--event-key", EVENT_KEY, "--api-token", API_TOKEN]
        arguments = ("--signing-key", SIGNING_KEY, "--event-key", EVENT_KEY)
    else:
        command += ["dev", "--no-discovery"]
    command += ["--port", str(port), "--db", db, *flags]
    with _started(command, port, folder / f"{name}.log") as pid:
        yield Server(name, f"http://127.0.0.1:{port}", pid, arguments)


def idle(server: Server, seconds: float) -> tuple[float, float]:
    """Return the share of one core that a server uses when nothing happens, in percent, and its resident megabytes."""
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


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _started(command: list[str], port: int, log: Path) -> Generator[int]:
    """Run a server until the block ends; raises with its output when it doesn't come up."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + _START_S
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0:4]} did not start:\n{log.read_text()[-_LOG_CHARS_MAX:]}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
