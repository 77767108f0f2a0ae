"""The example of waits and flow control: its demo, and what would make it fail."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from examples.trial.account import FILES, PAGES, TEAMS, THEMES, World, check, read_journal

ROOT = Path(__file__).parents[2]


def test_the_demo_ends_well_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}

    done = subprocess.run(
        [sys.executable, "-m", "examples.trial.demo"],
        check=False,
        cwd=ROOT,
        env=environ,
        capture_output=True,
        encoding="utf-8",
        timeout=55,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("✓") == 10  # two processes, eight claims
    assert list(tmp_path.iterdir()) == []


def good_world() -> World:
    journal: list[Mapping[str, Any]] = [{"what": "settings", "team": "ada", "theme": THEMES[-1]}]
    for team in TEAMS:
        journal.append({"what": "workspace", "team": team.name})
        journal += [{"what": "mail", "team": team.name, "kind": kind} for kind in team.mails]
    for team, count in FILES.items():
        journal += [{"what": "file", "team": team, "file": f"{n}.csv", "at_work": 1 + n % 2} for n in range(count)]
    journal += [{"what": "index", "team": team, "pages": list(range(count))} for team, count in PAGES.items()]
    return World(journal, {team.name: team.outcome for team in TEAMS}, {"index-pages": 4})


def claims_that_fail(world: World) -> list[str]:
    return [one.claim for one in check(world) if one.problems]


def test_a_world_in_which_all_is_well_passes() -> None:
    assert claims_that_fail(good_world()) == []


def without(**fields: Any) -> Callable[[World], World]:
    """Leave out a line of the journal."""

    def spoil(world: World) -> World:
        place = next(n for n, line in enumerate(world.journal) if fields.items() <= line.items())
        return replace(world, journal=[*world.journal[:place], *world.journal[place + 1 :]])

    return spoil


def with_line(**fields: Any) -> Callable[[World], World]:
    """Add a line to the journal."""
    return lambda world: replace(world, journal=[*world.journal, fields])


def three_at_once(world: World) -> World:
    return replace(
        world, journal=[{**line, "at_work": 3} if line["what"] == "file" else line for line in world.journal]
    )


def not_cancelled(world: World) -> World:
    return replace(world, outcomes={**world.outcomes, "cyd": "left"})


def a_run_a_page(world: World) -> World:
    return replace(world, run_counts={"index-pages": sum(PAGES.values())})


@pytest.mark.parametrize(
    ("spoil", "claim"),
    [
        (without(kind="help"), "every team got the mails for what it did"),
        (with_line(what="mail", team="dee", kind="help"), "every team got the mails for what it did"),
        (not_cancelled, "every trial ended as it should"),
        (with_line(what="workspace", team="ada"), "every team has one workspace"),
        (without(what="file"), "every file was imported once"),
        (three_at_once, "never more than 2 files of a team at a time"),
        (with_line(what="index", team="dee", pages=[0]), "every page was indexed once"),
        (a_run_a_page, "57 pages took 4 runs"),
        (
            with_line(what="settings", team="ada", theme=THEMES[0]),
            "of all changes of its settings, a team's last was applied",
        ),
    ],
)
def test_one_thing_that_is_wrong_fails_one_claim(spoil: Callable[[World], World], claim: str) -> None:
    assert claims_that_fail(spoil(good_world())) == [claim]


def test_a_line_that_came_again_counts_once(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"what": "mail", "key": "a"}\n{"what": "mail", "key": "a"}\n{"what": "mail", "key": "b"}\n')

    assert len(read_journal(journal)) == 2
