"""Coming in, in production: the set-up link, the password, and going out again."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.e2e.harness import Server

PASSWORD = "four words are enough"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A production server, whose account the first test makes."""
    with Server(tmp_path_factory.mktemp("house"), "start") as server:
        yield server


def setup_link(server: Server) -> str:
    found = re.search(r"http\S+/setup#\S+", server.output())
    assert found, server.output()
    return found[0]


def log_in(page: Page, password: str) -> None:
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Log in").click()


def test_the_set_up_link_makes_the_account_once(house: Server, new_page: NewPage) -> None:
    page = new_page(house.url)
    page.goto("/login")
    expect(page.get_by_role("heading", name="No account yet", exact=True)).to_be_visible()
    page.goto(setup_link(house))
    expect(page).to_have_url(f"{house.url}/setup")  # the token doesn't stay in the address
    assert_accessible(page)
    page.get_by_label("Password", exact=True).fill("short")
    page.get_by_label("The same again").fill("short")
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("alert")).to_contain_text("it must have 10 or more")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("alert")).to_contain_text("The two passwords differ")
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()

    other = new_page(house.url)
    other.goto(setup_link(house))
    other.get_by_label("Password", exact=True).fill(PASSWORD)
    other.get_by_label("The same again").fill(PASSWORD)
    other.get_by_role("button", name="Set up").click()

    expect(other.get_by_role("heading", name="This link doesn't work")).to_be_visible()
    other.goto("/setup")
    expect(other.get_by_role("heading", name="This link doesn't work")).to_be_visible()


def test_a_login_leads_back_to_where_one_came_from_and_ends_with_log_out(house: Server, new_page: NewPage) -> None:
    page = new_page(house.url, scheme="dark")
    page.goto("/logs?level=error")
    expect(page).to_have_url(re.compile(r"/login\?back="))
    assert_accessible(page)

    log_in(page, PASSWORD)
    expect(page).to_have_url(f"{house.url}/logs?level=error")
    expect(page.get_by_role("heading", name="Logs", exact=True)).to_be_visible()

    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login"))
    page.goto("/functions")
    expect(page.get_by_role("heading", name="Log in", exact=True)).to_be_visible()


def test_an_address_of_another_site_isn_t_gone_to(house: Server, new_page: NewPage) -> None:
    page = new_page(house.url)
    page.goto("/login?back=//evil.example/runs")

    log_in(page, PASSWORD)

    expect(page.get_by_role("navigation", name="Pages")).to_be_visible()
    assert page.url.startswith(house.url)


def test_a_password_can_be_looked_at(house: Server, new_page: NewPage) -> None:
    page = new_page(house.url, width=380, height=800)
    page.goto("/login")
    field = page.get_by_label("Password", exact=True)
    expect(field).to_be_focused()
    expect(field).to_have_attribute("autocomplete", "current-password")
    page.get_by_role("button", name="Show the password").click()
    expect(field).to_have_attribute("type", "text")
    assert_fits(page)


def test_caps_lock_is_told_of(house: Server, new_page: NewPage) -> None:
    page = new_page(house.url)
    page.goto("/login")
    field = page.get_by_label("Password", exact=True)
    told = page.get_by_role("status").filter(has_text="Caps lock is on.")
    page.keyboard.press("A")
    expect(told).to_have_count(0)

    # No browser that is driven has the lock itself on; its keys say so all the same.
    field.dispatch_event("keydown", {"key": "A", "modifierCapsLock": True, "bubbles": True})
    expect(told).to_be_visible()
    expect(field).to_have_accessible_description("Caps lock is on.")
    assert_accessible(page)

    field.dispatch_event("keyup", {"key": "CapsLock", "modifierCapsLock": False, "bubbles": True})
    expect(told).to_have_count(0)


def test_a_wrong_password_is_refused_and_too_many_have_to_wait(house: Server, new_page: NewPage) -> None:
    page = new_page(house.url)
    page.goto("/login")
    log_in(page, "wrong")
    expect(page.get_by_role("alert")).to_contain_text("that is not the password")
    expect(page.get_by_label("Password", exact=True)).to_have_value("")

    for _ in range(20):
        status = page.request.post("/api/session", data={"password": "wrong"}, headers={"Origin": house.url}).status
        if status == 429:
            break
    log_in(page, PASSWORD)

    expect(page.get_by_role("alert")).to_contain_text("there were too many attempts")
    expect(page.get_by_role("button", name=re.compile(r"Again in \d+ s"))).to_be_disabled()
