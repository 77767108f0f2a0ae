"""Sending events: from its page, and from everywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.desk import arrive, desk_server, type_into
from tests.e2e.harness import Server


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server to which one event was sent."""
    with desk_server(tmp_path_factory.mktemp("desk")) as server:
        arrive(server, "Ada")
        yield server


def test_the_latest_event_is_sent_again_and_leads_to_what_it_started(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    page.goto("/send")
    expect(page.get_by_role("textbox", name="Event")).to_contain_text("guest.arrived")
    page.get_by_role("textbox", name="Event").press("ControlOrMeta+Enter")

    sent = page.get_by_role("region", name="Sent")
    expect(sent.get_by_role("link", name="guest.arrived")).to_have_attribute("href", re.compile("^/events/"))
    expect(sent.get_by_role("link", name="refuse")).to_be_visible()
    assert_accessible(page)
    sent.get_by_role("link", name="Greet a guest").click()
    expect(page).to_have_url(re.compile("/runs/"))


def test_several_are_sent_at_once_and_code_keeps_step(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    page.goto("/send?code=curl")
    expect(page.get_by_role("textbox", name="Event")).to_contain_text("guest.arrived")
    type_into(page, "Event", '[{"name": "guest.left"}, {"name": "guest.lost"}]')
    expect(page.get_by_role("tabpanel", name="curl")).to_contain_text("guest.lost")
    page.get_by_role("tab", name="Python").click()
    expect(page.get_by_role("tabpanel", name="Python")).to_contain_text('await sw.send([{"name": "guest.left"}, ')

    page.get_by_role("button", name="Send 2 events").click()

    sent = page.get_by_role("region", name="Sent")
    expect(sent).to_contain_text("guest.left was sent, and started nothing.")
    expect(sent.get_by_role("link", name="See why")).to_have_count(2)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"name": }', "This is no JSON: line 1, column 10: a value is expected."),
        ('[{"name": "a"}, {"data": {}}]', "$[1].name is missing"),
        ('{"name": "a", "ts": 5}', "ts"),  # this one the server refuses
    ],
)
def test_what_is_wrong_is_said_with_its_place(desk: Server, new_page: NewPage, text: str, problem: str) -> None:
    page = new_page(desk.url)
    page.goto("/send")
    expect(page.get_by_role("textbox", name="Event")).to_contain_text("guest.")
    type_into(page, "Event", text)
    page.keyboard.press("ControlOrMeta+Enter")

    expect(page.get_by_role("alert")).to_contain_text(problem)


def test_a_key_opens_it_above_any_page(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    page.goto("/functions")
    expect(page.get_by_role("link", name="refuse")).to_be_visible()
    page.keyboard.press("s")
    dialog = page.get_by_role("dialog", name="Send an event")
    dialog.get_by_role("button", name="guest.arrived").click()
    expect(dialog.get_by_role("textbox", name="Event")).to_contain_text("guest.arrived")
    assert_accessible(page)
    dialog.get_by_role("button", name="Send", exact=True).click()
    expect(dialog.get_by_role("region", name="Sent")).to_be_visible()

    page.keyboard.press("Escape")

    expect(dialog).to_have_count(0)
    page.get_by_role("link", name="Send event").click()
    expect(dialog).to_be_visible()
    expect(page).to_have_url(re.compile("/functions$"))


def test_an_event_begins_it_by_its_id_or_name(desk: Server, new_page: NewPage) -> None:
    [id] = desk.send({"name": "guest.waved", "data": {"with": "left hand"}})
    page = new_page(desk.url, width=380, height=800)
    page.goto(f"/send?event={id}")
    expect(page.get_by_role("textbox", name="Event")).to_contain_text("left hand")
    assert_fits(page)

    page.goto("/send?name=guest.unheard")

    expect(page.get_by_role("textbox", name="Event")).to_contain_text("guest.unheard")
