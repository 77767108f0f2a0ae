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
from contextlib import suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from stepwell import Event, NonRetriableError, Run, Step, Stepwell, current_step
from stepwell.protocol.headers import REQUEST_ID
from tests.e2e.journal import Began, Ended, Finished, JournalWriter, Saw

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


def noting_calls(app: ASGIApp) -> ASGIApp:
    """Serve an app whose step bodies know by which call they run."""
    callers = _Callers()
    name = REQUEST_ID.lower().encode()

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/log":  # where it is asked whether it is up
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        request_id = dict(scope["headers"]).get(name, b"").decode()
        _CALL.set(_Call(request_id.partition(".")[2], await callers.pid_of(scope["client"])))
        await app(scope, receive, send)

    return serve


def make_app(journal: JournalWriter) -> Stepwell:
    """Make an app that notes what it does."""
    sw = Stepwell("acme")
    numbers = itertools.count(1)

    async def body(run: str, step: str, *, is_failing: bool = False) -> str:
        execution = f"{step} {os.getpid()}-{next(numbers)}"
        call = _CALL.get()
        journal.note(Began(execution, run, step, call.attempt, os.getpid(), call.caller_pid, time.monotonic()))
        await asyncio.sleep(random.choice(_BODY_S))
        is_failed = is_failing or (step == "first" and current_step().attempt == 0)
        journal.note(Ended(execution, time.monotonic(), is_failed))
        if is_failing:
            journal.note(Finished(run))
            raise NonRetriableError("as it should")
        if is_failed:
            raise RuntimeError("the first attempt fails")
        return execution

    async def noted(step: Step, run: Run, name: str) -> str:
        value = await step.run(name, body, run.id, name)
        journal.note(Saw(run.id, name, value))
        return value

    def finished(run: Run, *values: str) -> list[str]:
        journal.note(Finished(run.id))
        return list(values)

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
        return finished(run, await noted(step, run, "first"), await noted(step, run, "second"))

    @sw.function("doomed", on="user.signedup", retries=RETRIES)
    async def doomed(step: Step, run: Run) -> None:
        await step.run("boom", body, run.id, "boom", is_failing=True)

    return sw


if __name__ == "__main__":
    sw = make_app(JournalWriter(Path(sys.argv[2])))
    uvicorn.run(
        noting_calls(sw.asgi()),
        host="127.0.0.1",
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        lifespan="off",
    )
