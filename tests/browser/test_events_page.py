"""The list of events, and the page of one: what it started, what it didn't start and why."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.shop import ids, open_list, order, parcel, rows, scan, search, send, shop_server
from tests.e2e.harness import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shop_server(tmp_path_factory.mktemp("shop")) as server:
        yield server


def of_case(case: str) -> str:
    """The list of one test's events."""
    return f"/events?q={quote(f'data.case = {case}')}"


def test_new_events_are_counted_until_they_are_asked_for(server: Server, page: Page) -> None:
    order(server, "old")
    open_list(page, "/events")
    before = ids(page, "Events")

    newest = order(server, "new")
    expect(page.get_by_role("button", name="1 new")).to_be_visible()
    assert ids(page, "Events") == before

    page.keyboard.press(".")
    expect(rows(page, "Events")).to_have_count(len(before) + 1)
    assert ids(page, "Events")[0] == newest


def test_the_badges_of_runs_change_where_they_are(server: Server, page: Page) -> None:
    parcel(server, "badge", 1)
    open_list(page, of_case("badge"))
    badge = rows(page, "Events").first.get_by_role("link", name="ship-parcel")
    expect(badge.get_by_role("img", name="running")).to_be_visible()

    scan(server, "badge", 1)

    expect(badge.get_by_role("img", name="completed")).to_be_visible()


def test_an_event_of_a_batch_shows_that_it_waits_and_then_the_run(server: Server, page: Page) -> None:
    send(server, "label.wanted", case="batch")
    open_list(page, of_case("batch"))
    row = rows(page, "Events").first
    expect(row.get_by_role("link", name="print-labels in a batch")).to_be_visible()

    send(server, "label.wanted", case="batch")  # fills it

    badge = row.get_by_role("link", name="print-labels")
    expect(badge.get_by_role("img", name="completed")).to_be_visible()
    expect(row).not_to_contain_text("in a batch")
    page.get_by_role("button", name="1 new").click()
    expect(rows(page, "Events")).to_have_count(2)
    for each in rows(page, "Events").all():
        expect(each.get_by_role("img", name="completed")).to_be_visible()


def test_every_event_of_a_debounce_shows_the_run(server: Server, page: Page) -> None:
    for _ in range(2):
        send(server, "stock.moved", case="debounce")
    open_list(page, of_case("debounce"))

    for each in rows(page, "Events").all():
        expect(each.get_by_role("link", name="refresh-stock")).to_be_visible()
        expect(each.get_by_role("img", name="completed")).to_be_visible()


def test_a_run_that_is_started_again_is_shown_at_its_event(server: Server, page: Page) -> None:
    id = order(server, "again")
    open_list(page, of_case("again"))
    badges = rows(page, "Events").first.get_by_role("link", name="charge-card")
    expect(badges).to_have_count(1)

    [run] = server.api("/runs", params={"event_id": id})["items"]
    server.api(f"/runs/{run['id']}/rerun", method="POST")

    expect(badges).to_have_count(2)


def test_a_name_that_starts_nothing_is_warned_of(server: Server, page: Page) -> None:
    id = send(server, "order.palced", case="near")
    open_list(page, of_case("near"))

    expect(rows(page, "Events").first).to_contain_text("Starts nothing. Did you mean order.placed?")

    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(f"/events/{id}"))
    expect(page.get_by_role("note")).to_contain_text("No function has a trigger of the name order.palced")
    expect(page.get_by_role("note")).to_contain_text("Did you mean order.placed")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data.token = kind-8", 'data.token = "kind-8"'),
        ("event.data.token.endsWith('-8')", "where event.data.token.endsWith"),
        ("search.tested", "event search.tested"),
    ],
)
def test_a_search_says_how_it_was_understood(text: str, words: str, server: Server, page: Page) -> None:
    if not server.api("/events", params={"name": "search.tested"})["items"]:
        send(server, "search.tested", token="kind-8")
    order(server, "kind")
    open_list(page, "/events")

    search(page, text)

    expect(page.get_by_role("button", name=f"Remove: {words}")).to_be_visible()
    expect(rows(page, "Events")).to_have_count(1)
    page.go_back()
    expect(page.get_by_role("button", name="Remove:")).to_have_count(0)


def test_rows_tell_what_events_say(server: Server, page: Page) -> None:
    send(server, "label.wanted", case="said", total=42, items=[1, 2], to={"name": "Ada"})
    open_list(page, of_case("said"))

    expect(rows(page, "Events").first).to_contain_text('case: "said", items: […], to: {…}, total: 42')


def test_a_name_that_runs_wait_for_is_no_slip_of_the_pen(server: Server, page: Page) -> None:
    parcel(server, "awaited", 1)
    id = send(server, "parcel.scanned", case="awaited", parcel="another")
    open_list(page, of_case("awaited"))

    expect(rows(page, "Events").filter(has_text="parcel.scanned")).to_contain_text("runs wait for it")
    page.goto(f"/events/{id}")
    expect(page.get_by_role("region", name="Runs")).to_contain_text("runs that wait for it")
    expect(page.get_by_role("note")).to_have_count(0)


def test_a_mistyped_name_is_searched_by_the_right_one(server: Server, page: Page) -> None:
    order(server, "mistyped")
    open_list(page, "/events")

    search(page, "order.plcaed")
    expect(page.get_by_role("heading", name="No event matches", exact=True)).to_be_visible()
    page.get_by_role("button", name="order.placed").click()

    expect(rows(page, "Events").first).to_contain_text("order.placed")


def test_a_mistake_in_a_condition_is_shown_where_it_is(server: Server, page: Page) -> None:
    open_list(page, "/events")

    search(page, "output.total > 3")

    expect(page.get_by_role("alert").first).to_contain_text("At character 1")


def test_the_servers_own_events_are_shown_when_asked_for(server: Server, page: Page) -> None:
    order(server, "internal", 500)
    open_list(page, "/events")
    own = page.get_by_role("gridcell", name="inngest/function.failed")
    expect(own).to_have_count(0)

    page.keyboard.press("i")

    expect(page).to_have_url(re.compile("internal=true"))
    expect(own.first).to_be_visible()


def test_an_event_shows_what_it_started_live_and_what_not(server: Server, page: Page) -> None:
    id = order(server, "outcomes", 30)
    page.goto(f"/events/{id}")

    started = page.get_by_role("region", name="Runs")
    expect(started.get_by_role("listitem")).to_have_count(1)
    expect(started).to_contain_text("completed")
    others = page.get_by_role("region", name="Didn't start")
    expect(others).to_contain_text("send-coupon")
    expect(others).to_contain_text("event.data.total > 1000 (event.data.total is 30)")
    expect(page.get_by_role("region", name="Data").first).to_contain_text('"total": 30')

    started.get_by_role("link", name="charge-card").click()
    expect(page).to_have_url(re.compile("/runs/"))


def test_an_event_page_is_live(server: Server, page: Page) -> None:
    id = parcel(server, "live", 1)
    open_list(page, f"/events/{id}")
    started = page.get_by_role("region", name="Runs")
    expect(started).to_contain_text("running")

    scan(server, "live", 1)

    expect(started).to_contain_text("completed")


def test_an_event_names_the_waits_that_it_ended(server: Server, page: Page) -> None:
    parcel(server, "ended", 1)
    id = scan(server, "ended", 1)
    open_list(page, f"/events/{id}")

    waits = page.get_by_role("region", name="Waits that it ended")
    expect(waits.get_by_role("listitem")).to_have_count(1)
    expect(waits).to_contain_text("scanned")
    expect(waits.get_by_role("link", name="ship-parcel")).to_be_visible()


def test_an_event_is_copied_and_sent_again(server: Server, page: Page) -> None:
    id = order(server, "copied", 30)
    open_list(page, f"/events/{id}")

    page.get_by_role("button", name="Copy as curl").click()
    expect(page.get_by_text("Copied as curl")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.startswith(f'curl "{server.url}/e/dev"')
    sent = json.loads(copied[copied.index("'") + 1 : copied.rindex("'")])
    assert sent == {"name": "order.placed", "data": {"case": "copied", "total": 30}}

    page.keyboard.press("p")
    expect(page.get_by_text("Copied as Python")).to_be_visible()
    assert 'await sw.send("order.placed", {' in page.evaluate("navigator.clipboard.readText()")

    page.get_by_role("button", name="Send again").click()
    expect(page).to_have_url(re.compile(f"/send.*event={id}"))


def test_an_unknown_event_is_said_to_be_unknown(server: Server, page: Page) -> None:
    page.goto("/events/01ARZ3NDEKTSV4RRFFQ69G5FAV")

    expect(page.get_by_role("alert")).to_contain_text("there is no event with the id '01ARZ3NDEKTSV4RRFFQ69G5FAV'")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 380)])
def test_events_are_accessible_and_fit_a_phone(scheme: str, width: int, server: Server, new_page: NewPage) -> None:
    order(server, "a11y", 400)
    send(server, "order.palced", case="a11y")
    page = new_page(server.url, scheme=scheme, width=width)
    open_list(page, of_case("a11y"))
    expect(rows(page, "Events").first).to_contain_text("Did you mean")
    assert_accessible(page)
    assert_fits(page)

    open_list(page, f"/events/{ids(page, 'Events')[0]}")
    expect(page.get_by_role("note")).to_be_visible()
    assert_accessible(page)
    assert_fits(page)

    page.goto(f"/events/{order(server, 'a11y')}")
    expect(page.get_by_role("region", name="Didn't start")).to_be_visible()
    assert_accessible(page)
    assert_fits(page)
