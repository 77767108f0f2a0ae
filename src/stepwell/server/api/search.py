"""Searches by a condition: from the newest on, for so long; the answer says how far they got."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

import msgspec

from stepwell.engine.core.model import Event, Run, RunStatus
from stepwell.limits import WHERE_ROWS_MAX, WHERE_SCANNED_MAX, WHERE_SEARCH_MS, WHERE_SLICE_MS
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import AppId, EventId, RunId
from stepwell.server.api.where import Where
from stepwell.server.context import Context
from stepwell.server.failure import read_failure
from stepwell.store.found import CausedRun, EventFilter, FoundEvents, FoundRuns, OpenGathering, RunContent, RunFilter


async def search_runs(context: Context, which: RunFilter, where: Where, apps: Mapping[AppId, str]) -> FoundRuns:
    """Return a page of the runs for which a condition is true, newest first."""
    statuses = (which.statuses & where.statuses) if which.statuses else where.statuses
    if not statuses:
        return FoundRuns([], {}, None)
    insight, now = context.engine.store.insight, context.engine.clock.now()
    is_any = len(statuses) == len(RunStatus)
    among = _among(which, where)._replace(statuses=frozenset[RunStatus]() if is_any else statuses)
    names: dict[EventId, str] = {}

    async def ask(before: str | None) -> _Asked[Run]:
        found = await insight.find_runs(among._replace(before=before))
        names.update(found.names)
        return _Asked(found.runs, found.searched_to, is_full=len(found.runs) == among.limit)

    async def look(runs: Sequence[Run], end: float) -> list[bool]:
        number, contents = await insight.run_contents([run.id for run in runs])

        def test(run: Run) -> bool:
            content = contents.get(run.id)
            if content is None:
                return False
            return where.matches(_variables(context, run, content, names, where, apps), now)

        return await _tested(runs[:number], test, end)

    runs, searched_to = await _search(ask, look, before=which.before, limit=which.limit)
    return FoundRuns(runs, names, RunId(searched_to) if searched_to is not None else None)


async def search_events(context: Context, which: EventFilter, where: Where) -> FoundEvents:
    """Return a page of the events for which a condition is true, newest first."""
    insight, now = context.engine.store.insight, context.engine.clock.now()
    among = _among(which, where)
    caused: dict[EventId, Sequence[CausedRun]] = {}
    gatherings: dict[EventId, Sequence[OpenGathering]] = {}

    async def ask(before: str | None) -> _Asked[Event]:
        found = await insight.find_events(among._replace(before=before))
        caused.update(found.runs)
        gatherings.update(found.gatherings)
        return _Asked(found.events, found.searched_to, is_full=len(found.events) == among.limit)

    async def look(events: Sequence[Event], end: float) -> list[bool]:
        number, bodies = await insight.event_bodies([event.id for event in events])

        def test(event: Event) -> bool:
            body = bodies.get(event.id)
            return body is not None and where.matches({"event": msgspec.json.decode(body)}, now)

        return await _tested(events[:number], test, end)

    events, searched_to = await _search(ask, look, before=which.before, limit=which.limit)
    return FoundEvents(events, caused, gatherings, EventId(searched_to) if searched_to is not None else None)


F = TypeVar("F", RunFilter, EventFilter)


def _among(which: F, where: Where) -> F:
    limit = max(WHERE_ROWS_MAX, which.limit)
    return which._replace(needles=where.needles, scanned_max=WHERE_SCANNED_MAX, limit=limit)


class _Row(Protocol):
    @property
    def id(self) -> str: ...


R = TypeVar("R", bound=_Row)


class _Asked(NamedTuple, Generic[R]):
    """Rows that may match."""

    rows: Sequence[R]
    searched_to: str | None
    """Where the database broke off."""
    is_full: bool
    """There may be more rows."""


async def _search(
    ask: Callable[[str | None], Awaitable[_Asked[R]]],
    look: Callable[[Sequence[R], float], Awaitable[list[bool]]],
    *,
    before: str | None,
    limit: int,
) -> tuple[list[R], str | None]:
    """Collect rows that match until there are ``limit``, or no more, or the time is up; then say how far it got.

    ``look`` tells of the first of some rows, as many as it likes, whether they match.
    """
    end = time.monotonic() + WHERE_SEARCH_MS / 1000
    found: list[R] = []
    while True:
        asked = await ask(before)
        rows = asked.rows
        while rows:
            matched = await look(rows, end)
            found += [row for row, matches in zip(rows, matched, strict=False) if matches]
            if len(found) >= limit:
                return found[:limit], None
            before, rows = rows[len(matched) - 1].id, rows[len(matched) :]
            if rows and time.monotonic() > end:
                return found, before
        if not asked.is_full:
            before = asked.searched_to
            if before is None:
                return found, None
        if time.monotonic() > end:
            return found, before


async def _tested(rows: Sequence[R], test: Callable[[R], bool], end: float) -> list[bool]:
    """Test rows until the time is up, the first in any case; others have the event loop in between."""
    found: list[bool] = []
    pause_at = time.monotonic() + WHERE_SLICE_MS / 1000
    for row in rows:
        found.append(test(row))
        now = time.monotonic()
        if now > end:
            break
        if now > pause_at:
            await asyncio.sleep(0)
            pause_at = time.monotonic() + WHERE_SLICE_MS / 1000
    return found


def _variables(
    context: Context,
    run: Run,
    content: RunContent,
    names: Mapping[EventId, str],
    where: Where,
    apps: Mapping[AppId, str],
) -> dict[str, Json]:
    """Return what a condition reads of a run, and nothing else."""
    found: dict[str, Json] = {}
    if "event" in where.reads:
        found["event"] = msgspec.json.decode(content.event)
    if "output" in where.reads:
        found["output"] = msgspec.json.decode(content.output) if content.output is not None else None
    if "error" in where.reads:
        is_failed = run.status is RunStatus.FAILED
        found["error"] = str(read_failure(content.output or b"null")) if is_failed else None
    if "run" in where.reads:
        function = context.engine.registries.function(run)
        found["run"] = {
            "id": run.id,
            "status": run.status.value,
            "function": function.slug,
            "app": apps[function.app_id],
            "event_name": names[run.event_id],
            "reason": run.reason,
            "queued_at": time_text(run.queued_at),
            "started_at": time_text(run.started_at) if run.started_at is not None else None,
            "ended_at": time_text(run.ended_at) if run.ended_at is not None else None,
            "duration_ms": run.ended_at - run.started_at
            if run.started_at is not None and run.ended_at is not None
            else None,
        }
    return found
