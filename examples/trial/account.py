"""Takes stock at the end: what the journal and the server say, against what each team did."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from examples.onboarding.account import Check
from examples.trial.app import FILES_AT_A_TIME, PAGES_IN_A_BATCH

Line: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Team:
    """What a team does, on which day of its trial, and what comes of it."""

    name: str
    project_on: int | None
    buys_on: int | None
    is_deleted_on: int | None
    outcome: str
    """What its run returns, or its status, if it returns nothing."""
    mails: tuple[str, ...]


TEAMS = (
    Team("ada", 1, 5, None, "bought pro", ("welcome", "thanks")),
    Team("bob", None, None, None, "left", ("welcome", "help", "farewell")),
    Team("cyd", None, None, 2, "cancelled", ("welcome",)),
    Team("dee", 0, None, None, "left", ("welcome", "farewell")),  # before its run waits for it, mostly
)
FILES = {"ada": 24, "bob": 3, "dee": 3}
PAGES = {"ada": 50, "dee": 7}
THEMES = ("light", "dark", "blue", "green")


@dataclass(frozen=True)
class World:
    """All that is known at the end."""

    journal: Sequence[Line]
    """What steps have done."""
    outcomes: Mapping[str, str]
    """What came of each team's trial, as the server says."""
    run_counts: Mapping[str, int]
    """How many runs of each function have completed."""


def read_journal(path: Path) -> list[Line]:
    """Read what steps have done; a line that came again, after a lost answer, counts once."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    return list({line["key"]: line for line in lines}.values())


def check(world: World) -> list[Check]:
    """Compare what should be with what is."""
    mails = Counter((line["team"], line["kind"]) for line in _of(world, "mail"))
    files, pages = _of(world, "file"), _of(world, "index")
    batches = sum(-(-count // PAGES_IN_A_BATCH) for count in PAGES.values())
    return [
        _same("every team got the mails for what it did", mails, Counter((t.name, k) for t in TEAMS for k in t.mails)),
        _same("every trial ended as it should", world.outcomes, {team.name: team.outcome for team in TEAMS}),
        _same(
            "every team has one workspace",
            Counter(line["team"] for line in _of(world, "workspace")),
            Counter(team.name for team in TEAMS),
        ),
        _same(
            "every file was imported once",
            Counter((line["team"], line["file"]) for line in files),
            Counter((team, f"{number}.csv") for team, count in FILES.items() for number in range(count)),
        ),
        Check(
            f"never more than {FILES_AT_A_TIME} files of a team at a time",
            [f"{line['at_work']} of {line['team']}" for line in files if line["at_work"] > FILES_AT_A_TIME],
        ),
        _same(
            "every page was indexed once",
            Counter((line["team"], page) for line in pages for page in line["pages"]),
            Counter((team, number) for team, count in PAGES.items() for number in range(count)),
        ),
        _same(f"{sum(PAGES.values())} pages took {batches} runs", world.run_counts.get("index-pages", 0), batches),
        _same(
            "of all changes of its settings, a team's last was applied",
            [(line["team"], line["theme"]) for line in _of(world, "settings")],
            [("ada", THEMES[-1])],
        ),
    ]


def _of(world: World, what: str) -> list[Line]:
    return [line for line in world.journal if line["what"] == what]


def _same(claim: str, found: object, expected: object) -> Check:
    return Check(claim, [] if found == expected else [f"{found}, not {expected}"])
