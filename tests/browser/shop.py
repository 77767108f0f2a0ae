"""A server with the app of the lists' tests, and what these tests ask of it."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.e2e.harness import App, Server, eventually

LIVE = "Live: news come in as they happen"


@contextmanager
def shop_server(folder: Path, db: str | None = None) -> Generator[Server]:
    """A development server that knows the app; ``db`` is the URL of a PostgreSQL database."""
    argv = (sys.executable, "-m", "uvicorn", "tests.browser.shop_app:app", "--log-level=warning", "--port={port}")
    with Server(folder, "dev", "--no-poll", db=db) as server, App(folder, argv, server.app_environment) as app:
        server.api("/apps/sync", method="POST", json={"url": f"{app.url}/api/stepwell"})
        yield server


def send(server: Server, name: str, **data: Any) -> str:
    """Send an event; return its id."""
    [id] = server.send({"name": name, "data": data})
    return id


def order(server: Server, case: str, total: int = 10) -> str:
    """Place an order whose run then ends; return the event's id. A total above 100 makes it fail."""
    id = send(server, "order.placed", case=case, total=total)
    settled(server, id, "completed" if total <= 100 else "failed")
    return id


def parcel(server: Server, case: str, number: int) -> str:
    """Pack a parcel whose run then waits to be scanned; return the event's id."""
    id = send(server, "parcel.packed", case=case, parcel=f"{case}-{number}")
    settled(server, id, "running")
    return id


def scan(server: Server, case: str, number: int) -> str:
    """Let the run of a parcel go on; return the id of the event that does it."""
    return send(server, "parcel.scanned", parcel=f"{case}-{number}")


def settled(server: Server, event_id: str, status: str) -> None:
    """Wait until an event has started a run that is in a status."""

    def look() -> bool:
        runs = server.api("/runs", params={"event_id": event_id})["items"]
        return bool(runs) and all(run["status"] == status for run in runs)

    eventually(look, what=f"the run of {event_id} is {status}")


def open_list(page: Page, path: str) -> None:
    """Open a list and wait until it hears of changes."""
    page.goto(path)
    expect(page.get_by_text(LIVE)).to_be_attached()
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)


def rows(page: Page, label: str) -> Locator:
    """The rows of a list, without its head."""
    return page.get_by_role("grid", name=label).locator("[data-row]")


def ids(page: Page, label: str) -> list[str]:
    """The ids of the rows, from the top."""
    shown: list[str] = rows(page, label).evaluate_all("rows => rows.map(row => row.dataset.row)")
    return shown


def search(page: Page, text: str) -> None:
    """Search for a text."""
    page.keyboard.press("/")
    box = page.get_by_role("textbox", name="Search")
    expect(box).to_be_focused()
    box.fill(text)
    box.press("Enter")
