"""Apps: list, sync by URL, remove."""

from __future__ import annotations

from typing import Annotated

import msgspec

from stepwell.engine.core.model import App
from stepwell.protocol.duration import time_text
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.context import ApiError, Context
from stepwell.server.register import remove_app
from stepwell.server.sync import sync_url


class AppView(msgspec.Struct, frozen=True, kw_only=True):
    """A registered app."""

    name: str
    url: str
    transport: str
    sdk: str
    framework: str
    version: str
    function_count: int
    synced_at: str
    is_archived: bool


class AppList(msgspec.Struct, frozen=True):
    """Apps, by their names."""

    items: list[AppView]


class AppsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which apps to list."""

    archived: Annotated[bool, msgspec.Meta(description="With those that were removed.")] = False


class SyncUrl(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where an app serves its functions, such as ``http://localhost:3000/api/inngest``."""

    url: str


class SyncedApp(msgspec.Struct, frozen=True):
    """What a sync brought. ``app`` is null when the app registered itself under another URL."""

    app: AppView | None
    is_modified: bool


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints about apps."""
    return [
        Endpoint("GET", "/api/apps", "List apps", AppList, list_apps, query=AppsQuery, body=Nothing),
        Endpoint(
            "POST", "/api/apps/sync", "Ask an app for its functions", SyncedApp, sync_app, query=Nothing, body=SyncUrl
        ),
        Endpoint(
            "DELETE",
            "/api/apps/{name}",
            "Remove an app: its functions start no more runs, runs in progress go on",
            AppView,
            delete_app,
            query=Nothing,
            body=Nothing,
        ),
    ]


async def list_apps(call: Call[AppsQuery, Nothing]) -> AppList:
    """List apps."""
    apps = await call.context.engine.store.load_apps(call.context.engine.environment)
    return AppList([_view(call.context, app) for app in apps if call.query.archived or app.archived_at is None])


async def sync_app(call: Call[Nothing, SyncUrl]) -> SyncedApp:
    """Ask an app for its functions, and say exactly what went wrong when it doesn't give them."""
    outcome = await sync_url(call.context, call.body.url)
    if outcome.code is not None:
        is_ours = outcome.code == "invalid_url"
        raise ApiError(400 if is_ours else 502, outcome.code, outcome.message, path="$.url" if is_ours else None)
    app = outcome.app
    return SyncedApp(_view(call.context, app) if app is not None else None, outcome.is_modified)


async def delete_app(call: Call[Nothing, Nothing]) -> AppView:
    """Archive an app with its functions."""
    context, name = call.context, call.path["name"]
    if not await remove_app(context, name):
        raise ApiError(404, "app_not_found", f"there is no app {name[:300]!r}")
    apps = await context.engine.store.load_apps(context.engine.environment)
    return next(_view(context, app) for app in apps if app.name == name)


def _view(context: Context, app: App) -> AppView:
    functions = context.engine.registry.by_slug.values()
    return AppView(
        name=app.name,
        url=app.url,
        transport=app.transport,
        sdk=app.sdk,
        framework=app.framework,
        version=app.version,
        function_count=sum(function.app_id == app.id for function in functions),
        synced_at=time_text(app.synced_at),
        is_archived=app.archived_at is not None,
    )
