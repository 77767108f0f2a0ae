"""The step tools of plain (``def``) handlers: those of ``step.py`` without ``await``."""

# ruff: noqa: A002 - the protocol's names
from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import Duration
from stepwell.sdk.event import Event, Sendable, sendables
from stepwell.sdk.fetch import AiFormat, FetchResponse, as_response, fetching, inferring
from stepwell.sdk.race import entrants
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

from stepwell.sdk.step import SEND_TYPE, SIGNAL_TYPE, StepTools, identified

P = ParamSpec("P")
T = TypeVar("T")


class SyncSteps(Protocol):
    """What knows the memo, for plain handlers."""

    def step(self, wanted: Wanted) -> Json:
        """Return the step's result, or raise ``Interrupted``."""
        ...

    def parallel(self, branches: Sequence[Callable[[], Any]]) -> list[Any]:
        """Run branches of which each may stop at a step that isn't known."""
        ...

    def race(self, branches: Mapping[Any, Callable[[], Any]]) -> tuple[Any, Any]:
        """Run branches likewise, until one has ended; return its key and its result."""
        ...


class SyncSender(Protocol):
    """What sends to the server, for plain handlers."""

    def send_sync(self, events: list[Event]) -> list[str]:
        """Send events; return their ids."""
        ...

    def send_signal_sync(self, signal: str, data: Json, *, keep: bool, id: str | None) -> str | None:
        """Send a signal; return the run that waited for it."""
        ...


class SyncStep(StepTools):
    """The step tools of plain (``def``) handlers: the same, without ``await``."""

    def __init__(self, steps: SyncSteps, sender: SyncSender, events: Iterable[Event] = ()) -> None:
        """``events`` are those that the run is for."""
        self._steps = steps
        self._sender = sender
        self._received = Received(events)
        self.ai = SyncAi(steps)

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
        wanted = Wanted(id, lambda: self._sender.send_sync(identified(events)), type=SEND_TYPE)
        sent: list[str] = self._steps.step(wanted)
        return sent

    def wait_for_event(
        self,
        id: str,
        event: str,
        *,
        timeout: Duration,
        match: str | None = None,
        if_: str | None = None,
        since: Since = "run_start",
    ) -> Event | None:
        """Wait for the next event of a name, as ``Step.wait_for_event`` does."""
        wanted = waiting_for_event(
            id, event, match=match, if_=if_, timeout=timeout, since=since, received=self._received
        )
        return as_event(self._steps.step(wanted), self._received)

    @overload
    def invoke(
        self,
        id: str,
        function: Function[Callable[..., Coroutine[Any, Any, T]]],
        *,
        data: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
    ) -> T: ...
    @overload
    def invoke(
        self,
        id: str,
        function: Function[Callable[..., T]],
        *,
        data: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
    ) -> T: ...
    @overload
    def invoke(
        self, id: str, function: str, *, data: Mapping[str, Any] | None = None, timeout: Duration | None = None
    ) -> Any: ...
    def invoke(
        self,
        id: str,
        function: Function[Any] | str,
        *,
        data: Mapping[str, Any] | None = None,
        timeout: Duration | None = None,
    ) -> Any:
        """Run another function and return its result, as ``Step.invoke`` does."""
        return self._steps.step(invoking(id, function, data=data, timeout=timeout))

    def wait_for_signal(
        self,
        id: str,
        signal: str,
        *,
        timeout: Duration,
        on_conflict: OnConflict = "fail",
        takes_kept: bool = True,
    ) -> Signal | None:
        """Wait for a signal of a name, as ``Step.wait_for_signal`` does."""
        wanted = waiting_for_signal(id, signal, timeout=timeout, on_conflict=on_conflict, takes_kept=takes_kept)
        return as_signal(self._steps.step(wanted))

    def send_signal(self, id: str, signal: str, data: Json = None, *, keep: bool = True) -> str | None:
        """Send a signal, as ``Step.send_signal`` does."""
        check_signal(f"step {id!r}", signal)

        def send_it() -> str | None:
            return self._sender.send_signal_sync(signal, data, keep=keep, id=self.idempotency_key)

        wanted = Wanted(id, send_it, type=SIGNAL_TYPE)
        run_id: str | None = self._steps.step(wanted)
        return run_id

    def fetch(
        self,
        id: str,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | bytes | None = None,
        json: Any = None,
    ) -> FetchResponse:
        """Let the server make a request, as ``Step.fetch`` does."""
        return as_response(self._steps.step(fetching(id, url, method=method, headers=headers, body=body, json=json)))

    @overload
    def wait_for_any(self, *branches: Callable[[], T]) -> tuple[int, T]: ...
    @overload
    def wait_for_any(self, **branches: Callable[[], T]) -> tuple[str, T]: ...
    def wait_for_any(self, *branches: Callable[[], Any], **named: Callable[[], Any]) -> Any:
        """Wait until the first of several branches ends; return its index, or its name, and its result.

        >>> def handler(event: Event, step: SyncStep) -> None:
        ...     winner, _ = step.wait_for_any(
        ...         paid=lambda: step.wait_for_event("payment", "order.paid", match="data.orderId", timeout="30d"),
        ...         late=lambda: step.sleep("patience", "3d"),
        ...     )

        Each branch is a callable without arguments that calls steps, as those of ``parallel`` are. If the first to end has
        raised, its error is raised here. The server drops the steps of the others at once; of a step that is being run the
        result is ignored.
        """
        return self._steps.race(entrants(branches, named))

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


class SyncAi:
    """What plain handlers ask AI providers for, as ``step.ai``."""

    def __init__(self, steps: SyncSteps) -> None:
        self._steps = steps

    def infer(
        self,
        id: str,
        *,
        url: str,
        body: Mapping[str, Any],
        auth_key: str = "",
        format: AiFormat = "openai-chat",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Let the server ask a provider, as ``Ai.infer`` does."""
        return self._steps.step(inferring(id, url=url, format=format, auth_key=auth_key, headers=headers, body=body))
