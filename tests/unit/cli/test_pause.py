"""``stepwell functions pause`` and ``resume``."""

from __future__ import annotations

from typing import Any

import httpx2

from tests.unit.cli.test_commands import Stub, fails, run
from tests.unit.cli.test_commands import api as api  # noqa: PLC0414 - a fixture

F: dict[str, Any] = {"slug": "shop-f", "app": "shop", "version": 2, "triggers": [], "max_attempts": 5}


def paused(mode: str, runs_under_way: str) -> dict[str, Any]:
    return F | {"pause": {"since": "2026-01-01T03:00:00.000Z", "mode": mode, "runs_under_way": runs_under_way}}


def test_a_function_is_paused(api: Stub) -> None:
    api.answers["POST /api/functions/shop-f/pause"] = paused("hold", "go_on")

    text = run("functions", "pause", "shop-f", TZ="UTC").stdout

    assert text == "shop-f is paused since 2026-01-01 03:00:00: new runs wait, those under way go on\n"
    assert api.body == {"mode": "hold", "runs_under_way": "go_on"}


def test_a_function_is_stopped_and_its_runs_are_dropped(api: Stub) -> None:
    api.answers["POST /api/functions/shop-f/pause"] = paused("drop", "stop")

    text = run("functions", "pause", "shop-f", "--drop", "--stop", TZ="UTC").stdout

    assert text.endswith("new runs are skipped, those under way wait, too\n")
    assert api.body == {"mode": "drop", "runs_under_way": "stop"}


def test_a_function_goes_on(api: Stub) -> None:
    api.answers["POST /api/functions/shop-f/resume"] = F

    assert run("functions", "resume", "shop-f").stdout == "shop-f goes on\n"


def test_a_list_shows_what_is_paused(api: Stub) -> None:
    api.answers["GET /api/functions"] = {"items": [F, paused("hold", "stop") | {"slug": "shop-g"}]}

    _, f, g = run("functions", TZ="UTC").stdout.splitlines()

    assert f.rstrip().endswith("invoked only")
    assert "(paused since 2026-01-01 03:00:00: new runs wait" in g


def test_an_unknown_function_can_not_be_paused(api: Stub) -> None:
    refused = {"error": {"code": "function_not_found", "message": "there is no function 'x'"}}
    api.answers["POST /api/functions/x/pause"] = httpx2.Response(404, json=refused)

    assert "there is no function 'x'" in fails("functions", "pause", "x")
