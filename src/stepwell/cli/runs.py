"""``stepwell runs``: list, show, explain, tail; ``cancel`` and ``rerun``."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Final
from urllib.parse import quote

import typer

from stepwell.cli.client import Api, ApiTokenOption, JsonFlag, UrlOption, connect, fail

if TYPE_CHECKING:
    from stepwell.cli.answers import RunSummary, Timeline

app = typer.Typer(help="List runs, show one, follow them.", invoke_without_command=True)

_LOOK_S: Final = 0.5
_PAGE: Final = 100
_PAGES_MAX: Final = 10
_LOOKED_UP_MAX: Final = 20

RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id.")]
FunctionOption = Annotated[str | None, typer.Option("--function", "-f", help="Those of one function.")]


@app.callback()
def runs(context: typer.Context, url: UrlOption = None, api_token: ApiTokenOption = None) -> None:
    """List the newest runs."""
    if context.invoked_subcommand is None:
        list_runs(url=url, api_token=api_token)


@app.command("list")
def list_runs(
    function: FunctionOption = None,
    status: Annotated[
        str | None, typer.Option("--status", "-s", help="queued, running, completed, failed, cancelled or skipped.")
    ] = None,
    event: Annotated[str | None, typer.Option("--event", "-e", help="Started by events of this name.")] = None,
    event_id: Annotated[str | None, typer.Option("--event-id", help="Started by this event.")] = None,
    after: Annotated[str | None, typer.Option("--after", help="Queued from this time on (RFC 3339).")] = None,
    before: Annotated[str | None, typer.Option("--before", help="Queued before this time.")] = None,
    cursor: Annotated[str | None, typer.Option("--cursor", help="Go on where a page ended.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="How many.")] = 20,
    json: JsonFlag = False,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """List runs, newest first."""
    from stepwell.cli.answers import RunPage
    from stepwell.cli.screen import clock_text, run_took, status_text, table

    query = {
        "function": function,
        "status": status,
        "event_name": event,
        "event_id": event_id,
        "queued_after": after,
        "queued_before": before,
        "cursor": cursor,
        "limit": limit,
    }
    with connect(url, api_token) as api:
        if json:
            sys.stdout.write(api.raw("GET", "/api/runs", query=query).decode() + "\n")
            return
        page = api.get("/api/runs", RunPage, query)
    rows = [
        (run.id, status_text(run.status), run.function, run.event_name, clock_text(run.queued_at), run_took(run))
        for run in page.items
    ]
    table(("run", "status", "function", "event", "queued", "took"), rows, empty="no runs")
    if page.next_cursor is not None:
        print(f"more: --cursor {page.next_cursor}")


@app.command("show")
def show(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's id; the newest when left out.")] = None,
    follow: Annotated[
        bool | None, typer.Option("--follow/--no-follow", help="Go on until it ends. [default: on a terminal]")
    ] = None,
    json: JsonFlag = False,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Draw a run: each attempt, sleep and waiting call in time."""
    from stepwell.cli.answers import Timeline
    from stepwell.cli.screen import draw, is_terminal

    with connect(url, api_token) as api:
        id = run or _newest(api)
        path = f"{_path(id)}/timeline"
        if json:
            sys.stdout.write(api.raw("GET", path).decode() + "\n")
            return

        def moments() -> Iterator[Timeline]:
            while True:
                moment = api.get(path, Timeline)
                yield moment
                if moment.run.is_final or not (is_terminal() if follow is None else follow):
                    return
                time.sleep(_LOOK_S)

        draw(moments())


@app.command("why")
def why(run: RunArgument, json: JsonFlag = False, url: UrlOption = None, api_token: ApiTokenOption = None) -> None:
    """Say why a run isn't running, since when, and what would let it go on; or how it ended."""
    from stepwell.cli.answers import Explanation
    from stepwell.cli.screen import clock_text

    path = f"{_path(run)}/explain"
    with connect(url, api_token) as api:
        if json:
            sys.stdout.write(api.raw("GET", path).decode() + "\n")
            return
        found = api.get(path, Explanation)
    print(f"{found.function} {found.status} since {clock_text(found.since)}")
    if not found.reasons:
        print(f"  {found.summary}")
    for reason in found.reasons:
        print(f"  {reason.text}")
        print(f"    since {clock_text(reason.since)}; released by {reason.release}")
    if found.left_out:
        print(f"  and {found.left_out} more")


@app.command("tail")
def tail(
    function: FunctionOption = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=100, help="Begin with so many that are there.")
    ] = 10,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Follow runs: a line when one begins, and when it ends. Ends by Ctrl-C."""
    from stepwell.cli.screen import run_line

    with connect(url, api_token) as api:
        try:
            for run in _changes(api, function, limit):
                run_line(run)
        except KeyboardInterrupt:
            raise typer.Exit(130) from None


def _changes(api: Api, function: str | None, limit: int) -> Iterator[RunSummary]:
    """Yield runs when they are new and when they have ended, the oldest first; for ever."""
    from stepwell.cli.answers import RunPage, RunSummary

    begun: deque[str] = deque()
    page = api.get("/api/runs", RunPage, {"function": function, "limit": max(1, limit)}).items
    first = list(reversed(page[:limit]))
    newest = page[0].id if page else ""
    while True:
        for run in first:
            yield run
            if not run.is_final:
                begun.append(run.id)
        time.sleep(_LOOK_S)
        first = list(_newer(api, function, newest))
        newest = first[-1].id if first else newest
        # A few at a time, in turn: there may be thousands asleep.
        for _ in range(min(_LOOKED_UP_MAX, len(begun))):
            run = api.get(f"/api/runs/{begun.popleft()}", RunSummary)
            if run.is_final:
                yield run
            else:
                begun.append(run.id)


def _newer(api: Api, function: str | None, newest: str) -> list[RunSummary]:
    """Return runs that came after one, the oldest first; of very many the latest."""
    from stepwell.cli.answers import RunPage

    found: list[RunSummary] = []
    cursor: str | None = None
    for _ in range(_PAGES_MAX):
        page = api.get("/api/runs", RunPage, {"function": function, "limit": _PAGE, "cursor": cursor})
        found += [run for run in page.items if run.id > newest]
        cursor = page.next_cursor
        if cursor is None or cursor <= newest:
            break
    return found[::-1]


def cancel(run: RunArgument, url: UrlOption = None, api_token: ApiTokenOption = None) -> None:
    """Cancel a run."""
    from stepwell.cli.answers import RunView

    with connect(url, api_token) as api:
        view = api.post(f"{_path(run)}/cancel", RunView)
    print(f"run {view.id} is {view.status}")


def rerun(run: RunArgument, url: UrlOption = None, api_token: ApiTokenOption = None) -> None:
    """Run again, with the same event."""
    from stepwell.cli.answers import RunView

    with connect(url, api_token) as api:
        view = api.post(f"{_path(run)}/rerun", RunView)
    print(f"run {view.id}")


def _path(run: str) -> str:
    return f"/api/runs/{quote(run, safe='')}"


def _newest(api: Api) -> str:
    from stepwell.cli.answers import RunPage

    page = api.get("/api/runs", RunPage, {"limit": 1})
    if not page.items:
        fail("there is no run yet")
    return page.items[0].id
