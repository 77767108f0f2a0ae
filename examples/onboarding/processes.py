"""The demo's child processes: started on ports of their own, watched, and gone when the demo is."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_S_MAX = 30
STOP_S_MAX = 5
POLL_S = 0.05
LOG_LINES = 40


class DemoError(Exception):
    """The demo can't go on."""


class Child:
    """A process and its log."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        self._process: Process | None = None

    async def start(self, command: Sequence[str], **variables: str) -> None:
        """Start it, or start it again, with these environment variables besides our own."""
        environ = {**os.environ, **variables}
        environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [environ.get("PYTHONPATH")])])
        with self.log.open("ab") as log:
            # In a session of its own, so that Ctrl-C reaches the demo alone, which then stops its children in order.
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=DEVNULL, stdout=log, stderr=STDOUT, env=environ, start_new_session=True
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def check(self) -> None:
        """Raise ``DemoError`` if it has ended, which it shouldn't."""
        if self._process is not None and self._process.returncode is not None:
            raise DemoError(f"the {self.name} ended by itself, with status {self._process.returncode}")

    def kill(self) -> None:
        """Kill it at once: it can't save anything, or say goodbye."""
        os.kill(self.pid, signal.SIGKILL)

    async def ended(self) -> None:
        """Wait until it is gone, and forget it."""
        assert self._process is not None
        await self._process.wait()
        self._process = None

    async def stop(self) -> None:
        """Ask it to end; kill it if it doesn't."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_S_MAX):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()

    def last_lines(self) -> str:
        """Return the end of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-LOG_LINES:])


def clean_environ() -> None:
    """Forget what this environment says of other servers, and of proxies: all that is called is on this machine."""
    for name in list(os.environ):
        if name.startswith(("STEPWELL_", "INNGEST_")) or name.lower().endswith("_proxy"):
            del os.environ[name]


def installed(command: str) -> str:
    """Return the path of a command of this Python's environment."""
    return str(Path(sys.executable).with_name(command))


def reserve_port(wanted: int = 0) -> socket.socket:
    """Take a port of this machine, the wanted one if it is free, until the socket is closed.

    It is bound, but doesn't listen. So servers can listen on it, which set SO_REUSEADDR, but nobody else is given it:
    not even between the server's crash and its next start.
    """
    for port in (wanted, 0):
        reserved = socket.socket()
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            reserved.bind(("127.0.0.1", port))
        except OSError:
            reserved.close()
        else:
            return reserved
    raise DemoError("no port is free on 127.0.0.1")


async def wait_until(
    what: str, is_done: Callable[[], Awaitable[bool]], *children: Child, timeout_s: float = START_S_MAX
) -> None:
    """Wait until something holds. Raises ``DemoError`` when it takes too long, or when a child ends meanwhile."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await is_done():
                for child in children:
                    child.check()
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise DemoError(f"waited {timeout_s:.0f} s for {what}") from None
