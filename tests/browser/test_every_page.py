"""Every page of the dashboard: it opens without an error, is accessible, and fits a phone."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewPage, assert_accessible, assert_fits
from tests.e2e.harness import Server

PAGES = ["/runs", "/events", "/functions", "/logs", "/send", "/welcome", "/runs/01K00000000000000000000000"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGES)
def test_a_page_opens(path: str, scheme: str, server: Server, new_page: NewPage) -> None:
    page = new_page(server.url, scheme=scheme)
    page.goto(path)

    expect(page.get_by_role("main")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    expect(page.get_by_role("status", name="Loading")).to_have_count(0)
    assert_accessible(page)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_fits_a_phone(path: str, server: Server, new_page: NewPage) -> None:
    page = new_page(server.url, width=380, height=800)
    page.goto(path)

    expect(page.get_by_role("heading", level=1)).to_have_count(1)
    assert_fits(page)
