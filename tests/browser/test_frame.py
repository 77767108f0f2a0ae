"""What stands around every page: the palette, the sheet of keys, the theme, and what is said when the server is gone."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from stepwell.ui.dashboard import STATIC
from tests.browser.conftest import NewPage, assert_accessible
from tests.e2e.harness import Server

FIRST_JS_BYTES_MAX = 300_000


def test_the_palette_leads_to_a_page(page: Page) -> None:
    page.goto("/runs")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Page, function or id")
    expect(field).to_be_focused()
    assert_accessible(page)

    field.fill("log")
    expect(page.get_by_role("option", name="Logs")).to_have_attribute("aria-selected", "true")
    field.press("Enter")

    expect(page).to_have_url(re.compile(r"/logs"))
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_the_palette_takes_an_id(page: Page) -> None:
    page.goto("/events")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    page.keyboard.press("Control+k")
    field = page.get_by_role("combobox", name="Page, function or id")
    field.fill("01k00000000000000000000000")
    field.press("ArrowDown")
    field.press("Enter")
    expect(page).to_have_url(re.compile(r"/events/01K00000000000000000000000"))


@pytest.mark.parametrize("path", ["/runs", "/events", "/functions", "/logs", "/send"])
def test_the_keys_of_the_page_are_listed_and_then_those_of_every_page(path: str, page: Page) -> None:
    page.goto(path)
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)
    shown = {text for text in page.locator("kbd").all_inner_texts() if text}
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys")
    titles = sheet.get_by_role("heading", level=3)

    expect(titles.first).to_have_text("On this page")
    expect(titles.last).to_have_text("Everywhere")
    assert shown <= set(sheet.locator("kbd").all_inner_texts())
    expect(sheet.get_by_text("Choose the time range")).to_have_count(1 if path in ("/runs", "/events", "/logs") else 0)
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(sheet).to_have_count(0)


def test_a_chosen_theme_is_kept(page: Page) -> None:
    page.goto("/runs")
    page.get_by_role("button", name="Use the dark theme").click()
    page.reload()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    expect(page.get_by_role("button", name="Use the light theme")).to_be_visible()


def test_a_page_says_that_the_server_is_gone_and_goes_on_when_it_is_back(new_page: NewPage, tmp_path: Path) -> None:
    with Server(tmp_path, "dev") as server:
        page = new_page(server.url)
        page.goto("/runs")
        expect(page.get_by_role("status").filter(has_text="Live")).to_have_count(1)
        banner = page.get_by_role("alert").filter(has_text="The server can't be reached. What is shown may be old")

        server.stop()
        expect(banner).to_be_visible()

        server.start()
        expect(banner).to_have_count(0)
        expect(page.get_by_role("status").filter(has_text="Live")).to_have_count(1)


def test_the_first_page_is_small(page: Page) -> None:
    """All scripts that the list of runs has loaded by the time it rests, as they go over the wire."""
    page.goto("/runs")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)
    found = page.evaluate(
        "performance.getEntriesByType('resource').map(one => new URL(one.name).pathname)"
        ".filter(path => path.endsWith('.js'))"
    )
    scripts = {path: len(gzip.compress((STATIC / path[1:]).read_bytes())) for path in set(found)}
    assert len(scripts) > 2, scripts
    assert sum(scripts.values()) < FIRST_JS_BYTES_MAX, scripts
