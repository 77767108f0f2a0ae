"""Run an async handler against the memo up to its next new step. No I/O of its own, and no clock but the loop's turns.

**The interrupt.** A handler's steps may be called by any number of its tasks (``gather``, ``TaskGroup``,
``create_task``). A step that is called waits on a future, known or not, and the driver, in a task of its own, waits until
the handler can't go on by itself: until no task of it is ready to run. Then, in this order:

1. A called step that the memo knows is given its result: one at a time, in the order in which the server completed them, and
   the driver waits for quiet after each. So a race has the winner that it had when it was run, and a step that is called
   twice gets its indexes in the same order in every replay.
2. Otherwise steps that aren't known are what to do next. One runnable step alone runs now, while the handler waits at it
   (what it opened stays open: ``async with client: await step.run("get", client.get, url)``). Several are reported.
   Where the server takes checkpoints, the handler then gets the result of its one step, and goes on.
3. Nothing called, and not done: a task waits for I/O of its own, and the driver for it.

Then the root task is cancelled, the reply is made, and the memo will tell the rest next time. Cancelling is the only thing
that ``gather(return_exceptions=True)`` doesn't swallow and ``TaskGroup`` doesn't wrap. A task that is busy with I/O outside
of steps when the others have come to their steps gets a moment to come to its own; after that it is found later, by another
call, never lost.

A handler with one task, by far the most common, costs no turns of the loop: when it alone calls a known step, it is at once
as quiet as it can be, and is answered without waiting.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from stepwell.protocol.canonical import Json
from stepwell.protocol.ids import StepId
from stepwell.sdk.assignment import (
    Assignment,
    Interrupted,
    bound,
    check_use,
    failure,
    is_async,
    next_id,
    prepared,
    running,
    unexpected,
)
from stepwell.sdk.checkpoint import Checkpoints, call_again
from stepwell.sdk.current import HANDLER, RUNNING
from stepwell.sdk.memo import Memo
from stepwell.sdk.outcome import Failed, Found, Outcome, closing, planned, ran, returned
from stepwell.sdk.progress import Progress
from stepwell.sdk.race import ENTRANT
from stepwell.sdk.tasks import FAMILY, Family, Task, track
from stepwell.sdk.wanted import Wanted

QUIET_TURNS: Final = 6
"""Turns of the loop in which nothing of the handler happens before it counts as quiet. A result passes through one turn
for each layer of futures without a task between (a gather in a gather), which no one can see from outside."""

TURNS_MAX: Final = 10_000
"""After so many turns a handler that never waits (a loop over ``sleep(0)``) counts as quiet."""

BUSY_GRACE_S: Final = 0.1
"""How long tasks that wait for I/O outside of steps are given to come to their steps, once others have."""

TARGET_GRACE_S: Final = 30.0
"""How long the same are given to come to the one step that a call asks for."""

UNWIND_S: Final = 10.0
"""How long ``finally`` blocks and the like may take after the interrupt, before the reply is sent without them."""

log: Final = logging.getLogger("stepwell")


class Called(NamedTuple):
    """A step that a task has called and that it waits for."""

    id: StepId
    wanted: Wanted
    future: asyncio.Future[None]
    context: contextvars.Context
    task: Task | None


class AsyncReplay:
    """One replay of an async handler. ``run`` is awaited once; ``step`` is what the step tools call meanwhile."""

    def __init__(
        self,
        assignment: Assignment,
        memo: Memo,
        in_thread: Callable[..., Awaitable[Any]],
        checkpoints: Checkpoints | None = None,
        progress: Progress | None = None,
    ) -> None:
        """``in_thread(fn, *args)`` runs a plain function in a thread, in a copy of the context.

        Without ``checkpoints`` the call ends with its first new step. ``progress`` is told which step runs.
        """
        self._assignment = assignment
        self._memo = memo
        self._in_thread = in_thread
        self._checkpoints = checkpoints
        self._progress = progress
        self._family = Family()
        self._uses: dict[str, int] = {}
        self._called: dict[StepId, Called] = {}
        self._known: list[tuple[int, int, Called]] = []
        self._calls = 0
        self._lost: dict[StepId, None] = {}
        self._stirred = asyncio.Event()
        self._is_closed = False

    async def step(self, wanted: Wanted) -> Json:
        """Answer a step of the handler: from the memo, or never, until the interrupt."""
        check_use(wanted, self._assignment)
        if self._is_closed:
            await asyncio.sleep(0)  # code that swallows the interrupt and tries again and again must not hold the loop
            raise Interrupted
        entrant = ENTRANT.get()
        if entrant is not None:
            if entrant.has_lost:
                await asyncio.sleep(0)
                raise Interrupted
            wanted = wanted._replace(is_raced=True)
        id = next_id(self._uses, wanted.name)
        is_known = id in self._memo
        if is_known:
            self._memo.see(id)
        task = asyncio.current_task()
        if is_known and self._family.is_alone(task):
            return self._memo.result(id)
        called = Called(id, wanted, asyncio.get_running_loop().create_future(), contextvars.copy_context(), task)
        self._called[id] = called
        if is_known:
            heapq.heappush(self._known, (self._memo.position(id), self._calls, called))
        self._calls += 1
        self._family.block(task)
        self._stirred.set()
        try:
            await called.future
        except asyncio.CancelledError:
            # Withdrawn: by a time-out, by the failure of a sibling, by a lost race, or by the interrupt.
            self._called.pop(id, None)
            if entrant is not None and entrant.has_lost and not is_known:
                self._lost[id] = None
            self._stirred.set()
            raise
        finally:
            self._family.unblock(task)
        return self._memo.result(id)

    async def run(self, start: Callable[[], Awaitable[Any]]) -> Outcome:
        """Call the handler by ``start`` and return what it came to."""
        target = self._assignment.target
        if target is not None and target in self._memo:
            return Found([])
        loop = asyncio.get_running_loop()
        track(loop)
        context = contextvars.copy_context()
        context.run(FAMILY.set, self._family)
        context.run(RUNNING.set, None)
        context.run(HANDLER.set, self._assignment.function_id)
        root = loop.create_task(_root(start), context=context)
        root.add_done_callback(lambda _: self._stirred.set())
        try:
            return self._closing(await self._drive(root))
        finally:
            self._is_closed = True
            await self._unwind(root)

    async def _drive(self, root: Task) -> Outcome:
        is_graced = False
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            await self._settle(root)
            if root.done():
                return self._end(root)
            target = self._assignment.target
            called = None if target is None else self._called.get(target)
            # A raced step may have lost meanwhile, which the rest of the memo tells.
            if called is not None and not called.wanted.is_raced:
                return await self._execute(called)
            if self._answer_next():
                self._stirred.set()
            elif called is not None:
                return await self._execute(called)
            elif target in self._lost:
                return Found([])
            elif not self._called:
                continue
            elif target is not None:
                if not self._family.is_busy() or not await self._stirs_within(TARGET_GRACE_S):
                    return unexpected(target, self._assignment)
            elif is_graced or not self._family.is_busy() or not await self._stirs_within(BUSY_GRACE_S):
                outcome = await self._next(list(self._called.values()))
                if outcome is not None:
                    return outcome
                is_graced = False
                self._stirred.set()
            else:
                is_graced = True

    async def _settle(self, root: Task) -> None:
        """Give the loop turns until the handler can't go on by itself."""
        quiet = 0
        for _ in range(TURNS_MAX):
            if self._family.is_blocked() or quiet == QUIET_TURNS:
                return
            calls = self._calls
            await asyncio.sleep(0)
            quiet = 0 if self._calls != calls or self._family.is_ready() else quiet + 1
            if root.done():
                return

    def _answer_next(self) -> bool:
        """Give the first completed of the called steps its result; return False when none is known."""
        while self._known:
            called = heapq.heappop(self._known)[2]
            if not called.future.done():
                self._answer(called)
                return True
        return False

    def _answer(self, called: Called) -> None:
        """Let a task go on at its step, which the memo knows."""
        del self._called[called.id]
        called.future.set_result(None)
        self._family.unblock(called.task)

    async def _stirs_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return False
        return True

    async def _next(self, new: list[Called]) -> Outcome | None:
        """Do what is due: return what to answer, or None when the handler can go on."""
        if len(new) == 1 and new[0].wanted.body is not None and not self._assignment.plans_only:
            if self._checkpoints is None:
                return await self._execute(new[0])
            return self._checkpoints.begin() or await self._execute_and_keep(new[0], self._checkpoints)
        return Found([planned(called.id, called.wanted) for called in new])

    async def _execute_and_keep(self, called: Called, checkpoints: Checkpoints) -> Outcome | None:
        outcome = await self._execute(called)
        # A task that has given its step up goes another way than in a replay, which has the result at once: so replay.
        if called.future.done():
            return outcome
        ended = await checkpoints.keep(self._closing(outcome), self._memo)
        if ended is not None:
            return ended
        if called.future.done():
            return call_again()
        self._answer(called)
        return None

    def _closing(self, outcome: Outcome) -> Outcome:
        """Let the server drop what races have lost, with the first reply after they were decided."""
        return closing(outcome, list(self._lost)) if self._assignment.target is None else outcome

    async def _execute(self, called: Called) -> Outcome:
        """Run a step's body in the context of its caller, while the caller waits."""
        if called.wanted.body is None:
            return Found([planned(called.id, called.wanted)])
        context = called.context
        context.run(FAMILY.set, None)
        step = running(called.id, called.wanted, self._assignment)
        context.run(RUNNING.set, step)
        wanted = prepared(called.id, called.wanted, self._memo)
        body = bound(wanted)

        async def call() -> Any:
            if is_async(body):
                return await body()
            value = await self._in_thread(body)
            return await value if inspect.isawaitable(value) else value

        if self._progress is not None:
            self._progress.begin(step, wanted.given)
        task = asyncio.get_running_loop().create_task(call(), context=context)
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait([task])
            raise
        finally:
            if self._progress is not None:
                self._progress.end()
        if task.cancelled():
            return failure(called.id, wanted, asyncio.CancelledError("the step was cancelled"), self._assignment)
        error = task.exception()
        if error is not None:
            return failure(called.id, wanted, error, self._assignment)
        return ran(called.id, wanted, task.result(), self._assignment.function_id)

    def _end(self, root: Task) -> Outcome:
        if root.cancelled():
            return Failed(asyncio.CancelledError("the handler was cancelled by its own code"))
        error = root.exception()
        if error is not None:
            return Failed(error)
        target = self._assignment.target
        if target is not None:
            return Found([]) if target in self._lost else unexpected(target, self._assignment)
        return returned(root.result(), self._assignment.function_id)

    async def _unwind(self, root: Task) -> None:
        """Interrupt the handler, and the tasks that it left waiting for steps.

        Others that it left go on: they may belong to what the handler was the first to open, a connection pool say.
        """
        was_done = root.done()
        for _ in range(2):
            if not root.done():
                root.cancel()
                await asyncio.wait([root], timeout=UNWIND_S)
        left = [called for called in self._called.values() if called.task is not None and not called.task.done()]
        for called in left:
            called.future.cancel()
        if left:
            await asyncio.wait([called.task for called in left if called.task is not None], timeout=UNWIND_S)
        if not root.done():
            log.error(
                "function %s goes on after its interrupt: its code must not swallow CancelledError (run %s)",
                self._assignment.function_id,
                self._assignment.run_id,
            )
        elif not was_done and not root.cancelled() and (error := root.exception()) is not None:
            log.debug("function %s raised while it was interrupted", self._assignment.function_id, exc_info=error)


async def _root(start: Callable[[], Awaitable[Any]]) -> Any:
    return await start()
