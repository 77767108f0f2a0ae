"""Worlds in which everything is killed under load: a database, its servers, an app, senders, and what befalls them.

A plan of troubles is made from a seed, then played in its order; when each happens depends on how soon processes start.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import random
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Protocol, Self

import asyncpg
import httpx2

from tests.e2e.chaos_app import EVENTS
from tests.e2e.harness import EVENT_KEY, App, Server, eventually
from tests.e2e.journal import Journal
from tests.postgres import Postgres

TAKE_OVER_S: Final = 4.0
SENDERS: Final = 3
UNFINISHED_MAX: Final = 60
"""Senders wait when so many runs haven't come to their end: a machine under load must not fall behind more and more."""
_PACE_S: Final = 0.05  # between two requests of a sender
_SEND_S: Final = 3.0  # then another replica is asked: this one may be paused

Row = tuple[Any, ...]
Kind = Literal[
    "kill",
    "restart",
    "pause",
    "short pause",
    "app",
    "database kill",
    "database immediate",
    "database fast",
    "database away",
    "database pause",
]


class Database(Protocol):
    """Where servers keep everything."""

    address: Path | str
    """As ``--db`` takes it."""

    def rows(self, sql: str) -> list[Row]:
        """Run a query, of its own connection."""
        ...


class SQLiteFile:
    """A file in a folder."""

    def __init__(self, folder: Path) -> None:
        self.address: Path | str = folder / "server.db"

    def rows(self, sql: str) -> list[Row]:
        """Run a query."""
        with closing(sqlite3.connect(f"file:{self.address}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(sql).fetchall()


class PostgresDatabase:
    """A database of a PostgreSQL server."""

    def __init__(self, url: str) -> None:
        self.address: Path | str = url

    def rows(self, sql: str) -> list[Row]:
        """Run a query."""

        async def fetch() -> list[Row]:
            connection = await asyncpg.connect(str(self.address), server_settings={"search_path": "stepwell"})
            try:
                return [tuple(row) for row in await connection.fetch(sql)]
            finally:
                await connection.close()

        return asyncio.run(fetch())


def say(*lines: object) -> None:
    """Write lines that are shown when the test fails, or with ``-s``."""
    print(*lines, sep="\n")  # noqa: T201


@dataclass(frozen=True)
class Trouble:
    """Something that befalls a process, or the database, when nobody expects it."""

    kind: Kind
    after_s: float
    """How long after the last one it begins, at least."""
    for_s: float
    """How long something is down, or paused, at least."""
    chance: float
    """Which replica it befalls, of those that are well."""

    def __str__(self) -> str:
        return f"{self.after_s:.1f} s later  {self.kind} for {self.for_s:.1f} s"


@dataclass(frozen=True)
class Incident:
    """A trouble that has happened: when, and to which process; None for the database, which concerns all replicas."""

    kind: Kind
    pid: int | None
    began_at: float
    ended_at: float

    def __str__(self) -> str:
        return f"{self.began_at:.2f} to {self.ended_at:.2f}  {self.kind} of {self.pid or 'the database'}"


def plan_troubles(chance: random.Random, kinds: Sequence[Kind], *, gap_s: float) -> list[Trouble]:
    """Plan one trouble of each kind, in any order."""
    longer_s = TAKE_OVER_S + 1
    durations: dict[Kind, Callable[[], float]] = {
        "kill": lambda: chance.choice([0.0, 1.0, longer_s]),
        "restart": lambda: 0.0,
        "pause": lambda: longer_s + chance.uniform(0, 2),
        "short pause": lambda: chance.uniform(0.2, TAKE_OVER_S / 2),
        "app": lambda: chance.uniform(0, 1),
        "database away": lambda: longer_s,
        "database pause": lambda: chance.choice([0.5, longer_s]),
    }

    def outage_s() -> float:
        return chance.choice([0.0, 0.5, 1.0])

    order = list(kinds)
    chance.shuffle(order)
    return [
        Trouble(kind, chance.uniform(0.3, 2 * gap_s), durations.get(kind, outage_s)(), chance.random())
        for kind in order
    ]


@dataclass
class Load:
    """What senders send to which app. This is the plain one."""

    app: str = "tests.e2e.chaos_app"
    """The module that is the app's process."""
    starts: Mapping[str, Sequence[str]] = field(default_factory=lambda: EVENTS)
    """The functions that each event starts, as far as their handlers come to an end that is noted."""
    unfinished_max: int = UNFINISHED_MAX

    def next_events(self, chance: random.Random, numbers: Iterator[int]) -> list[Draft]:
        """Make the events of a sender's next request. Senders are threads."""
        count = chance.choice([1, 1, 1, 3])
        return [
            Draft(chance.choice(list(self.starts)), {"n": next(numbers), "nap_s": chance.choice([0.2, 1, 3])})
            for _ in range(count)
        ]

    def taken(self, events: Sequence[Draft]) -> None:
        """Hear that a server has taken events."""


class Draft(NamedTuple):
    """An event to send; ``n`` in its data is its number."""

    name: str
    data: dict[str, Any]


class World:
    """Replicas on one database, an app, and senders that send until the end.

    ``postgres`` is what has troubles of its own. ``take_over_s`` is for replicas; on SQLite there is no such thing.
    """

    def __init__(
        self,
        folder: Path,
        database: Database,
        *,
        replicas: int = 1,
        take_over_s: float | None = None,
        postgres: Postgres | None = None,
        load: Load | None = None,
    ) -> None:
        self.database, self.postgres = database, postgres
        self.load = load or Load()
        flags = ["--retry-interval", "1"]
        if take_over_s is not None:
            flags += ["--take-over", f"{take_over_s:g}"]
        self.servers = [
            Server(folder, "start", *flags, name=f"server-{number}", db=database.address) for number in range(replicas)
        ]
        path = folder / "journal"
        path.touch()
        self.journal = Journal(path)
        argv = [sys.executable, "-m", self.load.app, "{port}", str(path)]
        self.app = App(folder, argv, self.servers[0].app_environment)
        # Without it an app lets nobody but the server have it registered.
        self.app.environment["STEPWELL_SERVE_ORIGIN"] = self.app.url
        self.acknowledged: dict[int, str] = {}
        """The events that a server has taken: their numbers, and their names."""
        self.acknowledged_at: dict[int, float] = {}
        """When they were, at the latest: Unix seconds."""
        self.incidents: list[Incident] = []
        self._ends: list[_End] = []
        self._stack = ExitStack()
        for owned in (self.journal, *self.servers, self.app):
            self._stack.callback(owned.close)

    def __enter__(self) -> Self:
        try:
            for process in (*self.servers, self.app):
                process.start()
            assert self.app.http.put("/").status_code == 200, self.app.output()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def endure(self, troubles: Sequence[Trouble], chance: random.Random) -> None:
        """Play a plan under load, and let everything come to rest."""
        self.storm(troubles, chance)
        self.rest()
        self.stop()

    def storm(self, troubles: Sequence[Trouble], chance: random.Random) -> None:
        """Play a plan under load."""
        with _Senders(self, chance):
            self._play(troubles)

    def rest(self) -> None:
        """Wait until all runs have ended, also those that events are gathered for."""
        unfinished = (
            "select id, partition, status from run where status in ('queued', 'running')"
            " union all select run_id, key, kind from gathering"
        )

        def have_ended() -> bool:
            rows = self.database.rows(unfinished)
            assert not rows, rows
            return True

        eventually(have_ended, what="all runs have ended", within_s=90)

    def stop(self) -> None:
        """Stop the servers, which must end well, and read what the app noted."""
        statuses = [server.stop(30) for server in self.servers]
        assert statuses == [0] * len(self.servers)
        self.journal.read()

    def _play(self, troubles: Sequence[Trouble]) -> None:
        """Begin each trouble in its turn, and end it in its time; one replica at least is left alone, if there are two."""
        for trouble in troubles:
            self._wait_until(time.monotonic() + trouble.after_s)
            if trouble.kind in ("kill", "restart", "pause", "short pause"):
                while len(self._ends) > max(0, len(self.servers) - 2):
                    self._wait_until(self._ends[0].at)
                ill = {end.server for end in self._ends}
                well = [server for server in self.servers if server not in ill]
                self._begin(trouble, well[int(trouble.chance * len(well))])
            else:
                self._begin(trouble, self.servers[0])
        while self._ends:
            self._wait_until(self._ends[0].at)

    def _wait_until(self, at: float) -> None:
        """Let time go by, for what goes on in other processes, and end what is to end in it."""
        nothing = threading.Event()
        while self._ends and self._ends[0].at <= at:
            nothing.wait(max(0.0, self._ends[0].at - time.monotonic()))
            self._ends.pop(0).act()
        nothing.wait(max(0.0, at - time.monotonic()))

    def _begin(self, trouble: Trouble, server: Server) -> None:
        """Begin a trouble, of the server if it is one of a replica; others are soon over, and waited for."""
        kind = trouble.kind
        match kind:
            case "kill":
                self._note(kind, server.pid, server.kill)
                self._end_later(trouble, server, server.start)
            case "restart":
                # Whatever else goes on, it ends well.
                self._note(kind, server.pid, lambda: self._stop(server))
                server.start()
            case "pause" | "short pause":
                began_at = time.monotonic()
                server.pause()

                def resume() -> None:
                    server.resume()
                    self.incidents.append(Incident(kind, server.pid, began_at, time.monotonic()))

                self._end_later(trouble, server, resume)
            case "app":
                self._note(kind, self.app.pid, self.app.kill)
                threading.Event().wait(trouble.for_s)
                self.app.start()
            case _:
                self._note(kind, None, lambda: self._interrupt_database(trouble))

    def _end_later(self, trouble: Trouble, server: Server, act: Callable[[], None]) -> None:
        self._ends.append(_End(time.monotonic() + trouble.for_s, server, act))
        self._ends.sort(key=lambda end: end.at)

    def _note(self, kind: Kind, pid: int | None, act: Callable[[], None]) -> None:
        began_at = time.monotonic()
        act()
        self.incidents.append(Incident(kind, pid, began_at, time.monotonic()))

    def _stop(self, server: Server) -> None:
        assert server.stop(30) == 0, server.output()

    def _interrupt_database(self, trouble: Trouble) -> None:
        assert self.postgres is not None
        match trouble.kind:
            case "database pause":
                self.postgres.pause()
            case "database kill" | "database away":
                self.postgres.kill()
            case "database immediate":
                self.postgres.stop("immediate")
            case _:
                self.postgres.stop("fast")
        threading.Event().wait(trouble.for_s)
        if trouble.kind == "database pause":
            self.postgres.resume()
        else:
            self.postgres.start()


class _End(NamedTuple):
    """How a trouble of a replica ends."""

    at: float
    server: Server
    act: Callable[[], None]


@dataclass
class _Senders:
    """Threads that send events, each until it is acknowledged, to any server that answers."""

    world: World
    chance: random.Random
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _is_over: threading.Event = field(default_factory=threading.Event)
    _is_broken_off: threading.Event = field(default_factory=threading.Event)
    _failures: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._threads = [
            threading.Thread(target=self._send, args=(random.Random(self.chance.random()),), name=f"sender-{number}")
            for number in range(SENDERS)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._is_over.set()
        if kind is not None:
            self._is_broken_off.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} still sends: is nobody there to take an event?"
        assert not self._failures, self._failures

    def _send(self, chance: random.Random) -> None:
        try:
            with ExitStack() as stack:
                clients = [
                    stack.enter_context(httpx2.Client(base_url=server.url, trust_env=False, timeout=_SEND_S))
                    for server in self.world.servers
                ]
                while not self._is_over.wait(_PACE_S):
                    if self._unfinished_count() < self.world.load.unfinished_max:
                        self._send_some(chance, clients)
        except BaseException as error:
            self._failures.append(error)

    def _unfinished_count(self) -> int:
        starts = self.world.load.starts
        started = sum(len(starts[name]) for name in list(self.world.acknowledged.values()))
        return started - self.world.journal.finished_count

    def _send_some(self, chance: random.Random, clients: Sequence[httpx2.Client]) -> None:
        """Send events again and again with one seed: whoever gets them, they must be taken once."""
        drafts = self.world.load.next_events(chance, self._numbers)
        if not drafts:
            return
        names = {draft.data["n"]: draft.name for draft in drafts}
        events = [{"name": draft.name, "data": draft.data} for draft in drafts]
        seed = f"{time.time_ns() // 1_000_000},{base64.b64encode(min(names).to_bytes(10, 'big')).decode()}"
        for client in itertools.chain.from_iterable(itertools.repeat(chance.sample(clients, len(clients)))):
            if self._is_broken_off.is_set():
                return
            try:
                response = client.post(f"/e/{EVENT_KEY}", json=events, headers={"X-Inngest-Event-Id-Seed": seed})
            except httpx2.TransportError:
                continue
            finally:
                threading.Event().wait(0.01)
            if response.status_code == 200:
                self.world.acknowledged_at.update(dict.fromkeys(names, time.time()))
                self.world.acknowledged.update(names)
                self.world.load.taken(drafts)
                return
            assert response.status_code == 503, f"{response.status_code} {response.text}"
