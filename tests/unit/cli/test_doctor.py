"""``stepwell doctor``: what was looked at, what was found, and a status for scripts."""

from __future__ import annotations

from typing import Any

from tests.unit.cli.test_commands import Stub, fails, run
from tests.unit.cli.test_commands import api as api  # noqa: PLC0414 - a fixture

HEALTHY: dict[str, Any] = {
    "is_healthy": True,
    "started_at": "2026-01-01T03:00:00.000Z",
    "ended_at": "2026-01-01T03:00:00.000Z",
    "is_whole": True,
    "checked": {"runs": 1200, "jobs": 1300},
    "findings": [{"fault": "expired_wait", "is_fault": False, "found": 3, "mended": 3, "examples": ["R1 c"]}],
}
STUCK = {"fault": "stuck_run", "is_fault": True, "found": 2, "mended": 1, "examples": ["R1", "R2"]}


def test_a_healthy_system_is_checked_now(api: Stub) -> None:
    api.answers["POST /api/doctor"] = HEALTHY

    done = run("doctor", TZ="UTC")

    assert done.stdout.splitlines() == [
        "checked at 2026-01-01 03:00:00: 1,200 runs, 1,300 jobs",
        "  3 expired wait, 3 mended",
        "every promise is kept",
    ]
    assert done.exit_code == 0


def test_what_was_broken_is_named_and_is_a_failure(api: Stub) -> None:
    api.answers["POST /api/doctor"] = HEALTHY | {"is_healthy": False, "findings": [STUCK]}

    done = run("doctor")

    assert "  2 stuck run, 1 mended: R1, R2" in done.stdout.splitlines()
    assert done.exit_code == 1


def test_what_was_found_last_is_shown(api: Stub) -> None:
    api.answers["GET /api/doctor"] = {"latest": HEALTHY | {"is_whole": False}}

    assert run("doctor", "--latest").stdout.splitlines()[0].endswith("; the rest is next")


def test_nothing_may_have_been_checked_yet(api: Stub) -> None:
    api.answers["GET /api/doctor"] = {"latest": None}

    assert "nothing was checked yet" in fails("doctor", "--latest")


def test_scripts_get_the_diagnosis_as_it_is(api: Stub) -> None:
    api.answers["POST /api/doctor"] = {"anything": 1}

    assert run("doctor", "--json").stdout == '{"anything":1}\n'
