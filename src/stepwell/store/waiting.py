"""Waits in a group commit: they are opened, resolved by events, signals and ends of runs, and dropped (design 5.5, 5.6).

A plan without I/O. A run isn't advanced here: its wait's job gets the memo and is due, and the rules apply it once it is
claimed. Event, time-out and cancel compete for one conditional update of the job.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from ulid import base32

from stepwell.engine.core.condition import holds, value_at
from stepwell.engine.core.model import Event, Job, JobKind, Resolution, Wait, WaitKind
from stepwell.engine.core.partition import TIMERS
from stepwell.limits import LOOK_BACK_EVENTS_MAX, WAITS_ENDED_MAX
from stepwell.protocol.canonical import encode_text
from stepwell.protocol.ids import EventId, JobId, RunId
from stepwell.store.query import Statement
from stepwell.store.rows import Row, wait_row

_CLOCKS_APART_MS: Final = 300_000
"""How far the time in an id may be from the time at which its event was received: a sender's seed has its own clock."""


class Found(NamedTuple):
    """The end of a wait: its job, with the memo, or the event that is it."""

    run_id: RunId
    job_id: JobId
    memo: bytes | None
    resolved_by: EventId | None


def signal_conflicts(waits: Sequence[Wait], now: int) -> Generator[Statement, Sequence[Row], set[tuple[RunId, JobId]]]:
    """Return those waits for a signal that another run waits for already, the waits before them counted."""
    wanted = [wait for wait in waits if wait.kind is WaitKind.SIGNAL]
    conflicts: set[tuple[RunId, JobId]] = set()
    if not wanted:
        return conflicts
    found = yield Statement("wait_signal", sorted({(wait.environment, wait.name) for wait in wanted}))
    waiting = {(row[0], row[1]): (row[2], row[3]) for row in found if row[4] > now}
    for wait in wanted:
        name = (wait.environment, wait.name)
        if name in waiting and not wait.is_replacing:
            conflicts.add((wait.run_id, wait.job_id))
        else:
            waiting[name] = (wait.run_id, wait.job_id)
    return conflicts


def open_waits(waits: Sequence[Wait]) -> Generator[Statement, Sequence[Row], list[Found]]:
    """Insert waits; those that what came before resolves are returned instead."""
    found: list[Found] = []
    staying: dict[tuple[str, str] | int, Wait] = {}
    for number, wait in enumerate(waits):
        memo: bytes | None = None
        event_id: EventId | None = None
        if wait.kind is WaitKind.SIGNAL:
            if wait.takes_kept:
                rows = yield Statement("signal_take", parameters={"environment": wait.environment, "name": wait.name})
                memo = signal_memo(wait.name, rows[0][0]) if rows else None
        elif wait.since is not None:
            event_id = yield from _look_back(wait, wait.since)
        if memo is not None or event_id is not None:
            found.append(Found(wait.run_id, wait.job_id, memo, event_id))
        elif wait.kind is WaitKind.SIGNAL:
            staying[(wait.environment, wait.name)] = wait
        else:
            staying[number] = wait
    replaced = [wait for wait in staying.values() if wait.kind is WaitKind.SIGNAL]
    if replaced:
        # Whoever had the signal gives it up: it is left to time out. What is there otherwise has expired.
        rows = yield Statement("wait_signal", sorted({(wait.environment, wait.name) for wait in replaced}))
        if rows:
            yield Statement("wait_take", sorted((row[2], row[3]) for row in rows))
    if staying:
        yield Statement("wait_insert", [wait_row(wait) for wait in staying.values()])
    return found


def _look_back(wait: Wait, since: int) -> Generator[Statement, Sequence[Row], EventId | None]:
    """Return the first event that was received before the wait began and matches it.

    A run is queued some time after its event was received: what came with that, or since, counts.
    """
    if wait.trigger_id is not None:
        own = yield Statement("event_received", parameters={"id": wait.trigger_id})
        since = min([since, *(row[0] for row in own)])
    rows = yield Statement(
        "wait_look_back",
        parameters={
            "environment": wait.environment,
            "name": wait.name,
            "after": _first_ulid(max(0, since - _CLOCKS_APART_MS)),
            "since": since,
            "limit": LOOK_BACK_EVENTS_MAX,
        },
    )
    for id, body in rows:
        if id == wait.trigger_id:
            continue
        if wait.path and value_at(body, wait.path) != wait.value:
            continue
        event = msgspec.json.decode(body)
        if event["id"] in wait.passes_over:
            continue
        if holds(wait.condition, event, now_ms=wait.created_at):
            return EventId(id)
    return None


def _first_ulid(at_ms: int) -> str:
    return base32.encode(at_ms.to_bytes(6, "big") + bytes(10))


class Matched(NamedTuple):
    """What events end: waits, and runs that have a rule to be cancelled by them, each with the time of its event."""

    found: list[Found]
    cancels: Mapping[tuple[RunId, JobId], int]
    is_swept: bool = False
    """There are too many for one transaction: they are left to sweeps."""


def match_events(
    placed: Sequence[tuple[int, Event]], opened: Mapping[RunId, int]
) -> Generator[Statement, Sequence[Row], Matched]:
    """Find what events end, each wait by the first of them.

    Runs that start in this transaction are cancelled by none but the events after the one, at a place, that started them.
    """
    events = [event for _, event in placed]
    names = sorted({(event.environment, event.name) for event in events})
    if (yield Statement("sweep_pending", names)):
        return (yield from _leave_to_sweeps(events))
    paths: dict[tuple[str, str], list[str]] = {}
    for environment, name, path in (yield Statement("wait_paths", names)):
        paths.setdefault((environment, name), []).append(path)
    keys = {
        event.id: [
            (event.environment, event.name, path, value)
            for path, value in _values(event.body, paths.get((event.environment, event.name), ()))
        ]
        for event in events
    }
    wanted = sorted({key for own in keys.values() for key in own})
    if not wanted:
        return Matched([], {})
    rows = yield Statement("wait_match", wanted, {"limit": WAITS_ENDED_MAX + 1})
    if len(rows) > WAITS_ENDED_MAX:
        return (yield from _leave_to_sweeps(events))
    waiting: dict[tuple[str, str, str, str], list[Row]] = {}
    for row in rows:
        waiting.setdefault((row[0], row[1], row[2], row[3]), []).append(row[4:])
    matching = _Matching()
    for place, event in placed:
        for key in keys[event.id]:
            rows = [row for row in waiting.get(key, ()) if place > opened.get(row[0], -1)]
            if rows:
                matching.add(event.id, event.received_at, msgspec.json.decode(event.body), rows)
    return matching.matched()


def _leave_to_sweeps(events: Sequence[Event]) -> Generator[Statement, Sequence[Row], Matched]:
    yield Statement("sweep_insert", [(event.id, event.environment, event.name, event.received_at) for event in events])
    return Matched([], {}, is_swept=True)


def sweep() -> Generator[Statement, Sequence[Row], Matched | None]:
    """Go on with the oldest sweep; None when there is none for this replica."""
    rows = yield Statement("sweep_next")
    if not rows:
        return None
    event_id, environment, name, received_at, after_path, after_run_id, after_job_id, body = rows[0]
    event = msgspec.json.decode(body)
    paths = sorted(row[2] for row in (yield Statement("wait_paths", [(environment, name)])))
    matching = _Matching()
    left = WAITS_ENDED_MAX
    place = (after_path, after_run_id, after_job_id)
    for path, value in _values(body, [path for path in paths if path >= after_path]):
        place = (path, *(place[1:] if path == place[0] else ("", "")))
        found = yield Statement(
            "wait_sweep",
            parameters={
                "environment": environment,
                "name": name,
                "path": path,
                "value": value,
                "run_id": place[1],
                "job_id": place[2],
                "event_id": event_id,
                "received_at": received_at,
                "limit": left,
            },
        )
        matching.add(EventId(event_id), received_at, event, found)
        left -= len(found)
        if left == 0:
            parameters = {"event_id": event_id, "path": path, "run_id": found[-1][0], "job_id": found[-1][1]}
            yield Statement("sweep_move", parameters=parameters)
            break
    else:
        yield Statement("sweep_end", parameters={"event_id": event_id})
    return matching.matched()


def _values(body: bytes, paths: Iterable[str]) -> list[tuple[str, str]]:
    """Return what an event has at the paths by which waits are found; nothing for what no wait can have."""
    return [(path, value) for path in paths if (value := value_at(body, path)) or not path]


class _Matching:
    """Events and the waits that may be for them."""

    def __init__(self) -> None:
        self._found: dict[tuple[RunId, JobId], Found] = {}
        self._cancels: dict[tuple[RunId, JobId], int] = {}

    def add(self, event_id: EventId, received_at: int, event: Mapping[str, object], rows: Iterable[Row]) -> None:
        for run_id, job_id, kind, condition, expires_at in rows:
            key = (run_id, job_id)
            if key in self._found or key in self._cancels or expires_at <= received_at:
                continue
            if not holds(condition, event, now_ms=received_at):
                continue
            if kind == WaitKind.CANCEL:
                self._cancels[key] = received_at
            else:
                self._found[key] = Found(run_id, job_id, None, event_id)

    def matched(self) -> Matched:
        return Matched(list(self._found.values()), self._cancels)


def take_rules(cancels: Mapping[tuple[RunId, JobId], int]) -> Generator[Statement, Sequence[Row], list[Job]]:
    """Take the rules by which runs are cancelled, and return the jobs that do it: of two events, one gets a rule."""
    taken = yield Statement("wait_take", sorted(cancels))
    return [
        Job(
            run_id=run_id,
            id=job_id,
            partition=TIMERS,
            kind=JobKind.CANCEL,
            step_id="",
            title="event",
            due_at=cancels[run_id, job_id],
            created_at=cancels[run_id, job_id],
            max_attempts=1,
        )
        for run_id, job_id in taken
    ]


def find_parents(resolutions: Sequence[Resolution]) -> Generator[Statement, Sequence[Row], list[Found]]:
    """Find the jobs that wait for runs which have ended."""
    memos = {(resolution.run_id, str(resolution.step_id)): resolution.memo for resolution in resolutions}
    rows = yield Statement("job_waiting_for", sorted(memos))
    return [Found(RunId(row[0]), JobId(row[2]), memos[(row[0], row[1])], None) for row in rows]


def resolve(found: Sequence[Found], now: int) -> Generator[Statement, Sequence[Row], set[tuple[RunId, JobId]]]:
    """Let the runs go on whose waits were found, and return which do: others may have been faster."""
    if not found:
        return set()
    by_job = {(one.run_id, one.job_id): one for one in reversed(found)}
    rows = yield Statement("job_resolve", sorted(by_job.values()), {"now": now})
    resolved = {(RunId(row[0]), JobId(row[1])) for row in rows}
    if resolved:
        yield Statement("wait_take", sorted(resolved))
    return resolved


def signal_memo(name: str, data: bytes) -> bytes:
    """Return what a step that waited for a signal becomes (protocol 4.4)."""
    return b'{"data":{"data":%b,"signal":%b}}' % (data, encode_text(name))
