"""The run page: what a run did, why it waits, its lines as they come, and what one can do with it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from stepwell.engine.core.trace import call_span, trace_id
from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.e2e.harness import App, Server, eventually

_ARGV = (sys.executable, "-m", "uvicorn", "tests.browser.run_app:app", "--port", "{port}", "--log-level", "warning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A development server that retries soon, with the app of ``run_app.py``."""
    folder = tmp_path_factory.mktemp("runs")
    with (
        Server(folder, "dev", "--retry-interval", "0.2") as server,
        App(folder, _ARGV, server.app_environment) as app,
    ):
        server.api("/apps/sync", method="POST", json={"url": f"{app.url}/api/stepwell"})
        yield server


def start(server: Server, name: str, **data: Any) -> str:
    """Send an event; return the id of the run that it starts."""
    [event] = server.api("/events", method="POST", json=[{"name": name, "data": data}])["events"]
    id: str = event["runs"][0]["id"]
    return id


def ended(server: Server, id: str) -> None:
    """Wait for a run's end."""
    eventually(lambda: server.api(f"/runs/{id}")["ended_at"] is not None, what=f"run {id} has ended")


def row(page: Page, name: str | re.Pattern[str]) -> Any:
    """Find a line of the waterfall."""
    return page.get_by_role("treeitem", name=name)


@pytest.fixture(scope="module")
def failed(server: Server) -> str:
    """A run that failed after three attempts."""
    id = start(server, "order.placed", prices=[12, 30], card="4242424242424242")
    ended(server, id)
    return id


def test_each_attempt_of_a_failing_step_has_its_row_with_error_and_time(page: Page, failed: str) -> None:
    page.goto(f"/runs/{failed}")

    for number in (1, 2, 3):
        attempt = row(page, f"Attempt {number}")
        expect(attempt).to_contain_text("CardError: card 4242 was declined")
        expect(attempt.get_by_role("time")).to_have_text(re.compile(r"\d\d:\d\d:\d\d\.\d{3}"))
    expect(page.get_by_role("region", name="Why")).to_contain_text("CardError: card 4242 was declined")
    assert_accessible(page)


def test_an_attempt_is_chosen_by_keys_and_stays_in_the_address(page: Page, failed: str) -> None:
    page.goto(f"/runs/{failed}")
    tree = page.get_by_role("tree", name="Steps")
    tree.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
        page.keyboard.press(key)

    details = page.get_by_role("complementary", name="Details")
    expect(row(page, "Attempt 2")).to_have_attribute("aria-selected", "true")
    expect(details).to_contain_text("TimeoutError: the bank didn't answer")
    details.get_by_role("tab", name="Facts").click()
    expect(details).to_contain_text("2 of 3")
    expect(details).to_contain_text(re.compile(r"HTTP 206, \d+ B"))
    expect(details).to_contain_text(re.compile(r"X-Request-ID: \w+"))
    details.get_by_role("tab", name="Input").click()
    expect(details.get_by_role("textbox", name="Input")).to_contain_text("4242")
    details.get_by_role("tab", name="Facts").click()
    page.reload()
    expect(details).to_contain_text("2 of 3")
    assert_accessible(page)
    page.keyboard.press("Escape")
    expect(details.get_by_role("heading", name="Run", exact=True)).to_be_visible()


def test_in_production_a_run_is_not_done_again_by_one_key(page: Page, failed: str) -> None:
    page.route("**/api/session", in_production)
    page.goto(f"/runs/{failed}")
    expect(row(page, "charge-card")).to_be_visible()

    page.keyboard.press("r")

    question = page.get_by_role("dialog", name="Run it again?")
    expect(question.get_by_role("button", name="Rerun")).to_be_focused()
    page.keyboard.press("Escape")
    expect(question).to_have_count(0)
    expect(page).to_have_url(re.compile(failed))
    page.keyboard.press("r")
    page.keyboard.press("Enter")
    expect(page).not_to_have_url(re.compile(failed))


def in_production(route: Route) -> None:
    """Let a page take its server for one in production."""
    route.fulfill(json={**route.fetch().json(), "mode": "start"})


def test_steps_are_folded_found_and_left_out(page: Page, failed: str) -> None:
    page.goto(f"/runs/{failed}")
    expect(row(page, "Attempt 1")).to_be_visible()

    page.keyboard.press("w")
    expect(row(page, "Attempt 1")).to_have_count(0)
    page.keyboard.press("e")
    expect(row(page, "Attempt 1")).to_be_visible()
    page.keyboard.press("x")
    expect(row(page, "add-up")).to_have_count(0)
    page.keyboard.press("x")
    page.keyboard.press("/")
    page.keyboard.type("add-up")
    expect(row(page, "charge-card")).to_have_count(0)
    expect(page).to_have_url(re.compile("q=add-up"))


def test_the_time_is_zoomed_by_keys_and_shown_whole_again(page: Page, failed: str) -> None:
    page.goto(f"/runs/{failed}")
    page.get_by_role("slider", name="Shown from").press("Shift+ArrowRight")

    expect(page).to_have_url(re.compile(r"from=\d+"))
    page.get_by_role("button", name="Show all of the time").click()
    expect(page).not_to_have_url(re.compile("from="))


def test_the_time_is_zoomed_by_dragging(page: Page, failed: str) -> None:
    page.goto(f"/runs/{failed}")
    strip = page.get_by_role("group", name="Time shown")
    box = strip.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 20, steps=4)
    page.mouse.up()

    expect(page).to_have_url(re.compile(r"from=\d+"))
    strip.dblclick(position={"x": box["width"] * 0.45, "y": 20})
    expect(page).not_to_have_url(re.compile("from="))


def test_lines_come_while_the_step_still_runs(page: Page, server: Server, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    id = start(server, "chat.begun", until=str(flag))
    page.goto(f"/runs/{id}")
    log = page.get_by_role("log", name="Lines")

    expect(log).to_contain_text("talking while the step runs")
    expect(page.get_by_role("region", name="Log")).not_to_contain_text("said it all")
    assert server.api(f"/runs/{id}")["ended_at"] is None
    flag.touch()
    expect(log).to_contain_text("said it all")
    expect(page.get_by_role("main")).to_contain_text("completed")
    page.get_by_role("combobox", name="Least level").select_option("error")
    expect(log).not_to_contain_text("talking while the step runs")
    log.get_by_role("button", name="talk").click()
    expect(row(page, "talk")).to_have_attribute("aria-selected", "true")


def test_a_sleep_is_skipped(page: Page, server: Server) -> None:
    id = start(server, "reminder.set")
    page.goto(f"/runs/{id}")
    row(page, "a-day").click()
    page.get_by_role("button", name="Skip this sleep").click()

    expect(page.get_by_role("main")).to_contain_text("completed")
    expect(page.get_by_role("region", name="Where the time went")).to_contain_text("sleeping")


def test_a_run_that_a_limit_holds_names_the_run_before_it(page: Page, server: Server) -> None:
    first = start(server, "import.asked")
    eventually(lambda: server.api(f"/runs/{first}")["status"] == "running", what="the first run runs")
    second = start(server, "import.asked")
    page.goto(f"/runs/{second}")
    why = page.get_by_role("region", name="Why")

    expect(why).to_contain_text("1 of 1 runs are under way")
    expect(why).to_contain_text("Goes on with the end of one of those runs")
    assert_accessible(page)
    why.get_by_role("link", name=first[-6:]).click()
    expect(page).to_have_url(re.compile(first))
    expect(why).to_contain_text(re.compile(r"sleeping until [\d:]+ \(in 59 min \d+ s\)"))
    before = why.inner_text()
    expect(why).not_to_have_text(before)  # it counts down
    page.keyboard.press("c")
    page.get_by_role("button", name="Cancel run").click()
    expect(page.get_by_role("main")).to_contain_text("cancelled")
    page.goto(f"/runs/{second}")
    expect(why).to_contain_text("sleeping until")


def test_a_wait_says_what_for(page: Page, server: Server) -> None:
    id = start(server, "invoice.sent", id=7)
    page.goto(f"/runs/{id}")

    expect(page.get_by_role("region", name="Why")).to_contain_text("invoice.paid")
    row(page, "payment").click()
    details = page.get_by_role("complementary", name="Details")
    details.get_by_role("tab", name="Facts").click()
    expect(details).to_contain_text("async.data.id == 7")
    server.api("/events", method="POST", json=[{"name": "invoice.paid", "data": {"id": 7}}])
    expect(page.get_by_role("main")).to_contain_text("completed")


def test_a_run_is_done_again(page: Page, failed: str) -> None:
    page.goto(f"/runs/{failed}")
    page.get_by_role("button", name="Rerun").click()

    expect(page).not_to_have_url(re.compile(failed))
    expect(page.get_by_role("link", name=failed)).to_be_visible()


@pytest.mark.parametrize(
    ("what", "parts"),
    [
        ("curl", ["curl -X POST", "/api/events", "order.placed"]),
        ("pytest", ["def test_shop_charge_order", '"4242424242424242"']),
        ("Markdown", ["# Run", "CardError", "TimeoutError: the bank didn't answer", "charging 4242", '"retries"']),
    ],
)
def test_a_run_is_copied(what: str, parts: list[str], page: Page, failed: str) -> None:
    page.goto(f"/runs/{failed}")
    page.get_by_role("button", name="Copy as").click()
    page.get_by_role("menuitem", name=what).click()

    expect(page.get_by_text(re.compile("copied"))).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert [part for part in parts if part not in text] == []


def test_what_a_run_came_from_and_what_came_of_it_are_linked(page: Page, server: Server) -> None:
    id = start(server, "report.asked", ms=20)
    ended(server, id)
    page.goto(f"/runs/{id}")
    details = page.get_by_role("complementary", name="Details")
    details.get_by_role("tab", name="Configuration").click()
    expect(details).to_contain_text("report.asked")
    details.get_by_role("tab", name="Family").click()

    expect(details.get_by_role("link", name="report.done")).to_be_visible()
    details.get_by_role("link", name="shop-count").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("count")
    expect(page.get_by_role("main")).to_contain_text("Invoked by")


def test_a_span_stands_under_the_attempt_that_made_it(page: Page, server: Server, failed: str) -> None:
    timeline = server.api(f"/runs/{failed}/timeline")
    attempt = next(row for row in timeline["rows"] if row["title"] == "charge-card" and row["attempt"] == 1)
    nanos = int(datetime.fromisoformat(attempt["started_at"]).timestamp() * 1000) * 1_000_000
    span = {
        "traceId": trace_id(failed),
        "parentSpanId": call_span(failed, attempt["id"]),
        "spanId": "cd" * 8,
        "name": "POST bank.example",
        "kind": 3,
        "startTimeUnixNano": str(nanos),
        "endTimeUnixNano": str(nanos + 20_000_000),
        "attributes": [{"key": "http.response.status_code", "value": {"intValue": "402"}}],
        "status": {"code": 2},
    }
    body = {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {"name": "bank"}, "spans": [span]}]}]}
    server.http.post("/v1/traces", json=body).raise_for_status()
    eventually(lambda: server.api(f"/runs/{failed}/spans")["items"], what="the span is kept")
    page.goto(f"/runs/{failed}")

    line = row(page, "POST bank.example")
    expect(line).to_have_attribute("aria-level", "3")
    line.click()
    expect(page.get_by_role("complementary", name="Details")).to_contain_text("402")


def test_a_long_run_is_soon_there_and_only_the_rows_in_view_are(page: Page, server: Server) -> None:
    id = start(server, "many.asked", steps=900)
    ended(server, id)
    page.goto(f"/runs/{id}")

    expect(row(page, "step-0")).to_be_visible()
    tree = page.get_by_role("tree", name="Steps")
    assert tree.get_by_role("treeitem").count() < 60
    tree.focus()
    page.keyboard.press("End")
    expect(row(page, "step-899")).to_be_visible()
    assert tree.get_by_role("treeitem").count() < 60


def test_a_large_event_is_fetched_only_when_asked_for(page: Page, server: Server) -> None:
    id = start(server, "large.asked", rows=1, text="x" * 2_500_000)
    ended(server, id)
    sizes: dict[str, int] = {}
    page.on("requestfinished", lambda request: sizes.update({request.url: request.sizes()["responseBodySize"]}))
    page.goto(f"/runs/{id}?tab=event")
    details = page.get_by_role("complementary", name="Details")
    expect(details).to_contain_text("This event has 2.5 MB")
    assert max(size for url, size in sizes.items() if "/api/" in url) < 50_000

    details.get_by_role("button", name="Load all").click()

    expect(details.get_by_role("textbox", name="large.asked")).to_contain_text('"text": "xxxxxxxx')
    assert max(sizes.values()) > 2_500_000


def test_a_large_output_is_fetched_only_when_asked_for(page: Page, server: Server) -> None:
    id = start(server, "large.asked", rows=70_000)
    ended(server, id)
    fetched: list[str] = []
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(f"/runs/{id}")
    row(page, "fetch-all").click()
    details = page.get_by_role("complementary", name="Details")
    expect(details).to_contain_text("MB")
    assert not any("/rows/" in url for url in fetched)

    details.get_by_role("button", name="Load all").click()
    expect(details.get_by_role("button", name="Show all")).to_be_visible()
    expect(details).to_contain_text("row 0")


def test_a_run_that_is_not_there_says_whether_it_can_have_been(page: Page) -> None:
    page.goto("/runs/01K00000000000000000000000")
    expect(page.get_by_role("heading", name="Beyond retention", exact=True)).to_be_visible()
    page.goto("/runs/nonsense")
    expect(page.get_by_role("heading", name="Not found", exact=True)).to_be_visible()


def test_on_a_phone_the_details_come_up_from_below(new_page: NewPage, server: Server, failed: str) -> None:
    page = new_page(server.url, scheme="dark", width=380, height=800)
    page.goto(f"/runs/{failed}")
    row(page, "Attempt 1").click()

    expect(page.get_by_role("complementary", name="Details")).to_contain_text("card 4242 was declined")
    assert_fits(page)
    assert_accessible(page)
