"""Finds apps and keeps their functions current.

- URLs that were given (``-u``) are synced from the start, and polled.
- Apps that are registered are polled, in dev: a changed function is there after a few seconds.
- Without ``-u``, in dev, the usual ports of this machine are looked at. To look costs the apps nothing: a port is tried
  by a bare TCP connect, and only one that has just begun to accept is asked over HTTP. One that turns out to be
  something else is asked again when it was closed in between, or else ever more rarely, so that its log isn't flooded.

Failures are said once, when they begin or change; not at each poll.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine
from typing import Final
from urllib.parse import urlsplit

import structlog

from stepwell.engine.core.model import App
from stepwell.engine.transport.client import Client
from stepwell.errors import StoreError
from stepwell.limits import SYNC_TIMEOUT_MS
from stepwell.protocol import headers as names
from stepwell.protocol.endpoint import ENDPOINT
from stepwell.protocol.sync import plain_url
from stepwell.server.context import Context
from stepwell.server.sync import SyncOutcome, new_client, sync_url

PORTS: Final = (
    80, 443, *range(3000, 3011), 4321, 5000, 5173, 8000, 8080, 8081, 8787, 8888, *range(8910, 8916),
)  # fmt: skip
PATHS: Final = (
    "/api/stepwell",
    "/api/inngest",
    "/x/inngest",
    "/.netlify/functions/inngest",
    "/.redwood/functions/inngest",
)
"""Where apps usually are: ours, and those of the protocol (12.2)."""

_LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
_CONNECT_S_MAX: Final = 0.5
_ASK_AGAIN_S_MIN: Final = 15.0
_ASK_AGAIN_S_MAX: Final = 300.0
_TRIES_AT_FULL_PACE: Final = 3
_SLOWEST_PACE: Final = 12  # times the interval

log = structlog.get_logger("stepwell.sync")


class _Watched:
    """A serve URL that is polled. One that only the database knows is forgotten when its app is removed."""

    def __init__(self, url: str, *, is_given: bool = False, is_registered: bool = False) -> None:
        self.url, self.is_given, self.is_registered = url, is_given, is_registered
        self.is_synced = False
        self.failure: SyncOutcome | None = None
        self.failures = 0
        self.due_at = 0.0
        self.task: asyncio.Task[None] | None = None


class _Port:
    """A port that accepts connections, and turned out not to be an app."""

    def __init__(self) -> None:
        self.ask_at = 0.0
        self.delay_s = _ASK_AGAIN_S_MIN
        self.task: asyncio.Task[None] | None = None

    def was_no_app(self, now: float) -> None:
        """Leave the port alone for a while: longer each time."""
        self.ask_at = now + self.delay_s
        self.delay_s = min(_ASK_AGAIN_S_MAX, 2 * self.delay_s)


class Discovery:
    """The loop that looks for apps and polls them."""

    def __init__(self, context: Context, *, ports: tuple[int, ...] | None = None) -> None:
        settings = context.settings
        self._context = context
        self._interval_s = settings.poll_interval_s
        self._is_polling = settings.is_polling_on
        self._is_looking = settings.is_dev and settings.is_discovery_on and not settings.sdk_urls
        self._ports = [port for port in (_usual_ports() if ports is None else ports) if port != settings.port]
        self._watched: dict[str, _Watched] = {}
        self._open: dict[int, _Port] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        for url in settings.sdk_urls:
            self._watched[plain_url(url)] = _Watched(url, is_given=True)

    async def run(self) -> None:
        """Work until cancelled."""
        try:
            async with new_client() as client:
                while True:
                    await self.look(client)
                    await asyncio.sleep(self._interval_s)
        finally:
            for task in self._tasks:
                task.cancel()

    async def look(self, client: Client) -> None:
        """Do one round: begin what is due. Slow apps are left to tasks of their own, and delay no other."""
        try:
            if self._context.settings.is_dev and self._is_polling:
                await self._watch_registered()
        except StoreError as error:
            log.warning("store.refused", error=str(error))
        now = asyncio.get_running_loop().time()
        for watched in self._watched.values():
            if watched.task is None and watched.due_at <= now and not self._is_done(watched):
                watched.task = self._spawn(self._poll(watched, client))
        if self._is_looking:
            await self._look_at_ports(client, now)

    async def settle(self) -> None:
        """Wait until nothing that was begun is under way: for tests."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    # -- polling ------------------------------------------------------------------------------------------------

    async def _watch_registered(self) -> None:
        """Poll what is registered over HTTP."""
        apps = await self._context.engine.store.load_apps(self._context.engine.environment)
        urls = {app.url for app in apps if _is_polled(app)}
        for url in urls:
            self._watched.setdefault(url, _Watched(url, is_registered=True))
        for url, watched in list(self._watched.items()):
            if watched.is_registered and url not in urls:
                del self._watched[url]

    def _is_done(self, watched: _Watched) -> bool:
        return watched.is_synced and not self._is_polling

    async def _poll(self, watched: _Watched, client: Client) -> None:
        try:
            outcome = await sync_url(self._context, watched.url, client)
        except StoreError as error:
            outcome = SyncOutcome("store", f"{watched.url}: the registration was not stored: {error}")
        finally:
            watched.task = None
        if outcome.code is None:
            self._succeeded(watched, outcome)
        else:
            self._failed(watched, outcome)
        slower = 2 ** min(10, max(0, watched.failures - _TRIES_AT_FULL_PACE))
        pace = 1 if watched.is_given else min(_SLOWEST_PACE, slower)
        watched.due_at = asyncio.get_running_loop().time() + self._interval_s * (pace - 0.5)

    def _succeeded(self, watched: _Watched, outcome: SyncOutcome) -> None:
        if watched.failure is not None and not outcome.is_modified:
            self._context.note(f"{watched.url} answers again")
        if outcome.app is None and not watched.is_synced:
            self._context.warn(
                f"{watched.url} says that it has registered, but no app has this URL here. Its own idea of its URL may"
                f" differ, or it registers elsewhere: INNGEST_BASE_URL should be {self._context.settings.url}"
            )
        watched.is_synced = True
        watched.failure, watched.failures = None, 0

    def _failed(self, watched: _Watched, outcome: SyncOutcome) -> None:
        if watched.failure is None or watched.failure.message != outcome.message:
            self._context.warn(f"sync failed: {outcome.message}")
        watched.failure = outcome
        watched.failures += 1

    # -- looking at ports ---------------------------------------------------------------------------------------

    async def _look_at_ports(self, client: Client, now: float) -> None:
        served = {urlsplit(watched.url).port for watched in self._watched.values() if watched.failure is None}
        ports = [port for port in self._ports if port not in served]
        accepting = await asyncio.gather(*(_accepts(port) for port in ports))
        for port, is_open in zip(ports, accepting, strict=True):
            if not is_open:
                self._open.pop(port, None)
                continue
            found = self._open.setdefault(port, _Port())
            if found.task is None and found.ask_at <= now:
                found.task = self._spawn(self._ask(port, found, client))

    async def _ask(self, port: int, found: _Port, client: Client) -> None:
        """Ask a port for an app. ``localhost`` reaches it on whichever family it listens."""
        try:
            for path in PATHS:
                url = f"http://localhost:{port}{path}"
                if await _is_app(url, client):
                    self._open.pop(port, None)
                    watched = self._watched.setdefault(plain_url(url), _Watched(url))
                    if watched.task is None:
                        watched.task = self._spawn(self._poll(watched, client))
                    return
        finally:
            found.task = None
            found.was_no_app(asyncio.get_running_loop().time())

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_polled(app: App) -> bool:
    """Tell whether an app can be asked for its functions. Those of durable endpoints are made when they are used."""
    return app.archived_at is None and app.transport == "http" and app.framework != ENDPOINT


async def _is_app(url: str, client: Client) -> bool:
    """Tell whether an SDK answers at a URL (protocol 3.6)."""
    try:
        response = await client.request(
            "GET", url, timeout_s=SYNC_TIMEOUT_MS / 1000, headers={"User-Agent": "Stepwell"}
        )
    except (OSError, ValueError):  # time-outs are among them
        return False
    return names.SDK in response.headers or names.SDK_HANDLED in response.headers


async def _accepts(port: int) -> bool:
    """Tell whether something on this machine listens on a port."""
    for family, host in _LOOPBACKS:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                probe.setblocking(False)
                async with asyncio.timeout(_CONNECT_S_MAX):
                    await asyncio.get_running_loop().sock_connect(probe, (host, port))
                return True
        except (OSError, TimeoutError):
            continue
    return False


def _usual_ports() -> tuple[int, ...]:
    own = os.environ.get("PORT", "")
    return (*PORTS, int(own)) if own.isdigit() and 0 < int(own) < 65_536 else PORTS
