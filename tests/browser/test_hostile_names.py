"""Names, payloads, lines and errors that try to run code, to widen a page, or to turn its text around."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.hostile_app import EMOJI, IMAGE, LONG, NAMES, RIGHT_TO_LEFT, SCRIPT
from tests.browser.shop import open_list
from tests.e2e.harness import App, Server, eventually

LISTS = ("/runs", "/events", "/functions", "/logs")

# Texts beyond the window's edge that nobody can scroll to, and that don't end in an ellipsis.
CUT_OFF = """() => [...document.querySelectorAll('main *')].filter(one => {
  const hasText = [...one.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
  if (!hasText || one.getBoundingClientRect().right <= innerWidth + 1) return false;
  for (let at = one; at && at.tagName !== 'MAIN'; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.clipPath !== 'none') return false; // for those who hear the page
    if (style.textOverflow === 'ellipsis' || ['auto', 'scroll'].includes(style.overflowX)) return false;
  }
  return true;
}).map(one => one.outerHTML.slice(0, 200))"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    argv = (sys.executable, "-m", "uvicorn", "tests.browser.hostile_app:app", "--log-level=warning", "--port={port}")
    with Server(folder, "dev", "--no-poll") as server, App(folder, argv, server.app_environment) as app:
        server.api("/apps/sync", method="POST", json={"url": f"{app.url}/api/stepwell"})
        yield server


@pytest.fixture(scope="module")
def taken(server: Server) -> dict[str, Any]:
    """The events of all names, whose runs have failed, and two others: one of a run that waits, and one of none."""
    names = [*NAMES.values(), "told", f"nobody {LONG}"]
    events = [{"name": name, "id": name, "data": {name: name, "deep": {LONG: [SCRIPT]}}} for name in names]
    taken = server.api("/events", method="POST", json=events)["events"]
    eventually(
        lambda: len(server.api("/runs?status=failed")["items"]) == len(NAMES), what="the runs of all names have failed"
    )
    eventually(lambda: server.api("/runs?status=running")["items"], what="the other run waits")
    return dict(zip(names, taken, strict=True))


def paths(taken: dict[str, Any]) -> Iterator[str]:
    """The addresses of all pages."""
    yield from LISTS
    yield "/send"
    for event in taken.values():
        yield f"/events/{event['id']}"
        for run in event["runs"]:
            yield f"/runs/{run['id']}"
            yield f"/functions/{quote(run['function'], safe='')}"


def assert_unharmed(page: Page) -> None:
    """No code of a name has run, and nothing sticks out or is cut off without a sign."""
    assert page.evaluate("window.hacked") is None
    assert_fits(page)
    assert page.evaluate(CUT_OFF) == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 380)])
def test_no_page_is_harmed(scheme: str, width: int, server: Server, taken: dict[str, Any], new_page: NewPage) -> None:
    page = new_page(server.url, scheme=scheme, width=width, height=900)
    for path in paths(taken):
        page.goto(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        expect(page.get_by_role("status", name="Loading")).to_have_count(0)
        assert_unharmed(page)
    assert_accessible(page)


def test_names_are_shown_as_they_are(server: Server, taken: dict[str, Any], page: Page) -> None:
    for name in (SCRIPT, IMAGE, EMOJI, RIGHT_TO_LEFT, LONG):
        event = taken[name]
        page.goto(f"/runs/{event['runs'][0]['id']}")
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        page.get_by_role("treeitem").filter(has_text=name).first.click()
        expect(page.get_by_role("complementary", name="Details").get_by_role("heading", level=2)).to_have_text(name)
        assert_unharmed(page)

        page.goto(f"/events/{event['id']}")
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        assert_unharmed(page)


def test_text_from_right_to_left_turns_nothing_around(server: Server, taken: dict[str, Any], page: Page) -> None:
    """The full stop of the sentence stands at its right end, and the override is shown as a mark."""
    page.goto("/functions/hostile-right-to-left")
    sentence = page.get_by_role("region", name="Configuration").get_by_text("Starts for each event")
    right_of = "one => { const range = document.createRange(); range.selectNode(one); return [...range.getClientRects()].at(-1).right }"
    name = sentence.get_by_role("code").evaluate(right_of)
    stop = sentence.evaluate(f"one => ({right_of})(one.lastChild)")
    assert stop > name

    page.goto(f"/events/{taken[RIGHT_TO_LEFT]['id']}")
    data = page.get_by_role("region", name="Data").first
    expect(data.locator(".cm-specialChar").first).to_have_attribute("title", "Control character right-to-left override")
    data.get_by_role("button", name="Copy").click()
    assert RIGHT_TO_LEFT in page.evaluate("navigator.clipboard.readText()")


def test_palette_menus_and_sheets_hold_them(server: Server, taken: dict[str, Any], page: Page) -> None:
    open_list(page, "/runs")
    page.keyboard.press("f")
    expect(page.get_by_role("menu", name="Function")).to_be_visible()
    assert_unharmed(page)
    page.keyboard.press("Escape")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Page, function or id").fill("long")
    expect(page.get_by_role("option").filter(has_text=LONG).first).to_be_visible()
    assert page.get_by_role("dialog").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert page.get_by_role("listbox").evaluate("one => one.scrollWidth <= one.clientWidth")
    assert page.evaluate("window.hacked") is None
