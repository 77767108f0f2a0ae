"""An app in a thread of the test's process: its steps tell the test that they have begun, and wait until they may end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Final, Self

import httpx2
import uvicorn

from stepwell import Event, Run, Step, Stepwell, cron, current_step
from tests.e2e.harness import EVENT_KEY, SIGNING_KEY, Port, Server, eventually

YEARLY: Final = "0 0 1 1 *"
"""A schedule that fires by itself once a year; tests make it due."""
_GATE_S: Final = 60.0


@dataclass(eq=False)
class Body:
    """One execution of a step's body."""

    run: str
    step: str
    attempt: int
    """0 for the first: how many attempts have been used up."""
    number: int
    """That of the event."""
    began_at: float = field(default_factory=time.monotonic)
    ended_at: float | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)


class GatedApp:
    """An app with ``test/held`` (a step that waits for the test, and one that doesn't) and ``test/quick``.

    ``schedules`` is how many functions it has that start by ``YEARLY``.
    """

    def __init__(self, server: Server, *, id: str = "gated", schedules: int = 0) -> None:
        self.bodies: list[Body] = []
        self._port = Port()
        self.url = f"http://127.0.0.1:{self._port.number}/"
        self._app = self._make(id, server.url, schedules)
        config = uvicorn.Config(self._app.asgi(), port=self._port.number, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="gated-app")

    def _make(self, id: str, server_url: str, schedules: int) -> Stepwell:
        sw = Stepwell(
            id, url=server_url, is_dev=False, event_key=EVENT_KEY, signing_key=SIGNING_KEY, serve_origin=self.url
        )

        async def body(run: Run, event: Event, *, is_held: bool = False) -> str:
            step = current_step()
            execution = Body(run.id, step.name, step.attempt, event.data.get("n", 0))
            self.bodies.append(execution)
            logging.getLogger("gated").warning("%s begins", step.name, extra={"n": execution.number})
            if is_held:
                await asyncio.wait_for(execution.gate.wait(), _GATE_S)
            execution.ended_at = time.monotonic()
            return f"{step.name} {self.bodies.index(execution)}"

        @sw.function("held", on="test/held", retries=2)
        async def held(event: Event, step: Step, run: Run) -> list[str]:
            first = await step.run("held", body, run, event, is_held=True)
            return [first, await step.run("after", body, run, event)]

        @sw.function("quick", on="test/quick", retries=2)
        async def quick(event: Event, step: Step, run: Run) -> str:
            return await step.run("quick", body, run, event)

        for number in range(schedules):

            @sw.function(f"scheduled-{number}", on=cron(YEARLY), retries=2)
            async def scheduled(event: Event, step: Step, run: Run) -> str:
                return await step.run("scheduled", body, run, event)

        return sw

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._server.started, what="the app serves")
        return self

    def __exit__(self, *_: object) -> None:
        self.open(*self.bodies)
        self._server.should_exit = True
        self._thread.join(20)
        self._port.release()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve()
        await self._app.client.aclose()

    def register(self) -> None:
        """Have the functions registered, by the server that the app knows."""
        response = httpx2.put(self.url, trust_env=False, timeout=20)
        assert response.status_code == 200, response.text

    # -- what the steps do ------------------------------------------------------------------------------------------

    def of(self, *numbers: int, step: str = "held") -> list[Body]:
        """Return the executions of a step that belong to these events, in their order; of all, if none is named."""
        return [body for body in self.bodies if body.step == step and (not numbers or body.number in numbers)]

    def began(self, *numbers: int, step: str = "held", count: int = 1, within_s: float = 20.0) -> list[Body]:
        """Wait until so many executions have begun; return them."""

        def look() -> list[Body]:
            found = self.of(*numbers, step=step)
            assert len(found) >= count, found
            return found

        what = f"{count} executions of {step!r} of {numbers or 'all events'} have begun"
        return eventually(look, what=what, within_s=within_s)

    def open(self, *bodies: Body) -> None:
        """Let executions come to their end."""
        for body in bodies:
            self._loop.call_soon_threadsafe(body.gate.set)
