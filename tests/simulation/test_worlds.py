"""The promises of the design (section 4) hold in every world. A failing seed prints how to replay it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.simulation.faults import Faults
from tests.simulation.world import World

SEEDS_A_TEST = 10


def play(seeds: range, folder: Path) -> None:
    for seed in seeds:
        world = World(seed, folder)
        world.play()
        world.path.unlink()


@pytest.mark.parametrize("first", range(0, 200, SEEDS_A_TEST))
def test_the_promises_hold(first: int, tmp_path: Path) -> None:
    play(range(first, first + SEEDS_A_TEST), tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("first", range(1_000, 6_000, 100))
def test_the_promises_hold_in_many_more_worlds(first: int, tmp_path: Path) -> None:
    play(range(first, first + 100), tmp_path)


@pytest.mark.parametrize("seed", range(5))
def test_without_faults_nothing_runs_twice(seed: int, tmp_path: Path) -> None:
    """Each step runs once for each attempt that its own code makes necessary, and again where a replica was stopped."""
    world = World(seed, tmp_path, faults=Faults())

    world.play()

    attempts = [
        (execution.run_id, execution.step, execution.attempt)
        for execution in world.app.ledger.executions
        if execution.caller not in world.promises._abandoned
    ]
    assert len(attempts) == len(set(attempts))


def test_what_may_go_wrong_does_go_wrong(tmp_path: Path) -> None:
    """Else the promises would be kept because nothing happens."""
    told: set[str] = set()
    quieter = replace(Faults.often(), crash_before_commit=0.0, crash_after_commit=0.0, pause_after_commit=0.0)
    commits = Faults(crash_before_commit=0.02, crash_after_commit=0.02)
    for seed in range(9):  # work may be lost only so often in each
        faults = commits if seed == 0 else Faults.often() if seed < 3 else quieter
        world = World(seed, tmp_path, faults=faults, replicas=3)
        world.play()
        told |= {" ".join(line.split()[1:]) for line in world.story}

    for what in (
        "crash before a commit",
        "crash after a commit",
        "crash out of the blue",
        "pause",
        "resume",
        "stopped",
        "gone",
        "an answer is lost",
        "a commit is done again",
        "the connection breaks in a commit",
        "the database is down",
        "the database is slow",
        "the database's clock is set",
        "the clock is set",
        "news is lost",
        "cancel",
        "rerun",
        "sync",
        "signal",
        "checkpoint",
        "function paused",
    ):
        assert any(line.startswith(what) for line in told), what


@pytest.mark.parametrize("seed", [8, 9])
def test_the_same_seed_gives_the_same_world(seed: int, tmp_path: Path) -> None:
    """In another process, too, where hashes are others: else a failing seed could not be replayed."""
    stories: list[list[str]] = []
    for number in range(2):
        world = World(seed, tmp_path / str(number))
        world.path.parent.mkdir()
        world.play()
        stories.append(world.story)
    env = {**os.environ, "PYTHONHASHSEED": "12345"}
    told = subprocess.run(
        [sys.executable, "-m", "tests.simulation", str(seed)],
        env=env,
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    ).stdout.splitlines()

    assert stories[0] == stories[1]
    assert told[1:-1] == stories[0]
    assert any("crash" in line for line in stories[0])
