"""``POST /fn/register``: apps tell their functions (protocol 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stepwell.engine.core.model import UNFINISHED, App
from stepwell.engine.core.registration import SyncPlan, app_id, plan_sync
from stepwell.engine.core.trigger import Registry
from stepwell.errors import FunctionConfigError, StoreError
from stepwell.limits import PAGE_ROWS_MAX, REGISTER_BODY_BYTES_MAX
from stepwell.protocol import headers as names
from stepwell.protocol.ids import AppId, named_uuid
from stepwell.protocol.signature import is_bearer_of
from stepwell.protocol.sync import SyncBody, read_sync
from stepwell.server.context import ApiError, Context, json_response, read_body
from stepwell.store.found import RunFilter
from stepwell.store.request import SyncRequest

log = structlog.get_logger("stepwell.sync")


class Synced(NamedTuple):
    """What a sync did."""

    app: App
    function_count: int
    archived_count: int
    is_modified: bool


def routes(context: Context) -> list[BaseRoute]:
    """Return the registration route."""

    async def post(request: Request) -> Response:
        return await _post(context, request)

    return [Route("/fn/register", post, methods=["POST"])]


async def _post(context: Context, request: Request) -> Response:
    settings = context.settings
    if not settings.is_dev and not is_bearer_of(settings.signing_keys, request.headers.get("authorization")):
        return _refused(401, "the signing key is not this server's")
    expected = request.headers.get(names.EXPECTED_SERVER_KIND)
    if expected is not None and expected != settings.kind:
        return _refused(400, f"Expected server kind {expected}, got {settings.kind}")
    try:
        body = read_sync(await read_body(request, REGISTER_BODY_BYTES_MAX))
    except ApiError as error:
        return _refused(error.status, error.message)
    except RecursionError:
        return _refused(400, "the registration is nested too deeply")
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _refused(400, f"the registration can't be read: {error}")
    try:
        synced = await apply_sync(context, body)
    except FunctionConfigError as error:
        log.warning("app.sync_refused", app=body.appname, url=body.url, error=str(error))
        return _refused(400, f"At least one function is invalid: {error}")
    except StoreError as error:
        return _refused(503, f"the registration was not stored, try again: {error}")
    reply = {
        "ok": True,
        "modified": synced.is_modified,
        "sync_id": named_uuid("sync", synced.app.id, synced.app.checksum),
        "app_id": synced.app.id,
    }
    return json_response(reply)


async def apply_sync(context: Context, body: SyncBody) -> Synced:
    """Register an app, whichever way its functions came.

    Raises ``FunctionConfigError`` for an invalid function: then nothing has changed.
    """
    plans: list[SyncPlan] = []

    def plan(registry: Registry, apps: Sequence[App], now: int) -> SyncRequest | None:
        made = plan_sync(body, registry, apps, now=now)
        plans.append(made)
        if not made.is_modified:
            return None
        return SyncRequest(made.app, registry.revision, made.changes, made.archived, now)

    is_modified = await context.engine.sync(plan)
    made = plans[-1]
    if is_modified:
        context.watch_sync(made)
    return Synced(made.app, len(made.changes), len(made.archived), is_modified)


async def remove_app(context: Context, name: str) -> bool:
    """Archive an app with its functions; runs in progress go on. False when there is none of that name."""
    id: AppId = app_id(context.engine.environment, name)

    def plan(registry: Registry, apps: Sequence[App], now: int) -> SyncRequest | None:
        app = next((app for app in apps if app.id == id and app.archived_at is None), None)
        if app is None:
            return None
        archived = [f.id for f in registry.by_id.values() if f.app_id == id and not f.is_archived]
        return SyncRequest(app, registry.revision, (), archived, now, is_removed=True)

    return await context.engine.sync(plan)


async def retire_app(context: Context, name: str) -> int:
    """Archive an app whose code is gone for good, and cancel its runs that haven't ended; return how many they were."""
    await remove_app(context, name)
    engine = context.engine
    id = app_id(engine.environment, name)
    functions = tuple(function.id for function in engine.registry.by_id.values() if function.app_id == id)
    which = RunFilter(engine.environment, function_ids=functions, statuses=UNFINISHED, limit=PAGE_ROWS_MAX)
    cancelled_count = 0
    while functions:
        found = await engine.store.insight.find_runs(which)
        for run in found.runs:
            cancelled_count += bool(await engine.cancel(run.id))
        before = found.searched_to or (found.runs[-1].id if found.runs else None)
        if before is None:
            break
        which = which._replace(before=before)
    return cancelled_count


def _refused(status: int, message: str) -> Response:
    return json_response({"error": message, "data": None, "status": status}, status)
