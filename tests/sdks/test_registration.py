"""How a server learns of an app's functions, and of changes to them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import App, eventually
from tests.sdks.world import World


def test_the_server_finds_the_app_at_its_url_and_registers_what_it_has(world: World) -> None:
    functions = world.functions("shop")

    assert {"steps", "parallel", "broken", "broken-failure", "tick"} <= functions.keys()
    assert functions["steps"]["triggers"] == [
        {"event": "test/steps", "expression": None, "cron": None, "next_at": None}
    ]
    assert functions["large"]["triggers"][0]["expression"] == "event.data.amount > 100"
    assert [trigger["event"] for trigger in functions["either"]["triggers"]] == ["test/this", "test/that"]
    assert functions["flaky"]["max_attempts"] == 4
    assert functions["steps"]["max_attempts"] == 5


def test_a_schedule_is_registered_with_its_next_time(world: World) -> None:
    [trigger] = world.functions("shop")["tick"]["triggers"]

    assert trigger["cron"] == "* * * * *"
    assert datetime.datetime.fromisoformat(trigger["next_at"]).second == 0


def test_an_app_that_is_asked_registers_itself(world: World) -> None:
    response = world.app.http.put(world.sdk.path)

    assert response.status_code == 200, response.text
    # The server knew all of it already.
    assert response.json()["modified"] is False


def test_changed_functions_get_a_new_version_and_removed_ones_start_no_more(world: World) -> None:
    world.turn("first")
    world.server.api("/apps/sync", method="POST", json={"url": world.moving_url})
    before = world.functions("moving")
    assert set(before) == {"stays", "goes"}
    assert world.functions_of(world.send_one("moving/event"), count=2) == ["moving-goes", "moving-stays"]

    world.turn("second")
    synced = world.server.api("/apps/sync", method="POST", json={"url": world.moving_url})

    assert synced["is_modified"] is True
    after = world.functions("moving")
    assert set(after) == {"stays", "comes"}
    assert after["stays"]["version"] == before["stays"]["version"] + 1
    assert world.functions_of(world.send_one("moving/event"), count=2) == ["moving-comes", "moving-stays"]
    assert world.completed(world.send_one("moving/more"))["output"] == "second"


@pytest.fixture
def stranger(world: World, tmp_path: Path) -> Iterator[App]:
    """A second app of the same SDK, which has another signing key than the server once ``use_another_key`` was called."""
    app = App(tmp_path, world.sdk.argv(), world.server.app_environment, name="stranger")
    # Only so an app of ours lets anybody but the server have it registered.
    app.environment["STEPWELL_SERVE_ORIGIN"] = app.url
    yield app
    app.close()


def use_another_key(app: App) -> None:
    for name in ("STEPWELL_SIGNING_KEY", "INNGEST_SIGNING_KEY"):
        app.environment[name] = "signkey-test-" + "bad0" * 16


@pytest.mark.only_in("start")
def test_an_app_with_another_signing_key_is_refused_and_told_why(world: World, stranger: App) -> None:
    use_another_key(stranger)
    stranger.start()

    answer = stranger.http.put(world.sdk.path)
    sync = world.server.ask_api("/apps/sync", method="POST", json={"url": stranger.url + world.sdk.path})

    assert "signing key" in answer.text
    assert sync.status_code == 502
    assert "signing key" in sync.json()["error"]["message"]
    assert world.functions("shop")["steps"]["url"].startswith(world.app_url)


@pytest.mark.only_in("start")
def test_a_call_whose_signature_the_app_refuses_is_tried_again_and_names_the_key(world: World, stranger: App) -> None:
    stranger.start()
    world.server.api("/apps/sync", method="POST", json={"url": f"{stranger.url}/moving{world.sdk.path}"})
    stranger.stop()
    use_another_key(stranger)
    stranger.start()

    event = world.send_one("moving/event")

    def refused() -> list[dict[str, Any]]:
        runs = world.server.runs(event)
        assert runs
        rows = world.server.api(f"/runs/{runs[0]['run_id']}/timeline")["rows"]
        return [row for row in rows if row["status"] == "retrying"]

    assert "signing key" in eventually(refused, what="the call was refused")[0]["error"]["message"]
