"""The list of functions, and the page of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.desk import arrive, desk_server, open_live, type_into
from tests.e2e.harness import Server


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server on which one run of ``refuse`` has failed."""
    with desk_server(tmp_path_factory.mktemp("desk")) as server:
        arrive(server, "Ada", loud=True)
        yield server


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_list_says_how_each_function_does(desk: Server, new_page: NewPage, scheme: str) -> None:
    page = new_page(desk.url, scheme=scheme)
    open_live(page, "/functions")

    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="refuse"))
    expect(row).to_contain_text("guest.arrived")
    expect(row).to_contain_text("PermissionError: guest Ada is too loud")
    expect(row.get_by_role("img", name="failed")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="TZ=Europe/Berlin 0 22 * * *")).to_have_count(1)
    assert_accessible(page)


def test_the_list_counts_again_when_runs_end(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/functions")
    spark = page.get_by_role("row").filter(has_text="Greet a guest").get_by_role("img")
    before = int((spark.get_attribute("aria-label") or "").split()[0])

    arrive(desk, "Grace")

    expect(spark).to_have_accessible_name(f"{before + 1} runs in 24 hours, 0 failed")


def test_a_chart_without_anything_in_it_says_so(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    page.goto("/functions/desk-close-up")

    expect(page.get_by_role("region", name="Time taken")).to_contain_text("No run has completed in this time.")
    expect(page.get_by_role("region", name="Backlog over time")).to_contain_text("Nothing has waited for its turn.")


def test_search_and_order_are_in_the_address(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/functions")
    page.keyboard.press("/")
    page.keyboard.type("guest.arrived")
    expect(page.get_by_text("2 of 3")).to_be_visible()
    page.get_by_role("button", name="Failed").click()

    page.reload()

    expect(page.get_by_role("searchbox", name="Search functions")).to_have_value("guest.arrived")
    expect(page.get_by_role("columnheader", name="Failed")).to_have_attribute("aria-sort", "descending")
    expect(page.get_by_role("row").nth(1)).to_contain_text("refuse")


def test_a_page_says_the_configuration_in_words_and_groups_failures(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/functions/desk-refuse")

    failures = page.get_by_role("region", name="Failures")
    expect(failures).to_contain_text("PermissionError: guest Ada is too loud")
    configuration = page.get_by_role("region", name="Configuration", exact=True)
    expect(configuration).to_contain_text("Starts for each event guest.arrived.")
    expect(configuration).to_contain_text("What fails is not tried again.")
    configuration.get_by_role("button", name="As JSON").click()
    expect(configuration.get_by_role("textbox")).to_contain_text('"desk-refuse"')
    assert_accessible(page)
    failures.get_by_role("link").first.click()
    expect(page).to_have_url(re.compile("/runs/"))


def test_limits_and_the_next_time_are_shown(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/functions/desk-greet")
    expect(page.get_by_role("meter", name="0 of 2 steps in use")).to_be_visible()

    page.goto("/functions/desk-close-up")

    expect(page.get_by_role("region", name="Configuration", exact=True)).to_contain_text("Next time")


def test_what_waits_and_what_is_in_progress_is_drawn_against_the_limit(
    desk: Server, new_page: NewPage, tmp_path: Path
) -> None:
    door = tmp_path / "door"
    page = new_page(desk.url)
    open_live(page, "/functions/desk-greet")

    ids = desk.send(
        *({"name": "guest.arrived", "data": {"name": f"guest {number}", "door": str(door)}} for number in range(5))
    )

    backlog = page.get_by_role("region", name="Backlog over time")
    concurrency = page.get_by_role("region", name="Concurrency over time")
    expect(backlog.get_by_role("img", name="Calls that waited for their turn over time, 3 at most")).to_be_visible()
    drawn = concurrency.get_by_role("img", name="Steps in progress over time, 2 at most, limit: 2 steps")
    expect(drawn).to_be_visible()
    expect(concurrency.get_by_text("limit: 2 steps", exact=True)).to_be_visible()
    box = drawn.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 10, box["y"] + 40)
    expect(concurrency.get_by_text("2 steps", exact=True)).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert_accessible(page)
    page.set_viewport_size({"width": 380, "height": 800})
    assert_fits(page)
    door.touch()
    for id in ids:
        desk.ended_runs(id, 2)


def test_where_nothing_has_waited_the_charts_say_so(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/functions/desk-close-up")

    expect(page.get_by_role("region", name="Backlog over time")).to_contain_text("Nothing has waited for its turn.")
    expect(page.get_by_role("region", name="Concurrency over time")).to_contain_text("Nothing was seen in progress.")
    assert_accessible(page)


def test_pause_asks_what_becomes_of_runs_and_resume_lets_it_go_on(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/functions/desk-close-up")
    page.keyboard.press("p")
    dialog = page.get_by_role("dialog", name="Pause close-up?")
    dialog.get_by_role("radio", name="are skipped for good").check()
    assert_accessible(page)
    dialog.get_by_role("button", name="Pause").click()

    expect(page.get_by_role("heading", name="close-up", exact=True)).to_be_visible()
    expect(page.get_by_title("New runs are skipped; those under way go on.")).to_be_visible()
    assert desk.api("/functions/desk-close-up")["pause"]["mode"] == "drop"

    page.get_by_role("button", name="Resume").click()
    page.get_by_role("dialog").get_by_role("button", name="Resume").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert desk.api("/functions/desk-close-up")["pause"] is None


def test_invoke_begins_with_the_latest_event_and_leads_to_the_run(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    open_live(page, "/functions/desk-greet")
    page.keyboard.press("i")
    editor = page.get_by_role("textbox", name="Data")
    expect(editor).to_contain_text('"name"')
    type_into(page, "Data", '{"name": }')
    page.keyboard.press("ControlOrMeta+Enter")
    expect(page.get_by_role("alert")).to_contain_text("line 1, column 10: a value is expected")

    type_into(page, "Data", '{"name": "Edsger"}')
    page.keyboard.press("ControlOrMeta+Enter")

    expect(page).to_have_url(re.compile("/runs/"))
    [run] = [run for run in desk.api("/runs", params={"function": "desk-greet"})["items"] if run["id"] in page.url]
    assert run["event_name"] == "inngest/function.invoked"


def test_a_function_that_is_none_says_so(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url)
    page.goto("/functions/nobody")

    expect(page.get_by_role("alert")).to_contain_text("there is no function 'nobody'")


def test_both_pages_fit_a_phone(desk: Server, new_page: NewPage) -> None:
    page = new_page(desk.url, width=380, height=800)
    for path in ("/functions", "/functions/desk-greet"):
        open_live(page, path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert_fits(page)
