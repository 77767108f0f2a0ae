"""What SDKs and their users call besides events and registration (protocol 6.1 to 6.3, 12.1): state, events, runs.

Errors have the protocol's shape here: ``{"error", "data", "status"}``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, Final, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stepwell.engine.core.model import Event, Function, Run, RunStatus
from stepwell.engine.core.state import RunState
from stepwell.errors import StoreError
from stepwell.limits import API_BODY_BYTES_MAX, EVENT_ID_CHARS_MAX, PAGE_ROWS_MAX, SIGNAL_NAME_CHARS_MAX
from stepwell.protocol.canonical import NotJson, canonical
from stepwell.protocol.duration import time_text
from stepwell.protocol.event import INTERNAL_PREFIX, NULL, TIMER
from stepwell.protocol.ids import RunId, named_uuid
from stepwell.protocol.logs import LOGS_PATH
from stepwell.protocol.sync import plain_url
from stepwell.server import endpoint_runs, otlp
from stepwell.server.api.endpoint import decode_body
from stepwell.server.api.events import find_event
from stepwell.server.api.functions import Invocation, invoke
from stepwell.server.api.page import PAGE_ROWS, is_ulid, read_cursor, read_instant
from stepwell.server.api.runs import find_run
from stepwell.server.auth import check_bearer
from stepwell.server.checkpoint import post_checkpoint
from stepwell.server.context import ApiError, Context, json_response, read_body
from stepwell.server.logs import post_lines
from stepwell.server.register import remove_app
from stepwell.store.found import EventFilter, RunDetail, RunFilter

Handler: TypeAlias = Callable[[Context, Request], Awaitable[Response]]

_VERSION: Final = version("stepwell")
_ACCOUNT_ID: Final = "00000000-0000-4000-a000-000000000000"
_DEV_ENVIRONMENT_ID: Final = "00000000-0000-4000-b000-000000000000"  # protocol 12.2
_PREFIXES: Final = ("/v0/", "/v1/", "/v2/", "/fn/", "/invoke/")
_STATUSES: Final[Mapping[RunStatus, str]] = {
    RunStatus.QUEUED: "Running",
    RunStatus.RUNNING: "Running",
    RunStatus.COMPLETED: "Completed",
    RunStatus.FAILED: "Failed",
    RunStatus.CANCELLED: "Cancelled",
}


def routes(context: Context) -> list[BaseRoute]:
    """Return the routes. ``/dev`` is there in dev only: its absence tells SDKs that this is none."""
    table: list[tuple[str, dict[str, Handler]]] = [
        ("/v1/checkpoint/{id}/async", {"POST": post_checkpoint}),  # first: it is asked the most
        (LOGS_PATH, {"POST": post_lines}),
        ("/v1/traces", {"POST": otlp.post_spans}),
        ("/v1/traces/userland", {"POST": otlp.post_spans}),
        ("/v1/logs", {"POST": otlp.post_records}),
        ("/v0/runs/{id}/actions", {"GET": get_actions}),
        ("/v0/runs/{id}/batch", {"GET": get_batch}),
        ("/v0/runs/{id}", {"DELETE": delete_run_v0}),
        ("/v1/events", {"GET": list_events}),
        ("/v1/events/{id}", {"GET": get_event}),
        ("/v1/events/{id}/runs", {"GET": list_event_runs}),
        ("/v1/runs/{id}", {"GET": get_run, "DELETE": delete_run}),
        ("/v1/runs/{id}/jobs", {"GET": list_jobs}),
        ("/v1/apps/{app:path}/functions", {"GET": list_functions}),
        ("/v1/signals", {"POST": post_signal}),
        ("/v1/checkpoint", {"POST": endpoint_runs.post_run}),
        ("/v1/checkpoint/{id}/steps", {"POST": endpoint_runs.post_steps}),
        ("/invoke/{slug:path}", {"POST": post_invoke}),
        ("/fn/remove", {"DELETE": delete_app}),
    ]
    made: list[BaseRoute] = [
        Route(path, _answering(context, handler), methods=[method])
        for path, methods in table
        for method, handler in methods.items()
    ]
    made += [
        Route(path, _answering(context, endpoint_runs.get_output, is_open=True), methods=["GET"])
        for path in ("/v1/checkpoint/{id}/output", "/v1/http/runs/{id}/output")
    ]
    if context.settings.is_dev:
        made.append(Route("/dev", _answering(context, get_dev)))
    return made


def _answering(
    context: Context, handler: Handler, *, is_open: bool = False
) -> Callable[[Request], Awaitable[Response]]:
    """Make a route that asks for the signing key, unless it ``is_open``: then it looks after that itself."""

    async def answer(request: Request) -> Response:
        try:
            if not is_open:
                check_bearer(context, request)
            return await handler(context, request)
        except ApiError as error:
            return refused(error.status, error.message, error.code)
        except StoreError as error:
            return refused(503, f"nothing was changed, try again: {error}", error.code)

    return answer


def serves(path: str) -> bool:
    """Tell whether SDKs ask for a path, which expect errors in their form."""
    return path.startswith(_PREFIXES)


def refused(status: int, message: str, code: str) -> Response:
    """Answer with an error as SDKs read it (protocol 6.1)."""
    return json_response({"error": message, "data": None, "status": status, "code": code}, status)


# -- the state of a run in progress -----------------------------------------------------------------------------


async def get_actions(context: Context, request: Request) -> Response:
    """Give the memo to an SDK whose call didn't carry it (protocol 4.3)."""
    state = await _unfinished(context, request.path_params["id"])
    return json_response(b"{" + b",".join(state.steps_sorted) + b"}")


async def get_batch(context: Context, request: Request) -> Response:
    """Give the run's events."""
    state = await _unfinished(context, request.path_params["id"])
    return json_response(b"[" + b",".join(state.events) + b"]")


async def delete_run_v0(context: Context, request: Request) -> Response:
    """Cancel a run."""
    await _cancel(context, request.path_params["id"])
    return Response(status_code=204)


async def _unfinished(context: Context, id: str) -> RunState:
    if not is_ulid(id):
        raise ApiError(400, "invalid_id", f"not a run id: {id[:100]!r}")
    state = (await context.engine.store.load_runs([RunId(id)])).get(RunId(id))
    if state is None:
        raise ApiError(404, "run_not_found", "run not found")
    if state.run.status.is_final:
        raise ApiError(410, "run_has_ended", f"the run has ended: it is {state.run.status.value}")
    return state


async def _cancel(context: Context, id: str) -> None:
    """Cancel a run; one that has ended stays as it is."""
    if not is_ulid(id):
        raise ApiError(400, "invalid_id", f"not a run id: {id[:100]!r}")
    if await context.engine.cancel(RunId(id)) is None:
        raise ApiError(404, "run_not_found", "run not found")


# -- v1 ---------------------------------------------------------------------------------------------------------


async def list_events(context: Context, request: Request) -> Response:
    """List events, newest first; those that the server sends by their names only."""
    query = request.query_params
    limit = _limit(query.get("limit") or str(PAGE_ROWS))
    name = query.get("name") or None
    if name is not None and "\0" in name:
        raise ApiError(400, "invalid_query", "no event's name has the character U+0000")
    events = await context.engine.store.list_events(
        EventFilter(
            environment=context.engine.environment,
            name=name,
            with_internal=name is not None and name.startswith(INTERNAL_PREFIX),
            received_from=read_instant(query.get("received_after") or None, "received_after"),
            received_until=read_instant(query.get("received_before") or None, "received_before"),
            before=read_cursor(query.get("cursor") or None),
            limit=limit,
        )
    )
    return _enveloped([_event(context, event) for event in events])


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= PAGE_ROWS_MAX:
        raise ApiError(400, "invalid_query", f"limit must be 1 to {PAGE_ROWS_MAX}, not {text[:20]!r}")
    return int(text)


async def get_event(context: Context, request: Request) -> Response:
    """Show one event."""
    return _enveloped(_event(context, await find_event(context, request.path_params["id"])))


async def list_event_runs(context: Context, request: Request) -> Response:
    """List an event's runs with their outputs: what users poll until ``Completed``."""
    event = await find_event(context, request.path_params["id"])
    runs = await context.engine.store.list_runs(
        RunFilter(environment=context.engine.environment, event_id=event.id, limit=PAGE_ROWS_MAX)
    )
    return _enveloped([_run(context, run, event) for run in runs if run.status is not RunStatus.SKIPPED])


async def _find_run(context: Context, id: str) -> RunDetail:
    """Return all that is known of a run. The protocol knows no other answer than 404 where there is nothing."""
    try:
        return await find_run(context, id)
    except ApiError:
        raise ApiError(404, "run_not_found", f"there is no run with the id {id[:100]!r}") from None


async def get_run(context: Context, request: Request) -> Response:
    """Show one run. Status and output come together."""
    detail = await _find_run(context, request.path_params["id"])
    return _enveloped(_run(context, detail.run, detail.event))


async def delete_run(context: Context, request: Request) -> Response:
    """Cancel a run."""
    await _cancel(context, request.path_params["id"])
    return Response(status_code=200)


async def list_jobs(context: Context, request: Request) -> Response:
    """List what there is to do for a run."""
    detail = await _find_run(context, request.path_params["id"])
    jobs = [
        {"at": time_text(job.due_at), "position": 0, "kind": job.kind.value, "attempt": job.attempt}
        for job in detail.jobs
    ]
    return _enveloped(jobs)


async def list_functions(context: Context, request: Request) -> Response:
    """List the functions of an app."""
    name = request.path_params["app"]
    apps = await context.engine.store.load_apps(context.engine.environment)
    app = next((app for app in apps if app.name == name and app.archived_at is None), None)
    if app is None:
        raise ApiError(404, "app_not_found", "app not found")
    functions = context.engine.registry.by_slug.values()
    return json_response([_function(function) for function in functions if function.app_id == app.id])


async def post_signal(context: Context, request: Request) -> Response:
    """Send a signal to the run that waits for it, and name that run.

    Without one it is 404, or, with ``keep``, stored for the run that waits next; the run is then null.
    """
    signal = decode_body(await read_body(request, API_BODY_BYTES_MAX), _Signal)
    if not 1 <= len(signal.signal) <= SIGNAL_NAME_CHARS_MAX or "\0" in signal.signal:
        raise ApiError(
            400, "invalid_signal", f"a signal's name has 1 to {SIGNAL_NAME_CHARS_MAX} characters, none of them U+0000"
        )
    try:
        data = canonical(bytes(signal.data)).encoded
    except NotJson as error:
        raise ApiError(400, "invalid_body", f"the data can't be passed on: {error}") from None
    if signal.id is not None and (not 1 <= len(signal.id) <= EVENT_ID_CHARS_MAX or "\0" in signal.id):
        raise ApiError(400, "invalid_signal", f"a signal's id has 1 to {EVENT_ID_CHARS_MAX} characters, no U+0000")
    run_id = await context.engine.send_signal(signal.signal, data, keep=signal.keep, key=signal.id)
    if run_id is None and not signal.keep:
        raise ApiError(404, "signal_not_found", "No signal found")
    return _enveloped({"run_id": run_id})


class _Signal(msgspec.Struct, frozen=True):
    signal: str
    data: msgspec.Raw = NULL
    keep: bool = False
    """Store it when no run waits for it yet; ours, not the protocol's."""
    id: str | None = None
    """An idempotency key for 24 hours; ours, too. What is sent again is taken by nobody."""


def _enveloped(data: object) -> Response:
    return json_response({"data": data, "metadata": {"fetched_at": _real_now()}})


def _event(context: Context, event: Event) -> dict[str, Any]:
    fields: dict[str, msgspec.Raw] = msgspec.json.decode(event.body, type=dict[str, msgspec.Raw])
    if event.original is not None:
        fields["data"] = msgspec.Raw(event.original)
    return {
        "internal_id": event.id,
        "account_id": _ACCOUNT_ID,
        "environment_id": _environment_id(context),
        "source": "",
        "source_id": None,
        "received_at": time_text(event.received_at),
        **fields,
    }


def _run(context: Context, run: Run, event: Event) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "run_id": run.id,
        "run_started_at": time_text(run.started_at if run.started_at is not None else run.queued_at),
        "function_id": run.function_id,
        "function_version": run.function_version,
        "environment_id": _environment_id(context),
        "event_id": run.event_id,
        "status": _STATUSES.get(run.status, "Skipped"),
        "ended_at": time_text(run.ended_at) if run.ended_at is not None else None,
    }
    if run.output is not None:
        shown["output"] = msgspec.Raw(run.output)
    if run.is_batch:
        shown["batch_id"] = run.id  # a batch and its run have one id
    if run.original_run_id is not None:
        shown["original_run_id"] = run.original_run_id
    if event.name == TIMER:
        shown["cron"] = msgspec.json.decode(event.body, type=_TimerBody).data.cron
    return shown


class _Timer(msgspec.Struct):
    cron: str


class _TimerBody(msgspec.Struct):
    data: _Timer


def _function(function: Function) -> dict[str, Any]:
    config = function.config
    return {
        "id": function.id,
        "fv": function.version,
        "name": config.name or function.slug,
        "slug": function.slug,
        "triggers": config.triggers,
        "steps": [
            {"id": "step", "name": "step", "uri": config.url, "retries": function.max_attempts - 1},
        ],
    }


def _environment_id(context: Context) -> str:
    return _DEV_ENVIRONMENT_ID if context.settings.is_dev else named_uuid("environment", context.engine.environment)


def _real_now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- besides ----------------------------------------------------------------------------------------------------


async def post_invoke(context: Context, request: Request) -> Response:
    """Start a function with an event that has no name (protocol 2.5). Answers with the event's id."""
    body = decode_body(await read_body(request, API_BODY_BYTES_MAX), _NamelessEvent)
    run = await invoke(context, request.path_params["slug"], Invocation(body.data, body.user, body.v))
    return json_response({"id": run.event_id, "status": 200})


class _NamelessEvent(msgspec.Struct, frozen=True):
    """An event without a name; what else an SDK puts in is of no use here."""

    data: msgspec.Raw = NULL
    user: msgspec.Raw = NULL
    v: str | None = None


async def delete_app(context: Context, request: Request) -> Response:
    """Remove the app at a URL."""
    url = request.query_params.get("url", "")
    apps = await context.engine.store.load_apps(context.engine.environment)
    try:
        wanted = plain_url(url)
    except ValueError:
        raise ApiError(400, "invalid_url", f"not a URL: {url[:200]!r}") from None
    app = next((app for app in apps if app.url == wanted and app.archived_at is None), None)
    if app is None or not await remove_app(context, app.name):
        raise ApiError(404, "app_not_found", f"there is no app at {url[:200]!r}")
    return json_response({"ok": True})


async def get_dev(context: Context, _request: Request) -> Response:
    """Tell SDKs and their test suites that this is a dev server, and what it knows (protocol 12.1)."""
    settings = context.settings
    functions = [_function(function) for function in context.engine.registry.by_slug.values()]
    apps = await context.engine.store.load_apps(context.engine.environment)
    return json_response(
        {
            "version": _VERSION,
            "authed": False,
            "startOpts": {
                "dir": "",
                "urls": settings.sdk_urls,
                "autodiscover": settings.is_discovery_on,
                "poll": settings.is_polling_on,
                "poll_interval": settings.poll_interval_s,
                "retry_interval": settings.retry_interval_s or 0,
                "require_keys": False,
            },
            "functions": functions,
            "handlers": [
                {
                    "sdk": {
                        "url": app.url,
                        "language": app.sdk.partition(":")[0],
                        "version": app.sdk.partition(":v")[2],
                        "framework": app.framework,
                        "app": app.name,
                    },
                    "createdAt": time_text(app.synced_at),
                    "updatedAt": time_text(app.synced_at),
                    "errors": [],
                    "functions": [f.slug for f in context.engine.registry.by_slug.values() if f.app_id == app.id],
                }
                for app in apps
                if app.archived_at is None
            ],
            "isSingleNodeService": not settings.is_dev,
            "isMissingSigningKey": settings.signing_key is None,
            "isMissingEventKeys": not settings.event_keys,
            "features": {},
        }
    )
