"""Two replicas on one PostgreSQL: a page of one shows, live, what the other does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewPage
from tests.browser.desk import open_live
from tests.e2e.harness import App, Server
from tests.postgres import Postgres

_ARGV = (sys.executable, "-m", "uvicorn", "tests.browser.run_app:app", "--port", "{port}", "--log-level", "warning")


class Pair(NamedTuple):
    """The server that an app is registered with and sends its lines to, and another one."""

    first: Server
    other: Server


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Pair]:
    """Two replicas with the app of ``run_app.py``."""
    folder = tmp_path_factory.mktemp("pair")
    with (
        postgres.database() as url,
        Server(folder, "dev", name="first", db=url) as first,
        Server(folder, "dev", name="other", db=url) as other,
        App(folder, _ARGV, first.app_environment) as app,
    ):
        first.api("/apps/sync", method="POST", json={"url": f"{app.url}/api/stepwell"})
        yield Pair(first, other)


def test_a_run_of_the_other_replica_comes_and_ends_before_one_s_eyes(
    pair: Pair, new_page: NewPage, tmp_path: Path
) -> None:
    until = tmp_path / "until"
    page = new_page(pair.other.url)
    open_live(page, "/runs")

    [event] = pair.first.api("/events", method="POST", json=[{"name": "chat.begun", "data": {"until": str(until)}}])[
        "events"
    ]
    row = page.get_by_role("row").filter(has_text="chatter")
    expect(row).to_contain_text("running")
    page.goto(f"/runs/{event['runs'][0]['id']}")
    log = page.get_by_role("region", name="Log")
    expect(log).to_contain_text("talking while the step runs")
    until.touch()

    expect(log).to_contain_text("said it all")
    expect(page.get_by_role("main")).to_contain_text("completed")


def test_an_event_sent_at_the_other_replica_is_listed(pair: Pair, new_page: NewPage) -> None:
    page = new_page(pair.first.url)
    open_live(page, "/events")

    pair.other.send({"name": "nobody.cares", "data": {}})

    page.get_by_role("button", name="1 new").click()
    expect(page.get_by_role("row").filter(has_text="nobody.cares")).to_be_visible()
