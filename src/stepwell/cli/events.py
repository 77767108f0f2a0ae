"""``stepwell send``: an event, from the shell."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from stepwell.cli.client import ApiTokenOption, JsonFlag, UrlOption, connect, fail

JsonArgument = Annotated[str, typer.Argument(metavar="[JSON]", help="Its data, a JSON object; - reads standard input.")]


def send(
    name: Annotated[str, typer.Argument(help="The event's name, such as user.signedup.")],
    data: JsonArgument = "{}",
    id: Annotated[str | None, typer.Option("--id", help="An id: the same one starts each function once a day.")] = None,
    ts: Annotated[int | None, typer.Option("--ts", help="Unix ms; a time to come delays the runs.")] = None,
    json: JsonFlag = False,
    url: UrlOption = None,
    api_token: ApiTokenOption = None,
) -> None:
    """Send an event, and say which functions it starts."""
    from stepwell.cli.answers import TakenEvents

    event: dict[str, Any] = {"name": name, "data": read_json(data)}
    if id is not None:
        event["id"] = id
    if ts is not None:
        event["ts"] = ts
    with connect(url, api_token) as api:
        if json:
            sys.stdout.write(api.raw("POST", "/api/events", body=event).decode() + "\n")
            return
        taken = api.post("/api/events", TakenEvents, event).events[0]
    print(f"event {taken.id} {taken.name}")
    for run in taken.runs:
        what = "skipped: this event id started it before" if run.is_skipped else f"run {run.id}"
        print(f"  {run.function}  {what}")
    if not taken.runs:
        print("  starts nothing: no function has this trigger (see `stepwell functions`)")


def read_json(text: str) -> Any:
    """Read an argument that is a JSON object; ``-`` is standard input. Ends the command when it isn't one."""
    import msgspec

    source = sys.stdin.read() if text == "-" else text
    try:
        value: Any = msgspec.json.decode(source)
    except (msgspec.DecodeError, RecursionError) as error:
        fail(f"the data is not JSON: {error}", status=2)
    if not isinstance(value, dict):
        fail("the data must be a JSON object, such as '{\"userId\": 42}'", status=2)
    return msgspec.Raw(source.encode())
