"""One server process of a world, and the network between it and the app."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from multidict import CIMultiDict

from stepwell.engine.clock import Clock
from stepwell.engine.core.change import Policy
from stepwell.engine.core.model import Reply
from stepwell.engine.core.reply import read_reply, server_error
from stepwell.engine.engine import Engine
from stepwell.engine.ids import IdSource
from stepwell.engine.transport import OutgoingCall
from stepwell.errors import StoreError
from stepwell.protocol.ids import EnvironmentId, ReplicaId
from tests.simulation.database import SharedStore, SimulatedStore

if TYPE_CHECKING:
    from tests.simulation.world import World

T = TypeVar("T")

DEV = EnvironmentId("dev")
TAKE_OVER_S = 10.0


class Replica:
    """One server process, from its start to its end: killed, or stopped in good order."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.is_dead = self.is_paused = self.is_serving = False
        self.ended = asyncio.Event()
        """It was killed, or has stopped."""
        self.leaving = asyncio.Event()
        """It ended, or began to stop: another one may take its place."""
        self.ill_at = world.loop.time()
        """When its own connection to the database, or the process itself, last had trouble; when it started."""
        chance = Random(f"{world.seed}/{number}")
        self.skew_ms = 0
        if world.is_shared:
            self.skew_ms = chance.choice([0, 0, 500, -500, 3_600_000, -3_600_000, 86_400_000])
        clock = Clock(self.wall_ms, elapsed=world.loop.time)
        kind = SharedStore if world.is_shared else SimulatedStore
        self.store = kind(world, self, world.path, ReplicaId(f"replica-{number}"))
        self.engine = Engine(
            self.store,
            self,
            environment=DEV,
            clock=clock,
            ids=IdSource(clock.now, chance),
            policy=Policy(retry_constant_ms=world.retry_constant_ms),
            calls_per_app_max=world.calls_per_app_max,
            take_over_s=TAKE_OVER_S,
            is_sampling=world.is_sampling,
        )

    def wall_ms(self) -> int:
        """Return what the clock on its wall shows."""
        return self.world.true_ms() + self.skew_ms

    def note_illness(self) -> None:
        self.ill_at = self.world.loop.time()

    def run(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task of this process: it, and what it starts, ends with the process."""
        return self.world.loop.run_as(self, self.world.loop.create_task, work)

    # -- the network --------------------------------------------------------------------------------------------

    async def call(self, call: OutgoingCall) -> Reply:
        """Carry a call to the app. Once it is sent, it arrives and is worked on, whatever becomes of this process."""
        promises = self.world.promises
        promises.called(self, call)
        try:
            if self.world.strikes("refused"):
                self.world.disturbed.add(call.run_id)
                await asyncio.sleep(0.001)
                return server_error("http_unreachable", "Unable to reach SDK URL: connection refused")
            carrying = self.world.loop.run_as(None, self.world.loop.create_task, self._carry(call))
            answer = await asyncio.shield(carrying)
        except asyncio.CancelledError:
            promises.abandon(call.request_id)
            raise
        finally:
            promises.returned(self, call)
        if answer is None:
            return server_error("http_unreachable", "it closed the connection before it answered")
        status, headers, body = answer
        return read_reply(status, CIMultiDict(headers), body, now_ms=self.engine.clock.now(), url=call.url)

    async def _carry(self, call: OutgoingCall) -> tuple[int, dict[str, str], bytes] | None:
        """Be the network. None when the answer is lost."""
        world = self.world
        await asyncio.sleep(world.latency_s())
        answer = world.deliver(call)
        if world.strikes("lost_reply"):
            world.tell("an answer is lost", run=call.run_id)
            world.disturbed.add(call.run_id)
            world.promises.abandon(call.request_id)
            await asyncio.sleep(world.latency_s())
            return None
        found = await asyncio.shield(answer)
        await asyncio.sleep(world.latency_s())
        return found

    # -- its fate -----------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Hold the process, as SIGSTOP does."""
        self.world.tell("pause", replica=self.number)
        self.is_paused = True
        self.world.loop.pause(self)

    def resume(self) -> None:
        """Let it go on, as SIGCONT does."""
        if self.is_paused and not self.is_dead:
            self.world.tell("resume", replica=self.number)
            self.note_illness()
            self.world.loop.resume(self)
        self.is_paused = False

    def crash(self, when: str) -> None:
        """End at once. What the app is doing for it goes on, and is never heard of again."""
        if self.is_dead:
            return
        self.world.tell(f"crash {when}", replica=self.number)
        self._end()
        self.world.promises.died(self)

    async def stop(self, grace_s: float) -> None:
        """Stop in good order."""
        self.world.tell("stop", replica=self.number, grace_s=grace_s)
        self.is_serving = False
        self.leaving.set()
        began_at = self.world.loop.time()
        stopping = self.run(self.engine.stop(grace_s=grace_s))
        waiting = asyncio.create_task(self.ended.wait())
        await asyncio.wait([stopping, waiting], return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self.is_dead:
            error = stopping.exception()
            if error is not None:
                self.world.fail(f"a stop failed: {error!r}")
            self.world.tell("stopped", replica=self.number)
            self._end()
            self.world.promises.stopped(self, began_at, grace_s)

    def _end(self) -> None:
        self.is_dead = True
        self.is_serving = self.is_paused = False
        self.world.loop.kill(self)
        self.store.kill()
        self.world.replicas.remove(self)
        self.leaving.set()
        self.ended.set()


def is_passing(error: BaseException | None) -> bool:
    """Tell whether a client may try the same again."""
    return isinstance(error, StoreError)
