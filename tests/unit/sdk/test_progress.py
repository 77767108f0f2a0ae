"""The server is told of a step that takes longer, once, and of no other."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest

from stepwell import Step, Stepwell, SyncStep
from stepwell.protocol.ids import step_hash
from stepwell.protocol.logs import LOGS_PATH, Begun, Lines
from stepwell.sdk import courier
from stepwell.sdk.client import Client
from stepwell.sdk.courier import Courier
from stepwell.sdk.http import Request, Response
from stepwell.sdk.progress import SLOW_S
from tests.unit.sdk.checkpointing import CheckpointedRun
from tests.unit.sdk.pretend import new_app
from tests.unit.sdk.test_capture import RUN_ID, from_us

# An async and a plain function, and both ways to serve them.
KINDS = [("async", False), ("async", True), ("sync", False), ("sync", True)]
CTX = {"fn_id": "fn-1", "qi_id": f"{RUN_ID}.0.0", "request_id": f"{RUN_ID}.0.0.1", "generation_id": 1}
LOOK_S = 0.005
SOON_S = 10 * LOOK_S
"""Long enough for many looks."""


class Server:
    """Takes what the courier sends. Its clock, which is the courier's, stands still until a step moves it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.begun: list[Begun] = []
        self.statuses: list[int] = []
        self.request_count = 0
        self._came = threading.Condition()

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == LOGS_PATH
        with self._came:
            self.request_count += 1
            status = self.statuses.pop(0) if self.statuses else 200
            if status == 200:
                self.begun += msgspec.json.decode(request.content, type=Lines).begun
            self._came.notify_all()
        return httpx2.Response(status, json={})

    def hears(self, count: int) -> None:
        """Block until so many steps were told."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.begun) >= count, 10), self.begun

    @property
    def told(self) -> list[str]:
        return [begun.step for begun in self.begun]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "LOOK_S", LOOK_S)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def sw(server: Server) -> Iterator[Stepwell]:
    sw = new_app(capture_logs=False, capture_prints=False)
    sw.courier = Courier(Client(sw.settings, transport=httpx2.MockTransport(server)), elapsed=lambda: server.now)
    yield sw
    assert sw.courier.leave(5)


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'wsgi' if kind[1] else 'asgi'}")
def kind(request: pytest.FixtureRequest) -> tuple[str, bool]:
    return request.param


def define(sw: Stepwell, *bodies: Any, **options: Any) -> None:
    """Make an async and a plain function of the same steps, in a row, named a, b, …"""

    @sw.function("async", on="test/event", **options)
    async def _(step: Step) -> None:
        for name, body in zip("abcdef", bodies, strict=False):
            await step.run(name, body)

    @sw.function("sync", on="test/event", **options)
    def _(step: SyncStep) -> None:
        for name, body in zip("abcdef", bodies, strict=False):
            step.run(name, body)


def run_of(sw: Stepwell, kind: tuple[str, bool], *, is_ours: bool = True, ctx: dict[str, Any] = CTX) -> CheckpointedRun:
    """Return a run that a server of ours calls, or another."""

    async def respond(request: Request) -> Response:
        request = from_us(request) if is_ours else request
        return sw.handler.handle_sync(request) if kind[1] else await sw.handler.handle(request)

    return CheckpointedRun(sw, kind[0], respond=respond, ctx=ctx)


async def test_a_slow_step_is_told_once_while_it_runs(sw: Stepwell, server: Server, kind: tuple[str, bool]) -> None:
    def slow() -> None:
        server.now += SLOW_S
        server.hears(1)
        time.sleep(SOON_S)

    define(sw, lambda: 1, slow, lambda: 3)
    end = await run_of(sw, kind).end()

    assert end.status == 200
    assert server.begun == [
        Begun(run_id=RUN_ID, attempt_id="0.0.1", step_id=step_hash("b"), step="b", ran_ms=round(SLOW_S * 1000))
    ]


async def test_what_a_step_was_given_is_told(sw: Stepwell, server: Server) -> None:
    @sw.function("async", on="test/event")
    async def _(step: Step) -> None:
        await step.run("a", slow, 1, card={"n": "42"}, by=object())

    def slow(*_: object, **__: object) -> None:
        server.now += 1
        server.hears(1)

    await run_of(sw, ("async", False)).end()

    assert server.begun[0].input == [1, {"card": {"n": "42"}, "by": "<builtins.object>"}]


async def test_quick_steps_are_told_to_nobody(sw: Stepwell, server: Server, kind: tuple[str, bool]) -> None:
    def quick() -> None:
        server.now += SLOW_S * 0.9
        time.sleep(SOON_S)

    define(sw, quick, quick, quick)
    end = await run_of(sw, kind).end()

    assert end.status == 200
    assert server.request_count == 0


async def test_each_slow_step_of_a_call_is_told(sw: Stepwell, server: Server, kind: tuple[str, bool]) -> None:
    def slow() -> None:
        server.now += 1
        server.hears(len(server.begun) + 1)

    define(sw, slow, slow)
    run = run_of(sw, kind)
    end = await run.end()

    assert (end.status, len(run.answers)) == (200, 1)
    assert server.told == ["a", "b"]


async def test_a_call_that_ends_with_its_step_says_so(sw: Stepwell, server: Server, kind: tuple[str, bool]) -> None:
    def slow() -> None:
        server.now += 1
        server.hears(1)

    define(sw, slow, checkpoint=False)
    await run_of(sw, kind).end()

    assert [(begun.step, begun.ends_call) for begun in server.begun] == [("a", True)]


async def test_steps_side_by_side_are_known_by_their_calls(sw: Stepwell, server: Server) -> None:
    at_work = set[str]()

    @sw.function("async", on="test/event")
    async def _(step: Step) -> None:
        await asyncio.gather(step.run("x", slow, "x"), step.run("y", slow, "y"))
        await step.run("z", slow, "z")

    async def slow(name: str) -> None:
        at_work.add(name)
        server.now += 1
        if name == "z":
            await asyncio.to_thread(server.hears, 1)
        else:
            await asyncio.sleep(SOON_S)

    run = run_of(sw, ("async", False))
    end = await run.end()

    assert end.status == 200
    assert at_work == {"x", "y", "z"}
    assert server.told == ["z"]


async def test_calls_at_once_have_their_steps_told_apart(sw: Stepwell, server: Server) -> None:
    define(sw, lambda: _both_told(server))
    others = {**CTX, "request_id": f"{RUN_ID}.1.0.7", "qi_id": f"{RUN_ID}.1.0"}
    runs = [run_of(sw, ("async", False)), run_of(sw, ("sync", False), ctx=others)]

    await asyncio.gather(*(run.end() for run in runs))

    assert sorted(begun.attempt_id for begun in server.begun) == ["0.0.1", "1.0.7"]


def _both_told(server: Server) -> None:
    server.now += 1
    server.hears(2)


async def test_other_servers_are_told_nothing(sw: Stepwell, server: Server, kind: tuple[str, bool]) -> None:
    def slow() -> None:
        server.now += 1
        time.sleep(SOON_S)

    define(sw, slow)
    await run_of(sw, kind, is_ours=False).end()

    assert server.request_count == 0


async def test_a_step_is_told_later_where_the_server_was_away(sw: Stepwell, server: Server) -> None:
    server.statuses = [503]

    def slow() -> None:
        server.now += 1
        while not server.begun:
            server.now += 1
            time.sleep(LOOK_S)

    define(sw, slow)
    await asyncio.wait_for(run_of(sw, ("async", False)).end(), 10)

    assert server.request_count >= 2
    assert server.told == ["a"]
    assert server.begun[0].ran_ms > 1_000


async def test_a_server_that_takes_nothing_holds_up_no_step(sw: Stepwell, server: Server) -> None:
    server.statuses = [404] * 100

    def slow() -> None:
        server.now += 1
        time.sleep(SOON_S)

    define(sw, slow, slow, slow)
    end = await run_of(sw, ("async", False)).end()

    assert end.status == 200
    assert server.request_count == 1


async def test_a_step_that_is_cut_off_is_told_no_more(sw: Stepwell, server: Server) -> None:
    began = asyncio.Event()

    @sw.function("async", on="test/event")
    async def _(step: Step) -> None:
        await step.run("a", hang)

    async def hang() -> None:
        began.set()
        await asyncio.sleep(60)

    call = asyncio.ensure_future(run_of(sw, ("async", False)).end())
    await began.wait()
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call
    server.now += 1
    await asyncio.sleep(SOON_S)

    assert server.request_count == 0
