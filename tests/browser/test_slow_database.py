"""A database that doesn't answer in time: what lists say then, and the ways out. It waits for a lock that a test has."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress

import pytest
from playwright.sync_api import Page, expect

from stepwell.limits import READ_S_MAX
from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.browser.shop import open_list, order, rows, search, shop_server
from tests.e2e.harness import Server, eventually
from tests.postgres import Postgres

LATE_MS = READ_S_MAX * 1000 + 10_000


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as url:
        yield url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, database: str) -> Iterator[Server]:
    with shop_server(tmp_path_factory.mktemp("shop"), database) as server:
        order(server, "slow")
        order(server, "other")
        yield server


@contextmanager
def locked(postgres: Postgres, url: str) -> Generator[None]:
    """Nobody can read events meanwhile."""
    lock = "lock table stepwell.event in access exclusive mode"
    of_lock = f"from pg_stat_activity where query like '{lock}%'"

    def hold() -> None:
        with suppress(AssertionError):  # psql says that it was ended
            postgres.psql(f"{lock}; select pg_sleep(50)", url)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        eventually(
            lambda: postgres.psql(f"select 1 {of_lock} and wait_event = 'PgSleep'", url), what="the table is locked"
        )
        yield
    finally:
        postgres.psql(f"select pg_terminate_backend(pid) {of_lock}", url)
        thread.join()


def assert_late(page: Page) -> None:
    """The page says that it took too long, and what one can do."""
    said = page.get_by_role("alert").filter(has_text="This took too long")
    expect(said).to_be_visible(timeout=LATE_MS)
    expect(said).to_contain_text(f"longer than {READ_S_MAX:g} s: narrow the time range")
    for name in ("Only the last 24 hours", "Clear the filters", "Try again"):
        expect(said.get_by_role("button", name=name)).to_be_visible()
    assert_accessible(page)


@pytest.mark.parametrize(("path", "label"), [("/runs", "Runs"), ("/events", "Events")])
def test_a_search_that_takes_too_long_says_so_and_can_be_tried_again(
    path: str, label: str, server: Server, database: str, postgres: Postgres, page: Page
) -> None:
    open_list(page, path)
    expect(rows(page, label)).to_have_count(2)

    with locked(postgres, database):
        search(page, "data.case = slow")
        assert_late(page)
    page.get_by_role("button", name="Try again").click()

    expect(rows(page, label)).to_have_count(1)
    expect(page.get_by_text("This took too long")).to_have_count(0)


def test_the_ways_out_lead_to_a_list(server: Server, database: str, postgres: Postgres, new_page: NewPage) -> None:
    page = new_page(server.url, scheme="dark", width=380, height=800)
    with locked(postgres, database):
        page.goto("/runs?q=data.case+%3D+slow")
        assert_late(page)
        assert_fits(page)
    page.get_by_role("button", name="Only the last 24 hours").click()
    expect(page).to_have_url("/runs?q=data.case+%3D+slow&range=24h")
    expect(rows(page, "Runs")).to_have_count(1)

    with locked(postgres, database):
        page.goto("/events?q=data.case+%3D+slow")
        assert_late(page)
    page.get_by_role("button", name="Clear the filters").click()
    expect(rows(page, "Events")).to_have_count(2)
