"""A replica on PostgreSQL: the real engine and store, real time, and an app that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from structlog.typing import EventDict

from stepwell.engine.core.change import Policy
from stepwell.engine.core.model import Function, Reply, RunStatus
from stepwell.engine.engine import Accepted, Engine
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.ids import ReplicaId, RunId
from stepwell.store.interface import Store
from stepwell.store.postgres import PostgresStore
from stepwell.store.postgres_link import Patience
from tests.server.world import Signals
from tests.store.database import Worker
from tests.unit.engine.making import DEV, event_of, function_of, op, ops, result, step_id

TAKE_OVER_S: Final = 2.0
"""Beats every 0.4 s; orphans are released after four beats."""
QUICK: Final = Patience(connect_s=1.0, statement_s=1.0)
WAIT_S: Final = 15.0
_POLL_S: Final = 0.01

Answer = Callable[[OutgoingCall], Awaitable[Reply]]


def store_at(url: str, replica: str = "replica-1", *, patience: Patience = QUICK, **options: Any) -> PostgresStore:
    """Make the store of a replica on a database that is migrated; it isn't started."""
    options.setdefault("take_over_s", TAKE_OVER_S)
    return PostgresStore(url, ReplicaId(replica), patience=patience, is_migrating=False, **options)


class Site:
    """A replica with its app. Each function has the steps ``a`` and ``b``, unless a test answers otherwise."""

    def __init__(self, store: Store, *, take_over_s: float = TAKE_OVER_S, calls_per_app_max: int = 100) -> None:
        self.store = store
        self.calls: list[OutgoingCall] = []
        self.answer: Answer = two_steps
        self.signals = Signals()
        self.engine = Engine(
            store,
            self,
            environment=DEV,
            policy=Policy(retry_constant_ms=50),
            watcher=self.signals,
            take_over_s=take_over_s,
            calls_per_app_max=calls_per_app_max,
        )

    async def call(self, call: OutgoingCall) -> Reply:
        self.calls.append(call)
        return await self.answer(call)

    async def start(self, *functions: Function) -> None:
        """Start the engine, and register functions; by default one, that the event ``a`` starts."""
        await self.engine.start()
        worker = Worker(self.store)
        await worker.sync("app", *(functions or (function_of(),)))
        await self.engine.registries.refresh(DEV)

    async def send(self, *numbers: int) -> Accepted:
        return await self.engine.ingest([event_of(number) for number in numbers])

    async def send_one(self, number: int = 1) -> RunId:
        """Send an event and return its run."""
        return (await self.send(number)).intakes[0].runs[0].id

    async def ended(self, *runs: RunId) -> None:
        """Wait until runs have ended, whoever ended them."""

        async def are_final() -> bool:
            states = await self.store.load_runs(runs)
            return len(states) == len(runs) and all(state.run.status.is_final for state in states.values())

        await eventually(are_final, f"{len(runs)} runs have ended")

    @property
    def is_quiet(self) -> bool:
        """Nothing is being worked on, and every slot was given back."""
        return self.engine._executor.busy == 0 and self.engine._slots.used == 0


@asynccontextmanager
async def running(*sites: Site) -> AsyncGenerator[None]:
    """Stop sites at the end, whatever becomes of the block."""
    try:
        yield
    finally:
        for site in sites:
            await site.engine.stop(grace_s=0)


async def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds that nobody signals."""

    async def look() -> bool:
        return holds()

    await eventually(look, what)


async def eventually(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until a look at the database finds what it should."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not await look():
        assert asyncio.get_running_loop().time() < deadline, f"not within {WAIT_S:g} s: {what}"
        await asyncio.sleep(_POLL_S)


async def two_steps(call: OutgoingCall) -> Reply:
    """Answer as a function of two steps does."""
    for name in ("a", "b"):
        if step_id(name).encode() not in call.body:
            return ops(op("StepRun", name, data=name))
    return result(b'"done"')


async def account(site: Site, runs: Sequence[RunId]) -> None:
    """Check that runs were carried out, once, and that each of their steps was recorded once."""
    for id in runs:
        detail = await site.store.load_run(id)
        assert detail is not None
        assert (detail.run.status, detail.run.output) == (RunStatus.COMPLETED, b'"done"')
        assert [step.id for step in detail.steps] == [step_id("a"), step_id("b")]
        assert detail.jobs == []


def lines(logs: Sequence[EventDict], event: str) -> list[EventDict]:
    """Return the lines of a log with some event."""
    return [line for line in logs if line["event"] == event]
