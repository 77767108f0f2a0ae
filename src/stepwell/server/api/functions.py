"""Functions: list, show, invoke, pause, resume."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from stepwell.engine.core.model import Function, Pause, PauseMode, Run
from stepwell.engine.core.trigger import invoked_event
from stepwell.limits import EVENT_BYTES_MAX
from stepwell.protocol.canonical import Json, NotJson, canonical
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import AppId, FunctionId
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, JsonObject, Nothing, absent
from stepwell.server.api.filters import find_function
from stepwell.server.api.runs import RunView, app_names, run_view
from stepwell.server.context import ApiError, Context
from stepwell.store.found import Schedule


class TriggerView(msgspec.Struct, frozen=True):
    """What starts a function: an event name, with an optional condition, or a schedule with its next time."""

    event: str | None
    expression: str | None
    cron: str | None
    next_at: str | None


RunsUnderWay: TypeAlias = Literal["go_on", "stop"]


class PauseView(msgspec.Struct, frozen=True):
    """A function that starts no runs."""

    since: str
    mode: PauseMode
    """``hold``: new runs wait until it is resumed; ``drop``: they are skipped."""
    runs_under_way: RunsUnderWay


class FunctionView(msgspec.Struct, frozen=True, kw_only=True):
    """A function as it is registered."""

    slug: str
    name: str
    app: str
    version: int
    triggers: list[TriggerView]
    max_attempts: int
    url: str
    is_archived: bool
    pause: PauseView | None


class FunctionDetail(FunctionView, frozen=True, kw_only=True):
    """A function with its configuration."""

    config: msgspec.Raw
    """As the app registered it."""


class FunctionList(msgspec.Struct, frozen=True):
    """Functions, by their ids."""

    items: list[FunctionView]


class FunctionsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which functions to list."""

    app: str | None = None
    archived: Annotated[bool, msgspec.Meta(description="With those that no app has any more.")] = False


class Invocation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the function finds in its event."""

    data: JsonObject = msgspec.field(default_factory=absent)
    user: JsonObject = msgspec.field(default_factory=absent)
    v: str | None = None


class PauseBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What becomes of runs that would start (``hold``: they wait, ``drop``: they are skipped), and of those under way."""

    mode: PauseMode = PauseMode.HOLD
    runs_under_way: RunsUnderWay = "go_on"


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints about functions."""
    one = "/api/functions/{slug}"
    return [
        Endpoint(
            "GET", "/api/functions", "List functions", FunctionList, list_functions, query=FunctionsQuery, body=Nothing
        ),
        Endpoint("GET", one, "Show a function", FunctionDetail, show_function, query=Nothing, body=Nothing),
        Endpoint(
            "POST",
            f"{one}/invoke",
            "Start a function, whatever its triggers say",
            RunView,
            invoke_function,
            query=Nothing,
            body=Invocation,
        ),
        Endpoint(
            "POST",
            f"{one}/pause",
            "Pause a function: it starts no runs",
            FunctionView,
            pause_function,
            query=Nothing,
            body=PauseBody,
        ),
        Endpoint(
            "POST",
            f"{one}/resume",
            "Let a paused function go on, with the runs that were held",
            FunctionView,
            resume_function,
            query=Nothing,
            body=Nothing,
        ),
    ]


async def list_functions(call: Call[FunctionsQuery, Nothing]) -> FunctionList:
    """List functions."""
    engine, query = call.context.engine, call.query
    apps = await app_names(call.context)
    schedules = await schedules_by_function(call.context)
    found = [
        FunctionView(**_facts(function, apps, schedules))
        for function in engine.registry.by_id.values()
        if (query.archived or not function.is_archived) and query.app in (None, apps[function.app_id])
    ]
    if query.app is not None and query.app not in apps.values():
        raise ApiError(404, "app_not_found", f"there is no app {query.app[:300]!r}", path="$.app")
    return FunctionList(sorted(found, key=lambda view: view.slug))


async def show_function(call: Call[Nothing, Nothing]) -> FunctionDetail:
    """Show one function, archived or not."""
    function = find_function(call.context, call.path["slug"])
    return FunctionDetail(**await _fields(call.context, function), config=msgspec.Raw(function.registered))


async def pause_function(call: Call[Nothing, PauseBody]) -> FunctionView:
    """Pause a function; pausing it again changes what becomes of its runs."""
    function = _registered(call.context, call.path["slug"])
    since = function.pause.since if function.pause is not None else call.context.engine.clock.now()
    pause = Pause(since, call.body.mode, is_stopped=call.body.runs_under_way == "stop")
    await call.context.engine.pause(function.id, pause)
    return await _show(call.context, function.slug)


async def resume_function(call: Call[Nothing, Nothing]) -> FunctionView:
    """Let a function go on; one that isn't paused stays as it is."""
    function = _registered(call.context, call.path["slug"])
    if function.pause is not None:
        await call.context.engine.pause(function.id, None)
    return await _show(call.context, function.slug)


async def invoke_function(call: Call[Nothing, Invocation]) -> RunView:
    """Start a function directly."""
    run = await invoke(call.context, call.path["slug"], call.body)
    return await run_view(call.context, run.id)


async def invoke(context: Context, slug: str, what: Invocation) -> Run:
    """Start a function and return its run. Raises ``ApiError`` for an unknown function or unusable data."""
    engine = context.engine
    function = _registered(context, slug)
    data, original = _object(what.data, "$.data")
    user, _ = _object(what.user, "$.user")
    try:
        event = invoked_event(
            data,
            slug=slug,
            id=engine.ids(),
            environment=engine.environment,
            now=engine.clock.now(),
            user=user,
            v=what.v,
            original=original,
        )
    except NotJson as error:
        raise ApiError(400, "invalid_body", str(error)) from None
    if len(event.body) > EVENT_BYTES_MAX:
        raise ApiError(400, "event_too_large", f"the event has {len(event.body)} bytes; the limit is {EVENT_BYTES_MAX}")
    return await engine.invoke(event, function)


def _registered(context: Context, slug: str) -> Function:
    """Return a function that an app has. Raises ``ApiError`` 404."""
    function = context.engine.registry.by_slug.get(slug)
    if function is None:
        raise ApiError(404, "function_not_found", f"there is no function {slug[:300]!r}: is its app synced?")
    return function


async def _show(context: Context, slug: str) -> FunctionView:
    return FunctionView(**await _fields(context, find_function(context, slug)))


async def _fields(context: Context, function: Function) -> dict[str, Any]:
    return _facts(function, await app_names(context), await schedules_by_function(context))


def _object(raw: msgspec.Raw, path: str) -> tuple[dict[str, Json], bytes | None]:
    """Decode a member that must be an object or null; return it, and as it came where its canonical form is rounded.

    Raises ``ApiError`` 400.
    """
    try:
        found = canonical(bytes(raw))
        return msgspec.convert(found.value, dict[str, Json] | None) or {}, found.original
    except NotJson as error:
        raise ApiError(400, "invalid_body", str(error), path=path) from None
    except msgspec.ValidationError:
        raise ApiError(400, "invalid_body", "must be an object or null", path=path) from None


async def schedules_by_function(context: Context) -> dict[FunctionId, list[Schedule]]:
    """Return the schedules with their next times."""
    found: dict[FunctionId, list[Schedule]] = {}
    for schedule in await context.engine.store.load_schedules(context.engine.environment):
        found.setdefault(schedule.function_id, []).append(schedule)
    return found


def _facts(function: Function, apps: dict[AppId, str], schedules: dict[FunctionId, list[Schedule]]) -> dict[str, Any]:
    config = function.config
    return {
        "slug": function.slug,
        "name": config.name or function.slug,
        "app": apps[function.app_id],
        "version": function.version,
        "triggers": [
            TriggerView(
                trigger.event, trigger.expression, trigger.cron, _next_at(trigger.cron, schedules.get(function.id, ()))
            )
            for trigger in config.triggers
        ],
        "max_attempts": function.max_attempts,
        "url": config.url,
        "is_archived": function.is_archived,
        "pause": _pause_view(function.pause) if function.pause is not None else None,
    }


def _pause_view(pause: Pause) -> PauseView:
    return PauseView(time_text(pause.since), pause.mode, "stop" if pause.is_stopped else "go_on")


def _next_at(cron: str | None, schedules: Sequence[Schedule]) -> str | None:
    times = [schedule.next_at for schedule in schedules if schedule.cron == cron and schedule.next_at is not None]
    return time_text(times[0]) if times else None
