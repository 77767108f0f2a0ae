"""A server in this process: the real engine and SQLite store behind the real ASGI application, with a clock that
stands still until a test moves it, and apps that answer as the test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import msgspec

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import (
    ErrorBody,
    ErrorReply,
    Function,
    Intake,
    LogLine,
    OpsReply,
    Reply,
    ResultReply,
    Transition,
)
from stepwell.engine.engine import Engine
from stepwell.engine.ids import IdSource
from stepwell.engine.transport import OutgoingCall
from stepwell.engine.watch import NoWatcher, Watchers
from stepwell.protocol.canonical import encode
from stepwell.protocol.ids import ReplicaId, RunId, step_hash
from stepwell.protocol.ops import Op
from stepwell.protocol.sync import read_sync
from stepwell.server.access import Access
from stepwell.server.context import Context
from stepwell.server.demo import Demo
from stepwell.server.live.hub import Hub
from stepwell.server.live.others import OtherReplicas
from stepwell.server.main import make_app
from stepwell.server.metrics import Metrics
from stepwell.server.register import apply_sync
from stepwell.server.settings import Settings
from stepwell.store.interface import Store
from stepwell.store.request import Result
from stepwell.store.sqlite import SQLiteStore

T0 = 1_767_225_600_000  # 2026-01-01T00:00:00Z
WAIT_S = 10.0
API_TOKEN = "api-token-of-tests"
SIGNING_KEY = "signkey-test-" + "5e" * 32
PRODUCTION = Settings(
    is_dev=False, signing_key=SIGNING_KEY, event_keys=("event-key-of-tests",), api_tokens=("another-token", API_TOKEN)
)
DEV = Settings(is_dev=True)

Answer = Callable[[OutgoingCall], Reply | Awaitable[Reply]]


class FakeApps:
    """The transport: answers calls as ``answers`` has it by the function's slug; otherwise with the result null."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.calls: list[OutgoingCall] = []

    async def call(self, call: OutgoingCall) -> Reply:
        self.calls.append(call)
        slug = parse_qs(urlsplit(call.url).query)["fnId"][0]
        answer = self.answers.get(slug)
        reply = answer(call) if answer is not None else ResultReply(b"null")
        return await reply if isinstance(reply, Awaitable) else reply


class Signals(NoWatcher):
    """Watches the engine, so that a test can wait for what happens."""

    def __init__(self) -> None:
        self.ended: set[RunId] = set()
        self.transitions: list[Transition] = []
        self.lines: list[LogLine] = []
        self.touches: list[RunId] = []
        self._happened = asyncio.Event()

    def took_in(self, intake: Intake, functions: Sequence[Function], result: Result) -> None:
        self._happened.set()

    def changed(self, transition: Transition, function: Function) -> None:
        self.transitions.append(transition)
        if transition.is_final:
            self.ended.add(transition.run.id)
        self._happened.set()

    def logged(self, lines: Sequence[LogLine]) -> None:
        self.lines += lines
        self._happened.set()

    def touched(self, runs: Sequence[RunId]) -> None:
        self.touches += runs
        self._happened.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds; it is asked after each thing that happens."""
        async with asyncio.timeout(WAIT_S):
            while not holds():
                self._happened.clear()
                await self._happened.wait()


class World:
    """A running server and a client of it."""

    def __init__(self, context: Context, apps: FakeApps, signals: Signals, client: httpx2.AsyncClient) -> None:
        self.context, self.apps, self.signals, self.client = context, apps, signals, client
        self.engine = context.engine
        self.database_url = ""
        """Where a test may look at the rows themselves, if it was told."""

    async def register(self, *slugs: str, app: str = "shop", **more: Any) -> None:
        """Register an app whose functions are started by the event ``<slug>.go``, or by what ``more`` says of each."""
        functions = [function_json(slug, **more.get(slug.replace("-", "_"), {})) for slug in slugs]
        body = {"url": f"http://localhost:3000/{app}", "appName": app, "sdk": "py:v1", "framework": "flask"}
        await apply_sync(self.context, read_sync(msgspec.json.encode(body | {"functions": functions})))

    async def get(self, path: str, **query: Any) -> Any:
        """Read something that must be there."""
        answer = await self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, body: Any = None) -> Any:
        """Do something that must work."""
        answer = await self.client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def send(self, name: str, data: Any = None, **more: Any) -> Any:
        """Send an event and return what is said of it."""
        taken = await self.post("/api/events", {"name": name, "data": data or {}, **more})
        return taken["events"][0]

    async def ended(self, run_id: str) -> Any:
        """Wait for a run's end and return the run."""
        await self.signals.until(lambda: run_id in self.signals.ended)
        return await self.get(f"/api/runs/{run_id}")

    async def quiet(self) -> None:
        """Wait until nothing is under way."""
        await self.engine.skip(0)

    async def run(self, slug: str, data: Any = None) -> Any:
        """Send a function's event and return its run when it has ended."""
        event = await self.send(f"{slug}.go", data)
        return await self.ended(event["runs"][0]["id"])

    async def refused(self, status: int, code: str, method: str, path: str, **request: Any) -> str:
        """Make a request that must be refused in the common shape, and return the message."""
        answer = await self.client.request(method, path, **request)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (status, code), answer.text
        assert set(error) <= {"code", "message", "path"}
        return error["message"] + error.get("path", "")


@asynccontextmanager
async def running(
    folder: Path, settings: Settings = DEV, *, store: Store | None = None, apps: FakeApps | None = None, **context: Any
) -> AsyncGenerator[World]:
    """Run a server on a database in ``folder``, or on another ``store``."""
    clock = Clock(lambda: T0)
    ids = IdSource(clock.now)
    apps, signals, hub = apps or FakeApps(), Signals(), Hub()
    metrics = Metrics()
    engine = Engine(
        store or SQLiteStore(folder / "stepwell.db", ReplicaId(ids()), is_durable=False),
        apps,
        environment=settings.environment,
        clock=clock,
        ids=ids,
        watcher=Watchers(signals, hub, metrics),
        calls_per_app_max=settings.calls_per_app_max,
    )
    hub.meet(OtherReplicas(engine))
    metrics.read(engine, lambda: hub.page_count)
    access = Access(engine.store, clock, settings.api_tokens)
    made = Context(
        settings=settings, engine=engine, hub=hub, metrics=metrics, access=access, demo=Demo(settings.url), **context
    )
    await engine.start()
    transport = httpx2.ASGITransport(app=make_app(made))
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost:8288") as client:
            if not settings.is_dev:
                client.headers["Authorization"] = f"Bearer {API_TOKEN}"
            yield World(made, apps, signals, client)
    finally:
        await engine.stop(grace_s=0)


def function_json(slug: str, *, triggers: Any = None, retries: int = 0, **more: Any) -> dict[str, Any]:
    """Return a function's configuration as SDKs send it, with whatever ``more`` it has."""
    url = f"http://localhost:3000/shop?fnId={slug}&stepId=step"
    step = {"id": "step", "name": "step", "runtime": {"type": "http", "url": url}, "retries": {"attempts": retries}}
    return {
        "id": slug,
        "name": slug.title(),
        "triggers": [{"event": f"{slug}.go"}] if triggers is None else triggers,
        "steps": {"step": step},
        **more,
    }


def steps_done(call: OutgoingCall) -> list[str]:
    """Return the ids of the steps that a call's memo holds."""
    return list(msgspec.json.decode(call.body)["steps"])


def ran(title: str, data: Any = None) -> Op:
    """An op: a step ran."""
    return Op(
        id=step_hash(title), op="StepRun", name=title, display_name=title, data=msgspec.Raw(msgspec.json.encode(data))
    )


def sleep(title: str, duration: str) -> Op:
    """An op: sleep."""
    return Op(id=step_hash(title), op="Sleep", name=duration, display_name=title)


def ops(*given: Op) -> OpsReply:
    """A reply of ops."""
    return OpsReply(ops=given, request_version=2)


def error(message: str, *, no_retry: bool | None = None) -> ErrorReply:
    """A reply: the function failed."""
    body = ErrorBody(name="ValueError", message=message, stack=f"Traceback: {message}")
    return ErrorReply(error=body, output=encode({"name": "ValueError", "message": message}), no_retry=no_retry)


def result(value: Any) -> ResultReply:
    """A reply: the function returned."""
    return ResultReply(encode(value))
