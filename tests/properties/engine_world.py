"""The real engine on the real SQLite store, in virtual time; every call waits until the test answers it."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import shutil
import sqlite3
import tempfile
from collections.abc import Coroutine, Generator, Sequence
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

import msgspec

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import Event, Function, OpsReply, Reply, ResultReply
from stepwell.engine.engine import Engine
from stepwell.engine.ids import IdSource, ulid_text
from stepwell.engine.transport import OutgoingCall
from stepwell.protocol.ids import EventId, ReplicaId, RunId, step_hash
from stepwell.protocol.ops import Op
from stepwell.store.sqlite import SQLiteStore
from tests.simulation.loop import SimulatedLoop
from tests.store.database import Worker
from tests.unit.engine.making import DEV, T0, event_of

T = TypeVar("T")

MOMENT_S: Final = 0.001
"""Within it everything happens that can happen now: virtual time goes on only when nothing is ready."""


class EngineWorld:
    """An engine with some functions of one app. What is done has come to rest when it returns."""

    def __init__(self, folder: Path, seed: int, functions: Sequence[Function], *, calls_per_app_max: int = 100) -> None:
        self.calls: dict[str, OutgoingCall] = {}
        """The calls that wait for their answers, by request id, in the order in which they were made."""
        self.made: list[OutgoingCall] = []
        """All calls, in that order."""
        self._answers: dict[str, asyncio.Future[Reply]] = {}
        self._numbers = itertools.count(1)
        self._loop = SimulatedLoop(Random(seed), turns_max=1_000_000_000)
        clock = Clock(lambda: T0 + round(self._loop.time() * 1000), elapsed=self._loop.time)
        self._path = folder / "db"
        shutil.copy(_migrated(), self._path)
        self._store = SQLiteStore(self._path, ReplicaId("replica-1"), is_threaded=False, is_durable=False)
        self.engine = Engine(
            self._store,
            self,
            environment=DEV,
            clock=clock,
            ids=IdSource(clock.now, Random(seed)),
            calls_per_app_max=calls_per_app_max,
        )
        self._do(self.engine.start())
        self.sync(*functions)

    async def call(self, call: OutgoingCall) -> Reply:
        """Be the transport."""
        answer = self._answers[call.request_id] = asyncio.get_running_loop().create_future()
        self.calls[call.request_id] = call
        self.made.append(call)
        try:
            return await answer
        finally:
            del self._answers[call.request_id], self.calls[call.request_id]

    @property
    def now(self) -> int:
        return self.engine.clock.now()

    def sync(self, *functions: Function) -> None:
        """Register functions, whose version must be new."""

        async def sync() -> None:
            await Worker(self._store).sync("app", *functions)
            await self.engine.registries.refresh(DEV)
            self.engine._scheduler.recheck()  # as the engine's own sync does

        self._do(sync())

    def send(self, name: str, *data: Any) -> list[list[RunId]]:
        """Send events of a name together; return the runs that are planned for each, in the order of the functions."""
        events = [self._event(name, each) for each in data]
        accepted = self._do(self.engine.ingest(events))
        return [[run.id for run in intake.runs] for intake in accepted.intakes]

    def _event(self, name: str, data: Any) -> Event:
        id = ulid_text(self.now, next(self._numbers).to_bytes(10, "big"))
        event = event_of(1, name, data=data, ts=self.now, id=id)
        return msgspec.structs.replace(event, id=EventId(id), received_at=self.now)

    def answer(self, call: OutgoingCall, reply: Reply) -> None:
        """Let the app answer a call."""
        self._answers[call.request_id].set_result(reply)
        self.wait(0.0)

    def wait(self, seconds: float) -> None:
        """Let time go by."""
        self._do(asyncio.sleep(seconds))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Look into the database."""
        with closing(sqlite3.connect(self._path)) as connection:
            return connection.execute(sql).fetchall()

    def close(self) -> None:
        self._do(self.engine.stop(grace_s=0))
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        async def and_come_to_rest() -> T:
            result = await work
            await asyncio.sleep(MOMENT_S)
            return result

        return self._loop.run_until_complete(and_come_to_rest())


@contextmanager
def engine_world(seed: int, *functions: Function, calls_per_app_max: int = 100) -> Generator[EngineWorld]:
    """Make a world in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="stepwell-") as folder:
        world = EngineWorld(Path(folder), seed, functions, calls_per_app_max=calls_per_app_max)
        try:
            yield world
        finally:
            world.close()


@cache
def _migrated() -> Path:
    """Return an empty database, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="stepwell-"))
    atexit.register(shutil.rmtree, folder)
    path = folder / "db"

    async def make() -> None:
        store = SQLiteStore(path, ReplicaId("nobody"), is_threaded=False, is_durable=False)
        await store.start(now=T0)
        await store.stop()

    loop = SimulatedLoop(Random(0))
    loop.run_until_complete(make())
    loop.close()
    return path


DONE: Final = ResultReply(b'"done"')


def ran(title: str) -> OpsReply:
    """A step ran; the function goes on after it, in another call."""
    return _ops(Op(id=step_hash(title), op="StepRun", display_name=title, data=msgspec.Raw(b"1")))


def sleeps(title: str, duration: str) -> OpsReply:
    """The function sleeps."""
    return _ops(Op(id=step_hash(title), op="Sleep", name=duration, display_name=title))


def waits(title: str, event: str, **opts: Any) -> OpsReply:
    """The function waits for an event."""
    return _ops(Op(id=step_hash(title), op="WaitForEvent", name=event, display_name=title, opts=opts))


def memo(call: OutgoingCall, title: str) -> Any:
    """Return what a call is told of a step; ``KeyError`` when it isn't."""
    return msgspec.json.decode(call.body)["steps"][step_hash(title)]


def _ops(*ops: Op) -> OpsReply:
    return OpsReply(ops=ops, request_version=2)
