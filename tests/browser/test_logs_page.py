"""Lines of all runs."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.desk import arrive, desk_server, open_live
from tests.e2e.harness import Server, eventually


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with enough lines to scroll."""
    with desk_server(tmp_path_factory.mktemp("desk")) as server:
        for number in range(40):
            server.send({"name": "guest.arrived", "data": {"name": f"guest {number}"}})
        eventually(lambda: len(server.api("/logs", params={"limit": 200})["items"]) == 80, what="all lines are there")
        yield server


def test_lines_come_in_while_one_follows(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/logs")
    expect(page.get_by_role("button", name="Following")).to_be_visible()

    arrive(desk, "Barbara")

    expect(page.get_by_role("link", name="hello Barbara")).to_be_in_viewport()
    assert_accessible(page)


def test_what_one_reads_stays_where_it_is(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/logs")
    lines = page.get_by_role("region", name="Lines")
    expect(lines.get_by_role("listitem").first).to_be_visible()
    lines.hover()
    page.mouse.wheel(0, -500)
    expect(page.get_by_role("button", name="To the newest")).to_be_visible()
    top = lines.evaluate("node => node.scrollTop")

    arrive(desk, "Radia")
    eventually(lambda: "hello Radia" in str(desk.api("/logs", params={"text": "Radia"})), what="the line is there")

    expect(lines.get_by_text("hello Radia")).not_to_be_in_viewport()
    assert lines.evaluate("node => node.scrollTop") == top
    page.keyboard.press("n")
    expect(page.get_by_role("link", name="hello Radia")).to_be_in_viewport()


def test_filters_are_in_the_address_and_hold_for_new_lines(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/logs")
    page.keyboard.press("l")
    page.get_by_role("menuitemradio", name="warning and up").click()
    page.get_by_role("button", name="Function").click()
    page.get_by_role("menuitemradio", name="Greet a guest").click()
    page.keyboard.press("t")
    page.get_by_role("dialog", name="Time range").get_by_role("button", name="Last hour").click()
    page.keyboard.press("/")
    page.keyboard.type("BELL")
    expect(page).to_have_url(re.compile("level=warning.*fn=desk-greet.*range=1h.*q=BELL"))

    page.reload()

    expect(page.get_by_role("link", name="the bell is worn out").last).to_be_visible()
    arrive(desk, "Hedy")
    expect(page.get_by_role("link", name="hello Hedy")).to_have_count(0)
    page.get_by_role("searchbox", name="Text").fill("no such words")
    expect(page.get_by_role("heading", name="No line matches", exact=True)).to_be_visible()
    page.get_by_role("button", name="Clear the filters").click()
    expect(page.get_by_role("link", name="hello").last).to_be_visible()


def test_a_line_opens_and_leads_to_its_run(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/logs?level=warning")
    last = page.get_by_role("listitem").last
    last.get_by_role("button", name="More of this line").click()
    expect(last).to_contain_text('"guest"')

    last.get_by_role("link").click()

    expect(page).to_have_url(re.compile("/runs/.*row="))


def test_the_page_fits_a_phone(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url, width=380, height=800)
    open_live(page, "/logs")
    expect(page.get_by_role("link", name="hello").last).to_be_visible()
    assert_fits(page)
