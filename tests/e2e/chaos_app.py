"""The app of the kill tests, as a process: ``python -m tests.e2e.chaos_app PORT JOURNAL``.

It notes each execution of a step in its journal, with the attempt that it belongs to and the process that called.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from stepwell import Event, NonRetriableError, Run, Step, Stepwell, current_step
from stepwell.protocol.headers import REQUEST_ID
from tests.e2e.journal import Answered, Began, Ended, Finished, JournalWriter, Saw

RETRIES: Final = 20
"""An app that is killed uses up an attempt of each call that it takes with it."""

STEPS: Final = {
    "note": ("note",),
    "onboard": ("a", "b", "c", "nap", "d"),
    "nap": ("before", "nap", "after"),
    "flaky": ("first", "second"),
    "doomed": ("boom",),
}
"""The steps of each function."""
SLEEPS: Final = frozenset({"nap"})
FAILING: Final = frozenset({"doomed"})
EVENTS: Final = {"user.signedup": tuple(STEPS), "user.seen": ("note",)}
"""The functions that each event starts."""

_BODY_S: Final = (0.0, 0.005, 0.05, 0.3)


class _Call(NamedTuple):
    attempt: str
    caller_pid: int | None


_CALL: Final[ContextVar[_Call]] = ContextVar("call")


class _Callers:
    """Knows which process is at the other end of a connection: a sibling of this one."""

    def __init__(self) -> None:
        # By the tuple itself, of which uvicorn has one for each connection: ports are used again.
        self._known: dict[int, tuple[tuple[str, int], int | None]] = {}
        self._siblings: list[psutil.Process] = []
        self._finding = asyncio.Lock()

    async def pid_of(self, client: tuple[str, int]) -> int | None:
        if id(client) not in self._known:
            async with self._finding:
                self._known[id(client)] = (client, await asyncio.to_thread(self._find, client[1]))
        return self._known[id(client)][1]

    def _find(self, port: int) -> int | None:
        pid = self._find_among_known(port)
        if pid is None:  # there is a new one; looking for it costs much more
            self._siblings = [child for child in psutil.Process(os.getppid()).children() if child.pid != os.getpid()]
            pid = self._find_among_known(port)
        return pid

    def _find_among_known(self, port: int) -> int | None:
        for process in self._siblings:
            with suppress(psutil.Error):
                if any(connection.laddr.port == port for connection in process.net_connections("tcp4")):
                    return process.pid
        return None


def noting_calls(app: ASGIApp, journal: JournalWriter) -> ASGIApp:
    """Serve an app whose step bodies know by which call they run, and note when calls are answered."""
    callers = _Callers()
    name = REQUEST_ID.lower().encode()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/log":  # where it is asked whether it is up
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        run, _, attempt = dict(scope["headers"]).get(name, b"").decode().partition(".")
        _CALL.set(_Call(attempt, await callers.pid_of(scope["client"])))
        await app(scope, receive, send)
        journal.note(Answered(run, attempt, time.monotonic()))

    return serve


class Notes:
    """What the bodies and handlers of an app note."""

    def __init__(self, journal: JournalWriter) -> None:
        self._journal = journal
        self._numbers = itertools.count(1)

    async def body(self, run: str, step: str, *, is_failing: bool = False, fails_first: bool = False) -> str:
        """Be the body of a step, and return the name of this execution."""
        execution = f"{step} {os.getpid()}-{next(self._numbers)}"
        call = _CALL.get()
        self._journal.note(Began(execution, run, step, call.attempt, os.getpid(), call.caller_pid, time.monotonic()))
        await asyncio.sleep(random.choice(_BODY_S))
        is_failed = is_failing or (fails_first and current_step().attempt == 0)
        self._journal.note(Ended(execution, time.monotonic(), is_failed))
        if is_failing:
            self._journal.note(Finished(run))
            raise NonRetriableError("as it should")
        if is_failed:
            raise RuntimeError("the first attempt fails")
        return execution

    async def step(self, step: Step, run: Run, name: str, *, fails_first: bool = False) -> str:
        """Run a step, and note what the handler is told of it."""
        value = await step.run(name, self.body, run.id, name, fails_first=fails_first)
        self.saw(run, name, value)
        return value

    def saw(self, run: Run, what: str, value: str) -> None:
        """Note what a handler is told."""
        self._journal.note(Saw(run.id, what, value))

    def finished(self, run: Run, *values: str) -> list[str]:
        """Note the end of a handler; return its output."""
        self._journal.note(Finished(run.id))
        return list(values)


def make_app(journal: JournalWriter) -> Stepwell:
    """Make an app that notes what it does."""
    sw, notes = Stepwell("acme"), Notes(journal)
    noted, finished = notes.step, notes.finished

    @sw.function("note", on="user.*", retries=RETRIES)
    async def note(step: Step, run: Run) -> list[str]:
        return finished(run, await noted(step, run, "note"))

    @sw.function("onboard", on="user.signedup", retries=RETRIES)
    async def onboard(step: Step, run: Run) -> list[str]:
        first = await noted(step, run, "a")
        both = await asyncio.gather(noted(step, run, "b"), noted(step, run, "c"))
        await step.sleep("nap", "50ms")
        return finished(run, first, *both, await noted(step, run, "d"))

    @sw.function("nap", on="user.signedup", retries=RETRIES)
    async def nap(event: Event, step: Step, run: Run) -> list[str]:
        before = await noted(step, run, "before")
        await step.sleep("nap", event.data["nap_s"])
        return finished(run, before, await noted(step, run, "after"))

    @sw.function("flaky", on="user.signedup", retries=RETRIES)
    async def flaky(step: Step, run: Run) -> list[str]:
        return finished(run, await noted(step, run, "first", fails_first=True), await noted(step, run, "second"))

    @sw.function("doomed", on="user.signedup", retries=RETRIES)
    async def doomed(step: Step, run: Run) -> None:
        await step.run("boom", notes.body, run.id, "boom", is_failing=True)

    return sw


def serve(make: Callable[[JournalWriter], Stepwell]) -> None:
    """Serve an app, as the process that the command line asks for."""
    journal = JournalWriter(Path(sys.argv[2]))
    uvicorn.run(
        noting_calls(make(journal).asgi(), journal),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        lifespan="off",
    )


if __name__ == "__main__":
    serve(make_app)
