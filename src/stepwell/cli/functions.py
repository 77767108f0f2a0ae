"""``stepwell functions``: list, pause, resume; and ``stepwell invoke``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from stepwell.cli.client import ApiTokenOption, JsonFlag, UrlOption, connect
from stepwell.cli.events import JsonArgument, read_json

if TYPE_CHECKING:
    from stepwell.cli.answers import PauseView


app = typer.Typer(help="List, pause and resume functions.", invoke_without_command=True)

FunctionArgument = Annotated[str, typer.Argument(metavar="FUNCTION", help="The function's id, such as app-name.")]


@app.callback()
def list_functions(
    context: typer.Context,
    of_app: Annotated[str | None, typer.Option("--app", help="Those of one app.")] = None,
    json: JsonFlag = False,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """List functions with what starts them."""
    from stepwell.cli.answers import FunctionList, FunctionView, Trigger
    from stepwell.cli.screen import clock_text, table

    if context.invoked_subcommand is not None:
        return
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

    def how(view: FunctionView) -> str:
        starts = ", ".join(map(started_by, view.triggers)) or "invoked only"
        return f"{starts}  ({_paused_text(view.pause)})" if view.pause is not None else starts

    rows = [(view.slug, view.app, str(view.version), how(view)) for view in found]
    table(("function", "app", "version", "started by"), rows, empty="no functions: is an app running and synced?")


@app.command("pause")
def pause(
    function: FunctionArgument,
    drop: Annotated[bool, typer.Option("--drop", help="Skip new runs. Otherwise they wait.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Runs under way wait, too. Otherwise they go on.")] = False,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Pause a function: it starts no runs."""
    from stepwell.cli.answers import FunctionView

    body = {"mode": "drop" if drop else "hold", "runs_under_way": "stop" if stop else "go_on"}
    with connect(url, api_token) as api:
        view = api.post(f"{_path(function)}/pause", FunctionView, body)
    print(f"{view.slug} is {_paused_text(view.pause)}" if view.pause is not None else f"{view.slug} is not paused")


@app.command("resume")
def resume(function: FunctionArgument, url: UrlOption = None, api_token: ApiTokenOption = None) -> None:
    """Let a paused function go on, with the runs that were held."""
    from stepwell.cli.answers import FunctionView

    with connect(url, api_token) as api:
        view = api.post(f"{_path(function)}/resume", FunctionView)
    print(f"{view.slug} goes on")


def _paused_text(pause: PauseView) -> str:
    from stepwell.cli.screen import clock_text

    new = "new runs wait" if pause.mode == "hold" else "new runs are skipped"
    others = "those under way wait, too" if pause.runs_under_way == "stop" else "those under way go on"
    return f"paused since {clock_text(pause.since)}: {new}, {others}"


def _path(slug: str) -> str:
    return f"/api/functions/{quote(slug, safe='')}"


def invoke(
    slug: FunctionArgument,
    data: JsonArgument = "{}",
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Start a function directly, whatever its triggers say."""
    from stepwell.cli.answers import RunView

    body = {"data": read_json(data)}
    with connect(url, api_token) as api:
        run = api.post(f"{_path(slug)}/invoke", RunView, body)
    print(f"run {run.id}")
