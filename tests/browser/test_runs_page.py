"""The list of runs: live without jumping, filtered by its address, searched, and acted on by the keyboard."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.shop import ids, open_list, order, parcel, rows, scan, search, send, settled, shop_server
from tests.e2e.harness import Server

UNKNOWN = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with shop_server(tmp_path_factory.mktemp("shop")) as server:
        yield server


def of_case(case: str) -> str:
    """The list of one test's runs."""
    return f"/runs?q={quote(f'data.case = {case}')}"


def test_new_runs_are_counted_until_they_are_asked_for(server: Server, page: Page) -> None:
    order(server, "old")
    open_list(page, "/runs")
    before = ids(page, "Runs")

    order(server, "new")
    order(server, "new")
    button = page.get_by_role("button", name="2 new")
    expect(button).to_be_visible()
    assert ids(page, "Runs") == before

    button.click()
    expect(rows(page, "Runs")).to_have_count(len(before) + 2)
    assert ids(page, "Runs")[2:] == before
    expect(button).to_have_count(0)


def test_a_key_shows_what_is_new(server: Server, page: Page) -> None:
    order(server, "key")
    open_list(page, of_case("key"))
    order(server, "another")
    order(server, "key")
    expect(page.get_by_role("button", name="1 new")).to_be_visible()

    page.keyboard.press("n")

    expect(rows(page, "Runs")).to_have_count(2)


def test_where_nothing_was_what_is_new_is_shown_at_once(server: Server, page: Page) -> None:
    open_list(page, of_case("first"))
    expect(page.get_by_role("heading", name="No run matches", exact=True)).to_be_visible()

    order(server, "first")

    expect(rows(page, "Runs")).to_have_count(1)


def test_rows_tell_what_their_events_say(server: Server, page: Page) -> None:
    order(server, "said", 42)
    order(server, "said", 500)
    open_list(page, of_case("said"))

    expect(rows(page, "Runs").last).to_contain_text('case: "said", total: 42')
    expect(rows(page, "Runs").first).to_contain_text("card declined: 500 is over the limit")


def test_a_row_changes_where_it_is(server: Server, page: Page) -> None:
    for number in range(3):
        parcel(server, "patched", number)
    open_list(page, of_case("patched"))
    before = ids(page, "Runs")
    expect(rows(page, "Runs").nth(1)).to_contain_text("running")

    scan(server, "patched", 1)

    expect(rows(page, "Runs").nth(1)).to_contain_text("completed")
    expect(rows(page, "Runs").nth(0)).to_contain_text("running")
    assert ids(page, "Runs") == before


def test_filters_are_in_the_address_and_the_back_button_takes_them_back(server: Server, page: Page) -> None:
    order(server, "filter", 10)
    order(server, "filter", 500)
    parcel(server, "filter", 1)
    open_list(page, of_case("filter"))
    expect(rows(page, "Runs")).to_have_count(3)

    page.get_by_role("button", name="failed").click()
    expect(page).to_have_url(re.compile(r"status=failed"))
    expect(rows(page, "Runs")).to_have_count(1)
    expect(rows(page, "Runs").first).to_contain_text("ValueError: card declined: 500 is over the limit")

    page.keyboard.press("3")
    expect(page).to_have_url(re.compile(r"status=completed%2Cfailed"))
    expect(rows(page, "Runs")).to_have_count(2)

    page.go_back()
    page.go_back()
    expect(rows(page, "Runs")).to_have_count(3)
    expect(page.get_by_role("button", name="failed")).to_have_attribute("aria-pressed", "false")

    page.keyboard.press("f")
    page.get_by_role("menuitemradio", name="ship-parcel").click()
    expect(page).to_have_url(re.compile(r"function=shop-ship-parcel"))
    expect(rows(page, "Runs")).to_have_count(1)

    page.reload()
    expect(rows(page, "Runs")).to_have_count(1)
    expect(page.get_by_role("button", name="Function ship-parcel")).to_be_visible()


def test_a_time_is_chosen_from_the_menu(server: Server, page: Page) -> None:
    order(server, "preset")
    open_list(page, of_case("preset"))

    page.keyboard.press("t")
    page.get_by_role("button", name="Last 15 minutes").click()
    expect(page).to_have_url(re.compile(r"range=15m"))
    expect(rows(page, "Runs")).to_have_count(1)

    page.keyboard.press("t")
    page.get_by_label("From").fill("2020-01-01T00:00:00")
    page.get_by_label("Until").fill("2020-01-02T00:00:00")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("heading", name="No run matches", exact=True)).to_be_visible()

    page.get_by_role("button", name="Clear the filters").click()
    expect(page).to_have_url(re.compile(r"/runs$"))


def test_dragging_over_the_chart_chooses_a_time(server: Server, page: Page) -> None:
    order(server, "dragged")
    open_list(page, of_case("dragged"))
    chart = page.get_by_role("img", name=re.compile(r"Ended runs over time: \d+ completed"))
    box = chart.bounding_box()
    assert box is not None

    # The last bars are of now, those before of a time before this test.
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 30)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 30, steps=5)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"from=.*until="))
    expect(page.get_by_role("heading", name="No run matches", exact=True)).to_be_visible()
    page.go_back()
    expect(rows(page, "Runs")).to_have_count(1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("data.token = kind-7", 'data.token = "kind-7"'),
        ("event.data.token.endsWith('-7') && event.data.total > 100", "where event.data.token.endsWith"),
        ("error: 707 is over", "error has “707 is over”"),
        ('"707 is OVER the limit"', "error has “707 is OVER the limit”"),
    ],
)
def test_a_search_says_how_it_was_understood(text: str, words: str, server: Server, page: Page) -> None:
    if not server.api("/runs", params={"where": 'event.data.token == "kind-7"'})["items"]:
        settled(server, send(server, "order.placed", token="kind-7", total=707), "failed")
    order(server, "kind")
    open_list(page, "/runs")

    search(page, text)

    expect(page.get_by_role("button", name=f"Remove: {words}")).to_be_visible()
    expect(rows(page, "Runs")).to_have_count(1)
    page.get_by_role("button", name="Remove:").click()
    expect(page).to_have_url(re.compile(r"/runs$"))


def test_an_event_is_searched_by_its_name(server: Server, page: Page) -> None:
    order(server, "named")
    parcel(server, "named", 1)
    open_list(page, "/runs")

    search(page, "parcel.packed")

    expect(page.get_by_role("button", name="Remove: event parcel.packed")).to_be_visible()
    expect(page.get_by_role("gridcell", name="order.placed")).to_have_count(0)
    expect(page.get_by_role("gridcell", name="parcel.packed").first).to_be_visible()


def test_an_id_opens_what_has_it(server: Server, page: Page) -> None:
    event_id = order(server, "id")
    [run] = server.api("/runs", params={"event_id": event_id})["items"]
    open_list(page, "/runs")

    search(page, run["id"])
    expect(page).to_have_url(re.compile(f"/runs/{run['id']}"))

    open_list(page, "/runs")
    search(page, event_id)
    expect(page).to_have_url(re.compile(f"/events/{event_id}"))

    open_list(page, "/runs")
    search(page, UNKNOWN)
    expect(page.get_by_role("alert").first).to_contain_text("No run and no event has the id")


def test_a_mistake_in_a_condition_is_shown_where_it_is(server: Server, page: Page) -> None:
    open_list(page, "/runs")

    search(page, "event.data.total > > 3")

    expect(page.get_by_role("alert").first).to_contain_text("At character 20")
    expect(page.get_by_role("textbox", name="Search")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("heading", name="This condition can't be read")).to_be_visible()


def test_selected_runs_are_cancelled(server: Server, page: Page) -> None:
    for number in range(4):
        parcel(server, "cancelled", number)
    open_list(page, of_case("cancelled"))
    page.keyboard.press("j")
    page.keyboard.press("x")
    page.keyboard.press("Shift+J")
    page.keyboard.press("Shift+J")
    expect(page.get_by_role("status").filter(has_text="3 runs selected")).to_be_visible()

    page.keyboard.press("c")
    dialog = page.get_by_role("dialog", name="Cancel 3 runs?")
    dialog.get_by_role("button", name="Cancel 3 runs").click()

    expect(
        page.get_by_role("dialog").filter(has_text="3 runs cancelled")
    ).to_be_visible()  # a notice, which goes by itself
    expect(page.get_by_role("dialog", name="Cancel")).to_have_count(0)
    for at, status in enumerate(["cancelled", "cancelled", "cancelled", "running"]):
        expect(rows(page, "Runs").nth(at)).to_contain_text(status)
    expect(page.get_by_role("toolbar")).to_have_count(0)


def test_a_run_that_can_not_be_cancelled_is_named(server: Server, page: Page) -> None:
    events = [parcel(server, "late", number) for number in range(2)]
    open_list(page, of_case("late"))
    rows(page, "Runs").first.get_by_role("checkbox").click()
    rows(page, "Runs").last.get_by_role("checkbox").click(modifiers=["Shift"])
    page.get_by_role("toolbar").get_by_role("button", name="Cancel").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Cancel 2 runs?")

    scan(server, "late", 0)
    settled(server, events[0], "completed")
    dialog.get_by_role("button", name="Cancel 2 runs").click()

    expect(dialog.get_by_role("alert")).to_contain_text("1 run could not be cancelled")
    expect(dialog.get_by_role("alert")).to_contain_text("the run has ended already: it is completed")


def test_selected_runs_are_run_again(server: Server, page: Page) -> None:
    order(server, "again")
    order(server, "again", 300)
    open_list(page, of_case("again"))
    rows(page, "Runs").first.get_by_role("checkbox").click()
    rows(page, "Runs").last.get_by_role("checkbox").click()
    page.keyboard.press("r")
    page.get_by_role("dialog").get_by_role("button", name="Rerun 2 runs").click()

    dialog = page.get_by_role("dialog", name="2 runs started again")
    expect(dialog.get_by_role("link")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)  # until then keys are its own
    expect(page.get_by_role("button", name="2 new")).to_be_visible()
    page.keyboard.press(".")
    expect(rows(page, "Runs")).to_have_count(4)


def test_the_keyboard_moves_and_opens(server: Server, page: Page) -> None:
    for _ in range(3):
        order(server, "moved")
    open_list(page, of_case("moved"))
    shown = ids(page, "Runs")

    for key in ("j", "ArrowDown", "j", "k"):
        page.keyboard.press(key)
    grid = page.get_by_role("grid", name="Runs")
    expect(grid).to_have_attribute("aria-activedescendant", f"row-{shown[1]}")
    page.keyboard.press("Enter")

    expect(page).to_have_url(re.compile(f"/runs/{shown[1]}"))


def test_a_click_opens_a_run_and_back_returns_to_the_list(server: Server, page: Page) -> None:
    order(server, "opened")
    open_list(page, of_case("opened"))
    [shown] = ids(page, "Runs")

    rows(page, "Runs").first.get_by_role("gridcell", name="order.placed").click()
    expect(page).to_have_url(re.compile(f"/runs/{shown}"))
    page.go_back()

    expect(rows(page, "Runs")).to_have_count(1)


def test_the_list_is_accessible_and_fits_a_phone(server: Server, new_page: NewPage) -> None:
    order(server, "a11y", 400)
    parcel(server, "a11y", 1)
    for scheme, width in (("light", 1440), ("dark", 380)):
        page = new_page(server.url, scheme=scheme, width=width)
        open_list(page, of_case("a11y"))
        rows(page, "Runs").first.get_by_role("checkbox").click()
        expect(page.get_by_role("toolbar")).to_be_visible()
        assert_accessible(page)
        assert_fits(page)
