"""The end of the demo on the screen: what happened, in numbers, and whether it is what should have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from examples.onboarding.account import DIGEST, ON_SIGN_UP, USER_MAILS, Check, World, total
from examples.onboarding.screen import Screen

PROBLEMS_SHOWN = 5


def summarise(screen: Screen, world: World) -> None:
    """Show the numbers."""
    rows: list[tuple[str, *tuple[int, ...]]] = []
    for function in (*ON_SIGN_UP, DIGEST):
        runs = [run for run in world.runs if run.function == function and run.status != "skipped"]
        completed = sum(run.status == "completed" for run in runs)
        calls = sum(run.outcomes.total() for run in runs)
        name = function.removeprefix("acme-")
        rows.append((name, completed, len(runs) - completed, calls, total(runs, "retrying"), total(runs, "lost")))
    screen.table(["runs", "completed", "other", "attempts", "failed", "lost"], rows)
    screen.note("Failed attempts were made again later, those lost in the crash at once.")
    kinds = [*USER_MAILS, "digest"]
    delivered, repeats = world.sink.delivered, Counter(mail.kind for mail in world.sink.repeats)
    screen.table(
        ["mails", *kinds],
        [
            ("once in a mailbox", *(delivered[kind] for kind in kinds)),
            ("repeats dropped", *(repeats[kind] for kind in kinds)),
        ],
    )
    crm = world.crm
    screen.table(
        ["CRM", "calls", "answered 503", "after writing", "contacts"],
        [("create a contact", crm.calls.total(), crm.failures, crm.failures_after_write, len(crm.contacts))],
    )


def report(screen: Screen, checks: Sequence[Check]) -> bool:
    """Show which claims hold; return whether all do."""
    screen.title("Checked")
    for check in checks:
        if not check.problems:
            screen.line("✓", check.claim)
            continue
        screen.line("✗", f"not so: {check.claim}", style="red")
        for problem in check.problems[:PROBLEMS_SHOWN]:
            screen.line(" ", problem)
        if len(check.problems) > PROBLEMS_SHOWN:
            screen.line(" ", f"… and {len(check.problems) - PROBLEMS_SHOWN} more")
    return not any(check.problems for check in checks)
