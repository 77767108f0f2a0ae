"""What became of an event at each function: what it started, what it joined, and why it didn't start the others."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from stepwell.engine.core.condition import failing_term
from stepwell.engine.core.model import Event, Function, Gathering, GatherKind, Run, RunStatus
from stepwell.engine.core.standing import skip_text
from stepwell.engine.core.trigger import Registry, matches_name
from stepwell.protocol.canonical import Json
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import FunctionId

_NEAR_MAX: Final = 3
_LIKENESS: Final = 0.6


class OutcomeKind(StrEnum):
    """What became of an event at a function."""

    STARTED = "started"
    GATHERED = "gathered"  # it is, or was, in a batch or a debounce
    SKIPPED = "skipped"
    NO_MATCH = "no_match"  # the name is that of a trigger, whose expression is false
    ARCHIVED = "archived"
    NO_RUN = "no_run"  # the trigger matches as it is now, and there is no run


class FunctionOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event at one function. ``fires_at`` is Unix ms."""

    function_id: FunctionId
    kind: OutcomeKind
    text: str
    run: Run | None = None
    reason: str | None = None
    """Why the run was skipped."""
    term: str | None = None
    """The first false term of the trigger's expression, with the values that it saw."""
    fires_at: int | None = None
    """When the batch or the debounce starts a run, at the latest."""


def outcomes(
    event: Event, registry: Registry, runs: Sequence[Run], gatherings: Sequence[Gathering], gathered: Sequence[Run]
) -> list[FunctionOutcome]:
    """Say what became of an event, function by function, in the order of their names.

    ``runs`` are those that name it, ``gatherings`` and ``gathered`` the batches and debounces that it is or was in.
    """
    found = [*map(_of_run, runs), *map(_of_gathering, gatherings)]
    own = {run.id for run in runs}
    found += [_of_gathered(run) for run in gathered if run.id not in own]
    seen = {outcome.function_id for outcome in found}
    others = [function for function in registry.by_id.values() if function.id not in seen]
    found += [outcome for function in others if (outcome := _of_none(event, function)) is not None]
    return sorted(
        found, key=lambda outcome: (_slug(registry, outcome.function_id), outcome.run.id if outcome.run else "")
    )


def near_names(name: str, registry: Registry) -> list[str]:
    """Return the triggers' names that are most like one that no trigger has."""
    known = {
        trigger.event: trigger.event.casefold()
        for function in registry.by_slug.values()
        for trigger in function.config.triggers
        if trigger.event is not None
    }
    close = difflib.get_close_matches(name.casefold(), sorted(set(known.values())), n=_NEAR_MAX, cutoff=_LIKENESS)
    return [name for folded in close for name in sorted(known) if known[name] == folded][:_NEAR_MAX]


def _of_run(run: Run) -> FunctionOutcome:
    if run.status is RunStatus.SKIPPED:
        reason = run.reason or ""
        text = f"it was skipped: {skip_text(reason)}"
        return FunctionOutcome(
            function_id=run.function_id, kind=OutcomeKind.SKIPPED, text=text, run=run, reason=run.reason
        )
    again = f", which does run {run.original_run_id} again" if run.original_run_id is not None else ""
    text = f"it started run {run.id}, which is {run.status}{again}"
    return FunctionOutcome(function_id=run.function_id, kind=OutcomeKind.STARTED, text=text, run=run)


def _of_gathering(gathering: Gathering) -> FunctionOutcome:
    is_batch = gathering.kind is GatherKind.BATCH
    count = f"{gathering.event_count:,} event{'s' if gathering.event_count != 1 else ''}"
    text = f"it waits in a batch of {count}" if is_batch else f"it waits in a debounce, after {count}"
    until = f"until {time_text(gathering.due_at)}" + (", or until that is full" if is_batch else ", if no other comes")
    return FunctionOutcome(
        function_id=gathering.function_id,
        kind=OutcomeKind.GATHERED,
        text=f"{text}, {until}",
        fires_at=gathering.due_at,
    )


def _of_gathered(run: Run) -> FunctionOutcome:
    what = "it is one of the events of" if run.is_batch else "a later event of its debounce started"
    text = f"{what} run {run.id}, which is {run.status}"
    return FunctionOutcome(function_id=run.function_id, kind=OutcomeKind.GATHERED, text=text, run=run)


def _of_none(event: Event, function: Function) -> FunctionOutcome | None:
    """Say why a function has no run for an event; None where no trigger has the event's name."""
    expressions = [
        trigger.expression
        for trigger in function.config.triggers
        if trigger.event is not None and matches_name(trigger.event, event.name)
    ]
    if not expressions:
        return None
    if function.is_archived:
        return FunctionOutcome(
            function_id=function.id, kind=OutcomeKind.ARCHIVED, text="no app has this function any more"
        )
    terms = list(_failing(event, expressions))
    if len(terms) < len(expressions):
        text = "its trigger matches now, but there is no run: it was registered after the event, or the run was deleted"
        return FunctionOutcome(function_id=function.id, kind=OutcomeKind.NO_RUN, text=text)
    return FunctionOutcome(
        function_id=function.id,
        kind=OutcomeKind.NO_MATCH,
        text=f"its trigger's expression is false: {terms[0]}",
        term=terms[0],
    )


def _failing(event: Event, expressions: Sequence[str | None]) -> Iterator[str]:
    """Yield the failing term of each expression that is false of an event."""
    variables: dict[str, Json] = {"event": msgspec.json.decode(event.body)}
    for expression in expressions:
        term = failing_term(expression, variables, event.received_at) if expression is not None else None
        if term is not None:
            yield term


def _slug(registry: Registry, function_id: FunctionId) -> str:
    function = registry.by_id.get(function_id)
    return function.slug if function is not None else function_id
