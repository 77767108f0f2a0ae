"""Why a run isn't running, or how it ended; and what became of an event: in one sentence and in detail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from stepwell.engine.core.model import Event, Run, RunStatus
from stepwell.engine.core.outcome import FunctionOutcome, OutcomeKind, near_names, outcomes
from stepwell.engine.core.standing import (
    Child,
    InProgress,
    LimitState,
    Reason,
    ReasonKind,
    Seen,
    Sought,
    quoted,
    reasons,
    summary,
)
from stepwell.engine.core.trigger import Registry
from stepwell.engine.engine import Engine
from stepwell.limits import OUTCOMES_MAX, PAGE_ROWS_MAX
from stepwell.protocol.duration import time_text
from stepwell.protocol.ids import RunId
from stepwell.server.api.endpoint import AnyEndpoint, Call, Endpoint, Nothing
from stepwell.server.api.events import find_event
from stepwell.server.api.page import is_ulid
from stepwell.server.api.runs import run_not_found
from stepwell.server.api.standing import find_standing
from stepwell.server.context import Context
from stepwell.server.failure import read_failure


class ReasonView(msgspec.Struct, frozen=True, kw_only=True):
    """Why one thing that a run has open doesn't go on. Which of the last six are there depends on its kind."""

    kind: ReasonKind
    text: str
    release: str
    """What would let it go on."""
    step: str | None
    """The name of the step; null for a call that asks the function what is next."""
    since: str
    until: str | None
    """When it goes on by itself, at the latest."""
    before: int | None
    """How many due jobs are before it in its line; 1,001 stands for more than 1,000."""
    event: Sought | None
    signal: str | None
    run: Child | None
    call: InProgress | None
    limit: LimitState | None
    error: Seen | None


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands. ``reasons`` is empty when it has ended; of very many, some are left out."""

    id: str
    status: RunStatus
    function: str
    now: str
    summary: str
    since: str
    """When it ended, or since when it waits for the first of its reasons."""
    reason: str | None
    """Why it was skipped or cancelled, or the code of the error that failed it."""
    reasons: list[ReasonView]
    left_out: int


class OutcomeView(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event at one function."""

    function: str
    kind: OutcomeKind
    text: str
    run_id: str | None
    status: RunStatus | None
    """Of that run."""
    reason: str | None
    """Why the run was skipped."""
    term: str | None
    """The first false term of the trigger's expression, with the values that it saw."""
    fires_at: str | None
    """When the batch or the debounce starts a run, at the latest."""


class EventExplanation(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event, function by function.

    ``near`` are names of triggers like one that no trigger has, and that nobody waits for either.
    """

    id: str
    name: str
    summary: str
    functions: list[OutcomeView]
    left_out: int
    near: list[str]
    is_awaited: bool
    """No trigger has the name, but it ended waits, a run waits for it now, or it would cancel runs."""


def endpoints() -> list[AnyEndpoint]:
    """Return the endpoints that explain a run and an event."""
    return [
        Endpoint(
            "GET",
            "/api/events/{id}/explain",
            "Say what became of an event, function by function",
            EventExplanation,
            explain_event,
            query=Nothing,
            body=Nothing,
        ),
        Endpoint(
            "GET",
            "/api/runs/{id}/explain",
            "Say why a run isn't running, or how it ended",
            Explanation,
            explain_run,
            query=Nothing,
            body=Nothing,
        ),
    ]


async def explain_run(call: Call[Nothing, Nothing]) -> Explanation:
    """Say where a run stands."""
    context, id = call.context, call.path["id"]
    run = await _run(context, id)
    now = context.engine.clock.now()
    there = await find_standing(context, run, now=now)
    if there is None:
        raise run_not_found(context, id)
    standing, around = there
    run = standing.run
    found = reasons(standing, around, now=now)
    failure = read_failure(run.output or b"null") if run.status is RunStatus.FAILED else None
    since = min((reason.since for reason in found), default=run.queued_at)
    return Explanation(
        id=run.id,
        status=run.status,
        function=around.function.slug,
        now=time_text(now),
        summary=summary(run, found, Seen(failure.name, failure.message) if failure is not None else None),
        since=time_text(run.ended_at if run.ended_at is not None else since),
        reason=run.reason,
        reasons=[_view(reason) for reason in found[:PAGE_ROWS_MAX]],
        left_out=max(0, len(found) - PAGE_ROWS_MAX),
    )


async def explain_event(call: Call[Nothing, Nothing]) -> EventExplanation:
    """Say what became of an event: what it started, what it waits in, and why it didn't start the others."""
    engine = call.context.engine
    event = await find_event(call.context, call.path["id"])
    registry = engine.registry
    after = await engine.store.load_aftermath(event.id, limit=OUTCOMES_MAX + 1)
    found = outcomes(event, registry, after.runs, after.gatherings, after.gathered)
    is_awaited = not found and await _is_awaited(engine, event)
    near = near_names(event.name, registry) if not found and not is_awaited else []
    shown = [_outcome_view(outcome, registry) for outcome in found[:OUTCOMES_MAX]]
    return EventExplanation(
        id=event.id,
        name=event.name,
        summary=_event_summary(event, found, near, is_awaited=is_awaited),
        functions=shown,
        left_out=len(found) - len(shown),
        near=near,
        is_awaited=is_awaited,
    )


async def _is_awaited(engine: Engine, event: Event) -> bool:
    """Tell whether an event that starts nothing has a use all the same."""
    functions = engine.registry.by_slug.values()
    if any(rule.event == event.name for function in functions for rule in function.config.cancel or ()):
        return True
    if await engine.store.is_awaited(event.environment, event.name):
        return True
    return bool((await engine.store.insight.load_event_links(event.id)).waits)


def _event_summary(event: Event, found: Sequence[FunctionOutcome], near: Sequence[str], *, is_awaited: bool) -> str:
    if is_awaited:
        return f"no function has a trigger of the name {quoted(event.name)}; it is for runs that wait for it"
    if not found:
        like = f"; triggers with names like it: {', '.join(near)}" if near else ""
        return f"no function has a trigger of the name {quoted(event.name)}{like}"
    counts = Counter(outcome.kind for outcome in found)
    return ", ".join(f"{count} {str(kind).replace('_', ' ')}" for kind, count in counts.items())


def _outcome_view(outcome: FunctionOutcome, registry: Registry) -> OutcomeView:
    function = registry.by_id.get(outcome.function_id)
    return OutcomeView(
        function=function.slug if function is not None else outcome.function_id,
        kind=outcome.kind,
        text=outcome.text,
        run_id=outcome.run.id if outcome.run is not None else None,
        status=outcome.run.status if outcome.run is not None else None,
        reason=outcome.reason,
        term=outcome.term,
        fires_at=time_text(outcome.fires_at) if outcome.fires_at is not None else None,
    )


async def _run(context: Context, id: str) -> Run:
    """Return a run as it is just now. Raises ``ApiError`` 404."""
    run = await context.engine.store.find_run(RunId(id)) if is_ulid(id) else None
    if run is None or run.environment != context.engine.environment:
        raise run_not_found(context, id)
    return run


def _view(reason: Reason) -> ReasonView:
    return ReasonView(
        kind=reason.kind,
        text=reason.text,
        release=reason.release,
        step=reason.step,
        since=time_text(reason.since),
        until=time_text(reason.until) if reason.until is not None else None,
        before=reason.before,
        event=reason.event,
        signal=reason.signal,
        run=reason.run,
        call=reason.call,
        limit=reason.limit,
        error=reason.error,
    )
