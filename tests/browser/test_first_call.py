"""A run whose first step takes long is running from the first moment on, wherever one looks."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.shop import open_list, rows
from tests.e2e.harness import App, Server

_ARGV = (sys.executable, "-m", "uvicorn", "tests.browser.run_app:app", "--port", "{port}", "--log-level", "warning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A development server with the app of ``run_app.py``."""
    folder = tmp_path_factory.mktemp("runs")
    with Server(folder, "dev", "--no-poll") as server, App(folder, _ARGV, server.app_environment) as app:
        server.api("/apps/sync", method="POST", json={"url": f"{app.url}/api/stepwell"})
        yield server


def chip(page: Page, status: str, count: int) -> None:
    """Expect a status with its count."""
    expect(page.get_by_role("group", name="Status").get_by_role("button", name=status)).to_have_text(
        re.compile(rf"^{status}{count}\d$")  # the last digit is the key
    )


def test_a_run_is_running_while_its_first_step_is(
    new_page: NewPage, server: Server, page: Page, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    open_list(page, "/runs")
    filtered = new_page(server.url)
    open_list(filtered, "/runs?status=running")

    [event] = server.api("/events", method="POST", json=[{"name": "chat.begun", "data": {"until": str(flag)}}])[
        "events"
    ]
    id = event["runs"][0]["id"]

    expect(rows(page, "Runs").first).to_contain_text("running")
    chip(page, "running", 1)
    chip(page, "queued", 0)
    expect(rows(filtered, "Runs")).to_have_count(1)
    one = new_page(server.url)
    one.goto(f"/runs/{id}")
    expect(one.get_by_role("main")).to_contain_text("talking while the step runs")  # so the step still runs
    title = one.get_by_role("heading", level=1).locator("..")
    expect(title).to_contain_text("running")

    flag.touch()

    expect(rows(page, "Runs").first).to_contain_text("completed")
    chip(page, "running", 0)
    chip(page, "completed", 1)
    expect(title).to_contain_text("completed")
