"""Takes stock at the end of the demo: what the server says of each run, against what the world outside has seen."""

from __future__ import annotations

import asyncio
import datetime
import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx2

from examples.onboarding.fake_crm import FakeCrm
from examples.onboarding.mail_sink import MailSink

ON_SIGN_UP = ("acme-welcome-email", "acme-sync-to-crm", "acme-count-signup", "acme-onboarding-sequence")
DIGEST = "acme-nightly-digest"
USER_MAILS = ("welcome", "day-1", "day-3")
PAGE_ROWS = 100
PARALLEL = 8


@dataclass(frozen=True)
class RunAccount:
    """What the server has recorded of one run."""

    function: str
    status: str
    duration: datetime.timedelta
    outcomes: Counter[str]
    """How many attempts ended how: completed, retrying, failed, or lost in a crash."""


@dataclass(frozen=True)
class Check:
    """A claim about the demo, and what is wrong if it doesn't hold."""

    claim: str
    problems: Sequence[str]


@dataclass(frozen=True)
class World:
    """All that is known at the end."""

    emails: Sequence[str]
    """Of those who signed up."""
    ids: Sequence[int]
    """Theirs, too."""
    runs: Sequence[RunAccount]
    sink: MailSink
    crm: FakeCrm
    counted: Sequence[int]
    """The ids of the users in the app's statistics."""
    nights: int


async def read_runs(api: httpx2.AsyncClient) -> list[RunAccount]:
    """Read all runs with their timelines."""
    summaries: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await api.get("/api/runs", params={"limit": PAGE_ROWS, **cursor})).raise_for_status().json()
        summaries += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    slots = asyncio.Semaphore(PARALLEL)

    async def read(summary: dict[str, Any]) -> RunAccount:
        rows: list[dict[str, Any]] = []
        if summary["status"] != "skipped":
            async with slots:
                rows = (await api.get(f"/api/runs/{summary['id']}/timeline")).raise_for_status().json()["rows"]
        return RunAccount(
            function=summary["function"],
            status=summary["status"],
            duration=_instant(summary["ended_at"] or summary["queued_at"]) - _instant(summary["queued_at"]),
            outcomes=Counter(row["status"] for row in rows if row["kind"] == "attempt"),
        )

    return await asyncio.gather(*map(read, summaries))


async def next_digest(api: httpx2.AsyncClient) -> datetime.date:
    """Ask when the digest is due next; return the day in Berlin."""
    function = (await api.get(f"/api/functions/{DIGEST}")).raise_for_status().json()
    return _instant(function["triggers"][0]["next_at"]).astimezone(ZoneInfo("Europe/Berlin")).date()


def read_counted(db: Path) -> list[int]:
    """Read whom the app has counted."""
    with closing(sqlite3.connect(db)) as connection:
        return [id for (id,) in connection.execute("select user_id from signup")]


def check(world: World) -> list[Check]:
    """Compare what should be with what is."""
    mails = Counter((mail.kind, mail.to) for mail in world.sink.mails.values())
    checks = [
        _once(
            f"every user got the {kind} mail once", world.emails, {to: n for (k, to), n in mails.items() if k == kind}
        )
        for kind in USER_MAILS
    ]
    subjects = [mail.subject for mail in world.sink.mails.values() if mail.kind == "digest"]
    return [
        *checks,
        _once("every user is in the CRM once", world.emails, Counter(world.crm.contacts.values())),
        _once("every user was counted once", [*map(str, world.ids)], Counter(map(str, world.counted))),
        Check(
            f"one digest for each of {world.nights} nights",
            [] if len(subjects) == len(set(subjects)) == world.nights else [f"the digests are {subjects}"],
        ),
        Check("every run has ended well, one for each user and function", _run_problems(world)),
        Check("every sequence took three days by its own clock", _sequence_problems(world)),
        Check("no step ran twice, but where the crash cut off its answer", _repeat_problems(world)),
    ]


def total(runs: Sequence[RunAccount], outcome: str) -> int:
    """Count the attempts that ended in one way."""
    return sum(run.outcomes[outcome] for run in runs)


def _once(claim: str, expected: Sequence[str], found: dict[str, int]) -> Check:
    problems = [f"{name}: {found.get(name, 0)} times" for name in expected if found.get(name, 0) != 1]
    problems += [f"{name}: nobody knows why" for name in found if name not in set(expected)]
    return Check(claim, problems)


def _run_problems(world: World) -> list[str]:
    statuses = Counter((run.function, run.status) for run in world.runs if run.status != "skipped")
    expected = Counter({(function, "completed"): len(world.ids) for function in ON_SIGN_UP})
    expected[DIGEST, "completed"] = world.nights
    return [
        f"{function}: {statuses[function, status]} {status}, not {expected[function, status]}"
        for function, status in sorted(statuses.keys() | expected.keys())
        if statuses[function, status] != expected[function, status]
    ]


def _sequence_problems(world: World) -> list[str]:
    three_days, slack = datetime.timedelta(days=3), datetime.timedelta(minutes=10)
    took = [run.duration for run in world.runs if run.function == ON_SIGN_UP[-1] and run.status == "completed"]
    return [f"one took {duration}" for duration in took if not three_days <= duration <= three_days + slack]


def _repeat_problems(world: World) -> list[str]:
    """Each effect that came again needs an attempt that was lost, and each retry a failure of the CRM."""
    problems: list[str] = []
    lost, retried = total(world.runs, "lost"), total(world.runs, "retrying")
    mail_count, crm_count = len(world.sink.repeats), world.crm.repeats - world.crm.failures_after_write
    if mail_count + crm_count > lost:
        problems.append(f"{mail_count} mails and {crm_count} contacts came again, but only {lost} attempts were lost")
    if not retried <= world.crm.failures <= retried + lost:
        problems.append(f"the CRM failed {world.crm.failures} times, but there were {retried} retries")
    return problems


def _instant(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
