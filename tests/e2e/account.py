"""The account after the kill tests: what was promised, held against the database and the app's own journal.

- Each event that was acknowledged is there once, with one run of each function that it matches, and each run has ended.
- Each step of a run is recorded once. Its result is that of the execution whose attempt is recorded with it, it is what
  the run's output has, and no handler was ever told another.
- A step's body that began once more did so because of something: its own failure, or an incident that hit the app or
  the replica that made the call, while the call was under way. Its attempt is kept as one that didn't count.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from tests.e2e.chaos import TAKE_OVER_S, Incident, Row, World
from tests.e2e.chaos_app import EVENTS, FAILING, SLEEPS, STEPS
from tests.e2e.journal import Answered, Began, Ended, Saw

UNDER_WAY_S: Final = 3.0
"""How long a call or its answer may be under way between app and disk, on a machine under load: a call that was sent
before a kill may begin after it, and a result may be there a little before it and yet not on disk."""

SILENT_S_MIN: Final = TAKE_OVER_S * 3 / 5
"""A replica that is paused for less is not yet dead to the others: it beats every fifth of the take-over time."""

OWN_FAILURE: Final = "its own failure"


@dataclass
class Account:
    """What was found; made by ``settle``, which fails where a promise was broken."""

    events: int = 0
    runs: int = 0
    steps: int = 0
    executions: int = 0
    again: Counter[str] = field(default_factory=Counter[str])
    """The executions that were followed by another of the same step, by what explains that."""

    def __str__(self) -> str:
        causes = ", ".join(f"{count} after {cause}" for cause, count in sorted(self.again.items())) or "none"
        return (
            f"{self.events} events, {self.runs} runs, {self.steps} steps;"
            f" {self.executions} bodies began, of them again: {causes}"
        )


class Noted(NamedTuple):
    """What an app has noted, by execution; and what handlers saw, by run and step."""

    began: dict[str, Began]
    ended: dict[str, Ended]
    saw: dict[tuple[str, str], set[str]]
    call_at: dict[tuple[str, str], float]
    """When the first body of a call began, by run and attempt."""
    answered_at: dict[tuple[str, str], float]
    """When the call was answered."""

    def cause(self, execution: Began, incidents: Sequence[Incident]) -> str | None:
        """Return what made a step's body begin again; None when there is nothing."""
        call = (execution.run, execution.attempt)
        end = self.ended.get(execution.execution)
        if end is not None and end.is_failed:
            return OWN_FAILURE
        return _cause(execution, self.call_at[call], self.answered_at.get(call, float("inf")), incidents)


class Expected(NamedTuple):
    """The steps of an app's functions."""

    steps: Mapping[str, Sequence[str]]
    """Their names, by function."""
    bodiless: Set[str]
    """The names of those that run nothing in the app."""
    failing: Set[str] = frozenset()
    """The functions that fail."""


def settle(world: World) -> Account:
    """Account for everything that a world has been through."""
    account = Account()
    functions = _check_events(world, account)
    settle_steps(world, account, functions, read_notes(world), Expected(STEPS, SLEEPS, FAILING))
    assert world.database.rows("select run_id, id from job") == []
    return account


def read_notes(world: World) -> Noted:
    """Read what the app has noted."""
    noted = Noted({}, {}, defaultdict(set), {}, {})
    for entry in world.journal.read():
        match entry:
            case Began():
                noted.began[entry.execution] = entry
                call = (entry.run, entry.attempt)
                noted.call_at[call] = min(noted.call_at.get(call, entry.at), entry.at)
            case Answered():
                noted.answered_at[entry.run, entry.attempt] = entry.at
            case Ended():
                noted.ended[entry.execution] = entry
            case Saw():
                noted.saw[entry.run, entry.step].add(entry.value)
            case _:
                pass
    return noted


def settle_steps(
    world: World, account: Account, functions: Mapping[str, tuple[str, Row]], noted: Noted, expected: Expected
) -> None:
    """Account for each step of each run, and each execution of its body. ``functions`` are those of the runs."""
    steps = world.database.rows("select run_id, title, memo, attempt_id from step order by run_id, position, id")
    _check_steps(functions, steps, noted, expected)
    account.steps, account.executions = len(steps), len(noted.began)
    _explain(world, account, steps, noted, expected)


def _check_events(world: World, account: Account) -> dict[str, tuple[str, Row]]:
    """Check that events have their runs, and these an end; return each run's function, and its row."""
    names: dict[int, str] = {}
    for name, body in world.database.rows("select name, body from event where is_internal = 0"):
        number = json.loads(body)["data"]["n"]
        assert number not in names, f"event {number} is there twice"
        names[number] = name
    assert names == world.acknowledged  # senders don't give up
    found: dict[int, list[str]] = defaultdict(list)
    functions: dict[str, tuple[str, Row]] = {}
    for row in world.database.rows(
        "select run.id, function.slug, run.status, event.body, run.output from run"
        " join event on event.id = run.event_id join function on function.id = run.function_id"
    ):
        id, slug, status, body, output = row
        name = slug.removeprefix("acme-")
        found[json.loads(body)["data"]["n"]].append(name)
        functions[id] = (name, row)
        assert status == ("failed" if name in FAILING else "completed"), f"{name} {id} is {status}: {output}"
    for number, name in names.items():
        assert sorted(found[number]) == sorted(EVENTS[name]), f"event {number} ({name}) started {found[number]}"
    account.events, account.runs = len(names), len(functions)
    return functions


def _check_steps(
    functions: Mapping[str, tuple[str, Row]], steps: Sequence[Row], noted: Noted, expected: Expected
) -> None:
    """Check that each step of each run is recorded once, with the result of the execution that it names."""
    titles: dict[str, list[str]] = defaultdict(list)
    results: dict[str, list[str]] = defaultdict(list)
    for run, title, memo, attempt in steps:
        titles[run].append(title)
        if title in expected.bodiless or functions[run][0] in expected.failing:
            continue
        result = json.loads(memo)["data"]
        execution = noted.began.get(result)
        assert execution is not None, f"step {title} of {run}: its result {result} is of no execution"
        assert (execution.run, execution.step) == (run, title), f"step {title} of {run} has the result of {execution}"
        assert execution.attempt == _call_of(attempt), (
            f"step {title} of {run} names attempt {attempt}, and not that of {execution}"
        )
        assert result in noted.ended
        saw = noted.saw[run, title]
        assert saw == {result}, f"step {title} of {run} is {result}; handlers saw {saw}"
        results[run].append(result)
    for id, (name, row) in functions.items():
        assert sorted(titles[id]) == sorted(expected.steps[name]), f"{name} {id} has the steps {titles[id]}"
        if name not in expected.failing and isinstance(output := json.loads(row[4]), list):
            assert sorted(output) == sorted(results[id]), f"{name} {id}: {output}, but {results[id]}"


def _explain(world: World, account: Account, steps: Sequence[Row], noted: Noted, expected: Expected) -> None:
    """Find what explains each execution that wasn't the last of its step."""
    recorded = {(run, title): _call_of(attempt) for run, title, _, attempt in steps if title not in expected.bodiless}
    outcomes = {
        (run, id): outcome for run, id, outcome in world.database.rows("select run_id, id, outcome from attempt")
    }
    bodies: dict[tuple[str, str], list[Began]] = defaultdict(list)
    for execution in noted.began.values():
        bodies[execution.run, execution.step].append(execution)
    assert set(bodies) == set(recorded)
    for (run, step), executions in bodies.items():
        # In the order of the leases: the call of an older one may have been on its way for longer.
        executions.sort(key=lambda execution: (execution.job, execution.generation))
        attempts = [execution.attempt for execution in executions]
        assert len(set(attempts)) == len(attempts), f"step {step} of {run} began twice in one attempt: {executions}"
        for before, after in itertools.pairwise(executions):
            # Of a step that was reported a handler is told only when it is on disk.
            assert before.job != after.job or before.execution not in noted.saw[run, step], (
                f"step {step} of {run} began again although its result was there: {before}, {after}"
            )
            cause = noted.cause(before, world.incidents)
            end = noted.ended.get(before.execution)
            assert cause is not None, f"step {step} of {run} began again for no reason: {before}, {end}, {after}"
            account.again[cause] += 1
            if before.attempt != recorded[run, step]:
                assert outcomes.get((run, before.attempt), "lost") != "ok", f"two attempts of {step} of {run} count"


def _call_of(attempt: str) -> str:
    """Return the attempt of the call in which a step ran: a call that goes on after a step has an attempt for each."""
    return ".".join(attempt.split(".")[:3])


def _cause(before: Began, call_at: float, answered_at: float, incidents: Sequence[Incident]) -> str | None:
    """Return what made a step's body begin again, though it didn't fail; None when there is nothing.

    What hit the call before the body began counts, too: a call goes on after steps although its replica has died, until
    another has taken the job over. So does what hit it after the body's end: a step isn't on disk before the call is
    answered, or the step was reported, and a server that is to take the report may be away.
    """
    from_at, until_at = call_at - UNDER_WAY_S, answered_at + UNDER_WAY_S
    for incident in sorted(incidents, key=lambda incident: incident.began_at):
        if incident.pid is None and from_at <= incident.ended_at and incident.began_at <= until_at:
            until_at = max(until_at, incident.ended_at + UNDER_WAY_S)  # what came back waits for the database
    for incident in incidents:
        if not (incident.began_at <= until_at and from_at <= incident.ended_at):
            continue
        match incident.kind:
            case "app":
                if incident.pid == before.app_pid:
                    return "a kill of the app"
            case "kill" | "pause" | "short pause":
                is_noticed = incident.kind == "kill" or incident.ended_at - incident.began_at > SILENT_S_MIN
                if is_noticed and before.caller_pid in (incident.pid, None):
                    return f"a {incident.kind} of the replica"
            case _:
                pass  # a restart waits for calls under way, and what they bring waits for the database
    return None
