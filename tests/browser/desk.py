"""A server with the app of the tests of functions, logs and sending."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect

from tests.e2e.harness import App, Server

LIVE = "Live: news come in as they happen"


@contextmanager
def desk_server(folder: Path) -> Generator[Server]:
    """A development server that knows the app."""
    with Server(folder, "dev", "--no-poll") as server, desk_app(folder, server):
        yield server


@contextmanager
def desk_app(folder: Path, server: Server) -> Generator[App]:
    """The app, registered at a server."""
    argv = (sys.executable, "-m", "uvicorn", "tests.browser.desk_app:app", "--log-level=warning", "--port={port}")
    with App(folder, argv, server.app_environment) as app:
        server.api("/apps/sync", method="POST", json={"url": f"{app.url}/api/stepwell"})
        yield app


def arrive(server: Server, name: str, **more: Any) -> None:
    """Have a guest come; both functions then have a run that ends."""
    [id] = server.send({"name": "guest.arrived", "data": {"name": name, **more}})
    server.ended_runs(id, 2)


def open_live(page: Page, path: str) -> None:
    """Open a page and wait until it hears of changes."""
    page.goto(path)
    expect(page.get_by_text(LIVE)).to_be_attached()
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)


def type_into(page: Page, label: str, text: str) -> None:
    """Replace what is in a code editor."""
    editor = page.get_by_role("textbox", name=label)
    editor.click()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.insert_text(text)
