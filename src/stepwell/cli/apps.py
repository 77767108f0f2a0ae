"""``stepwell apps``: list, sync, remove."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from stepwell.cli.client import ApiTokenOption, JsonFlag, UrlOption, connect

app = typer.Typer(help="List, sync and remove apps.", invoke_without_command=True)


@app.callback()
def list_apps(
    context: typer.Context, json: JsonFlag = False, url: UrlOption = None, api_token: ApiTokenOption = None
) -> None:
    """List apps."""
    from stepwell.cli.answers import AppList
    from stepwell.cli.screen import clock_text, table

    if context.invoked_subcommand is not None:
        return
    with connect(url, api_token) as api:
        if json:
            sys.stdout.write(api.raw("GET", "/api/apps").decode() + "\n")
            return
        found = api.get("/api/apps", AppList).items
    rows = [
        (view.name, view.url, f"{view.sdk} {view.framework}", str(view.function_count), clock_text(view.synced_at))
        for view in found
    ]
    table(
        ("app", "url", "sdk", "functions", "synced"),
        rows,
        empty="no apps: start one, or sync it with `stepwell apps sync URL`",
    )


@app.command("sync")
def sync(
    app_url: Annotated[str, typer.Argument(metavar="APP_URL", help="Such as http://localhost:3000/api/inngest.")],
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Ask an app for its functions."""
    from stepwell.cli.answers import SyncedApp

    with connect(url, api_token) as api:
        synced = api.post("/api/apps/sync", SyncedApp, {"url": app_url})
    if synced.app is None:
        print(f"{app_url} says that it has registered, but no app has this URL here: see `stepwell apps`")
    else:
        what = "changed" if synced.is_modified else "unchanged"
        print(f"{synced.app.name}: {synced.app.function_count} functions, {what}")


@app.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The app's name.")],
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Remove an app: its functions start no more runs, runs in progress go on."""
    from stepwell.cli.answers import AppView

    with connect(url, api_token) as api:
        gone = api.delete(f"/api/apps/{quote(name, safe='')}", AppView)
    print(f"{gone.name} is removed")
