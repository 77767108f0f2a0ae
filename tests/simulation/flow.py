"""Flow control in a world: rules that a seed makes up for its functions, and a count of what they allow.

The count is made from the rows of runs and jobs, not from what the engine counts with.
"""

from __future__ import annotations

import json
import sqlite3
from bisect import insort
from collections import Counter
from collections.abc import Iterator, Mapping
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from tests.simulation.app import Program

KEY = "event.data.k"
CANCEL_IF = "event.data.k == async.data.k"


def make_flow(chance: Random) -> dict[str, Any]:
    """Make up flow control: mostly one rule or two, in forms that may go together."""
    if chance.random() < 0.25:
        return {}

    def keyed(**rule: Any) -> dict[str, Any]:
        return {**rule, "key": KEY} if chance.random() < 0.5 else rule

    makers = {
        "concurrency": lambda: [_steps(chance)],
        "runConcurrency": lambda: [keyed(limit=chance.randint(1, 2))],
        "throttle": lambda: keyed(limit=chance.randint(1, 2), period="10s", burst=chance.choice([0, 1, 2])),
        "rateLimit": lambda: keyed(limit=chance.randint(1, 2), period="30s"),
        "debounce": lambda: keyed(period="10s", **chance.choice([{}, {"timeout": "25s"}])),
        "batchEvents": lambda: keyed(maxSize=chance.randint(2, 3), timeout="20s"),
        "singleton": lambda: keyed(mode=chance.choice(["skip", "cancel"])),
        "priority": lambda: {"run": "event.data.n - 5"},
        "cancel": lambda: [{"event": chance.choice(["stop", "a"]), "if": CANCEL_IF}],
        "timeouts": lambda: {chance.choice(["start", "finish"]): chance.choice(["20s", "300s"])},
        "idempotency": lambda: KEY,
    }
    chosen = set(chance.sample(sorted(makers), chance.choice([1, 1, 2, 3])))
    if "batchEvents" in chosen:
        chosen -= {"cancel", "debounce", "singleton", "priority"}
    return {name: makers[name]() for name in sorted(chosen)}


def _steps(chance: Random) -> dict[str, Any]:
    form = chance.random()
    if form < 0.3:
        return {"limit": chance.randint(1, 2)}
    if form < 0.6:
        return {"limit": chance.randint(1, 2), "key": KEY}
    return {"limit": 2, "key": chance.choice([KEY, '"all"']), "scope": chance.choice(["env", "account"])}


class Limit(NamedTuple):
    """What a rule counts for one event, and how many it allows."""

    name: tuple[Any, ...]
    count_max: int
    is_run: bool


def limits_of(program: Program, data: Mapping[str, Any]) -> Iterator[Limit]:
    """Name what the runs of an event, with its ``data``, are counted for."""
    for rule in program.flow.get("concurrency", ()):
        scope = rule.get("scope", "fn")
        owner = program.slug if scope == "fn" else scope
        yield Limit(("steps", owner, rule.get("key"), _value(rule, data)), rule["limit"], False)
    for rule in program.flow.get("runConcurrency", ()):
        yield Limit(("runs", program.slug, _value(rule, data)), rule["limit"], True)
    singleton = program.flow.get("singleton")
    if singleton is not None and singleton["mode"] == "cancel":
        yield Limit(("singleton", program.slug, _value(singleton, data)), 1, True)


def _value(rule: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
    return data.get("k") if rule.get("key") == KEY else None


class Usage:
    """What is under way, as the rows say."""

    def __init__(self, programs: Mapping[str, Program], slugs: Mapping[str, str]) -> None:
        self._programs, self._slugs = programs, slugs
        self._datas: dict[str, dict[str, Any]] = {}

    def over(self, db: sqlite3.Connection) -> list[str]:
        """Return what is more than allowed."""
        used, allowed = self._count(db)
        found = [
            f"{count} of {name} are under way, not {allowed[name]}"
            for name, count in used.items()
            if count > allowed[name]
        ]
        return found + self._singletons(db)

    def has_room(self, db: sqlite3.Connection, slug: str, event_id: str) -> bool:
        """Tell whether a run of an event may have another call."""
        used, _ = self._count(db)
        return all(
            used[limit.name] < limit.count_max for limit in limits_of(self._programs[slug], self._data(db, event_id))
        )

    def _count(self, db: sqlite3.Connection) -> tuple[Counter[tuple[Any, ...]], dict[tuple[Any, ...], int]]:
        used: Counter[tuple[Any, ...]] = Counter()
        allowed: dict[tuple[Any, ...], int] = {}
        for function_id, event_id, status, calls in db.execute(
            "select run.function_id, run.event_id, run.status, count(job.id) from run"
            " left join job on job.run_id = run.id and job.owner is not null and job.kind in ('discover', 'step')"
            " where run.status in ('queued', 'running') group by run.id"
        ):
            program = self._programs[self._slugs[function_id]]
            if not program.flow:
                continue
            for limit in limits_of(program, self._data(db, event_id)):
                allowed[limit.name] = limit.count_max
                used[limit.name] += (status == "running" or calls > 0) if limit.is_run else calls
        return used, allowed

    def _singletons(self, db: sqlite3.Connection) -> list[str]:
        going: Counter[tuple[str, Any]] = Counter()
        for function_id, event_id in db.execute(
            "select function_id, event_id from run where status in ('queued', 'running') and original_run_id is null"
        ):
            program = self._programs[self._slugs[function_id]]
            rule = program.flow.get("singleton")
            if rule is not None and rule["mode"] == "skip":
                going[program.slug, _value(rule, self._data(db, event_id))] += 1
        return [f"{count} runs of the singleton {name} go on" for name, count in going.items() if count > 1]

    def _data(self, db: sqlite3.Connection, event_id: str) -> dict[str, Any]:
        if event_id not in self._datas:
            [(body,)] = db.execute("select body from event where id = ?", (event_id,))
            self._datas[event_id] = json.loads(body)["data"]
        return self._datas[event_id]


def crowded(times: list[int], *, count_max: int, period_ms: int) -> bool:
    """Tell whether more than so many times are within any period."""
    ordered: list[int] = []
    for at in times:
        insort(ordered, at)
    return any(after - before < period_ms for before, after in zip(ordered, ordered[count_max:], strict=False))
