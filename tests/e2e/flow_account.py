"""The account after the kill tests of flow control and waits, held against the database and the app's own journal.

- Steps are accounted for as in ``account.py``.
- Where one call at a time is allowed, two overlap only if the replica of one was killed, or paused for so long that the
  others took it for dead. Runs that hold their key to their end never overlap, as far as their steps are recorded.
- Each gathered event is in one batch, and in one debounce. A skipped run was skipped for one that was there.
- A wait has the event of its order, unless that came after the time-out. An invoke has the result of its one child.
- No slot, wait, job or gathering is left.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, NamedTuple

from tests.e2e.account import UNDER_WAY_S, Account, Expected, Noted, read_notes, settle_steps
from tests.e2e.chaos import Draft, Load, World
from tests.e2e.flow_app import (
    BATCH_SIZE,
    BODILESS,
    CALL_LIMITS,
    GATHERED,
    GATHERING,
    ORDERED,
    PAID,
    RUN_LIMITED,
    SINGLE,
    STARTS,
    STEPS,
    THROTTLE_S,
    WAIT_S,
)
from tests.e2e.journal import Began

KEYS: Final = "xy"
_PAID_AFTER_S: Final = (0.0, 0.3, WAIT_S, WAIT_S + 1)
"""When an order is paid, after it was taken: before its wait begins, meanwhile, at its time-out, or too late."""
_CLOCKS_S: Final = 0.5
"""By how much the times of replicas differ that measure the database's on a machine under load."""
_LEFT: Final = ("job", "wait", "slot", "gathering", "sweep", "signal")


@dataclass
class FlowLoad(Load):
    """Events of all kinds, and payments for orders that a server has taken."""

    app: str = "tests.e2e.flow_app"
    starts: Mapping[str, Sequence[str]] = field(default_factory=lambda: STARTS)
    unfinished_max: int = 30
    _to_pay: dict[int, float] = field(default_factory=dict[int, float])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next_events(self, chance: Random, numbers: Iterator[int]) -> list[Draft]:
        """Pay what is to be paid by now, or else send something new."""
        with self._lock:
            due = [order for order, at in self._to_pay.items() if at <= time.monotonic()]
            for order in due:
                del self._to_pay[order]
        if due:
            return [Draft(PAID, {"n": next(numbers), "order": order}) for order in due]
        name = chance.choice([name for name in STARTS if name != PAID])
        return [event_of(name, next(numbers), chance.choice(KEYS))]

    def taken(self, events: Sequence[Draft]) -> None:
        """Note the orders to pay."""
        with self._lock:
            for event in events:
                if event.name == ORDERED:
                    number = event.data["n"]
                    self._to_pay[number] = time.monotonic() + _PAID_AFTER_S[number % len(_PAID_AFTER_S)]


def event_of(name: str, number: int, key: str) -> Draft:
    """Make an event of the app's."""
    return Draft(name, {"n": number, "key": key, "order": number})


class RunRow(NamedTuple):
    """A run as the database has it, with the data of its event."""

    id: str
    function: str
    status: str
    reason: str | None
    event_id: str
    data: dict[str, Any]
    output: bytes | None
    queued_at: int
    started_at: int
    ended_at: int
    parent_id: str | None


@dataclass
class FlowAccount(Account):
    """What was found; made by ``settle_flow``."""

    overlaps: Counter[str] = field(default_factory=Counter[str])
    """Calls that overlapped, by what explains that."""
    outcomes: Counter[str] = field(default_factory=Counter[str])

    def __str__(self) -> str:
        overlaps = ", ".join(f"{count} after {cause}" for cause, count in sorted(self.overlaps.items())) or "none"
        outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(self.outcomes.items()))
        return f"{super().__str__()}; overlaps: {overlaps}; {outcomes}"


def settle_flow(world: World) -> FlowAccount:
    """Account for everything that a world with the app of flow control has been through."""
    account = FlowAccount()
    events = _events(world)
    runs = _runs(world)
    noted = read_notes(world)
    account.events, account.runs = len(events), len(runs)
    _check_starts(account, events, runs)
    _check_gathered(world, events, runs, noted)
    done = {run.id: (run.function, (run.id, run.function, run.status, b"", run.output)) for run in runs if run.output}
    settle_steps(world, account, done, noted, Expected(STEPS, BODILESS))
    by_id = {run.id: run for run in runs}
    _check_calls(world, account, by_id, noted)
    _check_run_limits(world, by_id, noted)
    _check_throttle(runs)
    _check_waits(world, account, events, by_id, noted)
    _check_invokes(world, by_id, noted)
    for table in _LEFT:
        assert world.database.rows(f"select * from {table}") == [], f"rows are left in {table}"
    return account


def _events(world: World) -> dict[int, tuple[str, str, dict[str, Any]]]:
    """Return the ids, names and data of the events by number: those that a server has taken, each once."""
    rows = world.database.rows("select id, name, body from event where is_internal = 0 and name like 'thing.%'")
    bodies = [(id, name, json.loads(body)["data"]) for id, name, body in rows]
    found = {data["n"]: (id, name, data) for id, name, data in bodies}
    assert len(found) == len(rows), "an event is there twice"
    assert {number: name for number, (_, name, _) in found.items()} == world.acknowledged  # senders don't give up
    return found


def _runs(world: World) -> list[RunRow]:
    rows = world.database.rows(
        "select run.id, function.slug, run.status, run.reason, run.event_id, event.body, run.output, run.queued_at,"
        " run.started_at, run.ended_at, run.parent_run_id from run"
        " join event on event.id = run.event_id join function on function.id = run.function_id"
    )
    return [
        RunRow(
            id=id,
            function=slug.removeprefix("acme-"),
            status=status,
            reason=reason,
            event_id=event_id,
            data=json.loads(body)["data"],
            output=output,
            queued_at=queued_at,
            started_at=started_at,
            ended_at=ended_at,
            parent_id=parent_id,
        )
        for id, slug, status, reason, event_id, body, output, queued_at, started_at, ended_at, parent_id in rows
    ]


def _check_starts(
    account: FlowAccount, events: Mapping[int, tuple[str, str, dict[str, Any]]], runs: Sequence[RunRow]
) -> None:
    """Check that each event has the runs that it shall have, that all have completed, and why others were skipped."""
    started: dict[str, list[str]] = defaultdict(list)
    singles: dict[str, list[RunRow]] = defaultdict(list)
    for run in runs:
        is_skipped = run.status == "skipped"
        assert run.status == "completed" or (is_skipped and run.function == "single"), run
        account.outcomes[f"{run.function} {run.status}" if run.function == "single" else run.function] += 1
        if run.function not in GATHERING and run.function != "worker":
            started[run.event_id].append(run.function)
        if run.function == "single":
            singles[run.data["key"]].append(run)
    for id, name, data in events.values():
        expected = ["single"] if name == SINGLE else list(STARTS[name])
        assert sorted(started[id]) == sorted(expected), f"event {data} ({name}) started {started[id]}"
    slack_ms = 1000 * (UNDER_WAY_S + 2)
    for of_key in singles.values():
        others = [run for run in of_key if run.status == "completed"]
        for run in of_key:
            if run.status == "skipped":
                assert run.reason == "singleton"
                assert any(
                    other.queued_at - slack_ms <= run.queued_at <= other.ended_at + slack_ms for other in others
                ), f"{run} was skipped for no other"


def _check_gathered(
    world: World,
    events: Mapping[int, tuple[str, str, dict[str, Any]]],
    runs: Sequence[RunRow],
    noted: Noted,
) -> None:
    """Check that each event is in one batch and one debounce, of its own key, and that the app got those of a batch."""
    data_of = {id: data for id, name, data in events.values() if name == GATHERED}
    gathered: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run, event in world.database.rows("select run_id, event_id from gathered"):
        gathered[run].append(data_of[event])
    for function in GATHERING:
        mine = [run for run in runs if run.function == function]
        numbers = Counter(data["n"] for run in mine for data in gathered[run.id])
        assert numbers == Counter(data["n"] for data in data_of.values()), f"{function}: {numbers}"
        for run in mine:
            assert {data["key"] for data in gathered[run.id]} == {run.data["key"]}
            assert run.data in gathered[run.id]
            if function == "batch":
                assert len(gathered[run.id]) <= BATCH_SIZE
                expected = " ".join(sorted(str(data["n"]) for data in gathered[run.id]))
                assert noted.saw[run.id, "events"] == {expected}


def _check_calls(world: World, account: FlowAccount, runs: Mapping[str, RunRow], noted: Noted) -> None:
    """Check that calls of a key of which there may be one overlap only with what a lost replica has begun."""
    killed_at = {incident.pid: incident.ended_at for incident in world.incidents if incident.kind == "app"}
    calls: dict[tuple[str, ...], list[tuple[float, float, Began]]] = defaultdict(list)
    for began in noted.began.values():
        run = runs[began.run]
        if run.function in CALL_LIMITS:
            name, *keys = CALL_LIMITS[run.function]
            end = noted.ended.get(began.execution)
            ended_at = end.at if end is not None else killed_at[began.app_pid]
            calls[name, *(run.data[key] for key in keys)].append((began.at, ended_at, began))
    for of_key in calls.values():
        of_key.sort(key=lambda call: call[0])
        for number, (_, ended_at, first) in enumerate(of_key):
            for began_at, _, second in of_key[number + 1 :]:
                if began_at >= ended_at:
                    break
                if (first.run, first.attempt) == (second.run, second.attempt):
                    continue
                causes = [noted.cause(call, world.incidents) for call in (first, second)]
                cause = next((cause for cause in causes if cause is not None and "replica" in cause), None)
                assert cause is not None, f"two calls at a time, for no reason: {first}, until {ended_at}, and {second}"
                account.overlaps[cause] += 1


def _check_run_limits(world: World, runs: Mapping[str, RunRow], noted: Noted) -> None:
    """Check that runs that hold their key to the end come one after the other."""
    spans: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for run_id, memo in world.database.rows("select run_id, memo from step where attempt_id is not null"):
        run = runs[run_id]
        if run.function not in RUN_LIMITED or not isinstance(result := json.loads(memo)["data"], str):
            continue
        began_at, ended_at = noted.began[result].at, noted.ended[result].at
        of_key = spans[run.function, run.data["key"]]
        first, last = of_key.get(run_id, (began_at, ended_at))
        of_key[run_id] = (min(first, began_at), max(last, ended_at))
    for name, of_key in spans.items():
        for (one, (_, ended_at)), (other, (began_at, _)) in itertools.pairwise(
            sorted(of_key.items(), key=lambda item: item[1])
        ):
            assert ended_at <= began_at, f"{name}: run {other} began before {one} had ended"


def _check_throttle(runs: Sequence[RunRow]) -> None:
    """Check that in any time no more runs started than the throttle lets through."""
    starts = sorted(run.started_at / 1000 for run in runs if run.function == "throttled")
    for (first, at), (last, until) in itertools.combinations(enumerate(starts), 2):
        assert (last - first) * THROTTLE_S <= until - at + UNDER_WAY_S, f"{last - first + 1} starts in {until - at} s"


def _check_waits(
    world: World,
    account: FlowAccount,
    events: Mapping[int, tuple[str, str, dict[str, Any]]],
    runs: Mapping[str, RunRow],
    noted: Noted,
) -> None:
    """Check that each wait has its event, or none that was taken in its time."""
    payments = {data["order"]: number for number, (_, name, data) in events.items() if name == PAID}
    waits = world.database.rows("select run_id, memo, started_at from step where title = 'wait'")
    for run_id, memo, started_at in waits:
        event = json.loads(memo)
        payment = payments.get(runs[run_id].data["n"])
        [seen] = noted.saw[run_id, "wait"]
        if event is None:
            account.outcomes["wait timed out"] += 1
            assert seen == "None"
            timeout_at = started_at / 1000 + WAIT_S
            assert payment is None or world.acknowledged_at[payment] > timeout_at - _CLOCKS_S, (
                f"run {run_id} timed out at {timeout_at}; payment {payment}, {world.acknowledged_at[payment]}"
            )
        else:
            account.outcomes["wait paid"] += 1
            assert seen == str(payment)
            assert event["data"]["n"] == payment, f"run {run_id} got {event}, and not payment {payment}"


def _check_invokes(world: World, runs: Mapping[str, RunRow], noted: Noted) -> None:
    """Check that each step that invokes has had one child, whose result it has."""
    children: dict[str, list[RunRow]] = defaultdict(list)
    for run in runs.values():
        if run.function == "worker":
            assert run.parent_id is not None
            children[run.parent_id].append(run)
    for run_id, memo in world.database.rows("select run_id, memo from step where title = 'invoke'"):
        [child] = children.pop(run_id)
        result = json.loads(memo)["data"]
        assert child.output is not None
        assert result == json.loads(child.output)
        assert result["order"] == runs[run_id].data["n"]
        assert noted.saw[run_id, "invoke"] == {f"{result['order']} {result['work']}"}
    assert not children
