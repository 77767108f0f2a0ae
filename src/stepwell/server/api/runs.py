"""Runs: list, show, explain, cancel, run again. Lists hold no outputs; status and output come together with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from stepwell.engine.core.model import App, Function, Run, RunStatus
from stepwell.engine.core.standing import Standing, Surroundings, reasons, summary, why_waiting
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import AppId, FunctionId, RunId
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.events import EventView, event_view, find_event
from stepwell.server.api.page import PAGE_ROWS, Cursor, Instant, Limit, is_ulid, read_cursor, read_instant
from stepwell.server.api.standing import find_standing
from stepwell.server.api.timeline import TimelineRow, timeline
from stepwell.server.context import ApiError, Context
from stepwell.server.failure import Failure, read_failure
from stepwell.store.interface import RunDetail, RunFilter


class RunSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A run without its output."""

    id: str
    status: RunStatus
    function: str
    app: str
    event_id: str
    event_name: str
    queued_at: str
    started_at: str | None
    ended_at: str | None
    reason: str | None
    """Why it was skipped or cancelled, or the code of the error that failed it."""
    original_run_id: str | None
    """The run that this one does again."""


class RunView(RunSummary, frozen=True, kw_only=True):
    """A run with its event and what became of it."""

    function_version: int
    event: EventView
    output: msgspec.Raw | None
    error: Failure | None
    """What it failed with."""
    waiting: str | None
    """Why it isn't running now, in words; null when it is, or has ended."""


class RunPage(msgspec.Struct, frozen=True):
    """Runs, newest first."""

    items: list[RunSummary]
    next_cursor: str | None


class Timeline(msgspec.Struct, frozen=True):
    """A run with each attempt, sleep and waiting call as a row. All of it is of one moment: ``now``."""

    now: str
    run: RunView
    rows: list[TimelineRow]


class RunsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which runs to list."""

    function: Annotated[str | None, msgspec.Meta(description="The function's id, such as app-name.")] = None
    status: RunStatus | None = None
    event_id: Annotated[str | None, msgspec.Meta(description="The server's id of the event.")] = None
    event_name: str | None = None
    queued_after: Instant = None
    queued_before: Instant = None
    cursor: Cursor = None
    limit: Limit = PAGE_ROWS


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints about runs."""
    one = "/api/runs/{id}"
    return [
        Endpoint("GET", "/api/runs", "List runs", RunPage, list_runs, query=RunsQuery, body=Nothing),
        Endpoint("GET", one, "Show a run", RunView, show_run, query=Nothing, body=Nothing),
        Endpoint(
            "GET", f"{one}/timeline", "Show a run's attempts", Timeline, show_timeline, query=Nothing, body=Nothing
        ),
        Endpoint("POST", f"{one}/cancel", "Cancel a run", RunView, cancel_run, query=Nothing, body=Nothing),
        Endpoint("POST", f"{one}/rerun", "Run again with the same event", RunView, rerun, query=Nothing, body=Nothing),
    ]


async def list_runs(call: Call[RunsQuery, Nothing]) -> RunPage:
    """List runs, newest first."""
    query, engine = call.query, call.context.engine
    event_id = (await find_event(call.context, query.event_id)).id if query.event_id is not None else None
    runs = await engine.store.list_runs(
        RunFilter(
            environment=engine.environment,
            function_id=_function_id(call.context, query.function) if query.function is not None else None,
            status=query.status,
            event_id=event_id,
            event_name=query.event_name,
            queued_from=read_instant(query.queued_after, "queued_after"),
            queued_until=read_instant(query.queued_before, "queued_before"),
            before=read_cursor(query.cursor),
            limit=query.limit + 1,
        )
    )
    page = runs[: query.limit]
    items = await _summaries(call.context, page)
    return RunPage([RunSummary(**fields) for fields in items], page[-1].id if len(runs) > len(page) else None)


async def show_run(call: Call[Nothing, Nothing]) -> RunView:
    """Show one run."""
    return await run_view(call.context, call.path["id"])


async def show_timeline(call: Call[Nothing, Nothing]) -> Timeline:
    """Show all that is known of a run."""
    context = call.context
    detail = await find_run(context, call.path["id"])
    now = context.engine.clock.now()
    there = await find_standing(context, detail.run, now=now)
    if there is None:
        raise _not_found(detail.run.id)
    rows = timeline(detail, *there, now=now)
    return Timeline(time_text(now), await _view(context, detail, _waiting(*there, now=now)), rows)


async def cancel_run(call: Call[Nothing, Nothing]) -> RunView:
    """Cancel a run; cancelling it again is no error."""
    id = call.path["id"]
    is_cancelled = await call.context.engine.cancel(RunId(id)) if is_ulid(id) else None
    view = await run_view(call.context, id)
    if not is_cancelled and view.status is not RunStatus.CANCELLED:
        raise ApiError(409, "run_has_ended", f"the run has ended already: it is {view.status.value}")
    return view


async def rerun(call: Call[Nothing, Nothing]) -> RunView:
    """Start a new run of the same function for the same event."""
    context = call.context
    detail = await find_run(context, call.path["id"])
    function = context.engine.registries.function(detail.run)
    if function.is_archived:
        raise ApiError(
            409, "function_archived", f"no app has the function {function.slug!r} any more: it can't run again"
        )
    run = await context.engine.rerun(detail.run.id)
    assert run is not None, "a run can't vanish between two reads"
    return await run_view(context, run.id)


async def run_view(context: Context, id: str) -> RunView:
    """Show a run by its id. Raises ``ApiError`` 404."""
    detail = await find_run(context, id)
    now = context.engine.clock.now()
    there = await find_standing(context, detail.run, now=now) if not detail.run.status.is_final else None
    return await _view(context, detail, _waiting(*there, now=now) if there is not None else None)


async def find_run(context: Context, id: str) -> RunDetail:
    """Return all that is known of a run. Raises ``ApiError`` 404."""
    detail = await context.engine.store.load_run(RunId(id)) if is_ulid(id) else None
    if detail is None or detail.run.environment != context.engine.environment:
        raise _not_found(id)
    return detail


def _not_found(id: str) -> ApiError:
    return ApiError(404, "run_not_found", f"there is no run with the id {id[:100]!r}")


async def _view(context: Context, detail: RunDetail, waiting: str | None) -> RunView:
    run = detail.run
    fields = (await _summaries(context, [run]))[0]
    return RunView(
        **fields,
        function_version=run.function_version,
        event=event_view(detail.event),
        output=msgspec.Raw(run.output) if run.output is not None else None,
        error=read_failure(run.output or b"null") if run.status is RunStatus.FAILED else None,
        waiting=waiting,
    )


def _waiting(standing: Standing, around: Surroundings, *, now: int) -> str | None:
    """Say why a run isn't running; None when something of it is, or when it has ended."""
    jobs = [job for job in standing.jobs if not job.kind.is_guard]
    if standing.run.status.is_final or any(job.owner is not None for job in jobs):
        return None
    if len(jobs) == 1:
        return why_waiting(jobs[0], standing, around, now=now)
    return summary(standing.run, reasons(standing, around, now=now), None)


async def _summaries(context: Context, runs: Sequence[Run]) -> list[dict[str, Any]]:
    apps = await app_names(context)
    names = await context.engine.store.event_names([run.event_id for run in runs])
    return [_summary(run, context.engine.registries.function(run), apps, names[run.event_id]) for run in runs]


def _summary(run: Run, function: Function, apps: dict[AppId, str], event_name: str) -> dict[str, Any]:
    return {
        "id": run.id,
        "status": run.status,
        "function": function.slug,
        "app": apps[function.app_id],
        "event_id": run.event_id,
        "event_name": event_name,
        "queued_at": time_text(run.queued_at),
        "started_at": time_text(run.started_at) if run.started_at is not None else None,
        "ended_at": time_text(run.ended_at) if run.ended_at is not None else None,
        "reason": run.reason,
        "original_run_id": run.original_run_id,
    }


async def app_names(context: Context) -> dict[AppId, str]:
    """Return the names of all apps, archived ones too."""
    apps: list[App] = await context.engine.store.load_apps(context.engine.environment)
    return {app.id: app.name for app in apps}


def _function_id(context: Context, slug: str) -> FunctionId:
    for function in context.engine.registry.by_id.values():
        if function.slug == slug:
            return function.id
    raise ApiError(404, "function_not_found", f"there is no function {slug[:300]!r}", path="$.function")
