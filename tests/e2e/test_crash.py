"""Everything is killed under load, on both databases: every acknowledged event and every step is accounted for.

A failed test names its seed: ``STEPWELL_SEED=17 pytest tests/e2e/test_crash.py`` plays the same troubles again, in the
same order; what they meet differs with the machine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.account import settle
from tests.e2e.chaos import TAKE_OVER_S, Kind, PostgresDatabase, SQLiteFile, World, plan_troubles, say
from tests.postgres import Postgres

ON_SQLITE: tuple[Kind, ...] = ("kill", "app", "kill", "short pause", "app", "restart", "kill")
ON_POSTGRES: tuple[Kind, ...] = ("kill", "pause", "app", "database kill", "restart", "database immediate", "kill")


@pytest.fixture
def postgres() -> Iterator[Postgres]:
    """A server of the test's own, that keeps what it committed when it is killed."""
    with Postgres(is_durable=True) as server:
        yield server


def replicas_on(postgres: Postgres, folder: Path, *, count: int) -> World:
    """Make a world of replicas, whose PostgreSQL has troubles, too."""
    database = PostgresDatabase(postgres.create_database())
    return World(folder, database, replicas=count, take_over_s=TAKE_OVER_S, postgres=postgres)


def endure(world: World, seed: int, kinds: tuple[Kind, ...], *, gap_s: float) -> None:
    """Let a world have all these troubles, and account for it."""
    chance = random.Random(seed)
    troubles = plan_troubles(chance, kinds, gap_s=gap_s)
    say(*troubles)
    with world:
        world.endure(troubles, chance)
        say(*world.incidents)
        say(settle(world))
    assert len(world.acknowledged) > len(kinds)


@pytest.mark.timeout(180)
def test_nothing_is_lost_on_sqlite(tmp_path: Path, seed: int) -> None:
    endure(World(tmp_path, SQLiteFile(tmp_path)), seed, ON_SQLITE, gap_s=1)


@pytest.mark.timeout(180)
def test_nothing_is_lost_on_postgres(tmp_path: Path, seed: int, postgres: Postgres) -> None:
    endure(replicas_on(postgres, tmp_path, count=3), seed, ON_POSTGRES, gap_s=1)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_nothing_is_lost_on_sqlite_for_minutes(tmp_path: Path, seed: int) -> None:
    endure(World(tmp_path, SQLiteFile(tmp_path)), seed, ON_SQLITE * 14, gap_s=0.7)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [2, 3])
def test_nothing_is_lost_on_postgres_for_minutes(tmp_path: Path, seed: int, postgres: Postgres, count: int) -> None:
    kinds: tuple[Kind, ...] = (*ON_POSTGRES, "short pause", "database fast", "database away", "database pause")

    endure(replicas_on(postgres, tmp_path, count=count), seed, kinds * 6, gap_s=1)
