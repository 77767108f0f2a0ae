"""What happens while a team tries a product for two weeks.

    trial.started ────▶ trial            sets up a workspace, waits for a project, and for a plan to be bought
                          └▶ set-up      a function that it invokes
    team.deleted  ────▶ trial            cancels it
    file.uploaded ────▶ import-file      two files of a team at a time
    page.changed  ────▶ index-pages      many pages in one run
    settings.changed ─▶ apply-settings   the last of many changes

What a step has done is a line in a journal, with the step's ``idempotency_key``: who reads it knows a line that came twice.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

from stepwell import Batch, CancelOn, Concurrency, Debounce, Event, Step, Stepwell, Timeouts, current_step

JOURNAL = Path(os.environ.get("JOURNAL", "journal.jsonl"))
FILES_AT_A_TIME = 2
PAGES_IN_A_BATCH = 20

sw = Stepwell("product")


@sw.function(
    "trial",
    on="trial.started",
    cancel=CancelOn("team.deleted", match="data.team"),
    timeouts=Timeouts(finish="30d"),
)
async def trial(event: Event, step: Step) -> str:
    """Look after a team for two weeks. It waits most of the time; then no code is loaded, and no call is open."""
    team = event.data["team"]
    workspace = await step.invoke("set-up", set_up, data={"team": team})
    await step.run("welcome", note, "mail", team=team, kind="welcome", workspace=workspace)
    # A project that was made while the workspace was being set up counts, too: a wait looks back to the run's start.
    project = await step.wait_for_event("first-project", "project.created", match="data.team", timeout="3d")
    if project is None:
        await step.run("help", note, "mail", team=team, kind="help")
    bought = await step.wait_for_event("plan", "plan.bought", match="data.team", timeout="10d")
    if bought is None:
        await step.run("farewell", note, "mail", team=team, kind="farewell")
        return "left"
    await step.run("thanks", note, "mail", team=team, kind="thanks", plan=bought.data["plan"])
    return f"bought {bought.data['plan']}"


@sw.function("set-up", on=[])
async def set_up(event: Event, step: Step) -> str:
    """Make a workspace. No event starts it: ``trial`` invokes it, and gets what it returns."""
    team = event.data["team"]
    await step.run("make", note, "workspace", team=team)
    return f"{team}.product.example"


at_work: Counter[str] = Counter()
"""How many files of each team are being imported in this process."""


@sw.function("import-file", on="file.uploaded", concurrency=Concurrency(FILES_AT_A_TIME, key="event.data.team"))
async def import_file(event: Event, step: Step) -> None:
    """Import a file. A team with many waits in its own line; the others go on beside it."""
    await step.run("import", read_file, event.data["team"], event.data["file"])


@sw.function("index-pages", on="page.changed", batch=Batch(PAGES_IN_A_BATCH, "5s", key="event.data.team"))
async def index_pages(events: list[Event], step: Step) -> None:
    """Index pages, many in one go."""
    pages = [event.data["page"] for event in events]
    await step.run("index", note, "index", team=events[0].data["team"], pages=pages)


@sw.function("apply-settings", on="settings.changed", debounce=Debounce("3s", key="event.data.team"))
async def apply_settings(event: Event, step: Step) -> None:
    """Apply a team's settings, once it has stopped changing them."""
    await step.run("apply", note, "settings", team=event.data["team"], theme=event.data["theme"])


async def read_file(team: str, file: str) -> None:
    """Pretend to import a file, and note how many of the team are being imported."""
    at_work[team] += 1
    try:
        await asyncio.sleep(0.05)
        note("file", team=team, file=file, at_work=at_work[team])
    finally:
        at_work[team] -= 1


def note(what: str, **fields: Any) -> None:
    """Write a line into the journal."""
    line = json.dumps({"what": what, "key": current_step().idempotency_key, **fields})
    with JOURNAL.open("a", encoding="utf-8") as journal:
        journal.write(line + "\n")


app = sw.asgi()
