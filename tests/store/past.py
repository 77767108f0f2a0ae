"""Things that happened some time ago, on any of the databases, and the janitor that comes now."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from stepwell.engine.clock import Clock
from stepwell.engine.core.model import Event, Job, Run
from stepwell.engine.ids import ulid_text
from stepwell.engine.janitor import Janitor, Retention
from stepwell.limits import DAY_MS
from stepwell.protocol.canonical import encode
from stepwell.protocol.event import event_body
from stepwell.protocol.ids import EventId
from stepwell.store.request import Pruned
from tests.store.database import Database, Worker
from tests.unit.engine.making import op, ops, result

KEPT_MS = 30 * DAY_MS
LATE_MS = KEPT_MS // 100 + DAY_MS
"""How long after its time something is deleted, at most."""


class Past:
    """Does things at times of its choice; ids are of those times, as they are in life."""

    def __init__(self, worker: Worker, database: Database) -> None:
        self.worker, self.database = worker, database
        self._numbers = itertools.count(1)
        worker.new_id = self.new_id

    @property
    def now(self) -> int:
        return self.worker.now

    @now.setter
    def now(self, at: int) -> None:
        self.worker.now = at

    def new_id(self) -> str:
        return ulid_text(self.now, next(self._numbers).to_bytes(10, "big"))

    def event(self, name: str = "a", *, id: str | None = None, data: Any = None) -> Event:
        internal = EventId(self.new_id())
        return Event(
            id=internal,
            environment=self.worker.environment,
            name=name,
            event_id=id or internal,
            ts=self.now,
            received_at=self.now,
            body=event_body(name=name, id=id or internal, ts=self.now, data=encode({} if data is None else data)),
            has_own_id=id is not None,
        )

    async def started(self, name: str = "a") -> tuple[Run, Job]:
        """Start a run now; its first step is done."""
        run, job = await self.worker.run(self.event(name))
        transition = await self.worker.reply(run.id, job, ops(op("StepRun", "s", data=1)), is_leased=True)
        return run, transition.jobs[0]

    async def ended(self, name: str = "a", *, took_ms: int = 0) -> Run:
        """Start a run now, and end it ``took_ms`` later; it has one step and two attempts."""
        run, job = await self.started(name)
        self.now += took_ms
        await self.worker.reply(run.id, job, result(b"1"))
        return run

    def counts(self, *tables: str) -> dict[str, int]:
        tables = tables or ("run", "step", "attempt", "job", "event")
        return {table: self.database.query(f"select count(*) from {table}")[0][0] for table in tables}

    def runs(self) -> list[str]:
        return [row[0] for row in self.database.query("select id from run order by id")]

    def events(self) -> list[str]:
        return [row[0] for row in self.database.query("select id from event order by id")]

    def assert_whole(self) -> None:
        """Nothing is there without what it belongs to."""
        for table in ("step", "attempt", "job"):
            text = f"select run_id from {table} where run_id not in (select id from run)"
            assert self.database.query(text) == [], table
        assert self.database.query("select id from run where event_id not in (select id from event)") == []

    def janitor(self, retention: Retention | int | None = KEPT_MS, *, store: Any = None) -> Janitor:
        if not isinstance(retention, Retention):
            retention = Retention(retention)
        return Janitor(store or self.worker.store, self.clock(), self.worker.environment, retention)

    def clock(self) -> Clock:
        """Return a clock that shows the time of this past, and in which no time goes by."""
        return Clock(lambda: self.now, elapsed=lambda: 0.0)

    async def sweep(self, retention: Retention | int | None = KEPT_MS) -> Pruned:
        """Have a janitor come, who knows nothing of those before."""
        return await self.janitor(retention).sweep_once()


class Watched:
    """A store that notes which verbs are used, and may fail at one."""

    def __init__(self, store: Any, *, fail: Callable[[str, Any], Exception | None] = lambda _name, _args: None) -> None:
        self._store, self._fail = store, fail
        self.asked: list[str] = []
        self.requests: list[Any] = []

    @property
    def insight(self) -> Watched:
        """The dashboard's questions, which are noted beside the other verbs."""
        insight = Watched(self._store.insight, fail=self._fail)
        insight.asked = self.asked
        return insight

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._store, name)

        def use(*args: Any, **named: Any) -> Any:
            self.asked.append(name)
            if name == "submit":
                self.requests.append(args[0])
            error = self._fail(name, args)
            if error is not None:
                raise error
            return verb(*args, **named)

        return use
