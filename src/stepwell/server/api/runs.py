"""Runs: list, show, explain, cancel, run again. Lists hold no outputs; status and output come together with the run."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from stepwell.engine.core.endpoint import is_at_work
from stepwell.engine.core.model import App, Function, Run, RunStatus
from stepwell.engine.core.standing import Standing, Surroundings, reasons, summary, why_waiting
from stepwell.limits import DAY_MS, HOUR_MS, RUN_IDS_MAX
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import AppId, RunId, ulid_ms
from stepwell.server.api.durations import Durations, durations
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.events import EventView, event_view, find_event
from stepwell.server.api.filters import Ids, Statuses, function_ids, gathering_ms_max, read_ids, read_statuses
from stepwell.server.api.page import PAGE_ROWS, Cursor, Instant, Limit, is_ulid, read_cursor, read_instant
from stepwell.server.api.preview import preview
from stepwell.server.api.search import search_runs
from stepwell.server.api.standing import find_standing
from stepwell.server.api.timeline import TimelineRow, payloads, timeline
from stepwell.server.api.where import RUN_NAMES, read_where
from stepwell.server.context import ApiError, Context
from stepwell.server.failure import Failure, error_line, read_failure
from stepwell.store.found import FoundRuns, Relative, RunDetail, RunFilter


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is, in lists and by itself."""

    id: str
    status: RunStatus
    function: str
    function_name: str
    app: str
    event_id: str
    event_name: str
    queued_at: str
    started_at: str | None
    """When its first call began."""
    ended_at: str | None
    duration_ms: int | None
    """From its start to its end."""
    reason: str | None
    """Why it was skipped or cancelled, or the code of the error that failed it."""
    original_run_id: str | None
    """The run that this one does again."""
    function_version: int


class RunSummary(RunFacts, frozen=True, kw_only=True):
    """A run without its output."""

    error: str | None
    """What it failed with, as one line: ``Name: message``."""
    event_preview: str | None
    """What its event says, in one line; null for a large one."""


class RunState(RunFacts, frozen=True, kw_only=True):
    """A run with what became of it."""

    output: msgspec.Raw | None
    error: Failure | None
    """What it failed with."""
    waiting: str | None
    """Why it isn't running now, in words; null when it is, or has ended."""


class RunView(RunState, frozen=True, kw_only=True):
    """A run with its event and what became of it."""

    event: EventView


class OutputView(msgspec.Struct, frozen=True):
    """What a run gave back: null where it hasn't ended, or gave nothing."""

    output: msgspec.Raw | None


class RunPage(msgspec.Struct, frozen=True):
    """Runs, newest first."""

    items: list[RunSummary]
    next_cursor: str | None
    searched_until: str | None = None
    """Set where the search was broken off before the page was full: down to this time it has looked. The next page goes
    on from there."""


class RelativeView(msgspec.Struct, frozen=True):
    """A run that invoked another, or was invoked; ``step`` is the step that did it."""

    run_id: str
    function: str
    status: RunStatus
    step: str | None


class SentEventView(msgspec.Struct, frozen=True):
    """An event that a step sent."""

    id: str
    name: str
    step: str


class RunPageView(RunState, frozen=True, kw_only=True):
    """A run with what it is connected with, up to 100 of a kind, and where its time went."""

    event: EventView | None
    """Null without payloads."""
    event_bytes: int
    """The size of its event's payload."""
    output_bytes: int | None
    """Null where there is none, or it is null."""
    parent: RelativeView | None
    children: list[RelativeView]
    sent_events: list[SentEventView]
    durations: Durations


class Timeline(msgspec.Struct, frozen=True):
    """A run with each attempt, sleep and waiting call as a row. All of it is of one moment: ``now``."""

    now: str
    run: RunPageView
    rows: list[TimelineRow]


class TimelineQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How much of a run to show."""

    payloads: Annotated[
        bool,
        msgspec.Meta(description="Without: no event and no output, of which there is the size; of errors only a line."),
    ] = True
    after: Annotated[
        str | None, msgspec.Meta(description="Only rows that ended at this RFC 3339 time or later, or haven't yet.")
    ] = None


class RowView(msgspec.Struct, frozen=True, kw_only=True):
    """The payloads of one row of a run's timeline."""

    id: str
    input: msgspec.Raw | None
    """What the step was given: its arguments, or the options of what the server does for it, without secrets. Null where
    there is nothing, or it had more than 64 KiB."""
    output: msgspec.Raw | None
    error: msgspec.Raw | None
    started_at: str | None
    ended_at: str | None


class ConfigView(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration that a run began with, as the app registered it."""

    function: str
    version: int
    is_current: bool
    created_at: str
    config: msgspec.Raw


class RunsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which runs to list."""

    function: Annotated[str | None, msgspec.Meta(description="The function's id, such as app-name.")] = None
    app: str | None = None
    status: Statuses = None
    ids: Ids = None
    where: Annotated[
        str | None,
        msgspec.Meta(description="CEL over event, run, output and error; or `data.user_id = 42`, `error: some text`."),
    ] = None
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
            "GET", f"{one}/output", "Show what a run gave back", OutputView, show_output, query=Nothing, body=Nothing
        ),
        Endpoint(
            "GET",
            f"{one}/timeline",
            "Show a run's attempts",
            Timeline,
            show_timeline,
            query=TimelineQuery,
            body=Nothing,
        ),
        Endpoint(
            "GET",
            f"{one}/rows/{{row}}",
            "Show the payloads of a row of a run's timeline",
            RowView,
            show_row,
            query=Nothing,
            body=Nothing,
        ),
        Endpoint(
            "GET",
            f"{one}/config",
            "Show the configuration that a run began with",
            ConfigView,
            show_config,
            query=Nothing,
            body=Nothing,
        ),
        Endpoint("POST", f"{one}/cancel", "Cancel a run", RunView, cancel_run, query=Nothing, body=Nothing),
        Endpoint("POST", f"{one}/rerun", "Run again with the same event", RunView, rerun, query=Nothing, body=Nothing),
    ]


async def list_runs(call: Call[RunsQuery, Nothing]) -> RunPage:
    """List runs, newest first."""
    query, context = call.query, call.context
    engine = context.engine
    apps = await app_names(context)
    if query.ids is not None:
        found = await engine.store.insight.runs_by_id(engine.environment, [RunId(id) for id in read_ids(query.ids)])
        return await _page(context, found, apps, limit=RUN_IDS_MAX)
    event_id = (await find_event(context, query.event_id)).id if query.event_id is not None else None
    functions = function_ids(context, apps, function=query.function, app=query.app)
    which = RunFilter(
        environment=engine.environment,
        function_ids=functions,
        statuses=read_statuses(query.status),
        event_id=event_id,
        event_name=query.event_name,
        queued_from=read_instant(query.queued_after, "queued_after"),
        queued_until=read_instant(query.queued_before, "queued_before"),
        delay_ms_max=gathering_ms_max(context, functions),
        before=read_cursor(query.cursor),
        limit=query.limit + 1,
    )
    where = read_where(query.where, RUN_NAMES)
    if where is not None:
        found = await search_runs(context, which, where, apps)
    else:
        found = await engine.store.insight.find_runs(which)
    return await _page(context, found, apps, limit=query.limit)


async def _page(context: Context, found: FoundRuns, apps: dict[AppId, str], *, limit: int) -> RunPage:
    runs = found.runs[:limit]
    events = await context.engine.store.insight.small_events(sorted({run.event_id for run in runs}))
    items = [
        RunSummary(
            **_facts(run, context.engine.registries.function(run), apps, found.names[run.event_id]),
            error=_line(run),
            event_preview=preview(*events[run.event_id]) if run.event_id in events else None,
        )
        for run in runs
    ]
    if len(found.runs) > limit:
        return RunPage(items, runs[-1].id)
    searched_to = found.searched_to
    return RunPage(items, searched_to, time_text(ulid_ms(searched_to)) if searched_to is not None else None)


def _line(run: Run) -> str | None:
    return error_line(run.output or b"null") if run.status is RunStatus.FAILED else None


async def show_run(call: Call[Nothing, Nothing]) -> RunView:
    """Show one run."""
    return await run_view(call.context, call.path["id"])


async def show_output(call: Call[Nothing, Nothing]) -> OutputView:
    """Show what a run gave back."""
    run = await known_run(call.context, call.path["id"])
    is_given = run.output is not None and run.status is RunStatus.COMPLETED
    return OutputView(msgspec.Raw(run.output) if run.output is not None and is_given else None)


async def show_timeline(call: Call[TimelineQuery, Nothing]) -> Timeline:
    """Show all that is known of a run."""
    context, query, id = call.context, call.query, RunId(call.path["id"])
    after = read_instant(query.after, "after")
    insight = context.engine.store.insight
    if query.payloads:
        detail = await find_run(context, id)
    else:
        detail = _own(context, await insight.load_outline(id, after=after) if is_ulid(id) else None, id)
    now = context.engine.clock.now()
    there = await find_standing(context, detail.run, now=now)
    if there is None:
        raise run_not_found(context, id)
    relatives = await insight.load_relatives(id)
    rows = timeline(detail, *there, relatives, now=now)
    whole = detail if query.payloads or after is None else await insight.load_spans(id) or detail
    if after is not None:
        rows = [row for row in rows if row.ended_at is None or row.ended_at >= time_text(after)]
    run = RunPageView(
        **await _fields(context, detail, _waiting(*there, now=now)),
        event=event_view(detail.event) if query.payloads else None,
        event_bytes=detail.event_bytes,
        output_bytes=detail.output_bytes,
        parent=_relative(relatives.parent, there[1]) if relatives.parent is not None else None,
        children=[_relative(child, there[1]) for child in relatives.children],
        sent_events=[SentEventView(event.id, event.name, event.step) for event in relatives.sent],
        durations=durations(whole.run, whole.attempts, whole.steps, whole.jobs, now=now),
    )
    return Timeline(time_text(now), run, rows)


def _relative(relative: Relative, around: Surroundings) -> RelativeView:
    function = around.names.get(relative.function_id, relative.function_id)
    return RelativeView(relative.id, function, relative.status, relative.step)


async def show_row(call: Call[Nothing, Nothing]) -> RowView:
    """Show one row of a run's timeline with its payloads."""
    context, row_id = call.context, call.path["row"]
    run = await known_run(context, call.path["id"])
    row = await context.engine.store.insight.load_row(run.id, row_id) if "\0" not in row_id else None
    if row is None:
        raise ApiError(404, "row_not_found", f"the run {run.id} has no row {row_id[:100]!r}", path="$.row")
    output, error = payloads(row, run)
    return RowView(
        id=row_id,
        input=msgspec.Raw(row.input) if row.input is not None else None,
        output=output,
        error=error,
        started_at=time_text(row.started_at) if row.started_at is not None else None,
        ended_at=time_text(row.ended_at) if row.ended_at is not None else None,
    )


async def show_config(call: Call[Nothing, Nothing]) -> ConfigView:
    """Show a function's configuration as it was when a run began."""
    context = call.context
    run = await known_run(context, call.path["id"])
    function = context.engine.registries.function(run)
    version = await context.engine.store.insight.load_version(run.function_id, run.function_version)
    assert version is not None, "each version is kept"
    return ConfigView(
        function=function.slug,
        version=run.function_version,
        is_current=run.function_version == function.version,
        created_at=time_text(version.created_at),
        config=msgspec.Raw(version.config),
    )


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
    return _own(context, await context.engine.store.load_run(RunId(id)) if is_ulid(id) else None, id)


async def known_run(context: Context, id: str) -> Run:
    """Return a run alone, as it is just now. Raises ``ApiError`` 404."""
    run = await context.engine.store.find_run(RunId(id)) if is_ulid(id) else None
    if run is None or run.environment != context.engine.environment:
        raise run_not_found(context, id)
    return run


def _own(context: Context, detail: RunDetail | None, id: str) -> RunDetail:
    if detail is None or detail.run.environment != context.engine.environment:
        raise run_not_found(context, id)
    return detail


def run_not_found(context: Context, id: str) -> ApiError:
    """Return why a run isn't there: 410 where its id is so old that retention may have removed it, else 404."""
    kept_ms = min(context.settings.retention.finite, default=None)
    if kept_ms is not None and is_ulid(id) and ulid_ms(id) < context.engine.clock.now() - kept_ms:
        made = time_text(ulid_ms(id))
        return ApiError(
            410, "beyond_retention", f"the run {id} is of {made}: this server keeps what has ended for {_days(kept_ms)}"
        )
    return ApiError(404, "run_not_found", f"there is no run with the id {id[:100]!r}")


def _days(ms: int) -> str:
    days = ms / DAY_MS
    return f"{days:g} days" if days >= 1 else f"{ms / HOUR_MS:g} hours"


async def _view(context: Context, detail: RunDetail, waiting: str | None) -> RunView:
    return RunView(**await _fields(context, detail, waiting), event=event_view(detail.event))


async def _fields(context: Context, detail: RunDetail, waiting: str | None) -> dict[str, Any]:
    run, event = detail.run, detail.event
    apps = await app_names(context)
    has_output = run.output is not None and detail.step_bytes is None
    return {
        **_facts(run, context.engine.registries.function(run), apps, event.name),
        "output": msgspec.Raw(run.output) if has_output and run.output is not None else None,
        "error": read_failure(run.output or b"null") if run.status is RunStatus.FAILED else None,
        "waiting": waiting,
    }


def _waiting(standing: Standing, around: Surroundings, *, now: int) -> str | None:
    """Say why a run isn't running; None when something of it is, or when it has ended."""
    jobs = [job for job in standing.jobs if not job.kind.is_guard]
    if standing.run.status.is_final or any(job.owner is not None or is_at_work(job, now=now) for job in jobs):
        return None
    if len(jobs) == 1:
        return why_waiting(jobs[0], standing, around, now=now)
    return summary(standing.run, reasons(standing, around, now=now), None)


def _facts(run: Run, function: Function, apps: dict[AppId, str], event_name: str) -> dict[str, Any]:
    took_ms = run.ended_at - run.started_at if run.started_at is not None and run.ended_at is not None else None
    return {
        "id": run.id,
        "status": run.status,
        "function": function.slug,
        "function_name": function.config.name or function.slug,
        "app": apps[function.app_id],
        "event_id": run.event_id,
        "event_name": event_name,
        "queued_at": time_text(run.queued_at),
        "started_at": time_text(run.started_at) if run.started_at is not None else None,
        "ended_at": time_text(run.ended_at) if run.ended_at is not None else None,
        "duration_ms": took_ms,
        "reason": run.reason,
        "original_run_id": run.original_run_id,
        "function_version": run.function_version,
    }


async def app_names(context: Context) -> dict[AppId, str]:
    """Return the names of all apps, archived ones too."""
    apps: list[App] = await context.engine.store.load_apps(context.engine.environment)
    return {app.id: app.name for app in apps}
