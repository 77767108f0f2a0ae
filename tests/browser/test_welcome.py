"""The first five minutes: a server without apps, until one comes in."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.desk import LIVE, desk_app
from tests.e2e.harness import ROOT, App, Server, eventually
from tests.sdks.world import node_with


def test_the_start_leads_here_where_there_is_no_app(page: Page) -> None:
    page.goto("/")

    expect(page).to_have_url(re.compile("/welcome$"))
    expect(page.get_by_role("status").filter(has_text="Looking for an app")).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize(
    ("sdk", "command"),
    [
        ("Stepwell", "STEPWELL_DEV={url} uvicorn app:app --port 8000"),
        ("Inngest SDK, Python", "INNGEST_DEV={url} uvicorn app:app --port 8000"),
        ("Inngest SDK, TypeScript", "INNGEST_DEV={url} node app.mjs"),
    ],
)
def test_each_sdk_is_shown_for_this_very_server(server: Server, page: Page, sdk: str, command: str) -> None:
    page.goto("/welcome")
    page.get_by_role("tab", name=sdk, exact=True).click()

    panel = page.get_by_role("tabpanel", name=sdk, exact=True)
    expect(panel.get_by_text(command.format(url=server.url))).to_be_visible()
    panel.get_by_role("button", name="Copy Run").click()
    assert page.evaluate("navigator.clipboard.readText()") == command.format(url=server.url)


class SnippetApp(App):
    """An app as the page has it, which knows no ``/log``."""

    def is_ready(self) -> bool:
        """Tell whether the app answers anything."""
        try:
            self.http.get("/")
        except httpx2.TransportError:
            return False
        return True


@pytest.mark.parametrize(
    ("sdk", "file", "variable", "path"),
    [
        ("Stepwell", "app.py", "STEPWELL_DEV", ""),
        ("Inngest SDK, Python", "app.py", "INNGEST_DEV", "/api/inngest"),
        ("Inngest SDK, TypeScript", "app.mjs", "INNGEST_DEV", "/api/inngest"),
    ],
)
def test_what_the_page_shows_runs_as_it_is(
    tmp_path: Path, new_page: NewPage, sdk: str, file: str, variable: str, path: str
) -> None:
    with Server(tmp_path, "dev") as server:
        page = new_page(server.url)
        page.goto("/welcome")
        expect(page.get_by_text(LIVE)).to_be_attached()
        page.get_by_role("tab", name=sdk, exact=True).click()
        page.get_by_role("tabpanel", name=sdk, exact=True).get_by_role("button", name=f"Copy {file}").click()
        code: str = page.evaluate("navigator.clipboard.readText()")
        if file == "app.mjs":
            argv = [node_with("inngest"), str(tmp_path / file), "{port}"]
            (tmp_path / "node_modules").symlink_to(ROOT / "tests/sdks/ts/node_modules")
            code = code.replace(".listen(3000)", ".listen(Number(process.argv[2]))")
        else:
            argv = [sys.executable, "-m", "uvicorn", "--app-dir", str(tmp_path), "app:app", "--port", "{port}"]
        (tmp_path / file).write_text(code)

        with SnippetApp(tmp_path, argv, {variable: server.url}) as app:
            server.api("/apps/sync", method="POST", json={"url": app.url + path})
            expect(page.get_by_role("region", name="Your app")).to_contain_text("acme is here, with 1 function")
            [event] = server.send({"name": "user.signedup", "data": {"userId": 42}})
            server.api("/skip", method="POST", json={"duration": "1m"})
            [run] = server.ended_runs(event)

        assert server.api(f"/runs/{run['run_id']}")["output"] == "user 42 was welcomed", app.output()


def test_the_page_fits_a_phone(server: Server, new_page: NewPage) -> None:
    page = new_page(server.url, width=380, height=800)
    page.goto("/welcome")
    expect(page.get_by_role("tabpanel")).to_be_visible()
    assert_fits(page)


def test_an_app_is_greeted_when_it_comes_in(tmp_path: Path, new_page: NewPage) -> None:
    with Server(tmp_path, "dev") as server:
        page = new_page(server.url)
        page.goto("/welcome")
        expect(page.get_by_text(LIVE)).to_be_attached()

        with desk_app(tmp_path, server):
            arrived = page.get_by_role("region", name="Your app")
            expect(arrived).to_contain_text("desk is here, with 3 functions")
            assert_accessible(page)
            arrived.get_by_role("link", name="send guest.arrived").click()
            expect(page.get_by_role("textbox", name="Event")).to_contain_text("guest.arrived")

        page.goto("/")
        expect(page).to_have_url(re.compile("/runs$"))
        expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
        page.close()  # before its server, from which it may be fetching the next page ahead


def test_the_demo_app_comes_with_one_press(tmp_path: Path, new_page: NewPage) -> None:
    with Server(tmp_path, "dev") as server:
        page = new_page(server.url)
        page.goto("/welcome")
        expect(page.get_by_text(LIVE)).to_be_attached()
        page.get_by_role("button", name="Start the demo app").click()

        expect(page.get_by_role("region", name="Your app")).to_contain_text("demo is here")
        page.get_by_role("link", name="the runs").click()
        expect(page.get_by_role("heading", name="Runs", exact=True)).to_be_visible()
        eventually(lambda: server.api("/runs?function=stepwell-demo-onboard-user")["items"], what="it has runs")

        page.goto("/welcome")
        stop = page.get_by_role("button", name="Stop the demo app")
        expect(stop).to_be_visible()
        assert_accessible(page)
        stop.click()
        expect(page.get_by_text(re.compile(r"^\d+ runs? that hadn't ended (is|are) cancelled\.$"))).to_be_visible()
        expect(page.get_by_role("button", name="Start the demo app")).to_be_visible()
        page.close()  # before its server, from which it may be fetching the next page ahead
