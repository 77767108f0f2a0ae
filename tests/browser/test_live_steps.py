"""A step is seen on the run's page while it runs, though its call reports it only when it is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import assert_accessible
from tests.browser.test_run_page import row, server, start
from tests.e2e.harness import Server

__all__ = ["server"]


def row_ids(server: Server, id: str) -> list[str]:
    return [row["id"] for row in server.api(f"/runs/{id}/timeline")["rows"]]


@pytest.mark.parametrize("event", ["way.begun", "plain-way.begun"])
def test_a_long_step_has_its_row_from_its_start_to_its_end(
    event: str, page: Page, server: Server, tmp_path: Path
) -> None:
    flag = tmp_path / "flag"
    id = start(server, event, until=str(flag))
    page.goto(f"/runs/{id}")
    walk = row(page, re.compile("walk"))

    expect(walk).to_be_visible()
    expect(walk.get_by_role("img", name="running")).to_be_visible()
    expect(page.get_by_role("region", name="Why")).to_contain_text(
        re.compile(r"step 'walk' has been running since [\d:]+ \(for [\d.]+ m?s\)")
    )
    walk.click()
    details = page.get_by_role("complementary", name="Details")
    expect(details.get_by_role("heading", name="walk")).to_be_visible()
    details.get_by_role("tab", name="Input").click()
    expect(details).to_contain_text(str(flag))
    details.get_by_role("tab", name=re.compile("Logs")).click()
    expect(details).to_contain_text("talking while the step runs")
    assert server.api(f"/runs/{id}")["ended_at"] is None
    assert_accessible(page)
    during = row_ids(server, id)

    flag.touch()

    expect(page.get_by_role("main")).to_contain_text("completed")
    expect(walk).to_have_count(1)
    expect(walk.get_by_role("img", name="running")).to_have_count(0)
    expect(walk).to_have_attribute("aria-selected", "true")
    expect(details).to_contain_text("talking while the step runs")
    assert row_ids(server, id)[: len(during)] == during
