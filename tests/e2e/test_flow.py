"""Limits and waits hold while servers are killed, paused and restarted under load, on both databases.

A failed test names its seed: ``STEPWELL_SEED=17 pytest tests/e2e/test_flow.py`` plays the same troubles again.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest

from tests.e2e.chaos import TAKE_OVER_S, Kind, PostgresDatabase, SQLiteFile, World, plan_troubles, say
from tests.e2e.flow_account import KEYS, FlowLoad, event_of, settle_flow
from tests.e2e.flow_app import PAID, STARTS

ON_SQLITE: tuple[Kind, ...] = ("kill", "app", "kill")
ON_POSTGRES: tuple[Kind, ...] = ("kill", "app", "pause", "kill")
ALL: tuple[Kind, ...] = ("kill", "pause", "app", "kill", "short pause", "restart")


def endure(world: World, seed: int, kinds: tuple[Kind, ...]) -> None:
    """Let a world have all these troubles, see that everything goes on after them, and account for it."""
    chance = random.Random(seed)
    troubles = plan_troubles(chance, kinds, gap_s=1)
    say(*troubles)
    with world:
        world.storm(troubles, chance)
        world.rest()
        say(*world.incidents)
        _go_on(world)
        world.stop()
        say(settle_flow(world))


def _go_on(world: World) -> None:
    """Start one run more for each key: none is stuck."""
    names = [name for name in STARTS if name != PAID]
    numbers = itertools.count(max(world.acknowledged) + 1)
    drafts = [event_of(name, next(numbers), key) for name in names for key in KEYS]
    world.servers[0].send(*({"name": draft.name, "data": draft.data} for draft in drafts))
    world.acknowledged.update((draft.data["n"], draft.name) for draft in drafts)
    world.rest()


@pytest.mark.timeout(180)
def test_limits_and_waits_hold_on_sqlite(tmp_path: Path, seed: int) -> None:
    endure(World(tmp_path, SQLiteFile(tmp_path), load=FlowLoad()), seed, ON_SQLITE)


@pytest.mark.timeout(180)
def test_limits_and_waits_hold_on_two_replicas(tmp_path: Path, seed: int, postgres_url: str) -> None:
    world = World(tmp_path, PostgresDatabase(postgres_url), replicas=2, take_over_s=TAKE_OVER_S, load=FlowLoad())
    endure(world, seed, ON_POSTGRES)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_limits_and_waits_hold_on_sqlite_for_minutes(tmp_path: Path, seed: int) -> None:
    endure(World(tmp_path, SQLiteFile(tmp_path), load=FlowLoad()), seed, ("kill", "app", "restart") * 12)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_limits_and_waits_hold_on_two_replicas_for_minutes(tmp_path: Path, seed: int, postgres_url: str) -> None:
    world = World(tmp_path, PostgresDatabase(postgres_url), replicas=2, take_over_s=TAKE_OVER_S, load=FlowLoad())
    endure(world, seed, ALL * 6)
