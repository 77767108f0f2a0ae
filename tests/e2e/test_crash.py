"""``kill -9`` in a loop, under load: every acknowledged event and every step is accounted for.

The app lives in this process, so that what it did is known exactly; the server is a real one, on a file.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import random
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn

from stepwell import Event, Run, Step, Stepwell
from tests.e2e.harness import EVENT_KEY, Port, Server, eventually

SENDERS = 4
UNFINISHED_MAX = 60
"""Senders wait for the server when so many events haven't been worked on to their end."""

UNDER_WAY_S = 3.0
"""How long a call or its answer may be under way between app and disk, on a machine under load: a call that was sent
before a kill may begin after it, and a result may be there a little before it and yet not on disk."""

FUNCTIONS = {"acme-onboard": ["a", "b", "c", "d"], "acme-audit": ["note"]}


@dataclass
class Execution:
    """One time that a step's body ran."""

    run_id: str
    step: str
    started_at: float
    ended_at: float = float("inf")


@dataclass
class Ledger:
    """What the app did and what the senders were told."""

    executions: list[Execution] = field(default_factory=list)
    acknowledged: set[int] = field(default_factory=set)
    kills: list[float] = field(default_factory=list)
    finished: set[tuple[str, int]] = field(default_factory=set)
    room: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(UNFINISHED_MAX))

    def finish(self, function: str, number: int) -> None:
        """Note a function that has come to its end; twice, when its last answer was lost."""
        if (function, number) not in self.finished:
            self.finished.add((function, number))
            if all((other, number) in self.finished for other in FUNCTIONS):
                self.room.release()


def make_app(ledger: Ledger, url: str) -> Stepwell:
    sw = Stepwell("acme", url=url, is_dev=True)

    async def body(run_id: str, step: str) -> str:
        execution = Execution(run_id, step, time.monotonic())
        ledger.executions.append(execution)
        await asyncio.sleep(random.choice([0, 0.005, 0.05]))
        execution.ended_at = time.monotonic()
        return f"{step} of {run_id}"

    @sw.function("onboard", on="user.signedup", retries=4)
    async def onboard(event: Event, step: Step, run: Run) -> list[str]:
        first = await step.run("a", body, run.id, "a")
        both = await asyncio.gather(step.run("b", body, run.id, "b"), step.run("c", body, run.id, "c"))
        await step.sleep("nap", "50ms")
        last = await step.run("d", body, run.id, "d")
        ledger.finish("acme-onboard", event.data["n"])
        return [first, *both, last]

    @sw.function("audit", on="user.*", retries=4)
    async def audit(event: Event, step: Step, run: Run) -> str:
        noted = await step.run("note", body, run.id, "note")
        ledger.finish("acme-audit", event.data["n"])
        return noted

    return sw


class AppThread:
    """Serves an app in a thread of this process."""

    def __init__(self, app: Stepwell) -> None:
        self._port = Port()
        self.url = f"http://127.0.0.1:{self._port.number}/"
        config = uvicorn.Config(app.asgi(), port=self._port.number, log_level="error", lifespan="off")
        self._server = uvicorn.Server(config)
        self._app = app
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="app")

    async def _serve(self) -> None:
        await self._server.serve()
        await self._app.client.aclose()

    def __enter__(self) -> AppThread:
        self._thread.start()
        eventually(lambda: self._server.started, what="the app serves")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(20)
        self._port.release()


class Load:
    """Senders that send events until they are told to stop, each event until it is acknowledged."""

    def __init__(self, url: str, ledger: Ledger) -> None:
        self._url, self._ledger = url, ledger
        self._numbers = itertools.count(1)
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._send, name=f"sender-{n}") for n in range(SENDERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join(30)

    def _send(self) -> None:
        with httpx2.Client(base_url=self._url, trust_env=False, timeout=10) as http:
            while not self._is_over.is_set():
                if self._ledger.room.acquire(timeout=0.1):
                    self._send_one(http, next(self._numbers))

    def _send_one(self, http: httpx2.Client, number: int) -> None:
        """Send an event again and again with one seed: the server must take it once."""
        seed = f"{time.time_ns() // 1_000_000},{base64.b64encode(number.to_bytes(10, 'big')).decode()}"
        event = {"name": "user.signedup", "data": {"n": number}}
        while True:
            try:
                response = http.post(f"/e/{EVENT_KEY}", json=event, headers={"X-Inngest-Event-Id-Seed": seed})
            except httpx2.TransportError:
                if self._is_over.wait(0.02):
                    return
                continue
            if response.status_code == 200:
                self._ledger.acknowledged.add(number)
                return


def rows(db: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True, timeout=10)) as connection:
        return connection.execute(sql).fetchall()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def crash_in_a_loop(folder: Path, ledger: Ledger, kills: int) -> Path:
    """Kill the server so many times under load, let it come to rest, and return its database."""
    chance = random.Random(kills)
    port = Port()
    url = f"http://127.0.0.1:{port.number}"
    with (
        AppThread(make_app(ledger, url)) as app,
        Server(folder, "dev", "--no-poll", "--retry-interval", "1", "--quiet", port=port) as server,
    ):
        assert httpx2.put(app.url, trust_env=False).status_code == 200
        with Load(url, ledger):
            for _ in range(kills):
                done = len(ledger.acknowledged)
                more = chance.choice([1, 5, 20, 60])
                eventually(lambda done=done, more=more: len(ledger.acknowledged) >= done + more, what="events go in")
                server.kill()
                ledger.kills.append(time.monotonic())
                server.start()
        unfinished = "select id, status from run where status in ('queued', 'running')"
        eventually(lambda: not rows(server.db, unfinished), what="all runs have ended", within_s=60)
        server.stop()
    port.release()
    return server.db


def account(db: Path, ledger: Ledger) -> None:
    """Check that each acknowledged event has its runs, each run its steps, and that only kills made steps run twice."""
    runs: dict[int, list[tuple[str, str]]] = {}
    outputs: dict[str, object] = {}
    for id, slug, status, body, output in rows(
        db,
        "select run.id, function.slug, run.status, event.body, run.output from run"
        " join event on event.id = run.event_id join function on function.id = run.function_id",
    ):
        assert status == "completed", (id, slug, status, output)
        runs.setdefault(json.loads(body)["data"]["n"], []).append((slug, id))
        outputs[id] = json.loads(output)
    for number in ledger.acknowledged:
        assert sorted(slug for slug, _ in runs.get(number, [])) == sorted(FUNCTIONS), (
            f"event {number}: {runs.get(number)}"
        )
    assert all(sorted(slug for slug, _ in started) == sorted(FUNCTIONS) for started in runs.values())

    for started in runs.values():
        for slug, id in started:
            expected = [f"{step} of {id}" for step in FUNCTIONS[slug]]
            assert outputs[id] == (expected if slug == "acme-onboard" else expected[0])
    steps = rows(db, "select run_id, title from step where op <> 'Sleep'")
    assert len(steps) == sum(len(FUNCTIONS[slug]) for started in runs.values() for slug, _ in started)
    assert rows(db, "select 1 from job") == []

    bodies: dict[tuple[str, str], list[Execution]] = {}
    for execution in ledger.executions:
        bodies.setdefault((execution.run_id, execution.step), []).append(execution)
    assert set(bodies) == {(run_id, title) for run_id, title in steps}
    again: dict[str, int] = {}
    for (run_id, step), executions in bodies.items():
        again[run_id] = again.get(run_id, 0) + len(executions) - 1
        for before, after in itertools.pairwise(executions):
            in_flight = [
                kill
                for kill in ledger.kills
                if before.started_at - UNDER_WAY_S <= kill <= min(before.ended_at + UNDER_WAY_S, after.started_at)
            ]
            assert in_flight, f"step {step} of {run_id} ran again without a kill: {before}, {after}"
    lost = dict(rows(db, "select run_id, count(*) from attempt where outcome = 'lost' group by run_id"))
    for run_id, count in again.items():
        assert count <= lost.get(run_id, 0), (
            f"{count} steps of {run_id} ran again; {lost.get(run_id, 0)} attempts were lost"
        )


def test_nothing_is_lost_and_nothing_done_is_done_again(tmp_path: Path, ledger: Ledger) -> None:
    db = crash_in_a_loop(tmp_path, ledger, kills=8)

    assert len(ledger.acknowledged) > 8
    account(db, ledger)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nothing_is_lost_over_a_hundred_kills(tmp_path: Path, ledger: Ledger) -> None:
    db = crash_in_a_loop(tmp_path, ledger, kills=100)

    assert len(ledger.acknowledged) > 1_000
    account(db, ledger)
