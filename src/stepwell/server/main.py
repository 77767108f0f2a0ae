"""Builds a server from its settings, and owns the order in which its parts start and stop."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stepwell.engine.clock import Clock
from stepwell.engine.core.change import Policy
from stepwell.engine.engine import Engine
from stepwell.engine.ids import IdSource
from stepwell.engine.transport.fetch import Fetcher
from stepwell.engine.transport.http import HttpTransport
from stepwell.engine.watch import Watcher, Watchers
from stepwell.errors import ConfigError, StoreError
from stepwell.protocol import headers as names
from stepwell.protocol.ids import ReplicaId
from stepwell.server import api, ingest, metrics, register, sdk_api
from stepwell.server.access import Access
from stepwell.server.auth import ApiGuard
from stepwell.server.context import ApiError, Context, error_response, json_response, kind_header
from stepwell.server.demo import DEMO_APP, Demo
from stepwell.server.discovery import Discovery
from stepwell.server.heads import BoundedProtocol
from stepwell.server.live.hub import Hub
from stepwell.server.live.others import OtherReplicas
from stepwell.server.metrics import Metrics
from stepwell.server.narrator import Narrator
from stepwell.server.observability import configure_logging
from stepwell.server.register import remove_app, retire_app
from stepwell.server.settings import Settings
from stepwell.store.interface import Store
from stepwell.store.sqlite import SQLiteStore
from stepwell.ui import dashboard

_BACKLOG: Final = 2048
_ENV: Final = names.ENV.lower().encode()
_ENVIRONMENTS_NOTED_MAX: Final = 20  # whoever sends more kinds than that isn't told of each


def make_store(settings: Settings, db: Path | str, replica_id: ReplicaId) -> Store:
    """Make the store that a database's address asks for; it isn't started."""
    if isinstance(db, Path):
        return SQLiteStore(db, replica_id, is_durable=settings.db is not None, is_migrating=settings.is_migrating)
    from stepwell.store.postgres import PostgresStore  # its driver is an extra

    return PostgresStore(
        db,
        replica_id,
        schema=settings.db_schema,
        is_pooled=settings.is_db_pooled,
        listen_url=settings.db_listen,
        connection_count=settings.db_connections,
        take_over_s=settings.take_over_s,
        is_migrating=settings.is_migrating,
    )


def make_engine(
    settings: Settings, db: Path | str, transport: HttpTransport, watcher: Watcher, fetcher: Fetcher
) -> Engine:
    """Make the engine of a server; it isn't started."""
    clock = Clock()
    # From a source of its own: this machine's time may be ahead of the database's, by which all other ids are made.
    replica_id = ReplicaId(IdSource(clock.now)())
    ids = IdSource(clock.now)
    retry_s = settings.retry_interval_s
    return Engine(
        make_store(settings, db, replica_id),
        transport,
        environment=settings.environment,
        clock=clock,
        ids=ids,
        policy=Policy(
            steps_max=settings.steps_per_run_max,
            retry_constant_ms=round(retry_s * 1000) if retry_s else None,
        ),
        watcher=watcher,
        calls_per_app_max=settings.calls_per_app_max,
        take_over_s=settings.take_over_s,
        retention=settings.retention,
        fetcher=fetcher,
        is_reconciling=True,
        is_sampling=True,
    )


def make_app(context: Context) -> ASGIApp:
    """Make the ASGI application of a running engine."""

    async def health(_request: Request) -> Response:
        return json_response({"status": 200, "message": "OK"})

    async def ready(_request: Request) -> Response:
        why = context.engine.unready()
        if why is None:
            return json_response({"status": 200, "message": "ready"})
        return json_response({"status": 503, "code": "not_ready", "message": why}, 503)

    routes: list[BaseRoute] = [
        Route("/health", health),
        Route("/ready", ready),
        *metrics.routes(context.metrics),
        *register.routes(context),
        *sdk_api.routes(context),
        *api.routes(context),
        *dashboard.routes(),
    ]
    app = Starlette(
        routes=routes,
        exception_handlers={ApiError: _api_error, HTTPException: _http_error, Exception: _internal_error},
    )
    return _Surface(context, ingest.EventApi(context), ApiGuard(app, context.settings, context.access))


def make_config(context: Context) -> uvicorn.Config:
    """Return how the application is served over HTTP."""
    return uvicorn.Config(
        make_app(context),
        http=BoundedProtocol,
        log_level="warning",
        access_log=False,
        lifespan="off",
        backlog=_BACKLOG,
        server_header=False,
        proxy_headers=False,
        # Longer than clients keep idle connections, and than apps are polled: they must not meet a closing one.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=5,
    )


class _Surface:
    """Leads requests to the event API or the rest, and puts the kind of this server on every answer (protocol 1.3); the
    event API, which is asked the most, does so itself.

    A request for another environment is served in the only one there is; that is said once for each.
    """

    def __init__(self, context: Context, events: ingest.EventApi, rest: ASGIApp) -> None:
        self._context, self._events, self._rest = context, events, rest
        self._header = kind_header(context)
        self._environments = {context.engine.environment.encode()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_kind(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), self._header]
            await send(message)

        for name, value in scope["headers"]:
            if name == _ENV and value not in self._environments:
                self._note_environment(value)
        app, answer = (self._events, send) if self._events.serves(scope) else (self._rest, send_with_kind)
        with suppress(ClientDisconnect):  # then nobody is there to be answered
            await app(scope, receive, answer)

    def _note_environment(self, name: bytes) -> None:
        if len(self._environments) < _ENVIRONMENTS_NOTED_MAX:
            self._environments.add(name)
            self._context.warn(
                f"requests name the environment {name.decode('latin-1')!r} ({names.ENV}); this server has one,"
                f" {self._context.engine.environment!r}, and serves them in it"
            )


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error_response(error)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"{request.method} {request.url.path}: {error.detail}"
    code = error.detail.lower().replace(" ", "_")
    if sdk_api.serves(request.url.path):
        return sdk_api.refused(error.status_code, message, code)
    return error_response(ApiError(error.status_code, code, message))


async def _internal_error(_request: Request, _error: Exception) -> Response:
    return error_response(ApiError(500, "internal_error", "the server has a bug; its log has the details"))


@asynccontextmanager
async def running(settings: Settings) -> AsyncGenerator[Context]:
    """Start the parts of a server without its HTTP side, and stop them in reverse order.

    Raises ``StoreError`` when the database can't be opened.
    """
    async with AsyncExitStack() as stack:
        db = settings.db or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stepwell-"))) / "memory.db"
        transport = HttpTransport(signing_key=settings.signing_key)
        narrator = Narrator(settings)
        fetcher = Fetcher(allows_private=settings.allows_private_fetches)
        hub, measured = Hub(), Metrics()
        engine = make_engine(settings, db, transport, Watchers(narrator, hub, measured), fetcher)
        hub.meet(OtherReplicas(engine))
        measured.read(engine, lambda: hub.page_count)
        context = Context(
            settings=settings,
            engine=engine,
            hub=hub,
            metrics=measured,
            demo=Demo(settings.url),
            access=Access(engine.store, engine.clock, settings.api_tokens),
            watch_sync=narrator.synced,
            note=narrator.note,
            warn=narrator.warn,
        )
        stack.callback(hub.close)
        await transport.start()
        stack.push_async_callback(transport.stop)
        await fetcher.start()
        stack.push_async_callback(fetcher.stop)
        stack.push_async_callback(engine.store.stop)
        await narrator.start()
        stack.push_async_callback(narrator.stop)
        await engine.start()
        stack.push_async_callback(engine.stop, grace_s=settings.grace_s)
        yield context


async def serve(settings: Settings) -> None:
    """Run a server until SIGTERM or SIGINT, then drain it.

    Raises ``ConfigError`` when the address can't be bound, ``StoreError`` when the database can't be opened.
    """
    sockets = _bind(settings)
    settings = msgspec.structs.replace(settings, port=sockets[0].getsockname()[1])
    try:
        async with running(settings) as context:
            server = _Server(make_config(context), context)
            stop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                stop.add_signal_handler(number, server.ask_to_stop)
            discovery = Discovery(context)
            context.note(f"listening on {settings.url}, database {settings.shown_db}")
            await _offer_setup(context)
            async with _demo(context), asyncio.TaskGroup() as tasks:
                searching = tasks.create_task(discovery.run())
                # What was built so far stays: the collector needn't look through it again and again.
                gc.freeze()
                await server.serve(sockets)
                searching.cancel()
    finally:
        for bound in sockets:
            bound.close()


@asynccontextmanager
async def _demo(context: Context) -> AsyncGenerator[None]:
    """Begin without a demo that a server before was killed with, or with one of our own; end without any."""
    if not context.settings.is_dev:
        yield
        return
    try:
        await retire_app(context, DEMO_APP)
        if context.settings.is_demo:
            await context.demo.start()
        yield
    finally:
        await context.demo.stop()
        with suppress(StoreError):  # then the next start does it
            await remove_app(context, DEMO_APP)


async def _offer_setup(context: Context) -> None:
    """Print the way to the first login, to the terminal and to no log: whoever has the link has the account."""
    path = await context.access.make_setup_link() if not context.settings.is_dev else None
    if path is not None:
        sys.stderr.write(setup_text(f"{context.settings.url}{path}"))
        sys.stderr.flush()


def setup_text(url: str) -> str:
    """Return what is said of a set-up link."""
    return (
        "stepwell: there is no account for the dashboard yet. This link makes it, once, within 24 hours:\n"
        f"  {url}\n"
        "From another machine, put the server's own https:// address before /setup.\n"
    )


class _Server(uvicorn.Server):
    """Uvicorn as one task of ours: signals are handled outside."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    def ask_to_stop(self) -> None:
        """Drain at once: requests under way are answered meanwhile. Streams would never end by themselves."""
        self._context.engine.begin_drain()
        self._context.hub.close()
        self.should_exit = True


def run(settings: Settings) -> int:
    """Run a server in this thread, which it blocks; returns the exit status."""
    configure_logging(is_dev=settings.is_dev)
    uvloop.run(serve(settings))
    return 0


def _bind(settings: Settings) -> list[socket.socket]:
    """Bind the address; ``localhost`` and loopback mean IPv4 and IPv6, since SDKs differ in what they call."""
    hosts = [settings.host]
    if settings.host in ("127.0.0.1", "localhost"):
        hosts = ["127.0.0.1", "::1"]
    bound: list[socket.socket] = []
    port = settings.port
    for host in hosts:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            made.bind((host, port))
        except OSError as error:
            made.close()
            if bound and host == "::1":
                continue  # a machine without IPv6
            raise ConfigError(
                f"port {port} on {host} can't be used ({error.strerror}): is another server running?"
                " Choose another with --port"
            ) from None
        port = made.getsockname()[1]
        bound.append(made)
    return bound
