"""The app: its functions, its settings, and the ways to serve it."""

from __future__ import annotations

import asyncio
import datetime
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

from stepwell.errors import FunctionConfigError
from stepwell.limits import FUNCTIONS_PER_APP_MAX, RETRIES_DEFAULT
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import Duration
from stepwell.sdk.client import Client
from stepwell.sdk.courier import Courier
from stepwell.sdk.current import replayed_function
from stepwell.sdk.event import Sendable, sendables
from stepwell.sdk.flow import (
    AtATime,
    Batch,
    Cancels,
    Debounce,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
    flow_fields,
)
from stepwell.sdk.function import Function, check_id, runtime_ms
from stepwell.sdk.handler import Handler
from stepwell.sdk.serve.asgi import AsgiApp
from stepwell.sdk.serve.wsgi import WsgiApp
from stepwell.sdk.settings import read_settings
from stepwell.sdk.trigger import On, triggers
from stepwell.sdk.wait import check_signal

log: Final = logging.getLogger("stepwell")

H = TypeVar("H", bound=Callable[..., Any])

MAX_RUNTIME_S: Final = 10
"""How long a call goes on with new steps. What stands between (proxies, platforms, workers' time-outs) breaks requests off
after 30 s or 60 s, and a deploy waits for the calls under way. To begin again costs one replay: at most some 10 ms."""


class Stepwell:
    """An app: a set of functions that a Stepwell server runs by calling this process, and a client that sends events.

    >>> from stepwell import Event, Step, Stepwell
    >>> sw = Stepwell("acme", is_dev=True)
    >>> @sw.function("greet", on="user.signedup")
    ... async def greet(event: Event, step: Step) -> None:
    ...     await step.run("send-mail", print, event.data["userId"])

    Serve it with ``app.mount("/api/stepwell", sw.asgi())`` in an ASGI framework, ``sw.wsgi()`` in a WSGI one; the modules
    of ``stepwell.sdk.serve`` say how in each framework.
    """

    def __init__(
        self,
        app_id: str,
        *,
        url: str | None = None,
        event_key: str | None = None,
        signing_key: str | None = None,
        signing_key_fallback: str | None = None,
        env: str | None = None,
        is_dev: bool | None = None,
        serve_origin: str | None = None,
        serve_path: str | None = None,
        logger: logging.Logger | None = None,
        checkpoint: bool = True,
        max_runtime: Duration = MAX_RUNTIME_S,
        capture_logs: bool | None = None,
        capture_prints: bool | None = None,
    ) -> None:
        """Make an app. What isn't given is read from ``STEPWELL_…``, then ``INNGEST_…`` environment variables.

        ``url`` is the server's; ``is_dev`` (``STEPWELL_DEV=1``) means a local dev server without keys, and the default is
        production; ``serve_origin`` and ``serve_path`` replace what the app thinks its own URL is, behind a proxy say;
        ``logger`` is what handlers get as ``logger``. With ``checkpoint`` a call goes on after a step, once the server has
        it on disk, for up to ``max_runtime`` (``"10s"``, seconds, or a timedelta; a step isn't broken off). Then the server
        calls again. What handlers and steps log and print is shown with their runs, unless ``capture_logs``
        (``STEPWELL_CAPTURE_LOGS``) or ``capture_prints`` (``STEPWELL_CAPTURE_PRINTS``) is False.
        Raises ``FunctionConfigError`` for an ``app_id`` that can't stand in a URL, ``ConfigError`` for wrong settings.
        """
        self.id = check_id("an app", app_id)
        self.settings = read_settings(
            os.environ,
            url=url,
            event_key=event_key,
            signing_key=signing_key,
            signing_key_fallback=signing_key_fallback,
            env=env,
            is_dev=is_dev,
            serve_origin=serve_origin,
            serve_path=serve_path,
            capture_logs=capture_logs,
            capture_prints=capture_prints,
        )
        self.logger = logger or logging.getLogger(f"stepwell.{app_id}")
        self.checkpoint = checkpoint
        self.max_runtime_ms = runtime_ms(max_runtime, f"app {app_id!r}")
        self.client = Client(self.settings)
        self.courier = Courier(self.client)
        self.handler = Handler(self)
        self._functions: dict[str, Function[Any]] = {}

    @property
    def functions(self) -> list[Function[Any]]:
        """The functions in the order of their definition, without their ``on_failure`` handlers."""
        return list(self._functions.values())

    def function(
        self,
        id: str,
        *,
        on: On,
        name: str | None = None,
        retries: int = RETRIES_DEFAULT,
        on_failure: Callable[..., Any] | None = None,
        checkpoint: bool | None = None,
        max_runtime: Duration | None = None,
        concurrency: AtATime | None = None,
        run_concurrency: AtATime | None = None,
        throttle: Throttle | None = None,
        rate_limit: RateLimit | None = None,
        debounce: Debounce | None = None,
        batch: Batch | None = None,
        priority: str | None = None,
        idempotency: str | None = None,
        cancel: Cancels | None = None,
        timeouts: Timeouts | None = None,
        singleton: Singleton | None = None,
    ) -> Callable[[H], Function[H]]:
        """Register a handler.

        ``on`` is an event's name, ``trigger("name", if_="event.data.total > 100")``, ``cron("0 9 * * *")``, or a list of
        them; an empty list makes a function that only the API starts. ``retries`` counts the attempts after the first, of
        each step and of the code between, 0 to 20. ``on_failure`` is a handler for runs that failed: it gets the run's
        ``event``, and why as ``error``. ``checkpoint`` and ``max_runtime`` are the app's unless given.

        Flow control, which the server does: ``concurrency`` is how many calls (steps, and the code between) are made at a
        time, ``run_concurrency`` how many runs are between their first call and their end; both take a number or
        ``Concurrency(…)``. ``priority`` is an expression for the seconds, -600 to 600, by which a run goes before others of
        the function; ``idempotency`` one for what starts a run only once in 24 hours. Each other takes the class of its name.

        The handler, ``async def`` or ``def``, asks for what it needs by parameter name or type: ``event``, ``events``,
        ``step``, ``run``, ``attempt``, ``logger``. Raises ``FunctionConfigError`` where any of that doesn't hold.
        """
        check_id("a function", id)
        flow = flow_fields(
            id,
            concurrency=concurrency,
            run_concurrency=run_concurrency,
            throttle=throttle,
            rate_limit=rate_limit,
            debounce=debounce,
            batch=batch,
            priority=priority,
            idempotency=idempotency,
            cancel=cancel,
            timeouts=timeouts,
            singleton=singleton,
        )

        def register(handler: H) -> Function[H]:
            function = Function(
                handler,
                app_id=self.id,
                id=id,
                name=name,
                triggers=triggers(on, id),
                retries=retries,
                on_failure=on_failure,
                checkpoint=checkpoint,
                max_runtime=max_runtime,
                flow=flow,
            )
            for slug in self._own_slugs(function):
                if slug in self.slugs():
                    raise FunctionConfigError(
                        f"function {id!r} is registered twice in app {self.id!r}; give each handler an id of its own"
                    )
            if len(self._functions) >= FUNCTIONS_PER_APP_MAX:
                raise FunctionConfigError(
                    f"app {self.id!r} has {FUNCTIONS_PER_APP_MAX} functions, the most that it may"
                )
            self._functions[function.slug] = function
            return function

        return register

    def find(self, slug: str) -> Function[Any] | None:
        """Return a function, or an ``on_failure`` handler, by its id on the wire."""
        function = self._functions.get(slug)
        if function is not None:
            return function
        return next(
            (f.on_failure for f in self._functions.values() if f.on_failure and f.on_failure.slug == slug), None
        )

    def slugs(self) -> Iterator[str]:
        """Yield the ids on the wire of all functions and ``on_failure`` handlers."""
        for function in self._functions.values():
            yield from self._own_slugs(function)

    @staticmethod
    def _own_slugs(function: Function[Any]) -> list[str]:
        return [function.slug] if function.on_failure is None else [function.slug, function.on_failure.slug]

    async def send(
        self,
        event: str | Sendable | Iterable[Sendable],
        data: Mapping[str, Json] | None = None,
        *,
        id: str | None = None,
        ts: int | datetime.datetime | None = None,
        user: Mapping[str, Json] | None = None,
    ) -> list[str]:
        """Send an event, ``send("user.signedup", {"userId": 42})``, or a list of them; return their ids.

        ``id`` is an idempotency key: an event with the same one starts a function once in 24 hours. A future ``ts`` (Unix
        ms, or a datetime with a zone) starts the runs then. When this returns, the events are on the server's disk.

        In a handler use ``step.send``: the code between steps runs again and again. A warning is logged there.
        Raises ``SendError`` when the server can't be reached (after five attempts) or refuses; ``EventError`` for events
        that it would refuse; ``ConfigError`` without a server or an event key.
        """
        _warn_between_steps()
        return await self.client.send(sendables(event, data, id=id, ts=ts, user=user))

    def send_sync(
        self,
        event: str | Sendable | Iterable[Sendable],
        data: Mapping[str, Json] | None = None,
        *,
        id: str | None = None,
        ts: int | datetime.datetime | None = None,
        user: Mapping[str, Json] | None = None,
    ) -> list[str]:
        """Send events as ``send`` does, from sync code."""
        _warn_between_steps()
        return self.client.send_sync(sendables(event, data, id=id, ts=ts, user=user))

    async def send_signal(self, signal: str, data: Json = None, *, keep: bool = True) -> str | None:
        """Send a signal to the run that waits for it; return that run's id, None when no run does.

        One that nobody waits for is kept for the next that does, unless ``keep=False``. A signal that is sent twice
        counts twice; in a handler use ``step.send_signal``. Raises ``SendError`` when the server can't be reached (after
        five attempts) or refuses.
        """
        _warn_between_steps("a signal", "step.send_signal")
        check_signal("send_signal", signal)
        return await self.client.send_signal(signal, data, keep=keep)

    def send_signal_sync(self, signal: str, data: Json = None, *, keep: bool = True) -> str | None:
        """Send a signal as ``send_signal`` does, from sync code."""
        _warn_between_steps("a signal", "step.send_signal")
        check_signal("send_signal", signal)
        return self.client.send_signal_sync(signal, data, keep=keep)

    def asgi(self) -> AsgiApp:
        """Return an ASGI app to mount, or to route to, in any ASGI framework."""
        return AsgiApp(self.handler)

    def wsgi(self) -> WsgiApp:
        """Return a WSGI app to mount in any WSGI framework."""
        return WsgiApp(self.handler)

    async def aclose(self) -> None:
        """Send the last lines of runs, and close the connections that sending has opened. Sending again opens new ones."""
        await asyncio.to_thread(self.courier.leave)
        await self.client.aclose()

    def close(self) -> None:
        """Send the last lines of runs, and close the connections that sync sending has opened. Sending opens new ones."""
        self.courier.leave()
        self.client.close()


def _warn_between_steps(what: str = "an event", tool: str = "step.send") -> None:
    function_id = replayed_function()
    if function_id is not None:
        log.warning("function %s sends %s between its steps, so again at each call: use %s", function_id, what, tool)
