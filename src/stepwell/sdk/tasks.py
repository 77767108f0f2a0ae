"""Which asyncio tasks a handler has started, and whether any of them can still go on without a step's result.

A handler's tasks are known by a context variable: asyncio gives each new task a copy of its creator's context, and a task
factory, set once on each loop, notes those that carry a family. Other tasks of the process pass through untouched.
"""

from __future__ import annotations

import asyncio
import contextvars
import weakref
from collections.abc import Callable
from types import CoroutineType
from typing import Any, Final, TypeAlias, cast

Task: TypeAlias = asyncio.Task[Any]

FAMILY: Final[contextvars.ContextVar[Family | None]] = contextvars.ContextVar("stepwell_family", default=None)

_PASSIVE_MODULES: Final = frozenset({"asyncio.locks", "asyncio.queues"})
_PASSIVE_FUTURES: Final = frozenset({"_GatheringFuture"})


class Family:
    """The tasks of one handler: the root, and whatever tasks it starts.

    ``_fut_waiter``, what a task waits on, is private to asyncio, but both its implementations have it. For a task without
    it ``is_ready`` falls back on False; the caller's count of quiet turns then decides alone.
    """

    def __init__(self) -> None:
        self._parent: dict[Task, Task | None] = {}
        self._blocked: set[Task] = set()

    def add(self, task: Task, parent: Task | None) -> None:
        """Note a task at its birth."""
        if not task.done():
            self._parent[task] = parent
            task.add_done_callback(self._remove)

    def _remove(self, task: Task) -> None:
        self._parent.pop(task, None)
        self._blocked.discard(task)

    def block(self, task: Task | None) -> None:
        """Note that a task waits on a step, so that it need not be looked at."""
        if task is not None:
            self._blocked.add(task)

    def unblock(self, task: Task | None) -> None:
        """Note that a task has, or will have at once, what it waited for."""
        if task is not None:
            self._blocked.discard(task)

    def alive(self) -> list[Task]:
        """Return the tasks that haven't ended."""
        return [task for task in self._parent if not task.done()]

    def is_alone(self, task: Task | None) -> bool:
        """Tell whether no task but this one is alive."""
        if task not in self._parent:
            return False
        return len(self._parent) == 1 or all(other is task or other.done() for other in self._parent)

    def is_blocked(self) -> bool:
        """Tell whether every task that is alive waits on a step, so that nothing needs to be waited for."""
        return all(task in self._blocked or task.done() for task in self._parent)

    def is_ready(self) -> bool:
        """Tell whether a task will run in the loop's next turn."""
        for task in self._parent:
            if task in self._blocked or task.done():
                continue
            waiter: asyncio.Future[Any] | None = getattr(task, "_fut_waiter", task)
            if waiter is None or waiter.done():
                return True
        return False

    def is_busy(self) -> bool:
        """Tell whether a task seems to wait for something other than steps, tasks and their locks: for I/O or time.

        A task with living children is taken to wait for them. It is a guess, and only ever costs or saves time.
        """
        alive = self.alive()
        parents = {self._parent[task] for task in alive}
        return any(task not in self._blocked and task not in parents and not self._is_passive(task) for task in alive)

    def _is_passive(self, task: Task) -> bool:
        waiter = getattr(task, "_fut_waiter", None)
        if waiter in self._parent or type(waiter).__name__ in _PASSIVE_FUTURES:
            return True
        return _waits_in(task) in _PASSIVE_MODULES


def _waits_in(task: Task) -> str:
    """Return the name of the module whose coroutine a task is suspended in."""
    module = ""
    at: object = task.get_coro()
    while isinstance(at, CoroutineType):
        frame = at.cr_frame
        module = str(frame.f_globals.get("__name__", "")) if frame is not None else ""
        at = cast("object", at.cr_await)
    return module


def _noting(make: Callable[..., Task]) -> Callable[..., Task]:
    """Return what makes tasks like ``make(coro, loop=loop, …)``, and notes those of families."""

    def noting(coro: Any, *, loop: asyncio.AbstractEventLoop, **options: Any) -> Task:
        task = make(coro, loop=loop, **options)
        context: contextvars.Context | None = options.get("context")
        family = FAMILY.get() if context is None else context.get(FAMILY)
        if family is not None:
            family.add(task, asyncio.current_task(loop))
        return task

    return noting


def _tracking(before: Any) -> Callable[..., Any]:
    """Return a task factory that notes the tasks of families and leaves the making to the factory before it."""
    eager: Any = getattr(asyncio, "eager_task_factory", None)  # from Python 3.12 on
    if eager is not None and getattr(before, "__code__", None) is eager.__code__:
        # anyio can't use eager tasks: it knows such a factory by its code, and takes the constructor out of its closure.
        # So ours has to look the same, or all anyio tasks of the process would become eager.
        make: Callable[..., Any] = getattr(asyncio, "create_eager_task_factory")  # noqa: B009 - not in 3.11
        return make(_noting(before.__closure__[0].cell_contents))

    def made_before(coro: Any, *, loop: asyncio.AbstractEventLoop, **options: Any) -> Task:
        return before(loop, coro, **options)

    note = _noting(asyncio.Task if before is None else made_before)

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Task:
        return note(coro, loop=loop, **options)

    return factory


_factories: Final[weakref.WeakSet[Callable[..., Any]]] = weakref.WeakSet()


def track(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop note the tasks of families. A second call changes nothing, unless the factory was replaced since."""
    before = loop.get_task_factory()
    if before not in _factories:
        factory = _tracking(before)
        _factories.add(factory)
        loop.set_task_factory(factory)
