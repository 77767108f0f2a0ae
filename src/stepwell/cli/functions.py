"""``stepwell functions`` and ``stepwell invoke``."""

from __future__ import annotations

import sys
from typing import Annotated
from urllib.parse import quote

import typer

from stepwell.cli.client import ApiTokenOption, JsonFlag, UrlOption, connect
from stepwell.cli.events import JsonArgument, read_json


def list_functions(
    of_app: Annotated[str | None, typer.Option("--app", help="Those of one app.")] = None,
    json: JsonFlag = False,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """List functions with what starts them."""
    from stepwell.cli.answers import FunctionList, Trigger
    from stepwell.cli.screen import clock_text, table

    query = {"app": of_app}
    with connect(url, api_token) as api:
        if json:
            sys.stdout.write(api.raw("GET", "/api/functions", query=query).decode() + "\n")
            return
        found = api.get("/api/functions", FunctionList, query).items

    def started_by(trigger: Trigger) -> str:
        if trigger.cron is not None:
            return trigger.cron + (f" (next {clock_text(trigger.next_at)})" if trigger.next_at else "")
        return f"{trigger.event}" + (f" if {trigger.expression}" if trigger.expression else "")

    rows = [
        (view.slug, view.app, str(view.version), ", ".join(map(started_by, view.triggers)) or "invoked only")
        for view in found
    ]
    table(("function", "app", "version", "started by"), rows, empty="no functions: is an app running and synced?")


def invoke(
    slug: Annotated[str, typer.Argument(help="The function's id, such as app-name.")],
    data: JsonArgument = "{}",
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Start a function directly, whatever its triggers say."""
    from stepwell.cli.answers import RunView

    body = {"data": read_json(data)}
    with connect(url, api_token) as api:
        run = api.post(f"/api/functions/{quote(slug, safe='')}/invoke", RunView, body)
    print(f"run {run.id}")
