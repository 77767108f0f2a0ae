"""Calls that go on after a step (protocol 7), by the SDKs that make checkpoints."""

from __future__ import annotations

from typing import Any, Final

from tests.sdks.world import World

CHECKPOINTING: Final = {"stepwell-asgi", "stepwell-wsgi", "typescript4"}


def rows(world: World, run: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the last call of a run that has ended, and its steps."""
    found = world.server.api(f"/runs/{run['run_id']}/timeline")["rows"]
    return [row for row in found if row["title"] is None][-1], [row for row in found if row["title"] is not None]


def test_steps_in_a_row_are_one_call(world: World) -> None:
    run = world.completed(world.send_one("test/steps"))

    last, steps = rows(world, run)

    assert sorted(row["title"] for row in steps) == ["a", "again", "again", "b"]
    assert all(row["status"] == "completed" for row in [last, *steps])
    # The call that the run ended with began before its first step, or else after its last.
    began_before = [last["started_at"] <= row["started_at"] for row in steps]
    assert set(began_before) == {world.sdk.name in CHECKPOINTING}
