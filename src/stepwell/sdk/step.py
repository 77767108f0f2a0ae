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

# ruff: noqa: A002, ASYNC109 - the protocol's names; the time-outs are the server's, not the loop's
from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import Duration
from stepwell.sdk.current import current_step
from stepwell.sdk.event import Event, Sendable, sendables
from stepwell.sdk.fetch import AiFormat, FetchResponse, as_response, fetching, inferring
from stepwell.sdk.race import entrants, race
from stepwell.sdk.wait import (
    OnConflict,
    Received,
    Signal,
    Since,
    as_event,
    as_signal,
    check_signal,
    invoking,
    sleeping,
    sleeping_until,
    waiting_for_event,
    waiting_for_signal,
)
from stepwell.sdk.wanted import Wanted

if TYPE_CHECKING:
    from stepwell.sdk.function import Function

P = ParamSpec("P")
T = TypeVar("T")

SEND_TYPE = "step.sendEvent"
SIGNAL_TYPE = "step.sendSignal"


class AsyncSteps(Protocol):
    """What knows the memo, for async handlers."""

    async def step(self, wanted: Wanted) -> Json:
        """Return the step's result, or wait until the interrupt."""
        ...


class AsyncSender(Protocol):
    """What sends to the server, for async handlers."""

    async def send(self, events: list[Event]) -> list[str]:
        """Send events; return their ids."""
        ...

    async def send_signal(self, signal: str, data: Json, *, keep: bool, id: str | None) -> str | None:
        """Send a signal; return the run that waited for it."""
        ...


class StepTools:
    """What both kinds of step tools share."""

    @property
    def idempotency_key(self) -> str:
        """The key of the step that is being run, for third parties; see ``RunningStep.idempotency_key``.

        Raises ``StepUsageError`` outside a step.
        """
        return current_step().idempotency_key


class Step(StepTools):
    """The step tools of async handlers. Concurrent steps: ``asyncio.gather`` and ``asyncio.TaskGroup``, as usual.

    >>> async def handler(event: Event, step: Step) -> None:
    ...     user, plan = await asyncio.gather(step.run("user", load_user, event), step.run("plan", load_plan, event))
    """

    def __init__(self, steps: AsyncSteps, sender: AsyncSender, events: Iterable[Event] = ()) -> None:
        """``events`` are those that the run is for."""
        self._steps = steps
        self._sender = sender
        self._received = Received(events)
        self.ai = Ai(steps)

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
            return await self._sender.send(identified(events))

        sent: list[str] = await self._steps.step(Wanted(id, send_all, type=SEND_TYPE))
        return sent

    async def wait_for_event(
        self,
        id: str,
        event: str,
        *,
        timeout: Duration,
        match: str | None = None,
        if_: str | None = None,
        since: Since = "run_start",
    ) -> Event | None:
        """Wait for the next event of a name; return it, or None after ``timeout``, up to 366 days.

        ``match="data.orderId"`` takes only one that has the same value there as the run's own event; ``if_`` is a CEL
        expression on both, ``event`` and ``async``: ``"async.data.cents > event.data.cents"``.

        An event that was sent since the run was queued counts, too, so that one which comes before its wait isn't missed,
        unless the run has had it already; with ``since=None`` only what comes from now on does.
        """
        wanted = waiting_for_event(
            id, event, match=match, if_=if_, timeout=timeout, since=since, received=self._received
        )
        return as_event(await self._steps.step(wanted), self._received)

    @overload
    async def invoke(
        self,
        id: str,
        function: Function[Callable[..., Coroutine[Any, Any, T]]],
        *,
        data: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
    ) -> T: ...
    @overload
    async def invoke(
        self,
        id: str,
        function: Function[Callable[..., T]],
        *,
        data: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
    ) -> T: ...
    @overload
    async def invoke(
        self, id: str, function: str, *, data: Mapping[str, Any] | None = None, timeout: Duration | None = None
    ) -> Any: ...
    async def invoke(
        self,
        id: str,
        function: Function[Any] | str,
        *,
        data: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """Run another function with an event of this ``data``, wait for its end, and return its result.

        ``function`` is one of this app, or the id of any on the server, its app's in front: ``"billing-charge"``. When its
        run fails or is cancelled, ``StepError`` is raised here; when it takes longer than ``timeout`` (a year unless given),
        ``InvokeTimeoutError``, and it goes on alone.
        """
        return await self._steps.step(invoking(id, function, data=data, timeout=timeout))

    async def wait_for_signal(
        self,
        id: str,
        signal: str,
        *,
        timeout: Duration,
        on_conflict: OnConflict = "fail",
        takes_kept: bool = True,
    ) -> Signal | None:
        """Wait for a signal of a name; return it, or None after ``timeout``, up to 366 days.

        A signal goes to one run. When another waits for the name already, this run fails, unless ``on_conflict="replace"``:
        then the other never gets it. A signal that was sent before and kept is taken at once, unless ``takes_kept=False``.
        """
        wanted = waiting_for_signal(id, signal, timeout=timeout, on_conflict=on_conflict, takes_kept=takes_kept)
        return as_signal(await self._steps.step(wanted))

    async def send_signal(self, id: str, signal: str, data: Json = None, *, keep: bool = True) -> str | None:
        """Send a signal, in a step of its own; return the id of the run that waited for it, None when none did.

        One that nobody waits for is kept for the next that does, unless ``keep=False``.
        """
        check_signal(f"step {id!r}", signal)

        async def send_it() -> str | None:
            return await self._sender.send_signal(signal, data, keep=keep, id=self.idempotency_key)

        run_id: str | None = await self._steps.step(Wanted(id, send_it, type=SIGNAL_TYPE))
        return run_id

    async def fetch(
        self,
        id: str,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
        json: Any = None,
    ) -> FetchResponse:
        """Let the server make a request, while nothing runs here; return what was answered, whatever its status.

        ``json`` is written into the body. A server that can't be reached is tried again as often as the function's
        ``retries`` say; then ``StepError`` is raised here.
        """
        wanted = fetching(id, url, method=method, headers=headers, body=body, json=json)
        return as_response(await self._steps.step(wanted))

    @overload
    async def wait_for_any(self, *branches: Coroutine[Any, Any, T]) -> tuple[int, T]: ...
    @overload
    async def wait_for_any(self, **branches: Coroutine[Any, Any, T]) -> tuple[str, T]: ...
    async def wait_for_any(self, *branches: Coroutine[Any, Any, Any], **named: Coroutine[Any, Any, Any]) -> Any:
        """Wait until the first of several branches ends; return its index, or its name, and its result.

        >>> async def handler(event: Event, step: Step) -> None:
        ...     winner, _ = await step.wait_for_any(
        ...         paid=step.wait_for_event("payment", "order.paid", match="data.orderId", timeout="30d"),
        ...         late=step.sleep("patience", "3d"),
        ...     )

        A branch is the call of a step, without ``await``, or of an ``async def`` with any number of steps. If the first to
        end has raised, its error is raised here. The others are closed at once: cancelled here, dropped by the server; of a
        step that is being run the result is ignored.
        """
        return await race(entrants(branches, named))


class Ai:
    """What async handlers ask AI providers for, as ``step.ai``."""

    def __init__(self, steps: AsyncSteps) -> None:
        self._steps = steps

    async def infer(
        self,
        id: str,
        *,
        url: str,
        body: Mapping[str, Any],
        auth_key: str = "",
        format: AiFormat = "openai-chat",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Let the server ask a provider, while nothing runs here, however long it takes; return the JSON of its answer.

        ``body`` is posted to ``url`` in the provider's own form. ``format`` says how it wants ``auth_key``. An answer with
        an error, or none, is tried again as often as the function's ``retries`` say; then ``StepError`` is raised here,
        whose ``data`` is the answer.
        """
        return await self._steps.step(
            inferring(id, url=url, format=format, auth_key=auth_key, headers=headers, body=body)
        )


def identified(events: list[Event]) -> list[Event]:
    """Give the events of a step ids that every attempt of the step gives them."""
    key = current_step().idempotency_key
    return [
        event if event.id else Event(event.name, event.data, f"{key}-{index}", event.ts, event.user, event.v)
        for index, event in enumerate(events)
    ]
