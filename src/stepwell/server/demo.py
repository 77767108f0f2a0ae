"""The demo: a built-in app as a process beside a dev server (``stepwell.demo``), turned on and off by its user.

The process ends when its standard input does: also when the server is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from typing import Final

import structlog

DEMO_APP: Final = "stepwell-demo"
_STOP_S_MAX: Final = 5.0

log = structlog.get_logger("stepwell.demo")


class Demo:
    """The process of the demo, while it is on. ``url`` is the server's."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._process: Process | None = None
        self._turning = asyncio.Lock()

    @property
    def is_on(self) -> bool:
        """Tell whether the process lives."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Turn it on, unless it is. Its app is registered a moment later."""
        async with self._turning:
            if self.is_on:
                return
            environment = {k: v for k, v in os.environ.items() if not k.startswith(("STEPWELL_", "INNGEST_"))}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",  # not what lies in this folder by chance
                "-m",
                "stepwell.demo",
                self._url,
                DEMO_APP,
                stdin=PIPE,
                stdout=DEVNULL,
                env=environment,
                start_new_session=True,  # Ctrl-C is for the server, which then ends this
            )

    async def stop(self) -> None:
        """Turn it off, if it is on, and wait for its end."""
        async with self._turning:
            process, self._process = self._process, None
            if process is None:
                return
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(_STOP_S_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                log.debug("demo.killed")
