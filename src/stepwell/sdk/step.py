"""The step tools: what a handler calls to make parts of itself durable.

A step that is known is answered from the memo. One that isn't is either run now, as the only one, or reported to the server
with the others that are due together; then the handler is interrupted, and called again when there is more to know. So code
between steps runs many times, and a step's own code once (again after a failure, or a crash in the middle).

What that means for a handler:

- Let what depends on time, chance or the outside stand in steps; the code between must come to the same steps each time.
- A step's result is what JSON makes of it: a dataclass comes back as a dict, a datetime as text.
- The interrupt is a cancellation: an async handler sees ``CancelledError``, a plain one ``Interrupted``; ``except Exception``
  catches neither. ``finally`` blocks and the ends of ``with`` run at each interrupt, not only at the end of the run: close
  connections there, but do nothing to be done once. Steps called while it unwinds are refused, and never reported.
- ``except BaseException`` must raise again. What a handler does after swallowing the interrupt is for nothing.
- ``asyncio.timeout`` measures one call, not the run, and doesn't cut a running step short: put it into the step.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, TypeVar, overload

from stepwell.errors import DurationError, StepUsageError
from stepwell.limits import DAY_MS, SLEEP_MS_MAX
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import Duration, duration_ms, duration_text, time_text
from stepwell.protocol.ops import OpCode
from stepwell.sdk.current import current_step
from stepwell.sdk.event import Event, Sendable, sendables
from stepwell.sdk.wanted import Asked, Wanted

P = ParamSpec("P")
T = TypeVar("T")

SEND_TYPE = "step.sendEvent"


class AsyncSteps(Protocol):
    """What knows the memo, for async handlers."""

    async def step(self, wanted: Wanted) -> Json:
        """Return the step's result, or wait until the interrupt."""
        ...


class SyncSteps(Protocol):
    """What knows the memo, for plain handlers."""

    def step(self, wanted: Wanted) -> Json:
        """Return the step's result, or raise ``Interrupted``."""
        ...

    def parallel(self, branches: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run branches of which each may stop at a step that isn't known."""
        ...


class _Tools:
    """What both kinds of step tools share."""

    @property
    def idempotency_key(self) -> str:
        """The key of the step that is being run, for third parties; see ``RunningStep.idempotency_key``.

        Raises ``StepUsageError`` outside a step.
        """
        return current_step().idempotency_key


class Step(_Tools):
    """The step tools of async handlers. Concurrent steps: ``asyncio.gather`` and ``asyncio.TaskGroup``, as usual.

    >>> async def handler(event: Event, step: Step) -> None:
    ...     user, plan = await asyncio.gather(step.run("user", load_user, event), step.run("plan", load_plan, event))
    """

    def __init__(self, steps: AsyncSteps, send: Callable[[list[Event]], Awaitable[list[str]]]) -> None:
        self._steps = steps
        self._send = send

    @overload
    async def run(self, id: str, body: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def run(self, id: str, body: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def run(self, id: str, body: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``body(*args, **kwargs)`` once and remember its result; later calls return what JSON made of it.

        A plain ``body`` runs in a thread, so that it may block. An exception in it is tried again as often as the function's
        ``retries`` say; then ``StepError`` is raised here. ``NonRetriableError`` fails the step now, ``RetryAfterError``
        sets the time of the next attempt. The same ``id`` used again counts as another step.
        """
        return await self._steps.step(Wanted(id, body, args, kwargs))

    async def sleep(self, id: str, duration: Duration) -> None:
        """Sleep ``"3d"``, a number of seconds or a timedelta, up to 366 days; nothing runs, or is held, meanwhile."""
        await self._steps.step(sleeping(id, duration))

    async def sleep_until(self, id: str, time: datetime.datetime | str) -> None:
        """Sleep until a time with a zone (a datetime, or ISO 8601 text); a time that has gone by doesn't sleep."""
        await self._steps.step(sleeping_until(id, time))

    async def send(
        self,
        id: str,
        event: str | Sendable | Iterable[Sendable],
        data: Mapping[str, Json] | None = None,
    ) -> list[str]:
        """Send events once; return their ids.

        An event without an id gets one made of the step, so that an attempt after a crash starts nothing twice.
        """
        events = sendables(event, data, id=None, ts=None, user=None)

        async def send_all() -> list[str]:
            return await self._send(identified(events))

        sent: list[str] = await self._steps.step(Wanted(id, send_all, type=SEND_TYPE))
        return sent


class SyncStep(_Tools):
    """The step tools of plain (``def``) handlers: the same, without ``await``."""

    def __init__(self, steps: SyncSteps, send: Callable[[list[Event]], list[str]]) -> None:
        self._steps = steps
        self._send = send

    @overload
    def run(self, id: str, body: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    def run(self, id: str, body: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    def run(self, id: str, body: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run ``body(*args, **kwargs)`` once and remember its result, as ``Step.run`` does."""
        return self._steps.step(Wanted(id, body, args, kwargs))

    def sleep(self, id: str, duration: Duration) -> None:
        """Sleep, as ``Step.sleep`` does."""
        self._steps.step(sleeping(id, duration))

    def sleep_until(self, id: str, time: datetime.datetime | str) -> None:
        """Sleep until a time, as ``Step.sleep_until`` does."""
        self._steps.step(sleeping_until(id, time))

    def send(
        self,
        id: str,
        event: str | Sendable | Iterable[Sendable],
        data: Mapping[str, Json] | None = None,
    ) -> list[str]:
        """Send events once, as ``Step.send`` does."""
        events = sendables(event, data, id=None, ts=None, user=None)
        sent: list[str] = self._steps.step(Wanted(id, lambda: self._send(identified(events)), type=SEND_TYPE))
        return sent

    def parallel(self, branches: Sequence[Callable[[], T]]) -> list[T]:
        """Run the steps of several branches at the same time; return the branches' results in their order.

        >>> def handler(event: Event, step: SyncStep) -> None:
        ...     branches = [lambda: step.run("user", load_user, event), lambda: step.run("plan", load_plan, event)]
        ...     user, plan = step.parallel(branches)

        Each branch is a callable without arguments that calls steps, one after the other if it likes. The code of the
        branches itself runs in this thread, one branch after the other; only their steps run at the same time. When
        branches raise, all come to their end first; then the error of the first of them is raised.
        """
        return self._steps.parallel(branches)


def identified(events: list[Event]) -> list[Event]:
    """Give the events of a step ids that every attempt of the step gives them."""
    key = current_step().idempotency_key
    return [
        event if event.id else Event(event.name, event.data, f"{key}-{index}", event.ts, event.user, event.v)
        for index, event in enumerate(events)
    ]


def sleeping(id: str, duration: Duration) -> Wanted:
    """Return a sleep for a duration; raise ``StepUsageError`` for one that can't be."""
    try:
        ms = duration_ms(duration)
    except DurationError as error:
        raise StepUsageError(f"step {id!r}: {error}") from None
    if ms > SLEEP_MS_MAX:
        raise StepUsageError(f"step {id!r} sleeps {duration!r}; the most is {SLEEP_MS_MAX // DAY_MS} days")
    return Wanted(id, asked=Asked(OpCode.SLEEP, name=duration_text(ms)))


def sleeping_until(id: str, time: datetime.datetime | str) -> Wanted:
    """Return a sleep until a time; raise ``StepUsageError`` for one without a zone, and for text that isn't one."""
    try:
        at = datetime.datetime.fromisoformat(time) if isinstance(time, str) else time
    except ValueError:
        raise StepUsageError(f"step {id!r}: {time!r} is not a time; write it like 2030-01-31T09:00:00Z") from None
    if at.tzinfo is None:
        raise StepUsageError(f"step {id!r}: {time!r} has no time zone; add one (Z, +02:00, datetime.UTC)")
    return Wanted(id, asked=Asked(OpCode.SLEEP, name=time_text(round(at.timestamp() * 1000))))
