"""Races of async code: the first branch to end wins, and the others are closed.

A branch is a task whose context says so. Its steps are told to the server as raced, so that the end of each of them is told
at once; those of a branch that has lost are withdrawn, and refused from then on.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar

from stepwell.errors import StepUsageError
from stepwell.sdk.current import check_outside

K = TypeVar("K")
T = TypeVar("T")


class Entrant:
    """A branch of a race. The branches of a race within it have it as ``outer``."""

    def __init__(self, outer: Entrant | None) -> None:
        self._outer = outer
        self._has_lost = False

    @property
    def has_lost(self) -> bool:
        """Another branch has won, of this race or of one around it."""
        return self._has_lost or (self._outer is not None and self._outer.has_lost)

    def lose(self) -> None:
        """Note that another branch has won."""
        self._has_lost = True


ENTRANT: Final[contextvars.ContextVar[Entrant | None]] = contextvars.ContextVar("stepwell_entrant", default=None)
"""The innermost branch that code belongs to; None outside of races."""


def entrants(positional: Sequence[T], named: Mapping[str, T]) -> dict[Any, T]:
    """Return the branches by index or by name; raise ``StepUsageError`` for none, and for some of each."""
    check_outside("step.wait_for_any")
    if bool(positional) == bool(named):
        raise StepUsageError("step.wait_for_any takes branches either in order or by name, at least one")
    return dict(named) if named else dict(enumerate(positional))


async def race(branches: Mapping[K, Coroutine[Any, Any, Any]]) -> tuple[K, Any]:
    """Run branches until the first of them ends; cancel the others; return its key and its result, or raise its error.

    Raises ``StepUsageError`` for a branch that has begun already, a task, say.
    """
    if not all(asyncio.iscoroutine(branch) for branch in branches.values()):
        for branch in branches.values():
            if asyncio.iscoroutine(branch):
                branch.close()
        raise StepUsageError(
            "step.wait_for_any takes coroutines that haven't begun, such as step.sleep(…) without await:"
            " put what a task or a gather does into an async def, and give that"
        )
    loop = asyncio.get_running_loop()
    outer = ENTRANT.get()
    racing: dict[K, Entrant] = {}
    tasks: dict[K, asyncio.Task[Any]] = {}
    for key, branch in branches.items():
        racing[key] = Entrant(outer)
        context = contextvars.copy_context()
        context.run(ENTRANT.set, racing[key])
        tasks[key] = loop.create_task(branch, context=context)
    try:
        await asyncio.wait(tasks.values(), return_when=asyncio.FIRST_COMPLETED)
        winner = next(key for key, task in tasks.items() if task.done())
        for key, entrant in racing.items():
            if key != winner:
                entrant.lose()
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.wait(tasks.values())
        for task in tasks.values():
            # An error of a loser interests nobody; asyncio would say that it was never looked at.
            if not task.cancelled():
                task.exception()
    return winner, tasks[winner].result()
