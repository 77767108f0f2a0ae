"""``stepwell runs why``: a run's reasons, a line for each, with what would release it."""

from __future__ import annotations

from typing import Any

from tests.unit.cli.test_commands import ID, Stub, run
from tests.unit.cli.test_commands import api as api  # noqa: PLC0414 - a fixture

SINCE = "2026-01-01T00:00:00.000Z"
TIMER = {"kind": "timer", "text": "step 'nap': sleeps", "release": "that time", "since": SINCE}
EXPLANATION: dict[str, Any] = {
    "id": ID,
    "status": "running",
    "function": "shop-f",
    "summary": "step 'nap': sleeps",
    "since": SINCE,
    "reasons": [TIMER],
    "left_out": 0,
}


def test_each_reason_is_said_with_what_would_release_it(api: Stub) -> None:
    api.answers[f"GET /api/runs/{ID}/explain"] = EXPLANATION | {"reasons": [TIMER, TIMER], "left_out": 3}

    lines = run("runs", "why", ID, TZ="UTC").stdout.splitlines()

    assert lines == [
        "shop-f running since 2026-01-01 00:00:00",
        *["  step 'nap': sleeps", "    since 2026-01-01 00:00:00; released by that time"] * 2,
        "  and 3 more",
    ]


def test_of_an_ended_run_the_summary_is_said(api: Stub) -> None:
    ended = EXPLANATION | {"status": "completed", "summary": "its function returned", "reasons": []}
    api.answers[f"GET /api/runs/{ID}/explain"] = ended

    assert run("runs", "why", ID).stdout.splitlines()[1:] == ["  its function returned"]


def test_scripts_get_the_explanation_as_it_is(api: Stub) -> None:
    api.answers[f"GET /api/runs/{ID}/explain"] = {"anything": 1}

    assert run("runs", "why", ID, "--json").stdout == '{"anything":1}\n'
