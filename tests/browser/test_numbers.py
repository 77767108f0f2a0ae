"""Numbers are shown, copied and sent again with the digits that they came with, which JavaScript's own may not have."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest
from playwright.sync_api import Page, expect

from tests.browser.shop import open_list, settled, shop_server
from tests.e2e.harness import Server

BIG = "12345678901234567890"
SENT = f'{{"name":"payout.wanted","data":{{"account":{BIG},"euros":1.10,"tax":0.0}}}}'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shop_server(tmp_path_factory.mktemp("shop")) as server:
        yield server


@pytest.fixture(scope="module")
def event_id(server: Server) -> str:
    """The id of an event with such numbers, whose run has ended."""
    sent = httpx2.post(f"{server.url}/api/events", content=SENT)
    id: str = sent.json()["events"][0]["id"]
    settled(server, id, "completed")
    return id


@pytest.fixture(scope="module")
def run_id(server: Server, event_id: str) -> str:
    [run] = server.api("/runs", params={"event_id": event_id})["items"]
    id: str = run["id"]
    return id


def copied(page: Page, what: str) -> str:
    expect(page.get_by_text(what)).to_be_visible()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def assert_exact(text: str) -> None:
    assert BIG in text
    assert "1.10" in text
    assert "0.0" in text


def test_an_event_is_shown_copied_and_sent_again(server: Server, event_id: str, page: Page) -> None:
    open_list(page, f"/events/{event_id}")
    data = page.get_by_role("region", name="Data").first
    expect(data).to_contain_text(f'"account": {BIG}')
    expect(data).to_contain_text('"euros": 1.10')
    data.get_by_role("button", name="Copy").click()
    assert_exact(page.evaluate("navigator.clipboard.readText()"))
    page.keyboard.press("u")
    assert_exact(copied(page, "Copied as curl"))
    page.keyboard.press("p")
    assert_exact(copied(page, "Copied as Python"))

    page.keyboard.press("r")
    editor = page.get_by_role("textbox", name="Event")
    expect(editor).to_contain_text(f'"account": {BIG}')
    expect(page.get_by_role("tabpanel")).to_contain_text("1.10")
    editor.press("ControlOrMeta+Enter")
    href = page.get_by_role("region", name="Sent").get_by_role("link", name="payout.wanted").get_attribute("href")

    again = httpx2.get(f"{server.url}/api{href}").text
    assert f'"account":{BIG}' in again
    assert_exact(again)


def test_a_run_shows_its_event_and_outputs_and_is_copied(server: Server, run_id: str, page: Page) -> None:
    open_list(page, f"/runs/{run_id}")
    page.get_by_role("tab", name="Event").click()
    expect(page.get_by_role("tabpanel")).to_contain_text(f'"account": {BIG}')
    expect(page.get_by_role("tabpanel")).to_contain_text('"euros": 1.10')
    for kind, what in (("curl", "curl command copied"), ("pytest", "Test copied"), ("Markdown", "Markdown copied")):
        page.get_by_role("button", name="Copy as").click()
        page.get_by_role("menuitem", name=kind).click()
        assert_exact(copied(page, what))

    page.goto(f"/runs/{run_id}")
    page.get_by_role("treeitem", name="look-up").click()
    expect(page.get_by_role("tabpanel")).to_contain_text("12345678901234567891")


def test_the_editors_begin_with_the_digits_of_the_latest_event(event_id: str, page: Page) -> None:
    page.goto("/send?name=payout.wanted")
    expect(page.get_by_role("textbox", name="Event")).to_contain_text(f'"account": {BIG}')

    page.goto("/functions/shop-pay-out")
    page.get_by_role("button", name="Invoke").click()
    expect(page.get_by_role("textbox", name="Data")).to_contain_text(f'"account": {BIG}')
    expect(page.get_by_role("textbox", name="Data")).to_contain_text('"euros": 1.10')
